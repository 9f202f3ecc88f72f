"""Every setting of a training, for people and, as a schema, for editors.

print(setting_rows()[0])                 # name, type, default, what it is
schema = json_schema("lvu/relationship")
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, get_origin

import yaml
from pydantic import BaseModel, TypeAdapter
from pydantic_core import PydanticUndefined

from longvid.decoders import DECODERS, DecoderEntry, find_decoder, names_code
from longvid.field_docs import field_docs
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.recipe_files import read_recipe
from longvid.pipelines.training.settings import settings_of

FROM_ELSEWHERE = ("dim", "outputs", "head", "max_length")
"""Fields of a decoder's config that the store, the task and the windows decide."""
NOT_IN_RECIPES = ("store", "manifest")
"""Settings without a default; a recipe may leave them to the command line."""


@dataclass(frozen=True)
class SettingRow:
    """One setting."""

    name: str
    """Its dotted name, as an override gives it: `optimiser.learning_rate`."""
    type: str
    default: str
    """As YAML; empty if it has none."""
    what: str
    """What it is, in a line."""
    value: str | None = None
    """Its value in the recipe that was asked about, as YAML; None where the recipe leaves the default."""


def setting_rows(recipe: str | Path | None = None) -> list[SettingRow]:
    """Every setting, with the options of the recipe's decoder (without a recipe: of ViS4mer)."""
    given: dict[str, Any] = {} if recipe is None else read_recipe(Path(recipe))
    decoder = given.get("decoder") if isinstance(given.get("decoder"), dict) else {}
    name = str((decoder or {}).get("name", TrainConfig.model_fields["decoder"].get_default().name))
    rows = []
    for row in _rows(TrainConfig, given):
        rows.append(row)
        if row.name == "decoder.options":
            rows += _decoder_rows(name, given)
    return rows


def learning_rows(model: type[BaseModel], given: dict[str, Any]) -> list[SettingRow]:
    """Every setting of a fine-tuning or a distillation, with a recipe's own values."""
    return list(_rows(model, given))


def json_schema(recipe: str | Path | None = None) -> dict[str, Any]:
    """The JSON schema of a recipe file (draft 2020-12), the options of each decoder included.

    With a recipe, its values are the defaults.
    """
    schema = TrainConfig.model_json_schema()
    schema["required"] = [name for name in schema.get("required", []) if name not in NOT_IN_RECIPES]
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "longvid training recipe"} | schema
    schema["$defs"]["DecoderSettings"]["allOf"] = [
        {
            "if": {"properties": {"name": {"const": name}}, "required": ["name"]},
            "then": {"properties": {"options": _options_schema(entry.config, schema["$defs"])}},
        }
        for name, entry in DECODERS.items()
        if isinstance(entry, DecoderEntry)
    ]
    if recipe is not None:
        for name, value in read_recipe(Path(recipe)).items():
            if name in schema["properties"]:
                schema["properties"][name]["default"] = value
    return schema


def _rows(model: type[BaseModel], given: Any, prefix: str = "") -> Iterator[SettingRow]:
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        inner = None if get_origin(field.annotation) is list else settings_of(model, name)
        there = isinstance(given, dict) and name in given
        value = given[name] if there else None
        default = None if field.default is PydanticUndefined else field.get_default()
        required = field.is_required()
        what = _first_sentence(field.description or (inner.__doc__ if inner else "") or "")
        if inner is not None:
            # a part that is none by default is shown by its own row; the others by their settings alone
            if default is None:
                shown = _yaml(value) if there else None
                yield SettingRow(f"{prefix}{name}", "settings or null", "" if required else "null", what, shown)
            yield from _rows(inner, value, f"{prefix}{name}.")
            continue
        yield SettingRow(
            f"{prefix}{name}",
            type_in_words(schema["properties"][name]),
            "" if required else _yaml(default),
            what,
            _yaml(value) if there else None,
        )


def _decoder_rows(name: str, given: dict[str, Any]) -> list[SettingRow]:
    """The options of a built-in decoder; of code nothing is known without importing it."""
    if names_code(name):
        return []
    entry = find_decoder(name)
    if not isinstance(entry, DecoderEntry):
        return []
    assert is_dataclass(entry.config)
    options = given.get("decoder", {}).get("options") or {}
    schema, docs = _options_schema(entry.config, {})["properties"], field_docs(entry.config)
    return [
        SettingRow(
            f"decoder.options.{field.name}",
            type_in_words(schema[field.name]),
            _yaml(_plain(field.default)),
            _first_sentence(f"{name}: {docs[field.name]}" if field.name in docs else name),
            _yaml(options[field.name]) if field.name in options else None,
        )
        for field in fields(entry.config)
        if field.name not in FROM_ELSEWHERE
    ]


def _options_schema(config: type, shared: dict[str, Any]) -> dict[str, Any]:
    """The JSON schema of a decoder's options; what it refers to goes into `shared`."""
    schema = _standard(TypeAdapter(config).json_schema())
    shared |= schema.pop("$defs", {})
    docs = field_docs(config)
    properties = {
        name: {"description": docs[name]} | one if name in docs else one
        for name, one in schema["properties"].items()
        if name not in FROM_ELSEWHERE
    }
    return {"type": "object", "properties": properties, "additionalProperties": False}


_LIMITS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _standard(schema: Any) -> Any:
    """A schema in the words of the standard: pydantic keeps its own for numbers that have a validator of their own."""
    if isinstance(schema, list):
        return [_standard(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {_LIMITS.get(name, name): _standard(value) for name, value in schema.items()}
    if _LIMITS.keys() & schema.keys() and "type" not in made:
        made["type"] = "number"
    return made


def type_in_words(schema: dict[str, Any]) -> str:
    """A JSON schema as a phrase: `whole number >= 1`, `one of cosine, plateau`, `list of text`."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(type_in_words(part) for part in schema["anyOf"]))
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "const" in schema:
        return str(schema["const"])
    limits = [
        f"{sign} {schema[name]:g}"
        for name, sign in (
            ("exclusiveMinimum", ">"),
            ("minimum", ">="),
            ("exclusiveMaximum", "<"),
            ("maximum", "<="),
        )
        if name in schema
    ]
    match schema.get("type"):
        case "integer":
            kind = "whole number"
        case "number":
            kind = "number"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "null":
            return "null"
        case "object":
            return "named values"
        case "array":
            parts = schema.get("prefixItems")
            each = type_in_words(parts[0] if parts else schema.get("items", {}))
            return f"{len(parts)} values: {each}" if parts else f"list of {each}"
        case _:
            return "any value"
    return f"{kind} {' and '.join(limits)}".rstrip()


def _yaml(value: Any) -> str:
    """A value as one line of YAML."""
    text = yaml.safe_dump(_plain(value), default_flow_style=True, width=10_000, allow_unicode=True, sort_keys=False)
    return text.strip().removesuffix("...").strip()


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value


def _first_sentence(text: str) -> str:
    """The first line's worth of a docstring, in one line."""
    line = " ".join(text.split())
    return line.partition(". ")[0].rstrip(".")
