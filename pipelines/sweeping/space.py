"""The settings that a sweep varies, and their values.

optimiser.learning_rate=1e-5..1e-2     a range of numbers; over a decade or more drawn on a logarithmic scale
decoder.options.layers=1..4            whole numbers
decoder.name=[gru,vis4mer]             one of these
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from longvid.errors import ConfigError
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.settings import apply_override
from longvid.safe_yaml import parse_yaml
from longvid.validation import shown

USUAL = {"optimiser.learning_rate": "1e-5..1e-2", "optimiser.weight_decay": "1e-4..0.3"}
"""What is varied where nothing is said."""
LOGARITHMIC_FROM = 10
"""A range whose end is so many times its start is drawn on a logarithmic scale."""
FIXED = (
    "store",
    "manifest",
    "out",
    "name",
    "seeds",
    "folds",
    "split_column",
    "key_column",
    "span",
    "joint",
    "protocol",
)
"""Settings that a sweep does not vary: they are what its trials are compared on, or where they are written."""
FIXED_SECTIONS = ("task", "validation", "window.stride", "loggers")

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_RANGE = re.compile(rf"\s*({_NUMBER})\s*\.\.\s*({_NUMBER})\s*")


@dataclass(frozen=True)
class Varied:
    """One setting that a sweep varies."""

    name: str
    text: str
    """Its values as they were given."""
    distribution: BaseDistribution
    choices: tuple[Any, ...] = ()
    """The values, where they are listed."""

    def value(self, drawn: Any) -> Any:
        """The setting's value of what was drawn."""
        return self.choices[int(drawn)] if self.choices else drawn

    @property
    def ends(self) -> tuple[Any, ...]:
        """Every listed value, or the ends of the range."""
        low_high = (getattr(self.distribution, "low", None), getattr(self.distribution, "high", None))
        return self.choices or low_high


def read_space(given: Mapping[str, Any]) -> list[Varied]:
    """The varied settings of names and values: ranges as text, lists. Raises `ConfigError` for what is neither."""
    return [varied(name, values) for name, values in given.items()]


def space_of_words(words: Iterable[str]) -> dict[str, Any]:
    """Names and values of words such as `decoder.name=[gru,vis4mer]`."""
    found: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise ConfigError(f"--vary {shown(word)} is not of the form name=values, such as epochs=[20,50]")
        try:
            found[name.strip()] = text.strip() if _RANGE.fullmatch(text) else parse_yaml(text)
        except ValueError as error:
            raise ConfigError(f"--vary {shown(word)}: the values cannot be read as YAML ({error})") from None
    return found


def varied(name: str, values: Any) -> Varied:
    """A setting with its range or its list of values."""
    if name in FIXED or any(name == fixed or name.startswith(f"{fixed}.") for fixed in FIXED_SECTIONS):
        raise ConfigError(f"sweep: {name} is what the trials have in common; give it as an ordinary setting")
    if isinstance(values, list):
        if len(values) < 2:
            raise ConfigError(f"sweep: {name} has {len(values)} values; list two or more, or give it as a setting")
        if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
            raise ConfigError(f"sweep: {name} lists a value twice")
        return Varied(name, json.dumps(values), CategoricalDistribution(range(len(values))), tuple(values))
    found = _RANGE.fullmatch(values) if isinstance(values, str) else None
    if found is None:
        raise ConfigError(
            f"sweep: {name}={shown(values)} is neither a list nor a range; write {name}=[1,2] or 1e-4..1e-2"
        )
    whole = all(re.fullmatch(r"[+-]?\d+", end) for end in found.groups())
    low, high = (int(end) if whole else float(end) for end in found.groups())
    if low >= high:
        raise ConfigError(f"sweep: {name}={values}: a range goes from a lower number to a higher one")
    logarithmic = low > 0 and high / low >= LOGARITHMIC_FROM
    if whole:
        return Varied(name, values, IntDistribution(int(low), int(high), log=logarithmic))
    return Varied(name, values, FloatDistribution(low, high, log=logarithmic))


def with_values(config: TrainConfig, values: Mapping[str, Any], **changes: Any) -> TrainConfig:
    """The recipe with these values; `ConfigError` in one line for values that it cannot have."""
    settings = config.model_dump(mode="json")
    for name, value in values.items():
        apply_override(settings, f"{name}={json.dumps(value)}")
    return TrainConfig.of(settings | changes, source="sweep")


def refuse_impossible(config: TrainConfig, space: Iterable[Varied]) -> None:
    """Raise `ConfigError` for a name that is not a setting, and for a value that it cannot have by itself."""
    for setting in space:
        for value in setting.ends:
            with_values(config, {setting.name: value})
