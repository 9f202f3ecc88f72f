"""Extraction, training, evaluation and reports, as functions.

    extract(expand_inputs(["videos/"]), ExtractionJob("facebook/dinov2-base"), "x.zarr")
    pretrain(PretrainConfig(stores=["x.zarr"], out="runs/pre"))
    config = TrainConfig(store="x.zarr", manifest="videos.csv", out="runs/mine")
    baseline(config)
    train(config)
    sweep(config, {"optimiser.learning_rate": "1e-5..1e-2"})
    evaluate("runs/mine")
    finetune(load_finetuning("motion"))
    distil(load_distillation("video-mobile-former-500m", ["store=x.zarr", "videos=videos/"]))
    compare(["runs/mine", "runs/other"])
    audit(config)
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
    from longvid.pipelines.auditing.audit import audit
    from longvid.pipelines.evaluation.baseline import baseline
    from longvid.pipelines.evaluation.compare import compare
    from longvid.pipelines.evaluation.evaluate import evaluate
    from longvid.pipelines.evaluation.explain import explain
    from longvid.pipelines.evaluation.folds import train_folds
    from longvid.pipelines.evaluation.predict import predict
    from longvid.pipelines.extraction.inputs import expand_inputs
    from longvid.pipelines.extraction.job import ExtractionJob
    from longvid.pipelines.extraction.run import extract
    from longvid.pipelines.learning.config import load_distillation, load_finetuning
    from longvid.pipelines.learning.distil import distil
    from longvid.pipelines.learning.finetune import finetune
    from longvid.pipelines.pretraining.config import PretrainConfig
    from longvid.pipelines.pretraining.run import pretrain
    from longvid.pipelines.reporting.page import report
    from longvid.pipelines.searching.run import search
    from longvid.pipelines.sweeping.run import sweep
    from longvid.pipelines.training.config import TrainConfig
    from longvid.pipelines.training.train import train
    from longvid.pipelines.verification.against import verify_against

__all__ = [
    "ExtractionJob",
    "PretrainConfig",
    "TrainConfig",
    "audit",
    "baseline",
    "compare",
    "distil",
    "evaluate",
    "expand_inputs",
    "explain",
    "extract",
    "finetune",
    "load_distillation",
    "load_finetuning",
    "predict",
    "pretrain",
    "report",
    "search",
    "sweep",
    "train",
    "train_folds",
    "verify_against",
]

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "auditing.audit": ["audit"],
        "evaluation.baseline": ["baseline"],
        "evaluation.compare": ["compare"],
        "evaluation.evaluate": ["evaluate"],
        "evaluation.explain": ["explain"],
        "evaluation.folds": ["train_folds"],
        "evaluation.predict": ["predict"],
        "extraction.inputs": ["expand_inputs"],
        "extraction.job": ["ExtractionJob"],
        "extraction.run": ["extract"],
        "learning.config": ["load_distillation", "load_finetuning"],
        "learning.distil": ["distil"],
        "learning.finetune": ["finetune"],
        "pretraining.config": ["PretrainConfig"],
        "pretraining.run": ["pretrain"],
        "reporting.page": ["report"],
        "searching.run": ["search"],
        "sweeping.run": ["sweep"],
        "training.config": ["TrainConfig"],
        "training.train": ["train"],
        "verification.against": ["verify_against"],
    },
)
