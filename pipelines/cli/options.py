"""`name=value` words of the command line as plain values."""

from typing import TYPE_CHECKING, Any

from longvid.errors import ConfigError
from longvid.safe_yaml import parse_yaml

if TYPE_CHECKING:
    from longvid.clips.sampling import Sampling


def parse_options(words: list[str]) -> dict[str, Any]:
    """`["size=384", "name=a"]` as `{"size": 384, "name": "a"}`; values are read as YAML scalars."""
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise ConfigError(f"{word!r} is not name=value")
        try:
            options[name.strip()] = parse_yaml(value)
        except ValueError as error:
            raise ConfigError(f"{word!r}: the value cannot be read as YAML ({error})") from None
    return options


def parse_sampling(text: str | None) -> "Sampling | None":
    """A `Sampling` from `frames=16,fps=8,stride_seconds=2`; None for None."""
    if text is None:
        return None
    from longvid.clips.sampling import Sampling

    options = parse_options([word for word in text.split(",") if word.strip()])
    try:
        return Sampling.from_dict(options)
    except ConfigError as error:
        raise ConfigError(f"--sampling {text!r}: {error}") from None
