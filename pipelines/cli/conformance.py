"""Output of `longvid doctor --decoders`: known frames, every decoder."""

from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from rich.text import Text

from longvid.pipelines.cli.console import console, error_console, print_json, table

if TYPE_CHECKING:
    from longvid.video.backends import BackendStatus
    from longvid.video.conformance import Verdict

COLOURS = {"right": "green", "refused": "yellow", "silently wrong": "red", "crashed": "red"}
TRUTH_FILE = "truth.json"


def print_conformance(files: Path | None, *, as_json: bool) -> int:
    """Read every case through every decoder that runs here and print the outcomes; 1 if one is silently wrong."""
    from longvid.video.backends import check_all
    from longvid.video.conformance import conformance

    statuses = check_all()
    names = [status.name for status in statuses if status.works]
    with TemporaryDirectory(prefix="longvid-decoders-") as own, error_console.status("making files") as shown:
        folder = own if files is None else str(files)
        Path(folder).mkdir(parents=True, exist_ok=True)
        watch = lambda case: shown.update(Text(f"reading: {case}"))  # noqa: E731
        verdicts = list(conformance(Path(folder), names, watch=watch))
    if files is not None:
        _write_truth(files)
    if as_json:
        print_json({"decoders": [asdict(one) for one in statuses], "verdicts": [asdict(one) for one in verdicts]})
    else:
        _print(statuses, names, verdicts)
        if files is not None:
            console.print(f"the files and what is in them: {files / TRUTH_FILE}")
    return 1 if any(one.outcome == "silently wrong" for one in verdicts) else 0


def _print(statuses: "list[BackendStatus]", names: list[str], verdicts: "list[Verdict]") -> None:
    rows = table("case", *names)
    for case in dict.fromkeys(one.case for one in verdicts):
        outcomes = {one.backend: one.outcome for one in verdicts if one.case == case}
        rows.add_row(case, *(Text(outcomes[name], COLOURS[outcomes[name]]) for name in names))
    console.print(rows)
    for status in statuses:
        said = f"{status.name} {status.version or ''}: " + (
            _counts(status.name, verdicts) if status.works else f"does not run here ({status.reason}); {status.remedy}"
        )
        console.print(said, style="dim")
    for one in verdicts:
        if one.outcome != "right":
            console.print(f"{one.backend}: {one.case}: {one.outcome}: {one.detail}", style=COLOURS[one.outcome])


def _counts(name: str, verdicts: "list[Verdict]") -> str:
    own = [str(one.outcome) for one in verdicts if one.backend == name]
    return ", ".join(f"{own.count(outcome)} {outcome}" for outcome in COLOURS if own.count(outcome))


def _write_truth(folder: Path) -> None:
    """What every request of the suite asks for, and the numbers of the frames that are right."""
    from longvid.files import write_json
    from longvid.plain import as_json as plain
    from longvid.video.conformance import cases

    write_json(folder / TRUTH_FILE, plain(list(cases(folder))))
