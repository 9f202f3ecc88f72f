"""The README and the tables of the documentation say what is so: commands print them, their code runs."""

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from longvid.pipelines.demo.videos import Script, encode

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_fits_a_reader_s_patience() -> None:
    assert len(README.splitlines()) <= 200


def test_every_source_file_says_what_it_is() -> None:
    lines = runpy.run_path(str(ROOT / "scripts" / "tree.py"))["tree"]().splitlines()
    silent = [line for line in lines if len(line.split()) < 2]
    assert not silent


@pytest.mark.parametrize("what", ["encoders", "decoders"])
def test_the_tables_have_every_name_and_no_other(what: str) -> None:
    from longvid.decoders import DECODERS
    from longvid.encoders import ENCODERS

    page = (ROOT / "docs" / "reference" / f"{what}.md").read_text(encoding="utf-8")
    table = page.partition(f"| {what.removesuffix('s')} |")[2].partition("\n\n")[0]
    registered = list(DECODERS if what == "decoders" else ENCODERS)
    missing = [name for name in registered if f"\n| {name} |" not in page]
    gone = set(re.findall(r"^\| (\w[\w.+-]*) \|", table, flags=re.MULTILINE)) - set(registered)
    assert (missing, gone) == ([], set()), f"put what `longvid {what} --markdown` prints into docs/reference/{what}.md"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["encoders", "decoders"])
def test_the_tables_are_what_the_commands_print(what: str) -> None:
    # in a process of its own: the checks of shapes that tests run with hold tensors, and so change the peaks
    command = [sys.executable, "-m", "longvid.pipelines.cli", what, "--markdown"]
    printed = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True).stdout
    page = (ROOT / "docs" / "reference" / f"{what}.md").read_text(encoding="utf-8")
    assert printed.strip() in page, f"run `longvid {what} --markdown` and put what it prints into that page"


def test_the_encoder_it_shows_works() -> None:
    import torch

    blocks = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    names: dict = {}
    exec(next(block for block in blocks if "def build" in block), names)  # the README's own code
    from longvid.encoders import ENCODERS, build_encoder

    try:
        output = build_encoder("colour")(torch.zeros(2, 3, 1, 64, 64))
    finally:
        ENCODERS.pop("colour", None)
    assert tuple(output.tokens.shape) == (2, 1, 1, 3)


def test_every_command_it_shows_exists() -> None:
    from longvid.pipelines.cli.main import app

    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    # in code, where a command stands at the start of a line, after && or in backquotes
    shown = set(re.findall(r"(?:^    |&& |`)longvid ([a-z]+(?:-[a-z]+)*)\b", README, flags=re.MULTILINE))
    assert len(shown) > 10
    assert shown <= known, shown - known


def test_the_python_it_shows_runs_on_two_imports(tmp_path: Path) -> None:
    block = next(b for b in re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL) if "train(" in b)
    imports = [line for line in block.splitlines() if line.startswith(("from ", "import "))]
    assert len(imports) == 2
    smaller = {  # what a test has no time or no network for
        '"facebook/dinov2-base", pooling="class"': '"patch-statistics", pooling="mean"',
        "seeds=[0, 1, 2]": "epochs=1, tensorboard=False",
        'scheduler="local"': 'scheduler="inline"',
    }
    for written, instead in smaller.items():
        assert written in block
        block = block.replace(written, instead)
    for index, name in enumerate(("a", "b", "c", "holiday", "new")):
        (tmp_path / "videos").mkdir(exist_ok=True)
        encode(Script(name, index % 2, 90.0, 5.0, 20.0, seed=index), tmp_path / ("" if name == "new" else "videos"))
    rows = ["a,train,x", "b,train,y", "c,val,x", "holiday,test,y"]
    (tmp_path / "videos.csv").write_text("\n".join(["key,split,label", *rows]), encoding="utf-8")
    (tmp_path / "script.py").write_text(block, encoding="utf-8")
    done = subprocess.run([sys.executable, "script.py"], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] in ("x", "y")
    assert (tmp_path / "report.html").is_file()
