"""Every setting is found: its name, type, default and purpose, for people and for editors."""

import json
from pathlib import Path

import pytest
import yaml

from longvid.decoders import DECODERS
from longvid.errors import ConfigError
from longvid.pipelines.recipes import recipe_names, recipe_settings, recipe_text
from longvid.pipelines.training.config import TrainConfig, load_config
from longvid.pipelines.training.settings_reference import json_schema, setting_rows
from longvid.safe_yaml import parse_yaml

NEEDED = ["store=s.zarr", "manifest=m.csv"]


def test_every_setting_has_a_type_and_says_what_it_is():
    rows = setting_rows()
    assert {"epochs", "optimiser.learning_rate", "task.kind", "early_stopping", "decoder.options.width"} <= {
        row.name for row in rows
    }
    assert len({row.name for row in rows}) == len(rows) > 60
    assert [row.name for row in rows if not row.what or row.type == "any value"] == []


def test_the_options_of_every_decoder_say_what_they_are(tmp_path):
    for name in DECODERS:
        (tmp_path / "r.yaml").write_text(f"decoder: {{name: {name}}}\n")
        rows = [row for row in setting_rows(tmp_path / "r.yaml") if row.name.startswith("decoder.options.")]
        assert rows, name
        assert [row.name for row in rows if row.what == name] == [], name


def test_each_default_it_prints_is_the_default():
    rows = {row.name: row for row in setting_rows()}
    defaults = load_config(None, NEEDED)
    given = [f"{row.name}={row.default}" for row in rows.values() if row.default and row.default != "null"]
    inside = (
        "early_stopping.",
        "features.",
        "decoder.options.",
        "refinement.",
        "smoothing.",
    )  # of sections that are off
    given = [word for word in given if not word.startswith(inside)]
    assert len(given) > 30
    assert load_config(None, [*NEEDED, *given]) == defaults
    assert rows["epochs"].type == "whole number >= 1"
    assert rows["schedule.name"].type == "one of cosine, cosine-ahead, plateau, constant"
    assert rows["optimiser.betas"].type == "2 values: number >= 0 and < 1"


def test_a_recipes_own_values_stand_beside_the_defaults():
    rows = {row.name: row for row in setting_rows("lvu/relationship")}
    assert (rows["epochs"].value, rows["epochs"].default) == ("60", "50")
    assert rows["decoder.options.width"].value == "512"
    assert rows["seeds"].value == "[0, 1, 2]"
    assert rows["precision"].value is None
    with pytest.raises(ConfigError, match="similar: lvu/relationship"):
        setting_rows("lvu/relation")


def test_the_schema_accepts_every_recipe_and_what_longvid_refuses_it_refuses():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for name in recipe_names():
        assert not list(validator.iter_errors(recipe_settings(name))), name
    full = json.loads(json.dumps(TrainConfig.of({"store": "s", "manifest": "m"}).model_dump(mode="json")))
    assert not list(validator.iter_errors(full))
    for wrong in (
        {"epoch": 1}, {"epochs": 0}, {"optimiser": {"learning_rate": "fast"}}, {"schedule": {"name": "cosin"}},
        {"decoder": {"name": "gru", "options": {"depth": 2}}}, {"decoder": {"name": "gru", "options": {"dropout": 1}}},
    ):  # fmt: skip
        assert list(validator.iter_errors(wrong)), wrong
    assert not list(validator.iter_errors({"decoder": {"name": "my_module:Mine", "options": {"depth": 2}}}))
    assert json_schema("lvu/relationship")["properties"]["epochs"]["default"] == 60
    assert schema["properties"]["epochs"]["description"] == "Passes over the training videos."


@pytest.mark.parametrize("name", recipe_names())
def test_a_printed_recipe_has_its_comments_and_the_same_settings(name):
    text = recipe_text(name)
    assert parse_yaml(text) == recipe_settings(name)
    assert sum(line.startswith("#") for line in text.splitlines()) >= 2


def test_the_commands_print_them(command, monkeypatch):
    status, out, _ = command("train", "--settings")
    assert status == 0
    assert "\nepochs=50  (whole number >= 1)  Passes over the training videos\n" in out
    status, out, _ = command("train", "--settings", "lvu/relationship")
    assert "\nepochs=60, default 50  (whole number >= 1)" in out
    status, out, _ = command("train", "--settings", "--json")
    assert json.loads(out)["properties"]["epochs"]["minimum"] == 1
    status, out, _ = command("recipe", "lvu/relationship")
    assert status == 0
    Path("mine.yaml").write_text(out)
    assert yaml.safe_load(out)["protocol"] == "lvu/masked"
    assert load_config("mine.yaml", NEEDED).epochs == 60
    status, _, err = command("recipe", "lvu/relation")
    assert (status, "similar: lvu/relationship" in err) == (2, True)
    status, _, err = command("train")
    assert status == 2
    assert "longvid train store=x.zarr manifest=videos.csv" in err
    status, out, _ = command("tasks")
    assert "lvu needs its videos" in out
    assert "longvid[extract,timm,train]" in out
