"""Jobs of SLURM: what their scripts say, and that what they start joins a run, with keys and nothing open."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from longvid.errors import ConfigError
from longvid.pipelines.cli import main
from longvid.pipelines.extraction.slurm import NAMES, parse_slurm_options, slurm_settings

SBATCH = """#!{python}
import os, subprocess, sys
script = open(sys.argv[1]).read()
open(os.path.join(os.environ["SLURM_FAKE"], "script"), "w").write(script)
out = open(os.path.join(os.environ["SLURM_FAKE"], "log"), "w")
job = subprocess.Popen(["bash", "-c", script], stdout=out, stderr=out, start_new_session=True)
print(f"Submitted batch job {{job.pid}}")
"""
SCANCEL = """#!{python}
import os, signal, sys
try:
    os.killpg(int(sys.argv[-1]), signal.SIGTERM)
except ProcessLookupError:
    pass
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A batch system of one machine: `sbatch` runs the job's script at once. The folder in which it leaves it."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in (("sbatch", SBATCH), ("scancel", SCANCEL)):
        (folder / name).write_text(text.format(python=sys.executable))
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_FAKE", str(folder))
    return folder


def test_a_video_goes_through_a_job_whose_script_says_what_was_asked(
    video_folder: Path, tmp_path: Path, slurm: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ["account=vision", "partition=gpu-long", "walltime=04:00:00", "memory=2GB", "cores=2", "processes=1"]
    words += ["gpus=2", "directive=--qos=high", "directive=--exclude=node7", f"prologue=cd {os.getcwd()}"]
    words += [f"prologue=export PYTHONPATH={Path(__file__).parents[3]}"]
    options = [part for word in words for part in ("--slurm", word)]
    command = ["extract", str(video_folder / "video-2.mp4"), "-e", "patch-statistics", "-o", "x.zarr"]
    with pytest.raises(SystemExit) as ended:
        main([*command, "--threads", "1", "--scheduler", "slurm", *options])
    log = (slurm / "log").read_text()
    assert ended.value.code == 0, f"{capsys.readouterr()} {log}"
    script = (slurm / "script").read_text()
    for line in ("-A vision", "-p gpu-long", "-t 04:00:00", "--cpus-per-task=2", "--mem=2G", "--gres=gpu:2"):
        assert f"#SBATCH {line}\n" in script
    assert "#SBATCH --qos=high\n#SBATCH --exclude=node7\n" in script
    assert "--tls-key" in script
    assert "BEGIN" not in script, "a job's script is readable by everybody"
    assert "tls://" in log
    assert list(tmp_path.glob(".longvid-keys-*")) == [], "keys of one run do not outlive it"


def test_options_of_a_job_are_text_and_unknown_ones_are_refused_with_those_there_are() -> None:
    assert parse_slurm_options(["walltime=04:00:00", "directive=a=b", "directive=c"]) == {
        "walltime": "04:00:00",
        "directive": ["a=b", "c"],
    }
    for words in (["queue=x"], ["account"], ["account=a", "account=b"]):
        with pytest.raises(ConfigError, match="--slurm"):
            parse_slurm_options(words)
    with pytest.raises(ConfigError, match=", ".join(NAMES)):
        slurm_settings({"queue": "x"}, cores=8, processes=2)
    with pytest.raises(ConfigError, match="cores=two"):
        slurm_settings({"cores": "two"}, cores=8, processes=2)


def test_a_job_without_a_gpu_or_with_a_directive_for_it_asks_for_no_other() -> None:
    assert slurm_settings({"gpus": "0"}, cores=8, processes=2)["job_extra_directives"] == []
    own = slurm_settings({"directive": ["--gres=gpu:a100:1"]}, cores=8, processes=2)
    assert own["job_extra_directives"] == ["--gres=gpu:a100:1"]


def test_options_of_slurm_are_refused_for_another_scheduler(video_folder: Path, tmp_path: Path) -> None:
    words = ["extract", video_folder, "-e", "patch-statistics", "-o", tmp_path / "x.zarr", "--slurm", "account=a"]
    command = [sys.executable, "-m", "longvid.pipelines.cli", *map(str, words)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "slurm_options" in result.stderr


SCRIPT_OF_A_JOB = """#!/usr/bin/env bash

#SBATCH -J dask-worker
#SBATCH -p gpu-long
#SBATCH -A vision
#SBATCH -n 1
#SBATCH --cpus-per-task=8
#SBATCH --mem=60G
#SBATCH -t 08:00:00
#SBATCH --gres=gpu:2
#SBATCH --qos=high
module load cuda
/opt/python -m distributed.cli.dask_worker ADDRESS --name dummy-name --nthreads 4 --memory-limit 29.80GiB --nworkers 2 \
--nanny --death-timeout 60 --worker-class longvid.pipelines.extraction.quiet.QuietWorker --protocol tls://
"""
"""What `sbatch` is given, without what is of one run: the scheduler's address."""


def test_the_script_of_a_job_is_what_the_settings_say() -> None:
    from dask_jobqueue.slurm import SLURMJob

    options = {
        "account": "vision",
        "partition": "gpu-long",
        "gpus": 2,
        "memory": "64GB",
        "walltime": "08:00:00",
        "directive": ["--qos=high"],
        "prologue": ["module load cuda"],
        "python": "/opt/python",
    }
    jobs = slurm_settings(options, cores=8, processes=2)
    script = SLURMJob(scheduler="ADDRESS", name="dummy-name", protocol="tls://", **jobs).job_script()
    assert script == SCRIPT_OF_A_JOB
    without = slurm_settings({}, cores=8, processes=2)
    script = SLURMJob(scheduler="ADDRESS", name="x", protocol="tls://", **without).job_script()
    assert "#SBATCH -t" not in script, "the partition's own time limit holds"
    assert "#SBATCH --gres=gpu:1\n" in script
