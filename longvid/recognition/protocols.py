"""Published test protocols and the numbers measured with them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from longvid.errors import ConfigError
from longvid.recognition.views import Views

_MMACTION: dict[str, Any] = {"rule": "centred", "join": "mean-softmax", "rounding": "down", "resize": "linear-rounded"}
_XVIT: dict[str, Any] = {"crops": 3, "join": "sum-logits", "rounding": "up", "resize": "linear"}

TEST_PROTOCOLS: Mapping[str, Views] = MappingProxyType(
    {
        "dualformer-kinetics": Views(**_MMACTION, frames=32, step=2, clips=4),
        "dualformer-diving48": Views(**_MMACTION, frames=32, step=4, clips=4, crops=3),
        "dualformer-hmdb51": Views(**_MMACTION, frames=32, step=4, clips=4, crops=3),
        "dualformer-ucf101": Views(**_MMACTION, frames=32, step=4, clips=4, crops=3),
        "dualformer-ucf101-tiny": Views(**_MMACTION, frames=16, step=4, clips=4, crops=3),
        "xvit-kinetics-8f": Views(**_XVIT, rule="starts", frames=8, step=32),
        "xvit-kinetics-16f": Views(**_XVIT, rule="starts", frames=16, step=16),
        "xvit-kinetics-16f-2x3": Views(**_XVIT, rule="starts", frames=16, step=16, clips=2),
        "xvit-ssv2-8f": Views(**_XVIT, rule="segments", frames=8),
        "xvit-ssv2-16f": Views(**_XVIT, rule="segments", frames=16),
        "xvit-ssv2-16f-2x3": Views(**_XVIT, rule="segments", frames=16, clips=2),
        "spread-8f-4x3": Views(rule="spread", frames=8, clips=4, crops=3),
        "spread-8f-2x3": Views(rule="spread", frames=8, clips=2, crops=3),
    }
)
"""By name. `spread-*` is UMT's and InternVideo2's. X-ViT's authors read 8 frames over the same 256 as 16."""


def find_protocol(name: str) -> Views:
    """The protocol of that name; `ConfigError` lists them."""
    if name not in TEST_PROTOCOLS:
        raise ConfigError(f"no test protocol {name!r}; there are {', '.join(TEST_PROTOCOLS)}")
    return TEST_PROTOCOLS[name]


@dataclass(frozen=True)
class PublishedViews:
    """One published result of multi-view testing."""

    encoder: str
    """Name in longvid."""
    data: str
    protocol: str
    """A name in `TEST_PROTOCOLS`."""
    top1: float
    """In percent, as printed; likewise `top5`."""
    top5: float | None
    gflops: int | float | None
    """Multiply-adds in billions, summed over all views, as both groups of authors count."""
    source: str
    videos: int | None = None
    """Test videos behind it, where they are known."""


_DUALFORMER = "README of sail-sg/dualformer"
_XVIT_PAPER = "X-ViT's paper (arXiv 2106.05968)"
_XVIT_README = "README of 1adrianb/video-transformers"

PUBLISHED_VIEWS: tuple[PublishedViews, ...] = (
    PublishedViews(
        "dualformer-tiny", "kinetics-400", "dualformer-kinetics", 79.5, 94.14, 240, f"{_DUALFORMER}, screenshot", 19739
    ),
    PublishedViews("dualformer-small", "kinetics-400", "dualformer-kinetics", 80.6, None, 636, _DUALFORMER),
    PublishedViews("dualformer-base", "kinetics-400", "dualformer-kinetics", 81.1, None, 1072, _DUALFORMER),
    PublishedViews("dualformer-base", "kinetics-600", "dualformer-kinetics", 85.2, None, 1072, _DUALFORMER),
    PublishedViews(
        "dualformer-small", "diving48", "dualformer-diving48", 81.8, 97.82, 1908, f"{_DUALFORMER}, screenshot", 1970
    ),
    PublishedViews("dualformer-small", "hmdb51", "dualformer-hmdb51", 76.4, None, 1908, f"{_DUALFORMER}, split 1"),
    PublishedViews("dualformer-small", "ucf101", "dualformer-ucf101", 97.5, None, 1908, f"{_DUALFORMER}, split 1"),
    PublishedViews("xvit-b16-8f", "kinetics-400", "xvit-kinetics-8f", 78.5, 93.7, 425, _XVIT_PAPER),
    PublishedViews("xvit-b16-16f", "kinetics-400", "xvit-kinetics-16f", 80.2, 94.7, 850, _XVIT_PAPER),
    PublishedViews("xvit-b16-16f", "kinetics-600", "xvit-kinetics-16f", 84.51, 96.26, None, _XVIT_README),
    PublishedViews("xvit-b16-16f", "kinetics-600", "xvit-kinetics-16f-2x3", 84.71, 96.39, None, _XVIT_README),
    PublishedViews("xvit-ssv2-b16-8f", "ssv2", "xvit-ssv2-8f", 63.4, 89.6, 425, _XVIT_PAPER),
    PublishedViews("xvit-ssv2-b16-16f", "ssv2", "xvit-ssv2-16f", 65.2, 90.6, 850, _XVIT_PAPER),
    PublishedViews("xvit-ssv2-b16-16f", "ssv2", "xvit-ssv2-16f-2x3", 67.19, 91.0, None, _XVIT_README),
)
"""What the authors printed. Numbers read only second-hand are left out."""


def published_views(encoder: str, *, protocol: str | None = None) -> tuple[PublishedViews, ...]:
    """The published results of an encoder, limited to one protocol if given."""
    mine = (one for one in PUBLISHED_VIEWS if one.encoder == encoder)
    return tuple(one for one in mine if protocol is None or one.protocol == protocol)
