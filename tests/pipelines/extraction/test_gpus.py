"""A machine's GPUs are shared out to processes, and each is fed by the cores beside it."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from rounding import rounding

from longvid.pipelines.extraction import ExtractionJob, VideoRequest, extract
from longvid.pipelines.extraction.executors import PIECES_IN_FLIGHT, pieces_in_flight
from longvid.pipelines.extraction.worker_options import share_gpus
from longvid.stores import FeatureStore


@pytest.mark.parametrize(
    ("gpus", "cores", "workers", "processes", "threads"),
    [
        (1, 2, None, ["0"], 2),
        (1, 16, None, ["0"] * 4, 4),
        (1, 64, None, ["0"] * 4, 8),
        (2, 16, None, ["0", "1"] * 2, 4),
        (8, 64, None, [*"01234567"] * 2, 4),
        (8, 8, None, [*"01234567"], 2),
        (2, 16, 1, ["0"], 8),
        (2, 16, 3, ["0", "1", "0"], 5),
    ],
)
def test_processes_are_dealt_to_the_gpus_and_threads_to_the_cores(gpus, cores, workers, processes, threads):
    assert share_gpus([str(gpu) for gpu in range(gpus)], cores, workers) == (processes, threads)


def test_a_cpu_encoder_works_on_two_pieces_and_a_gpu_on_as_many_as_there_are_cores():
    assert pieces_in_flight("cpu", 64) == PIECES_IN_FLIGHT
    assert [pieces_in_flight("cuda:1", cores) for cores in (1, 4, 64)] == [PIECES_IN_FLIGHT, 4, 8]


def test_processes_for_a_gpu_come_up_seeing_only_theirs_and_say_nothing(tmp_path: Path):
    script = """
        from longvid.pipelines.extraction.cluster import ClusterSettings, connect
        if __name__ == "__main__":
            with connect("cuda", ClusterSettings(workers=3)) as client:
                seen = client.run(lambda: __import__("os").environ["CUDA_VISIBLE_DEVICES"])
                print(sorted(seen.values()))
    """
    (tmp_path / "script.py").write_text(dedent(script))
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "3,5", "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, str(tmp_path / "script.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "['3', '3', '5']"
    assert result.stderr == ""


@pytest.mark.gpu
def test_processes_that_share_a_gpu_make_the_features_that_the_cpu_makes(
    requests: list[VideoRequest], job: ExtractionJob, tmp_path: Path
):
    cpu = ExtractionJob(job.encoder, sampling=job.sampling, device="cpu")
    assert extract(requests, cpu, tmp_path / "cpu.zarr", clips_per_shard=8).exit_status == 0
    report = extract(requests, job, tmp_path / "gpu.zarr", clips_per_shard=8, scheduler="cuda", workers=2)
    assert report.exit_status == 0
    assert report.workers == 2
    ours, theirs = FeatureStore.open(tmp_path / "gpu.zarr"), FeatureStore.open(tmp_path / "cpu.zarr")
    for request in requests:
        found, expected = ours.video(request.key), theirs.video(request.key)
        np.testing.assert_allclose(
            found.read(0, found.num_clips),
            expected.read(0, expected.num_clips),
            rtol=rounding(np.float16, terms=16),
            atol=rounding(np.float16, terms=1),
        )
