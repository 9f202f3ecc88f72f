"""The demo's videos: the class lies in order and distance, and in nothing a mean could see."""

from pathlib import Path

import numpy as np
import pytest

from longvid.pipelines.demo.videos import (
    CLASSES,
    EVENT_SECONDS,
    FRAMES_PER_SECOND,
    MARGIN_SECONDS,
    WAIT_SECONDS,
    Script,
    draw,
    encode,
    write_scripts,
)
from longvid.video import probe


def test_the_class_is_the_order_and_the_wait() -> None:
    scripts = write_scripts(200, seed=3)
    assert np.bincount([script.class_index for script in scripts]).tolist() == [50] * 4
    for script in scripts:
        order = "red-blue" if script.red_seconds < script.blue_seconds else "blue-red"
        wait = abs(script.red_seconds - script.blue_seconds) - EVENT_SECONDS
        near, far = WAIT_SECONDS["close"], WAIT_SECONDS["far"]
        distance = "soon" if near[0] <= wait <= near[1] else "late" if far[0] <= wait <= far[1] else "neither"
        assert CLASSES[script.class_index] == f"{order} {distance}"
        assert min(script.red_seconds, script.blue_seconds) >= MARGIN_SECONDS
        assert max(script.red_seconds, script.blue_seconds) + EVENT_SECONDS <= script.length_seconds


@pytest.mark.parametrize("class_index", range(4))
def test_the_mean_over_a_video_does_not_depend_on_its_class(class_index: int) -> None:
    """The same scenery and the same events at other times: every pixel's mean is the same."""

    def mean(red: float, blue: float) -> np.ndarray:
        script = Script("v", class_index, 40.0, red, blue, seed=5)
        frames = np.stack(list(draw(script))).astype(float)
        return frames.mean(axis=(0, 1, 2))

    times = [(5.0, 14.0), (5.0, 34.0), (14.0, 5.0), (34.0, 5.0)]
    reference = mean(20.0, 25.0)
    np.testing.assert_allclose(mean(*times[class_index]), reference, atol=1.0)


def test_a_video_is_a_real_file_of_the_length_in_the_script(tmp_path: Path) -> None:
    script = Script("short", 0, 6.0, 0.5, 2.5, seed=0)
    video = probe(encode(script, tmp_path))
    assert video.measured.num_frames == 6 * FRAMES_PER_SECOND
    assert video.end_seconds - video.begin_seconds == pytest.approx(6.0)
    assert not video.problems
