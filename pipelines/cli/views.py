"""`longvid test-views`: several clips and crops of each video."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from longvid.pipelines.cli.console import console, error_console, human_seconds, print_json, table
from longvid.printable import printable

if TYPE_CHECKING:
    from longvid.pipelines.views.run import ViewsResult

WORST_CLASSES = 10
"""Classes that the table shows without --per-class."""


def add_to(app: typer.Typer) -> None:
    """Put this file's command on the command line."""
    app.command("test-views", rich_help_panel="Encoders that learn")(views_command)


def views_command(
    model: Annotated[
        str, typer.Argument(metavar="RUN|WEIGHTS", help="A run of `longvid finetune`, or a weights file.")
    ],
    manifest: Annotated[
        Path | None,
        typer.Option(help="Videos, splits and labels, as `longvid prepare` writes them; default: those of the run."),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="The split that is scored; default: test, or val where there is no test.")
    ] = None,
    encoder: Annotated[str | None, typer.Option(help="The encoder that a weights file is for.")] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Published views by name, such as dualformer-kinetics, xvit-ssv2-16f.")
    ] = None,
    clips: Annotated[int | None, typer.Option(help="Clips along each video.")] = None,
    crops: Annotated[int | None, typer.Option(help="Crops of each clip: 1, or 3 along the longer side.")] = None,
    join: Annotated[str | None, typer.Option(help="sum-logits, mean-logits or mean-softmax.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the result and each video's best classes to this JSON.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16 (autocast).")] = "float32",
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode.")] = 2,
    views_at_once: Annotated[int, typer.Option(min=1, help="Views that go through the encoder together.")] = 4,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show every class, not only the ten worst.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> int:
    """Test a fine-tuned encoder over clips and crops of each video, beside the number that was published.

    Without --protocol or options it is one clip and the centre crop, in seconds, as the encoder was trained.
    """
    import torch

    from longvid.files import write_json
    from longvid.pipelines.training.run_folder import torch_device
    from longvid.pipelines.views.model import open_scorer, run_manifest
    from longvid.pipelines.views.run import chosen_views
    from longvid.pipelines.views.run import evaluate_views as run
    from longvid.plain import as_json as plain
    from longvid.recognition.views import Views
    from longvid.tasks import Manifest

    if dtype not in ("float32", "bfloat16", "float16"):
        raise typer.BadParameter(f"--dtype {dtype} is not one of float32, bfloat16, float16")
    scorer = open_scorer(model, encoder)
    own = Views.of(scorer.model.encoder.spec.sampling)
    views, named = chosen_views(protocol, own, clips=clips, crops=crops, join=join)
    with error_console.status("scoring videos") as status:
        listed = run_manifest(model) if manifest is None else Manifest.read(manifest)
        result = run(
            scorer,
            listed,
            split=split or ("test" if listed.split("test") or not listed.split("val") else "val"),
            views=views,
            protocol=named,
            device=torch_device(device),
            workers=workers,
            views_at_once=views_at_once,
            dtype=None if dtype == "float32" else getattr(torch, dtype),
            on_video=lambda done, total: status.update(f"scored {done} of {total} videos"),
        )
    if out is not None:
        write_json(out, plain(result))
    if as_json:
        print_json(result)
    else:
        show(result, per_class=per_class)
    return result.exit_status


def show(result: "ViewsResult", *, per_class: bool = False) -> None:
    """Print a result: the score beside published ones, the classes, the videos that could not be read."""
    views, top1 = result.views, result.top1
    rows = table(
        "", "views", "joined by", "top-1 %", "95 %", "top-5 %", "GFLOPs", "videos", right=("top-1 %", "GFLOPs")
    )
    rows.add_row(
        "this test",
        views.written,
        views.join,
        f"{100 * top1.share:.2f}",
        f"{100 * top1.low:.1f} to {100 * top1.high:.1f}",
        "" if result.top5 is None else f"{100 * result.top5.share:.2f}",
        f"{result.gflops:.4g}",
        f"{top1.total:,}",
    )
    for one in result.published:
        from longvid.recognition.protocols import TEST_PROTOCOLS

        theirs = TEST_PROTOCOLS[one.protocol]
        rows.add_row(
            f"published, {one.data}",
            theirs.written,
            theirs.join,
            f"{one.top1:g}",
            "",
            "" if one.top5 is None else f"{one.top5:g}",
            "" if one.gflops is None else f"{one.gflops:g}",
            "" if one.videos is None else f"{one.videos:,}",
        )
    console.print(rows)
    for source in dict.fromkeys(one.source for one in result.published):
        console.print(printable(f"source: {source}"))
    console.print(
        f"{result.encoder}, {result.parameters:,} parameters; {views.rule}, {views.frames} frames; "
        f"{result.gflops_per_view:.4g} GFLOPs (multiply-adds) per view; mean over classes "
        f"{100 * result.mean_class:.2f} %; {human_seconds(result.seconds)}"
    )
    worst = sorted(result.classes.items(), key=lambda named: (named[1].share, named[0]))
    shown = result.classes.items() if per_class else worst[:WORST_CLASSES]
    each = table("class" if per_class else "worst classes", "top-1 %", "95 %", "videos", right=("top-1 %", "videos"))
    for name, found in shown:
        each.add_row(
            name, f"{100 * found.share:.1f}", f"{100 * found.low:.1f} to {100 * found.high:.1f}", str(found.total)
        )
    console.print(each)
    for note in result.notes:
        console.print(printable(f"note: {note}"), style="yellow")
    for key, reason in result.lost:
        error_console.print(printable(f"not scored: {key}: {reason}"), style="bold red")
