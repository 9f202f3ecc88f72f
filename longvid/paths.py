"""Paths within a folder that somebody else may have made: a run, a downloaded model."""

from pathlib import Path

from longvid.errors import ConfigError


def inside(folder: Path, *parts: str) -> Path:
    """`folder/parts`, which lies in the folder whatever the names are and wherever links in it point.

    The folder itself may be a link. Raises `ConfigError` for a path that leads out of it: it is neither read nor
    written then.
    """
    path = folder.joinpath(*parts)
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # links that go round in a circle, a name with a null character
        within = False
    if not within:
        raise ConfigError(
            f"{path}: leads out of {folder}, by a link or by its name, and is not followed; copy what it stands for "
            f"to its place (`cp -rL` copies a folder so)"
        )
    return path
