"""A decoder that a run or a recipe file names is never imported because the file names it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import longvid as longvid_package
from longvid.errors import DecoderError, LongvidError
from longvid.pipelines.evaluation.evaluate import evaluate
from longvid.pipelines.evaluation.predict import predict
from longvid.pipelines.training.config import load_config


@pytest.fixture(autouse=True)
def not_imported() -> Iterator[None]:
    yield
    assert "evil" not in sys.modules


@pytest.fixture
def named(world):
    """The run, which now names code as its decoder, everywhere that it names one."""
    world.change(world.run / "run.json", lambda values: values["decoder"].update(name="evil:build"))
    recipe = world.run / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("name: mean-linear", "name: evil:build"))
    assert "evil:build" in recipe.read_text()
    return world


def test_no_command_imports_what_a_run_names(named, refused, longvid):
    for words in (["evaluate", named.run], ["predict", named.run, named.video]):
        assert "--decoder evil:build" in refused(*words)
    assert "--allow-code" in refused("train", named.run / "recipe.yaml")
    assert "--allow-code" in refused("baseline", named.run / "recipe.yaml")
    longvid("report", named.run)  # it reads results and builds nothing
    longvid("results", "lvu/relationship", "--runs", named.folder)


def test_no_function_imports_what_a_run_names(named):
    for call in (
        lambda: evaluate(named.run, device="cpu"),
        lambda: predict(named.run, named.video, device="cpu"),
        lambda: longvid_package.load_decoder(named.run),
    ):
        with pytest.raises(DecoderError, match="nothing is imported because a file names it"):
            call()
    with pytest.raises(LongvidError, match="never imported"):
        load_config(named.run / "recipe.yaml", ["epochs=1", "decoder.options.width=8"])


def test_another_decoder_of_the_callers_own_must_have_the_trained_weights(named, refused):
    Path("fine.py").write_text("from torch import nn\ndef build(dim, outputs): return nn.Linear(dim, outputs + 1)\n")
    assert "best.safetensors" in refused("evaluate", named.run, "--decoder", "fine:build")
