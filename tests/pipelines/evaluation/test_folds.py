"""A recipe with folds trains, scores and averages each of them, and refuses what it cannot."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from longvid.errors import ConfigError
from longvid.files import read_json
from longvid.pipelines import evaluate, train, train_folds
from longvid.pipelines.evaluation.folds import evaluate_folds
from longvid.pipelines.training.run_folder import RunFolder
from longvid.tasks import Manifest

SPLITS = {"one": ("train", "val", "test"), "two": ("test", "val", "train")}


@pytest.fixture
def folded(make_data: Callable[..., Path]) -> Path:
    """The toy data with two folds: in the second, training and test videos change places."""
    folder = make_data({"train": 8, "val": 4, "test": 8})
    rows = []
    for row in Manifest.read(folder / "manifest.jsonl"):
        extra = {fold: splits[("train", "val", "test").index(str(row.split))] for fold, splits in SPLITS.items()}
        rows.append(replace(row, extra=extra))
    Manifest(tuple(rows)).write(folder / "manifest.jsonl")
    return folder


def test_each_fold_is_an_ordinary_run_and_the_result_their_mean(folded: Path, recipe_for: Callable[..., Any]) -> None:
    config = recipe_for(folded, folds=["one", "two"], epochs=1)
    result = train_folds(config)
    assert result.folds == ("one", "two")
    for fold, found in zip(result.folds, result.evaluations, strict=True):
        run = RunFolder(folded / "run" / fold)
        assert run.record().name == f"{config.name}/{fold}"
        trained = {row.key for row in run.manifest().split("train")}
        assert {key.partition("/")[0] for key in trained} == {{"one": "train", "two": "test"}[fold]}
        again = evaluate(run.path)
        assert again.metrics == found.metrics
    each = [found.metrics["accuracy"].mean for found in result.evaluations]
    assert result.metrics["accuracy"].mean == pytest.approx(sum(each) / 2)
    kept = read_json(folded / "run" / "test.json")
    assert kept["metrics"]["accuracy"]["mean"] == pytest.approx(sum(each) / 2)
    assert kept["folds"] == ["one", "two"]
    assert train_folds(config) == result, "what is trained is kept"


def test_several_folds_are_not_trained_as_one_run(folded: Path, recipe_for: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match=r"has folds \(one, two\).*choose one by split_column=one"):
        train(recipe_for(folded, folds=["one", "two"]))
    train(recipe_for(folded, folds=["one", "two"], split_column="two", epochs=1))
    assert not (folded / "run" / "folds.json").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, r"folds=\[\] names no split column"),
        ({"folds": ["one"], "split_column": "two"}, "names no split column"),
        ({"folds": ["one", "one"]}, "names a split column twice"),
        ({"folds": ["../one"]}, "'../one' is not the name of a split column"),
        ({"folds": [".."]}, "'..' is not the name of a split column"),
    ],
)
def test_impossible_folds_are_refused_before_anything_is_written(
    settings: dict[str, Any], message: str, folded: Path, recipe_for: Callable[..., Any]
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_folds(recipe_for(folded, **settings))
    assert not (folded / "run").exists()


def test_a_folder_of_one_run_does_not_become_one_of_folds(folded: Path, recipe_for: Callable[..., Any]) -> None:
    train(recipe_for(folded, split_column="one", epochs=1))
    with pytest.raises(ConfigError, match="holds a run of one split; choose another folder"):
        train_folds(recipe_for(folded, folds=["one", "two"], epochs=1))
    with pytest.raises(ConfigError, match=r"folds\.json: no such file; train the folds"):
        evaluate_folds(folded / "run")


@pytest.mark.parametrize("content", ['{"folds": []}', '{"folds": ["../../etc"]}', '{"folds": 3}', "[]"])
def test_a_damaged_list_of_folds_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "folds.json").write_text(content)
    with pytest.raises(ConfigError, match=r"folds\.json: does not hold what longvid writes there"):
        evaluate_folds(tmp_path)
