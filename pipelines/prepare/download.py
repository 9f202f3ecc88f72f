"""Download of missing videos by yt-dlp, slowly; off unless requested.

Needs `pip install longvid[download]`. Videos are fetched one at a time. Whether you may have a video is between you and
its owner. An interrupted download is resumed; a failure is remembered in `download-failures.jsonl` and not tried again
unless requested.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from longvid.errors import BackendUnavailable, ConfigError
from longvid.pipelines.prepare.absent import AbsentVideo
from longvid.validation import AtLeastZero, Count, settings

FAILURES = "download-failures.jsonl"


@settings(ConfigError)
class DownloadSettings:
    """How videos are requested."""

    format: str = "18/best[height<=360][ext=mp4]/best[height<=360]/best"
    """yt-dlp's choice of streams; 18 is YouTube's 360p MP4, which LVU's and ViS4mer's authors used."""
    pause_seconds: tuple[AtLeastZero, AtLeastZero] = (3.0, 10.0)
    """A random wait in this range before each video."""
    bytes_per_second: Count | None = 2_000_000
    cookies: str | None = None
    """A browser's cookies.txt, for videos that require an account."""
    retry_failed: bool = False


@dataclass(frozen=True)
class Download:
    """The outcome for one video."""

    key: str
    state: Literal["done", "failed", "left alone"]
    reason: str = ""


def download(
    videos: Iterable[AbsentVideo],
    folder: str | Path,
    settings: DownloadSettings | None = None,
    *,
    on_video: Callable[[Download], None] | None = None,
) -> list[Download]:
    """Fetch the videos that have a web page to their expected place below `folder`; returns each outcome.

    Raises `BackendUnavailable` if yt-dlp is not installed.
    """
    settings = settings or DownloadSettings()
    downloader, failed_with = _yt_dlp()
    memory = Path(folder) / FAILURES
    known = {} if settings.retry_failed else _failures(memory)
    results = []
    for video in videos:
        if not video.url or video.state != "missing":
            continue
        if video.key in known:
            result = Download(video.key, "left alone", f"failed before: {known[video.key]}")
        else:
            result = _fetch(video, settings, downloader, failed_with)
            if result.state == "failed":
                _remember(memory, result)
        results.append(result)
        if on_video is not None:
            on_video(result)
    return results


def _yt_dlp() -> tuple[Any, type[Exception]]:
    try:
        import yt_dlp
    except ImportError:
        raise BackendUnavailable("downloading needs yt-dlp: pip install longvid[download]") from None
    return yt_dlp.YoutubeDL, yt_dlp.utils.YoutubeDLError


def _fetch(video: AbsentVideo, settings: DownloadSettings, downloader: Any, failed_with: type[Exception]) -> Download:
    path = Path(video.expected_path)
    path.parent.mkdir(parents=True, exist_ok=True)
    least, most = settings.pause_seconds
    options = {
        "format": settings.format,
        "outtmpl": {"default": str(path.with_suffix("")).replace("%", "%%") + ".%(ext)s"},
        "sleep_interval": least,
        "max_sleep_interval": most,
        "ratelimit": settings.bytes_per_second,
        "cookiefile": settings.cookies,
        "continuedl": True,
        "retries": 3,
        "noplaylist": True,
        "quiet": True,
        "noprogress": True,
        "no_warnings": True,
        "logger": _Silent(),
    }
    try:
        with downloader(options) as session:
            session.download([video.url])
    except failed_with as error:
        return Download(video.key, "failed", " ".join(str(error).split())[:300])
    return Download(video.key, "done")


class _Silent:
    """Swallows yt-dlp's messages; errors are raised as exceptions."""

    def debug(self, message: str) -> None:
        """Ignore the message."""

    info = warning = error = debug


def _failures(memory: Path) -> dict[str, str]:
    found = {}
    for line in memory.read_text("utf-8", "replace").splitlines() if memory.is_file() else []:
        try:
            entry = json.loads(line)
            found[str(entry["key"])] = str(entry["reason"])
        except (ValueError, TypeError, LookupError, RecursionError):  # the last line of a run that was killed
            continue
    return found


def _remember(memory: Path, result: Download) -> None:
    memory.parent.mkdir(parents=True, exist_ok=True)
    with memory.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")
