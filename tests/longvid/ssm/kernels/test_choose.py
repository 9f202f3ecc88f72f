"""`auto` takes what a measurement on this machine found, and remembers it."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from longvid.errors import BackendUnavailable
from longvid.ssm import BACKENDS, StateSpace, s4_kernel
from longvid.ssm.kernels import choose, keops

MakeSystem = Callable[..., StateSpace]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache folder, and nothing remembered."""
    monkeypatch.setenv("LONGVID_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(choose, "_remembered", {})
    return tmp_path / choose.FILE_NAME


def slowed(name: str) -> Callable[[StateSpace, int], Tensor]:
    plain = BACKENDS[name]

    def slow(system: StateSpace, length: int) -> Tensor:
        time.sleep(1.0)
        return plain(system, length)

    return slow


@pytest.mark.parametrize(("slow", "fast"), [("cauchy", "dense-power"), ("dense-power", "cauchy")])
def test_auto_takes_the_faster_backend_and_writes_it_down(
    slow: str, fast: str, make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    system = make_system(truncated_at=64)
    monkeypatch.setitem(BACKENDS, slow, slowed(slow))
    assert torch.equal(s4_kernel(system, 64), s4_kernel(system, 64, backend=fast))
    assert list(json.loads(cache.read_text()).values()) == [fast]


def test_a_remembered_choice_is_not_measured_again_by_the_next_process(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = make_system(truncated_at=64)
    s4_kernel(system, 64)
    choose._remembered.clear()
    monkeypatch.setattr(choose, "_measure", lambda *_: pytest.fail("measured again"))
    s4_kernel(system, 64)
    s4_kernel(system, 60)  # nearly the same size


def test_another_length_and_a_wish_for_gradients_are_measured_apart(make_system: MakeSystem, cache: Path) -> None:
    system = make_system(truncated_at=64)
    s4_kernel(system, 64)
    s4_kernel(make_system(truncated_at=256), 256)
    s4_kernel(system._replace(c=system.c.clone().requires_grad_()), 64)
    assert len(json.loads(cache.read_text())) == 3


@pytest.mark.parametrize("content", ["", "{half", "[1, 2]", '{"some key": 3}', "\x00\xff"])
def test_a_damaged_memory_is_measured_again_and_mended(content: str, make_system: MakeSystem, cache: Path) -> None:
    cache.write_text(content, encoding="latin-1")
    s4_kernel(make_system(truncated_at=64), 64)
    assert set(json.loads(cache.read_text()).values()) <= set(BACKENDS)


def test_a_remembered_backend_that_no_longer_exists_is_measured_again(make_system: MakeSystem, cache: Path) -> None:
    system = make_system(truncated_at=64)
    s4_kernel(system, 64)
    (key,) = json.loads(cache.read_text())
    cache.write_text(json.dumps({key: "abacus"}))
    choose._remembered.clear()
    s4_kernel(system, 64)
    assert json.loads(cache.read_text())[key] in BACKENDS


def test_a_cache_folder_that_cannot_be_written_costs_nothing_else(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LONGVID_CACHE_DIR", str(tmp_path / "file" / "below"))
    assert s4_kernel(make_system(truncated_at=64), 64).shape == (3, 64)


def test_the_cache_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGVID_CACHE_DIR")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert choose.cache_folder() == Path("/somewhere/longvid")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert choose.cache_folder().parts[-3:] == ("Library", "Caches", "longvid")


def test_importing_measures_nothing_and_loads_no_pykeops(tmp_path: Path) -> None:
    code = "import sys, longvid.decoders; print(sorted(set(sys.modules) & {'pykeops', 'keopscore'}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert list(tmp_path.iterdir()) == []


def test_pykeops_that_does_not_run_is_refused_with_its_reason(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keops, "why_no_keops", lambda _: "no compiler")
    with pytest.raises(BackendUnavailable, match=r"does not run on this machine \(no compiler\); use backend='auto'"):
        s4_kernel(make_system(), 8, backend="pykeops")


def test_a_trial_that_fails_gives_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keops, "TRIAL", "raise OSError('no c++ compiler {device}')")
    assert keops.why_no_keops.__wrapped__("cpu") == "OSError: no c++ compiler cpu"


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 2, 33, 2048])
def test_pykeops_equals_the_recurrence_with_its_gradients(make_system: MakeSystem, length: int) -> None:
    problem = keops.why_no_keops("cpu")
    if problem:
        pytest.skip(f"pykeops does not run here: {problem}")
    system = make_system()
    expected, found = ([], [])
    for backend, results, given in (("recurrence", expected, system.double()), ("pykeops", found, system)):
        leaves = [tensor.clone().requires_grad_() for tensor in given[:6]]
        kernel = s4_kernel(StateSpace(*leaves, 0), length, backend=backend)
        weight = torch.linspace(-1, 1, 3 * length, dtype=kernel.dtype).view(3, length)
        results += [kernel, *torch.autograd.grad((kernel * weight).sum(), leaves)]
    for ours, reference in zip(found, expected, strict=True):
        assert (ours - reference).norm() < 2e-5 * reference.norm()
