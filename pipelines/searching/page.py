"""The contact sheet of a search: pictures of each hit, by video."""

from pathlib import Path
from typing import Any

from longvid.files import write_bytes
from longvid.pipelines.reporting.rendering import render
from longvid.pipelines.reporting.thumbnails import thumbnails_or_reason
from longvid.pipelines.searching.run import Hit, SearchResult, to_the_tenth

PICTURES = 4
"""Pictures of a hit."""


def write_sheet(result: SearchResult, out: str | Path) -> Path:
    """Write the page; it needs no network and no other files. Hits whose file is not here say so."""
    values: dict[str, Any] = {
        "kind": "search",
        "title": f"“{result.query}”",
        "lead": f"{len(result.hits)} stretches of {len(result.by_video())} videos, the best of {result.num_clips:,} "
        f"clips in {result.num_videos:,} videos of {result.store}.",
        "failures": result.failures,
        "groups": [
            {"key": group.key, "score": group.score, "hits": [_shown(hit) for hit in group.hits]}
            for group in result.by_video()
        ],
    }
    write_bytes(Path(out), render("sheet.html", values, room="longvid.pipelines.searching", charts=False).encode())
    return Path(out)


def _shown(hit: Hit) -> dict[str, Any]:
    pictures, reason = _pictures(hit)
    times = {"start": to_the_tenth(hit.start_seconds), "end": to_the_tenth(hit.end_seconds)}
    return {"score": hit.score, "pictures": pictures, "reason": reason, **times}


def _pictures(hit: Hit) -> tuple[list[str], str]:
    if hit.path is None:
        return [], "No pictures: the search was not told where the videos are (--videos)."
    return thumbnails_or_reason(hit.path, hit.start_seconds, hit.end_seconds, count=PICTURES)
