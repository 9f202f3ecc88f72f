"""Places that a run, a recipe or a manifest names: nothing is fetched, and nothing outside a run is read or written."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

import longvid as longvid_package
from longvid.errors import ConfigError
from longvid.paths import inside
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.training.config import load_config
from longvid.pipelines.training.run_folder import RunFolder

pytestmark = pytest.mark.faults


def test_a_store_elsewhere_that_a_run_names_is_not_asked(world, refused, server):
    place = f"{server.url}/x.zarr"
    world.change(world.run / "run.json", lambda record: record.update(store=place))
    line = refused("evaluate", world.run)
    assert f"give --store {place}" in line
    for share in (r"\\host\share\x.zarr", "//host/share/x.zarr", f"simplecache::{place}"):
        world.change(world.run / "run.json", lambda record, share=share: record.update(store=share))
        with pytest.raises(ConfigError, match="is not opened just because a file names it"):
            evaluate(world.run)
    assert evaluate(world.run, store=str(world.store), device="cpu").evaluated == 1, "a place given now is opened"
    assert server.asked == []


def test_a_place_elsewhere_in_a_recipe_file_has_to_be_given_now(world, refused, server):
    place = f"{server.url}/x.zarr"
    Path("shared.yaml").write_text(f"store: {place}\nmanifest: manifest.jsonl\n")
    assert f"give store={place}" in refused("train", "shared.yaml")
    assert load_config("shared.yaml", [f"store={place}"]).store == place
    assert server.asked == []


@pytest.mark.parametrize("out", ["{tmp_path}/elsewhere/run", "../elsewhere", "link/run"])
def test_what_a_recipe_file_writes_stays_beside_it_or_in_the_working_folder(world, refused, tmp_path, out):
    out = out.format(tmp_path=tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (world.folder / "link").symlink_to(tmp_path / "elsewhere")
    Path("shared.yaml").write_text(f"store: features.zarr\nmanifest: manifest.jsonl\nout: {out}\n")
    assert "give out=" in refused("train", "shared.yaml")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert load_config("shared.yaml", [f"out={out}"]).out == out
    assert load_config("shared.yaml", ["out=run"]).out == "run"


@pytest.mark.parametrize("made_with", [{}, {"encoder": "//host/share/model"}, {"encoder": "/no/such/folder"}])
def test_a_model_that_a_run_names_is_not_fetched(world, refused, server, monkeypatch, tmp_path, made_with):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", server.url)

    def change(record):
        record["store_recipe"] |= {"encoder": "hf:somebody/model", "encoder_config": {"frames": 2, "weights": "loaded"}}
        record["made_with"] = made_with

    world.change(world.run / "run.json", change)
    assert "--encoder" in refused("predict", world.run, world.video)
    assert server.asked == []
    refused("predict", world.run, world.video, "--encoder", "hf:somebody/model")
    assert server.asked, "the hub is asked once its user names it"


def test_a_model_that_a_recipe_file_names_is_not_fetched(world, refused, server, monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    Path("shared.yaml").write_text("features: {encoder: 'hf:somebody/model'}\n")
    words = ["extract", world.video, "--recipe", "shared.yaml", "-o", "x.zarr", "--scheduler", "serial"]
    assert "not fetched because a file names it" in refused(*words)
    assert server.asked == []
    refused(*words, "--encoder", "hf:somebody/model")
    assert server.asked


def test_a_report_asks_no_address_and_shows_no_file_that_is_not_a_video(world, longvid, server):
    def change(evaluation):
        for line, path in zip(evaluation["timelines"], [f"{server.url}/x.mp4", "/etc/passwd"], strict=False):
            line["path"] = path

    world.change(world.run / "evaluation" / "test.json", change)
    status, _, err = longvid("report", world.run, "--out", "page.html")
    assert status == 0, err
    assert server.asked == []
    assert "No pictures" in Path("page.html").read_text()


def test_a_url_in_a_manifest_is_a_video_and_other_addresses_are_files_that_do_not_exist(world, longvid, server):
    """A manifest lists the user's videos, wherever they lie; nothing but the listed address is asked for."""
    paths = [f"{server.url}/a.mp4", f"concat:{world.video}|{world.video}", "/dev/zero", "pipe:0"]
    rows = [{"key": f"../../{index}", "path": path} for index, path in enumerate(paths)]
    Path("list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["extract", "list.jsonl", "-e", "patch-statistics", "-o", "x/y.zarr", "--scheduler", "serial"]
    status, out, err = longvid(*words)
    assert status == 3, err
    assert out.count("failed: ") == len(paths)
    assert set(server.asked) == {"/a.mp4"}
    assert not list(world.folder.glob("[0-9]*"))


def test_labels_are_not_read_from_a_device(world, refused):
    rows = [
        {"key": f"v{index}", "split": split, "label_path": "/dev/zero"} for index, split in enumerate(["train", "val"])
    ]
    Path("list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    words = ["task.kind=dense", "task.classes=[a, b]", "task.labels_per_second=1", "out=r", "decoder.name=mean-linear"]
    assert "label_path /dev/zero: no such file" in refused(
        "train", "store=features.zarr", "manifest=list.jsonl", *words
    )


@pytest.mark.parametrize("name", ["seed-0", "seed-0/best.safetensors", "evaluation", "manifest.jsonl", "run.json"])
def test_a_link_out_of_a_run_is_not_followed(world, refused, tmp_path, name):
    outside = tmp_path / "outside"
    shutil.move(world.run / name, outside)
    (world.run / name).symlink_to(outside)
    before = {path: path.read_bytes() for path in [outside, *outside.glob("**/*")] if path.is_file()}
    line = refused("evaluate", world.run)
    assert f"{name.partition('/')[0]}" in line
    assert "leads out of" in line
    if name not in ("evaluation", "manifest.jsonl"):
        assert "leads out of" in refused("predict", world.run, world.video)
    assert before == {path: path.read_bytes() for path in [outside, *outside.glob("**/*")] if path.is_file()}


def test_training_on_writes_nothing_through_a_link(world, longvid, tmp_path):
    outside = tmp_path / "outside"
    shutil.move(world.run / "seed-1", outside)
    (outside / "result.json").unlink()
    before = {path.name: path.read_bytes() for path in outside.iterdir() if path.is_file()}
    (world.run / "seed-1").symlink_to(outside)
    status, _, err = longvid("train", world.run / "recipe.yaml")
    assert status == 2
    assert "leads out of" in err.splitlines()[-1]
    assert before == {path.name: path.read_bytes() for path in outside.iterdir() if path.is_file()}


def test_a_link_within_a_run_and_to_a_run_is_followed(world, tmp_path):
    shutil.move(world.run / "seed-0", world.run / "first")
    (world.run / "seed-0").symlink_to(world.run / "first")
    (tmp_path / "run").symlink_to(world.run)
    assert longvid_package.load_decoder(tmp_path / "run", seed=0).task.classes == ("a", "b")


@pytest.mark.parametrize("seed", ["../../../x", "0/../../..", -1.5, None, [0]])
def test_a_seed_in_a_result_is_a_number(world, refused, seed):
    world.change(world.run / "result.json", lambda result: result["seeds"][0].update(seed=seed))
    assert "result.json: does not hold what longvid writes there" in refused("report", world.run)


def test_a_folder_called_like_a_seed_is_left_alone(world):
    for name in ("seed-x", "seed-", "seed-../x".replace("/", "_"), "seed-99999999999999999999"):
        (world.run / name).mkdir()
        (world.run / name / "result.json").write_text("{}")
    assert RunFolder(world.run).trained_seeds() == [0, 1]


@pytest.mark.parametrize("parts", [("..", "x"), ("a", "..", "..", "x"), ("/etc/passwd",), ("loop",), ("a\0b",)])
def test_a_path_that_leads_out_of_its_folder_is_refused(tmp_path, parts):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match="leads out of"):
        inside(tmp_path / "folder", *parts)
    assert inside(tmp_path / "folder", "a", "..", "b").name == "b"


@pytest.mark.parametrize("file", ["run.json", "result.json", "evaluation/test.json", "seed-0/result.json"])
@pytest.mark.parametrize(
    "text", ["[" * 200_000, '{"a":' * 200_000, "null", "[]", '"x"', '{"format": 1}', "\x00\xff", "1e999"]
)
def test_json_of_any_shape_is_one_line(world, refused, file, text):
    (world.run / file).write_bytes(text.encode("latin-1"))
    for words in (["report", world.run], ["evaluate", world.run], ["predict", world.run, world.video]):
        read = {"report": {"run.json", "result.json", "evaluation/test.json"}}.get(
            words[0], {"run.json", "seed-0/result.json"}
        )
        if file in read:
            assert Path(file).name in refused(*words)
    if file in ("run.json", "seed-0/result.json"):
        with pytest.raises(ConfigError, match=Path(file).name):
            longvid_package.load_decoder(world.run)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda record: record.update(windows={"clips": "many"}), "clips"),
        (lambda record: record.update(windows={"clips": 0}), "clips"),
        (lambda record: record.update(task={"name": "x", "kind": "classification", "classes": 5}), ""),
        (lambda record: record.update(store=["a"]), "store"),
        (lambda record: record["decoder"].update(dim="wide"), "dim"),
        (lambda record: record["decoder"].update(dim=10**15), ""),
        (lambda record: record["decoder"].update(outputs=-3), ""),
        (lambda record: record["decoder"].update(part=[1]), ""),
        (lambda record: record["decoder"].update(options={"no_such": 1}), "no_such"),
        (lambda record: record["store_recipe"].update(sampling={"frames": "x"}), "frames"),
        (lambda record: record["store_recipe"].update(sampling={"no_such": 1}), "no_such"),
        (lambda record: record["store_recipe"].update(preprocessing={"no_such": 1}), "no_such"),
        (lambda record: record["store_recipe"].update(pooling="no_such"), "no_such"),
        (lambda record: record["store_recipe"].update(dtype="no_such"), "dtype"),
        (lambda record: record["store_recipe"]["encoder_config"].update(dtype="load"), "load"),
        (lambda record: record["store_recipe"]["encoder_config"].update(dtype=["load"]), ""),
        (lambda record: record["store_recipe"]["encoder_config"].update(seed={"a": 1}, weights="random"), ""),
        (lambda record: record["store_recipe"]["encoder_config"].update(size="x"), "size"),
    ],
)
def test_a_run_with_impossible_settings_is_one_line(world, refused, change, named):
    world.change(world.run / "run.json", change)
    assert named in refused("predict", world.run, world.video)


def test_the_recipe_a_run_keeps_is_only_read(world, longvid, server, tmp_path):
    file = world.run / "recipe.yaml"
    settings = yaml.safe_load(file.read_text())
    elsewhere = tmp_path / "elsewhere"
    settings |= {"store": f"{server.url}/x.zarr", "manifest": f"{server.url}/m.csv", "out": str(elsewhere)}
    settings["features"] = {"encoder": "os:system", "options": {"command": world.command}}
    file.write_text(yaml.safe_dump(settings))
    for words in (["evaluate", world.run], ["report", world.run, "--out", "page.html"]):
        status, _, err = longvid(*words)
        assert status == 0, err
    assert server.asked == []
    assert not elsewhere.exists()
