"""X-ViT beyond its golden numbers: what a frame can see, long segments, the slow forms, one rule for every size."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from longvid.encoders.xvit import XViT, XViTConfig, mixing, stream_tokens
from longvid.errors import EncoderError
from longvid.layers.transformer import split_heads

SMALL = XViTConfig(
    patch_size=32, dim=48, depth=3, num_heads=6, shift_div=8, aggregator_heads=4, head_dim=16, num_classes=5
)


def small(seed: int = 0, chunk_frames: int | None = 64, **changes: object) -> XViT:
    """A tiny model with every parameter away from its starting value."""
    torch.manual_seed(seed)
    model = XViT(replace(SMALL, **changes), chunk_frames=chunk_frames)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return model.eval().requires_grad_(False)


def clips(batch: int, time: int, *, size: int = 64, seed: int = 1) -> Tensor:
    return torch.randn(batch, 3, time, size, size, generator=torch.Generator().manual_seed(seed))


def obvious_mixing(part: Tensor, shift: int) -> Tensor:
    """Frame by frame, channel group by channel group; part: segments frames tokens dim."""
    mixed = part.clone()
    for t in range(part.shape[1]):
        mixed[:, t, ..., :shift] = part[:, t + 1, ..., :shift] if t + 1 < part.shape[1] else 0
        mixed[:, t, ..., shift : 2 * shift] = part[:, t - 1, ..., shift : 2 * shift] if t > 0 else 0
    return mixed


def obvious_attention(attention: mixing.MixingAttention, tokens: Tensor, segment: int) -> Tensor:
    """The whole layer with the score matrix written out."""
    query, key, value = attention.qkv(tokens).chunk(3, dim=-1)
    key, value = (
        obvious_mixing(part.unflatten(0, (-1, segment)), attention.shift).flatten(0, 1) for part in (key, value)
    )
    query, key, value = (split_heads(part, attention.num_heads) for part in (query, key, value))
    weights = (query @ key.mT * query.shape[-1] ** -0.5).softmax(-1)
    return attention.proj((weights @ value).transpose(1, 2).flatten(2))


@pytest.mark.parametrize("segment", [1, 2, 4])
def test_mixing_in_place_equals_the_obvious_form_forward_and_backward(segment: int) -> None:
    torch.manual_seed(0)
    attention = mixing.MixingAttention(24, 3, shift_div=4).double()
    tokens = torch.randn(8, 5, 24, dtype=torch.float64, requires_grad=True)
    answers = [attention(tokens, segment), obvious_attention(attention, tokens, segment)]
    torch.testing.assert_close(answers[0], answers[1])
    weight = torch.randn_like(answers[0])
    inputs = [tokens, *attention.parameters()]
    fast, slow = (torch.autograd.grad((answer * weight).sum(), inputs) for answer in answers)
    torch.testing.assert_close(fast, slow)


def test_a_clip_gives_the_same_output_whatever_it_is_batched_with() -> None:
    model = small().double()
    batch = clips(3, 8).double()
    together = model(batch)
    for index in range(3):
        alone = model(batch[index : index + 1])
        for one, many in zip(alone[:3], together[:3], strict=True):
            torch.testing.assert_close(one[0], many[index])


def test_a_frame_sees_one_frame_to_each_side_with_every_block_and_no_further() -> None:
    model = small(segment_frames=None)
    plain = clips(1, 12)
    changed = plain.clone()
    changed[:, :, 6] += 1
    differs = (model(plain).tokens != model(changed).tokens).flatten(2).any(-1)[0].tolist()
    assert differs == [abs(frame - 6) <= SMALL.depth for frame in range(12)]


def test_segments_do_not_see_each_other_before_temporal_attention() -> None:
    model = small(segment_frames=4).double()
    clip = clips(1, 8).double()
    halves = [model(clip[:, :, begin : begin + 4]) for begin in (0, 4)]
    # the second half takes rows 4 to 7 of the temporal table, so only the first can be compared
    torch.testing.assert_close(model(clip).tokens[:, :4], halves[0].tokens)
    changed = clip.clone()
    changed[:, :, 4:] += 1
    assert torch.equal(model(changed).tokens[:, :4], model(clip).tokens[:, :4])
    assert not torch.allclose(model(changed).clip, model(clip).clip)


def test_a_published_sixteen_frame_clip_repeats_its_eight_temporal_rows() -> None:
    model = small()
    first, second = (model.embed(clips(1, 16) * 0)[begin : begin + 8] for begin in (0, 8))
    assert torch.equal(first, second)


@pytest.mark.parametrize(("time", "segment"), [(12, 8), (4, 8), (17, 16), (0, 8)])
def test_clips_that_are_no_multiple_of_the_segment_are_refused_with_a_length_that_works(
    time: int, segment: int
) -> None:
    with pytest.raises(EncoderError, match=f"clips of {time} frames.*segment_frames={segment}, such as"):
        small(segment_frames=segment)(clips(2, time))


def test_frames_that_patches_do_not_fit_are_refused_with_a_size_that_works() -> None:
    with pytest.raises(EncoderError, match="70 x 70 pixels: patches of 32 do not fit, 64 x 64 would"):
        small()(clips(1, 8, size=70))


@pytest.mark.parametrize("size", [32, 96, 224, 256])
def test_every_size_that_patches_fit_gives_one_token_a_patch(size: int) -> None:
    output = small()(clips(1, 8, size=size))
    assert output.tokens.shape == (1, 8, (size // 32) ** 2, 48)


def test_frames_need_not_be_square() -> None:
    wide = torch.randn(1, 3, 8, 64, 128)
    assert small()(wide).tokens.shape == (1, 8, 8, 48)


@pytest.mark.parametrize("chunk_frames", [1, 3, 8, 39, 40])
def test_chunks_with_a_halo_equal_one_long_pass(chunk_frames: int) -> None:
    clip = clips(2, 40, size=32).double()
    long = small(segment_frames=None, chunk_frames=None).double()(clip)
    chunked = small(segment_frames=None, chunk_frames=chunk_frames).double()(clip)
    for one, other in zip(long[:3], chunked[:3], strict=True):
        torch.testing.assert_close(one, other)


def test_chunks_inside_several_segments_equal_one_long_pass() -> None:
    clip = clips(1, 24, size=32).double()
    long = small(segment_frames=12, chunk_frames=None).double()(clip)
    chunked = small(segment_frames=12, chunk_frames=5).double()(clip)
    torch.testing.assert_close(long.tokens, chunked.tokens)


def test_a_halo_one_frame_short_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    clip = clips(1, 24, size=32).double()
    long = small(segment_frames=None, chunk_frames=None).double()(clip)
    monkeypatch.setattr(XViT, "halo_frames", property(lambda self: self.config.depth - 1))
    chunked = small(segment_frames=None, chunk_frames=4).double()(clip)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        torch.testing.assert_close(long.tokens, chunked.tokens)


@pytest.mark.parametrize("num_frames", [1, 3, 8, 9, 30])
def test_a_stream_of_frames_equals_one_long_pass(num_frames: int) -> None:
    clip = clips(1, num_frames, size=32).double()
    model = small(segment_frames=None, chunk_frames=None).double()
    long = model.frame_tokens(clip)
    chunks = list(stream_tokens(model, clip[0].unbind(1), chunk_frames=4))
    assert [part.tokens.shape[1] for part in chunks] == [4] * (num_frames // 4) + [num_frames % 4] * (
        num_frames % 4 > 0
    )
    torch.testing.assert_close(torch.cat([part.tokens for part in chunks], dim=1), long.tokens)
    torch.testing.assert_close(torch.cat([part.class_tokens for part in chunks], dim=1), long.class_tokens)


def test_a_stream_holds_one_chunk_and_its_halo_whatever_its_length() -> None:
    model = small(segment_frames=None)
    seen: list[int] = []
    model.blocks[0].register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    read = 0

    def frames() -> "object":
        nonlocal read
        for _ in range(200):
            read += 1
            yield torch.zeros(3, 32, 32)

    ahead = [read - 8 * (index + 1) for index, _ in enumerate(stream_tokens(model, frames(), chunk_frames=8))]
    assert max(seen) <= 8 + 2 * model.halo_frames
    assert max(ahead) <= model.halo_frames, "a chunk is given as soon as its halo has been read"


def test_the_cost_of_a_long_segment_is_linear_in_its_length() -> None:
    with torch.device("meta"):
        model = XViT(replace(SMALL, segment_frames=None, depth=1), chunk_frames=4).eval()

    def flops(time: int) -> int:
        counter = FlopCounterMode(display=False)
        with counter, torch.no_grad():
            model(torch.empty(1, 3, time, 32, 32, device="meta"))
        return counter.get_total_flops()

    assert flops(48) / flops(24) == pytest.approx(2, rel=0.1)


def test_temporal_attention_does_not_know_the_order_and_the_backbone_does() -> None:
    model = small(segment_frames=None).double()
    class_tokens = torch.randn(2, 8, 48, dtype=torch.float64)
    torch.testing.assert_close(model.aggregate(class_tokens), model.aggregate(class_tokens.flip(1)))
    clip = clips(1, 8).double()
    assert not torch.allclose(model(clip).clip, model(clip.flip(2)).clip, atol=1e-3)


def test_the_last_layer_of_temporal_attention_computes_one_query_and_the_same_numbers() -> None:
    model = small(aggregator_layers=2).double()
    class_tokens = torch.randn(2, 8, 48, dtype=torch.float64)
    tokens = torch.cat([model.aggregator.class_token.expand(2, 1, -1), class_tokens], dim=1)
    for block in model.aggregator.blocks:
        tokens = block(tokens)
    torch.testing.assert_close(model.aggregate(class_tokens), tokens[:, 0])


def test_averaging_scores_frames_and_takes_their_mean() -> None:
    model = small(aggregation="average").double()
    clip = clips(1, 8).double()
    of_frames = model.head(model(clip).class_tokens)
    torch.testing.assert_close(model.classify(clip), of_frames.mean(dim=1))


def test_summary_tokens_show_every_frame_the_whole_segment_without_a_parameter() -> None:
    model, plain = small(summary_tokens=True, depth=1), small(depth=1)
    assert model.state_dict().keys() == plain.state_dict().keys()
    clip = clips(1, 16)
    changed = clip.clone()
    changed[:, :, 0] += 1
    differs = (model(clip).tokens != model(changed).tokens).flatten(2).any(-1)[0].tolist()
    assert differs == [frame < 8 for frame in range(16)], "the other segment of the clip stays as it was"


def test_a_summary_is_the_key_and_value_of_the_mean_patch_token() -> None:
    torch.manual_seed(0)
    attention = mixing.MixingAttention(24, 3, summary_tokens=True).double()
    tokens = torch.randn(4, 5, 24, dtype=torch.float64)
    keys_values = attention.qkv(tokens).unflatten(-1, (3, -1))[:, :, 1:].unsqueeze(0)
    of_mean = attention.qkv(tokens[:, 1:].mean(dim=1)).unflatten(-1, (3, -1))[:, 1:]
    summaries = mixing.frame_summaries(keys_values)
    for frame in range(4):
        torch.testing.assert_close(summaries[0, frame], of_mean)


def test_a_long_segment_with_summary_tokens_is_computed_in_one_pass_and_not_streamed() -> None:
    clip = clips(1, 12, size=32)
    one_pass = small(segment_frames=None, summary_tokens=True, chunk_frames=None)(clip)
    asked_for_chunks = small(segment_frames=None, summary_tokens=True, chunk_frames=4)(clip)
    assert torch.equal(one_pass.tokens, asked_for_chunks.tokens)
    with pytest.raises(EncoderError, match="cannot be streamed"):
        next(stream_tokens(small(summary_tokens=True), clip[0].unbind(1)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"patch_size": 15}, "patch_size=15 does not divide 224"),
        ({"segment_frames": 0}, "segment_frames=0"),
        ({"mixed_blocks": (0, 12)}, r"mixed_blocks=\[12\] do not exist in a net of depth 3"),
    ],
)
def test_impossible_configurations_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        replace(SMALL, **changes)


def test_bf16_autocast_stays_within_three_percent_of_float32() -> None:
    model = small()
    clip = clips(2, 8)
    exact = model(clip)
    with torch.autocast("cpu", torch.bfloat16):
        rough = model(clip)
    for one, other in zip(exact[:3], rough[:3], strict=True):
        assert (one - other).norm() <= 0.03 * one.norm()


def test_training_reaches_every_parameter() -> None:
    model = small().train().requires_grad_(True)
    model.classify(clips(1, 8)).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []
