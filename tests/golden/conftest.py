"""Golden fixtures: arrays that the authors' own code computed, found, recognised by what they hold, and checked whole.

Where they are looked for: the folders beside this file, and the folders that `LONGVID_GOLDEN_DIR` names, separated as
those of `PATH` (default: `../shared/golden` and `../shared/golden_heads` next to the checkout, where they exist). Below
a root the first folder is the architecture: `xvit/anything.npz`.

How an architecture is plugged in: a file `check_<folder>.py` here with

    LAYOUTS = {"what it is": (recognise, check), ...}

where `recognise(golden) -> bool` looks at `golden.names` and `golden.config` (never at the file's name), and
`check(golden)` builds the module, and hands every array the file holds to `golden.compare(name, actual, ...)`, or
takes it as an input with `golden.array(name)` / `golden.tensor(name)` / `golden.state()`. A JSON file is read from
`golden.json`. An array or a JSON entry that nothing looked at is a failure, and so are a file that no layout or more
than one recognises, and a folder without a checker. Rows that a fixture's README calls junk are left out of a
comparison by `golden.compare(name, actual, junk=rows)`, and by nothing else.

That a checker bites is shown in `test_golden_mistakes_<folder>.py`: break one rule with `monkeypatch`, and
`golden_bites("<folder>", "what it is")` asserts that every fixture of that layout fails now.
"""

import functools
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

HERE = Path(__file__).parent
DEFAULT_SHARED = [HERE.parents[2] / "shared" / name for name in ("golden", "golden_heads")]
READ_SUFFIXES = (".npz", ".json")
TEXT_SUFFIXES = (".md", ".txt")
DESCRIBING = {"kind", "code", "commit", "commits", "seed", "numpy_seed"}
"""JSON entries that say where a file comes from: nothing to check."""


class Entries(dict[str, Any]):
    """A JSON object that knows which of its entries have been looked at."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.seen: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.seen.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self.seen.add(name)
        return super().get(name, default)

    def items(self) -> Any:
        self.seen |= set(self)
        return super().items()

    def values(self) -> Any:
        self.seen |= set(self)
        return super().values()


def unseen_entries(value: Any, place: str = "") -> set[str]:
    """The entries of a JSON value that nothing has looked at, as `cases/0/indices`."""
    if isinstance(value, Entries):
        unseen = {f"{place}{name}" for name in set(value) - value.seen - DESCRIBING}
        pairs = [(name, dict.__getitem__(value, name)) for name in value.seen & set(value)]
    else:
        unseen = set()
        pairs = list(enumerate(value)) if isinstance(value, list) else []
    return unseen.union(*(unseen_entries(held, f"{place}{name}/") for name, held in pairs))


class Golden:
    """One fixture file: its arrays (JSON: its value), and which of them have been looked at."""

    def __init__(self, path: Path, architecture: str) -> None:
        self.path = path
        self.architecture = architecture
        is_json = path.suffix == ".json"
        self.json: Any = json.loads(path.read_text(), object_pairs_hook=Entries) if is_json else None
        self._arrays: dict[str, np.ndarray] = {}
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as held:
                self._arrays = {name: held[name] for name in held.files}
        self._seen: set[str] = {name for name in self._arrays if name.rsplit("/", 1)[-1] == "config"}

    @property
    def names(self) -> set[str]:
        """Every array in the file."""
        return set(self._arrays)

    @property
    def config(self) -> dict[str, Any]:
        """The file's own configuration; empty where it has none."""
        return self.config_of("")

    def config_of(self, prefix: str) -> dict[str, Any]:
        """The configuration at `<prefix>config`."""
        text = self._arrays.get(f"{prefix}config")
        return {} if text is None else json.loads(str(text))

    def array(self, name: str) -> np.ndarray:
        """An array as it is in the file, counted as looked at."""
        self._seen.add(name)
        return self._arrays[name]

    def tensor(self, name: str, dtype: torch.dtype | None = None) -> Tensor:
        """The same as a tensor; float16 (a way to store, not to compute) widened to float32 unless `dtype` is given."""
        tensor = torch.from_numpy(self.array(name).copy())
        if dtype is not None:
            return tensor.to(dtype)
        return tensor.float() if tensor.dtype == torch.float16 else tensor

    def state(self, prefix: str = "state/") -> dict[str, Tensor]:
        """The arrays below a prefix under their official names."""
        return {name.removeprefix(prefix): self.tensor(name) for name in sorted(self.names) if name.startswith(prefix)}

    def compare(
        self,
        name: str,
        actual: Tensor | np.ndarray,
        *,
        tolerance: float = 1e-4,
        junk: Tensor | np.ndarray | None = None,
    ) -> None:
        """Assert that `actual` equals the array within `tolerance` times the larger of 1 and its largest entry.

        `junk`: True on the rows (of the array's first axes) that the fixture's README calls junk; they are left out.
        """
        expected, found = as_array(self.array(name)), as_array(actual)
        assert found.shape == expected.shape, f"{self.path.name}: {name} is {found.shape}, golden {expected.shape}"
        if junk is not None:
            kept = ~as_array(junk).astype(bool)
            assert kept.shape == expected.shape[: kept.ndim], f"{self.path.name}: {name} has no rows {kept.shape}"
            assert kept.any(), f"{self.path.name}: every row of {name} is left out"
            expected, found = expected[kept], found[kept]
        difference = float(np.abs(found - expected).max(initial=0))
        limit = tolerance * max(1.0, float(np.abs(expected).max(initial=0)))
        assert difference <= limit, f"{self.path.name}: {name} differs by {difference:.3g}, more than {limit:.3g}"

    @property
    def unseen(self) -> list[str]:
        """Arrays and JSON entries that nothing has looked at."""
        return sorted((self.names - self._seen) | unseen_entries(self.json))


def as_array(values: Tensor | np.ndarray) -> np.ndarray:
    """The values as numbers that can be subtracted: booleans and whole numbers as float64."""
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    return array.astype(np.float64) if array.dtype.kind in "bui" else array


def golden_roots() -> list[Path]:
    """Folders that hold one folder per architecture; those asked for must hold one fixture at least."""
    asked = [Path(name) for name in os.environ.get("LONGVID_GOLDEN_DIR", "").split(os.pathsep) if name]
    for root in asked:
        if not root.is_dir():
            raise pytest.UsageError(f"LONGVID_GOLDEN_DIR names {root}, which is not a folder")
        if not fixtures_below(root):
            raise pytest.UsageError(
                f"LONGVID_GOLDEN_DIR names {root}, which has no fixture in a folder per architecture; "
                "name the folder that holds the architectures' folders"
            )
    return [HERE, *(asked or [root for root in DEFAULT_SHARED if root.is_dir()])]


def fixtures_below(root: Path) -> list[Path]:
    """Every file in a folder of `root` that is not a text."""
    files = (path for path in root.glob("*/**/*") if path.is_file() and "__pycache__" not in path.parts)
    return sorted(path for path in files if path.suffix not in TEXT_SUFFIXES)


def find_golden() -> dict[str, tuple[Path, str]]:
    """Test id -> (file, architecture) of every fixture; a byte-identical copy of one already found is left out."""
    found: dict[str, tuple[Path, str]] = {}
    digests: set[tuple[str, str]] = set()
    for root in golden_roots():
        for path in fixtures_below(root):
            place = path.relative_to(root)
            key = (place.parts[0], hashlib.sha256(path.read_bytes()).hexdigest())
            if key not in digests:
                digests.add(key)
                name = f"{place.as_posix()}{'' if root == HERE else f' ({root.name})'}"
                while name in found:
                    name += "'"
                found[name] = (path, place.parts[0])
    return found


@functools.cache
def checker(architecture: str) -> ModuleType:
    """The module `check_<architecture>.py` beside this file."""
    path = HERE / f"check_{architecture}.py"
    assert path.is_file(), f"fixtures of {architecture!r}, but no {path.name} to check them"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def layout_of(golden: Golden) -> str:
    """The one layout whose `recognise` accepts the file."""
    layouts = checker(golden.architecture).LAYOUTS
    matching = [name for name, (recognise, _) in layouts.items() if recognise(golden)]
    assert len(matching) == 1, f"{golden.path}: recognised as {matching or 'nothing'} by {list(layouts)}"
    return matching[0]


def check_golden(path: Path, architecture: str) -> None:
    """Check one fixture file whole; raises `AssertionError` for any difference or anything not looked at."""
    assert path.suffix in READ_SUFFIXES, f"{path}: fixtures are {READ_SUFFIXES}"
    golden = Golden(path, architecture)
    _, check = checker(architecture).LAYOUTS[layout_of(golden)]
    check(golden)
    assert not golden.unseen, f"{path}: nothing checks {golden.unseen}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per fixture file."""
    if "golden_file" in metafunc.fixturenames:
        found = find_golden()
        metafunc.parametrize("golden_file", list(found.values()), ids=list(found))


@pytest.fixture
def golden_bites() -> Callable[[str, str], None]:
    """Asserts that every fixture of a layout fails now (some rule has just been broken), and that there is one."""

    def every_one_fails(architecture: str, layout: str) -> None:
        files = [path for path, folder in find_golden().values() if folder == architecture]
        chosen = [path for path in files if layout_of(Golden(path, architecture)) == layout]
        assert chosen, f"no {architecture} fixture of layout {layout!r}"
        for path in chosen:
            with pytest.raises(AssertionError, match="differs by"):
                check_golden(path, architecture)

    return every_one_fails


@pytest.fixture
def golden_check() -> Callable[[Path, str], None]:
    """`check_golden` itself, for tests."""
    return check_golden


@pytest.fixture(name="find_golden")
def find_golden_again() -> Callable[[], dict[str, tuple[Path, str]]]:
    """`find_golden` itself, for tests."""
    return find_golden


@pytest.fixture
def open_golden() -> Callable[[Path], Golden]:
    """Opens a fixture file of any architecture, for tests."""
    return lambda path: Golden(path, "any")
