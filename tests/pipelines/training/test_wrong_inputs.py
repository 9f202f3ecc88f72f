"""Whatever is wrong with data, settings or a run's folder is one line that names it and the remedy."""

import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch

from longvid.errors import AnnotationError, ConfigError, DecoderError, LongvidError, WeightsError
from longvid.files import read_json, write_json
from longvid.pipelines.cli.main import main
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.reporting import report
from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.train import train
from longvid.tasks import Manifest

pytestmark = pytest.mark.faults

POOLED = {"name": "mean-linear", "options": {}}


class Hostile:
    """Unpickled, it makes a folder."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return os.mkdir, (str(self.place),)


@pytest.fixture
def data(make_data):
    """Eight videos to train on, four to validate and four to test."""
    return make_data({"train": 8, "val": 4, "test": 4})


@pytest.fixture
def finished(data, recipe_for):
    """The folder of a trained and evaluated run."""
    config = recipe_for(data, decoder=POOLED, epochs=1)
    train(config)
    evaluate(config.out)
    return Path(config.out)


def with_rows(data: Path, change) -> None:
    """Write the manifest again with `change(row values)` applied to each row."""
    rows = [change(dict(row.__dict__)) for row in Manifest.read(data / "manifest.jsonl")]
    kind = type(Manifest.read(data / "manifest.jsonl").rows[0])
    Manifest(tuple(kind(**values) for values in rows)).write(data / "manifest.jsonl")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda row: row | {"split": None}, r"no video has the split 'train' \(16 in none\); put train, val or test"),
        (
            lambda row: row | {"key": f"videos/{row['key']}"},
            r"none of the 16 videos .* lists 'videos/train/0', .* the store holds 'test/0', .*column `key`",
        ),
        (
            lambda row: row | {"label": "nan" if row["key"] == "train/3" else 1.5},
            r"manifest\.jsonl:4: 'label' is text here, 'nan', as in 1 of 16 rows; the others hold a number",
        ),
    ],
    ids=["no splits", "other keys", "a NaN among numbers"],
)
def test_a_manifest_that_does_not_fit_is_refused_with_the_place_and_the_cure(data, recipe_for, change, message):
    with_rows(data, change)
    with pytest.raises(AnnotationError, match=message):
        train(recipe_for(data, decoder=POOLED))


def test_a_class_that_only_the_test_videos_have_is_told(data, recipe_for):
    with_rows(data, lambda row: row | {"label": "a then b" if row["key"] == "test/0" else row["label"]})
    result = train(recipe_for(data, decoder=POOLED, epochs=1))
    assert result.notes == (
        "A class has no training video and cannot be learned: 'a then b'. If it is misspelt, correct the manifest.",
    )


def test_labels_that_lie_outside_the_video_are_an_error_and_not_a_score(make_data, recipe_for):
    data = make_data({"train": 8, "val": 4, "test": 4}, label=lambda order: [[1000, 1008, order]])
    task = {"kind": "dense", "classes": ["x", "y"]}
    with pytest.raises(AnnotationError, match="no clip of the 4 videos to be scored has a label at its time"):
        train(recipe_for(data, task=task, decoder={"name": "gru", "options": {"width": 4}}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimiser": {"betas": [2, 2]}}, r"optimiser\.betas\.0=2: should be less than 1"),
        ({"seeds": [10**20]}, "distinct numbers from 0 to 4294967295"),
        ({"task": {"transform": {"function": "log"}}}, "transform needs `kind`"),
        (
            {"decoder": {"name": "gru", "options": {"width": "wide"}}},
            r"decoder 'gru': GRUConfig\.width='wide': should be a whole number",
        ),
        ({"decoder": {"name": "gru", "options": {"width": 3.5}}}, r"GRUConfig\.width=3\.5: should be a whole number"),
    ],
)
def test_an_impossible_setting_is_named(data, recipe_for, settings, message):
    with pytest.raises((ConfigError, DecoderError), match=message):
        train(recipe_for(data, **settings))


def test_only_the_settings_that_differ_are_named_where_a_folder_holds_another_run(finished):
    config = load_config(finished / "recipe.yaml", ["decoder.name=gru", "optimiser.learning_rate=0.5"])
    with pytest.raises(ConfigError) as refusal:
        train(config)
    assert "(decoder.name: mean-linear != gru; optimiser.learning_rate: 0.01 != 0.5; the manifest" in str(
        refusal.value
    ) or "(decoder.name: mean-linear != gru; optimiser.learning_rate: 0.01 != 0.5)" in str(refusal.value)


def test_the_recipe_in_a_runs_folder_means_the_same_files(data, recipe_for, tmp_path, monkeypatch):
    monkeypatch.chdir(data)
    settings = recipe_for(data, decoder=POOLED, epochs=1).model_dump()
    relative = {"store": "features.zarr", "manifest": "manifest.jsonl", "out": "run"}
    first = train(type(recipe_for(data))(**settings | relative))
    monkeypatch.chdir("/")
    again = train(load_config(data / "run" / "recipe.yaml"))
    assert Path(again.out) == data / "run"
    assert again.seeds == first.seeds


DAMAGE = {
    "seed-0/best.safetensors": [b"", lambda old: old[:-7], lambda old: pickle.dumps([1, 2])],
    "run.json": [b"[]", b"{", b'{"format": 1}'],
    "recipe.yaml": [b"a: ["],
    "manifest.jsonl": [b'{"key": '],
    "evaluation/test.json": [b"{}", b'{"seeds": 3}', b"{"],
    "result.json": [b"{}", b""],
    "seed-0/history.csv": [b"", b"epoch,train_loss\n0,x\n", b"epoch\n0,1,2\n"],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_file_of_a_run_is_named_by_whatever_reads_it(finished, tmp_path, name):
    path, told = finished / name, []
    whole = path.read_bytes()
    for damage in DAMAGE[name]:
        path.write_bytes(damage(whole) if callable(damage) else damage)
        for command in (lambda: report([finished], tmp_path / "page.html"), lambda: evaluate(finished)):
            told.append(message_of(command))
        path.write_bytes(whole)
    messages = [message for message in told if message]
    assert len(messages) >= len(DAMAGE[name])
    assert all(f"{finished.name}/{name}" in message and "\n" not in message for message in messages)
    evaluate(finished)


def message_of(command) -> str:
    """What a command says of its failure; empty where it succeeds. Anything but longvid's own errors passes through."""
    try:
        command()
    except LongvidError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("kind", ["truncated", "hostile"])
def test_a_foreign_resume_file_is_not_unpickled_and_says_what_to_do(finished, tmp_path, kind):
    for name in ("result.json", "seed-0/result.json"):
        (finished / name).unlink()
    resume = finished / "seed-0" / "resume.ckpt"
    resume.write_bytes(resume.read_bytes()[:200] if kind == "truncated" else pickle.dumps(Hostile(tmp_path / "made")))
    with pytest.raises(WeightsError, match=r"resume\.ckpt: is damaged, .*delete it to train the seed") as refusal:
        train(load_config(finished / "recipe.yaml"))
    assert "weights_only" not in str(refusal.value)
    assert not (tmp_path / "made").exists()


def test_a_resume_file_of_another_form_of_the_decoder_is_refused(finished):
    for name in ("result.json", "seed-0/result.json"):
        (finished / name).unlink()
    resume = finished / "seed-0" / "resume.ckpt"
    kept = torch.load(resume, weights_only=True)
    kept["state_dict"]["decoder.extra"] = torch.zeros(2)
    torch.save(kept, resume)
    with pytest.raises(WeightsError, match=r"resume\.ckpt: was written for a decoder of other sizes; delete it"):
        train(load_config(finished / "recipe.yaml"))


def test_a_run_of_a_newer_format_is_refused(finished):
    record = read_json(finished / "run.json")
    write_json(finished / "run.json", record | {"format": 99})
    with pytest.raises(ConfigError, match="run of format 99, this version reads 1"):
        evaluate(finished)


def test_the_command_line_says_it_in_one_line_and_exits_with_2(finished, tmp_path, capsys):
    shutil.rmtree(finished / "evaluation")
    (finished / "evaluation").mkdir()
    (finished / "evaluation" / "test.json").write_text("{}")
    for words in (["report", str(finished), "-o", str(tmp_path / "r.html")], ["report", str(finished), "-o", "/"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("error: ")
        assert "\n" not in said
    assert not (tmp_path / "r.html").exists()
