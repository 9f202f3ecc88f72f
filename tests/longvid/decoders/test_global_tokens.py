"""The global-token decoder: exact reading in chunks, streaming, ablations, and that it learns."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from longvid.decoders import build_decoder
from longvid.decoders.global_tokens import PRESETS, GlobalTokenDecoder, StreamingGlobalTokens
from longvid.decoders.global_tokens.blocks import GlobalTokenBlock
from longvid.decoders.global_tokens.config import PARTS
from longvid.decoders.global_tokens.read import prefixes, read_chunk, read_in_chunks
from longvid.errors import DecoderError

Accuracy = Callable[..., float]


def decoder_of(**options: object) -> GlobalTokenDecoder:
    torch.manual_seed(0)
    settings = {"width": 16, "token_dim": 12, "num_tokens": 3, "dilations": (1, 2, 4), "dropout": 0.0} | options
    decoder = build_decoder("global-tokens", dim=10, outputs=3, **settings).eval()
    assert isinstance(decoder, GlobalTokenDecoder)
    return decoder


def one_shot(query: Tensor, rows: Tensor, valid: Tensor) -> Tensor:
    """Plain attention, head by head."""
    heads = []
    for q, k in zip(query.chunk(4, -1), rows.chunk(4, -1), strict=True):
        scores = (q @ k.mT).masked_fill(~valid[:, None], -torch.inf)
        heads.append(scores.softmax(-1) @ k)
    return torch.cat(heads, -1)


@pytest.mark.parametrize("chunk", [1, 7, 64, 100])
def test_reading_in_chunks_equals_plain_attention(chunk: int) -> None:
    torch.manual_seed(0)
    query, rows = (torch.randn(2, length, 16, dtype=torch.float64) for length in (3, 100))
    query = 5 * query
    valid = torch.arange(100) < torch.tensor([[100], [31]])
    state = read_in_chunks(query, rows, valid, 4, chunk)
    torch.testing.assert_close(state.seen(), one_shot(query, rows, valid))


def test_the_state_after_each_segment_is_that_of_everything_so_far() -> None:
    torch.manual_seed(0)
    query, rows = torch.randn(1, 1, 3, 16).double(), torch.randn(1, 5, 8, 16).double()
    states = prefixes(read_chunk(query.expand(1, 5, 3, 16), rows, None, 4), None)
    for segment in range(5):
        so_far = read_chunk(query, rows[:, : segment + 1].flatten(1, 2)[:, None], None, 4)
        for part, expected in zip(states, so_far, strict=True):
            torch.testing.assert_close(part[:, segment], expected[:, 0])


@pytest.mark.parametrize("length", [1, 8, 61])
@pytest.mark.parametrize("size", [1, 5, 64])
def test_streaming_equals_the_whole_pass_however_the_tokens_are_cut(size: int, length: int) -> None:
    decoder = decoder_of(causal=True, segment=8).double()
    tokens = torch.randn(2, length, 10, dtype=torch.float64)
    stream = StreamingGlobalTokens(decoder, batch=2)
    for part in tokens.split(size, dim=1):
        scores = stream.push(part)
    assert stream.tokens_seen == length
    with torch.no_grad():
        torch.testing.assert_close(scores, decoder(tokens))


def test_scores_of_a_stream_before_a_segment_is_full_are_those_of_its_tokens_so_far() -> None:
    decoder = decoder_of(causal=True, segment=8).double()
    tokens = torch.randn(1, 21, 10, dtype=torch.float64)
    stream = StreamingGlobalTokens(decoder)
    for seen, token in enumerate(tokens.unbind(1), start=1):
        scores = stream.push(token[:, None])
        with torch.no_grad():
            torch.testing.assert_close(scores, decoder(tokens[:, :seen]))


def test_the_causal_form_never_sees_the_next_segment() -> None:
    decoder = decoder_of(causal=True, segment=8, head="steps").double()
    tokens = torch.randn(1, 40, 10, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 24:] = torch.randn(1, 16, 10, dtype=torch.float64)
    with torch.no_grad():
        before, after = decoder(tokens), decoder(changed)
    torch.testing.assert_close(before[:, :24], after[:, :24])
    assert not torch.allclose(before[:, 24:], after[:, 24:], atol=1e-2)


def test_a_decoder_of_whole_videos_refuses_to_stream() -> None:
    with pytest.raises(DecoderError, match="train one with causal=True"):
        StreamingGlobalTokens(decoder_of())


@pytest.mark.parametrize("pool", [2, 4])
@pytest.mark.parametrize("head", ["video", "steps"])
def test_a_pyramid_gives_a_padded_item_what_it_gets_alone(pool: int, head: str) -> None:
    decoder = decoder_of(pool=pool, head=head).double()
    tokens = torch.randn(2, 50, 10, dtype=torch.float64)
    lengths = torch.tensor([50, 19])
    with torch.no_grad():
        together = decoder(tokens, lengths)
        for item, length in enumerate(lengths):
            alone = decoder(tokens[item : item + 1, :length])[0]
            found = together[item] if head == "video" else together[item, :length]
            torch.testing.assert_close(found, alone)


def test_tokens_do_not_depend_on_the_order_of_positions_without_local_and_time() -> None:
    decoder = decoder_of(without=("local", "time-code")).double()
    tokens = torch.randn(1, 30, 10, dtype=torch.float64)
    with torch.no_grad():
        shuffled = decoder(tokens[:, torch.randperm(30)])
        torch.testing.assert_close(decoder(tokens), shuffled)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_can_be_left_out_and_matters(part: str) -> None:
    tokens = torch.randn(2, 30, 10)
    whole, ablated = decoder_of(), decoder_of(without=(part,))
    shapes = {name: tensor.shape for name, tensor in ablated.state_dict().items()}
    shared = {name: tensor for name, tensor in whole.state_dict().items() if shapes.get(name) == tensor.shape}
    ablated.load_state_dict(shared, strict=False)
    with torch.no_grad():
        assert not torch.allclose(whole(tokens), ablated(tokens), atol=1e-4)
    ablated(tokens).sum().backward()
    used = [p for p in ablated.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in used)


def test_cost_is_linear_in_length_and_near_the_formula() -> None:
    decoder = build_decoder("global-tokens", dim=1024, outputs=4, **PRESETS["base"]).eval().requires_grad_(False)
    counts = []
    for length in (512, 1024, 2048):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            decoder(torch.zeros(1, length, 1024))
        counts.append(counter.get_total_flops() / 2)
    assert counts[2] - counts[1] == 2 * (counts[1] - counts[0])
    width, wide, tokens, blocks = 256, 512, 16, 4
    time_features = 33 + 17
    a_position = (1024 + time_features) * width + blocks * (2 * width * wide + 5 * wide + 4 * tokens * width)
    assert (counts[1] - counts[0]) / 512 == pytest.approx(a_position, rel=0.005)


@pytest.mark.parametrize(
    ("preset", "dim", "parameters"), [("small", 1152, 1.33e6), ("base", 1024, 4.92e6), ("large", 1024, 10.6e6)]
)
def test_presets_have_the_size_they_were_designed_with(preset: str, dim: int, parameters: float) -> None:
    decoder = build_decoder("global-tokens", dim=dim, outputs=4, **PRESETS[preset])
    assert sum(p.numel() for p in decoder.parameters()) == pytest.approx(parameters, rel=0.03)


def test_a_block_may_be_recomputed_in_the_backward_pass() -> None:
    gradients = []
    for checkpointing in (False, True):
        decoder = decoder_of(checkpointing=checkpointing).double().train()
        decoder(torch.linspace(-1, 1, 300, dtype=torch.float64).view(1, 30, 10)).square().sum().backward()
        gradients.append([p.grad for p in decoder.parameters()])
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"causal": True, "queries": "content"}, "cannot stream"),
        ({"causal": True, "pool": 2}, "pool=2 cannot stream"),
        ({"width": 18}, "width=18 cannot be cut into heads=4"),
        ({"without": ("nothing",)}, r"without\[0\]='nothing': should be 'tokens', 'read'"),
        ({"dilations": ()}, "give one number per block"),
        ({"without": ("local", "write")}, "nothing changes the positions"),
    ],
)
def test_an_impossible_setting_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        decoder_of(**options)


def test_the_blocks_keep_their_order_of_parts() -> None:
    block = decoder_of().blocks[0]
    assert isinstance(block, GlobalTokenBlock)
    assert [name for name, _ in block.named_children()] == ["read", "former", "local", "write"]


@pytest.mark.slow
def test_fixed_queries_find_one_event_among_many(accuracy_after_training: Accuracy) -> None:
    options = {"width": 64, "token_dim": 64, "num_tokens": 8, "dilations": (1, 4), "dropout": 0.0}
    found = accuracy_after_training(
        "global-tokens", task="needle", learning_rate=2e-3, steps=300, without=("time-code",), **options
    )
    assert found > 0.9


@pytest.mark.slow
def test_the_causal_form_learns_the_order_of_two_events(accuracy_after_training: Accuracy) -> None:
    options = {"width": 32, "token_dim": 32, "num_tokens": 4, "dilations": (1, 4), "dropout": 0.0}
    accuracy = accuracy_after_training(
        "global-tokens", learning_rate=2e-3, steps=300, causal=True, segment=16, **options
    )
    assert accuracy > 0.9


@pytest.mark.slow
def test_the_whole_form_learns_the_order_of_two_events_only_with_a_time_code(accuracy_after_training: Accuracy) -> None:
    options = {"width": 64, "token_dim": 64, "num_tokens": 8, "dilations": (1, 4), "dropout": 0.0}
    assert accuracy_after_training("global-tokens", learning_rate=2e-3, steps=400, **options) > 0.9
    blind = accuracy_after_training("global-tokens", learning_rate=2e-3, steps=400, without=("time-code",), **options)
    assert blind < 0.6


@pytest.mark.slow
def test_a_hundred_thousand_tokens_fit_in_three_gigabytes() -> None:
    from longvid.pipelines.bench.measure import PeakMemory

    decoder = build_decoder("global-tokens", dim=256, outputs=4, **PRESETS["base"]).eval()
    tokens = torch.zeros(1, 100_000, 256)
    with PeakMemory() as memory, torch.inference_mode():
        decoder(tokens)
    assert memory.grown_bytes < 3e9
