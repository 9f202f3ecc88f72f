"""The sequences of the long-range bench ask for memory: read in order they tell the answer, pooled they do not."""

import numpy as np
import pytest
import torch

from longvid.decoders.baseline import POOLINGS, fit_linear_baseline, pool_video
from longvid.pipelines.bench.memory_tasks import (
    ASKING,
    CHANNELS,
    MODULUS,
    MOST,
    NOISE,
    RAISED,
    SHORTEST,
    TASKS,
    MemoryTask,
    handwritten,
    shifted,
)

BY_NAME = {task.name: task for task in TASKS}


def batch(task: MemoryTask, items: int = 64, length: int = 256, *, held_out: bool = False):
    return task.draw(items, length, torch.Generator().manual_seed(0), held_out)


def raised(tokens: torch.Tensor) -> torch.Tensor:
    """Which channels are raised when, read off a sequence by averaging four neighbouring steps."""
    return torch.nn.functional.avg_pool1d(tokens.mT, 4).mT > RAISED / 2


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
@pytest.mark.parametrize("length", [SHORTEST, 512])
def test_every_task_draws_tokens_and_answers_of_its_shape(task: MemoryTask, length: int):
    tokens, answers = batch(task, 5, length)
    assert tokens.shape == (5, length, CHANNELS)
    assert answers.shape == (5, length if task.questions is None else task.questions)
    assert answers.min() >= 0
    assert answers.max() < task.choices
    assert torch.equal(batch(task, 5, length)[0], tokens)


def test_order_is_the_channel_that_is_raised_first():
    tokens, answers = batch(BY_NAME["order"], length=1024)
    first = raised(tokens)[..., :2].float().argmax(dim=1)
    assert torch.equal(first.argmin(dim=1), answers[:, 0])


def test_copied_are_the_channels_in_the_order_in_which_they_are_raised():
    tokens, answers = batch(BY_NAME["selective copy"], length=1024)
    assert torch.equal(raised(tokens)[..., :4].float().argmax(dim=1).argsort(dim=1), answers)


def test_counted_is_how_often_the_channel_has_risen_so_far():
    tokens, answers = batch(BY_NAME["counting"], length=1024)
    high = raised(tokens)[..., 0]
    rises = torch.cat([high[:, :1], high[:, 1:] & ~high[:, :-1]], dim=1)
    assert torch.equal(rises.cumsum(dim=1)[:, -1] % MODULUS, answers[:, -1])


def test_at_its_end_each_count_is_equally_likely():
    _, answers = batch(BY_NAME["counting"], 6000, SHORTEST)
    shares = torch.bincount(answers[:, -1], minlength=MODULUS) / len(answers)
    assert MOST % MODULUS == 0
    assert torch.allclose(shares, torch.full_like(shares, 1 / MODULUS), atol=0.03)


def pooled_sequences(task: MemoryTask, pooling: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    tokens, answers = task.draw(400, 128, torch.Generator().manual_seed(seed), False)
    return np.stack([pool_video([item])[pooling] for item in tokens.numpy()]), answers[:, 0].numpy()


@pytest.mark.parametrize("name", ["order", "selective copy"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_over_time_tells_nothing_of_the_answer(name: str, pooling: str):
    task = BY_NAME[name]
    features, targets = zip(*(pooled_sequences(task, pooling, seed) for seed in (0, 1)), strict=True)
    model = fit_linear_baseline(features[0], targets[0], outputs=task.choices, strength=0.01)
    found = np.mean(model.scores(features[1]).argmax(axis=1) == targets[1])
    standard_error = np.sqrt(1 / task.choices * (1 - 1 / task.choices) / 400)
    assert abs(found - 1 / task.choices) < 4 * standard_error


def test_the_answer_is_wanted_in_the_last_sixteenth_alone():
    tokens, _ = batch(BY_NAME["order"], length=256)
    asking = tokens[..., ASKING].mean(dim=0) > NOISE
    assert torch.equal(asking, torch.arange(256) >= 240)


def test_scored_of_a_question_at_every_step_is_the_last_sixteenth():
    assert BY_NAME["counting"].scored(torch.arange(64)[None]).tolist() == [[60, 61, 62, 63]]
    assert BY_NAME["order"].scored(torch.tensor([[1]])).tolist() == [[1]]


def test_digits_held_out_are_none_of_those_trained_on():
    training, held_out = (handwritten(part)[0] for part in (False, True))
    assert len(training) + len(held_out) == 1797
    assert not {tuple(image) for image in training.tolist()} & {tuple(image) for image in held_out.tolist()}


def test_a_shifted_digit_is_the_same_one_elsewhere():
    image = torch.zeros(8, 8)
    image[3, 5] = 1.0
    moved = shifted(image.flatten()[None].repeat(3, 1), torch.tensor([[0, 0], [1, 0], [-1, 1]])).unflatten(1, (8, 8))
    assert [tuple(place.tolist()) for place in moved.nonzero()[:, 1:]] == [(3, 5), (2, 5), (4, 4)]
    corner = torch.eye(8).flatten()[None]
    assert shifted(corner, torch.tensor([[1, 1]])).sum() == 7, "what leaves does not come back"
