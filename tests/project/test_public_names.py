"""The names users import: there, listed once, known to type checkers, and cheap until they are used."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "package", ["longvid.stores", "longvid", "longvid.pipelines", "longvid.pipelines.extraction", "longvid.windows"]
)
def test_a_type_checker_sees_every_name_that_is_imported_late(package: str) -> None:
    tree = ast.parse((ROOT / package.replace(".", "/") / "__init__.py").read_text(encoding="utf-8"))
    for_checkers = next(node for node in tree.body if isinstance(node, ast.If))
    homes = {
        alias.name: node.module
        for node in ast.walk(for_checkers)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    module = importlib.import_module(package)
    assert sorted(homes) == sorted(module.__all__)
    for name, home in homes.items():
        assert getattr(module, name) is getattr(importlib.import_module(str(home)), name)


def described() -> dict[str, set[str]]:
    """Package -> its names in the pages of the Python reference."""
    text = "".join(page.read_text("utf-8") for page in sorted((ROOT / "docs" / "reference").glob("python*.md")))
    found = re.findall(r"^::: (\S+)\n    options:\n      members: \[([^\]]*)\]", text, flags=re.MULTILINE)
    return {package: set(names.split(", ")) for package, names in found}


def test_the_reference_has_every_public_name_of_the_packages_that_users_import() -> None:
    pages = described()
    assert len(pages) >= 17
    for package, names in pages.items():
        module = importlib.import_module(package)
        # of extraction only what longvid.pipelines does not give
        public = set(module.__all__) - (pages["longvid.pipelines"] if package.endswith("extraction") else set())
        assert names == public, package


def test_the_help_loads_no_array_library() -> None:
    code = (
        "import sys\nfrom longvid.pipelines.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "print('HEAVY', sorted({'numpy', 'zarr', 'fsspec', 'pydantic', 'h5py'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout.splitlines()[-1] == "HEAVY []"
