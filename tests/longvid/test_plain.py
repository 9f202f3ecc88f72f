"""One way from values to plain JSON; what 0.1.0 wrote to disk is written in the same bytes."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from longvid.benchmarks.known_tasks import KNOWN_TASKS
from longvid.encoders.dualformer.config import VARIANTS
from longvid.pipelines.evaluation.evaluate import EvaluationResult, SeedEvaluation
from longvid.pipelines.training.results import SeedResult, TrainResult
from longvid.plain import as_json
from longvid.tasks import Task


@dataclass(frozen=True)
class Inner:
    size: tuple[int, ...]

    @property
    def total(self) -> int:
        return sum(self.size)

    JSON_PROPERTIES: ClassVar = ("total",)


@dataclass(frozen=True)
class Outer:
    where: Path
    inner: tuple[Inner, ...]
    array: np.ndarray
    more: dict[int, Any] = field(default_factory=dict)


def test_values_become_plain_with_the_properties_that_are_named() -> None:
    value = Outer(Path("a/b"), (Inner((1, 2)),), np.array([[0.1, 2.0]]), {3: np.float64(0.5), 4: None})
    plain = {
        "where": "a/b",
        "inner": [{"size": [1, 2], "total": 3}],
        "array": [[0.1, 2.0]],
        "more": {"3": 0.5, "4": None},
    }
    assert as_json(value) == plain
    assert json.loads(json.dumps(as_json(value))) == plain


def test_what_has_no_plain_form_is_refused_by_its_type() -> None:
    with pytest.raises(TypeError, match="a complex has no plain form"):
        as_json({"a": [1j]})


def test_files_of_runs_keep_the_bytes_of_version_0_1_0() -> None:
    """The forms that 0.1.0 built by hand, field by field; added fields aside."""
    seed = SeedResult(3, 1, 2, {"accuracy": 0.1 + 0.2}, 1.5, "ab")
    result = TrainResult("o", "n", "gru", "t", 7, (seed,), {"train": 2}, {"train": 1}, ("note",))
    by_hand = asdict(result) | {
        "seeds": [asdict(seed)],
        "validation": {"accuracy": asdict(result.validation["accuracy"])},
    }
    assert json.dumps(as_json(result)) == json.dumps(by_hand)
    scored = EvaluationResult("r", "n", "gru", "test", (SeedEvaluation(3, {"mse": 1e-17}, {}),), {}, "", 1, 1, 1)
    by_hand = asdict(scored) | {"metrics": {"mse": asdict(scored.metrics["mse"])}, "window_metrics": {}}
    assert json.dumps(as_json(scored)) == json.dumps(by_hand)
    for config in VARIANTS.values():
        assert json.dumps(as_json(config)) == json.dumps(asdict(config))
    for task in KNOWN_TASKS.values():
        assert json.dumps(as_json(task)) == json.dumps(asdict(task))
        assert Task.from_dict(as_json(task)) == task
