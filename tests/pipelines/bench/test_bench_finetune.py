"""The bench of encoders that learn: twins are blind to time, and what was drawn and trained is not made again."""

from dataclasses import replace

import pytest
import torch

from longvid.pipelines.bench import finetune
from longvid.pipelines.bench.keeping import bench_folder, kept
from longvid.pipelines.learning.config import load_finetuning
from longvid.pipelines.learning.motions import CLASSES

TINY = replace(finetune.QUICK, clips=32, tested=16, epochs={"Video Mobile-Former": 1})


@pytest.mark.parametrize("net", finetune.NETS)
def test_an_image_twin_is_as_large_and_does_not_see_the_order_of_frames(net: str) -> None:
    config = load_finetuning(finetune.NETS[net])
    own, twin = (finetune.model_of(config, way).eval() for way in (finetune.WITH, finetune.WITHOUT))
    weights = [sum(one.numel() for one in model.parameters()) for model in (own, twin)]
    assert 0.9 < weights[1] / weights[0] <= 1
    clips = torch.randn(2, 3, 8, 32, 32)
    with torch.inference_mode():
        assert twin(clips).shape == (2, len(CLASSES))
        torch.testing.assert_close(twin(clips.flip(2)), twin(clips), rtol=1e-4, atol=1e-5)


def test_a_training_of_the_bench_that_is_done_is_read_and_not_done_again(tmp_path, monkeypatch) -> None:
    arguments = ("Video Mobile-Former", finetune.WITH, 0, TINY, tmp_path)
    first = finetune.outcome_of(*arguments)
    drawn = sorted(path.name for path in (tmp_path / "clips").iterdir())
    assert drawn == ["blobs-0-32.npz", "blobs-1-16.npz"]
    monkeypatch.setattr(finetune, "motion_clips", None)  # nothing is drawn again
    assert finetune.outcome_of(*arguments) == first
    table = finetune.accuracies(
        TINY,
        [replace(first, way=way, accuracy=share) for way, share in ((finetune.WITH, 0.9), (finetune.WITHOUT, 0.1))],
    )
    assert [claim.reached for claim in table.claims] == [True, True]


def test_what_a_bench_measured_is_kept_in_a_folder_of_its_size(tmp_path) -> None:
    with bench_folder(tmp_path / "kept", quick=True) as place:
        assert kept(place / "measured" / "a.json", lambda: [1.5, 2]) == [1.5, 2]
        assert kept(place / "measured" / "a.json", lambda: [9.9, 9]) == [1.5, 2]
    assert (tmp_path / "kept" / "quick" / "measured" / "a.json").is_file()
    with bench_folder(None, quick=True) as place:
        (place / "x").touch()
    assert not place.exists()
