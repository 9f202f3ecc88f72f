"""The folder of a training run; a killed run leaves no half files.

run/
  recipe.yaml            the whole recipe, defaults included
  run.json               `RunRecord`: task, decoder, window, the store's recipe, which videos took part
  manifest.jsonl         every video with the split it was used in
  result.json            `TrainResult`, once all seeds are trained
  seed-0/best.safetensors   weights of the best epoch by validation
  seed-0/resume.ckpt        everything a continued training needs; read with weights_only
  seed-0/history.csv        one line per epoch
  seed-0/grid.csv           one line per combination, where the recipe has a grid
  seed-0/result.json        once the seed is trained
  seed-0/tensorboard/
  evaluation/<split>.json and <split>-predictions.csv
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from longvid.decoders import Decoder
from longvid.errors import ConfigError
from longvid.files import write_bytes, write_json
from longvid.metrics.items import METRICS
from longvid.paths import inside
from longvid.stores import Recipe, StoreError
from longvid.tasks import Manifest, Task
from longvid.trained import FORMAT, RUN_FILE, SEED_FILE, WEIGHTS_FILE, DecoderRecord, read_made, trained_seeds
from longvid.validation import made
from longvid.windows import Join, Windows


@dataclass(frozen=True)
class StoreRecord:
    """One of the feature stores that a run was trained on."""

    store: str
    """Location; absolute if it is a folder."""
    recipe: dict[str, Any]
    """How the features were made (`stores.Recipe`)."""
    made_with: dict[str, str] = field(default_factory=dict)
    """Where the encoder of the features was (`FeatureStore.made_with`)."""


@dataclass(frozen=True)
class JoinRecord:
    """How several stores were joined, and those after the first."""

    how: str
    rate: float | None
    per_step: list[int]
    """Clips of each store in a step of token streams."""
    others: list[StoreRecord]

    def the_join(self) -> Join:
        """The rule that joined the stores."""
        return made(Join, {"how": self.how, "rate": self.rate})


@dataclass(frozen=True)
class RunRecord:
    """What was trained on what: enough to evaluate and predict without the original recipe and manifest."""

    name: str
    task: dict[str, Any]
    decoder: DecoderRecord
    windows: dict[str, Any]
    store: str
    """Location of the feature store, or of the first of several; absolute if it is a folder."""
    store_recipe: dict[str, Any]
    """How the features were made (`stores.Recipe`)."""
    manifest: str
    listed: dict[str, int]
    """Videos of each split that the manifest lists."""
    missing: dict[str, list[str]]
    """Keys of each split that are not complete in the store."""
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)
    """Where the encoder of the features was (`FeatureStore.made_with`)."""
    fewest_clips: int = 1
    """Windows with fewer clips are too short for the decoder and left out (`window.short=drop`)."""
    too_short: dict[str, list[str]] = field(default_factory=dict)
    """Keys of each split whose videos are left out for that."""
    joined: JoinRecord | None = None
    """The other stores, where there were several."""
    format: int = FORMAT

    @property
    def stores(self) -> tuple[StoreRecord, ...]:
        """Every store that the run was trained on, in order."""
        first = StoreRecord(self.store, self.store_recipe, self.made_with)
        return (first, *(self.joined.others if self.joined is not None else ()))

    def found(self, split: str) -> int:
        """Videos of the split that took part."""
        absent = {*self.missing.get(split, []), *self.too_short.get(split, [])}
        return self.listed.get(split, 0) - len(absent)

    def the_task(self) -> Task:
        """The task that was trained."""
        return Task.from_dict(self.task)

    def the_windows(self) -> Windows:
        """The rule that cut videos into windows."""
        return made(Windows, self.windows)

    def coverage(self, split: str) -> str:
        """`all 42 videos` or `40 of 42 videos`: how many videos the split's numbers rest on."""
        listed, found = self.listed.get(split, 0), self.found(split)
        return f"all {listed} videos" if found == listed else f"{found} of {listed} videos"


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run, all inside its folder; `ConfigError` if a link leads out of it."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The whole recipe."""
        return inside(self.path, "recipe.yaml")

    @property
    def result_file(self) -> Path:
        """`TrainResult` as JSON, written once all seeds are trained."""
        return inside(self.path, "result.json")

    @property
    def record_file(self) -> Path:
        """`RunRecord` as JSON."""
        return inside(self.path, RUN_FILE)

    @property
    def manifest_file(self) -> Path:
        """Every video with the split it was used in."""
        return inside(self.path, "manifest.jsonl")

    def evaluation_file(self, split: str, ending: str = ".json") -> Path:
        """The file that `evaluate` writes for a split."""
        return inside(self.path, "evaluation", f"{split}{ending}")

    def seed(self, seed: int) -> "SeedFolder":
        """The folder of one seed."""
        return SeedFolder(inside(self.path, f"seed-{int(seed)}"))

    def trained_seeds(self) -> list[int]:
        """Seeds whose training is finished, in order."""
        return trained_seeds(self.path)

    def untrained_seeds(self, asked: Iterable[int]) -> tuple[int, ...]:
        """The seeds among `asked` whose training is not finished."""
        trained = set(self.trained_seeds())
        return tuple(seed for seed in asked if seed not in trained)

    def has_finished_epoch(self) -> bool:
        """Whether any seed has finished an epoch, so that there is something to continue from."""
        return any(any(self.path.glob(f"seed-*/{name}")) for name in ("history.csv", "resume.ckpt", "result.json"))

    def write_record(self, record: RunRecord, manifest: Manifest, recipe_yaml: str) -> None:
        """Write what is to be trained, before the first step."""
        manifest.write(self.manifest_file)
        write_bytes(self.recipe_file, recipe_yaml.encode())
        write_json(self.record_file, asdict(record))

    def record(self) -> RunRecord:
        """The record of what was trained; `ConfigError` if the folder holds no run."""
        if not self.record_file.is_file():
            raise ConfigError(f"{self.path}: holds no training run (no run.json); train one with `longvid train`")
        return read_made(self.record_file, self._made_record, remedy="train again into another folder")

    def _made_record(self, values: dict[str, Any]) -> RunRecord:
        if values.get("format") != FORMAT:
            raise ConfigError(f"{self.path}: run of format {values.get('format')}, this version reads {FORMAT}")
        record = made(RunRecord, values)
        record.the_windows()
        if record.joined is not None:
            record.joined.the_join()
        if record.task.get("kind") != "joint":
            unknown = [name for name in record.the_task().metrics if name not in METRICS]
            if unknown:
                raise ValueError(f"its task has the metric {unknown[0]!r}, which there is not")
        for store in record.stores:
            try:
                Recipe.from_dict(store.recipe)
            except StoreError as error:
                raise ValueError(str(error)) from None
        return record

    def manifest(self) -> Manifest:
        """Every video with the split it was used in."""
        return Manifest.read(self.manifest_file)


@dataclass(frozen=True)
class SeedFolder:
    """Paths of one seed's training, all inside its folder."""

    path: Path

    @property
    def weights_file(self) -> Path:
        """Weights of the best epoch."""
        return inside(self.path, WEIGHTS_FILE)

    @property
    def resume_file(self) -> Path:
        """Everything a continued training needs."""
        return inside(self.path, "resume.ckpt")

    @property
    def history_file(self) -> Path:
        """One line per epoch."""
        return inside(self.path, "history.csv")

    @property
    def grid_file(self) -> Path:
        """One line per combination of the recipe's grid."""
        return inside(self.path, "grid.csv")

    @property
    def result_file(self) -> Path:
        """`SeedResult` as JSON, written once the seed is trained; its digest is checked when weights are loaded."""
        return inside(self.path, SEED_FILE)


def save_weights(path: Path, decoder: Decoder) -> None:
    """Write a decoder's weights as safetensors, whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in decoder.state_dict().items()}
    write_bytes(path, save(state))


def torch_device(name: str) -> torch.device:
    """The device of a setting: `auto` is CUDA if there is one. `ConfigError` if CUDA is asked for and absent."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("device=cuda: torch sees no CUDA device; use device=cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
