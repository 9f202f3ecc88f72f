"""`longvid cluster-keys`: TLS keys for a dask cluster of several machines."""

from pathlib import Path
from typing import Annotated

import typer

from longvid.pipelines.cli.console import console


def cluster_keys(
    folder: Annotated[Path, typer.Argument(help="A new folder, on a shared disk or to be copied to each machine.")],
) -> int:
    """Make TLS keys for a dask cluster, and print the commands that start one with them."""
    from longvid.pipelines.extraction.keys import DAYS, make_keys
    from longvid.pipelines.extraction.quiet import QuietWorker

    made = make_keys(folder)
    tls = f"--tls-ca-file {made.certificate} --tls-cert {made.certificate} --tls-key {made.key}"
    # without a dashboard dask's scheduler still serves a page, to everybody unless an address is given
    page = "--dashboard-address 127.0.0.1:8787"
    quiet = f"--worker-class {QuietWorker.__module__}.{QuietWorker.__qualname__}"
    for line in (
        f"keys for {DAYS} days in {folder.absolute()}; whoever can read key.pem can run programs on the cluster",
        "HOST and NODE are the addresses of the scheduler's machine and of each worker's:",
        f"on HOST:        dask scheduler --host tls://HOST --no-dashboard {page} {tls}",
        f"on every NODE:  dask worker tls://HOST:8786 --host NODE --protocol tls --no-dashboard {quiet} {tls}",
        f"where you are:  longvid extract ... --scheduler tls://HOST:8786 --keys {folder.absolute()}",
    ):
        console.print(line, soft_wrap=True)
    return 0
