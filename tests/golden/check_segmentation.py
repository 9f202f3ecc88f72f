"""Action segmentation: four networks of stages, a training step, the smoothing loss, and the metrics' readings."""

import functools
from typing import Any

import numpy as np
import torch
from rounding import rounding
from torch import Tensor
from torch.nn import functional

from longvid.checkpoints import load_official
from longvid.checkpoints.official import official_layout
from longvid.decoders.segmentation.smoothing import smoothing_loss
from longvid.decoders.segmentation.staged import StagedDecoder
from longvid.metrics import segmentation
from longvid.metrics.segmentation import edit_score, overlap_counts, segmentation_scores, segments_of

# Bounds from precision and depth (`tests/support/rounding.py`): the authors' arrays are float32 as well, so what is
# apart here is the rounding of two machines. Float64 arrays are equalled far beyond any float32 rounding.
OUTPUT_TOLERANCE = rounding(torch.float32, terms=48, layers=12)
FLOAT64_TOLERANCE = 1e-9
GRADIENT_TOLERANCE = rounding(torch.float32, terms=48, layers=2)
"""Of the largest entry: the authors' gradients are float64, stored as float32."""
SCORE_TOLERANCE = 1e-9

NETWORKS = ("ms-tcn", "ms-tcn++", "asformer", "ltcontext")


def is_network(golden: Any, kind: str) -> bool:
    return golden.config.get("kind") == kind and "output" in golden.names


def is_step(golden: Any) -> bool:
    return golden.config.get("kind") == "ms-tcn++ train step"


def is_loss(golden: Any) -> bool:
    return golden.config.get("kind") == "smoothing loss"


def is_metrics(golden: Any) -> bool:
    return isinstance(golden.json, dict) and {"videos", "no_background"} <= set(golden.json)


def build(golden: Any) -> StagedDecoder:
    """The fixture's network, as its authors run it."""
    config = golden.config
    kind = config["kind"].removesuffix(" train step")
    more: dict[str, Any] = {"padding": "official"}
    if kind == "ltcontext":
        assert config["use_instance_norm_flag"] != config["instance_norm_applied"], "the switch is inverted"
        more |= {
            "window": config["windowed_attn_w"],
            "stride": config["long_term_attn_g"],
            "heads": config["num_heads"],
            "dilation_factor": config["conv_dilation_factor"],
            "norm": "instance" if config["instance_norm_applied"] else "none",
        }
    model = load_official(kind, golden.state(), **more)
    assert isinstance(model, StagedDecoder)
    stages = {"ms-tcn": "num_stages", "ltcontext": "num_stages", "ms-tcn++": "num_R", "asformer": "num_decoders"}
    first = 0 if stages[kind] == "num_stages" else 1
    assert model.config.refinements + 1 == config[stages[kind]] + first
    assert (model.config.dim, model.config.outputs) == (config["dim"], config["num_classes"])
    return model


def lengths_of(golden: Any) -> Tensor | None:
    """Valid steps of each item, from the mask; None where the fixture has none."""
    if "mask" not in golden.names:
        return None
    mask = golden.tensor("mask")[:, 0].long()
    lengths = mask.sum(dim=1)
    assert torch.equal(mask, (torch.arange(mask.shape[1]) < lengths[:, None]).long()), "a mask with holes"
    return lengths


def stages_of(model: StagedDecoder, tokens: Tensor, lengths: Tensor | None) -> Tensor:
    """(stages, batch, classes, length), as the authors order it."""
    return model.stages(tokens.transpose(1, 2), lengths).transpose(-1, -2)


def watch(model: StagedDecoder, kind: str) -> dict[str, Tensor]:
    """Filled by a pass with what fixtures hold of the inside."""
    seen: dict[str, Tensor] = {}

    def keep(name: str, module: Any) -> None:
        module.register_forward_hook(lambda _, __, output: seen.update({name: output}))

    if kind == "ms-tcn":
        for index, layer in enumerate(model.first.layers):
            keep(f"inter/stage1_layer_{index}", layer)
    elif kind == "ms-tcn++":
        for index, fusion in enumerate(model.first.fusion):
            keep(f"inter/fusion_{index}", fusion)
    elif kind == "asformer":
        for index, block in enumerate(model.encoder.blocks):
            keep(f"inter/encoder_layer_{index}", block)
    else:
        for index, block in enumerate(model.first.blocks):
            keep(f"inter/stage1_layer_{index}", block)
            keep(f"inter/windowed_{index}", block.windowed)
            keep(f"inter/long_term_{index}", block.long)
    return seen


def check_network(golden: Any) -> None:
    model, lengths = build(golden), lengths_of(golden)
    seen = watch(model, golden.config["kind"])
    with torch.no_grad():
        golden.compare("output", stages_of(model, golden.tensor("input"), lengths), tolerance=OUTPUT_TOLERANCE)
        for name in sorted(name for name in golden.names if name.startswith("inter/")):
            golden.compare(name, seen[name], tolerance=OUTPUT_TOLERANCE)
    model = model.double()
    tokens = golden.tensor("input", torch.float64).requires_grad_()
    output = stages_of(model, tokens, lengths)
    golden.compare("output_f64", output, tolerance=FLOAT64_TOLERANCE)
    (output * golden.tensor("grad_output", torch.float64)).sum().backward()
    check_gradients(golden, model, tokens)
    if "output_readme_fix_f64" in golden.names:
        own = load_official("asformer", golden.state(), padding="official", window="own").double()
        with torch.no_grad():
            golden.compare("output_readme_fix_f64", stages_of(own, tokens, lengths), tolerance=FLOAT64_TOLERANCE)


def check_gradients(golden: Any, model: StagedDecoder, tokens: Tensor | None) -> None:
    parameters = dict(model.named_parameters())
    rename = official_layout(golden.config["kind"].removesuffix(" train step")).rename
    for name in sorted(name.removeprefix("grad/") for name in golden.names if name.startswith("grad/")):
        if name == "input":
            assert tokens is not None
            gradient = tokens.grad
        else:
            gradient = parameters[str(rename(name))].grad
        assert gradient is not None, f"{golden.path}: {name} has no gradient"
        largest = float(abs(golden.array(f"grad/{name}")).max())
        golden.compare(f"grad/{name}", gradient, tolerance=GRADIENT_TOLERANCE * min(1.0, max(largest, 1e-3)))


def stage_losses(stages: Tensor, targets: Tensor, lengths: Tensor, *, reading: Any, weight: float) -> Tensor:
    """Cross-entropy and weighted smoothing of (stages, batch, classes, length), summed over stages."""
    total = stages.new_zeros(())
    for logits in stages:
        entropy = functional.cross_entropy(logits, targets, ignore_index=-100)
        total = total + entropy + weight * smoothing_loss(logits.transpose(1, 2), lengths, reading=reading)
    return total


def check_step(golden: Any) -> None:
    """One step of Adam with the authors' loss: gradients, weights after it, and the loss as they print it."""
    model, config = build(golden), golden.config
    assert config["dropout"] == 0
    model = model.double().eval()
    lengths, targets = lengths_of(golden), golden.tensor("targets")
    assert lengths is not None
    optimiser = torch.optim.Adam(model.parameters(), lr=config["learning_rate"])
    stages = stages_of(model, golden.tensor("input", torch.float64), lengths)
    loss = stage_losses(stages, targets, lengths, reading="ms-tcn", weight=0.15)
    golden.compare("loss_f64", loss, tolerance=FLOAT64_TOLERANCE)
    loss.backward()
    check_gradients(golden, model, None)
    optimiser.step()
    rename = official_layout("ms-tcn++").rename
    state = model.state_dict()
    for name in sorted(name for name in golden.names if name.startswith("after/")):
        golden.compare(name, state[str(rename(name.removeprefix("after/")))], tolerance=OUTPUT_TOLERANCE)
    printed = float(config["printed"].partition("loss = ")[2].partition(",")[0])
    assert abs(float(loss.detach()) / len(lengths) - printed) < 1e-6, "the authors divide by the number of videos"


def check_loss(golden: Any) -> None:
    weights = {"mstcn": golden.config["mstcn_weight"], "ltcontext": golden.config["ltcontext_weight"]}
    assert golden.config["clamp"] == 16.0
    for case in range(len(golden.config["cases"])):
        targets, lengths = golden.tensor(f"case{case}/targets"), golden.tensor(f"case{case}/mask")[:, 0].sum(1).long()

        def logits(case: int = case) -> Tensor:
            return golden.tensor(f"case{case}/logits", torch.float64).requires_grad_()

        for who, weight in weights.items():
            stages = logits()
            reading = "ms-tcn" if who == "mstcn" else "ltcontext"
            loss = stage_losses(stages, targets, lengths, reading=reading, weight=weight)
            golden.compare(f"case{case}/{who}_loss", loss, tolerance=FLOAT64_TOLERANCE)
            loss.backward()
            golden.compare(f"case{case}/grad_{who}_loss", stages.grad, tolerance=FLOAT64_TOLERANCE)
        stages = logits()
        entropies = [functional.cross_entropy(stage, targets, ignore_index=-100) for stage in stages]
        golden.compare(f"case{case}/ltcontext_ce", torch.stack(entropies).sum(), tolerance=FLOAT64_TOLERANCE)
        smooth = [smoothing_loss(stage.mT, lengths, reading="ltcontext") for stage in stages]
        golden.compare(f"case{case}/ltcontext_mse", torch.stack(smooth).sum(), tolerance=FLOAT64_TOLERANCE)
        fact = torch.stack([smoothing_loss(stage.mT, lengths, reading="fact") for stage in stages]).sum()
        golden.compare(f"case{case}/fact_smooth", fact, tolerance=FLOAT64_TOLERANCE)
        fact.backward()
        golden.compare(f"case{case}/grad_fact_smooth", stages.grad, tolerance=FLOAT64_TOLERANCE)


def check_metrics(golden: Any) -> None:
    held = golden.json
    videos = [(np.array(video["prediction"]), np.array(video["target"])) for video in held["videos"]]
    assert max(labels.max() for pair in videos for labels in pair) < held["classes"]
    for name in sorted(set(held) - {"videos", "classes", "seed", "commits"}):
        background = () if name == "no_background" else (int(name.split("_")[1]),)
        for whose, check in SCRIPTS.items():
            check(held[name][whose], videos, background, golden)


def check_ms_tcn(found: Any, videos: Any, background: tuple[int, ...], golden: Any, *, reading: str) -> None:
    """The scripts of MS-TCN and MS-TCN++: each video's segments and counts, the pooled scores, and what they print."""
    rule = {"last_frame": segmentation.READINGS[reading].last_frame, "background": background}
    for video, (predicted, true) in zip(found["per_video"], videos, strict=True):
        segments = [[run.label, run.start, run.stop] for run in segments_of(predicted, **rule)]
        differ(segments, [list(run) for run in video["segments_of_prediction"]], golden, "segments")
        near(100 * edit_score(predicted, true, background=background), video["edit"], golden, "edit")
        for overlap in (10, 25, 50):
            counts = overlap_counts(predicted, true, overlap / 100, **rule)
            differ(list(counts), list(video[f"tp_fp_fn@{overlap}"]), golden, f"counts at {overlap}")
    scores = segmentation_scores(videos, reading=segmentation.READINGS[reading], background=background)
    names = {"F1@10": "f1@10", "F1@25": "f1@25", "F1@50": "f1@50", "Edit": "edit"}
    for name, value in found["pooled"].items():
        near(100 * scores[names[name]], value, golden, name)
    if "printed_by_main" in found:
        printed = {"Acc": "mof", "Edit": "edit", "F1@0.10": "f1@10", "F1@0.25": "f1@25", "F1@0.50": "f1@50"}
        for name, value in found["printed_by_main"].items():
            near(100 * scores[printed[name]], value, golden, f"printed {name}", within=5.1e-5)


def check_ltcontext(found: Any, videos: Any, background: tuple[int, ...], golden: Any) -> None:
    scales = {"MoF": ("mof", 1), "Edit": ("edit", 100), "F1@10": ("f1@10", 1), "F1@25": ("f1@25", 1)}
    scales |= {"F1@50": ("f1@50", 1)}
    rule = {"reading": segmentation.READINGS["per-video"], "background": background}
    for wanted, pair in zip(found["per_video"], videos, strict=True):
        scores = segmentation_scores([pair], **rule)
        for name, value in wanted.items():
            near(scales[name][1] * scores[scales[name][0]], value, golden, f"LTContext's {name}")
    scores = segmentation_scores(videos, **rule)
    for name, value in found["mean_over_videos"].items():
        near(scales[name][1] * scores[scales[name][0]], value, golden, f"LTContext's mean {name}")


def check_fact(found: Any, videos: Any, background: tuple[int, ...], golden: Any) -> None:
    scores = segmentation_scores(videos, reading=segmentation.READINGS["epsilon"], background=background)
    with_background = segmentation_scores(videos)
    names = {"Edit": "edit", "Acc": "mof", "F1@0.10": "f1@10", "F1@0.25": "f1@25", "F1@0.50": "f1@50"}
    for name, value in found.items():
        ours = with_background["mof"] if name == "AccB" else scores[names[name]]
        near(100 * ours, value, golden, f"FACT's {name}")


SCRIPTS: dict[str, Any] = {
    "ms_tcn_eval": lambda *held: check_ms_tcn(*held, reading="pooled"),
    "ms_tcn2_eval": lambda *held: check_ms_tcn(*held, reading="last-frame-cut"),
    "ltcontext": check_ltcontext,
    "fact": check_fact,
}


def near(ours: float, theirs: float, golden: Any, what: str, within: float = SCORE_TOLERANCE) -> None:
    assert abs(ours - theirs) <= within, f"{golden.path.name}: {what} differs by {abs(ours - theirs):.3g}"


def differ(ours: list[Any], theirs: list[Any], golden: Any, what: str) -> None:
    assert ours == theirs, f"{golden.path.name}: {what} differs by {ours} from {theirs}"


LAYOUTS = {
    **{kind: (functools.partial(is_network, kind=kind), check_network) for kind in NETWORKS},
    "training step": (is_step, check_step),
    "smoothing loss": (is_loss, check_loss),
    "metrics": (is_metrics, check_metrics),
}
