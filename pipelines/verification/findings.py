"""The outcome of a check against the videos: per shard, per clip."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Status = Literal["equal", "close", "different"]


@dataclass(frozen=True)
class DifferentClip:
    """A clip whose stored features are not those that its video gives."""

    clip: int
    start_seconds: float
    end_seconds: float
    cosine: float | None
    """Cosine of the stored and the new features; None where the video has no such clip."""
    relative_error: float | None


@dataclass(frozen=True)
class ShardFinding:
    """What re-extraction says of one shard."""

    key: str
    path: str
    shard_index: int
    first_clip: int
    stop_clip: int
    start_seconds: float
    end_seconds: float
    equal: int
    """Clips with equal bytes."""
    close: int
    """Clips within the tolerance, where that is enough."""
    different: tuple[DifferentClip, ...]
    absent: int
    """Clips that are absent on both sides, as the file is damaged there."""
    lowest_cosine: float | None
    largest_error: float | None
    cause: str = ""
    """The likely cause of the difference; empty where there is none."""
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> Status:
        """The worst of its clips."""
        return "different" if self.different else "close" if self.close else "equal"


@dataclass(frozen=True)
class CheckFailure:
    """A video that could not be extracted again, and why."""

    key: str
    path: str
    reason: str


@dataclass(frozen=True)
class Verification:
    """The outcome of `verify_against`."""

    store: str
    sample: float
    seed: int
    """With the same seed, the same shards are chosen again."""
    num_shards: int
    """Shards of the videos that were given; the sample is drawn from these."""
    tolerance: float
    """Relative error that is accepted where equal bytes cannot be expected."""
    equal_bytes_expected: bool
    """Whether every video was extracted on this kind of machine, so that only equal bytes agree."""
    findings: tuple[ShardFinding, ...]
    failures: tuple[CheckFailure, ...] = ()
    not_given: tuple[str, ...] = ()
    """Videos of the store for which no file was given."""

    @property
    def counts(self) -> dict[str, int]:
        """Clips by outcome."""
        return {
            "equal": sum(one.equal for one in self.findings),
            "close": sum(one.close for one in self.findings),
            "different": sum(len(one.different) for one in self.findings),
        }

    @property
    def agrees(self) -> bool:
        """Whether no clip differs; videos that cannot be read are not counted."""
        return not any(one.different for one in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        findings = [asdict(one) | {"status": one.status} for one in self.findings]
        return asdict(self) | {"findings": findings, "clips": self.counts, "agrees": self.agrees}
