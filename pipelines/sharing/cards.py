"""Cards of stores and runs, written from what the store or the run says.

Texts of a store or run are shown as code, with line ends and backquotes taken out: they may come from anybody.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from longvid.errors import ConfigError
from longvid.pipelines.evaluation.evaluate import read_evaluation
from longvid.pipelines.training.run_folder import RunFolder, RunRecord
from longvid.pipelines.training.shown import metric_label, metric_text
from longvid.stores import FeatureStore

NO_LICENCE = "FILL IN: the licence of these files"
HOURS = 3600.0


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
        "## Read",
        f'```python\nfrom longvid.stores import FeatureStore\n\nstore = FeatureStore.open("{where}")\n'
        "tokens, seconds = store.video(store.keys()[0]).read_seconds(0, 60)\n```",
        "## Verify",
        f"```sh\nlongvid info {where}\nlongvid verify {where}\n```",
        f"`verify` reads every shard and compares it with the digests in the store. The digest of the recipe is "
        f"{_code(recipe.digest)}.",
    ]
    return "\n\n".join(parts) + "\n"


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
        "| split | videos | metric | mean ± deviation over seeds | answer without video |",
        "| --- | --- | --- | --- | --- |",
    ]
    for split in record.listed:
        if not folder.evaluation_file(split).is_file():
            continue
        found = read_evaluation(folder, split)
        lines += [
            f"| {_code(split)} | {_code(found.coverage)} | {metric_label(name)} | {metric_text(name, value)} "
            f"| {metric_text(name, found.baseline.get(name))} |"
            for name, value in found.metrics.items()
        ]
    return "\n".join(lines) if len(lines) > 2 else "Not evaluated."


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
