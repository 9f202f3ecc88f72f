"""Builds a Hugging Face encoder from files, strictly, with its spec."""

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longvid.clips.preprocessing import Preprocessing
from longvid.clips.sampling import Sampling
from longvid.encoders.base import EncoderSpec
from longvid.encoders.huggingface.aligned import (
    ALIGNED,
    attentive_pooler,
    embedding_of,
    refuse_unbuildable,
    tower_class,
    tower_state,
)
from longvid.encoders.huggingface.files import model_folder, model_licence, read_object, read_state, weight_files
from longvid.encoders.huggingface.layouts import (
    LAYOUTS,
    Layout,
    configured_frames,
    configured_size,
    infer_layout,
    is_video,
    patch_sides,
    tubelet_frames,
)
from longvid.encoders.huggingface.model import HuggingFaceEncoder
from longvid.encoders.huggingface.processor import preprocessing_of, read_processor, with_size
from longvid.encoders.saved import HUGGINGFACE, fit_learned, is_learned
from longvid.errors import EncoderError, WeightsError
from longvid.video.frames import Interpolation
from longvid.weights import state_sha256

# fields of config.json that are names or history: they do not change features
NOT_THE_MODEL = {
    "_name_or_path", "architectures", "dtype", "id2label", "label2id", "torch_dtype", "transformers_version",
}  # fmt: skip

# parts that a checkpoint may lack: only the pooled vector needs them, and then it is not offered
POOLER_PARTS = ("pooler", "head")

# parts that are for training only, and are dropped
FOR_TRAINING = ("predictor",)

# buffers, or weights for training only, in older checkpoints
IGNORED_LEAVES = ("mask_token", "position_ids", "relative_position_index")

# ways to compute attention that come with transformers and torch; a flash one may be fetched as a kernel
OWN_ATTENTION = ("eager", "sdpa", "flex_attention")

# keys of a kind that an error names before it counts the rest
LISTED = 12


def build_huggingface(
    model: str,
    *,
    weights: str | None = None,
    seed: int = 0,
    fetch: bool = True,
    frames: int | None = None,
    size: int | None = None,
    revision: str | None = None,
    interpolation: Interpolation | None = None,
) -> HuggingFaceEncoder:
    """The encoder of a hub id or local folder.

    `weights`: None for the model's own, `"random"` for a seeded start from its configuration alone, or a file of ours.
    `frames`: frames of a clip (default: a video model's own number; 1 for an image model).
    `size`: side of square frames in pixels (default: the processor's), where the model can resize its positions.
    `revision`: branch, tag or commit on the hub. `interpolation`: instead of the processor's filter.
    `fetch`: whether a model that is not in the local cache may be fetched.
    Raises `EncoderError` or `WeightsError`.
    """
    learned = None
    if weights is not None and is_learned(weights):
        learned, weights = weights, "random"
    if weights not in (None, "random"):
        raise EncoderError(
            f"{model}: weights={weights!r}; a Hugging Face model takes its own weights, 'random', or a .safetensors "
            "file of `longvid finetune` or `longvid distil`"
        )
    folder = model_folder(model, revision=revision, weights=weights is None, fetch=fetch)
    whole = whole_configuration(folder, model)
    config = _configuration(whole, model)
    model_class = _model_class(config, whole)
    preprocessing = _preprocessing(folder, config, size, interpolation, may_guess=weights == "random")
    frames = _frames(config, frames, model)
    interpolate = _fit_positions(config, preprocessing, frames, model, model_class)
    if weights == "random":
        state = None
        module, has_pooler = _random(config, model_class, seed, model), True
        digest, source = state_sha256(module.state_dict()), f"random (seed {seed})"
    else:
        state = read_state(checkpoint_files(folder, model))
        module, has_pooler = _loaded(config, model_class, tower_state(state, whole), model)
        digest, source = state_sha256(state), _origin(folder, model)
    pooler, embedding = attentive_pooler(config, state, model), embedding_of(whole, state, seed, model)
    if config.model_type == "vjepa2":  # its predictor is for training
        module = module.get_submodule("encoder")
    module.eval()
    layout = LAYOUTS.get(whole.model_type) or LAYOUTS.get(config.model_type)
    layout = layout or _probe(module, config, preprocessing, frames)
    if pooler is not None:
        layout = replace(layout, clip="attentive", default_pooling="clip")
    pooled = layout.clip in ("pooler", "attentive") and has_pooler
    spec = EncoderSpec(
        name=f"hf:{_origin(folder, model).partition('@')[0]}",
        sampling=_sampling(layout, frames),
        preprocessing=preprocessing,
        default_pooling=layout.default_pooling if pooled else "mean",
        poolings=(*_poolings(layout, pooled), *(["embedding"] if embedding is not None and pooled else [])),
        config={"frames": frames, "model": _model_fields(folder)},
        weights=source,
        weights_sha256=digest,
        licence=model_licence(folder),
        weights_seed=seed if weights == "random" else None,
    )
    encoder = HuggingFaceEncoder(
        module, layout, spec, interpolate=interpolate, pooled=pooled, pooler=pooler, embedding=embedding
    )
    if learned is not None:
        fit_learned(encoder, learned, architecture=HUGGINGFACE)
    return encoder


def whole_configuration(folder: Path, source: str) -> Any:
    """The model's configuration."""
    from transformers import AutoConfig

    fields = read_object(folder / "config.json")
    _refuse_code_and_links(fields, folder / "config.json")
    _refuse_own_code(fields, source)
    with quiet_transformers(source):
        whole = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    refuse_unbuildable(whole, source)
    return whole


def _configuration(whole: Any, source: str) -> Any:
    """The configuration of a model of images or video; of one with text, that of its vision tower."""
    family = ALIGNED.get(whole.model_type)
    config = getattr(whole, family.config if family is not None else "vision_config", whole)
    found = tower_class(config, whole)
    if found is None:
        raise EncoderError(f"{source}: model_type={config.model_type!r} has no bare model in transformers")
    given = found.main_input_name
    if given not in ("pixel_values", "pixel_values_videos"):
        raise EncoderError(f"{source}: a {config.model_type} model takes {given}, not images or videos")
    if config.model_type == "vit_mae":
        config.mask_ratio = 0.0  # as an encoder it sees every patch
    return config


def _refuse_own_code(fields: dict[str, Any], source: str) -> None:
    """Raise `EncoderError` for a model that is code in its own folder, of a type that transformers does not have."""
    from transformers import CONFIG_MAPPING

    if "auto_map" in fields and fields.get("model_type") not in CONFIG_MAPPING:
        raise EncoderError(
            f"{source}: is code of its own (auto_map in its config.json), which longvid never runs, and transformers "
            f"has no model_type {fields.get('model_type')!r}; convert it to one of {', '.join(LAYOUTS)}, or wrap it in "
            "an encoder of your own (--encoder module:callable)"
        )


def _refuse_code_and_links(fields: Any, file: Path) -> None:
    """Raise `EncoderError` for a configuration that has transformers import a kernel or fetch another model.

    An attention `owner/name` is a kernel from the hub, which is code; a backbone is a model of its own.
    """
    if isinstance(fields, list):
        for item in fields:
            _refuse_code_and_links(item, file)
    if not isinstance(fields, dict):
        return
    for name, value in fields.items():
        if name.endswith("_implementation") and value not in (None, *OWN_ATTENTION):
            raise EncoderError(f"{file}: {name}={value!r} is code from elsewhere; remove it from the file")
        if name in ("use_pretrained_backbone", "use_kernels") and value:
            raise EncoderError(f"{file}: {name} has another model or code fetched; remove it from the file")
        _refuse_code_and_links(value, file)


def _model_class(config: Any, whole: Any) -> Any:
    found = tower_class(config, whole)
    assert found is not None
    return found


def _preprocessing(
    folder: Path, config: Any, size: int | None, interpolation: Interpolation | None, *, may_guess: bool
) -> Preprocessing:
    settings = read_processor(folder, video=is_video(config))
    if settings is None and not may_guess:
        raise EncoderError(
            f"{folder}: no preprocessor_config.json, so the mean, std and size that its weights expect are unknown; "
            "copy it from the model's page into the folder"
        )
    if settings is None:
        settings = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    default = configured_size(config) or (224, 224)
    preprocessing = preprocessing_of(settings, default=default, source=str(folder), interpolation=interpolation)
    return preprocessing if size is None else with_size(preprocessing, size)


def _frames(config: Any, frames: int | None, source: str) -> int:
    """Frames per clip: as requested, or the model's own number."""
    if frames is not None and frames < 1:
        raise EncoderError(f"{source}: frames={frames}; a clip has at least 1")
    own = configured_frames(config) if is_video(config) else None
    layout = LAYOUTS.get(config.model_type, Layout())
    if frames is not None and own is not None and frames != own and not layout.any_frames:
        raise EncoderError(f"{source}: frames={frames}; this model takes exactly {own}")
    if frames is not None and is_video(config) and frames % tubelet_frames(config):
        raise EncoderError(f"{source}: frames={frames} is not a multiple of {tubelet_frames(config)}, a token's frames")
    return frames or own or layout.default_frames


def _fit_positions(config: Any, preprocessing: Preprocessing, frames: int, source: str, model_class: Any) -> bool:
    """Whether the model must be asked to resize its position table; refuses sizes that it cannot take."""
    size, own = (preprocessing.height, preprocessing.width), configured_size(config)
    patch = patch_sides(config)
    if size[0] % patch[0] or size[1] % patch[1]:
        low = [side // step * step for side, step in zip(size, patch, strict=True)]
        raise EncoderError(
            f"{source}: frames of {size[0]} x {size[1]} do not divide into patches of {patch[0]} x {patch[1]}; "
            f"the nearest sizes are {low[0]} and {low[0] + patch[0]} (option size=)"
        )
    if config.model_type == "vjepa2":  # rotary positions, laid out by these two fields
        config.crop_size, config.frames_per_clip = size[0], frames
        return False
    layout = LAYOUTS.get(config.model_type, Layout(video=is_video(config)))
    if own is None or size == own or layout.any_size:
        return False
    asks = "interpolate_pos_encoding" in inspect.signature(model_class.forward).parameters
    if layout.video or not asks:
        raise EncoderError(
            f"{source}: frames of {size[0]} x {size[1]}, but its positions are for {own[0]} x {own[1]} "
            f"and it cannot resize them; pass size={own[0]}"
        )
    return True


def _random(config: Any, model_class: Any, seed: int, source: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]), quiet_transformers(source):
        torch.manual_seed(seed)
        model: nn.Module = model_class._from_config(config, dtype=torch.float32)
        return model


def checkpoint_files(folder: Path, source: str) -> list[Path]:
    """The files of a model's weights. Raises `WeightsError` if there are none."""
    found = weight_files(folder)
    if not found:
        raise WeightsError(f"{source}: no weights beside config.json; pass weights='random' for random weights")
    return found


def _loaded(config: Any, model_class: Any, state: dict[str, Tensor], source: str) -> tuple[nn.Module, bool]:
    """The model with those weights, and whether they include its pooler's.

    Raises `WeightsError` listing what is missing, what does not fit, and what belongs to the encoder but is not in
    the model (a checkpoint deeper than its configuration says). Heads and text towers are left out without notice.
    """
    with torch.random.fork_rng(devices=[]), quiet_transformers(source):
        module, report = model_class.from_pretrained(
            None,
            config=config,
            state_dict=state,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )
    missing = [
        key
        for key in sorted(report["missing_keys"])
        if key.rpartition(".")[2] not in IGNORED_LEAVES and key.split(".")[0] not in FOR_TRAINING
    ]
    pooler = [key for key in missing if key.split(".")[0] in POOLER_PARTS]
    own = {name.split(".")[0] for name in module.state_dict()}
    prefixes = (f"{module.base_model_prefix}.", "vision_model.")
    surplus = []
    for key in sorted(report["unexpected_keys"]):
        bare = next((key.removeprefix(prefix) for prefix in prefixes if key.startswith(prefix)), key)
        if bare.split(".")[0] in own and bare.rpartition(".")[2] not in IGNORED_LEAVES:
            surplus.append(key)
    faults = {
        "missing": [key for key in missing if key not in pooler],
        "of the wrong shape": sorted(str(entry[0]) for entry in report["mismatched_keys"]),
        "not in the model": surplus,
    }
    if any(faults.values()):
        listed = "; ".join(f"{what}: {_list(keys)}" for what, keys in faults.items() if keys)
        raise WeightsError(f"{source}: the checkpoint does not fit its config.json ({listed})")
    return module, not pooler


def _list(keys: list[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def _probe(module: nn.Module, config: Any, preprocessing: Preprocessing, frames: int) -> Layout:
    """The layout of a family that is not in `LAYOUTS`, found from its output for one black clip."""
    height, width = preprocessing.height, preprocessing.width
    video = is_video(config)
    shape = (1, frames, 3, height, width) if video else (1, 3, height, width)
    with torch.no_grad():
        hidden = module(torch.zeros(shape)).last_hidden_state
    if hidden.ndim == 4:
        return Layout(class_token=False, clip="none")
    patch = patch_sides(config)
    places = (height // patch[0]) * (width // patch[1]) * (frames // tubelet_frames(config) if video else 1)
    places //= 4 ** (len(getattr(config, "depths", [1])) - 1)  # a hierarchy halves both sides at each stage
    return infer_layout(config.model_type, hidden.shape[1], places, video=video)


def _poolings(layout: Layout, pooled: bool) -> tuple[str, ...]:
    names = ["tokens", "spatial", "temporal", "mean"]
    if layout.class_token and (layout.flat or not layout.video):
        names += ["class", "class+tokens"]
    if pooled or layout.clip == "class":
        names.append("clip")
    return tuple(names)


def _sampling(layout: Layout, frames: int) -> Sampling:
    """Clips that follow each other without a gap, at the frame rate used in training."""
    fps = layout.frames_per_second
    return Sampling(frames=frames, fps=fps, stride_seconds=frames / fps)


def _origin(folder: Path, model: str) -> str:
    """Where weights come from, equal on every machine: hub id and commit, or the local folder's name."""
    return folder.resolve().name if Path(model).expanduser().is_dir() else f"{model}@{folder.name[:12]}"


def _model_fields(folder: Path) -> dict[str, Any]:
    fields = read_object(folder / "config.json")
    family = ALIGNED.get(str(fields.get("model_type")))
    inner = fields.get("vision_config" if family is None else family.config)
    fields = inner if isinstance(inner, dict) else fields
    return {name: value for name, value in fields.items() if name not in NOT_THE_MODEL}


@contextmanager
def quiet_transformers(source: str) -> Iterator[None]:
    """Wraps calls of transformers: hides its bars and reports, and turns its errors on a configuration into one line.

    Whatever matters in a load report is raised as an error here.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers.utils import logging

    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    except (StrictDataclassError, ValueError, TypeError, KeyError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise EncoderError(f"{source}: its config.json is not one that transformers can build ({reason})") from error
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
