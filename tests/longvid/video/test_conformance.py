"""The suite tells right, refused and silently wrong apart, and every backend of longvid passes it."""

import numpy as np
import pytest

from longvid.errors import UnreadableVideo
from longvid.video.backends import BACKENDS, Backend, check_backend
from longvid.video.conformance import SHOWN, Case, cases, conformance, judge
from longvid.video.numbered_files import MAKERS


@pytest.fixture(scope="module")
def suite(tmp_path_factory) -> dict[str, Case]:
    """Every case by its name, in one folder."""
    return {case.name: case for case in cases(tmp_path_factory.mktemp("suite"))}


def test_the_suite_has_what_real_files_do(suite):
    said = " ".join(suite)
    for what in (
        "variable rate",
        "cut",
        "late start",
        "truncated",
        "rotated",
        "open GOP",
        "two sizes",
        "a seek backwards",
    ):
        assert what in said
    assert set(SHOWN) <= set(MAKERS)


@pytest.mark.parametrize("name", list(BACKENDS))
def test_no_backend_is_silently_wrong(suite, name):
    if not check_backend(name).works:
        pytest.skip(check_backend(name).reason)
    verdicts = [judge(name, case) for case in suite.values()]
    assert [one for one in verdicts if one.outcome not in ("right", "refused")] == []
    if name == "pyav":
        assert [one for one in verdicts if one.outcome != "right"] == []


def off_by_one(video, indices, **options):
    """A decoder that is right in a check of its own, and gives the frame before in H.264."""
    shift = 1 if video.header.codec == "h264" else 0
    for index in indices:
        yield from BACKENDS["pyav"].read_frames(video, np.array([max(index - shift, 0)]), **options)


def refusing(video, indices, **options):
    """A decoder that reads no H.264."""
    if video.header.codec == "h264":
        raise UnreadableVideo(f"{video.path}: not today")
    yield from BACKENDS["pyav"].read_frames(video, indices, **options)


@pytest.mark.parametrize(("read_frames", "outcome"), [(off_by_one, "silently wrong"), (refusing, "refused")])
def test_wrong_frames_are_told_from_a_refusal(suite, monkeypatch, read_frames, outcome):
    monkeypatch.setitem(BACKENDS, "other", Backend(read_frames, lambda: "1", "none"))
    verdict = judge("other", suite["variable rate"])
    check_backend.cache_clear()
    assert verdict.outcome == outcome
    assert "not today" in verdict.detail or verdict.detail.endswith("frame 0 instead of frame 1")


def test_each_backend_reads_in_its_own_process(tmp_path):
    verdicts = []
    for verdict in conformance(tmp_path, ["pyav"]):
        verdicts.append(verdict)
        if len(verdicts) == 2:
            break
    assert [one.outcome for one in verdicts] == ["right", "right"]


def test_a_case_that_asks_for_other_frames_is_wrong(suite):
    case = suite["constant rate, B-frames"]
    (request,) = case.requests
    told = Case("lie", (type(request)(request.path, request.seconds, (*request.numbers[1:], 0)),))
    verdict = judge("pyav", told)
    assert verdict.outcome == "silently wrong"
    assert verdict.detail.endswith("frame 0 instead of frame 1")
