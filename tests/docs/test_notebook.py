"""The notebook of the documentation runs, and what it shows is what running it gives."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "start.ipynb"
SMALLER = {  # what a test has no time for
    "COUNT = 120": "COUNT = 20",
    "epochs=12": "epochs=1",
    "seeds=[0, 1]": "seeds=[0]",
    'job, "first.zarr")': 'job, "first.zarr", scheduler="inline")',
}


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def cells_of_code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def run(notebook: Any, folder: Path) -> list[Any]:
    """The cells of code with their outputs; an error in one fails the test."""
    client = NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute()
    return cells_of_code(notebook)


def kinds(cell: Any) -> set[str]:
    return {kind for output in cell.outputs for kind in output.get("data", {})}


def test_it_has_twenty_cells_that_were_run_in_order_without_an_error() -> None:
    cells = cells_of_code(read())
    assert len(read().cells) <= 20
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [output for cell in cells for output in cell.outputs if output.output_type in ("error", "stderr")]


def test_what_it_shows_names_no_folder_of_the_machine_that_ran_it() -> None:
    assert not re.findall(r"/(?:home|root|tmp|work|Users)/", NOTEBOOK.read_text(encoding="utf-8"))


def test_the_decoder_that_it_shows_beats_the_linear_model() -> None:
    shown = {}
    for cell in cells_of_code(read()):
        text = "".join(output.get("data", {}).get("text/html", "") for output in cell.outputs)
        if found := re.search(r"accuracy</td><td>([0-9.]+)", text):
            shown[cell.source.splitlines()[-1].partition("(")[0]] = float(found[1])
    assert shown["evaluate"] > shown["baseline"] + 20


@pytest.mark.slow
def test_it_runs_from_a_folder_of_videos_to_a_picture_of_a_prediction(tmp_path: Path) -> None:
    notebook = read()
    for written, instead in SMALLER.items():
        assert any(written in cell.source for cell in notebook.cells), written
        for cell in notebook.cells:
            cell.source = cell.source.replace(written, instead)
    before = [kinds(cell) for cell in cells_of_code(read())]
    after = run(notebook, tmp_path)
    assert [kinds(cell) for cell in after] == before  # tables, bars and pictures where the page has them
    assert (tmp_path / "runs" / "gru" / "evaluation" / "test.json").is_file()


def test_a_bar_of_progress_moves_in_a_notebook_and_is_drawn_in_one_place(tmp_path: Path) -> None:
    source = (
        "from longvid.pipelines.notebook_progress import NotebookExtraction, in_notebook\n"
        "from longvid.pipelines.extraction.report import VideoRow\n"
        "assert in_notebook()\n"
        "bar = NotebookExtraction()\n"
        "bar.planned(clips=4)\nbar.encoded(clips=2)\nbar.encoded(clips=2)\n"
        "bar.ended(VideoRow('a', 'a.mp4', 'failed', '<b>'))\n"
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    (cell,) = run(notebook, tmp_path)
    (drawn,) = cell.outputs
    assert "value='4' max='4'" in drawn.data["text/html"]
    assert drawn.data["text/plain"].endswith("1 videos, 1 failed")


def test_there_is_no_bar_outside_a_notebook() -> None:
    from longvid.pipelines.notebook_progress import in_notebook

    assert not in_notebook()
