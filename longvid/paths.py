"""Paths inside a folder that is not trusted: a run, a downloaded model."""

from pathlib import Path

from longvid.errors import ConfigError


def inside(folder: Path, *parts: str) -> Path:
    """`folder/parts`, which is certain to lie in the folder, whatever the names are and wherever links in it point.

    The folder itself may be a link. Raises `ConfigError` for a path that leads out of the folder, so that it is
    neither read nor written.
    """
    path = folder.joinpath(*parts)
    try:
        within = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # circular links, a name with a null character
        within = False
    if not within:
        raise ConfigError(
            f"{path}: leads out of {folder}, by a link or by its name, and is not followed; copy what it points to "
            f"into its place (`cp -rL` does so for a folder)"
        )
    return path
