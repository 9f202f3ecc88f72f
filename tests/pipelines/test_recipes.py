"""Every recipe that comes with longvid is whole, is found by its name, and says what it repeats of others' mistakes."""

from dataclasses import fields

import pytest

from longvid.benchmarks.known_tasks import KNOWN_TASKS, find_task
from longvid.benchmarks.lvu.annotations import LVU_TASKS
from longvid.benchmarks.protocols import PROTOCOLS, find_protocol
from longvid.clips.sampling import Sampling
from longvid.decoders import DECODERS, build_decoder
from longvid.errors import AnnotationError, ConfigError
from longvid.pipelines.extraction import ExtractionJob
from longvid.pipelines.recipes import recipe_names
from longvid.pipelines.training.config import load_config, load_features
from longvid.pipelines.training.data import listed_videos

NEEDED = ["store=s.zarr", "manifest=m.jsonl"]
NAMES = recipe_names()


def test_every_benchmark_has_its_recipes_in_both_forms():
    own = [f"lvu/{task}" for task in LVU_TASKS] + ["breakfast", "breakfast-segmentation", "coin", "coin-steps"]
    today = {name + form for name in own for form in ("", "-as-published", "-siglip2", "-vjepa2")}
    assert {name for name in NAMES if name in today} == today, "every task on today's encoders too"
    tokens = {f"lvu/{task}-siglip2-tokens" for task in LVU_TASKS}
    tokens |= {f"{name}-{encoder}-tokens" for name in ("breakfast", "coin") for encoder in ("siglip2", "vjepa2")}
    nets = {f"breakfast-segmentation-{net}-as-published" for net in ("ms-tcn++", "asformer", "ltcontext")}
    assert set(NAMES) == today | tokens | nets | {"lvu/all"}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_loads_by_its_name_and_everything_it_names_exists(name):
    config = load_config(name, NEEDED)
    assert (config.name, config.out) == (name, f"runs/{name}")
    assert set(config.joint or [config.task.name]) <= set(KNOWN_TASKS)
    assert config.protocol in PROTOCOLS
    assert not config.protocol_changes
    assert config.as_published == name.endswith("-as-published")
    if config.features is not None:
        Sampling.from_dict(config.features.sampling or {})
        ExtractionJob("patch-statistics", preprocessing=config.features.preprocessing, device="cpu").build()
    head = {"head": "steps"} if config.protocol.startswith(("breakfast/units", "coin/steps")) else {}
    known = {field.name for field in fields(DECODERS[config.decoder.name].config)}
    narrow = {"width": 16} if "width" in known else {}
    build_decoder(config.decoder.name, dim=64, outputs=4, max_length=64, **(config.decoder.options | narrow | head))


@pytest.mark.parametrize("name", [name for name in NAMES if not name.endswith("-as-published")])
def test_our_own_recipes_never_look_at_test(name):
    config = load_config(name, NEEDED)
    assert not config.validation.on_test
    assert not config.schedule.backwards


@pytest.mark.parametrize("task", LVU_TASKS)
def test_vis4mers_lvu_training_has_its_windows_and_its_backward_schedule(task):
    config = load_config(f"lvu/{task}-as-published", NEEDED)
    window = config.window
    assert (window.clips, window.stride, window.short, window.draw) == (60, 1, "padded", "windows")
    assert (config.batch_size, config.epochs, config.validation.every_epochs) == (16, 100, 10)
    assert config.schedule.backwards
    assert config.split_column == f"{task}_split"


@pytest.mark.parametrize(("name", "manifest"), [("lvu/scene", "lvu.jsonl"), ("coin-steps-as-published", "coin.jsonl")])
def test_the_manifest_is_the_one_prepare_writes_unless_another_is_given(name, manifest):
    assert load_config(name, ["store=s.zarr"]).manifest == manifest
    assert load_config(name, ["store=s.zarr", "manifest=m.csv"]).manifest == "m.csv"


def test_a_manifest_nobody_made_is_answered_with_the_command_that_makes_it(tmp_path):
    with pytest.raises(AnnotationError, match="no such file; make it with `longvid prepare breakfast`"):
        listed_videos(load_config("breakfast", ["store=s", f"manifest={tmp_path / 'none.jsonl'}"]))


def test_a_protocol_asked_for_on_the_command_line_brings_its_window():
    config = load_config("lvu/scene", [*NEEDED, "protocol=lvu/videomamba"])
    assert (config.window.seconds, config.window.stride_seconds, config.window.shortest_seconds) == (60.0, 16.0, 30.0)


def test_what_is_changed_in_a_protocols_window_is_told():
    config = load_config("lvu/scene", [*NEEDED, "window.stride_seconds=5"])
    assert config.protocol_changes == ("stride_seconds: 1.0 -> 5.0",)


def test_a_saved_recipe_of_a_protocol_loads_equal(tmp_path):
    config = load_config("lvu/scene-as-published", NEEDED)
    (tmp_path / "recipe.yaml").write_text(config.to_yaml())
    again = load_config(tmp_path / "recipe.yaml", [*NEEDED, f"out={config.out}"])
    assert again == config


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lvu/relationships", "no recipe file lvu/relationships and no recipe of that name; similar: lvu/relationship"),
        ("brekfast", "similar: breakfast"),
        ("xyz", "there are: breakfast, "),
        ("nowhere.yaml", "nowhere.yaml: no such recipe file"),
    ],
)
def test_a_name_that_is_no_recipe_is_answered_with_the_near_ones(name, message):
    with pytest.raises(ConfigError, match=message):
        load_config(name, NEEDED)


def test_a_recipe_on_another_encoder_is_its_task_with_other_features_and_another_decoder():
    ours, other = load_config("coin", NEEDED), load_config("coin-siglip2", NEEDED)
    assert (other.task, other.protocol, other.seeds) == (ours.task, ours.protocol, ours.seeds)
    assert other.features.encoder == "google/siglip2-so400m-patch14-384"
    assert other.decoder.name == "attentive"
    assert "width" not in other.decoder.options, "an option of the decoder that was replaced"
    tokens = load_config("coin-siglip2-tokens", NEEDED)
    assert (tokens.features.encoder, tokens.features.pooling) == (other.features.encoder, "tokens")


def test_a_recipe_file_of_ones_own_cannot_extend(tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: coin\n")
    with pytest.raises(ConfigError, match="extends is not a setting"):
        load_config(tmp_path / "mine.yaml", NEEDED)


def test_the_segmentation_recipes_have_four_folds_until_one_is_asked_for():
    names = [name for name in NAMES if name.startswith("breakfast-segmentation")]
    for name in names:
        config = load_config(name, NEEDED)
        assert config.several_folds
        assert tuple(config.folds) == find_protocol(config.protocol).folds
        assert not load_config(name, [*NEEDED, "split_column=s2_labelled"]).several_folds


@pytest.mark.parametrize("override", ["validation.on_test=true", "schedule={name: plateau, backwards: true}"])
def test_a_published_mistake_is_repeated_only_under_its_label(override):
    with pytest.raises(ConfigError, match="needs as_published=true") as caught:
        load_config("breakfast", [*NEEDED, override])
    assert "\n" not in str(caught.value)
    load_config("breakfast", [*NEEDED, override, "as_published=true"])


def test_near_protocols_and_tasks_are_named():
    with pytest.raises(ConfigError, match="no protocol 'lvu/vis4mr'; there are lvu/vis4mer"):
        load_config("breakfast", [*NEEDED, "protocol=lvu/vis4mr"])
    with pytest.raises(ConfigError, match="no protocol"):
        find_protocol("x")
    with pytest.raises(ConfigError, match="no task 'lvu/scenes'; there are lvu/scene"):
        find_task("lvu/scenes")


def test_features_of_another_kind_than_the_recipes_are_told():
    features = load_features("lvu/scene")
    made = {
        "encoder": "patch-statistics",
        "dtype": "float16",
        "pooling": "class",
        "sampling": {"frames": 4, "fps": 1.0},
    }
    assert features.differences(made) == [
        "encoder: patch-statistics, not timm:vit_large_patch16_224.augreg_in21k",
        "sampling.frames: 4, not 1",
        "sampling.stride_seconds: None, not 1.0",
    ]


def test_a_recipe_for_features_from_elsewhere_says_so_at_extraction():
    with pytest.raises(ConfigError, match="has no feature settings; give --encoder"):
        load_features("breakfast-segmentation-as-published")


def test_preprocessing_of_a_recipe_reaches_the_encoder_and_a_field_that_is_none_is_refused():
    published = load_features("lvu/scene-as-published").preprocessing
    spec = ExtractionJob("patch-statistics", preprocessing=published, device="cpu").build().spec
    assert (spec.preprocessing.mean, spec.preprocessing.std) == ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    with pytest.raises(ConfigError, match="Preprocessing has no field 'widht'"):
        ExtractionJob("patch-statistics", preprocessing={"widht": 3}, device="cpu").build()
