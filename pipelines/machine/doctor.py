"""Checks of this machine: video decoders and optional packages.

Each decoder is tried on a real clip, each package is imported.
"""

import importlib.metadata
import platform
import shutil
import sys
from dataclasses import dataclass, replace
from importlib import import_module

from longvid.errors import short_reason
from longvid.pipelines.machine.cores import available_cores


@dataclass(frozen=True)
class Check:
    """One row of `longvid doctor`."""

    name: str
    version: str
    works: bool
    needed: bool
    """Whether longvid cannot do without it."""
    advice: str = ""


STAGES = {
    "torch": ("both stages", "pip install 'longvid[extract,train]'"),
    "av": ("reading videos", "pip install 'longvid[extract]'"),
    "transformers": ("Hugging Face encoders", "pip install 'longvid[extract]'"),
    "distributed": ("extraction in several processes", "pip install 'longvid[extract]'"),
    "lightning": ("training decoders", "pip install 'longvid[train]'"),
}
"""Packages of the two stages; reading stores needs none of them."""
OPTIONAL = {
    "torchvision": ("torchvision encoders", "pip install 'longvid[timm]'"),
    "triton": ("the fastest S4 kernels on a GPU", "pip install triton (part of torch's CUDA builds)"),
    "timm": ("timm encoders", "pip install 'longvid[timm]'"),
    "dask_jobqueue": ("SLURM", "pip install 'longvid[slurm]'"),
    "s3fs": ("stores on S3", "pip install 'longvid[s3]'"),
    "zarrs": ("faster reads of sharded stores", "pip install 'longvid[zarrs]'"),
    "numkong": ("faster searches of float16 stores", "pip install 'longvid[numkong]'"),
}
NEEDED = ("numpy", "zarr")


def examine() -> list[Check]:
    """Every check, the needed ones first."""
    checks = [Check("python", platform.python_version(), sys.version_info >= (3, 11), True, sys.executable)]
    checks += [_package(name, needed=True, what="", remedy="pip install longvid") for name in NEEDED]
    stages = [_package(name, needed=True, what=what, remedy=remedy) for name, (what, remedy) in STAGES.items()]
    # a package that is not installed is not needed here; one that is installed but broken is a fault
    checks += [check if check.works or check.version != "-" else replace(check, needed=False) for check in stages]
    installed = {check.name for check in stages if check.works}
    checks += _decoders() if "av" in installed else []
    checks += [_package(name, needed=False, what=what, remedy=remedy) for name, (what, remedy) in OPTIONAL.items()]
    checks += [*([_gpu()] if "torch" in installed else []), _compiler(), _cores()]
    return checks


def _package(name: str, *, needed: bool, what: str, remedy: str) -> Check:
    """Whether the package imports; a broken binary raises OSError or RuntimeError as often as ImportError."""
    try:
        import_module(name)
    except (ImportError, OSError, RuntimeError) as error:
        missing = isinstance(error, ModuleNotFoundError)
        advice = remedy if missing else short_reason(error)
        return Check(name, "-" if missing else "?", False, needed, f"{what + ': ' if what else ''}{advice}")
    return Check(name, _version(name), True, needed, what)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "?"


def _decoders() -> list[Check]:
    from longvid.video.backends import check_all

    found = check_all()
    one_works = any(status.works for status in found)
    return [
        Check(
            f"{status.name} (decoder)",
            status.version or "-",
            status.works,
            needed=not one_works,
            advice="" if status.works else f"{short_reason(status.reason)}; {status.remedy}",
        )
        for status in found
    ]


def _gpu() -> Check:
    import torch

    if torch.cuda.is_available():
        return Check("CUDA", str(torch.version.cuda), True, False, torch.cuda.get_device_name())
    return Check("CUDA", "-", False, False, "no GPU: encoders run on the CPU")


def _compiler() -> Check:
    path = shutil.which("g++")
    advice = "PyKeOps kernels can be compiled" if path else "no g++: the plain kernels are used, not PyKeOps"
    return Check("g++", path or "-", path is not None, False, advice)


def _cores() -> Check:
    return Check("cores", str(available_cores()), True, False)
