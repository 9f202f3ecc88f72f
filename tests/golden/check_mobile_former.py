"""Mobile-Former: whole image nets, single blocks and the last Read, the dynamic ReLU."""

from collections.abc import Callable
from typing import Any

import torch
from rounding import rounding
from torch import Tensor, nn

from longvid.checkpoints import load_official
from longvid.encoders.mobile_former.blocks import BridgedBlock, DownSampling, DynamicReLU, LiteBlock, build_block
from longvid.encoders.mobile_former.bridges import to_rows
from longvid.encoders.mobile_former.config import MobileFormerConfig
from longvid.encoders.mobile_former.convolutions import ConvNorm
from longvid.encoders.mobile_former.model import MobileFormer
from longvid.encoders.mobile_former.official import LAYOUT, PUBLISHED_ARGUMENTS, author_block
from longvid.layers.tokens import Read
from longvid.weights import Checkpoint
from longvid.weights.layout import fit_official

# Bounds from precision and depth (`tests/support/rounding.py`): the authors' arrays are float32 as well, so what is
# apart here is the rounding of two machines. Float64 arrays are equalled far beyond any float32 rounding.
FLOAT64_TOLERANCE = 1e-9
LOGITS_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
TOKENS_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
MAPS_TOLERANCE = rounding(torch.float32, terms=64, layers=16)
PARTS_TOLERANCE = rounding(torch.float32, terms=32, layers=4)
GRADIENT_TOLERANCE = rounding(torch.float32, terms=64, layers=16)

STANDARD_PARTS = {"after_conv1": "expand", "after_conv2": "depthwise", "after_conv3": "project"}
DOWN_PARTS = {
    "after_conv1": "first_depthwise",
    "after_conv2": "first_project",
    "after_conv3": "second_depthwise",
    "after_conv4": "second_project",
}
STANDARD_SLOPES = {"theta_hyper1": "expand_relu", "theta_hyper2": "depthwise_relu"}
DOWN_SLOPES = {"theta_hyper1": "first_relu", "theta_hyper3": "second_relu"}


def is_model(golden: Any) -> bool:
    return {"input", "output", "config"} <= golden.names and "block_args" in golden.config


def is_blocks(golden: Any) -> bool:
    return {"case0/x", "case0/tokens", "case0/tokens_out"} <= golden.names


def is_dynamic_relu(golden: Any) -> bool:
    return {"case0/x", "case0/theta", "case0/y"} <= golden.names


def compare(golden: Any, name: str, actual: Tensor, tolerance: float) -> None:
    """Within an absolute tolerance, as the fixtures' README has it."""
    largest = float(abs(golden.array(name)).max(initial=0))
    golden.compare(name, actual, tolerance=tolerance / max(1.0, largest))


def compare_all(
    golden: Any,
    prefix: str,
    single: dict[str, Tensor],
    double: dict[str, Tensor],
    tolerance: Callable[[str], float],
) -> None:
    """Every result below `prefix`: float32 arrays against both runs, float64 ones against the second."""
    inputs = ("state/", "grad/", "config", "input", "x", "tokens", "grad_output")
    for name in sorted(name.removeprefix(prefix) for name in golden.names if name.startswith(prefix)):
        if name in inputs or name.startswith(inputs[:2]):
            continue
        plain = name.removesuffix("_f64")
        assert plain in single, f"{golden.path}: no such output of Mobile-Former: {name}"
        if plain == name:
            compare(golden, prefix + name, single[plain], tolerance(plain))
            compare(golden, prefix + name, double[plain], tolerance(plain))
        else:
            compare(golden, prefix + name, double[plain], FLOAT64_TOLERANCE)


def watch(seen: dict[str, Tensor], name: str, module: nn.Module) -> None:
    """Keep a copy of what `module` returns, as activations may overwrite it; maps without their axis of one frame."""

    def keep(_: nn.Module, __: Any, output: Tensor) -> None:
        seen[name] = (output.squeeze(2) if output.ndim == 5 else output).clone()

    module.register_forward_hook(keep)


def run_model(model: MobileFormer, images: Tensor) -> dict[str, Tensor]:
    """Everything a fixture of a whole net may hold."""
    seen: dict[str, Tensor] = {}
    for index, block in enumerate(model.blocks):

        def keep(_: nn.Module, __: Any, output: tuple[Tensor, Tensor], index: int = index) -> None:
            seen[f"block_{index}"], seen[f"tokens_{index}"] = output[0].squeeze(2), output[1]

        block.register_forward_hook(keep)
    watch(seen, "tokens_final", model.read)
    model.head.fuse.register_forward_pre_hook(lambda _, given: seen.update(head_concat=given[0]))
    seen["output"] = model.classify(images.unsqueeze(2))
    encoded = model(images.unsqueeze(2))
    assert encoded.clip is not None
    assert encoded.global_tokens is not None
    assert torch.equal(encoded.global_tokens, seen["tokens_final"])
    # from the tokens handed out: they are what the head pools, which `head_concat` shows
    pooled = nn.functional.hardswish(encoded.tokens.mean(dim=(1, 2)))
    return seen | {"head_fc": encoded.clip, "head_pooled": pooled}


def model_tolerance(name: str) -> float:
    if name == "output":
        return LOGITS_TOLERANCE
    return MAPS_TOLERANCE if name.startswith("block_") else TOKENS_TOLERANCE


def check_model(golden: Any) -> None:
    images = golden.tensor("input", torch.float32)
    model = load_official("mobile_former", golden.state(), **golden.config)
    assert isinstance(model, MobileFormer)
    with torch.no_grad():
        single = run_model(model, images)
        double = run_model(model.double(), images.double())
    compare_all(golden, "", single, double, model_tolerance)
    check_gradients(golden, model)


def check_gradients(golden: Any, model: MobileFormer) -> None:
    """`grad/input` and `grad/<official parameter>` of sum(output * grad_output), where the file holds them."""
    if not any(name.startswith("grad/") for name in golden.names):
        return
    images = golden.tensor("input", torch.float64).requires_grad_()
    (model.classify(images.unsqueeze(2)) * golden.tensor("grad_output", torch.float64)).sum().backward()
    state = golden.state()
    ours = dict(zip(state, map(LAYOUT.rename, LAYOUT.prepare(state)), strict=True))
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()} | {None: images.grad}
    for name in (name for name in golden.names if name.startswith("grad/")):
        gradient = gradients[ours.get(name.removeprefix("grad/"))]
        assert gradient is not None, f"{golden.path}: {name} has no gradient"
        golden.compare(name, gradient.reshape(golden.array(name).shape), tolerance=GRADIENT_TOLERANCE)


def official_part(golden: Any, case: str, part: nn.Module, *, ours: str, official: str) -> nn.Module:
    """`part` with the case's state, whose names lack the prefix `official` that a whole net has (ours: `ours`)."""
    holder: nn.Module = part
    for name in reversed(ours.split(".")):
        outer = nn.Module()
        outer.add_module(name, holder)
        holder = outer
    state = {f"{official}{name}": tensor for name, tensor in golden.state(f"{case}/state/").items()}
    fit_official(holder, LAYOUT, Checkpoint(state, {}, f"{golden.path.name}, {case}"))
    return part.eval()


def build_part(golden: Any, case: str) -> nn.Module:
    config = golden.config_of(f"{case}/")
    for name in PUBLISHED_ARGUMENTS.keys() & config.keys():
        assert config[name] == PUBLISHED_ARGUMENTS[name], f"{golden.path}: {case} has {name}={config[name]}"
    width, tokens = config["inp"], config["token_dim"]
    if config["kind"] == "Local2Global":
        read = Read(width, tokens, heads=config["attn_num_heads"])
        return official_part(golden, case, read, ours="read", official="local_global.")
    first, second = config["exp_ratios"]
    row = author_block(config["kind"], first, config["oup"], config["stride"], second)
    net = MobileFormerConfig(
        width,
        (row,),
        config["token_num"],
        tokens,
        fused_dim=1,
        groups=config["group_num"],
        bridge_heads=config["attn_num_heads"],
        former_heads=config["former_heads"],
    )
    return official_part(golden, case, build_block(width, row, net), ours="blocks.0", official="features.0.")


def run_part(part: nn.Module, features: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    """Everything a fixture of one block may hold."""
    features = features.unsqueeze(2)
    if isinstance(part, Read):
        return {"tokens_out": part(tokens, to_rows(features))}
    seen: dict[str, Tensor] = {}
    if isinstance(part, BridgedBlock):
        down = isinstance(part.mobile, DownSampling)
        watch(seen, "tokens_after_read", part.read)
        watch(seen, "tokens_after_former", part.former)
        watch(seen, "x_before_write", part.mobile)
        for name, ours in (DOWN_PARTS if down else STANDARD_PARTS).items():
            convolution = getattr(part.mobile, ours)
            assert isinstance(convolution, ConvNorm)
            watch(seen, name, convolution)
        for name, ours in (DOWN_SLOPES if down else STANDARD_SLOPES).items():
            watch(seen, name, getattr(part.mobile, ours).generator)
    else:
        assert isinstance(part, LiteBlock)
    after, tokens_after = part(features, tokens)
    return seen | {"x_out": after.squeeze(2), "tokens_out": tokens_after}


def check_blocks(golden: Any) -> None:
    for case in sorted({name.split("/")[0] for name in golden.names}):
        part = build_part(golden, case)
        inputs = [golden.tensor(f"{case}/{name}", torch.float32) for name in ("x", "tokens")]
        with torch.no_grad():
            single = run_part(part, *inputs)
            double = run_part(part.double(), *(tensor.double() for tensor in inputs))
        compare_all(golden, f"{case}/", single, double, lambda _: PARTS_TOLERANCE)


def run_relu(relu: DynamicReLU, features: Tensor, tokens: Tensor) -> dict[str, Tensor]:
    theta = relu.generator(tokens[:, 0])
    return {"theta": theta, "y": relu(features.unsqueeze(2).clone(), tokens[:, 0]).squeeze(2)}


def check_dynamic_relu(golden: Any) -> None:
    for case in sorted({name.split("/")[0] for name in golden.names}):
        config = golden.config_of(f"{case}/")
        relu = DynamicReLU(config["token_dim"], config["channels"])
        official_part(golden, case, relu, ours="blocks.0.mobile.expand_relu", official="features.0.hyper1.")
        inputs = [golden.tensor(f"{case}/{name}", torch.float32) for name in ("x", "tokens")]
        with torch.no_grad():
            single = run_relu(relu, *inputs)
            double = run_relu(relu.double(), *(tensor.double() for tensor in inputs))
        recorded = run_relu(relu, *(tensor.double() for tensor in inputs))
        assert torch.equal(recorded["y"], double["y"]), f"{golden.path}: {case} differs by form of the activation"
        compare_all(golden, f"{case}/", single, double, lambda _: PARTS_TOLERANCE)


LAYOUTS = {
    "model": (is_model, check_model),
    "blocks": (is_blocks, check_blocks),
    "dynamic relu": (is_dynamic_relu, check_dynamic_relu),
}
