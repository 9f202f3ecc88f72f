"""The attentive probe: its arithmetic, its start, its checkpoints of two layouts."""

import json
import math
from pathlib import Path

import pytest
import torch
from rounding import assert_same_numbers
from safetensors.torch import save_file
from torch import nn

from longvid.checkpoints import load_official
from longvid.decoders import build_decoder
from longvid.decoders.attentive import AttentiveConfig, AttentiveProbe
from longvid.errors import DecoderError, WeightsError

EPIC = {"verb": 4, "noun": 5, "action": 7}


def probe(**options: object) -> AttentiveProbe:
    torch.manual_seed(0)
    decoder = build_decoder("attentive", **({"dim": 24, "outputs": 5, "heads": 4} | options))
    assert isinstance(decoder, AttentiveProbe)
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return decoder.double().eval()


def official(decoder: AttentiveProbe) -> dict[str, torch.Tensor]:
    """The probe's weights under the authors' names."""
    names = {"query": "pooler.query_tokens"}
    renames = (
        ("cross.attn.", "pooler.cross_attention_block.xattn."),
        ("cross.", "pooler.cross_attention_block."),
        ("blocks.", "pooler.blocks."),
    )
    state = {}
    for name, tensor in decoder.state_dict().items():
        prefix = next(((ours, theirs) for ours, theirs in renames if name.startswith(ours)), None)
        renamed = names.get(name) or (name if prefix is None else prefix[1] + name.removeprefix(prefix[0]))
        state[renamed] = tensor[None] if name == "query" else tensor
    return state


@pytest.mark.parametrize("complete", [True, False])
def test_folded_into_the_query_the_attention_is_that_of_keys_and_values(complete: bool) -> None:
    decoder, tokens = probe(complete=complete), torch.randn(3, 17, 24, dtype=torch.float64)
    lengths = torch.tensor([17, 1, 9])
    folded = decoder.cross(decoder.query, tokens, lengths)
    plain = decoder.cross(decoder.query.expand(3, -1, -1), tokens, lengths)
    torch.testing.assert_close(folded, plain)


@pytest.mark.parametrize("layers", [1, 3])
def test_without_a_time_code_the_order_of_tokens_changes_nothing_and_with_one_it_does(layers: int) -> None:
    tokens, order = torch.randn(2, 19, 24, dtype=torch.float64), torch.randperm(19)
    blind, seeing = probe(layers=layers), probe(layers=layers, time_code=True)
    torch.testing.assert_close(blind(tokens), blind(tokens[:, order]))
    assert (seeing(tokens) - seeing(tokens[:, order])).abs().max() > 1e-3


def test_a_step_sees_the_whole_window_from_its_own_token() -> None:
    decoder, tokens = probe(layers=2, head="steps"), torch.randn(1, 9, 24, dtype=torch.float64)
    before = decoder(tokens)
    tokens[0, 8, 0] += 3
    moved = (decoder(tokens) - before).abs().amax(-1)[0]
    assert (moved > 1e-6).all(), "every step has read the token that changed"
    assert moved.argmax() == 8


def test_recomputed_blocks_give_the_same_gradients() -> None:
    found = []
    for checkpointing in (False, True):
        decoder = probe(layers=3, checkpointing=checkpointing).train()
        decoder(torch.ones(2, 7, 24, dtype=torch.float64).cumsum(1).sin()).square().sum().backward()
        found.append([parameter.grad for parameter in decoder.parameters()])
    for stored, recomputed in zip(*found, strict=True):
        torch.testing.assert_close(stored, recomputed)


@torch.no_grad()
def test_the_start_is_the_authors() -> None:
    torch.manual_seed(0)
    decoder = build_decoder("attentive", dim=128, outputs=50, layers=4)
    assert isinstance(decoder, AttentiveProbe)
    assert decoder.config.num_heads == 16
    for index, block in enumerate(decoder.blocks):
        shrunk = 0.02 / math.sqrt(2 * (index + 1))
        for weight, std in (
            (block.attn.qkv.weight, 0.02),
            (block.attn.proj.weight, shrunk),
            (block.mlp.fc1.weight, 0.02),
            (block.mlp.fc2.weight, shrunk),
        ):
            assert float(weight.std()) == pytest.approx(std, rel=0.05)
    assert float(decoder.cross.mlp.fc2.weight.std()) == pytest.approx(0.02 / math.sqrt(6), rel=0.05)
    assert float(decoder.cross.attn.kv.weight.std()) == pytest.approx(0.02, rel=0.05)
    assert float(decoder.linear.weight.abs().max()) <= 128**-0.5
    assert float(decoder.linear.weight.std()) == pytest.approx(128**-0.5 / math.sqrt(3), rel=0.1)
    assert float(decoder.linear.bias.abs().max()) > 0


@pytest.mark.parametrize(
    ("dim", "layers", "outputs", "parameters"),
    [(768, 4, 180, 27_900_084), (1024, 4, 180, 49_520_820), (1024, 1, 180, 11_732_148), (1408, 4, 180, 93_502_644)],
)
def test_it_has_as_many_parameters_as_published(dim: int, layers: int, outputs: int, parameters: int) -> None:
    with torch.device("meta"):
        decoder = build_decoder("attentive", dim=dim, outputs=outputs, layers=layers)
    assert sum(parameter.numel() for parameter in decoder.parameters()) == parameters


def test_impossible_settings_are_refused_in_one_line() -> None:
    with pytest.raises(DecoderError, match=r"dim=24 cannot be cut into heads=5"):
        build_decoder("attentive", dim=24, outputs=2, heads=5)
    with pytest.raises(DecoderError, match=r"answer for 3 outputs, there are 4"):
        build_decoder("attentive", dim=24, outputs=4, queries=(1, 2))
    with pytest.raises(DecoderError, match="leave out queries"):
        build_decoder("attentive", dim=24, outputs=3, queries=(1, 2), head="steps")


def test_a_file_of_several_probes_is_read_one_by_one(tmp_path: Path) -> None:
    torch.manual_seed(1)
    probes = [probe(layers=2), probe(layers=2)]
    with torch.no_grad():
        probes[1].query += 1
    states = [{f"module.{name}": tensor for name, tensor in official(one).items()} for one in probes]
    path = tmp_path / "latest.pt"
    torch.save({"classifiers": states, "opt": [{}, {}], "scaler": None, "epoch": 20, "batch_size": 2}, path)
    tokens = torch.randn(2, 9, 24)
    for index, one in enumerate(probes):
        loaded = load_official("attentive", path, probe=index, heads=4)
        assert_same_numbers(loaded(tokens), one.float()(tokens), terms=24, layers=8)
    with pytest.raises(WeightsError, match="holds 2 probes; give probe=0 to 1"):
        load_official("attentive", path, heads=4)
    with pytest.raises(WeightsError, match="none with the index probe=2"):
        load_official("attentive", path, heads=4, probe=2)


def test_a_file_of_one_probe_needs_no_index_and_has_sixteen_heads(tmp_path: Path) -> None:
    one = probe(dim=32, heads=16)
    torch.save({"classifiers": [official(one)], "epoch": 1}, tmp_path / "one.pt")
    loaded = load_official("attentive", tmp_path / "one.pt")
    assert isinstance(loaded, AttentiveProbe)
    assert loaded.config.num_heads == 16
    assert loaded.config.norm_epsilon == 1e-5


def test_a_list_of_probes_with_code_in_it_is_not_read(tmp_path: Path) -> None:
    torch.save({"classifiers": [official(probe())], "args": Path("x")}, tmp_path / "code.pt")
    with pytest.raises(WeightsError, match="loading them would run code"):
        load_official("attentive", tmp_path / "code.pt")


def test_the_first_version_needs_its_heads_and_leaves_its_unused_projection(tmp_path: Path) -> None:
    one = probe(layers=2, order="query-first")
    state = official(one) | {"pooler.cross_attention_block.xattn.proj.weight": torch.randn(24, 24)}
    with pytest.raises(WeightsError, match="give heads=16 for ViT-L"):
        load_official("attentive", state)
    loaded = load_official("attentive", state, heads=4)
    tokens = torch.randn(2, 9, 24)
    assert_same_numbers(loaded(tokens), one.float()(tokens), terms=24, layers=8)


def test_three_queries_answer_for_verbs_nouns_and_actions() -> None:
    one = probe(outputs=16, queries=tuple(EPIC.values()))
    state = official(one)
    weight, bias = state.pop("linear.weight"), state.pop("linear.bias")
    parts = zip(EPIC, weight.split(list(EPIC.values())), bias.split(list(EPIC.values())), strict=True)
    for name, own, own_bias in parts:
        state |= {f"{name}_classifier.weight": own, f"{name}_classifier.bias": own_bias}
    loaded = load_official("attentive", state, heads=4)
    assert isinstance(loaded, AttentiveProbe)
    assert loaded.config.queries == (4, 5, 7)
    tokens = torch.randn(2, 9, 24)
    found = loaded(tokens)
    assert_same_numbers(found, one.float()(tokens), terms=24, layers=8)
    pooled = loaded.pooled(loaded.embed(tokens, None), None)
    nouns = nn.functional.linear(pooled[:, 1], loaded.linear.weight[4:9], loaded.linear.bias[4:9])
    assert_same_numbers(found[:, 4:9], nouns, terms=24)


def test_transformers_probe_is_read_with_its_own_differences(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(3)
    config = transformers.VJEPA2Config(
        patch_size=4,
        crop_size=8,
        frames_per_clip=4,
        tubelet_size=2,
        hidden_size=24,
        num_attention_heads=3,
        num_hidden_layers=1,
        mlp_ratio=2.0,
        pred_hidden_size=24,
        pred_num_attention_heads=3,
        pred_num_hidden_layers=1,
        num_pooler_layers=2,
        num_labels=5,
    )
    theirs = transformers.VJEPA2ForVideoClassification(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path / "model")
    ours = load_official("attentive", tmp_path / "model")
    assert isinstance(ours, AttentiveProbe)
    assert (ours.config.layers, ours.config.num_heads, ours.config.norm_epsilon) == (3, 3, 1e-6)
    tokens = torch.randn(2, 8, 24, dtype=torch.float64)
    theirs, ours = theirs.double(), ours.double()
    with torch.no_grad():
        expected = theirs.classifier(theirs.pooler(tokens))
        torch.testing.assert_close(ours(tokens), expected, rtol=1e-9, atol=1e-9)
        trained = load_official("attentive", tmp_path / "model", norm_epsilon=1e-5, heads=4).double()
        assert (trained(tokens) - expected).abs().max() > 1e-4


def test_transformers_weights_alone_need_the_number_of_heads(tmp_path: Path) -> None:
    state = {
        "pooler.query_tokens": torch.zeros(1, 1, 8),
        "classifier.weight": torch.zeros(2, 8),
        "pooler.cross_attention_layer.layer_norm1.weight": torch.ones(8),
    }
    save_file(state, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"config\.json does not tell; give heads=16"):
        load_official("attentive", tmp_path / "weights.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"num_attention_heads": 4}))
    with pytest.raises(WeightsError, match=r"does not fit AttentiveProbe: missing"):
        load_official("attentive", tmp_path / "weights.safetensors")


def test_something_else_is_not_taken_for_a_probe() -> None:
    with pytest.raises(WeightsError, match="not an attentive probe"):
        load_official("attentive", {"weight": torch.zeros(2, 2)})
    assert AttentiveConfig(dim=100, outputs=2).num_heads == 10
