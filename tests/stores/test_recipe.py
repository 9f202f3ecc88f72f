"""Two recipes are equal exactly when their features may be mixed."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from longvid.stores import NotAFeatureStore, Recipe


def test_the_digest_depends_on_every_field(make_recipe):
    base = make_recipe()
    changes = {
        "encoder": "other",
        "encoder_config": {"depth": 3},
        "weights_sha256": "1" * 64,
        "sampling": {"fps": 4, "frames": 4},
        "preprocessing": {},
        "pooling": "class",
        "num_tokens": 4,
        "dim": 9,
        "dtype": "float32",
    }
    assert changes.keys() | {"format"} == Recipe.model_fields.keys()
    digests = {make_recipe(**{name: value}).digest for name, value in changes.items()} | {base.digest}
    assert len(digests) == len(changes) + 1


def test_the_digest_is_the_same_in_another_process_and_in_another_order(make_recipe):
    recipe = make_recipe(encoder_config={"b": 1, "a": [1, 2.5, "é", None, True]})
    turned = make_recipe(encoder_config={"a": (1, 2.5, "é", None, True), "b": 1})
    program = f"from longvid.stores import Recipe; print(Recipe.from_dict({recipe.to_dict()!r}).digest)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == recipe.digest == turned.digest
    assert recipe == turned
    assert hash(recipe) == hash(turned)


def test_a_whole_float_is_the_integer_it_equals(make_recipe):
    assert make_recipe(sampling={"fps": 8.0}) == make_recipe(sampling={"fps": 8})
    assert make_recipe(sampling={"fps": 8.5}) != make_recipe(sampling={"fps": 8})


def test_differences_are_named_field_by_field(make_recipe):
    other = make_recipe(sampling={"fps": 4, "frames": 4, "end": "pad"}, dim=16)
    assert make_recipe().differences(other) == [
        "dim: 8 != 16",
        'sampling.end: absent != "pad"',
        "sampling.fps: 8 != 4",
    ]
    assert make_recipe().differences(make_recipe()) == []


def test_a_recipe_does_not_change_with_the_dictionary_it_was_made_from(make_recipe):
    config = {"layers": [1, 2]}
    recipe = make_recipe(encoder_config=config)
    before = recipe.digest
    config["layers"].append(3)
    assert recipe.digest == before


def test_a_recipe_is_frozen(make_recipe):
    with pytest.raises(ValidationError, match="frozen"):
        make_recipe().dim = 3


@pytest.mark.parametrize(
    "fields",
    [
        {"dim": 0},
        {"num_tokens": -1},
        {"dtype": "float64"},
        {"encoder": ""},
        {"sampling": {"fps": float("nan")}},
        {"encoder_config": {"layer": object()}},
        {"dim": "8"},
        {"colour": "red"},
        {"format": 2},
    ],
)
def test_an_impossible_field_is_refused(fields, make_recipe):
    with pytest.raises(ValidationError, match=next(iter(fields))):
        make_recipe(**fields)


def test_a_dictionary_that_is_no_recipe_is_named(make_recipe):
    with pytest.raises(NotAFeatureStore, match="recipe field 'dim'"):
        Recipe.from_dict(make_recipe().to_dict() | {"dim": 0})
    assert Recipe.from_dict(make_recipe().to_dict()) == make_recipe()
