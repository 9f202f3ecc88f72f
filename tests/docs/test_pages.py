"""Every block of the documentation runs, in the order of its page, as it is written."""

import os
import re
import runpy
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import command_in_process

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md"))
LANGUAGES = {
    "bash": "run as it stands",
    "python": "run as a script; with a title, also written to that file first",
    "sh": "needs a network, a cluster, a GPU or hours: its commands and options must exist",
    "text": "not code; with the title `prints`, what the command before it prints, … for what differs by machine",
    "yaml": "a settings file; with a title, written to that file",
    "csv": "rows of a manifest, read by tests/project/test_manifest_reference.py",
    "jsonl": "rows of a manifest, read by the same test",
}
FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    title: str
    body: str


def blocks(page: str) -> Iterator[Block]:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        language, _, rest = match["info"].strip().partition(" ")
        title = re.search(r'title="([^"]+)"', rest)
        indent = match["indent"]
        lines = [line.removeprefix(indent) for line in match["body"].splitlines()]
        yield Block(language, title[1] if title else "", "\n".join(lines))


def commands_of(body: str) -> Iterator[str]:
    """The command lines of a shell block: continued lines joined, comments left out; a quoted text may span lines."""
    line = ""
    for part in body.splitlines():
        line += part.removesuffix("\\") if part.endswith("\\") else part + "\n"
        if part.endswith("\\") or line.count('"') % 2:
            continue
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()
        line = ""


@pytest.mark.parametrize("page", PAGES)
def test_every_block_says_what_it_is(page: str) -> None:
    assert {block.language for block in blocks(page)} <= LANGUAGES.keys()


@pytest.mark.parametrize("page", [page for page in PAGES if {b.language for b in blocks(page)} & {"bash", "python"}])
def test_the_blocks_of_a_page_run(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    longvid = command_in_process(capsys)
    for block in blocks(page):
        if block.language == "python":
            script = folder / (block.title or "script.py")
            script.write_text(block.body, encoding="utf-8")
            done = subprocess.run([sys.executable, script.name], capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{block.body}\n{done.stderr}"
        elif block.language == "yaml" and block.title:
            (folder / block.title).write_text(block.body, encoding="utf-8")
        elif block.language == "bash":
            for line in commands_of(block.body):
                printed = run(line, longvid)
        elif block.title == "prints":
            told = ".*".join(re.escape(part) for part in block.body.split("…"))
            shown = "\n".join(row.rstrip() for row in printed.splitlines())
            assert re.fullmatch(told, shown, re.DOTALL), f"{line} printed\n{shown}"


def run(line: str, longvid: Callable[..., tuple[int, str, str]]) -> str:
    """What a line prints: longvid's alone runs in this process, which saves seconds of imports; others by the shell."""
    words = shlex.split(line, comments=True)
    if words[0] == "longvid" and not {"&&", "||", "|", ">", ";"} & set(words):
        extra = ["--scheduler", "inline"] if words[1] == "extract" and "--scheduler" not in words else []
        status, out, err = longvid(*words[1:], *extra)
        assert status == (1 if words[1] == "doctor" and status == 1 else 0), f"{line}\n{out}\n{err}"
        return out
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_cannot_run_here_exist_with_their_options(page: str) -> None:
    from longvid.pipelines.cli.documented import command

    known = dict(command.commands)
    for block in blocks(page):
        if block.language not in ("sh", "bash"):
            continue
        for line in commands_of(block.body):
            for told in re.findall(r"(?:^|&& |srun )longvid ([^|&>]*)", line):
                name, *words = shlex.split(told, comments=True)
                assert name in known, line
                options = {option for parameter in known[name].params for option in parameter.opts}
                given = {word.partition("=")[0] for word in words if word.startswith("-")}
                assert given <= options, line


def test_every_link_between_pages_and_files_leads_somewhere() -> None:
    for page in [ROOT / "docs" / page for page in PAGES] + [ROOT / "README.md", ROOT / "SECURITY.md"]:
        text = re.sub("`[^`]*`", "", FENCE.sub("", page.read_text(encoding="utf-8")))
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
            if not re.match(r"[a-z]+:", target):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert [page for page in PAGES if page not in navigation] == []


def test_the_reference_lists_every_option_of_every_command() -> None:
    from longvid.pipelines.cli.documented import command

    markdown = runpy.run_path(str(ROOT / "scripts" / "commands.py"))["markdown"]()
    for name, one in command.commands.items():
        section = markdown.partition(f"## longvid {name}\n")[2].partition("\n## ")[0]
        assert all(f"`{parameter.opts[0]}" in section for parameter in one.params if parameter.opts[0][0] == "-")
        assert "object at" not in section
