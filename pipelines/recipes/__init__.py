"""The recipes that come with longvid, by name.

    lvu/relationship                 our training of one LVU task; likewise for each of the nine
    lvu/relationship-siglip2         ours on SigLIP 2's vectors; -siglip2-tokens: on all its tokens; -vjepa2: V-JEPA 2's
    lvu/relationship-as-published    ViS4mer's, with its schedule and quirks
    breakfast, coin, ...             likewise
    encoders/xvit-k400, motion, ...  of `longvid finetune`, by their bare names (`encoder_recipe`)

An LVU recipe is its task's file merged over the file of its form (`lvu/ours.yaml`, `lvu/siglip2.yaml`, ...); every
other one is a single file. A file that `extends` another is merged over it: settings of a decoder replace those of
another decoder, and features without options say so by null. The run is named after the recipe, its folder is
`runs/<name>` and its manifest the one that `longvid prepare` writes, here `lvu.jsonl`, unless the user says otherwise.
"""

import difflib
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from longvid.errors import ConfigError
from longvid.safe_yaml import MOST_BYTES, YAMLError, parse_yaml

AS_PUBLISHED = "-as-published"
_FORMS = ("ours", "as-published", "siglip2", "siglip2-tokens", "vjepa2")
_OURS_ONLY = ("all",)


def recipe_names() -> list[str]:
    """Every name that `recipe_settings` knows, sorted."""
    room = files("longvid.pipelines.recipes")
    whole = [_stem(file) for file in room.iterdir() if file.name.endswith(".yaml")]
    tasks = [_stem(file) for file in (room / "lvu").iterdir() if file.name.endswith(".yaml")]
    ours = [f"lvu/{task}" for task in tasks if task not in _FORMS]
    others = [f"-{form}" for form in _FORMS[1:]]
    formed = [f"lvu/{task}{form}" for task in tasks if task not in (*_FORMS, *_OURS_ONLY) for form in others]
    return sorted(whole + ours + formed)


def encoder_recipe_names() -> list[str]:
    """Every name that `encoder_recipe` knows, sorted: recipes of `longvid finetune`."""
    room = files("longvid.pipelines.recipes") / "encoders"
    return sorted(_stem(file) for file in room.iterdir() if file.name.endswith(".yaml"))


def encoder_recipe(name: str) -> dict[str, Any]:
    """Settings of a recipe of `longvid finetune` by name; `ConfigError` suggests similar names if there is none."""
    names = encoder_recipe_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 4, 0.4) or names
        other = ", which is a recipe of `longvid train`" if name in recipe_names() else ""
        raise ConfigError(f"no recipe of an encoder is called {name}{other}; there are: {', '.join(near)}")
    room = files("longvid.pipelines.recipes") / "encoders"
    return {"name": name, "out": f"runs/{name}"} | read_settings(room / f"{name}.yaml")


def recipe_settings(name: str) -> dict[str, Any]:
    """Settings of a recipe by name; `ConfigError` suggests similar names if there is none."""
    names = recipe_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, 4, 0.4)
        there = ", ".join(near or [n for n in names if not n.endswith(AS_PUBLISHED)])
        raise ConfigError(
            f"no recipe file {name} and no recipe of that name; {'similar' if near else 'there are'}: {there}"
        )
    room = files("longvid.pipelines.recipes")
    named = {"name": name, "out": f"runs/{name}", "manifest": f"{benchmark_of(name)}.jsonl"}
    if not name.startswith("lvu/"):
        return named | _extended(room, name)
    task, _, form = name.removeprefix("lvu/").partition("-")
    return merged(named | _extended(room, f"lvu/{form or 'ours'}"), read_settings(room / "lvu" / f"{task}.yaml"))


def _extended(room: Traversable, name: str) -> dict[str, Any]:
    """The settings of one of longvid's own files, over those of the file that it extends."""
    settings = read_settings(room.joinpath(f"{name}.yaml"))
    base = settings.pop("extends", None)
    if base is None:
        return settings
    under = _extended(room, base)
    if "name" in (settings.get("decoder") or {}):
        under.pop("decoder", None)  # another decoder's options mean nothing to this one
    return _without_nothing(merged(under, settings))


def recipe_text(name: str) -> str:
    """A recipe with its comments, as one YAML file with the settings of `recipe_settings`."""
    settings = recipe_settings(name)
    room = files("longvid.pipelines.recipes")
    if not name.startswith("lvu/"):
        own = [name]
    else:
        task, _, form = name.removeprefix("lvu/").partition("-")
        own = [f"lvu/{task}", f"lvu/{form or 'ours'}"]
    parts = [_text(room.joinpath(f"{one}.yaml")) for one in own]
    extended = [_text(room.joinpath(f"{one}.yaml")) for one in _bases(room, own[-1])]
    if extended:  # merged settings have lost the comments beside them
        comments = [line for part in (*parts, *extended) for line in part.splitlines() if line.startswith("#")]
        return "\n".join([*comments, yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)])
    named = "".join(f"{key}: {settings[key]}\n" for key in ("name", "out", "manifest"))
    return "\n".join([f"{parts[0].rstrip()}\n{named}", *parts[1:]])


def _bases(room: Traversable, name: str) -> list[str]:
    """The files that one of longvid's own files extends, the nearest first."""
    base = read_settings(room.joinpath(f"{name}.yaml")).get("extends")
    return [] if base is None else [base, *_bases(room, base)]


def _text(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")


def benchmark_of(name: str) -> str:
    """The data set that a recipe is for, by its name in `longvid prepare`: `coin` for `coin-steps-as-published`."""
    return name.partition("/")[0].partition("-")[0]


def read_settings(path: Path | Traversable) -> dict[str, Any]:
    """The settings in a YAML file; `ConfigError` with the line if it is not one."""
    try:
        with path.open("rb") as file:
            text = file.read(4 * MOST_BYTES + 1).decode("utf-8-sig")
        settings = parse_yaml(text)
    except YAMLError as error:
        place = f"{path}:{error.line}" if error.line is not None else str(path)
        raise ConfigError(f"{place}: cannot be read as YAML ({error})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as YAML ({error})") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: a recipe is a list of `setting: value` lines")
    return settings


def merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Nested settings with others merged over them."""
    made = dict(under)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(made.get(name), dict)
        made[name] = merged(made[name], value) if both else value
    return made


def _without_nothing(settings: dict[str, Any]) -> dict[str, Any]:
    """Features without options that are null, which a file wrote to be rid of those it extends."""
    features = settings.get("features")
    if isinstance(features, dict) and features.get("options", {}) is None:
        return settings | {"features": {name: value for name, value in features.items() if name != "options"}}
    return settings


def _stem(file: Traversable) -> str:
    return file.name.removesuffix(".yaml")
