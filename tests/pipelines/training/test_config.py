"""A recipe is taken whole or refused in one line that names the setting."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longvid.errors import ConfigError
from longvid.pipelines.training.config import TrainConfig, load_config

NEEDED = ["store=s.zarr", "manifest=m.csv"]


def test_a_written_recipe_loads_equal(tmp_path):
    config = load_config(None, [*NEEDED, "window.clips=60", "early_stopping.patience=3", "seeds=[1, 2]", "task.name=7"])
    (tmp_path / "recipe.yaml").write_text(config.to_yaml())
    again = load_config(tmp_path / "recipe.yaml", [*NEEDED, f"out={config.out}"])
    assert again == config


def test_overrides_reach_nested_settings_and_win_over_the_file(tmp_path):
    (tmp_path / "recipe.yaml").write_text("store: a\nmanifest: b\noptimiser: {learning_rate: 1.0, weight_decay: 0.5}\n")
    config = load_config(
        tmp_path / "recipe.yaml",
        ["optimiser.learning_rate=1e-3", "decoder.options.layers=2", "early_stopping.patience=4", "seeds=3,4"],
    )
    assert (config.optimiser.learning_rate, config.optimiser.weight_decay) == (1e-3, 0.5)
    assert config.decoder.options == {"layers": 2}
    assert config.early_stopping is not None
    assert config.early_stopping.patience == 4
    assert config.seeds == [3, 4]


def test_paths_in_a_file_are_relative_to_it_and_in_overrides_to_here(tmp_path):
    (tmp_path / "recipe.yaml").write_text("store: features.zarr\nmanifest: /abs/list.csv\n")
    config = load_config(tmp_path / "recipe.yaml", ["out=runs/x"])
    assert config.store == str(tmp_path / "features.zarr")
    assert config.manifest == "/abs/list.csv"
    assert config.out == "runs/x"
    assert load_config(tmp_path / "recipe.yaml", ["store=s3://b/f.zarr"]).store == "s3://b/f.zarr"


REFUSED = {
    "optimiser.learnig_rate=1": "optimiser.learnig_rate is not a setting; did you mean optimiser.learning_rate?",
    "epoch=1": "epoch is not a setting; did you mean epochs?",
    "zzz=1": "zzz is not a setting; there are name, store",
    "early_stopping.patients=3": "did you mean early_stopping.patience?",
    "lr=0.1": "lr is not a setting; did you mean optimiser.learning_rate?",
    "weight_decay=0": "did you mean optimiser.weight_decay?",
    "patience=3": "did you mean schedule.patience or early_stopping.patience?",
    "seeds=0": "seeds=0: should be a list; write seeds=[0]",
    "task.classes=a": "task.classes=a: should be a list; write task.classes=[a]",
    "decoder=vis4mer": "decoder=vis4mer: decoder has several settings; write decoder.name=vis4mer",
    "window=60": "window has several settings: window.clips, window.seconds, window.segments",
    "name.first=a": "override 'name.first=a': name is 'recipe', which has no settings",
    "epochs=0": "epochs=0: should be at least 1",
    "epochs=many": "epochs=many: should be a whole number",
    "schedule.name=cosin": "schedule.name=cosin: should be 'cosine', 'cosine-ahead', 'plateau' or 'constant'",
    "window={clips: 3, seconds: 2}": "window: give one of clips, seconds and segments",
    "seeds=[1, 1]": "seeds=[1, 1]: must be distinct",
    "seeds=[]": "at least 1 item",
    "device=tpu": "device=tpu: should be 'auto', 'cpu' or 'cuda'",
    "epochs": "override 'epochs' is not of the form key=value",
    "a=[1": "cannot be read as YAML",
}


@pytest.mark.parametrize("override", REFUSED)
def test_an_impossible_setting_is_one_line_with_its_name(override):
    with pytest.raises(ConfigError) as caught:
        load_config(None, [*NEEDED, "name=recipe", override])
    assert REFUSED[override] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_everything_that_is_wrong_is_said_at_once():
    with pytest.raises(ConfigError, match=r"epochs=0.*; batch_size=0|batch_size=0.*; epochs=0"):
        load_config(None, [*NEEDED, "epochs=0", "batch_size=0"])


def test_what_is_not_given_is_asked_for():
    with pytest.raises(ConfigError, match=r"no store and no manifest is given; add `store=\.\.\. manifest=\.\.\.`"):
        load_config(None, [])


@pytest.mark.parametrize(
    ("content", "message"),
    [("a: [1\n", r"recipe\.yaml:2: cannot be read as YAML"), ("- a\n", "a recipe is a list of"), ("", "a recipe is")],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, content, message):
    (tmp_path / "recipe.yaml").write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "recipe.yaml")
    with pytest.raises(ConfigError, match="no such recipe"):
        load_config(tmp_path / "nowhere.yaml")


WORDS = [
    "store",
    "decoder",
    "options",
    "window",
    "clips",
    "optimiser",
    "betas",
    "early_stopping",
    "seeds",
    "task",
    "x",
    "",
]
VALUES = st.sampled_from(
    ["", "1", "-1", "1e400", "null", "[1, [2]]", "{a: {b: 1}}", "!!python/object:os.x {}", "2001-01-01", "a: b", "*x"]
)


@settings(max_examples=300, deadline=None)
@given(
    overrides=st.lists(
        st.builds(
            lambda w, v: ".".join(w) + "=" + v,
            st.lists(st.sampled_from(WORDS), max_size=4),
            VALUES | st.text(max_size=8),
        ),
        max_size=3,
    )
)
def test_any_override_is_a_setting_or_one_line_of_error(overrides):
    try:
        outcome = str(load_config(None, [*NEEDED, *overrides]).epochs)
    except ConfigError as error:
        outcome = str(error)
    assert "\n" not in outcome


def test_the_constructor_takes_plain_keywords():
    assert TrainConfig(store="s", manifest="m", epochs=3).epochs == 3
