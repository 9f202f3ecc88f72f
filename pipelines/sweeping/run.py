"""A sweep over a recipe's settings by Optuna.

    result = sweep(config, {"optimiser.learning_rate": "1e-5..1e-2", "decoder.name": ["gru", "vis4mer"]}, trials=30)

Each trial is an ordinary training, judged by its validation videos; the splits that are evaluated later are never
looked at. Folder: study.db (Optuna's study), trials.csv, trials.html, best.yaml, and trial-7/, the best trial's run.

A sweep that was interrupted goes on where it was: the trial in training continues after its last epoch, and because
the draws of each trial follow from the seed, its number and the trials before it, the end is the one that there would
have been without the interruption.
"""

import csv
import io
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import optuna
from optuna.pruners import MedianPruner
from optuna.samplers import TPESampler
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from longvid.errors import ConfigError, DecoderError, LongvidError
from longvid.files import write_bytes
from longvid.metrics.items import METRICS
from longvid.paths import inside
from longvid.pipelines.sweeping.results import State, SweepResult, TrialResult
from longvid.pipelines.sweeping.space import USUAL, Varied, read_space, refuse_impossible, with_values
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.data import open_training_data
from longvid.pipelines.training.module import TrainingDiverged
from longvid.pipelines.training.progress import Quiet
from longvid.pipelines.training.results import EpochRow, SeedResult
from longvid.pipelines.training.start import started_from
from longvid.pipelines.training.train import differences_of, train

STUDY, STUDY_FILE, TABLE_FILE, PLOT_FILE, RECIPE_FILE = "sweep", "study.db", "trials.csv", "trials.html", "best.yaml"
MAY_CHANGE = ("out", "name", "workers", "device", "tensorboard", "loggers", "eval_batch_size")
"""Settings that may change when a sweep goes on: they do not change what a trial learns."""
AT_RANDOM = 5
"""Trials whose settings are drawn evenly, before what was found guides the draws."""
NOT_PRUNED = 5
"""Trials that are trained to the end before any is stopped early."""


@runtime_checkable
class SweepProgress(Protocol):
    """Receives a sweep's progress."""

    def trial_started(self, number: int, trials: int, settings: dict[str, Any]) -> None:
        """A trial starts, or continues."""
        ...

    def epoch_ended(self, row: EpochRow) -> None:
        """An epoch of the trial is trained."""
        ...

    def trial_ended(self, trial: TrialResult, best: TrialResult | None) -> None:
        """A trial is done, pruned or failed."""
        ...


class QuietSweep:
    """A `SweepProgress` that does nothing."""

    def trial_started(self, number: int, trials: int, settings: dict[str, Any]) -> None:
        """Do nothing."""

    def epoch_ended(self, row: EpochRow) -> None:
        """Do nothing."""

    def trial_ended(self, trial: TrialResult, best: TrialResult | None) -> None:
        """Do nothing."""


def sweep(
    config: TrainConfig,
    space: Mapping[str, Any] | None = None,
    *,
    trials: int = 20,
    seed: int = 0,
    prune: bool = True,
    keep_runs: bool = False,
    progress: SweepProgress | None = None,
) -> SweepResult:
    """Train up to `trials` combinations of settings, in `config.out`, those that are there already included.

    space: setting -> list of values, or range as text (`1e-5..1e-2`); none: learning rate and weight decay.
    prune: stop a trial whose best so far is below the median of the trials before it at the same epoch.
    keep_runs: keep the folders of all trials, not the best one's only.

    Raises `ConfigError` for a space that is impossible, and for a folder that holds another sweep; what is wrong with
    the data raises what `train` would, before the first trial.
    """
    progress = progress or QuietSweep()
    config = started_from(config)
    varied = read_space(space or USUAL)
    _refuse_unfit(config, trials)
    refuse_impossible(config, varied)
    data = open_training_data(config)
    metric = config.validation.metric or data.task.metrics[0]
    higher = all(METRICS[name.rpartition("/")[2]].higher_is_better for name in metric.split("+"))
    out = Path(config.out)
    with _locked(out), _quiet_optuna():
        study = _study(out, config, varied, higher=higher, seed=seed, prune=prune)
        while (number := _next(study, trials)) is not None:
            _run_trial(study, number, config, varied, metric, progress, out=out, seed=seed, trials=trials)
            if not keep_runs:
                _remove_runs(study, out)
        return _finish(study, config, varied, metric, higher, out)


def _refuse_unfit(config: TrainConfig, trials: int) -> None:
    if trials < 1:
        raise ConfigError(f"sweep: trials={trials}; give 1 or more")
    if config.validation.on_test:
        raise ConfigError(
            "sweep: settings are chosen by validation videos, never by test; leave out validation.on_test"
        )
    if config.several_folds:
        raise ConfigError(
            f"sweep: the recipe has folds ({', '.join(config.folds)}); choose one by split_column={config.folds[0]}, "
            "then train all folds with the best settings"
        )


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Keep a second sweep out of the folder while this one runs."""
    out.mkdir(parents=True, exist_ok=True)
    with inside(out, "sweep.lock").open("a") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # no such locks here: two sweeps in one folder are then the user's care
            pass
        except OSError:
            raise ConfigError(
                f"{out}: another sweep is running there; wait for it, or choose another out=..."
            ) from None
        yield


@contextmanager
def _quiet_optuna() -> Iterator[None]:
    """Keep Optuna's lines about every trial out of the terminal."""
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


def _study(
    out: Path, config: TrainConfig, space: Sequence[Varied], *, higher: bool, seed: int, prune: bool
) -> optuna.Study:
    """The folder's study, or a new one; `ConfigError` with the differences if it is that of another sweep."""
    settings = {
        name: value for name, value in config.absolute().model_dump(mode="json").items() if name not in MAY_CHANGE
    }
    asked = {"settings": settings, "space": {one.name: one.text for one in space}, "seed": seed, "prune": prune}
    file = inside(out, STUDY_FILE).absolute()
    if not file.is_file() and (inside(out, "run.json").is_file() or inside(out, "pretrain.json").is_file()):
        raise ConfigError(f"{out}: holds a training run; choose another folder for the sweep by out=...")
    try:
        study = optuna.create_study(
            study_name=STUDY,
            storage=RDBStorage(f"sqlite:///{file}", skip_compatibility_check=False),
            direction="maximize" if higher else "minimize",
            pruner=MedianPruner(n_startup_trials=NOT_PRUNED) if prune else optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        kept = json.loads(study.user_attrs["asked"]) if "asked" in study.user_attrs else None
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ValueError) as error:
        raise ConfigError(
            f"{file}: is not a sweep's study ({type(error).__name__}); delete it to start again"
        ) from None
    if kept is None:
        study.set_user_attr("asked", json.dumps(asked))
    elif changed := list(differences_of("sweep", kept, json.loads(json.dumps(asked)))):
        told = "; ".join(line.removeprefix("sweep.settings.").removeprefix("sweep.") for line in changed)
        raise ConfigError(f"{out} holds another sweep ({told}); choose another folder by out=...")
    return study


def _next(study: optuna.Study, trials: int) -> int | None:
    """The number of the trial to go on with, or of a new one; None when all are there."""
    every = study.get_trials(deepcopy=False)
    unfinished = [trial.number for trial in every if trial.state == TrialState.RUNNING]
    if unfinished:
        return unfinished[0]
    return len(every) if len(every) < trials else None


def _run_trial(
    study: optuna.Study,
    number: int,
    config: TrainConfig,
    space: Sequence[Varied],
    metric: str,
    progress: SweepProgress,
    *,
    out: Path,
    seed: int,
    trials: int,
) -> None:
    every = study.get_trials(deepcopy=False)
    # a sampler's own state is not in the database: one per trial makes a sweep that goes on draw the same
    study.sampler = TPESampler(seed=seed * 1_000_003 + number, n_startup_trials=AT_RANDOM)
    trial = Trial(study, every[number]._trial_id) if number < len(every) else study.ask()
    drawn = {one.name: _suggested(trial, one) for one in space}
    values = {one.name: one.value(drawn[one.name]) for one in space}
    progress.trial_started(number, trials, values)
    state, value, reason = TrialState.FAIL, None, ""
    try:
        own = with_values(config, values, out=str(inside(out, f"trial-{number}")), name=f"{config.name} trial {number}")
        result = train(own, progress=_Reports(trial, own, metric, progress))
        value = sum(_chosen(seed.metrics, metric) for seed in result.seeds) / len(result.seeds)
        state = TrialState.COMPLETE
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except (ConfigError, DecoderError, TrainingDiverged) as error:
        reason = " ".join(str(error).split())
        trial.set_user_attr("reason", reason)
    study.tell(trial, value, state=state)
    found = _result_of(study.get_trials(deepcopy=False)[number], space, study)
    progress.trial_ended(found, _best(study, space))


def _suggested(trial: Trial, setting: Varied) -> Any:
    kind = setting.distribution
    if setting.choices:
        return trial.suggest_categorical(setting.name, range(len(setting.choices)))
    if isinstance(kind, optuna.distributions.IntDistribution):
        return trial.suggest_int(setting.name, kind.low, kind.high, log=kind.log)
    assert isinstance(kind, optuna.distributions.FloatDistribution)
    return trial.suggest_float(setting.name, kind.low, kind.high, log=kind.log)


def _chosen(metrics: Mapping[str, float], metric: str) -> float:
    return sum(metrics[name] for name in metric.split("+"))


class _Reports(Quiet):
    """Tells Optuna of every validated epoch, and stops the training if Optuna says so."""

    def __init__(self, trial: Trial, config: TrainConfig, metric: str, progress: SweepProgress) -> None:
        self._trial = trial
        self._metric = metric
        self._epochs = config.epochs
        self._seeds = list(config.seeds)
        self._seed = config.seeds[0]
        self._progress = progress

    def seed_started(self, seed: int, *, epochs: int, done: int) -> None:
        """Remember the seed: a later seed's epochs count after the earlier one's."""
        self._seed = seed

    def seed_ended(self, result: SeedResult) -> None:
        """Do nothing."""

    def epoch_ended(self, row: EpochRow) -> None:
        """Report the epoch; raises `TrialPruned`."""
        self._progress.epoch_ended(row)
        if not row.metrics:
            return
        step = self._seeds.index(self._seed) * self._epochs + row.epoch
        told = self._trial.study.get_trials(deepcopy=False)[self._trial.number].intermediate_values
        if step not in told:
            self._trial.report(_chosen(row.metrics, self._metric), step)
        last = self._seed == self._seeds[-1] and row.epoch + 1 == self._epochs  # nothing is left to be saved
        if not last and self._trial.should_prune():
            raise optuna.TrialPruned


_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "running",
}


def _result_of(trial: FrozenTrial, space: Sequence[Varied], study: optuna.Study) -> TrialResult:
    settings = {one.name: one.value(trial.params[one.name]) for one in space if one.name in trial.params}
    seen = list(trial.intermediate_values.values())
    best = max if study.direction == optuna.study.StudyDirection.MAXIMIZE else min
    value = trial.value if trial.state == TrialState.COMPLETE else best(seen) if seen else None
    return TrialResult(
        number=trial.number,
        state=_STATES[trial.state],
        settings=settings,
        value=value,
        epochs=len(seen),
        seconds=trial.duration.total_seconds() if trial.duration else None,
        reason=str(trial.user_attrs.get("reason", "")),
    )


def _best(study: optuna.Study, space: Sequence[Varied]) -> TrialResult | None:
    done = [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
    return _result_of(study.best_trial, space, study) if done else None


def _remove_runs(study: optuna.Study, out: Path) -> None:
    """Remove the folders of all ended trials but the best."""
    every = study.get_trials(deepcopy=False)
    done = any(trial.state == TrialState.COMPLETE for trial in every)
    best = study.best_trial.number if done else None
    for trial in every:
        folder = inside(out, f"trial-{trial.number}")
        if trial.number != best and trial.state.is_finished() and folder.is_dir() and not folder.is_symlink():
            shutil.rmtree(folder)


def _finish(
    study: optuna.Study, config: TrainConfig, space: Sequence[Varied], metric: str, higher: bool, out: Path
) -> SweepResult:
    """Write table, plot and recipe."""
    from longvid.pipelines.sweeping.plot import draw

    found = [_result_of(trial, space, study) for trial in study.get_trials(deepcopy=False)]
    best = _best(study, space)
    if best is None:
        reasons = [trial.reason for trial in found if trial.reason]
        raise LongvidError(
            f"{out}: no trial of {len(found)} was trained to the end; the first failed so: {reasons[0]}"
            if reasons
            else f"{out}: no trial of {len(found)} was trained to the end; give more trials, or prune less"
        )
    order = sorted(found, key=lambda trial: _rank(trial, higher))
    write_bytes(inside(out, TABLE_FILE), _csv(found, space, metric).encode())
    recipe = with_values(config.absolute(), best.settings, out=str(inside(out, "best").absolute()))
    write_bytes(inside(out, RECIPE_FILE), recipe.to_yaml().encode())
    draw(found, metric, inside(out, PLOT_FILE), higher=higher)
    return SweepResult(
        out=str(out),
        metric=metric,
        higher_is_better=higher,
        trials=tuple(order),
        best=best,
        run=str(inside(out, f"trial-{best.number}")),
        recipe=str(inside(out, RECIPE_FILE)),
        table=str(inside(out, TABLE_FILE)),
        plot=str(inside(out, PLOT_FILE)),
        notes=(
            f"The best of {len(found)} trials is chosen by validation videos, so its validation score is a little too "
            "high; test was not looked at.",
        ),
    )


def _rank(trial: TrialResult, higher: bool) -> tuple[int, float, int]:
    value = trial.value if trial.value is not None else 0.0
    return ("done", "pruned", "running", "failed").index(trial.state), -value if higher else value, trial.number


def _csv(trials: Sequence[TrialResult], space: Sequence[Varied], metric: str) -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["trial", "state", metric, "epochs", "seconds", *(one.name for one in space), "reason"])
    for trial in trials:
        value = "" if trial.value is None else f"{trial.value:.6g}"
        seconds = "" if trial.seconds is None else f"{trial.seconds:.4g}"
        settings = [trial.settings.get(one.name, "") for one in space]
        writer.writerow([trial.number, trial.state, value, trial.epochs, seconds, *settings, trial.reason])
    return out.getvalue()
