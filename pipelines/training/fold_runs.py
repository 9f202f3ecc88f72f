"""The runs of one recipe on several folds: places and settings.

out/folds.json                which folds there are
out/s1_labelled/run.json ...  one ordinary run per fold
"""

from pathlib import Path

from longvid.errors import ConfigError
from longvid.files import write_json
from longvid.paths import inside
from longvid.pipelines.training.config import TrainConfig
from longvid.trained import read_made

FOLDS_FILE = "folds.json"
"""Lists the folds of a folder; written before the first is trained."""


def fold_config(config: TrainConfig, fold: str) -> TrainConfig:
    """The settings of one fold's run: the recipe's, with a split column, a name and a folder of its own."""
    out = inside(Path(config.out), fold)
    return config.model_copy(update={"split_column": fold, "out": str(out), "name": f"{config.name}/{fold}"})


def write_folds(config: TrainConfig) -> None:
    """Write down which folds the folder has.

    Raises `ConfigError` for a recipe without folds, for a fold named twice, and for a folder that holds a run.
    """
    if not config.several_folds:
        raise ConfigError("folds=[] names no split column; give folds=[s1, s2, ...] and no split_column")
    if len(set(config.folds)) < len(config.folds):
        raise ConfigError(f"folds={list(config.folds)} names a split column twice")
    for fold in config.folds:
        if Path(fold).name != fold or fold in (".", ".."):
            raise ConfigError(f"folds: {fold!r} is not the name of a split column that can name a folder")
    out = Path(config.out)
    if (out / "run.json").exists():
        raise ConfigError(f"{out} holds a run of one split; choose another folder by out=...")
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / FOLDS_FILE, {"folds": list(config.folds)})


def folds_of(out: str | Path) -> list[str]:
    """The folds of a folder, as they were written down; `ConfigError` if there are none."""

    def listed(values: dict[str, list[str]]) -> list[str]:
        folds = values["folds"]
        if not folds or not all(isinstance(fold, str) and Path(fold).name == fold for fold in folds):
            raise ValueError("folds: no names of folders")
        return folds

    return read_made(inside(Path(out), FOLDS_FILE), listed, remedy="train the folds with `longvid train`")
