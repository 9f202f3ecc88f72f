"""The package, the documentation and the citation agree on version, licence and address."""

import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))


def site() -> dict[str, Any]:
    """Settings of the documentation that are plain text."""
    lines = (ROOT / "mkdocs.yml").read_text("utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines if line[:1].isalpha() and ": " in line)


def test_the_citation_is_of_this_version_and_licence() -> None:
    assert CITATION["version"] == PROJECT["version"] == version("longvid")
    assert CITATION["license"] == PROJECT["license"]
    assert {"cff-version", "message", "title", "authors"} <= CITATION.keys()


def test_the_project_has_one_address_or_none() -> None:
    named = {PROJECT.get("urls", {}).get("Source"), site().get("repo_url"), CITATION.get("repository-code")}
    assert len(named) == 1, named
