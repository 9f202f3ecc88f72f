"""Settings check themselves wherever they are made, and say in one line what is wrong with them."""

import json
import pickle
import subprocess
import sys
from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.decoders import DECODERS
from longvid.encoders.dualformer.config import StageConfig
from longvid.encoders.mobile_former.config import IMAGE_CONFIGS
from longvid.encoders.xvit.model import XViTConfig
from longvid.errors import ConfigError, LongvidError
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.ssm import S4Config
from longvid.validation import settings

WRONG: dict[str, tuple[str, str]] = {
    "Sampling(frames=2.5)": ("ConfigError", "Sampling.frames=2.5: should be a whole number"),
    "Sampling(frames=True)": ("ConfigError", "Sampling.frames=True: should be a whole number"),
    "Sampling(fps='fast')": ("ConfigError", "Sampling.fps='fast': should be a number"),
    "Sampling(end='loop')": ("ConfigError", "Sampling.end='loop': should be 'drop', 'repeat' or 'shift'"),
    "Sampling(span='half')": ("ConfigError", "Sampling.span='half': should be 'whole' or 'listed'"),
    "Sampling(pace=3)": (
        "ConfigError",
        "Sampling has no field 'pace'; its fields are frames, fps, stride_seconds, segments, end, span",
    ),
    "Preprocessing(height=64, width=64, resize='foo')": (
        "ConfigError",
        "Preprocessing.resize='foo': should be 'squash' or 'short_side'",
    ),
    "Preprocessing(0, std=(1, 0, 1))": (
        "ConfigError",
        "Preprocessing.height=0: should be at least 1; Preprocessing.std[1]=0: should be more than 0",
    ),
    "Preprocessing(mean=0.5)": ("ConfigError", "Preprocessing.mean=0.5: should be a list"),
    "Windows(clips='many')": ("ConfigError", "Windows.clips='many': should be a whole number"),
    "Windows(short='cut')": ("ConfigError", "Windows.short='cut': should be 'masked', 'padded' or 'drop'"),
    "EncoderSpec('mine', Sampling(), Preprocessing(), poolings='mean')": (
        "EncoderError",
        "EncoderSpec.poolings='mean': should be a list",
    ),
    "EncoderSpec('mine', 4, Preprocessing())": (
        "EncoderError",
        "EncoderSpec.sampling=4: should be a Sampling, or its fields by name",
    ),
    "XViTConfig(aggregation='mean')": (
        "EncoderError",
        "XViTConfig.aggregation='mean': should be 'temporal_attention' or 'average'",
    ),
    "XViTConfig(mixed_blocks=(0, 12))": ("EncoderError", "mixed_blocks=[12] do not exist in a net of depth 12"),
    "DualFormerConfig(stages=())": ("EncoderError", "a DualFormer needs at least one stage"),
    "DualFormerConfig((StageConfig(dim=8, heads=2, blocks=1),), drop_path=1)": (
        "EncoderError",
        "DualFormerConfig.drop_path=1: should be less than 1",
    ),
    "StageConfig(dim=8, heads=2, blocks=1, window=(8, 7))": (
        "EncoderError",
        "StageConfig.window[2] must be given",
    ),
    "BlockConfig('wide', 8, 4)": ("EncoderError", "BlockConfig.kind='wide': should be 'lite', 'standard' or 'down'"),
    "MobileFormerConfig(8, (BlockConfig('lite', 8, 3),), 3, 32, 16, dropout='none')": (
        "EncoderError",
        "MobileFormerConfig.dropout='none': should be a number",
    ),
    "MobileFormerConfig(8, [{'kind': 'lite', 'dim': 0, 'expansion': 3}], 3, 32, 16)": (
        "EncoderError",
        "MobileFormerConfig.blocks[0].dim=0: should be at least 1",
    ),
    "S4Config(4, mixer='s6')": ("DecoderError", "S4Config.mixer='s6': should be 's4', 's4d' or 's5'"),
    "S4Config(4, bidirectional='both')": ("DecoderError", "S4Config.bidirectional='both': should be true or false"),
    "DecoderConfig(dim=4, outputs=2, head='frames')": (
        "DecoderError",
        "DecoderConfig.head='frames': should be 'video' or 'steps'",
    ),
    "DecoderConfig(dim=4)": ("DecoderError", "DecoderConfig.outputs must be given"),
    "PyramidConfig(dim=4, outputs=2, layers=0)": ("DecoderError", "PyramidConfig.layers=0: should be at least 1"),
    "ViS4merConfig(dim=64, outputs=2, state_matrix='tied')": (
        "DecoderError",
        "ViS4merConfig.state_matrix='tied': should be 'stable' or 'free'",
    ),
    "HybridConfig(dim=64, outputs=2, without=['pooling'])": (
        "DecoderError",
        "HybridConfig.without[0]='pooling': should be 's4', 'tokens', 'read', 'write' or 'gate'",
    ),
    "TransformerConfig(dim=64, outputs=2, attention='flash')": (
        "DecoderError",
        "TransformerConfig.attention='flash': should be 'fused' or 'stored'",
    ),
    "PerformerConfig(dim=64, outputs=2, features=0)": (
        "DecoderError",
        "PerformerConfig.features=0: should be at least 1",
    ),
    "SelectiveConfig(dim=64, outputs=2, taps=-1)": ("DecoderError", "SelectiveConfig.taps=-1: should be at least 1"),
    "GlobalTokenConfig(dim=4, outputs=2, queries='free')": (
        "DecoderError",
        "GlobalTokenConfig.queries='free': should be 'fixed' or 'content'",
    ),
    "ConvolutionalConfig(dim=4, outputs=2, dropout=2)": (
        "DecoderError",
        "ConvolutionalConfig.dropout=2: should be less than 1",
    ),
    "RecurrentConfig(dim=4, outputs=2, cell='rnn')": (
        "DecoderError",
        "RecurrentConfig.cell='rnn': should be 'lstm' or 'gru'",
    ),
    "GRUConfig(dim=4, outputs=2, width='wide')": ("DecoderError", "GRUConfig.width='wide': should be a whole number"),
    "PooledConfig(dim=4, outputs=2, pooling='last')": (
        "DecoderError",
        "PooledConfig.pooling='last': should be 'mean' or 'max'",
    ),
    "MaxPooledConfig(dim=4, outputs=[2])": ("DecoderError", "MaxPooledConfig.outputs=[2]: should be a whole number"),
    "Objective(name='next')": ("ConfigError", "Objective.name='next': should be 'masked' or 'next-clip'"),
    "Objective(horizons=(0,))": ("ConfigError", "Objective.horizons[0]=0: should be at least 1"),
    "StagedConfig(dim=4, outputs=2, padding='none')": (
        "DecoderError",
        "StagedConfig.padding='none': should be 'masked' or 'official'",
    ),
    "MSTCNConfig(dim=4, outputs=2, dropout=1.5)": ("DecoderError", "MSTCNConfig.dropout=1.5: should be less than 1"),
    "MSTCNPlusPlusConfig(dim=4, outputs=2, refinements=-1)": (
        "DecoderError",
        "MSTCNPlusPlusConfig.refinements=-1: should be at least 0",
    ),
    "ASFormerConfig(dim=4, outputs=2, window='all')": (
        "DecoderError",
        "ASFormerConfig.window='all': should be 'own' or 'shared'",
    ),
    "LTContextConfig(dim=4, outputs=2, norm='layer')": (
        "DecoderError",
        "LTContextConfig.norm='layer': should be 'none' or 'instance'",
    ),
    "RefinementSettings(stages=0)": ("DecoderError", "RefinementSettings.stages=0: should be at least 1"),
    "LVMAEConfig(dim=64, outputs=2, probe='mean')": (
        "DecoderError",
        "LVMAEConfig.probe='mean': should be 'attentive' or 'linear'",
    ),
    "StreamLayout(dims=(0,), tokens=(1,))": ("DecoderError", "StreamLayout.dims[0]=0: should be at least 1"),
    "AttentiveConfig(dim=64, outputs=2, order='first')": (
        "DecoderError",
        "AttentiveConfig.order='first': should be 'query-last' or 'query-first'",
    ),
    "FourLayerConfig(dim=64, outputs=2, layers='four')": (
        "DecoderError",
        "FourLayerConfig.layers='four': should be a whole number",
    ),
    "Join(how='sum')": ("ConfigError", "Join.how='sum': should be 'features' or 'streams'"),
    "EncoderSettings(encoder='patch-statistics', out='x.zarr', dtype='float8')": (
        "ConfigError",
        "EncoderSettings.dtype='float8': should be 'float16', 'float32' or 'int8'",
    ),
    "Augmentation(flip=2)": ("ConfigError", "Augmentation.flip=2: should be at most 1"),
    "Mixing(mixup=-1)": ("ConfigError", "Mixing.mixup=-1: should be at least 0"),
    "TrainingSampling(rule='random')": (
        "ConfigError",
        "TrainingSampling.rule='random': should be 'dense', 'span', 'segments' or 'segments-rounded'",
    ),
    "ProbeSettings(steps=0)": ("ConfigError", "ProbeSettings.steps=0: should be at least 1"),
    "Views(join='max')": ("ConfigError", "Views.join='max': should be 'sum-logits', 'mean-logits' or 'mean-softmax'"),
    "ExtractionJob('patch-statistics', dtype='float8')": (
        "ConfigError",
        "ExtractionJob.dtype='float8': should be 'float16', 'float32' or 'int8'",
    ),
    "ExtractionJob(3)": ("ConfigError", "ExtractionJob.encoder=3: should be text or should be callable"),
    "ExtractionJob('patch-statistics', sampling={'frames': 0})": (
        "ConfigError",
        "ExtractionJob.sampling.frames=0: should be at least 1",
    ),
    "DownloadSettings(pause_seconds=(-1, 'x'))": (
        "ConfigError",
        "DownloadSettings.pause_seconds[0]=-1: should be at least 0; "
        "DownloadSettings.pause_seconds[1]='x': should be a number",
    ),
}
"""What is wrong, the error it is and what that says."""

PROGRAM = """
import importlib, json, pkgutil, sys
import longvid, pipelines
from longvid.errors import LongvidError
found = {}
for package in (longvid, pipelines):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if module.name.rpartition(".")[2] in ("__main__", "triton_programs"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and "__is_pydantic_dataclass__" in vars(value):
                found[value.__name__] = value
told = {}
for call in json.load(sys.stdin):
    try:
        told[call] = ["", repr(eval(call, dict(found)))]
    except LongvidError as error:
        told[call] = [type(error).__name__, str(error)]
print(json.dumps({"classes": sorted(found), "told": told}))
"""


def test_every_settings_class_refuses_wrong_values_in_a_process_without_the_shape_checks() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=json.dumps(list(WRONG)), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout.splitlines()[-1])
    assert {call: tuple(told) for call, told in found["told"].items()} == WRONG
    assert set(found["classes"]) == {call.partition("(")[0] for call in WRONG}, "every settings class is tried"


def test_settings_compare_hash_and_travel_as_frozen_dataclasses_do() -> None:
    made = Sampling(4, 2, 1.5, end="shift")
    assert made == Sampling(frames=4, fps=2, stride_seconds=1.5, end="shift")
    assert hash(made) == hash(replace(made))
    assert pickle.loads(pickle.dumps(made)) == made
    job = ExtractionJob("patch-statistics", sampling=made, preprocessing={"height": 64})
    assert pickle.loads(pickle.dumps(job)) == job
    assert asdict(made) == {
        "frames": 4, "fps": 2, "stride_seconds": 1.5, "segments": None, "end": "shift", "span": "whole",
    }  # fmt: skip
    with pytest.raises(FrozenInstanceError):
        made.frames = 5  # type: ignore[misc]
    with pytest.raises(ConfigError, match="stride_seconds=0"):
        replace(made, stride_seconds=0)


def test_values_as_yaml_and_the_command_line_give_them_are_taken_and_whole_numbers_stay_whole() -> None:
    read: dict[str, Any] = {"frames": "4", "fps": "12.5"}
    assert Sampling(**read) == Sampling(4, 12.5)
    assert repr(Sampling(fps=2).fps) == "2"
    lists: Any = [0, 0, 0]
    assert Preprocessing(mean=lists).mean == (0, 0, 0)
    assert repr(Preprocessing(mean=lists).mean) == "(0, 0, 0)"
    config = DECODERS["vis4mer"].config(dim=64, outputs=2, map_lengths=[8, 4, 2], step_range=[0.01, 0.1])
    assert (config.map_lengths, config.step_range) == ((8, 4, 2), (0.01, 0.1))


@pytest.mark.parametrize("made", [XViTConfig(), S4Config(4), IMAGE_CONFIGS["26m"], StageConfig(8, 2, 1)])
def test_settings_made_again_of_their_own_fields_are_equal(made: Any) -> None:
    assert type(made)(**asdict(made)) == made


def test_a_rule_between_fields_is_told_by_the_error_of_the_class_that_has_it() -> None:
    @settings(ConfigError)
    class Inner:
        low: int = 0
        high: int = 1

        def __post_init__(self) -> None:
            if self.low > self.high:
                raise ConfigError(f"low={self.low} is above high={self.high}")

    @settings(LongvidError)
    class Outer(Inner):
        low: int = 1

    with pytest.raises(ConfigError, match=r"^low=3 is above high=1$"):
        Outer(3)
