"""Streaming ViS4mer gives the scores of one pass, in constant memory."""

import pytest
import torch
from rounding import assert_same_numbers

from longvid.decoders import build_decoder
from longvid.decoders.streaming import StreamingViS4mer
from longvid.decoders.vis4mer import ViS4mer
from longvid.errors import DecoderError


def decoder_of(**options: object) -> ViS4mer:
    torch.manual_seed(0)
    settings = {"dim": 12, "outputs": 3, "max_length": 64, "width": 16, "layers": 3, "state_size": 8} | options
    decoder = build_decoder("vis4mer", **settings).eval()  # type: ignore[arg-type]
    assert isinstance(decoder, ViS4mer)
    return decoder


@pytest.mark.parametrize("options", [{}, {"norm": "post"}, {"mixer": "s4d"}, {"mixer": "s5"}, {"gated": True}], ids=str)
@pytest.mark.parametrize("length", [8, 75])
def test_streaming_equals_the_full_pass_however_the_tokens_are_cut(length: int, options: dict[str, object]) -> None:
    decoder = decoder_of(**options).double()
    tokens = torch.randn(2, length, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = decoder(tokens)
    for size in (1, 7, length):
        stream = StreamingViS4mer(decoder, batch=2)
        for part in tokens.split(size, dim=1):
            scores = stream.push(part)
        assert scores is not None
        torch.testing.assert_close(scores, expected)
        assert stream.tokens_seen == length


def test_scores_after_every_push_are_those_of_the_tokens_so_far() -> None:
    decoder = decoder_of().double()
    tokens = torch.randn(1, 40, 12, dtype=torch.float64)
    stream = StreamingViS4mer(decoder)
    for seen, token in enumerate(tokens.unbind(1), start=1):
        scores = stream.push(token[:, None])
        if seen < 8:
            assert scores is None
        else:
            with torch.no_grad():
                torch.testing.assert_close(scores, decoder(tokens[:, :seen]))


def test_a_long_stream_in_float32_stays_with_the_full_pass() -> None:
    decoder = decoder_of()
    tokens = torch.randn(1, 10_000, 12)
    stream = StreamingViS4mer(decoder)
    for part in tokens.split(1000, dim=1):
        scores = stream.push(part)
    with torch.no_grad():
        assert_same_numbers(scores, decoder(tokens), terms=1000, layers=3)  # a state remembers 1 / 0.001 steps


def test_the_state_does_not_grow_with_the_video() -> None:
    stream = StreamingViS4mer(decoder_of())
    sizes = []
    for _ in range(5):
        stream.push(torch.randn(1, 999, 12))
        stream.push(torch.randn(1, 1, 12))
        sizes.append(stream.state_bytes)
    assert len(set(sizes)) == 1
    states = (16 + 8 + 4) * 4 * 8  # complex64: channels x half-states
    assert sizes[0] == states + 2 * 8  # and the running sum, float64, two wide


def test_after_a_reset_nothing_of_the_old_video_is_left() -> None:
    stream = StreamingViS4mer(decoder_of())
    tokens = torch.randn(1, 21, 12)
    first = stream.push(tokens)
    stream.push(torch.randn(1, 33, 12))
    stream.reset()
    assert torch.equal(stream.push(tokens), first)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bidirectional": True}, "needs the future"),
        ({"head": "steps"}, "head='steps' cannot stream"),
        ({"odd_length": "official", "max_length": 33}, "load it with odd_length='exact'"),
    ],
)
def test_a_decoder_that_cannot_stream_says_why(options: dict[str, object], message: str) -> None:
    with pytest.raises(DecoderError, match=message):
        StreamingViS4mer(decoder_of(**options))


def test_a_decoder_in_training_mode_is_refused() -> None:
    with pytest.raises(DecoderError, match=r"call decoder.eval\(\)"):
        StreamingViS4mer(decoder_of().train())


def test_another_number_of_videos_than_the_stream_was_made_for_is_refused() -> None:
    with pytest.raises(DecoderError, match="2 videos were pushed to a stream of 1"):
        StreamingViS4mer(decoder_of()).push(torch.randn(2, 4, 12))
