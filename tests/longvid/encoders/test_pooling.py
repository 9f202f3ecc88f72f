"""Each way of pooling keeps the tokens its name says."""

import pytest
import torch
from rounding import assert_same_numbers

from longvid.encoders import POOLINGS, EncoderOutput, pool
from longvid.errors import EncoderError

ROUNDING = {"terms": 64, "layers": 1}
"""Rounding of one sum over all tokens."""

BATCH, TIME, TOKENS, DIM = 2, 3, 4, 5


@pytest.fixture
def output():
    tokens = torch.arange(BATCH * TIME * TOKENS * DIM, dtype=torch.float32).reshape(BATCH, TIME, TOKENS, DIM)
    return EncoderOutput(
        tokens,
        class_tokens=-tokens[:, :, 0] - 1,
        clip=torch.full((BATCH, DIM), 7.0),
        global_tokens=torch.full((BATCH, 6, 2), 9.0),
        embedding=torch.full((BATCH, 3), 5.0),
    )


def by_hand(output, pooling):
    """Stored tokens of the first clip, step by step."""
    steps = list(output.tokens[0])
    rows = {
        "tokens": [token for step in steps for token in step],
        "class+tokens": [token for time, step in enumerate(steps) for token in [output.class_tokens[0, time], *step]],
        "class": list(output.class_tokens[0]),
        "spatial": [sum(step) / TOKENS for step in steps],
        "temporal": [sum(step[place] for step in steps) / TIME for place in range(TOKENS)],
        "mean": [sum(token for step in steps for token in step) / (TIME * TOKENS)],
        "clip": [output.clip[0]],
        "global": list(output.global_tokens[0]),
        "embedding": [output.embedding[0]],
    }
    return torch.stack(rows[pooling])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_equals_the_same_done_token_by_token(pooling, output):
    stored = pool(output, pooling)
    assert stored.ndim == 3
    assert_same_numbers(stored[0], by_hand(output, pooling), **ROUNDING)


@pytest.mark.parametrize("pooling", ["class", "class+tokens", "clip", "global"])
def test_a_part_the_architecture_lacks_is_an_error_not_a_zero(pooling, output):
    with pytest.raises(EncoderError, match="this encoder has no"):
        pool(EncoderOutput(output.tokens), pooling)


def test_an_unknown_pooling_is_refused_with_those_there_are(output):
    with pytest.raises(EncoderError, match=r"'max' is not one of tokens, class\+tokens"):
        pool(output, "max")
