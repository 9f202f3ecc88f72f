"""ViS4mer: whole models, its S4 layer, the HiPPO start; and the successor's S4 layers, whose formulas ours share."""

import functools
from typing import Any

import torch
from rounding import rounding
from torch import Tensor

from longvid.checkpoints import load_official
from longvid.checkpoints.official import official_layout
from longvid.decoders.vis4mer import ViS4mer
from longvid.decoders.vis4mer_official import internal_length
from longvid.ssm import S4Config, S4Layer, s4_kernel
from longvid.ssm.hippo import legs_low_rank, legs_matrices
from longvid.ssm.kernels.dense import truncate
from longvid.ssm.s4 import LowRankMixer

# Bounds from precision and depth (`tests/support/rounding.py`): the authors' arrays are float32 as well, so what is
# apart here is the rounding of two machines. Float64 arrays are equalled far beyond any float32 rounding.
OUTPUT_TOLERANCE = rounding(torch.float32, terms=64, layers=3)
STEP_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
KERNEL_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
EXACT_KERNEL_TOLERANCE = rounding(torch.float32, terms=64)
GRADIENT_TOLERANCE = rounding(torch.float32, terms=64, layers=16)
START_TOLERANCES = {
    "f64": rounding(torch.float64, terms=64 * 64, layers=64),  # an eigenvalue problem of 64 x 64
    "f32": rounding(torch.float32, terms=64, layers=4),
}

KRYLOV = "kernel.krylov."
BACKEND = "cauchy"
"""Not the fastest of the day: which arithmetic is checked must not depend on a measurement."""


def is_model(golden: Any) -> bool:
    return {"state/encoder.weight", "state/decoder.weight", "input", "output"} <= golden.names


def is_layer(golden: Any) -> bool:
    return {f"state/{KRYLOV}w", "input", "output"} <= golden.names


def is_start(golden: Any) -> bool:
    return any(name.endswith("_f64/w") for name in golden.names)


def is_successor(golden: Any, mode: str) -> bool:
    return "state/layer.kernel.A_real" in golden.names and golden.config.get("mode") == mode


def check_model(golden: Any) -> None:
    config = golden.config
    norm = "pre" if config["prenorm"] else "post"
    model = load_official("vis4mer", golden.state(), norm=norm, dropout=config["dropout"], backend=BACKEND)
    assert isinstance(model, ViS4mer)
    assert (model.config.dim, model.config.outputs) == (config["d_input"], config["d_output"])
    assert (model.config.first_width, model.config.layers) == (config["d_model"], config["n_layers"])
    assert (model.config.max_length, model.config.state_size) == (config["l_max"], config["d_state"])
    seen: dict[str, Tensor] = {}
    for index, block in enumerate(model.blocks):
        block.mix.register_forward_hook(
            lambda _, __, output, name=f"inter/s4_{index}": seen.update({name: output.transpose(1, 2)})
        )
        block.register_forward_hook(lambda _, __, output, name=f"inter/block_{index}": seen.update({name: output}))
    tokens = golden.tensor("input").requires_grad_()
    output = model(tokens)
    golden.compare("output", output, tolerance=OUTPUT_TOLERANCE)
    for name, tensor in seen.items():
        golden.compare(name, tensor, tolerance=OUTPUT_TOLERANCE)
    for index, block in enumerate(model.blocks):
        check_kernels(golden, block.mix.mixer, f"/{index}")
    (output * golden.tensor("grad_output")).sum().backward()
    check_gradients(golden, model, tokens)


def check_kernels(golden: Any, mixer: LowRankMixer, suffix: str) -> None:
    """The official kernel (one tap short at odd lengths) and the exact one, by every backend."""
    with torch.no_grad():
        system = mixer.system()
        length = golden.array(f"kernel_exact64{suffix}").shape[1]
        official = s4_kernel(system, length, odd_length="official")[:, : 2 * (length // 2)]
        golden.compare(f"kernel_official{suffix}", official, tolerance=KERNEL_TOLERANCE)
        for backend in ("cauchy", "dense-power", "recurrence"):
            exact = s4_kernel(system, length, backend=backend)
            golden.compare(f"kernel_exact64{suffix}", exact, tolerance=EXACT_KERNEL_TOLERANCE)


def check_gradients(golden: Any, model: ViS4mer, tokens: Tensor) -> None:
    parameters = dict(model.named_parameters())
    rename = official_layout("vis4mer").rename
    for name in sorted(name.removeprefix("grad/") for name in golden.names if name.startswith("grad/")):
        if name == "input":
            gradient = tokens.grad
        elif name.endswith((f"{KRYLOV}B", f"{KRYLOV}C")):
            pair = (name, name[:-1] + ("p" if name.endswith("B") else "q"))
            shape = golden.array(f"grad/{name}")[:, 0].shape
            gradient = torch.stack([parameters[str(rename(half))].grad.view(shape) for half in pair], dim=1)
        else:
            gradient = parameters[str(rename(name))].grad
        assert gradient is not None, f"{golden.path}: {name} has no gradient"
        expected = golden.array(f"grad/{name}")
        tolerance = GRADIENT_TOLERANCE * min(1.0, float(abs(expected).max()))
        golden.compare(f"grad/{name}", gradient.reshape(expected.shape), tolerance=tolerance)


def build_layer(golden: Any) -> S4Layer:
    config, state = golden.config, golden.state()
    length = internal_length(state.pop(f"{KRYLOV}nodes"))
    assert length == config["l_max"]
    assert len(state.pop(f"{KRYLOV}z")) == length // 2 + 1
    w, b, c = (state.pop(f"{KRYLOV}{name}") for name in "wBC")
    gated = config.get("postact") == "glu"
    layer = S4Layer(
        S4Config(
            channels=config["H"],
            state_size=2 * len(w),
            max_length=length,
            gated=gated,
            dropout=config["dropout"],
            state_matrix="free",
            odd_length="official",
            backend=BACKEND,
        )
    )
    output = "output_linear.0." if gated else "output_linear."
    renamed = {
        "mixer.skip": state.pop("D"),
        "mixer.log_step": state.pop(f"{KRYLOV}log_dt"),
        "mixer.eigenvalues": w,
        "mixer.b": b[:, 0],
        "mixer.p": b[:, 1],
        "mixer.c": c[:, 0].unsqueeze(0),
        "mixer.q": c[:, 1],
        "output.weight": state.pop(f"{output}weight"),
        "output.bias": state.pop(f"{output}bias").flatten(),
    }
    assert not state, f"{golden.path}: not loaded: {sorted(state)}"
    layer.load_state_dict(renamed)
    return layer.eval()


def check_layer(golden: Any) -> None:
    layer = build_layer(golden)
    channels_first = golden.config["transposed"]

    def ours(name: str) -> Tensor:
        return golden.tensor(name).transpose(1, 2) if channels_first else golden.tensor(name)

    def compare(name: str, sequence: Tensor, tolerance: float) -> None:
        golden.compare(name, sequence.transpose(1, 2) if channels_first else sequence, tolerance=tolerance)

    with torch.no_grad():
        x = ours("input")
        compare("output", layer(x), OUTPUT_TOLERANCE)
        check_kernels(golden, layer.mixer, "")
        if "step_output" in golden.names:
            outputs, state = run_steps(layer, x)
            compare("step_output", outputs, STEP_TOLERANCE)
            golden.compare("step_state_final", torch.view_as_real(state), tolerance=STEP_TOLERANCE)
        if "chunk_output" in golden.names:
            outputs, state = run_chunks(layer, x, golden.config["chunk"])
            compare("chunk_output", outputs, STEP_TOLERANCE)
            golden.compare("chunk_state_final", torch.view_as_real(state), tolerance=STEP_TOLERANCE)
        after = [name for name in golden.names if name.startswith("state_after/")]
        if after:
            check_doubling(golden, layer.mixer)


def run_steps(layer: S4Layer, x: Tensor) -> tuple[Tensor, Tensor]:
    state = layer.initial_state(len(x))
    outputs = []
    for token in x.unbind(1):
        output, state = layer.step(token, state)
        outputs.append(output)
    return torch.stack(outputs, dim=1), state


def run_chunks(layer: S4Layer, x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    state = layer.initial_state(len(x))
    outputs = []
    for chunk in x.split(size, dim=1):
        output, state = layer.carry(chunk, state)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state


def check_doubling(golden: Any, mixer: LowRankMixer) -> None:
    """The released layer overwrites its C and its nodes when the input is longer; ours only computes with that C."""
    doubled = truncate(mixer.system(), golden.config["L"])
    c_and_q = torch.stack([torch.view_as_real(doubled.c), torch.view_as_real(doubled.q)], dim=1)
    golden.compare(f"state_after/{KRYLOV}C", c_and_q, tolerance=KERNEL_TOLERANCE)
    assert internal_length(golden.tensor(f"state_after/{KRYLOV}nodes")) == doubled.truncated_at
    assert len(golden.array(f"state_after/{KRYLOV}z")) == doubled.truncated_at // 2 + 1
    untouched = {name.removeprefix("state_after/") for name in golden.names if name.startswith("state_after/")}
    for name in sorted(untouched - {f"{KRYLOV}{changed}" for changed in ("C", "nodes", "z")}):
        golden.compare(f"state_after/{name}", golden.array(f"state/{name}"), tolerance=0)


def check_start(golden: Any) -> None:
    """Eigenvectors have a free phase, so only what does not depend on it; the float32 one is the looser."""
    for size in (16, 64):
        A, B = legs_matrices(size)
        golden.compare(f"N{size}/A", A, tolerance=rounding(torch.float64, terms=64))
        golden.compare(f"N{size}/B", B, tolerance=rounding(torch.float64, terms=64))
        w, p, b = legs_low_rank(size)
        for precision, tolerance in START_TOLERANCES.items():
            prefix = f"N{size}_{precision}/"
            theirs = [torch.view_as_complex(golden.tensor(prefix + name)) for name in ("w", "p", "B")]
            order = theirs[0].imag.argsort()
            w_theirs, p_theirs, b_theirs = theirs[0][order], theirs[1][0][order], theirs[2][order]
            pairs = ((w, w_theirs), (p.abs(), p_theirs.abs()), (b.abs(), b_theirs.abs()))
            for ours, expected in (*pairs, (p.conj() * b, p_theirs.conj() * b_theirs)):
                difference = float((ours - expected).abs().max() / expected.abs().max())
                assert difference < tolerance, f"{golden.path.name}: {prefix} differs by {difference:.3g}"


def check_successor_low_rank(golden: Any) -> None:
    """Two-sided kernel, odd length; their signs are conjugate to ours and their C is not truncated yet."""
    config, state = golden.config, golden.state()
    c = state.pop("layer.kernel.C")
    assert int(state.pop("layer.kernel.l_kernel")) == 0
    layer = S4Layer(
        S4Config(
            channels=config["d_model"],
            state_size=config["d_state"],
            bidirectional=config["bidirectional"],
            eigenvalues="channel",
            gated=True,
            backend=BACKEND,
        )
    )
    fill(
        layer,
        {
            "mixer.log_decay": state.pop("layer.kernel.A_real"),
            "mixer.frequency": state.pop("layer.kernel.A_imag"),
            "mixer.log_step": state.pop("layer.kernel.inv_dt"),
            "mixer.b": conjugate(state.pop("layer.kernel.B")[0]),
            "mixer.p": conjugate(state.pop("layer.kernel.P")[0]),
            "mixer.c": c,
        },
        state,
    )
    check_successor_outputs(golden, layer)
    truncated = torch.view_as_real(truncate(layer.mixer.system(), config["L"]).c)
    golden.compare("state_after/layer.kernel.C", truncated.view(c.shape), tolerance=KERNEL_TOLERANCE)
    assert int(golden.array("state_after/layer.kernel.l_kernel")) == config["L"]
    for name in sorted(name.removeprefix("state_after/") for name in golden.names if name.startswith("state_after/")):
        if not name.endswith(("kernel.C", "l_kernel")):
            golden.compare(f"state_after/{name}", golden.array(f"state/{name}"), tolerance=0)


def check_successor_diagonal(golden: Any) -> None:
    """Their input column is folded into our output map."""
    config, state = golden.config, golden.state()
    layer = S4Layer(
        S4Config(
            channels=config["d_model"],
            mixer="s4d",
            state_size=config["d_state"],
            discretisation=config["disc"],
            gated=True,
            backend=BACKEND,
        )
    )
    b, c = (torch.view_as_complex(state.pop(f"layer.kernel.{name}")) for name in "BC")
    fill(
        layer,
        {
            "mixer.log_decay": state.pop("layer.kernel.A_real"),
            "mixer.frequency": -state.pop("layer.kernel.A_imag"),
            "mixer.log_step": state.pop("layer.kernel.inv_dt"),
            "mixer.c": torch.view_as_real(b * c),
        },
        state,
    )
    check_successor_outputs(golden, layer)
    with torch.no_grad():
        outputs, _ = run_steps(layer, golden.tensor("input").transpose(1, 2))
    golden.compare("step_output", outputs.transpose(1, 2), tolerance=STEP_TOLERANCE)


def conjugate(pairs: Tensor) -> Tensor:
    return pairs * torch.tensor([1.0, -1.0])


def fill(layer: S4Layer, mixer: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    rest = {
        "mixer.skip": state.pop("layer.D"),
        "output.weight": state.pop("output_linear.0.weight"),
        "output.bias": state.pop("output_linear.0.bias"),
    }
    assert not state, f"not loaded: {sorted(state)}"
    shapes = {name: parameter.shape for name, parameter in layer.named_parameters()}
    layer.load_state_dict({name: tensor.reshape(shapes[name]) for name, tensor in (mixer | rest).items()})
    layer.eval()


def check_successor_outputs(golden: Any, layer: S4Layer) -> None:
    with torch.no_grad():
        output = layer(golden.tensor("input").transpose(1, 2)).transpose(1, 2)
        golden.compare("output", output, tolerance=OUTPUT_TOLERANCE)
        golden.compare("kernel", layer.mixer.system_kernels(golden.config["L"]), tolerance=KERNEL_TOLERANCE)


LAYOUTS = {
    "model": (is_model, check_model),
    "layer": (is_layer, check_layer),
    "start": (is_start, check_start),
    "successor, low rank": (functools.partial(is_successor, mode="dplr"), check_successor_low_rank),
    "successor, diagonal": (functools.partial(is_successor, mode="diag"), check_successor_diagonal),
}
