"""Whether the workers of a cluster have the software of the coordinator."""

import logging
from collections import Counter
from typing import Any, cast

from distributed import Client

from longvid.errors import ConfigError
from longvid.pipelines.extraction.interrupts import hold_interrupts

_log = logging.getLogger(__name__)


def compare_versions(client: Client) -> None:
    """Compare the versions of longvid and torch of all workers that there are with those here.

    Raises ConfigError for another longvid, whose messages this one may not understand; another torch, whose features
    may differ in their last digits, is only told. A version that a process does not know counts as the same.
    """
    with hold_interrupts():
        found = cast(dict[str, Any], client.get_versions(packages=["longvid", "torch"]))
    here = found["client"]["packages"]
    there = {address: one["packages"] for address, one in found["workers"].items() if isinstance(one, dict)}
    for package in ("longvid", "torch"):
        others = {
            address: str(packages[package])
            for address, packages in there.items()
            if here.get(package) and packages.get(package) and packages[package] != here[package]
        }
        if not others:
            continue
        counts = ", ".join(f"{count} have {version}" for version, count in sorted(Counter(others.values()).items()))
        told = f"{package} is {here[package]} here, but of {len(there)} workers {counts} (such as {min(others)})"
        if package == "longvid":
            raise ConfigError(f"{told}; install the same version there, start the workers again, and run this again")
        _log.warning("%s: features may differ in their last digits; `longvid verify --against` compares them", told)
