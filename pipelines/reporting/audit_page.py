"""The page of `longvid audit`: length, copies with pictures, noise."""

import math
from pathlib import Path
from typing import Any

from longvid.files import write_bytes
from longvid.metrics.items import METRICS
from longvid.pipelines.auditing.audit import Audit
from longvid.pipelines.auditing.context import Context, Score
from longvid.pipelines.auditing.duplicates import Copies, Match
from longvid.pipelines.auditing.noise import noise_in_words
from longvid.pipelines.auditing.words import clean_in_words, title_of
from longvid.pipelines.reporting.charts import Axis, Series, around, clock, line_chart
from longvid.pipelines.reporting.rendering import render
from longvid.pipelines.reporting.thumbnails import thumbnails_or_reason

MOST_MATCHES = 12
"""Pairs shown per comparison."""
GREY = 7
KINDS = (
    ("linear", "linear, pooled", 0),
    ("probe", "attentive probe", 1),
    ("shuffled", "probe, clips shuffled", 2),
    ("reversed", "probe, clips reversed", 3),
)


def audit_page(found: Audit, out_html: str | Path) -> Path:
    """Write one page about an audit, and return its path."""
    out = Path(out_html)
    write_bytes(out, render("audit.html", _values(found)).encode())
    return out


def _values(found: Audit) -> dict[str, Any]:
    said = clean_in_words(found.clean)
    lead = found.context.verdicts[0] if found.context is not None else said[0]
    threshold = found.clean.threshold
    return {
        "kind": "audit",
        "title": f"{found.task[:1].upper()}{found.task[1:]}: long, clean, and large enough?",
        "lead": lead,
        "chips": [(str(count), f"{split} videos") for split, count in found.videos.items()],
        "notes": list(found.notes),
        "context": None if found.context is None else _context(found.context),
        "clean": {
            "said": said,
            "threshold": ""
            if threshold is None
            else (
                f"Copies are nearer than {threshold.run:.3f} in a stretch, or {threshold.overlap:.3f} over the whole "
                f"overlap. The nearest stretches of videos with another {threshold.known_by} are "
                f"{threshold.strangers_run:.3f} and {threshold.strangers_overlap:.3f} apart (medians of "
                f"{threshold.strangers})."
            ),
            "groups": [_group(copies) for copies in found.clean.copies if copies.matches],
        },
        "noise": noise_in_words(found.noise),
    }


def _context(found: Context) -> dict[str, Any]:
    metric = METRICS[found.metric]
    columns = [*(name for _, name, _ in KINDS), "linear, one place", "probe, one place"]
    kinds = [*(kind for kind, _, _ in KINDS), "linear_one_place", "probe_one_place"]
    return {
        "label": f"{metric.label[:1].upper()}{metric.label[1:]}",
        "verdicts": found.verdicts,
        "legend": [(name, colour) for _, name, colour in KINDS],
        "along": _chart(found, [(kind, name, colour) for kind, name, colour in KINDS], "all along the video"),
        "one_place": _chart(
            found, [(f"{kind}_one_place", name, colour) for kind, name, colour in KINDS[:2]], "one place of each video"
        ),
        "columns": columns,
        "rows": [
            {
                "name": f"whole video, {point.seconds:.0f} s" if point.clips is None else _length(point.seconds),
                "cells": [_cell(getattr(point, kind), found.metric) for kind in kinds],
            }
            for point in found.points
        ],
    }


def _length(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def _cell(score: Score, name: str) -> dict[str, str]:
    metric, within = METRICS[name], score.interval
    return {
        "text": metric.format(score.value),
        "within": "" if within is None else metric.format_range(within.low, within.high),
    }


def _chart(found: Context, kinds: list[tuple[str, str, int]], what: str) -> Any:
    """Scores over the logarithm of seconds."""
    at = [math.log2(point.seconds) for point in found.points]
    ticks = [(math.log2(point.seconds), _length(point.seconds)) for point in found.points]
    if (
        len(ticks) > 1 and ticks[-1][0] - ticks[-2][0] < 0.6
    ):  # the whole video may be hardly longer than the stretch before
        del ticks[-2]
    series = [Series("constant answer", GREY, [at[0], at[-1]], [found.constant] * 2, faint=True)]
    series += [
        Series(
            name, colour, at, [getattr(point, kind).value for point in found.points], strong=kind.startswith("probe")
        )
        for kind, name, colour in kinds
    ]
    values = [value for one in series for value in one.y]
    y = Axis(0, 1.02, "percent") if METRICS[found.metric].percent else around(values)
    room = 0.03 * max(1.0, at[-1] - at[0])
    x = Axis(at[0] - room, at[-1] + room, "number", "seconds seen at once", tuple(ticks))
    return line_chart(series, x, y, title=f"Score against seconds seen at once, {what}")


def _group(copies: Copies) -> dict[str, Any]:
    shown = copies.matches[:MOST_MATCHES]
    return {
        "title": title_of(copies),
        "matches": [_match(match) for match in shown],
        "more": len(copies.matches) if len(copies.matches) > len(shown) else 0,
    }


def _match(match: Match) -> dict[str, Any]:
    pictures, reason = thumbnails_or_reason(match.path, match.start_seconds, match.end_seconds, count=5)
    others, other_reason = thumbnails_or_reason(
        match.other_path, match.other_start_seconds, match.other_end_seconds, count=5
    )
    return {
        "key": match.key,
        "other": match.other,
        "here": f"{clock(match.start_seconds)} - {clock(match.end_seconds)}",
        "there": f"{clock(match.other_start_seconds)} - {clock(match.other_end_seconds)}",
        "labels": {None: "no label", True: "same label", False: "another label"}[match.same_label],
        "other_label": match.same_label is False,
        "pictures": pictures,
        "reason": reason,
        "other_pictures": others,
        "other_reason": other_reason,
    }
