"""Cards of stores and runs, written from what the store or the run says.

Texts of a store or run are shown as code, with line ends and backquotes taken out: they may come from anybody.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from longvid.errors import ConfigError
from longvid.metrics.intervals import Interval
from longvid.metrics.items import METRICS
from longvid.paths import inside
from longvid.pipelines.evaluation.evaluate import read_evaluation
from longvid.pipelines.pretraining.results import Compared, PretrainResult
from longvid.pipelines.training.run_folder import RunFolder, RunRecord
from longvid.pipelines.training.shown import metric_label, metric_text
from longvid.pretrained import RECORD_FILE, RESULT_FILE, read_pretrained
from longvid.stores import FeatureStore
from longvid.trained import read_made

NO_LICENCE = "FILL IN: the licence of these files"
HOURS = 3600.0
MOST_SHOWN = 4
"""Most different values of one thing that a card lists."""


def store_card(store: FeatureStore, *, license: str | None = None, place: str = "") -> str:
    """The card of a store: its recipe, sizes and sources, and how to read and verify it."""
    facts, recipe = store.info(), store.recipe
    rows: dict[str, object] = {
        "encoder": recipe.encoder,
        "weights, sha256": recipe.weights_sha256 or "not known",
        "licence that the encoder's files name": recipe.encoder_config.get("license", "not stated"),
        "per clip": f"{recipe.num_tokens} x {recipe.dim}, {recipe.dtype}, pooling {recipe.pooling}",
        "videos": facts.complete_videos,
        "clips": facts.num_clips,
        "clips that are not there (damaged files)": facts.damaged_clips,
        "hours of video": f"{facts.seconds / HOURS:.2f}",
        "bytes of tokens": facts.token_bytes,
        "format": f"longvid {recipe.format} (zarr 3)",
        "recipe, sha256": recipe.digest,
    }
    where = place or "PLACE"
    parts = [
        _head({"license": license or NO_LICENCE, "tags": ["longvid", "video", "features", "zarr"]}),
        f"# Features by {_code(recipe.encoder)}",
        "Features of video clips, made once by a frozen encoder, with the measured seconds of each clip. The store is "
        "plain zarr 3; longvid reads it in place.",
        _table(rows),
        "## Recipe",
        "Two stores with the same digest hold interchangeable features.",
        _table(dict(_flat(recipe.to_dict()))),
        "## Sources",
        _table(_sources(store)),
        "Each video's document has its source's size and the sha256 of its content, so that `longvid verify --against` "
        "finds a file that was replaced.",
        "## Read",
        f'```python\nfrom longvid.stores import FeatureStore\n\nstore = FeatureStore.open("{where}")\n'
        "tokens, seconds = store.video(store.keys()[0]).read_seconds(0, 60)\n```",
        "## Verify",
        f"```sh\nlongvid info {where}\nlongvid verify {where}\n```",
        f"`verify` reads every shard and compares it with the digests in the store. The digest of the recipe is "
        f"{_code(recipe.digest)}.",
    ]
    return "\n\n".join(parts) + "\n"


def _sources(store: FeatureStore) -> dict[str, object]:
    """What the videos were read from, and by what, counted over all videos."""
    sizes: list[int] = []
    counted: dict[str, Counter[str]] = {name: Counter() for name in ("pictures", "decoder", "made with")}
    for video in store.videos():
        source = video.source
        about = source.get("about") or {}
        sizes += [size] if isinstance(size := source.get("size_bytes"), int) else []
        if "width" in about and "height" in about:
            counted["pictures"][f"{about['width']} x {about['height']}"] += 1
        if "backend" in about:
            counted["decoder"][str(about["backend"])] += 1
        for name, version in (about.get("made_with") or {}).items():
            counted["made with"][f"{name} {version}"] += 1
    rows: dict[str, object] = {"files with a known size": len(sizes), "bytes of these files": sum(sizes)}
    return rows | {name: _most_common(found) for name, found in counted.items() if found}


def _most_common(found: "Counter[str]") -> str:
    """The most frequent values, and how many others there are."""
    shown = ", ".join(f"{value} ({count})" for value, count in found.most_common(MOST_SHOWN))
    return shown if len(found) <= MOST_SHOWN else f"{shown}, and {len(found) - MOST_SHOWN} others"


def run_card(run: str | Path, *, license: str | None = None, place: str = "") -> str:
    """The card of a trained run: what was trained on what, its metrics with their deviation, and how to use it."""
    folder = RunFolder(Path(run))
    record, seeds = folder.record(), folder.trained_seeds()
    if not seeds:
        raise ConfigError(f"{folder.path}: no seed is trained to the end; run the same `longvid train` again")
    rows: dict[str, object] = {
        "decoder": record.decoder.name,
        "task": f"{record.task.get('name')} ({record.task.get('kind')})",
        "classes": len(record.task.get("classes") or ()),
        "seeds": ", ".join(map(str, seeds)),
        **{f"{split} videos": record.coverage(split) for split in record.listed},
        "features": record.store_recipe.get("encoder"),
        "encoder's weights, sha256": record.store_recipe.get("weights_sha256") or "not known",
        **{f"version of {name}": version for name, version in record.versions.items()},
    }
    where = place or "PLACE"
    parts = [
        _head(
            {"license": license or NO_LICENCE, "library_name": "longvid", "tags": ["longvid", "video-classification"]}
        ),
        f"# {_code(record.decoder.name)} on {_code(record.task.get('name'))}",
        "A long-range decoder over stored features of video clips, trained by "
        "longvid. Its files are safetensors and configuration, no code.",
        _table(rows),
        "## Metrics",
        _metrics(folder, record),
        "## Use",
        f"```sh\nlongvid predict {where} video.mp4\n```",
        "The encoder of the features is built again, and its weights must have the sha256 above; each seed's weights "
        "must have the sha256 in its `result.json`.",
    ]
    return "\n\n".join(parts) + "\n"


def _metrics(folder: RunFolder, record: RunRecord) -> str:
    """The table of every evaluated split: mean and deviation over seeds, beside the answer that ignores the video."""
    lines = [
        "| split | videos | metric | mean ± deviation over seeds | 95 % interval | answer without video |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for split in record.listed:
        if not folder.evaluation_file(split).is_file():
            continue
        found = read_evaluation(folder, split)
        lines += [
            f"| {_code(split)} | {_code(found.coverage)} | {metric_label(name)} | {metric_text(name, value)} "
            f"| {_range(found.intervals.get(name), name)} "
            f"| {metric_text(name, found.baseline.get(name))} |"
            for name, value in found.metrics.items()
        ]
    if len(lines) == 2:
        return "Not evaluated."
    return "\n".join(
        [*lines, "", "Intervals are a bootstrap over videos and seeds, as `longvid evaluate` prints them."]
    )


def pretraining_card(run: str | Path, *, license: str | None = None, place: str = "") -> str:
    """The card of a pretraining: what it learned from, its loss beside that of guesses, and how to start from it."""
    record = read_pretrained(run)
    result = read_made(
        inside(Path(run), RESULT_FILE), PretrainResult.from_dict, remedy="pretrain again with `longvid pretrain`"
    )
    rows: dict[str, object] = {
        "decoder": record.decoder.name,
        "objective": record.objective.get("name"),
        "parameters": result.parameters,
        "videos": result.videos,
        "hours of video": f"{result.hours:.2f}",
        "epochs": result.epochs,
        "features": record.store_recipe.get("encoder"),
        "encoder's weights, sha256": record.store_recipe.get("weights_sha256") or "not known",
        "weights, sha256": result.weights_sha256,
        **{f"version of {name}": version for name, version in record.versions.items()},
    }
    losses = {"training": result.train} | ({"held-out videos": result.val} if result.val else {})
    scores = {f"loss, {name}": f"{found.loss:.4g}; guesses: {_guesses(found)}" for name, found in losses.items()}
    where = place or "PLACE"
    parts = [
        _head(
            {"license": license or NO_LICENCE, "library_name": "longvid", "tags": ["longvid", "video", "pretraining"]}
        ),
        f"# {_code(record.decoder.name)}, pretrained without labels",
        "A long-range decoder, pretrained by longvid on stored features of video clips. Its files are safetensors and "
        "configuration, no code.",
        _table(rows),
        "## Metrics",
        _table(scores),
        "## Use",
        f"```sh\nlongvid train store=x.zarr manifest=videos.csv decoder.init={where}\n```",
        "The store must hold features of the encoder above; the weights must have the sha256 above.",
    ]
    return "\n\n".join(parts) + "\n"


def card_of_run(run: str | Path, *, license: str | None = None, place: str = "") -> str:
    """The card of a training or of a pretraining."""
    write = pretraining_card if inside(Path(run), RECORD_FILE).is_file() else run_card
    return write(run, license=license, place=place)


def _guesses(found: Compared) -> str:
    return ", ".join(f"{name} {loss:.4g}" for name, loss in found.constants.items())


def _range(interval: Interval | None, name: str) -> str:
    return "-" if interval is None or name not in METRICS else METRICS[name].format_range(interval.low, interval.high)


def _head(fields: dict[str, Any]) -> str:
    return f"---\n{yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)}---"


def _table(rows: Mapping[str, object]) -> str:
    lines = ["| | |", "| --- | --- |"]
    lines += [
        f"| {_bare(name)} | {f'{value:,}' if isinstance(value, int) else _code(value)} |"
        for name, value in rows.items()
    ]
    return "\n".join(lines)


def _flat(fields: Mapping[str, Any]) -> Iterable[tuple[str, object]]:
    for name, value in fields.items():
        if isinstance(value, dict):
            yield from ((f"{name}, {inner}", str(worth)) for inner, worth in value.items())
        else:
            yield name, str(value)


def _code(value: object) -> str:
    """A text as code, which Markdown and HTML do not read."""
    return f"`{_bare(value)}`"


def _bare(value: object) -> str:
    text = " ".join(str(value).split()).replace("`", "'").replace("|", "/")
    return "".join(sign if sign.isprintable() else "?" for sign in text)[:300] or "-"
