"""The ways in which published numbers were measured, each under a name that a recipe can ask for.

A protocol says what a decoder sees at once, how the answers to parts of a video become one, and on which splits. Two
numbers are comparable only if their protocols are the same; `departs` says where ours is not, to the letter, the
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
    """Whose numbers were measured so."""
    window: Mapping[str, Any] = field(default_factory=dict)
    """Settings of a training recipe's `window`."""
    scored: Literal["videos", "windows", "frames", "segments"] = "videos"
    """What the published number counts. `windows`: every window on its own, so long videos count more."""
    folds: tuple[str, ...] = ()
    """Split columns over which the number is averaged; none: one split."""
    selects_on_test: bool = False
    """Whether the authors chose the epoch by the test videos; only a recipe that says `as_published` may."""
    beside: str | None = None
    """The published protocol whose numbers may stand in one table with this one's."""
    departs: str = ""
    """Where this differs from the authors' code."""


_ALL = (
    Protocol(
        "lvu/vis4mer",
        "Windows of 60 s at every second; the softmax is summed over a video's windows, regressions are averaged; "
        "clips under 60 s are filled up with zeros that count.",
        "LVU's authors, ViS4mer and the tables that quote them (S5, Video Token Merging)",
        window={"clips": 60, "stride": 1, "short": "padded", "draw": "windows"},
        departs="Counts clips: features must be one clip a second. The authors' rows have one frame more a video.",
    ),
    Protocol(
        "lvu/masked",
        "The same in seconds, whatever the clips' stride; clips under 60 s are masked, not filled up.",
        "longvid; comparable with lvu/vis4mer where few clips are under 60 s (359 of 9,996)",
        window={"seconds": 60.0, "stride_seconds": 1.0, "draw": "windows"},
        beside="lvu/vis4mer",
    ),
    Protocol(
        "lvu/one-window",
        "60 clips spread evenly over the video are its only window.",
        "models with a budget of 60 frames a video",
        window={"segments": 60},
    ),
    Protocol("lvu/full-video", "The whole video is one sequence.", "nobody's published table; the plainest", window={}),
    Protocol(
        "lvu/videomamba",
        "Windows of 60 s every 16 s, a cut last one kept from 30 s on.",
        "VideoMamba",
        window={"seconds": 60.0, "stride_seconds": 16.0, "shortest_seconds": 30.0, "draw": "windows"},
        departs="Every window of a video is summed; in the authors' merge only the first one of each video remains. "
        "Their test lists are shorter (40 of 42, 188 of 201, 81 of 86, ...).",
    ),
    Protocol(
        "lvu/ma-lmm",
        "Windows of 100 s every 20 s, each scored on its own.",
        "MA-LMM, HERMES",
        window={"seconds": 100.0, "stride_seconds": 20.0, "draw": "windows"},
        scored="windows",
        departs="A class is chosen by its score; the authors compare generated text with the label's.",
    ),
    Protocol(
        "breakfast/vis4mer",
        "64 clips spread evenly over the video (a random choice in training) are one sequence; 355 videos are tested.",
        "ViS4mer, S5, MA-LMM and the tables that quote them; VideoMamba's numbers are from another list",
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
        "breakfast/units",
        "Every labelled frame, 15 a second, of whole videos, SIL included; averaged over the four folds by person.",
        "MS-TCN, ASFormer and all of action segmentation",
        window={},
        scored="frames",
        folds=("s1_labelled", "s2_labelled", "s3_labelled", "s4_labelled"),
        departs="A frame has the answer of the clip nearest to it; the authors classify 15 features a second.",
    ),
    Protocol(
        "coin/vis4mer",
        "64 clips spread evenly over the part that shows the task (a random choice in training) are one sequence.",
        "ViS4mer, S5, MA-LMM and the tables that quote them",
        window={"segments": 64},
        selects_on_test=True,
        departs="To the letter only on features whose sampling says `span: listed`, as the recipes' do; on features of "
        "whole videos the 64 are chosen among the clips that lie in the part.",
    ),
    Protocol(
        "coin/steps",
        "Proposals of steps in whole videos, at most 60 a video, suppressed at an IoU of 0.6; mean average precision "
        "over step classes at IoUs of 0.1 to 0.5.",
        "COIN's authors",
        window={},
        scored="segments",
        departs="Suppression looks at every kept proposal; in the authors' loop the last comparison decides.",
    ),
)

PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({protocol.name: protocol for protocol in _ALL})


def find_protocol(name: str) -> Protocol:
    """The protocol of that name; `ConfigError` with the near ones where there is none."""
    if name not in PROTOCOLS:
        near = difflib.get_close_matches(name, PROTOCOLS, 3, 0.5) or list(PROTOCOLS)
        raise ConfigError(f"no protocol {name!r}; there are {', '.join(near)}")
    return PROTOCOLS[name]
