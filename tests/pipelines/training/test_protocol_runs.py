"""A run keeps its protocol's word: windows, splits, spans and selection are those the recipe asks for."""

import numpy as np
import pytest
from rounding import rounding

from longvid.errors import AnnotationError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.results import own_results, task_named
from longvid.pipelines.training.data import open_training_data
from longvid.pipelines.training.module import DecoderModule
from longvid.pipelines.training.run_folder import RunFolder
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest, ManifestRow

FOUR_DIGITS = 1e-4 + rounding(np.float32, terms=64, layers=4)
"""Rounding of written probabilities, which a decoder computes in float32."""


def rewrite(folder, change) -> None:
    """Replace every row of the manifest by `change(index, row)`."""
    rows = [change(index, row) for index, row in enumerate(Manifest.read(folder / "manifest.jsonl"))]
    Manifest(tuple(rows)).write(folder / "manifest.jsonl")


def test_a_padded_run_says_of_a_video_what_evaluation_says_of_it(make_data, recipe_for):
    """The timeline reads clips anew; its last answer must be that of the padded window."""
    folder = make_data(num_clips=12)
    config = recipe_for(folder, epochs=1, window={"clips": 20, "short": "padded"})
    train(config)
    result = evaluate(config.out)
    assert RunFolder(folder / "run").record().decoder.max_length == 20
    scores = {}
    for line in (folder / "run" / "evaluation" / "test-predictions.csv").read_text().splitlines()[1:]:
        key, *_, first, second = line.split(",")
        scores[key] = [float(first), float(second)]
    for shown in result.timelines:
        np.testing.assert_allclose(shown.timeline["total"], scores[shown.key], atol=FOUR_DIGITS)


def test_padding_counts_and_masking_does_not(make_data, recipe_for):
    folder = make_data(num_clips=12)
    totals = {}
    for short in ("padded", "masked"):
        config = recipe_for(folder, epochs=1, window={"clips": 40, "short": short}, out=str(folder / short))
        train(config)
        totals[short] = evaluate(config.out).timelines[0].timeline["total"]
    assert totals["padded"] != totals["masked"]


def test_a_split_column_decides_who_is_trained_on(make_data, recipe_for):
    folder = make_data({"train": 6, "val": 4, "test": 4})
    turned = {"train": "test", "val": "val", "test": "train"}

    def change(index: int, row: ManifestRow) -> ManifestRow:
        extra = {"other": turned[str(row.split)]} if index else {}
        return ManifestRow(row.key, split=row.split, label=row.label, extra=extra)

    rewrite(folder, change)
    data = open_training_data(recipe_for(folder, split_column="other"))
    assert data.manifest.counts() == {"train": 4, "val": 4, "test": 5}  # the first video has no split there
    with pytest.raises(AnnotationError, match="no video has a split in column 'othr'; such columns: other"):
        open_training_data(recipe_for(folder, split_column="othr"))


def test_a_key_column_finds_videos_in_a_store_made_elsewhere(make_data, recipe_for):
    folder = make_data({"train": 4, "val": 2})
    rewrite(
        folder, lambda i, row: ManifestRow(f"v{i}", split=row.split, label=row.label, extra={"label_name": row.key})
    )
    assert len(open_training_data(recipe_for(folder, key_column="label_name")).train.rows) == 4
    with pytest.raises(AnnotationError, match="has no key in column 'nothing'"):
        open_training_data(recipe_for(folder, key_column="nothing"))


def test_the_whole_video_is_looked_at_on_demand(make_data, recipe_for):
    folder = make_data({"train": 4, "val": 2}, num_clips=16)
    rewrite(
        folder,
        lambda i, row: ManifestRow(row.key, split=row.split, label=row.label, start_seconds=4.0, end_seconds=10.0),
    )
    assert open_training_data(recipe_for(folder)).train.max_clips == 6
    assert open_training_data(recipe_for(folder, span="whole")).train.max_clips == 16


def test_selection_on_test_is_possible_as_published_only_and_is_written_everywhere(make_data, recipe_for):
    folder = make_data({"train": 8, "test": 6})
    settings = {"as_published": True, "validation": {"on_test": True}, "protocol": "breakfast/vis4mer"}
    config = recipe_for(folder, epochs=2, window={"segments": 8}, task={"name": "labels"}, **settings)
    result = train(config)
    assert result.found == {"train": 8, "test": 6}  # nothing was carved away
    assert any(note.startswith("AS PUBLISHED: the best epoch is chosen by the 6 test videos") for note in result.notes)
    evaluated = evaluate(config.out)
    assert evaluated.metrics["accuracy"].mean == pytest.approx(result.validation["accuracy"].mean)
    (own,) = own_results(folder, "labels")
    assert own.remarks == (
        "best epoch chosen by test, as published",
        "window changed (segments: 64 -> 8)",
    )


@pytest.mark.parametrize(
    ("backwards", "label", "rates"),
    [(True, None, [1.0, 1.0, 0.2]), (False, None, [1.0, 1.0, 1.0]), (True, float, [1.0, 1.0, 1.0])],
    ids=["accuracy backwards", "accuracy", "a regression is stepped the right way in any case"],
)
def test_a_schedule_run_backwards_falls_while_accuracy_rises(make_data, recipe_for, backwards, label, rates):
    folder = make_data({"train": 4, "val": 4}, label=None if label is None else lambda order: order + 0.5)
    schedule = {"name": "plateau", "patience": 1, "backwards": backwards, "factor": 0.2}
    config = recipe_for(folder, schedule=schedule, as_published=True, optimiser={"learning_rate": 1.0})
    data = open_training_data(config)
    module = DecoderModule(data.record.decoder.build(), config, data.val, seed=0, steps=10)
    optimiser = module.configure_optimizers()
    improving = (0.5, 0.6, 0.7) if label is None else (3.0, 2.0, 1.0)
    seen = []
    for value in improving:
        module._plateau.step(value)
        seen.append(optimiser.param_groups[0]["lr"])
    assert seen == pytest.approx(rates)


def test_features_of_another_encoder_than_the_recipes_are_noted(make_data, recipe_for):
    folder = make_data({"train": 4, "val": 2})
    wanted = {"encoder": "toy", "pooling": "class", "sampling": {"fps": 2}}
    notes = open_training_data(recipe_for(folder, features=wanted)).record.notes
    assert notes == [
        "The features are not those that the recipe is meant for (pooling: mean, not class; sampling.fps: 1, not 2)."
    ]


def test_results_are_asked_for_by_task_or_by_recipe():
    assert task_named("breakfast-segmentation").name == "breakfast/units"
    assert task_named("lvu/scene").name == "lvu/scene"
