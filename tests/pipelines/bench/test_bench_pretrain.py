"""The bench of few labels is fair: the same labels and steps in every way, and classes that no pooling tells apart."""

from collections import Counter

import numpy as np
import pytest

from longvid.pipelines.bench import pretrain
from longvid.tasks import ManifestRow

TINY = pretrain.Size(
    videos=24, tested=8, clips=24, pretraining_epochs=1, steps=3, seeds=1, decoders=("lstm",), labelled=(4,)
)


def test_every_way_is_measured_with_the_same_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain, "QUICK", TINY)
    monkeypatch.setattr(pretrain, "all_outcomes", lambda size: [pretrain.outcome_of("lstm", 0, size)])
    table = pretrain.run(quick=True)
    assert [row[1] for row in table.rows] == list(pretrain.WAYS)
    assert [claim.at_least for claim in table.claims] == [15.0, None]
    assert all(0 <= float(str(row[2])) <= 100 for row in table.rows)


def test_classes_differ_in_the_order_of_states_alone() -> None:
    rng = np.random.default_rng(0)
    prototypes = np.eye(pretrain.STATES, pretrain.DIM)
    means = [
        np.mean([pretrain.clips_of(label, prototypes, 72, rng).mean(axis=0) for _ in range(400)], axis=0)
        for label in range(len(pretrain.CLASSES))
    ]
    assert np.abs(np.array(means) - np.mean(means, axis=0)).max() < 0.05
    steps = [{(order[i - 1], order[i]) for i in range(len(order))} for order in pretrain.ORDERS]
    assert not any(a & b for i, a in enumerate(steps) for b in steps[:i])


def test_a_few_videos_of_each_class_keep_their_labels_and_test_videos_stay() -> None:
    rows = [
        ManifestRow(f"{split}/{i}", split=split, label=pretrain.CLASSES[i % 4])
        for split in ("train", "test")
        for i in range(20)
    ]
    chosen = Counter((row.split, row.label) for row in pretrain.with_labels(rows, 2))
    assert chosen == {(split, name): count for split, count in (("train", 2), ("test", 5)) for name in pretrain.CLASSES}
