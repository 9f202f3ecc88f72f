"""Attentive probes: whole probes of both versions, joined clips, the schedule, the frames that are read."""

from typing import Any

import numpy as np
import torch
from rounding import rounding
from torch import Tensor

from longvid.checkpoints import load_official
from longvid.checkpoints.official import official_layout
from longvid.clips.frame_counts import counted_frames, frame_step
from longvid.decoders.attentive import AttentiveProbe
from longvid.decoders.attentive.views import frame_positions, join_segments, mean_of_views
from longvid.metrics.items import mean_by_item, probabilities
from longvid.pipelines.training.schedule import cosine, decay_at

# The fixtures' README: an independent implementation agrees with float64 to 1e-15, so a wrong epsilon (6e-6) shows.
FLOAT64_TOLERANCE = 1e-9
FLOAT32_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
GRADIENT_TOLERANCE = 1e-5
JSON_TOLERANCE = 1e-12


def is_probe(golden: Any) -> bool:
    return golden.config.get("kind") in ("vjepa1", "vjepa2") and {"input", "output"} <= golden.names


def is_aggregation(golden: Any) -> bool:
    return golden.config.get("kind") == "aggregation"


def is_json(golden: Any, kind: str) -> bool:
    return isinstance(golden.json, dict) and golden.json["kind"] == kind


def build(golden: Any) -> AttentiveProbe:
    """The probe of the fixture's state; what can be read from the weights must be what the configuration says."""
    config = golden.config
    model = load_official("attentive", golden.state(), heads=config["num_heads"])
    assert isinstance(model, AttentiveProbe)
    held = model.config
    assert (held.dim, held.outputs, held.layers) == (config["embed_dim"], config["num_classes"], config["depth"])
    assert (held.complete, held.qkv_bias) == (config["complete_block"], config["qkv_bias"])
    assert len(model.query) == config["num_queries"]
    assert held.norm_epsilon == config["layer_norm_eps"]
    has_mlp = held.complete or held.layers > 1
    assert held.mlp_ratio == config["mlp_ratio"] or not has_mlp
    if config["depth"] > 1:
        assert held.order == ("query-first" if config["kind"] == "vjepa1" else "query-last")
    return model


def run(model: AttentiveProbe, tokens: Tensor) -> dict[str, Tensor]:
    """Everything a fixture may hold of one forward pass."""
    seen: dict[str, Tensor] = {}
    hooks = [
        block.register_forward_hook(lambda _, __, output, name=f"inter/block_{index}": seen.update({name: output}))
        for index, block in enumerate(model.blocks)
    ]
    finish = model.cross.finish
    model.cross.finish = lambda query, found: (seen.update({"inter/xattn": found}), finish(query, found))[1]
    try:
        x = model.embed(tokens, None)
        seen["inter/pooled"] = model.pooled(x, None)
        seen["output"] = model.classify(seen["inter/pooled"])
    finally:
        del model.cross.finish
        for hook in hooks:
            hook.remove()
    torch.testing.assert_close(model(tokens), seen["output"], rtol=0, atol=0)
    return seen


def check_probe(golden: Any) -> None:
    model = build(golden)
    with torch.no_grad():
        single = run(model, golden.tensor("input"))
    double = run(model.double(), golden.tensor("input", torch.float64))
    golden.compare("output_f64", double["output"], tolerance=FLOAT64_TOLERANCE)
    for name in sorted(n for n in golden.names if n == "output" or n.startswith("inter/")):
        golden.compare(name, single[name], tolerance=FLOAT32_TOLERANCE)
        golden.compare(name, double[name], tolerance=FLOAT32_TOLERANCE)
    check_gradients(golden, model)
    if "views/input" in golden.names:
        check_views(golden, model)


def check_gradients(golden: Any, model: AttentiveProbe) -> None:
    tokens = golden.tensor("input", torch.float64).requires_grad_()
    (model(tokens) * golden.tensor("grad_output", torch.float64)).sum().backward()
    parameters, layout = dict(model.named_parameters()), official_layout("attentive")
    for name in golden.config["unused_parameters"]:
        assert layout.rename(name) is None, f"{golden.path.name}: {name} is used"
        assert f"grad/{name}" not in golden.names
    for name in sorted(n.removeprefix("grad/") for n in golden.names if n.startswith("grad/")):
        gradient = tokens.grad if name == "input" else parameters[str(layout.rename(name))].grad
        assert gradient is not None, f"{golden.path.name}: {name} has no gradient"
        expected = golden.array(f"grad/{name}")
        tolerance = GRADIENT_TOLERANCE * min(1.0, float(abs(expected).max()))
        golden.compare(f"grad/{name}", gradient.reshape(expected.shape), tolerance=tolerance)


def check_views(golden: Any, model: AttentiveProbe) -> None:
    """Views are averaged as probabilities, as windows of a video are in `longvid evaluate`."""
    with torch.no_grad():
        logits = torch.stack([model(view) for view in golden.tensor("views/input", torch.float64)])
    golden.compare("views/logits_f64", logits, tolerance=FLOAT64_TOLERANCE)
    golden.compare("views/probability_f64", mean_of_views(logits), tolerance=FLOAT64_TOLERANCE)
    golden.compare("views/mean_logit_f64", logits.mean(dim=0), tolerance=FLOAT64_TOLERANCE)
    views, items = logits.shape[:2]
    windows = probabilities(logits.flatten(0, 1).numpy(), "classification")
    by_video = mean_by_item(windows, np.tile(np.arange(items), views), items)
    golden.compare("views/probability_f64", by_video, tolerance=FLOAT32_TOLERANCE)


def check_aggregation(golden: Any) -> None:
    clips = golden.tensor("clips", torch.float64)
    weight, bias = (golden.tensor(f"state/proj.{part}", torch.float64) for part in ("weight", "bias"))
    tubelet = golden.config["tubelet"]
    cells = clips.unflatten(4, (-1, tubelet)).mean(dim=5).movedim(3, -1) @ weight.T + bias
    tokens = cells.flatten(3, 5)
    golden.compare("tokens_plain_f64", join_segments(tokens), tolerance=FLOAT64_TOLERANCE)
    frames = golden.tensor("clip_indices")[:, None].expand(*tokens.shape[:3], -1)
    codes = frame_positions(tokens, frames, tubelet=tubelet)
    golden.compare("tokens_with_position_f64", join_segments(tokens + codes), tolerance=1e-6)  # a float32 table
    dim, rows = golden.config["dim"], golden.config["max_frames"] // tubelet
    table = frame_positions(torch.zeros(1, rows, dim), torch.arange(rows)[None], tubelet=1)
    golden.compare("pos_embed", table, tolerance=1e-6)


def check_schedule(golden: Any) -> None:
    for case in golden.json["cases"]:
        per_epoch = case["iterations_per_epoch"]
        steps, rise = case["num_epochs"] * per_epoch, int(case["warmup"] * per_epoch)
        peak = case["lr"]
        shares = {"start": case["start_lr"] / peak, "final": case["final_lr"] / peak}
        first, final = case["weight_decay"], case["final_weight_decay"]
        rates = [peak * cosine(step, steps=steps, rise=rise, ahead=True, **shares) for step in range(steps)]
        decays = [decay_at(step, steps=steps, first=first, final=final) for step in range(steps)]
        for name, found, wanted in (
            ("learning rate", rates, case["learning_rates"]),
            ("weight decay", decays, case["weight_decays"]),
        ):
            apart = float(np.abs(np.array(found) - np.array(wanted)).max())
            assert apart <= JSON_TOLERANCE, f"{golden.path.name}: the {name} differs by {apart:.3g}"
        defaults = torch.optim.AdamW([torch.zeros(1)]).defaults
        assert case["betas"][:2] == list(defaults["betas"])
        assert case["eps"] == defaults["eps"]
        groups = AttentiveProbe.param_groups(small_probe(), peak, first)
        assert case["parameter_groups"] == len(groups)
        assert groups[0]["weight_decay"] == first, "norms, biases and the query are decayed too"


def small_probe() -> AttentiveProbe:
    return AttentiveProbe(official_layout("attentive").from_config({"dim": 8, "outputs": 2}).config)


def check_sampling(golden: Any) -> None:
    for case in golden.json["cases"]:
        frames, step = case["frames_per_clip"], case["frame_step"]
        if "duration" in case:
            step = frame_step(case["duration"], case["fps"], frames)
        assert case["random"] or not case["end_draws"]
        found = counted_frames(
            case["frames_in_video"],
            frames=frames,
            step=step,
            segments=case["segments"],
            ends=case["end_draws"],
            overlap=case["overlap"],
        )
        wrong = int((found != np.array(case["indices"])).sum())
        assert not wrong, f"{golden.path.name}: the plan of {case['frames_in_video']} frames differs by {wrong} numbers"


LAYOUTS = {
    "probe": (is_probe, check_probe),
    "aggregation": (is_aggregation, check_aggregation),
    "schedule": (lambda golden: is_json(golden, "probe schedule"), check_schedule),
    "frame sampling": (lambda golden: is_json(golden, "probe frame sampling"), check_sampling),
}
