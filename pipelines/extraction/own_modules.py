"""The source of an own encoder, sent to workers that cannot import it.

Workers of a scheduler that runs elsewhere know neither the user's working folder nor its PYTHONPATH. What is sent is
the text of the module that the user named and of those beside it that it imported; installed packages are not, as every
worker has its own. A worker imports what was sent under the same names, and forgets it when the run ends.
"""

import sys
import sysconfig
from collections.abc import Sequence
from importlib.abc import MetaPathFinder, SourceLoader
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

Sources = dict[str, tuple[str, bytes]]
"""By the name of a module: the path of its file here, and the file's bytes."""


def own_sources(reference: str) -> Sources:
    """The sources behind `package.module:callable`, which was imported here; empty for an installed package."""
    module = sys.modules[reference.partition(":")[0]]
    file = _file(module)
    if file is None:
        return {}
    # the folder from which the module's first name was imported
    root = file.parents[module.__name__.count(".") + (file.name == "__init__.py")]
    files = {name: path for name, other in list(sys.modules.items()) if (path := _file(other)) is not None}
    return {
        name: (str(path), path.read_bytes())
        for name, path in files.items()
        if path.is_relative_to(root) and path.with_suffix("").relative_to(root).parts[0] == name.partition(".")[0]
    }


def _file(module: Any) -> Path | None:
    """The module's file, if it is Python source of the user's own; a few of `sys.modules` are not modules at all."""
    named = getattr(module, "__file__", None)
    if (
        not isinstance(module, ModuleType)
        or module.__name__ == "__main__"
        or not named
        or not str(named).endswith(".py")
    ):
        return None
    path = Path(named).absolute()
    installed = {Path(sysconfig.get_path(name)).absolute() for name in ("stdlib", "purelib", "platlib")}
    inside = any(path.is_relative_to(folder) for folder in installed) or "site-packages" in path.parts
    return None if inside or module.__name__.partition(".")[0] == "longvid" or not path.is_file() else path


class SentModules(MetaPathFinder):
    """Imports modules from sources that were sent; `install` it once per process, `remove` it at the end."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a module that was sent."""
        if fullname not in self._sources:
            return None
        file, source = self._sources[fullname]
        folders = [str(Path(file).parent)] if Path(file).name == "__init__.py" else None
        loader = _Sent(file, source)
        return spec_from_file_location(fullname, file, loader=loader, submodule_search_locations=folders)

    def install(self) -> None:
        """Import these modules from now on, also where others of their names were imported before."""
        self._forget()
        sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Import them no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)
            self._forget()

    def _forget(self) -> None:
        for name in self._sources:
            sys.modules.pop(name, None)


class _Sent(SourceLoader):
    """One module's source, under the path that it has where it was written."""

    def __init__(self, file: str, source: bytes) -> None:
        self._file, self._source = file, source

    def get_filename(self, fullname: str) -> str:
        """The path that messages and `__file__` show."""
        return self._file

    def get_data(self, path: str | bytes) -> bytes:
        """The source; there is no compiled copy of it."""
        if path != self._file:
            raise OSError(f"{path!r} was not sent")
        return self._source
