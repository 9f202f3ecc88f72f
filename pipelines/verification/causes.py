"""Likely causes of features that differ from those in a store.

What is known comes first: another file, another encoder, another decoder, other versions. Where all of that is equal,
the pattern of the differences says what remains.
"""

from collections.abc import Mapping
from typing import Any

from longvid.pipelines.extraction.plan import VideoPlan

OF_THE_DECODER = ("av", "ffmpeg", "torchcodec", "decord")
NOT_THE_MACHINE = ("longvid", "batch_clips")
"""Entries of `made_with` that say nothing about arithmetic; a change of longvid is still shown."""


def recorded_with(source: Mapping[str, Any]) -> dict[str, str]:
    """The `made_with` of a stored video; empty for a store of an earlier version."""
    about = source.get("about")
    said = about.get("made_with") if isinstance(about, dict) else None
    if not isinstance(said, dict):
        return {}
    return {str(name): str(value) for name, value in said.items()}


def changed_versions(before: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """`then, now here` of each entry that differs, by name; entries that only one side has count."""
    names = sorted(before.keys() | now.keys())
    return {
        name: f"{before.get(name, 'not used')} then, {now.get(name, 'not used')} here"
        for name in names
        if before.get(name) != now.get(name)
    }


def same_kind(before: Mapping[str, str], now: Mapping[str, str]) -> bool:
    """Whether equal bytes can be expected: recorded, on a processor of the same model, with the same versions."""
    changed = changed_versions(before, now).keys() - set(NOT_THE_MACHINE)
    return bool(before) and now.get("device") == "cpu" and not changed


def other_file(source: Mapping[str, Any], plan: VideoPlan) -> str:
    """How the file is not the one that the store records; empty if it is."""
    recorded_bytes, recorded = source.get("size_bytes"), source.get("fingerprint")
    if recorded_bytes is not None and recorded_bytes != plan.video.size_bytes:
        return f"another file: the store records {recorded_bytes} bytes, this one has {plan.video.size_bytes}"
    if recorded is not None and recorded != plan.video.fingerprint:
        return "another file of the same size: its fingerprint is not the recorded one"
    known = source.get("checks")
    both = known.keys() & plan.checks.keys() if isinstance(known, dict) else set()
    if isinstance(known, dict) and any(known[name] != plan.checks[name] for name in both):
        return "another file: the checksum of its content is not the recorded one"
    return ""


def other_decoder(source: Mapping[str, Any], plan: VideoPlan, changed: Mapping[str, str]) -> str:
    """How the frames were decoded differently; empty where nothing is known to differ."""
    about = source.get("about")
    was = about.get("backend") if isinstance(about, dict) else None
    if was is not None and was != plan.backend:
        return f"another decoder: {was} then, {plan.backend} here"
    versions = [f"{name} {what}" for name, what in changed.items() if name in OF_THE_DECODER]
    return f"another version of the decoder: {'; '.join(versions)}" if versions else ""


def other_machine(changed: Mapping[str, str]) -> str:
    """How versions or the machine differ apart from the decoder; empty where they do not."""
    others = [f"{name} {what}" for name, what in changed.items() if name not in OF_THE_DECODER]
    return f"other versions or another machine: {'; '.join(others)}" if others else ""
