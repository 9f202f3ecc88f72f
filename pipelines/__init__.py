"""Extraction, training, evaluation and reports, as functions.

    extract(expand_inputs(["videos/"]), ExtractionJob("facebook/dinov2-base"), "x.zarr")
    pretrain(PretrainConfig(stores=["x.zarr"], out="runs/pre"))
    config = TrainConfig(store="x.zarr", manifest="videos.csv", out="runs/mine")
    baseline(config)
    train(config)
    evaluate("runs/mine")
    report(["runs/mine"], "report.html")
    predict("runs/mine", "new.mp4")
    explain("runs/mine", "new.mp4")
    search("x.zarr", like="holiday@12:30-12:40")
    verify_against("x.zarr", ["videos/"])

Importing this package loads nothing heavy: each public name is imported when it is first used.
"""

from typing import TYPE_CHECKING

import lazy_loader

if TYPE_CHECKING:
    from longvid.pipelines.evaluation.baseline import baseline
    from longvid.pipelines.evaluation.evaluate import evaluate
    from longvid.pipelines.evaluation.explain import explain
    from longvid.pipelines.evaluation.folds import train_folds
    from longvid.pipelines.evaluation.predict import predict
    from longvid.pipelines.extraction.inputs import expand_inputs
    from longvid.pipelines.extraction.job import ExtractionJob
    from longvid.pipelines.extraction.run import extract
    from longvid.pipelines.pretraining.config import PretrainConfig
    from longvid.pipelines.pretraining.run import pretrain
    from longvid.pipelines.reporting.page import report
    from longvid.pipelines.search.run import search
    from longvid.pipelines.training.config import TrainConfig
    from longvid.pipelines.training.train import train
    from longvid.pipelines.verification.against import verify_against

__all__ = [
    "ExtractionJob",
    "PretrainConfig",
    "TrainConfig",
    "baseline",
    "evaluate",
    "expand_inputs",
    "explain",
    "extract",
    "predict",
    "pretrain",
    "report",
    "search",
    "train",
    "train_folds",
    "verify_against",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "evaluation.baseline": ["baseline"],
        "evaluation.evaluate": ["evaluate"],
        "evaluation.explain": ["explain"],
        "evaluation.folds": ["train_folds"],
        "evaluation.predict": ["predict"],
        "extraction.inputs": ["expand_inputs"],
        "extraction.job": ["ExtractionJob"],
        "extraction.run": ["extract"],
        "pretraining.config": ["PretrainConfig"],
        "pretraining.run": ["pretrain"],
        "reporting.page": ["report"],
        "search.run": ["search"],
        "training.config": ["TrainConfig"],
        "training.train": ["train"],
        "verification.against": ["verify_against"],
    },
)
