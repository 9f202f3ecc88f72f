"""An encoder with a head that can be trained: class scores from clips.

    model = classifying("video-mobile-former-500m", classes=400, drop_path=0.0)
    scores = model(clips)                                  # (batch, classes)
    save_encoder(model.encoder, "best.safetensors")        # what `build_encoder(name, weights=...)` reads

The three architectures of longvid have class layers of their own, as published; any other encoder that takes gradients
gets one linear layer over its clip vector, or over the mean of its tokens where it has none.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.encoders.base import Encoder, EncoderOutput
from longvid.encoders.dualformer.model import DualFormer
from longvid.encoders.mobile_former.model import MobileFormer
from longvid.encoders.registry import build_encoder
from longvid.encoders.saved import HUGGINGFACE, InputRecord, ProjectorRecord, save_learned
from longvid.encoders.xvit.model import XViT
from longvid.errors import EncoderError
from longvid.plain import as_json

ARCHITECTURES: dict[type[nn.Module], str] = {XViT: "xvit", DualFormer: "dualformer", MobileFormer: "mobile_former"}
OwnClassifier = XViT | DualFormer | MobileFormer
HEAD_PARTS = ("head", "classifier", "token_classifier", "aggregator", "projectors")
"""Parts above the last layer, by name: they have the full learning rate under a rate per layer."""
LAYER = re.compile(r"(?:^|\.)(?:stages|blocks|layers|layer)\.(\d+)(?=\.)")


class Classifying(nn.Module):
    """An encoder and its head; `forward(clips)` gives class scores, `token_scores` those of every position."""

    def __init__(self, encoder: Encoder, *, classes: int, head_dropout: float = 0.0, dim: int = 0) -> None:
        """`dim`: width of the vector that a head of our own takes; unused where the encoder has its own classifier."""
        super().__init__()
        self.encoder = encoder
        self.classes = classes
        self.head: nn.Module | None = None
        if not isinstance(encoder, OwnClassifier):
            linear = nn.Linear(dim, classes)
            nn.init.trunc_normal_(linear.weight, std=0.02)
            nn.init.zeros_(linear.bias)
            self.head = nn.Sequential(nn.Dropout(head_dropout), linear)

    def forward(self, clips: Float[Tensor, "batch 3 time height width"]) -> Float[Tensor, "batch classes"]:
        """Raw class scores."""
        if isinstance(self.encoder, OwnClassifier):
            return self.encoder.classify(clips)
        assert self.head is not None
        scores: Tensor = self.head(clip_vector(self.encoder(clips)))
        return scores

    def with_token_scores(
        self, clips: Float[Tensor, "batch 3 time height width"]
    ) -> tuple[Float[Tensor, "batch classes"], Float[Tensor, "places classes"]]:
        """Scores of the clips and of every final position, from one pass; only DualFormer has the second."""
        if not isinstance(self.encoder, DualFormer):
            raise EncoderError(f"{self.encoder.spec.name}: has no token classifier; token labels are DualFormer's")
        features = self.encoder.features(clips)
        return self.encoder.clip_scores(features), self.encoder.token_scores(features).flatten(0, 3)


def clip_vector(output: EncoderOutput) -> Float[Tensor, "batch dim"]:
    """The architecture's own clip vector, or the mean of its tokens."""
    return output.tokens.mean(dim=(1, 2)) if output.clip is None else output.clip


def classifying(
    name: str,
    *,
    classes: int,
    weights: str | None = None,
    keep_head: bool = True,
    seed: int = 0,
    drop_path: float | None = None,
    head_dropout: float | None = None,
    token_labels: bool = False,
    options: Mapping[str, Any] | None = None,
) -> Classifying:
    """The encoder of that name with a head of `classes` outputs, ready to be trained.

    `weights`: as for `build_encoder`: "random", a checkpoint, an image model to start from. A head in them is kept
    where it has as many classes, unless `keep_head` is false; the rest of the head starts anew by the seed.
    `drop_path`, `head_dropout`: None: the architecture's own. Raises `EncoderError` for what it does not have.
    """
    encoder = build_encoder(name, weights=weights, seed=seed, **dict(options or {}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(encoder, OwnClassifier):
            encoder = _with_head(encoder, classes, drop_path, head_dropout, token_labels, keep_head)
            return _trainable(Classifying(encoder, classes=classes))
        for what, given in (("drop_path", drop_path), ("token_labels", token_labels)):
            if given:
                raise EncoderError(f"{name}: {what}={given} cannot be set from outside; leave it out")
        if not any(True for _ in encoder.parameters()):
            raise EncoderError(f"{name}: has no weights to train; choose another encoder (`longvid encoders`)")
        return _trainable(Classifying(encoder, classes=classes, head_dropout=head_dropout or 0.0, dim=_width(encoder)))


def _trainable(model: Classifying) -> Classifying:
    return model.requires_grad_(True).train()


def _width(encoder: Encoder) -> int:
    """Width of an encoder's clip vector, found by a black clip."""
    spec = encoder.spec
    size = (spec.preprocessing.height, spec.preprocessing.width)
    with torch.no_grad():
        return clip_vector(encoder(torch.zeros(1, 3, spec.sampling.frames, *size))).shape[-1]


def _with_head(
    encoder: OwnClassifier,
    classes: int,
    drop_path: float | None,
    head_dropout: float | None,
    token_labels: bool,
    keep_head: bool,
) -> OwnClassifier:
    """The same net with that many classes: every weight of the body is copied, and of the head what fits."""
    asked = {
        "num_classes": classes,
        "drop_path": drop_path,
        "dropout" if isinstance(encoder, MobileFormer) else "head_dropout": head_dropout,
        "token_label": token_labels or None,
    }
    known = {field.name for field in fields(encoder.config)}
    changes = {name: value for name, value in asked.items() if value is not None}
    for name in changes.keys() - known:
        if changes[name]:
            raise EncoderError(f"{encoder.spec.name}: has no {name.replace('_', ' ')}; leave {name} out")
    own_changes: Any = {name: changes[name] for name in changes.keys() & known}
    config = replace(encoder.config, **own_changes)
    made: OwnClassifier = type(encoder)(config)  # type: ignore[arg-type]
    for name in ("odd_sizes", "chunk_frames"):  # settings of a net that its configuration does not hold
        if hasattr(encoder, name):
            setattr(made, name, getattr(encoder, name))
    own = made.state_dict()
    for name, tensor in encoder.state_dict().items():
        of_head = name.partition(".")[0] in HEAD_PARTS and not name.startswith("aggregator.")
        if (keep_head or not of_head) and name in own and own[name].shape == tensor.shape:
            own[name].copy_(tensor)
    made.spec = replace(encoder.spec, config=encoder.spec.config | as_json(config))
    return made


def parameter_depths(module: nn.Module) -> dict[str, int]:
    """Depth of every parameter, by name: 0 before the first layer, then one per layer or stage, the head last."""
    names = [name for name, _ in module.named_parameters()]
    places = {name: _place(name) for name in names}
    order = {place: index + 1 for index, place in enumerate(sorted({place for place in places.values() if place}))}
    top, first = len(order), True
    depths = {}
    for name in names:
        if _of_head(name):
            depths[name] = top + 1
        elif places[name]:
            depths[name], first = order[places[name]], False
        else:  # an embedding comes before the layers, a last norm after them
            depths[name] = 0 if first else top
    return depths


def _of_head(name: str) -> bool:
    return any(part in HEAD_PARTS for part in name.split("."))


def _place(name: str) -> tuple[int, ...]:
    return () if _of_head(name) else tuple(int(number) for number in LAYER.findall(name))


def optimiser_groups(
    module: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    layer_decay: float = 1.0,
    decay_all: bool = False,
    body_factor: float = 1.0,
    full_rate: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Optimiser groups that hold every parameter once: rates fall by `layer_decay` per layer from the head down.

    `full_rate`: parts of the body with the head's rate and no weight decay. `body_factor`: factor on the rate of all
    but the head. Vectors (norms, biases, tables of one entry) have no weight decay unless `decay_all`, as X-ViT's
    authors have it.
    """
    depths = parameter_depths(module)
    top = max(depths.values(), default=0)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in module.named_parameters():
        full = any(part in full_rate for part in name.split("."))
        decays = (decay_all or parameter.ndim > 1) and not full
        in_body = depths[name] < top and body_factor != 1
        place = depths[name] if layer_decay < 1 else top - 1 if in_body else top
        key = (top if full else place, decays)
        group = groups.setdefault(
            key,
            {
                "params": [],
                "lr": learning_rate * layer_decay ** (top - key[0]) * (1.0 if key[0] == top else body_factor),
                "weight_decay": weight_decay if decays else 0.0,
            },
        )
        group["params"].append(parameter)
    return [groups[key] for key in sorted(groups, key=lambda key: (-key[0], not key[1]))]


def recompute_blocks(module: nn.Module) -> int:
    """Make every block of a list of blocks forget its activations and compute them again in the backward pass.

    Memory falls to that of one block at a time, for a third more arithmetic; gradients stay the same, and running
    statistics are counted once. Returns the number of blocks. Raises `EncoderError` for a module without such a list.
    """
    found = 0
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.ModuleList) and name in ("blocks", "layers", "layer"):
                for block in child:
                    block.forward = partial(_recomputed, block, block.forward)
                    found += 1
    if not found:
        raise EncoderError("gradient checkpointing: this encoder has no list of blocks to recompute; leave it out")
    return found


def _recomputed(block: nn.Module, forward: Any, *arguments: Any, **named: Any) -> Any:
    from contextlib import nullcontext

    from torch.utils.checkpoint import checkpoint

    if not (torch.is_grad_enabled() and block.training):
        return forward(*arguments, **named)
    contexts = lambda: (nullcontext(), _StatisticsKept(block))  # noqa: E731
    return checkpoint(forward, *arguments, use_reentrant=False, context_fn=contexts, **named)


class _StatisticsKept:
    """While a block is computed again, its running statistics stay as they are: copies of them change instead.

    Without any, a normalisation would keep fewer tensors for the backward pass than it did the first time, which
    torch refuses.
    """

    def __init__(self, block: nn.Module) -> None:
        self.norms = [part for part in block.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]

    def __enter__(self) -> None:
        self.kept = [dict(norm.named_buffers(recurse=False)) for norm in self.norms]
        for norm, kept in zip(self.norms, self.kept, strict=True):
            for name, buffer in kept.items():
                setattr(norm, name, buffer.clone())

    def __exit__(self, *exc: object) -> None:
        for norm, kept in zip(self.norms, self.kept, strict=True):
            for name, buffer in kept.items():
                setattr(norm, name, buffer)


def save_encoder(
    encoder: Encoder,
    path: str | Path,
    *,
    input_record: InputRecord | None = None,
    head: nn.Module | None = None,
    projector: tuple[nn.Linear, ProjectorRecord] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write an encoder's weights so that `build_encoder(NAME, weights=path)` builds it, with the input it learned on.

    `head`: kept beside it. `projector`: likewise; `build_encoder` then gives features in the space it projects to.
    Raises `EncoderError` for an encoder whose weights no name reads back.
    """
    refuse_unwritable(encoder)
    inner: Any = encoder
    architecture = next((name for kind, name in ARCHITECTURES.items() if isinstance(encoder, kind)), HUGGINGFACE)
    beside: dict[str, nn.Module] = {} if head is None else {"head": head}
    noted = dict(extra or {})
    if projector is not None:
        beside["projector"] = projector[0]
        noted["projector"] = asdict(projector[1])
    return save_learned(
        encoder,
        path,
        architecture=architecture,
        config=encoder.spec.config if architecture == HUGGINGFACE else as_json(inner.config),
        input_record=input_record,
        beside=beside,
        extra=noted,
    )


def refuse_unwritable(encoder: Encoder) -> None:
    """Raise `EncoderError` for an encoder whose weights no name reads back."""
    from longvid.encoders.huggingface.model import HuggingFaceEncoder

    if not isinstance(encoder, OwnClassifier | HuggingFaceEncoder):
        raise EncoderError(
            f"{encoder.spec.name}: nothing reads its weights back; train xvit-*, dualformer-*, *mobile-former-* or a "
            "Hugging Face model"
        )
