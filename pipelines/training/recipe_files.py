"""Recipe files: reading one, and what is not done just because a file says it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from longvid.code_names import is_code
from longvid.errors import ConfigError
from longvid.pipelines.recipes import read_settings, recipe_settings

PATHS = ("store", "manifest", "out")
"""Settings that are places."""


def is_recipe_file(recipe: str | Path) -> bool:
    """Whether a recipe is a file, which anybody may have written; the others come with longvid, by name."""
    return Path(recipe).is_file() or Path(recipe).suffix in (".yaml", ".yml")


def is_elsewhere(place: str) -> bool:
    """Whether a place is on another machine: a URL or a network share."""
    return ("://" in place and not place.startswith("file://")) or "::" in place or place.startswith(("//", "\\\\"))


def read_recipe(path: Path) -> dict[str, Any]:
    """The settings of a recipe file, or of longvid's recipe of that name."""
    if not is_recipe_file(path):
        return recipe_settings(path.as_posix())
    if not path.is_file():
        raise ConfigError(f"{path}: no such recipe file")
    settings = read_settings(path)

    def beside(place: str) -> str:
        return place if "://" in place else str((path.parent / Path(place).expanduser()).absolute())

    for name in PATHS:
        if name in settings:
            settings[name] = each_place(settings[name], beside)
    decoder = settings.get("decoder")
    if isinstance(decoder, dict) and isinstance(decoder.get("init"), str):
        settings["decoder"] = decoder | {"init": beside(decoder["init"])}
    return settings


def each_place(place: Any, change: Callable[[str], str]) -> Any:
    """A place, or every place of a list, changed; what is no text is left for the check of the settings."""
    if isinstance(place, list):
        return [change(one) if isinstance(one, str) else one for one in place]
    return change(place) if isinstance(place, str) else place


def refuse_elsewhere(settings: dict[str, Any], path: Path, overrides: Sequence[str]) -> None:
    """Raise `ConfigError` for a place in a recipe file that is on the network, or for an `out` far from the file.

    As an override (`store=...`, `out=...`) any place is accepted.
    """
    given = {override.partition("=")[0].strip() for override in overrides}
    for name in PATHS:
        given_places = settings.get(name)
        places = given_places if isinstance(given_places, list) else [given_places]
        for value in places:
            if name not in given and isinstance(value, str):
                _refuse_place(name, value, path)
    decoder = settings.get("decoder")
    init = decoder.get("init") if isinstance(decoder, dict) else None
    if isinstance(init, str) and not {"decoder", "decoder.init"} & given:
        _refuse_place("decoder.init", init, path)


def _refuse_place(name: str, value: str, path: Path) -> None:
    if is_elsewhere(value):
        raise ConfigError(f"{path}: {name}: {value} is not opened just because a file names it; give {name}={value}")
    folders = [path.parent.resolve(), Path.cwd()]
    if name == "out" and not any(Path(value).resolve().is_relative_to(folder) for folder in folders):
        raise ConfigError(
            f"{path}: out: {value} is neither beside the file nor below the working folder; give out={value}"
        )


def refuse_code(settings: dict[str, Any], path: Path, overrides: Sequence[str]) -> None:
    """Raise `ConfigError` where the file names a decoder that is code, or has options for one that the user names."""
    words = (override.partition("=") for override in overrides)
    given = {key.strip(): value.strip(" '\"") for key, _, value in words}
    decoder = settings.get("decoder")
    if not isinstance(decoder, dict) or "decoder" in given:
        return
    name = str(decoder.get("name", ""))
    if "decoder.name" not in given and is_code(name):
        raise ConfigError(
            f"{path} names the decoder {name!r}, which is code; what a file names is never imported: give "
            f"decoder.name={name}, or --allow-code if the file is your own"
        )
    options = decoder.get("options")
    if not is_code(given.get("decoder.name", "")) or not isinstance(options, dict) or "decoder.options" in given:
        return
    kept = [option for option in options if f"decoder.options.{option}" not in given]
    if kept:
        raise ConfigError(
            f"{path}: has options for its decoder ({', '.join(map(str, kept))}), and {given['decoder.name']} is code; "
            f"give decoder.options.{kept[0]}=... too, or --allow-code if the file is your own"
        )
