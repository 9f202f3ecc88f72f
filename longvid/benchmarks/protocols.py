"""How published numbers were measured, as named protocols for recipes.

A protocol says what a decoder sees at once, how the answers for parts of a video are combined, and which splits are
used. Two numbers are comparable only if their protocols are the same; `departs` says where ours differs from the
authors' own.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from longvid.errors import ConfigError


@dataclass(frozen=True)
class Protocol:
    """How a benchmark is trained and scored."""

    name: str
    summary: str
    """What it does, in a sentence."""
    used_by: str
    """Whose numbers were measured this way."""
    window: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a training recipe's `window`."""
    scored: Literal["videos", "windows", "frames", "segments"] = "videos"
    """What the published number counts. `windows`: each window on its own, so long videos count more."""
    reading: str = "pooled"
    """How segments are counted: a name in `longvid.metrics.segmentation.READINGS`."""
    folds: tuple[str, ...] = ()
    """Split columns over which the number is averaged; empty: one split."""
    selects_on_test: bool = False
    """Whether the authors chose the epoch on the test videos; only a recipe with `as_published` may do so."""
    beside: str | None = None
    """The published protocol whose numbers may stand in the same table as this one's."""
    departs: str = ""
    """Where this differs from the authors' code."""


_LABELLED_FOLDS = ("s1_labelled", "s2_labelled", "s3_labelled", "s4_labelled")

_ALL = (
    Protocol(
        "lvu/vis4mer",
        "Windows of 60 s at every second; the softmax is summed over a video's windows, regressions are averaged; "
        "clips under 60 s are padded with zeros that are not masked.",
        "LVU's authors, ViS4mer and the tables that quote them (S5, Video Token Merging)",
        window={"clips": 60, "stride": 1, "short": "padded", "draw": "windows"},
        departs="Counts clips: features must have one clip per second. The authors have one more frame per video.",
    ),
    Protocol(
        "lvu/masked",
        "The same in seconds, whatever the clips' stride; clips under 60 s are padded and masked.",
        "longvid; comparable with lvu/vis4mer where few clips are under 60 s (359 of 9,996)",
        window={"seconds": 60.0, "stride_seconds": 1.0, "draw": "windows"},
        beside="lvu/vis4mer",
    ),
    Protocol(
        "lvu/one-window",
        "60 clips spread evenly over the video are its only window.",
        "models with a budget of 60 frames per video",
        window={"segments": 60},
    ),
    Protocol(
        "lvu/full-video",
        "The whole video is one sequence.",
        "LV-MAE, whose clips last 5 s; the simplest way",
        window={},
    ),
    Protocol(
        "lvu/videomamba",
        "Windows of 60 s every 16 s; a shorter last one is kept if it lasts 30 s or more.",
        "VideoMamba",
        window={"seconds": 60.0, "stride_seconds": 16.0, "shortest_seconds": 30.0, "draw": "windows"},
        departs="Every window of a video is summed; the authors' merge keeps only the first of each video. "
        "Their test lists are shorter (40 of 42, 188 of 201, 81 of 86, ...).",
    ),
    Protocol(
        "lvu/ma-lmm",
        "Windows of 100 s every 20 s, each scored on its own.",
        "MA-LMM, HERMES",
        window={"seconds": 100.0, "stride_seconds": 20.0, "draw": "windows"},
        scored="windows",
        departs="A class is chosen by its score; the authors compare generated text with that of the label.",
    ),
    Protocol(
        "breakfast/vis4mer",
        "64 clips spread evenly over the video (a random choice in training) are one sequence; 355 videos are tested.",
        "ViS4mer, S5, MA-LMM and the tables that quote them; VideoMamba used another list of videos",
        window={"segments": 64},
        selects_on_test=True,
    ),
    Protocol(
        "breakfast/folds",
        "The same on the four folds by person, averaged.",
        "the data set's authors",
        window={"segments": 64},
        folds=("s1", "s2", "s3", "s4"),
    ),
    Protocol(
        "breakfast/attentive-probe",
        "Every stored clip of the video is one sequence, all tokens in one attention; 355 videos are tested.",
        "longvid; LV-MAE's probe reads clips of 5 s",
        window={},
        beside="breakfast/vis4mer",
    ),
    Protocol(
        "breakfast/units",
        "Every labelled frame of whole videos, 15 per second, SIL included; averaged over the four folds by person.",
        "MS-TCN, ASFormer and all of action segmentation",
        window={},
        scored="frames",
        folds=_LABELLED_FOLDS,
        departs="A frame gets the prediction of the nearest clip; the authors classify 15 features per second. The "
        "best epoch on held-out training people; MS-TCN reports the last of 50.",
    ),
    Protocol(
        "breakfast/units-last-frame-cut",
        "The same, but the last segment ends before the last frame: a last segment of one frame counts as missed.",
        "MS-TCN++, ASFormer, DiffAct",
        scored="frames",
        reading="last-frame-cut",
        folds=_LABELLED_FOLDS,
        beside="breakfast/units",
        departs="ASFormer reports its epoch 120, MS-TCN++ and DiffAct one that their papers do not name.",
    ),
    Protocol(
        "breakfast/units-per-video",
        "Frame accuracy and F1 are means over videos instead of counts over all of them.",
        "LTContext",
        scored="frames",
        reading="per-video",
        folds=_LABELLED_FOLDS,
        selects_on_test=True,
    ),
    Protocol(
        "breakfast/units-fact",
        "Counted over all videos, with 1e-5 in the divisors; the authors report the best F1@50 on test.",
        "FACT",
        scored="frames",
        reading="epsilon",
        folds=_LABELLED_FOLDS,
        selects_on_test=True,
        beside="breakfast/units",
    ),
    Protocol(
        "breakfast/units-east",
        "Counted as breakfast/units; the authors report each fold's best epoch by F1 + edit + accuracy on test.",
        "EAST",
        scored="frames",
        folds=_LABELLED_FOLDS,
        selects_on_test=True,
        beside="breakfast/units",
    ),
    Protocol(
        "breakfast/units-without-sil",
        "SIL is background: its segments count for and against nobody, its frames do.",
        "no published table; ASFormer's F1 falls from 76.0 / 70.6 / 57.4 to 70.9 / 67.5 / 56.7",
        scored="frames",
        reading="without-sil",
        folds=_LABELLED_FOLDS,
    ),
    Protocol(
        "coin/vis4mer",
        "64 clips spread evenly over the part that shows the task (a random choice in training) are one sequence.",
        "ViS4mer, S5, MA-LMM and the tables that quote them",
        window={"segments": 64},
        selects_on_test=True,
        departs="Exact only on features whose sampling says `span: listed`, as the recipes' do; on features of "
        "whole videos the 64 are chosen among the clips in that part.",
    ),
    Protocol(
        "coin/steps",
        "Proposals of steps in whole videos, at most 60 per video, suppressed at an IoU of 0.6; mean average precision "
        "over step classes at IoUs of 0.1 to 0.5.",
        "COIN's authors",
        window={},
        scored="segments",
        departs="Suppression looks at every kept proposal; in the authors' loop the last comparison decides.",
    ),
    Protocol(
        "coin/attentive-probe",
        "8 segments of 16 frames over the part that shows the task, all tokens in one attention, 3 views averaged.",
        "V-JEPA 2's table of frozen encoders; LV-MAE's probe reads clips of 5 s",
        window={},
        selects_on_test=True,
        departs="The authors draw clips and pixel augmentation anew in every epoch, and report the best of 20 probes "
        "and of all epochs on the test videos.",
    ),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; `ConfigError` suggests similar names if there is none."""
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, 3, 0.5) or list(PROTOCOLS)
        raise ConfigError(f"no protocol {name!r}; there are {', '.join(near)}")
    return PROTOCOLS[name]
