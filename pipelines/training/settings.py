"""What settings are made of: a frozen base, overrides, faults in one line.

class MySettings(Settings):
    rate: float = 1.0

apply_override(values, "part.rate=0.5")
settings = checked_settings(MySettings, values, source="recipe.yaml")   # ConfigError with all faults in one line
"""

import difflib
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from longvid.errors import ConfigError
from longvid.safe_yaml import parse_yaml
from longvid.validation import in_words, shortened, shown

Checked = TypeVar("Checked", bound=BaseModel)


class Settings(BaseModel):
    """A part of a recipe; frozen; unknown settings are refused."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        coerce_numbers_to_str=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,  # `longvid train --settings` shows them
    )


def checked_settings(model: type[Checked], settings: dict[str, Any], *, source: str) -> Checked:
    """Settings of plain nested values; `ConfigError` with all faults in one line."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        faults = "; ".join(_fault(fault, model) for fault in error.errors())
        raise ConfigError(f"{source}: {faults}") from None


def apply_override(settings: dict[str, Any], override: str) -> None:
    """Put one `dotted.key=value` into nested settings."""
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"override {shown(override)} is not of the form key=value")
    try:
        value = parse_yaml(text)
    except ValueError as error:
        raise ConfigError(f"override {shown(override)}: the value cannot be read as YAML ({error})") from None
    *parents, last = key.strip().split(".")
    for parent in parents:
        if settings.get(parent) is None:
            settings[parent] = {}
        if not isinstance(settings[parent], dict):
            raise ConfigError(
                f"override {shown(override)}: {parent} is {shown(settings[parent])}, which has no settings"
            )
        settings = settings[parent]
    settings[last] = value


def _fault(fault: Any, model: type[BaseModel]) -> str:
    """One pydantic error as `setting: what is wrong and what would be right`."""
    location = [str(part) for part in fault["loc"]]
    where = ".".join(location)
    if not location:
        return str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        known = _known_settings(location[:-1], model)
        near = _meant(location, model)
        remedy = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(known)}"
        return f"{where} is not a setting; {remedy}"
    if fault["type"] == "missing":
        return f"{where} must be given"
    value = "" if isinstance(fault["input"], dict) else f"={shortened(str(fault['input']))}"
    if fault["type"] in ("model_type", "model_attributes_type"):
        inner = _known_settings(location, model)
        if "name" in inner:
            return f"{where}{value}: {where} has several settings; write {where}.name{value}"
        return f"{where}{value}: {where} has several settings: {', '.join(f'{where}.{name}' for name in inner)}"
    if fault["type"] == "list_type":
        return f"{where}{value}: should be a list; write {where}=[{value[1:]}]"
    return f"{where}{value}: {in_words(fault)}"


def _meant(location: list[str], model: type[BaseModel]) -> list[str]:
    """Dotted names of the settings that a wrong name may mean.

    First similar names in the same part of the recipe; else settings elsewhere of that name or those initials (`lr` is
    optimiser.learning_rate); else similar names elsewhere.
    """
    wrong, prefix = location[-1], ".".join([*location[:-1], ""])
    beside = difflib.get_close_matches(wrong, _known_settings(location[:-1], model), 1)
    if beside:
        return [f"{prefix}{beside[0]}"]
    leaves: dict[str, list[str]] = {}
    for place in _all_settings(model):
        leaves.setdefault(place.rpartition(".")[2], []).append(place)
    named = [p for leaf, places in leaves.items() for p in places if wrong in (leaf, _initials(leaf))]
    alike = difflib.get_close_matches(wrong, leaves, 1)
    return named or [place for leaf in alike for place in leaves[leaf]]


def _initials(name: str) -> str:
    words = name.split("_")
    return "".join(word[:1] for word in words) if len(words) > 1 else ""


def _all_settings(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted names of all settings."""
    for name in model.model_fields:
        inner = settings_of(model, name)
        yield f"{prefix}{name}"
        if inner is not None:
            yield from _all_settings(inner, f"{prefix}{name}.")


def settings_of(model: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The class of a setting that has inner settings, else None."""
    annotation = model.model_fields[name].annotation
    choices = [annotation, *getattr(annotation, "__args__", ())]
    return next((c for c in choices if isinstance(c, type) and issubclass(c, BaseModel)), None)


def _known_settings(location: list[str], model: type[BaseModel]) -> list[str]:
    for part in location:
        if part.isdigit():  # a place in a list of settings
            continue
        inner = settings_of(model, part)
        assert inner is not None
        model = inner
    return list(model.model_fields)
