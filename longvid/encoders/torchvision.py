"""torchvision's video models as encoders.

`torchvision:swin3d_b` is the one that ViS4mer uses for Breakfast and COIN. An optional extra (`pip install
'longvid[timm]'`), imported when such an encoder is built. The tokens are the
last feature map before pooling, the clip vector is their mean, which is what these models' own heads use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import torch
from jaxtyping import Float
from torch import Tensor, nn

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import Encoder, EncoderOutput, EncoderSpec
from longvid.encoders.timm import optional_package
from longvid.errors import EncoderError, WeightsError
from longvid.weights import fit_state, read_checkpoint, state_sha256

Features = Callable[[Any, Tensor], Tensor]


def _swin_features(model: Any, clips: Tensor) -> Tensor:
    features: Tensor = model.norm(model.features(model.pos_drop(model.patch_embed(clips))))
    return features  # (batch, time, height, width, dim)


def _resnet_features(model: Any, clips: Tensor) -> Tensor:
    features: Tensor = model.layer4(model.layer3(model.layer2(model.layer1(model.stem(clips)))))
    return features.movedim(1, -1)


@dataclass(frozen=True)
class VideoModel:
    """How one torchvision model is called, and the input its authors gave it (torchvision's weights pages)."""

    features: Features
    frames: int
    frames_per_second: float
    size: int
    short_side: int
    head: str
    """The classifier, which is left out: the features do not need it."""


MODELS: dict[str, VideoModel] = {
    **dict.fromkeys(("swin3d_t", "swin3d_s", "swin3d_b"), VideoModel(_swin_features, 32, 15.0, 224, 256, "head")),
    **dict.fromkeys(("r3d_18", "mc3_18", "r2plus1d_18"), VideoModel(_resnet_features, 16, 15.0, 112, 128, "fc")),
}


def build_torchvision(
    name: str,
    *,
    weights: str | None = None,
    seed: int = 0,
    fetch: bool = True,
    frames: int | None = None,
    size: int | None = None,
) -> "TorchvisionEncoder":
    """The encoder of a torchvision video model.

    `weights`: None for torchvision's default ones, `"random"`, the name of a published set (`KINETICS400_V1`), or a
    file. `frames`, `size`: clips of other lengths and sizes than in training, which these models take.
    `fetch`: whether weights that are not in torch.hub's cache may be fetched.
    """
    if name not in MODELS:
        raise EncoderError(f"torchvision:{name} is not one of {', '.join(MODELS)}; for image models use timm: or hf:")
    models = optional_package("torchvision").models
    known = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = models.get_model(name, weights=None)
    published = models.get_model_weights(name)
    setattr(model, known.head, nn.Identity())
    source = _fill(model, known.head, weights, published, f"torchvision:{name}", seed, fetch=fetch)
    frames, side = frames or known.frames, size or known.size
    spec = EncoderSpec(
        name=f"torchvision:{name}",
        sampling=Sampling(frames=frames, fps=known.frames_per_second, stride_seconds=frames / known.frames_per_second),
        preprocessing=_preprocessing(known, published.DEFAULT.transforms(), side),
        poolings=("tokens", "spatial", "temporal", "mean", "clip"),
        config={"frames": frames, "size": side},
        weights=source,
        weights_sha256=state_sha256(model.state_dict()),
        weights_seed=seed if weights == "random" else None,
    )
    return TorchvisionEncoder(model.eval(), known.features, spec)


class TorchvisionEncoder(Encoder):
    """A torchvision video model up to its last feature map."""

    def __init__(self, model: nn.Module, features: Features, spec: EncoderSpec) -> None:
        super().__init__()
        self.model = model
        self.features = features
        self.spec = spec

    def forward(self, clips: Float[Tensor, "batch channel time height width"]) -> EncoderOutput:
        """Tokens of each clip: one per position of the feature map, by time step."""
        tokens = self.features(self.model, clips).flatten(2, 3)
        return EncoderOutput(tokens, clip=tokens.mean(dim=(1, 2)))


def _preprocessing(known: VideoModel, transform: Any, side: int) -> Preprocessing:
    """The published transform; if it squashes to 128 x 171 (the ResNets), the sides keep that ratio here."""
    return Preprocessing(
        height=side,
        width=side,
        short_side=round(known.short_side * side / known.size),
        interpolation="bilinear",
        mean=tuple(transform.mean),
        std=tuple(transform.std),
    )


def _fill(
    model: nn.Module, head: str, weights: str | None, published: Any, source: str, seed: int, *, fetch: bool
) -> str:
    """Load weights into the model, strictly but for its head; gives what to call them."""
    if weights == "random":
        return f"random (seed {seed})"
    if weights is not None and Path(weights).is_file():
        state, called = read_checkpoint(weights).state, Path(weights).name
    else:
        entry = _published(published, weights, source)
        state, called = _download(entry.url, source, fetch=fetch), str(entry)
    kept = {key: value for key, value in state.items() if not key.startswith(f"{head}.")}
    fit_state(model, kept, source=f"{source}: {called}")
    return called


def _published(published: Any, weights: str | None, source: str) -> Any:
    if weights is None:
        return published.DEFAULT
    if weights not in published.__members__:
        raise WeightsError(
            f"{source}: weights={weights!r} is neither a file nor one of {', '.join(published.__members__)}"
        )
    return published[weights]


def _download(url: str, source: str, *, fetch: bool) -> dict[str, Tensor]:
    """The state at that address, from torch.hub's cache where it is there."""
    if not fetch and not (Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]).is_file():
        raise EncoderError(
            f"{source}: its weights are not on this machine, and are not fetched because a file names them; where you "
            f"trust it, give --encoder {source} yourself (in Python encoder=)"
        )
    try:
        return torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True, progress=False
        )
    except (URLError, OSError) as error:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        raise WeightsError(f"{source}: could not fetch its weights ({error}); put {url} into {folder}") from error
