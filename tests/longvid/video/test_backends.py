"""Which decoder reads a file: the checks by decoding, the choice, and what is said where none can."""

import subprocess
import sys

import numpy as np
import pytest

from longvid.errors import BackendUnavailable, ConfigError, UnreadableVideo
from longvid.video import iter_frames, probe
from longvid.video.backends import BACKENDS, Backend, check_all, check_backend, resolve_backend
from longvid.video.numbered import read_number


def refuse_everything(video, indices, **options):
    """A real backend, if a useless one: it can read no file."""
    raise UnreadableVideo(f"{video.path}: this decoder reads nothing")
    yield


def give_the_first_frame_always(video, indices, **options):
    """A backend with the worst of faults: frames, but not the ones asked for."""
    for _ in indices:
        yield from BACKENDS["pyav"].read_frames(video, np.array([0]), **options)


def not_installed():
    """What asking a package that is not there for its version does."""
    raise OSError("libnvrtc.so.13: cannot open shared object file\nmore lines\nand more")


@pytest.fixture
def with_backend():
    """Puts a backend in front of all others for one test."""

    def add(read_frames=refuse_everything, version=lambda: "1.0", **options):
        BACKENDS.clear()
        BACKENDS.update({"extra": Backend(read_frames, version, "take another", **options)} | others)
        check_backend.cache_clear()

    others = dict(BACKENDS)
    yield add
    BACKENDS.clear()
    BACKENDS.update(others)
    check_backend.cache_clear()


def test_pyav_works_wherever_longvid_is_installed():
    status = check_backend("pyav")
    assert status.works, status.reason
    assert (status.reason, status.remedy) == ("", "")


def test_every_backend_has_a_status_and_a_cure_if_it_does_not_work():
    statuses = check_all()
    assert [status.name for status in statuses] == list(BACKENDS)
    for status in statuses:
        assert status.works or (status.reason and status.remedy), status


def test_a_library_that_cannot_be_loaded_is_a_status_of_one_line_and_not_a_crash(with_backend):
    with_backend(version=not_installed)
    status = check_backend("extra")
    assert (status.works, status.version) == (False, None)
    assert status.reason == "libnvrtc.so.13: cannot open shared object file"


def test_a_decoder_that_gives_other_frames_does_not_pass_the_check(with_backend):
    with_backend(give_the_first_frame_always)
    assert check_backend("extra").reason == "asked for frames [0, 2, 4, 6] it gave [0, 0, 0, 0]"


def test_auto_passes_over_a_decoder_that_does_not_work(with_backend, make_video):
    with_backend(version=not_installed)
    assert resolve_backend(probe(make_video("steady.mp4").path)) == "pyav"


def test_auto_takes_the_next_decoder_only_where_one_has_none_for_the_codec(with_backend, make_video):
    with_backend(BACKENDS["pyav"].read_frames, decodes=lambda codec: codec != "mpeg4")
    assert resolve_backend(probe(make_video("steady.mp4").path)) == "extra"
    mpeg4 = probe(make_video("mpeg4.avi").path)
    assert resolve_backend(mpeg4) == "pyav"
    assert [read_number(frame) for frame in iter_frames(mpeg4, np.array([1.0]), height=48, width=60)] == [30]


def test_auto_never_hands_a_file_that_one_decoder_refuses_to_the_next(with_backend, make_video):
    reads_other_files = BACKENDS["pyav"].read_frames

    def read_frames(video, indices, **options):
        if video.header.codec == "h264":
            raise UnreadableVideo(f"{video.path}: this decoder reads nothing of the kind")
        yield from reads_other_files(video, indices, **options)

    with_backend(read_frames)
    video = probe(make_video("steady.mp4").path)
    assert resolve_backend(video) == "extra"
    with pytest.raises(UnreadableVideo, match="this decoder reads nothing"):
        list(iter_frames(video, np.array([0.0]), height=8, width=8))


def test_auto_never_takes_decord_which_stays_for_who_names_it(with_backend, make_video):
    for name in [name for name in BACKENDS if name != "decord"]:
        del BACKENDS[name]
    video = probe(make_video("no_b_frames.mp4").path)
    with pytest.raises(UnreadableVideo, match=r"no backend can decode it"):
        resolve_backend(video)
    if check_backend("decord").works:
        assert resolve_backend(video, "decord") == "decord"


def test_where_no_decoder_has_the_codec_each_ones_reason_is_given(with_backend, make_video):
    with_backend(BACKENDS["pyav"].read_frames, decodes=lambda codec: False)
    video = probe(make_video("steady.mp4").path)
    for name in [name for name in BACKENDS if name != "extra"]:
        del BACKENDS[name]
    with pytest.raises(UnreadableVideo, match=r"no backend can decode it \(extra: no decoder for h264\)"):
        resolve_backend(video)


def test_pyav_knows_which_codecs_it_has_a_decoder_for():
    assert BACKENDS["pyav"].decodes("av1")
    assert not BACKENDS["pyav"].decodes("no such codec")


def test_a_named_decoder_is_taken_even_where_auto_would_take_another(make_video, backend):
    assert resolve_backend(probe(make_video("steady.mp4").path), backend) == backend


def test_a_named_decoder_that_does_not_work_is_unavailable_with_its_cure(with_backend, make_video):
    with_backend(version=not_installed)
    with pytest.raises(BackendUnavailable, match=r"backend extra does not run here: libnvrtc\.so\.13.*take another"):
        resolve_backend(probe(make_video("steady.mp4").path), "extra")


def test_an_unknown_decoder_is_refused_with_the_names_there_are(make_video):
    with pytest.raises(
        ConfigError, match="backend='opencv': expected one of auto, pyav, torchcodec, torchcodec-cuda, decord"
    ):
        iter_frames(make_video("steady.mp4").path, np.array([0.0]), height=8, width=8, backend="opencv")


def test_reading_with_pyav_loads_no_torch(make_video):
    code = (
        "import sys, numpy as np; from longvid.video import iter_frames; "
        f"list(iter_frames({str(make_video('steady.mp4').path)!r}, np.zeros(1), height=8, width=8)); "
        "assert 'torch' not in sys.modules and 'decord' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_decord_and_torch_live_in_one_process_in_either_order(make_video):
    if not check_backend("decord").works:
        pytest.skip(check_backend("decord").reason)
    for first, second in (("torch", "decord"), ("decord", "torch")):
        path = str(make_video("steady.mp4").path)
        code = (
            f"import {first}, {second}, numpy as np; from longvid.video import iter_frames; "
            f"list(iter_frames({path!r}, np.zeros(1), height=8, width=8, backend='decord'))"
        )
        subprocess.run([sys.executable, "-c", code], check=True)
