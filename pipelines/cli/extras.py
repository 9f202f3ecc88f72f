"""Names the extra to install where a command's packages are missing."""

from longvid.errors import BackendUnavailable

EXTRAS = {
    "extract": "extract",
    "encoders": "extract",
    "prepare": "extract",
    "train": "train",
    "pretrain": "train",
    "sweep": "sweep",
    "finetune": "extract,train",
    "distil": "extract,train",
    "test-views": "extract,train",
    "surprise": "extract,train",
    "baseline": "train",
    "evaluate": "train",
    "decoders": "train",
    "results": "train",
    "predict": "extract,train",
    "explain": "extract,report,train",
    "search": "extract,report",
    "verify": "extract",
    "doctor": "extract",
    "report": "report,train",
    "export": "hdf5",
    "import": "hdf5",
    "bench": "all",
    "demo": "all",
    "push": "hub,train",
}
"""Command -> the extras of pyproject.toml that it needs; the others need the core alone."""

PACKAGES = frozenset(
    [
        "PIL",
        "av",
        "cloudpickle",
        "cryptography",
        "dask",
        "distributed",
        "einops",
        "fsspec",
        "h5py",
        "huggingface_hub",
        "jinja2",
        "lightning",
        "markupsafe",
        "matplotlib",
        "platformdirs",
        "optuna",
        "plotly",
        "psutil",
        "pyarrow",
        "pykeops",
        "rapidfuzz",
        "safetensors",
        "scipy",
        "sklearn",
        "tensorboard",
        "torch",
        "transformers",
    ]
)
"""Modules of those extras."""


def missing_extra(error: ModuleNotFoundError, command: str) -> BackendUnavailable | None:
    """The error that names the extra to install; None where something else is missing."""
    package = (error.name or "").partition(".")[0]
    if package not in PACKAGES:
        return None
    extra = EXTRAS.get(command, "all")
    return BackendUnavailable(
        f"longvid {command} needs {package}, which is not installed: pip install 'longvid[{extra}]'"
    )
