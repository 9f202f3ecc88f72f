"""Decoders of stages: their published sizes, their windows against the slow form, and batches against single videos."""

import math

import pytest
import torch

from longvid.checkpoints import load_weights, save_weights
from longvid.decoders import build_decoder
from longvid.decoders.part import PartOf
from longvid.decoders.segmentation import asformer, ltcontext
from longvid.decoders.segmentation.smoothing import LARGEST_SQUARE, SMOOTHING, smoothing_loss
from longvid.decoders.standardise import Standardised
from longvid.errors import DecoderError

STAGED = ("ms-tcn", "ms-tcn++", "asformer", "ltcontext")
SMALL = {"width": 8, "layers": 3, "refinements": 2}


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("ms-tcn", 813_504), ("ms-tcn++", 1_010_944), ("asformer", 1_147_584), ("ltcontext", 671_968)],
)
def test_at_breakfasts_sizes_they_have_the_authors_number_of_parameters(name: str, parameters: int) -> None:
    decoder = build_decoder(name, dim=2048, outputs=48, head="steps")
    assert sum(parameter.numel() for parameter in decoder.parameters()) == parameters


@pytest.mark.parametrize("name", STAGED)
def test_the_last_stage_is_the_answer_and_wrappers_keep_the_stages(name: str) -> None:
    torch.manual_seed(0)
    decoder = build_decoder(name, dim=6, outputs=4, head="steps", **SMALL).eval()
    tokens, lengths = torch.randn(2, 19, 6), torch.tensor([19, 11])
    stages = decoder.stages(tokens, lengths)
    assert stages.shape == (3, 2, 19, 4)
    assert torch.equal(stages[-1], decoder(tokens, lengths))
    assert not stages[:, 1, 11:].any(), "nothing is answered behind the end"
    assert torch.equal(Standardised(decoder, 6).stages(tokens, lengths), stages)
    assert torch.equal(PartOf(decoder, 1, 3).stages(tokens, lengths), stages[..., 1:3])


def test_a_decoder_without_stages_has_one() -> None:
    decoder = build_decoder("gru", dim=6, outputs=4, head="steps", width=8).eval()
    tokens = torch.randn(2, 9, 6)
    assert torch.equal(decoder.stages(tokens), decoder(tokens)[None])


@pytest.mark.parametrize("norm", ["none", "instance"])
@pytest.mark.parametrize("name", STAGED)
def test_the_authors_reading_of_padding_changes_a_batch_and_not_a_single_video(name: str, norm: str) -> None:
    options = SMALL | ({"norm": norm} if name == "ltcontext" else {})
    masked = build_decoder(name, dim=6, outputs=4, head="steps", **options).double().eval()
    official = build_decoder(name, dim=6, outputs=4, head="steps", padding="official", **options).double().eval()
    official.load_state_dict(masked.state_dict())
    tokens, lengths = torch.randn(2, 19, 6, dtype=torch.float64), torch.tensor([19, 11])
    tokens[1, 11:] = 0
    torch.testing.assert_close(official(tokens[:1]), masked(tokens[:1]))
    assert (official(tokens, lengths)[1, :11] - masked(tokens, lengths)[1, :11]).abs().max() > 1e-3
    torch.testing.assert_close(masked(tokens, lengths)[1, :11], masked(tokens[1:, :11])[0])


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("window", [1, 2, 4, 16])
def test_asformers_windows_equal_their_definition(window: int, shared: bool) -> None:
    torch.manual_seed(0)
    query, key = torch.randn(2, 2, 3, 11, dtype=torch.float64)
    value = torch.randn(2, 5, 11, dtype=torch.float64)
    there = (torch.arange(11) < torch.tensor([11, 7])[:, None, None]).double()
    key, value = key * there, value * there
    found = asformer.windowed(query, key, value, there, window=window, shared=shared)
    for item in range(2):
        for step in range(11):
            begin = step // window * window
            first = begin - window // 2 if shared else step - window // 2
            seen = range(begin - window // 2, begin - window // 2 + window + 2 * (window // 2))
            chosen = range(first, first + (2 * window - 1 if shared else window))
            scores, values = [], []
            for other in seen:
                known = 0 <= other < 11 and other in chosen and bool(there[item, 0, other])
                inside = 0 <= other < 11
                product = query[item, :, step] @ key[item, :, other] if inside else torch.tensor(0.0).double()
                scores.append(product / math.sqrt(3) + math.log(float(known) + asformer.MASKED))
                values.append(value[item, :, other] if known else torch.zeros(5).double())
            expected = torch.stack(scores).softmax(0) @ torch.stack(values)
            torch.testing.assert_close(found[item, :, step], expected)


@pytest.mark.parametrize(("kind", "size"), [("windowed", 4), ("windowed", 10), ("strided", 3), ("strided", 20)])
def test_ltcontexts_attentions_equal_their_definition(kind: str, size: int) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 13, dtype=torch.float64)
    there = torch.arange(13) < torch.tensor([13, 5])[:, None, None]
    found = getattr(ltcontext, kind)(query, key, value, there, size=size, heads=2, dropout=0.0)
    for item, length in enumerate((13, 5)):
        for step in range(length):
            begin = step // size * size
            near = range(max(0, begin - size // 2), min(length, begin + size + size // 2))
            seen = torch.tensor(list(near if kind == "windowed" else range(step % size, length, size)))
            for head in (slice(0, 2), slice(2, 4)):
                scores = query[item, head, step] @ key[item, head][:, seen] / math.sqrt(2)
                torch.testing.assert_close(found[item, head, step], value[item, head][:, seen] @ scores.softmax(0))


@pytest.mark.parametrize("name", STAGED)
def test_own_files_keep_the_whole_configuration(name: str, tmp_path) -> None:
    decoder = build_decoder(name, dim=6, outputs=4, head="steps", **SMALL).eval()
    save_weights(decoder, tmp_path / "x.safetensors", architecture=name, config=decoder.config)
    again = load_weights(tmp_path / "x.safetensors")
    assert again.config == decoder.config
    tokens = torch.randn(1, 9, 6)
    assert torch.equal(again(tokens), decoder(tokens))


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(DecoderError, match="window=5 must be even"):
        build_decoder("ltcontext", dim=6, outputs=4, window=5)
    with pytest.raises(DecoderError, match="width=6 over reduction=2 must be a whole number"):
        build_decoder("ltcontext", dim=6, outputs=4, width=6)
    with pytest.raises(DecoderError, match="query_reduction=3 does not divide width=8"):
        build_decoder("asformer", dim=6, outputs=4, width=8, query_reduction=3)


def test_smoothing_of_a_padded_batch_is_that_of_its_videos_in_our_reading_only() -> None:
    torch.manual_seed(0)
    logits, lengths = 3 * torch.randn(2, 12, 5, dtype=torch.float64), torch.tensor([12, 7])
    alone = [smoothing_loss(logits[i : i + 1, : lengths[i]]) for i in range(2)]
    joined = (11 * alone[0] + 6 * alone[1]) / 17
    together = {reading: smoothing_loss(logits, lengths, reading=reading) for reading in SMOOTHING}  # type: ignore[arg-type]
    torch.testing.assert_close(together["valid"], joined)
    assert all(abs(loss - joined) > 0.01 for reading, loss in together.items() if reading != "valid")
    every = {reading: float(smoothing_loss(logits, reading=reading)) for reading in SMOOTHING}  # type: ignore[arg-type]
    assert len(set(every.values())) == 1, "without padding they are one number"


def test_smoothing_costs_nothing_where_nothing_moves_and_no_more_at_a_border_than_the_limit() -> None:
    steady = torch.tensor([0.0, 9.0]).expand(1, 6, 2)
    assert smoothing_loss(steady) == 0
    assert smoothing_loss(steady[:, :1]) == 0, "one step has no neighbour"
    border = torch.cat([steady[:, :3], steady[:, 3:].flip(-1)], dim=1) * 100
    torch.testing.assert_close(smoothing_loss(border), torch.tensor(LARGEST_SQUARE / 5))
