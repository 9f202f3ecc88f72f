"""`auto` takes what a measurement on this machine found, and remembers it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from rounding import rounding
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
    first = s4_kernel(system, 64)
    choose._remembered.clear()
    monkeypatch.setattr(choose, "_measure", lambda *_: pytest.fail("measured again"))
    assert torch.equal(s4_kernel(system, 64), first)
    assert s4_kernel(system, 60).shape[-1] == 60  # nearly the same size


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


@pytest.mark.skipif(sys.platform != "linux", reason="XDG_CACHE_HOME is Linux's")
def test_the_cache_folder_is_the_platforms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONGVID_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert choose.cache_folder() == Path("/somewhere/longvid")


HOMELESS = """
import os, pwd, sys
def no_entry(number):
    raise KeyError(f"getpwuid(): uid not found: {number}")
pwd.getpwuid = no_entry
import torch
from longvid.ssm import S4Config, S4Layer
print(S4Layer(S4Config(4, state_size=4)).eval()(torch.ones(1, 8, 4)).shape)
print(os.listdir("."))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is always a home")
def test_a_user_without_home_and_passwd_entry_can_run_a_layer_and_nothing_is_written(tmp_path: Path) -> None:
    ways_home = ("HOME", "XDG_CACHE_HOME", "LONGVID_CACHE_DIR")
    env = {name: value for name, value in os.environ.items() if name not in ways_home}
    command = [sys.executable, "-c", HOMELESS]
    result = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == ["torch.Size([1, 8, 4])", "[]"]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_folder_that_may_only_be_read_costs_nothing_else(make_system: MakeSystem, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert s4_kernel(make_system(truncated_at=64), 64).shape == (3, 64)
    tmp_path.chmod(0o700)


def off_by(name: str, change: Callable[[StateSpace, Tensor], Tensor]) -> Callable[[StateSpace, int], Tensor]:
    plain = BACKENDS[name]
    return lambda system, length: change(system, plain(system, length))


def last_tap_wrong(system: StateSpace, kernel: Tensor) -> Tensor:
    return torch.cat([kernel[:, :-1], kernel[:, -1:] + kernel.abs().amax()], dim=1)


def never_written(system: StateSpace, kernel: Tensor) -> Tensor:
    return kernel + torch.full_like(kernel, torch.nan)


def gradient_of_one_part_missing(system: StateSpace, kernel: Tensor) -> Tensor:
    return kernel.detach() + (system.c.real.sum() - system.c.real.sum().detach())


@pytest.mark.parametrize("length", [5, 64, 3000])
@pytest.mark.parametrize("change", [last_tap_wrong, never_written, gradient_of_one_part_missing])
def test_a_backend_that_differs_from_the_recurrence_is_dropped_with_a_line_in_the_log(
    change: Callable[[StateSpace, Tensor], Tensor],
    length: int,
    make_system: MakeSystem,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    cache: Path,
) -> None:
    system = make_system(20)
    system = system._replace(c=system.c.clone().requires_grad_())
    monkeypatch.setitem(BACKENDS, "cauchy", off_by("cauchy", change))
    choose.fastest_backend(system, length, BACKENDS)
    assert list(json.loads(cache.read_text()).values()) == ["dense-power"]
    assert f"kernel backend cauchy is not used at length {length}: its " in caplog.text


def test_where_every_fast_backend_is_wrong_the_recurrence_is_taken_and_not_remembered(
    make_system: MakeSystem, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, cache: Path
) -> None:
    for name in ("cauchy", "dense-power"):
        monkeypatch.setitem(BACKENDS, name, off_by(name, last_tap_wrong))
    assert torch.equal(s4_kernel(make_system(), 64), s4_kernel(make_system(), 64, backend="recurrence"))
    assert "the slow recurrence is used" in caplog.text
    assert not cache.exists()


def test_a_system_that_is_no_number_drops_no_backend(make_system: MakeSystem, cache: Path) -> None:
    system = make_system()
    s4_kernel(system._replace(step=system.step * torch.nan), 64)
    assert set(json.loads(cache.read_text()).values()) <= {"cauchy", "dense-power"}


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
        assert (ours - reference).norm() < rounding(torch.float32, terms=16, layers=10) * reference.norm()
