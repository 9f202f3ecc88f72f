"""Whether weights were learned is a field of an encoder, not the start of a sentence about them."""

import pytest

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders import EncoderSpec, build_encoder
from longvid.encoders.origin import WeightsOrigin


def spec(weights: str, seed: int | None = None) -> EncoderSpec:
    return EncoderSpec("mine", Sampling(), Preprocessing(), weights=weights, weights_seed=seed)


@pytest.mark.parametrize(
    ("of", "kind", "seed", "phrase"),
    [
        (spec("random", 3), "random", 3, "random (seed 3)"),
        (spec("a start of my own", 3), "random", 3, "random (seed 3)"),
        (spec("random"), "random", None, "random"),
        (spec("random (seed 12)"), "random", 12, "random (seed 12)"),
        (spec("random-crops.safetensors"), "loaded", None, "loaded"),
        (spec("randomly-cropped/best (seed 3)"), "loaded", None, "loaded"),
        (spec("random (seed 3).pth"), "loaded", None, "loaded"),
        (spec(f"random (seed {'9' * 5000})"), "loaded", None, "loaded"),
        (spec("facebook/dinov2-base@0123"), "loaded", None, "loaded"),
        (spec("none"), "none", None, "none"),
    ],
)
def test_weights_count_as_untrained_only_where_a_seed_or_the_word_itself_says_so(
    of: EncoderSpec, kind: str, seed: int | None, phrase: str
) -> None:
    origin = WeightsOrigin.of_spec(of)
    assert (origin.kind, origin.seed, origin.phrase) == (kind, seed, phrase)


@pytest.mark.parametrize("seed", [0, 7])
def test_a_recipe_keeps_the_origin_and_gives_it_back(seed: int) -> None:
    for origin in (
        WeightsOrigin("random", seed),
        WeightsOrigin("random"),
        WeightsOrigin("loaded"),
        WeightsOrigin("none"),
    ):
        assert WeightsOrigin.of_recipe({"weights": origin.phrase}) == origin
    assert WeightsOrigin.of_recipe({}) is None


def test_a_built_in_encoder_states_the_seed_it_was_drawn_with() -> None:
    assert build_encoder("patch-statistics", seed=5).spec.weights_seed == 5
    assert build_encoder("mobile-former-26m", seed=2).spec.weights_seed == 2
