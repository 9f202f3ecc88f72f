"""The folder of a training run: what lies in it, and how it is written so that a killed run leaves no half files.

run/
  recipe.yaml            the whole recipe, defaults included
  run.json               `RunRecord`: task, decoder, window, the store's recipe, which videos took part
  manifest.jsonl         every video with the split it was used in
  result.json            `TrainResult`, once all seeds are trained
  seed-0/best.safetensors   weights of the best epoch by validation
  seed-0/resume.ckpt        everything a continued training needs; read with weights_only
  seed-0/history.csv        one line an epoch
  seed-0/result.json        once the seed is trained
  seed-0/tensorboard/
  evaluation/<split>.json and <split>-predictions.csv
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors.torch import save

from longvid.decoders import Decoder, build_decoder
from longvid.decoders.part import PartOf
from longvid.decoders.standardise import Standardised
from longvid.errors import ConfigError, WeightsError
from longvid.tasks import Manifest, Task
from longvid.tasks.manifest_files import write_atomically
from longvid.weights.files import read_safetensors
from longvid.weights.fit import fit_state
from longvid.windows import Windows

FORMAT = 1

Made = TypeVar("Made")


@dataclass(frozen=True)
class DecoderRecord:
    """All that builds the decoder again."""

    name: str
    dim: int
    outputs: int
    max_length: int
    options: dict[str, Any] = field(default_factory=dict)
    standardise: bool = False
    part: list[int] | None = None
    """First and stop of the outputs that count, where the decoder answers other questions too."""

    def build(self) -> Decoder:
        """The decoder, freshly initialised."""
        options = {name: tuple(value) if isinstance(value, list) else value for name, value in self.options.items()}
        decoder = build_decoder(self.name, dim=self.dim, outputs=self.outputs, max_length=self.max_length, **options)
        decoder = Standardised(decoder, self.dim) if self.standardise else decoder
        return PartOf(decoder, *self.part) if self.part is not None else decoder


@dataclass(frozen=True)
class RunRecord:
    """What was trained, on what: enough to evaluate and predict without the recipe or the manifest it came from."""

    name: str
    task: dict[str, Any]
    decoder: DecoderRecord
    windows: dict[str, Any]
    store: str
    """Location of the feature store, absolute where it is a folder."""
    store_recipe: dict[str, Any]
    """How the features were made (`stores.Recipe`)."""
    manifest: str
    listed: dict[str, int]
    """Videos of each split that the manifest lists."""
    missing: dict[str, list[str]]
    """Keys of each split that are not complete in the store."""
    notes: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT

    def found(self, split: str) -> int:
        """Videos of the split that took part."""
        return self.listed.get(split, 0) - len(self.missing.get(split, []))

    def the_task(self) -> Task:
        """The question that was trained."""
        return Task.from_dict(self.task)

    def the_windows(self) -> Windows:
        """The rule that cut videos into windows."""
        return Windows(**self.windows)

    def coverage(self, split: str) -> str:
        """`all 42 videos` or `40 of 42 videos`: what every number of the split rests on."""
        listed, found = self.listed.get(split, 0), self.found(split)
        return f"all {listed} videos" if found == listed else f"{found} of {listed} videos"


@dataclass(frozen=True)
class RunFolder:
    """Paths and files of one run."""

    path: Path

    @property
    def recipe_file(self) -> Path:
        """The whole recipe."""
        return self.path / "recipe.yaml"

    @property
    def result_file(self) -> Path:
        """`TrainResult` as JSON, there once all seeds are trained."""
        return self.path / "result.json"

    def evaluation_file(self, split: str, ending: str = ".json") -> Path:
        """What `evaluate` writes for a split."""
        return self.path / "evaluation" / f"{split}{ending}"

    def seed(self, seed: int) -> "SeedFolder":
        """The folder of one seed."""
        return SeedFolder(self.path / f"seed-{seed}")

    def trained_seeds(self) -> list[int]:
        """Seeds whose training is finished, in order."""
        found = [int(p.parent.name.removeprefix("seed-")) for p in self.path.glob("seed-*/result.json")]
        return sorted(found)

    def untrained_seeds(self, asked: Iterable[int]) -> tuple[int, ...]:
        """Those of the seeds a recipe asks for whose training is not finished."""
        trained = set(self.trained_seeds())
        return tuple(seed for seed in asked if seed not in trained)

    def has_finished_epoch(self) -> bool:
        """Whether any seed got as far as the end of an epoch, so that there is something to go on from."""
        return any(any(self.path.glob(f"seed-*/{name}")) for name in ("history.csv", "resume.ckpt", "result.json"))

    def write_record(self, record: RunRecord, manifest: Manifest, recipe_yaml: str) -> None:
        """Put down what is trained, before the first step."""
        manifest.write(self.path / "manifest.jsonl")
        write_atomically(self.recipe_file, recipe_yaml.encode())
        write_json(self.path / "run.json", asdict(record))

    def record(self) -> RunRecord:
        """What was trained; `ConfigError` where the folder holds no run."""
        if not (self.path / "run.json").is_file():
            raise ConfigError(f"{self.path}: holds no training run (no run.json); train one with `longvid train`")
        return read_made(self.path / "run.json", self._made_record, cure="train again into another folder")

    def _made_record(self, values: dict[str, Any]) -> RunRecord:
        if values.get("format") != FORMAT:
            raise ConfigError(f"{self.path}: run of format {values.get('format')}, this version reads {FORMAT}")
        return RunRecord(**values | {"decoder": DecoderRecord(**values["decoder"])})

    def manifest(self) -> Manifest:
        """Every video with the split it was used in."""
        return Manifest.read(self.path / "manifest.jsonl")


@dataclass(frozen=True)
class SeedFolder:
    """Paths of one seed's training."""

    path: Path

    @property
    def weights_file(self) -> Path:
        """Weights of the best epoch."""
        return self.path / "best.safetensors"

    @property
    def resume_file(self) -> Path:
        """Everything a continued training needs."""
        return self.path / "resume.ckpt"

    @property
    def history_file(self) -> Path:
        """One line an epoch."""
        return self.path / "history.csv"

    @property
    def result_file(self) -> Path:
        """`SeedResult` as JSON, there once the seed is trained."""
        return self.path / "result.json"


def save_weights(path: Path, decoder: Decoder) -> None:
    """Write a decoder's weights as safetensors, whole or not at all."""
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in decoder.state_dict().items()}
    write_atomically(path, save(state))


def load_weights(path: Path, decoder: Decoder) -> None:
    """Put saved weights into a decoder; `WeightsError` where they are missing or do not fit. Nothing is unpickled."""
    if not path.is_file():
        raise WeightsError(f"{path}: no weights; the seed has not finished an epoch yet, train it first")
    try:
        fit_state(decoder, read_safetensors(path).state, source=str(path))
    except WeightsError as error:
        raise WeightsError(f"{path}: weights do not fit the decoder ({error}); train the seed again") from None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON document, whole or not at all."""
    write_atomically(path, (json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def read_json(path: Path, *, cure: str = "train again into another folder") -> Any:
    """The JSON document of a run's file; `ConfigError` where it is not readable."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: is not readable ({error}); {cure}") from None


def read_made(path: Path, make: Callable[[Any], Made], *, cure: str) -> Made:
    """What `make` builds of a run's JSON file; `ConfigError` with the cure where it holds something else."""
    values = read_json(path, cure=cure)
    try:
        return make(values)
    except ConfigError:
        raise
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{path}: does not hold what longvid writes there ({error!r}); {cure}") from None


def torch_device(name: str) -> torch.device:
    """The device of a setting: `auto` is CUDA where there is one. `ConfigError` where CUDA is asked for and absent."""
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ConfigError("device=cuda: torch sees no CUDA device; use device=cpu")
    return torch.device("cuda" if available and name != "cpu" else "cpu")
