"""The settings file of `longvid extract`: all options, checked, overridden by the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import command_in_process

from longvid.pipelines.demo.videos import Script, encode
from longvid.stores import FeatureStore

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The command in this process."""
    return command_in_process(capsys)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds."""
    folder = tmp_path_factory.mktemp("settings")
    encode(Script("film", 0, 4.0, 0.5, 2.5, seed=1), folder)
    return folder / "film.mp4"


def written(folder: Path, **values: Any) -> Path:
    """A settings file."""
    path = folder / "extraction.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_a_file_gives_every_option_and_the_command_line_overrides_it(run: Run, video: Path, tmp_path: Path) -> None:
    path = written(
        tmp_path,
        inputs=[str(video)],
        out=str(tmp_path / "x.zarr"),
        encoder="patch-statistics",
        option={"size": 48, "dim": 16, "frames": 2},
        sampling={"frames": 2, "fps": 4, "stride_seconds": 0.5},
        pooling="mean",
        preprocessing={"interpolation": "bicubic"},
        dtype="float32",
        scheduler="inline",
        clips_per_shard=3,
        report=str(tmp_path / "said.jsonl"),
        storage={"s3": {"key": "a"}},
        retries=2,
    )
    status, _, error = run("extract", "--settings", path)
    assert status == 0, error
    recipe = FeatureStore.open(tmp_path / "x.zarr").recipe
    assert (recipe.dtype, recipe.pooling, recipe.sampling["fps"]) == ("float32", "mean", 4)
    assert recipe.preprocessing["interpolation"] == "bicubic"
    assert FeatureStore.open(tmp_path / "x.zarr").clips_per_shard == 3
    assert json.loads((tmp_path / "said.jsonl").read_text())["status"] == "done"
    status, _, error = run("extract", "--settings", path, "--out", tmp_path / "y.zarr", "--dtype", "int8")
    assert status == 0, error
    assert FeatureStore.open(tmp_path / "y.zarr").recipe.dtype == "int8"
    status, _, error = run("extract", video, "--settings", path, "--plan", "--sampling", "frames=1,fps=1")
    assert status == 0, error


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"encodr": "x"}, "no setting 'encodr'; do you mean 'encoder'?"),
        ({"workers": "many"}, "workers='many': "),
        ({"dtype": "float64"}, "dtype='float64': "),
        ({"storage": {"s3": "top-secret"}}, "storage: give named options for each protocol"),
        ({"storage": {"s3": {"key": "$NOT_SET_AT_ALL"}}}, "storage.s3.key: the variable NOT_SET_AT_ALL is not set"),
        ({"scheduler": "slurm", "slurm": {"acount": "x"}}, "--slurm 'acount=x': give NAME=VALUE"),
        ({"encoders": [{"encoder": "patch-statistics"}]}, "encoders[0]: EncoderSettings.out must be given"),
        ({"encoders": {}}, "encoders: give a list of named settings"),
        ({"plan": True}, "no setting 'plan'"),
        ({"encoder": "os:getcwd"}, "--allow-code if the file is your own"),
    ],
)
def test_a_wrong_setting_is_one_line_that_names_the_file_and_shows_no_secret(
    values: dict[str, Any], said: str, run: Run, video: Path, tmp_path: Path
) -> None:
    given = {"inputs": str(video), "out": str(tmp_path / "x.zarr")}
    if "encoders" in values:
        given.pop("out")
    elif "encoder" not in values:
        given["encoder"] = "patch-statistics"
    path = written(tmp_path, **(given | values))
    status, _, error = run("extract", "--settings", path)
    assert status == 2
    assert said in " ".join(error.split())
    assert "top-secret" not in error
    if "slurm" not in values:
        assert "extraction.yaml" in "".join(error.split())


def test_a_file_that_is_not_settings_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("- 1\n")
    assert "is not a list of named settings" in run("extract", "--settings", tmp_path / "a.yaml")[2]
    (tmp_path / "b.yaml").write_text("storage: {s3: {secret: top-secret]}}\n")
    error = run("extract", "--settings", tmp_path / "b.yaml")[2]
    assert "top-secret" not in error
    assert "b.yaml:1" in "".join(error.split())
    assert "cannot be read" in " ".join(run("extract", "--settings", tmp_path / "none.yaml")[2].split())


def test_several_encoders_of_a_file_have_their_own_sampling_size_and_pooling(
    run: Run, video: Path, tmp_path: Path
) -> None:
    path = written(
        tmp_path,
        inputs=str(video),
        scheduler="inline",
        dtype="float32",
        encoders=[
            {"encoder": "patch-statistics", "out": str(tmp_path / "a.zarr"), "sampling": {"frames": 1, "fps": 2}},
            {
                "encoder": "patch-statistics",
                "out": str(tmp_path / "b.zarr"),
                "sampling": "frames=2,fps=4",
                "option": {"size": 48, "frames": 2},
                "pooling": "tokens",
                "clips_per_shard": 2,
                "dtype": "float16",
            },
        ],
    )
    status, _, error = run("extract", "--settings", path)
    assert status == 0, error
    stores = [FeatureStore.open(tmp_path / f"{name}.zarr") for name in "ab"]
    assert [len(store) for store in stores] == [1, 1]
    assert [store.recipe.dtype for store in stores] == ["float32", "float16"]
    assert [store.recipe.preprocessing["height"] for store in stores] != [48, 48]
    assert stores[1].recipe.preprocessing["height"] == 48
    assert stores[1].recipe.pooling == "tokens"
    status, _, error = run("extract", "--settings", path, "--pooling", "mean")
    assert status == 2
    assert "says for each of its encoders what --pooling says; change it there" in " ".join(error.split())


def test_several_encoders_of_the_command_line_each_need_a_store(run: Run, video: Path, tmp_path: Path) -> None:
    two = ["--encoder", "patch-statistics", "--encoder", "patch-statistics"]
    options = ["--scheduler", "inline", "--sampling", "frames=1,fps=2"]
    status, _, error = run("extract", video, *two, "--out", tmp_path / "a.zarr", *options)
    assert status == 2
    assert "2 encoders and 1 store: give an --out for each" in " ".join(error.split())
    status, _, error = run("extract", video, *two, "--out", tmp_path / "a.zarr", "--out", tmp_path / "b.zarr", *options)
    assert status == 0, error
    assert len(FeatureStore.open(tmp_path / "a.zarr")) == len(FeatureStore.open(tmp_path / "b.zarr")) == 1
