"""Weights load strictly, from every container, without running code; ours keep their configuration."""

import json
import os
import pickle
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from longvid.checkpoints import OFFICIAL, load_official, load_weights, read_weights, save_weights
from longvid.checkpoints.official import official_layout
from longvid.encoders.xvit import XViT, XViTConfig
from longvid.errors import WeightsError
from longvid.weights import fit_state, read_checkpoint, state_sha256

CONFIG = XViTConfig(
    patch_size=32, dim=24, depth=2, num_heads=4, aggregator_heads=4, head_dim=16, num_classes=5, mixed_blocks=(0,)
)
OPTIONS = {"num_heads": 4, "aggregator_heads": 4, "segment_frames": 8, "shift_div": 8}


@pytest.fixture
def official() -> dict[str, Tensor]:
    """A small X-ViT checkpoint in its authors' layout, the dead classifier included."""
    path = Path(__file__).parents[2] / "golden" / "xvit"
    with np.load(next(path.glob("*two_segments.npz"))) as held:
        return {
            name.removeprefix("state/"): torch.from_numpy(held[name].copy())
            for name in held.files
            if name.startswith("state/")
        }


class Sneaky:
    """Unpickling it would run a shell command."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def test_the_digest_sees_names_types_shapes_and_values() -> None:
    state = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(1)}
    same = OrderedDict(reversed([(name, tensor.clone()) for name, tensor in state.items()]))
    assert state_sha256(state) == state_sha256(same), "the order of insertion does not matter"
    others = [
        {"a": state["a"], "c": state["b"]},
        state | {"a": state["a"].reshape(3, 2)},
        state | {"a": state["a"].half()},
        state | {"a": state["a"].nextafter(torch.tensor(9.0))},
    ]
    assert len({state_sha256(other) for other in [state, *others]}) == 5


@pytest.mark.parametrize("container", [None, "model_state", "state_dict", "model", "state_dict_ema"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_the_state_is_found_in_every_container_and_behind_every_prefix(
    official: dict[str, Tensor], container: str | None, prefix: str, tmp_path: Path
) -> None:
    state: dict[str, Any] = {f"{prefix}{name}": tensor for name, tensor in official.items()}
    held = state if container is None else {container: state, "epoch": 1, "optimizer_state": {"lr": 0.1}}
    torch.save(held, tmp_path / "weights.pyth")
    model = load_official("xvit", tmp_path / "weights.pyth", **OPTIONS)
    torch.testing.assert_close(
        model.state_dict()["class_token"], official["base_model.cls_token"][0, 0], rtol=0, atol=0
    )
    assert not model.training


def test_missing_unknown_and_wrongly_shaped_entries_are_listed_in_one_error(official: dict[str, Tensor]) -> None:
    del official["base_model.norm.weight"]
    official["base_model.blocks.0.attn.gate"] = torch.zeros(3)
    official["consensus.mlp_head.0.bias"] = torch.zeros(7)
    with pytest.raises(WeightsError) as raised:
        load_official("xvit", official, **OPTIONS)
    message = str(raised.value)
    assert "missing (1): norm.weight" in message
    assert "unknown (1): blocks.0.attn.gate" in message
    assert "wrong shape (1): head.0.bias is (7,) where (32,) is needed" in message


def test_an_official_name_that_no_rule_knows_is_unknown_even_where_ours_is_called_so(
    official: dict[str, Tensor],
) -> None:
    with pytest.raises(WeightsError, match=r"unknown \(1\): class_token"):
        load_official("xvit", official | {"class_token": torch.zeros(32)}, **OPTIONS)


def test_nothing_is_copied_when_something_does_not_fit() -> None:
    layer = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in layer.state_dict().items()}
    with pytest.raises(WeightsError, match="somewhere: does not fit Linear: wrong shape"):
        fit_state(layer, {"weight": torch.ones(2, 2), "bias": torch.ones(3)}, source="somewhere")
    assert all(torch.equal(before[name], tensor) for name, tensor in layer.state_dict().items())


def test_shapes_may_differ_by_leading_axes_of_length_one_only() -> None:
    layer = nn.Linear(2, 3)
    fit_state(layer, {"weight": torch.ones(1, 1, 3, 2), "bias": torch.ones(1, 3)}, source="here")
    assert layer.weight.eq(1).all()
    for weight in (torch.ones(3, 2, 1), torch.ones(3, 1, 2), torch.ones(1, 3, 1, 2)):
        with pytest.raises(WeightsError, match=r"weight is \(.*\) where \(3, 2\) is needed"):
            fit_state(layer, {"weight": weight, "bias": torch.ones(3)}, source="here")
    with pytest.raises(WeightsError, match=r"weight is \(1, 3\) where \(3, 1\) is needed"):
        fit_state(nn.Linear(1, 3), {"weight": torch.ones(1, 3), "bias": torch.ones(3)}, source="here")
    with pytest.raises(WeightsError, match="wrong shape"):
        fit_state(layer, {"weight": torch.ones(2, 3), "bias": torch.ones(3)}, source="here")
    with pytest.raises(WeightsError, match="complex"):
        fit_state(layer, {"weight": torch.ones(3, 2) + 1j, "bias": torch.ones(3)}, source="here")


def test_a_long_list_of_entries_is_cut_and_counted() -> None:
    with pytest.raises(WeightsError, match=r"unknown \(40\): .* and 28 more"):
        fit_state(nn.Identity(), {f"x{index}": torch.zeros(1) for index in range(40)}, source="here")


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path) -> None:
    trace = tmp_path / "was_run"
    for name, save in {"torch.pth": torch.save, "plain.pkl": lambda it, at: at.write_bytes(pickle.dumps(it))}.items():
        save({"state_dict": {"w": torch.ones(1)}, "extra": Sneaky(trace)}, tmp_path / name)
        with pytest.raises(WeightsError, match=rf"{name}: .*run code.*\.safetensors") as caught:
            read_checkpoint(tmp_path / name)
        assert "weights_only" not in str(caught.value)  # torch's own advice is to run the code
    assert not trace.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, suffix: str) -> None:
    for name, content in {
        "empty": b"",
        "text": b"hello world, this is not a checkpoint",
        "cut": b"PK\x03\x04rest",
    }.items():
        path = tmp_path / f"{name}{suffix}"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=f"{name}{suffix}: "):
            read_checkpoint(path)
    with pytest.raises(WeightsError, match=r"nowhere.pth: no such file"):
        read_checkpoint(tmp_path / "nowhere.pth")


def test_a_file_without_a_state_says_where_it_was_looked_for(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "note": "x"}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"no state dict under model_state, .*not tensors: epoch, note"):
        read_checkpoint(tmp_path / "a.pth")
    torch.save([1, 2], tmp_path / "b.pth")
    with pytest.raises(WeightsError, match="holds a list"):
        read_checkpoint(tmp_path / "b.pth")


def test_an_architecture_without_a_layout_is_refused_by_name() -> None:
    with pytest.raises(WeightsError, match=r"'swin9000': no official weights layout; there are .*xvit"):
        load_official("swin9000", {})


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_architecture_has_a_layout_that_refuses_another_ones_weights(name: str) -> None:
    assert official_layout(name).renames
    with pytest.raises(WeightsError):
        load_official(name, {"stem.weight": torch.zeros(1), "encoder.norm.bias": torch.zeros(3)})


def test_how_channels_are_shifted_must_be_said_since_weights_do_not_show_it(official: dict[str, Tensor]) -> None:
    with pytest.raises(WeightsError, match="do not show segment_frames and shift_div; give them"):
        load_official("xvit", official, num_heads=4)


def test_the_configuration_text_beside_the_weights_says_how_channels_are_shifted(official: dict[str, Tensor]) -> None:
    text = "XVIT:\n  NUM_SEGMENTS: 16\n  SHIFT_DIV: 4\n  LOCATIONS_LIST: [0, 2, 3, 4, 5, 6, 7, 8, 9]\n"
    container = {"model_state": official, "cfg": text, "epoch": 1}
    model = load_official("xvit", container, num_heads=4, aggregator_heads=4)
    assert isinstance(model, XViT)
    assert (model.config.segment_frames, model.config.shift_div, model.config.mixed_blocks) == (16, 4, (0, 2))
    with pytest.raises(WeightsError, match="was trained with shift_div=4, not 8"):
        load_official("xvit", container, num_heads=4, shift_div=8)
    with pytest.raises(WeightsError, match="is not YAML"):
        load_official("xvit", container | {"cfg": "XVIT: [1, 2"}, **OPTIONS)


def test_the_dead_classifier_of_temporal_attention_is_no_part_of_the_model(official: dict[str, Tensor]) -> None:
    assert "new_fc.weight" in official
    model = load_official("xvit", official, **OPTIONS)
    assert sum(p.numel() for p in model.parameters()) == sum(
        tensor.numel() for name, tensor in official.items() if not name.startswith("new_fc.")
    )


def test_our_weights_come_back_as_the_same_model_from_the_file_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = XViT(CONFIG).eval()
    save_weights(
        model, tmp_path / "small.safetensors", architecture="xvit", config=CONFIG, extra={"epoch": 3, "score": 0.5}
    )
    loaded = load_weights(tmp_path / "small.safetensors")
    assert isinstance(loaded, XViT)
    assert loaded.config == CONFIG
    assert state_sha256(loaded.state_dict()) == state_sha256(model.state_dict())
    clip = torch.randn(1, 3, 8, 32, 32)
    assert torch.equal(loaded.classify(clip), model.classify(clip))
    assert read_weights(tmp_path / "small.safetensors").extra == {"epoch": 3, "score": 0.5}
    assert [path.name for path in tmp_path.iterdir()] == ["small.safetensors"], "no partial file is left"


def test_a_decoder_comes_back_from_its_file_alone(tmp_path: Path) -> None:
    from longvid.decoders import build_decoder

    decoder = build_decoder("mean-linear", dim=4, outputs=3).eval()
    save_weights(decoder, tmp_path / "d.safetensors", architecture="mean-linear", config=decoder.config)
    tokens = torch.randn(2, 5, 4)
    assert torch.equal(load_weights(tmp_path / "d.safetensors")(tokens), decoder(tokens))


def test_files_that_are_not_ours_or_too_new_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    save_file({"w": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="not written by longvid"):
        load_weights(path)
    header = {"format": 99, "architecture": "xvit", "config": {}, "extra": {}}
    save_file({"w": torch.zeros(1)}, path, metadata={"longvid": json.dumps(header)})
    with pytest.raises(WeightsError, match=r"weights format 99.*update longvid"):
        load_weights(path)
    unknown = header | {"format": 1, "architecture": "q"}
    save_file({"w": torch.zeros(1)}, path, metadata={"longvid": json.dumps(unknown)})
    with pytest.raises(WeightsError, match=r"of another architecture \(q\), not of .*xvit"):
        load_weights(path)
    newer = header | {"format": 1, "config": {"colours": 3}}
    save_file({"w": torch.zeros(1)}, path, metadata={"longvid": json.dumps(newer)})
    with pytest.raises(WeightsError, match=r"cannot build xvit from the configuration inside .*colours"):
        load_weights(path)
    with pytest.raises(WeightsError, match="give it that suffix"):
        save_weights(nn.Identity(), tmp_path / "a.pth", architecture="xvit", config={})


def test_a_flipped_bit_of_our_weights_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    path = save_weights(nn.Linear(4, 3), tmp_path / "w.safetensors", architecture="linear", config={"rate": 0.25})
    content, truth = path.read_bytes(), read_weights(path)
    refusals: list[str] = []
    for bit in range(8 * len(content)):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        try:
            found = read_weights(path)
        except WeightsError as error:
            refusals.append(str(error))
            continue
        assert (found.config, found.architecture, found.extra) == (truth.config, truth.architecture, truth.extra)
        assert state_sha256(found.state) == state_sha256(truth.state)
    assert len(refusals) >= 8 * (len(content) - len("sha256")), "unnoticed only in the name of the digest"
    assert not any("\n" in refusal for refusal in refusals)
    header = {"format": 1, "architecture": "linear", "config": {}, "extra": {}}  # as the first files have it
    save_file({"weight": torch.ones(3, 4)}, path, metadata={"longvid": json.dumps(header)})
    assert read_weights(path).state["weight"].sum() == 12


def test_tied_and_sliced_tensors_are_saved_whole(tmp_path: Path) -> None:
    model = XViT(replace(CONFIG, depth=1)).eval()
    model.blocks[0].mlp.fc2.weight = nn.Parameter(model.blocks[0].mlp.fc1.weight.detach().T)
    save_weights(model, tmp_path / "tied.safetensors", architecture="xvit", config=model.config)
    loaded = load_weights(tmp_path / "tied.safetensors").state_dict()
    assert torch.equal(loaded["blocks.0.mlp.fc2.weight"], loaded["blocks.0.mlp.fc1.weight"].T)
