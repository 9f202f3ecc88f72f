"""The shared parts equal their slow, obvious forms."""

import pytest
import torch
from rounding import rounding
from torch.nn import functional

from longvid.layers import transformer as parts


def test_attention_equals_softmax_written_out_head_by_head() -> None:
    torch.manual_seed(0)
    attention = parts.Attention(12, 3).double()
    tokens = torch.randn(2, 5, 12, dtype=torch.float64)
    query, key, value = functional.linear(tokens, attention.qkv.weight, attention.qkv.bias).split(12, dim=-1)
    heads = []
    for first in range(0, 12, 4):
        of_head = slice(first, first + 4)
        scores = query[..., of_head] @ key[..., of_head].mT * 4**-0.5
        heads.append(scores.softmax(-1) @ value[..., of_head])
    torch.testing.assert_close(attention(tokens), attention.proj(torch.cat(heads, -1)))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ValueError, match="dim=10 cannot be cut into num_heads=4"):
        parts.Attention(10, 4)


def test_drop_path_is_silent_in_evaluation_and_keeps_the_mean_in_training() -> None:
    torch.manual_seed(0)
    drop = parts.DropPath(0.25)
    branch = torch.ones(4000, 2, 3)
    kept = drop(branch)
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert (kept.flatten(1).amax(1) == kept.flatten(1).amin(1)).all(), "an item is dropped whole or not at all"
    assert kept.mean().item() == pytest.approx(1.0, abs=0.03)
    assert drop.eval()(branch) is branch


def test_drop_path_rates_rise_from_zero_to_the_last() -> None:
    assert parts.drop_path_rates(0.2, 5) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert parts.drop_path_rates(0.2, 1) == [0]


def test_a_position_table_of_the_same_grid_is_returned_untouched() -> None:
    table = torch.randn(12, 5)
    assert parts.resize_table(table, (3, 4), (3, 4)) is table
    assert parts.resize_table(table, (3, 4), (6, 2)).shape == (12, 5)
    with pytest.raises(ValueError, match="12 places is not a grid of 4x4"):
        parts.resize_table(table, (4, 4), (2, 2))


def test_resizing_keeps_rows_apart_from_columns() -> None:
    rows = torch.arange(4.0).repeat_interleave(4).unsqueeze(1)
    resized = parts.resize_table(rows, (4, 4), (8, 8)).reshape(8, 8)
    assert (resized.std(dim=1) < rounding(torch.float32, terms=16) * rows.max()).all(), (
        "a table that changes with rows only must not change along columns"
    )


@pytest.mark.parametrize("inflate", [parts.inflate_2d, parts.centre_2d])
def test_an_inflated_kernel_answers_a_still_clip_as_the_image_kernel_does(inflate: object) -> None:
    torch.manual_seed(0)
    weight = torch.randn(6, 3, 4, 4, dtype=torch.float64)
    image = torch.randn(1, 3, 8, 8, dtype=torch.float64)
    still = image.unsqueeze(2).expand(-1, -1, 3, -1, -1)
    of_image = functional.conv2d(image, weight, stride=4)
    of_clip = functional.conv3d(still, inflate(weight, 3), stride=4)  # type: ignore[operator]
    torch.testing.assert_close(of_clip.squeeze(2), of_image)
