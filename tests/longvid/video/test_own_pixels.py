"""A decoder with pixels of its own is in the recipe, is never taken unasked, and has to be right in every check."""

import numpy as np
import pytest

from longvid.encoders import build_encoder
from longvid.pipelines.extraction.job import ExtractionJob
from longvid.pipelines.extraction.plan import make_recipe
from longvid.pipelines.rebuilding import Given, job_of_recipe
from longvid.video.backends import BACKENDS, Backend, check_backend


@pytest.fixture
def another(monkeypatch: pytest.MonkeyPatch):
    """Adds a decoder for one test."""

    def add(read_frames) -> str:
        monkeypatch.setitem(BACKENDS, "another", Backend(read_frames, lambda: "1", "none"))
        return "another"

    yield add
    check_backend.cache_clear()


def test_a_recipe_names_the_gpus_decoder_and_the_job_of_that_recipe_has_it() -> None:
    encoder = build_encoder("patch-statistics")
    recipes = {name: make_recipe(ExtractionJob("patch-statistics", backend=name), encoder) for name in BACKENDS}
    assert recipes["pyav"].digest == recipes["torchcodec"].digest != recipes["torchcodec-cuda"].digest
    assert recipes["pyav"].differences(recipes["torchcodec-cuda"]) == [
        'preprocessing.decoder: absent != "torchcodec-cuda"'
    ]
    job = job_of_recipe(recipes["torchcodec-cuda"], {}, Given(), source="x.zarr")
    assert job.backend == "torchcodec-cuda"
    assert make_recipe(job, encoder).digest == recipes["torchcodec-cuda"].digest
    assert job_of_recipe(recipes["pyav"], {}, Given(), source="x.zarr").backend == "auto"


def test_the_gpus_decoder_is_never_taken_unasked_and_says_what_it_needs() -> None:
    assert not BACKENDS["torchcodec-cuda"].in_auto
    status = check_backend("torchcodec-cuda")
    assert status.works or (status.reason and "NVIDIA" in status.remedy)


def test_a_decoder_that_is_wrong_after_a_seek_backwards_is_not_admitted(another) -> None:
    asked: list[int] = []

    def never_back(video, indices, **options):
        asked.append(int(indices[0]))
        wanted = np.maximum(indices, 6) if len(asked) > 2 and asked[-1] < asked[-2] else indices
        for index in wanted:
            yield from BACKENDS["pyav"].read_frames(video, np.array([index]), **options)

    assert check_backend(another(never_back)).reason == "asked for frames [0, 2] it gave [6, 6]"


def test_a_decoder_that_is_wrong_after_a_video_of_another_size_is_not_admitted(another) -> None:
    sizes = []

    def one_size(video, indices, **options):
        sizes.append(video.header.coded_height)
        shift = 1 if sizes[-1] != sizes[0] else 0
        for index in indices:
            yield from BACKENDS["pyav"].read_frames(video, np.array([index + shift]), **options)

    assert "it gave [1, 3, 5, 7]" in check_backend(another(one_size)).reason
