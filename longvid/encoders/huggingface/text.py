"""Texts as vectors in the space that a model shares with images or video.

    encode = build_text_encoder("openai/clip-vit-base-patch32")
    vectors = encode(["a man pours milk"])            # (1, dim), of length 1

The vectors are those of the model's own `get_text_features`, divided by their length. Nothing that a model's files name
is imported.
"""

import inspect
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32

from longvid.encoders.huggingface.aligned import ALIGNED
from longvid.encoders.huggingface.build import IGNORED_LEAVES, checkpoint_files, quiet_transformers, whole_configuration
from longvid.encoders.huggingface.files import TOKENIZER_FILES, model_folder, read_state
from longvid.errors import EncoderError, WeightsError, short_reason
from longvid.weights import state_sha256

PADDED = ("siglip", "siglip2")
"""Families that were trained on texts filled up to their full length, without a mask."""


class TextEncoder:
    """Calls a model's text tower; made by `build_text_encoder`."""

    def __init__(self, model: Any, tokenizer: Any, *, family: str, source: str) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._padded = family in PADDED
        self._source = source
        self._most_tokens = int(model.config.text_config.max_position_embeddings)
        self._takes = set(inspect.signature(model.get_text_features).parameters)

    def __call__(self, texts: list[str]) -> Float32[np.ndarray, "texts dim"]:
        """Vectors of length 1. Raises `EncoderError` for a text that is empty or longer than the model reads."""
        for text in texts:
            self._refuse(text)
        padding = {"padding": "max_length", "max_length": self._most_tokens} if self._padded else {"padding": True}
        given = self._tokenizer(texts, **padding, return_tensors="pt")
        names = self._takes - ({"attention_mask"} if self._padded else set())
        with torch.inference_mode():
            found = self._model.get_text_features(**{name: given[name] for name in given if name in names})
        vectors = found if isinstance(found, torch.Tensor) else found.pooler_output
        return torch.nn.functional.normalize(vectors.float(), dim=-1).numpy()

    def _refuse(self, text: str) -> None:
        if not text.strip():
            raise EncoderError("the text is empty: say in a few words what to look for")
        num_tokens = len(self._tokenizer(text)["input_ids"])
        if num_tokens > self._most_tokens:
            raise EncoderError(
                f"{self._source} reads texts of up to {self._most_tokens} tokens, {text[:40]!r}... has {num_tokens}: "
                "shorten it"
            )


def build_text_encoder(
    model: str, *, revision: str | None = None, fetch: bool = True, weights_sha256: str | None = None
) -> TextEncoder:
    """The text tower of a hub id or local folder, with its tokenizer.

    `weights_sha256`: the digest that its weights must have, as in the recipe of a store.
    `fetch`: whether what is not in the local cache may be fetched. Raises `EncoderError` for a model without text or
    without a tokenizer, `WeightsError` for weights that do not fit or are others.
    """
    folder = model_folder(model, revision=revision, fetch=fetch)
    whole = whole_configuration(folder, model)
    made = _whole_class(whole)
    if whole.model_type not in ALIGNED or not hasattr(made, "get_text_features"):
        raise EncoderError(
            f"{model}: a model of type {whole.model_type} has no text in the space of its features; those that have: "
            f"{', '.join(sorted(ALIGNED))}"
        )
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise EncoderError(
            f"{model}: no tokenizer beside config.json ({', '.join(TOKENIZER_FILES[:2])}, ...): fetch the whole model, "
            f"`hf download {model}`, or copy the files from its page into the folder"
        )
    state = read_state(checkpoint_files(folder, model))
    digest = state_sha256(state)
    if weights_sha256 is not None and digest != weights_sha256:
        raise WeightsError(
            f"{model}: its weights have the sha256 {digest[:12]}, the features were made with {weights_sha256[:12]}: "
            "texts and features would not lie in one space; give the model of the features by --encoder"
        )
    with torch.random.fork_rng(devices=[]), quiet_transformers(model):
        module, report = made.from_pretrained(
            None, config=whole, state_dict=state, output_loading_info=True, ignore_mismatched_sizes=True,
            dtype=torch.float32,
        )  # fmt: skip
    missing = sorted(key for key in report["missing_keys"] if key.rpartition(".")[2] not in IGNORED_LEAVES)
    wrong = missing + sorted(str(entry[0]) for entry in report["mismatched_keys"])
    if wrong:
        raise WeightsError(f"{model}: the checkpoint does not fit its config.json ({', '.join(wrong[:8])})")
    return TextEncoder(module.eval(), _tokenizer(folder, model), family=whole.model_type, source=model)


def _whole_class(whole: Any) -> Any:
    """transformers' class of the model with both towers; None if it has none."""
    from transformers import MODEL_MAPPING

    if whole.model_type == "videoprism":
        from transformers import VideoPrismClipModel

        return VideoPrismClipModel
    found = MODEL_MAPPING.get(type(whole), None)
    return found[0] if isinstance(found, list | tuple) else found


def _tokenizer(folder: Any, source: str) -> Any:
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (ImportError, KeyError, OSError, TypeError, ValueError) as error:
        raise EncoderError(f"{source}: its tokenizer cannot be read ({short_reason(error)}); fetch it again") from error
