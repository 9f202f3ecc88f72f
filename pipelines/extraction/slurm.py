"""Options of SLURM jobs, and what they are for dask-jobqueue."""

from collections.abc import Mapping, Sequence
from typing import Any

from longvid.errors import ConfigError
from longvid.pipelines.extraction.quiet import QuietWorker

SLURM_OPTIONS = {
    "account": "account",
    "partition": "queue",
    "walltime": "walltime",
    "memory": "memory",
    "cores": "cores",
    "processes": "processes",
    "python": "python",
    "log_directory": "log_directory",
}
"""Our options and dask-jobqueue's names for them; gpus, directive and prologue are handled apart."""

REPEATABLE = ("directive", "prologue")
WHOLE_NUMBERS = ("cores", "processes", "gpus")
NAMES = (*SLURM_OPTIONS, "gpus", *REPEATABLE)


def parse_slurm_options(words: Sequence[str]) -> dict[str, Any]:
    """`["account=vision", "walltime=04:00:00", "directive=--qos=high"]` by name; values stay text."""
    options: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in NAMES:
            raise ConfigError(f"--slurm {word!r}: give NAME=VALUE, where NAME is one of {', '.join(NAMES)}")
        if name in REPEATABLE:
            options.setdefault(name, []).append(value)
        elif name in options:
            raise ConfigError(f"--slurm {name} is given twice: {options[name]!r} and {value!r}; give it once")
        else:
            options[name] = value
    return options


def slurm_settings(options: Mapping[str, Any], *, cores: int, processes: int) -> dict[str, Any]:
    """Arguments of `SLURMCluster`: a job with one GPU, `cores` and `processes`, overridden by `options`.

    `directive` (repeatable): a line of the job's script after `#SBATCH`; `prologue` (repeatable): a command to run
    before the workers start; `gpus`: GPUs per job, 0 for none. Raises `ConfigError` for a wrong name or number.
    """
    if unknown := [name for name in options if name not in NAMES]:
        raise ConfigError(f"slurm_options: no option {', '.join(unknown)}; there are {', '.join(NAMES)}")
    numbers = {"cores": cores, "processes": processes, "gpus": 1}
    numbers |= {name: _whole(name, options[name]) for name in WHOLE_NUMBERS if name in options}
    directives = list(options.get("directive", []))
    if numbers["gpus"] and not any("--gres" in line or "--gpus" in line for line in directives):
        directives.insert(0, f"--gres=gpu:{numbers['gpus']}")
    named = {SLURM_OPTIONS[name]: value for name, value in options.items() if name in SLURM_OPTIONS}
    return {
        "memory": "32GB",
        # without a word of the user the partition's own time limit holds, not dask-jobqueue's half hour
        "job_directives_skip": [] if "walltime" in named else ["#SBATCH -t "],
        **named,
        "cores": numbers["cores"],
        "processes": numbers["processes"],
        "job_extra_directives": directives,
        "job_script_prologue": list(options.get("prologue", [])),
        "worker_extra_args": ["--worker-class", f"{QuietWorker.__module__}.{QuietWorker.__qualname__}"],
    }


def _whole(name: str, value: Any) -> int:
    try:
        number = int(value)
    except (TypeError, ValueError):
        number = -1
    if number < (0 if name == "gpus" else 1):
        raise ConfigError(f"--slurm {name}={value}: must be a whole number, at least {0 if name == 'gpus' else 1}")
    return number
