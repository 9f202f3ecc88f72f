"""The page of `longvid compare`: runs side by side, with pictures."""

from pathlib import Path
from typing import Any

from longvid.files import write_bytes
from longvid.metrics.items import METRICS
from longvid.pipelines.evaluation.compare import (
    Comparison,
    Flip,
    Pair,
    is_real,
    mcnemar_in_words,
    shown_difference,
    shown_p,
)
from longvid.pipelines.reporting.rendering import render
from longvid.pipelines.reporting.thumbnails import whole_video_thumbnails

MOST_FLIPS = 12
"""Videos shown of each kind: those that became right, those that became wrong."""
MOST_CLASSES = 30


def comparison_page(found: Comparison, out_html: str | Path) -> Path:
    """Write one page about a comparison, and return its path."""
    out = Path(out_html)
    write_bytes(out, render("compare.html", _values(found)).encode())
    return out


def _values(found: Comparison) -> dict[str, Any]:
    names = list(found.runs[0].metrics)
    return {
        "kind": "comparison",
        "title": f"{found.task[:1].upper()}{found.task[1:]}: is the difference real?",
        "split": found.split,
        "videos": found.videos,
        "stratified": found.stratified,
        "items": "clips" if found.kind == "dense" else "videos",
        "notes": [*(f"Left out: {line}" for line in found.left_out), *_elsewhere(found)],
        "metrics": [(METRICS[name].label, METRICS[name].higher_is_better) for name in names],
        "runs": [
            {
                "label": run.label,
                "cells": [_cell(run.metrics[name], run.intervals.get(name), name) for name in names],
                "ensemble": METRICS[names[0]].format(run.ensemble[names[0]]),
                "seeds": len(run.seeds),
            }
            for run in found.runs
        ],
        "pairs": [_pair(pair) for pair in found.pairs],
    }


def _elsewhere(found: Comparison) -> list[str]:
    return [
        f"{label} scored {count} videos that another run did not; they are not counted here."
        for label, count in found.elsewhere.items()
    ]


def _cell(summary: Any, within: Any, name: str) -> dict[str, str]:
    metric = METRICS[name]
    return {
        "text": metric.format(summary.mean, summary.std),
        "within": "" if within is None else metric.format_range(within.low, within.high),
    }


def _pair(pair: Pair) -> dict[str, Any]:
    kinds = [[flip for flip in pair.flips if flip.gained is gained] for gained in (True, False)]
    return {
        "first": pair.first,
        "other": pair.other,
        "verdict": pair.verdict,
        "mcnemar": mcnemar_in_words(pair),
        "differences": [
            {
                "label": METRICS[name].label,
                "shown": shown_difference(name, one),
                "p": shown_p(one.p_value),
                "real": is_real(one),
            }
            for name, one in pair.differences.items()
        ],
        "classes": [
            {
                "name": row.name,
                "support": row.support,
                "first": f"{100 * row.first:.1f} %",
                "other": f"{100 * row.other:.1f} %",
                "change": f"{100 * (row.other - row.first):+.1f}",
            }
            for row in pair.classes[:MOST_CLASSES]
        ],
        "more_classes": len(pair.classes) > MOST_CLASSES,
        "flips": [_flip(flip) for kind in kinds for flip in kind[:MOST_FLIPS]],
        "more_flips": any(len(kind) > MOST_FLIPS for kind in kinds),
    }


def _flip(flip: Flip) -> dict[str, Any]:
    pictures, reason = whole_video_thumbnails(flip.path, flip.start_seconds, flip.end_seconds, count=6)
    return {
        "key": flip.key,
        "target": flip.target,
        "first": flip.first,
        "other": flip.other,
        "gained": flip.gained,
        "pictures": pictures,
        "reason": reason,
    }
