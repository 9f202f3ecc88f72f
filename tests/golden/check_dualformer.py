"""DualFormer: whole models with both heads, the token-label loss, the test-time frame sampler."""

from typing import Any

import torch
from rounding import rounding
from torch import Tensor

from longvid.checkpoints import load_official
from longvid.checkpoints.official import official_layout
from longvid.encoders import dualformer
from longvid.encoders.dualformer import DualFormer, config_from_official
from longvid.encoders.dualformer.sizes import misfit

# Bounds from precision and depth (`tests/support/rounding.py`): the authors' arrays are float32 as well, so what is
# apart here is the rounding of two machines. Float64 arrays are equalled far beyond any float32 rounding.
LOGITS_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
FEATURES_TOLERANCE = rounding(torch.float32, terms=64, layers=16)
FLOAT64_TOLERANCE = 1e-9
GRADIENT_TOLERANCE = rounding(torch.float32, terms=64, layers=16)
LOSS_TOLERANCE = rounding(torch.float32, terms=16)

LOGITS = {"logits", "token_logits", "clip_mean_prob"}
INPUTS = {"input", "config", "grad_output"}


def is_model(golden: Any) -> bool:
    return {"input", "config"} <= golden.names and any(name.startswith("state/backbone.") for name in golden.names)


def is_loss(golden: Any) -> bool:
    return bool(golden.names) and {name.split("/")[-1].split("_")[0] for name in golden.names} == {
        "cls",
        "labels",
        "token",
        "teacher",
        "loss",
    }


def is_sampling(golden: Any) -> bool:
    return isinstance(golden.json, list) and all("frame_indices" in case for case in golden.json)


def build(golden: Any) -> DualFormer:
    """The fixture's model; sizes that do not divide need the authors' cropping, the others must not."""
    config = config_from_official(golden.config)
    size = golden.config["input_shape"][2:]
    divides = all(misfit(config, axis, length, exact=True) is None for axis, length in enumerate(size))
    model = load_official("dualformer", golden.state(), config=config, odd_sizes="refuse" if divides else "crop")
    assert isinstance(model, DualFormer)
    assert model.config.num_classes == golden.config["num_classes"]
    assert model.config.token_label == (golden.config["head"] == "I3DHead_TL")
    return model


def run(model: DualFormer, clips: Tensor) -> dict[str, Tensor]:
    """Everything a fixture may hold, under its official name."""
    features = model.features(clips)
    encoded = model(clips)
    assert encoded.clip is not None
    assert torch.equal(encoded.tokens, features.flatten(3).movedim(1, -1))
    seen = {f"stage/{index}": grid for index, grid in enumerate(model.stage_grids(clips))}
    seen |= {
        "features": features,
        "logits": model.classify(clips),
        "clip_mean_prob": dualformer.mean_probabilities(model.classify(clips), len(clips)),
        "clip_mean_feature": dualformer.mean_features(encoded.clip, len(clips)),
    }
    if model.token_classifier is not None:
        seen["token_logits"] = model.token_scores(features)
    return seen


def compare(golden: Any, name: str, actual: Tensor, tolerance: float) -> None:
    """Within an absolute tolerance, as the fixtures' README has it."""
    largest = float(abs(golden.array(name)).max(initial=0))
    golden.compare(name, actual, tolerance=tolerance / max(1.0, largest))


def check_model(golden: Any) -> None:
    model = build(golden)
    held = {name for name in golden.names - INPUTS if not name.startswith(("state/", "grad/"))}
    with torch.no_grad():
        single = run(model, golden.tensor("input", torch.float32))
        double = run(model.double(), golden.tensor("input", torch.float64))
    for name in sorted(held):
        plain = name.removesuffix("_f64")
        assert plain in single, f"{golden.path}: no such output of DualFormer: {name}"
        if plain != name:
            golden.compare(name, double[plain], tolerance=FLOAT64_TOLERANCE)
            continue
        tolerance = LOGITS_TOLERANCE if name in LOGITS else FEATURES_TOLERANCE
        compare(golden, name, single[name], tolerance)
        # the authors' own float32 run is no closer than this to float64
        compare(golden, name, double[name], tolerance)
    check_gradients(golden, model)


def check_gradients(golden: Any, model: DualFormer) -> None:
    """`grad/input` and `grad/<official parameter>` of sum(logits * grad_output), where the file holds them."""
    wanted = {name.removeprefix("grad/") for name in golden.names if name.startswith("grad/")}
    if not wanted:
        return
    clips = golden.tensor("input", torch.float64).requires_grad_()
    (model.classify(clips) * golden.tensor("grad_output", torch.float64)).sum().backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name in sorted(wanted):
        gradient = clips.grad if name == "input" else gradients[str(official_layout("dualformer").rename(name))]
        assert gradient is not None, f"{golden.path}: {name} has no gradient"
        golden.compare(f"grad/{name}", gradient, tolerance=GRADIENT_TOLERANCE)


def check_loss(golden: Any) -> None:
    for case in sorted({name.split("/")[0] for name in golden.names}):
        losses = [name for name in golden.names if name.startswith(f"{case}/loss_gamma_")]
        assert losses, f"{golden.path}: no loss in case {case}"
        for name in losses:
            loss = dualformer.token_label_loss(
                golden.tensor(f"{case}/cls_score"),
                golden.tensor(f"{case}/labels"),
                golden.tensor(f"{case}/token_preds"),
                golden.tensor(f"{case}/teacher_preds"),
                gamma=float(name.rsplit("_", 1)[1]),
            )
            golden.compare(name, loss, tolerance=LOSS_TOLERANCE)


def check_sampling(golden: Any) -> None:
    """Whole numbers: equal."""
    for case in golden.json:
        assert set(case) == {"total_frames", "clip_len", "frame_interval", "num_clips", "frame_indices"}
        frames = dualformer.view_frames(
            case["total_frames"], frames=case["clip_len"], interval=case["frame_interval"], clips=case["num_clips"]
        )
        wrong = int((frames != torch.tensor(case["frame_indices"])).sum())
        assert not wrong, f"{golden.path.name}: the plan of {case['total_frames']} frames differs by {wrong} indices"


LAYOUTS = {
    "model": (is_model, check_model),
    "token-label loss": (is_loss, check_loss),
    "frame sampling": (is_sampling, check_sampling),
}
