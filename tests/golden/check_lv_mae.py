"""LV-MAE: masked pretraining with either mask, its three losses and gradients, and its two probes."""

from typing import Any

import numpy as np
import torch
from rounding import rounding
from torch import Tensor

from longvid.checkpoints import load_official
from longvid.checkpoints.official import official_layout
from longvid.decoders.lv_mae import LVMAE, LVMAEConfig, MaskedAutoencoder
from longvid.decoders.lv_mae.parts import encode_visible, padding, sine_table, unit_length
from longvid.pretraining import masks, objective
from longvid.weights.fit import fit_state

# The authors' normalisation and position tables are float32, whatever the model computes in: that bounds float64 too.
FLOAT64_TOLERANCE = rounding(torch.float32, terms=8)
FLOAT32_TOLERANCE = rounding(torch.float32, terms=64, layers=4)
GRADIENT_TOLERANCE = 1e-5
REPEATED_BELOW = 5
LOSSES = {"loss": "mse", "loss_cosine": "cosine", "loss_norm_pix": "channel-mse"}


def is_pretraining(golden: Any) -> bool:
    return golden.config.get("kind") == "pretrain" and {"batch/mask", "pred"} <= golden.names


def is_probe(golden: Any) -> bool:
    return golden.config.get("kind") == "probe" and {"attentive_logits", "linear_logits"} <= golden.names


def videos(golden: Any, *, repeat: bool) -> list[np.ndarray]:
    """The embeddings of every window, those of very short videos repeated."""
    names = sorted((n for n in golden.names if n.startswith("video_")), key=lambda name: int(name.split("_")[1]))
    held = [golden.array(name).astype(np.float32) for name in names]
    assert [len(clips) for clips in held] == golden.config["lengths"]
    return [masks.repeated(clips, REPEATED_BELOW) for clips in held] if repeat else held


def padded(windows: list[np.ndarray], places: int) -> tuple[Tensor, Tensor]:
    """(batch, places, dim) with rubbish behind the last clip, which must not matter, and the lengths."""
    tokens = torch.full((len(windows), places, windows[0].shape[1]), 7.0)
    for row, clips in zip(tokens, windows, strict=True):
        row[: len(clips)] = torch.from_numpy(clips)
    return tokens, torch.tensor([len(clips) for clips in windows])


def compare_batch(golden: Any, tokens: Tensor, lengths: Tensor) -> None:
    """What pretraining and probing share: lengths, and embeddings of length 1 with zeros behind them."""
    outside = padding(tokens, lengths)
    golden.compare("batch/length", lengths, tolerance=0)
    units = unit_length(tokens).masked_fill(outside[..., None], 0.0)
    golden.compare("batch/normalized_stacked_embeddings", units, tolerance=FLOAT64_TOLERANCE)


def masks_of(golden: Any, windows: list[np.ndarray], places: int) -> Tensor:
    """The masks: drawn again where the embeddings decide them, the file's where a random number did."""
    ratio = golden.config["mask_ratio"]
    shuffled = golden.array("batch/ids_shuffle")
    masked = torch.zeros(len(windows), places, dtype=torch.bool)
    restored = np.zeros_like(shuffled)
    for index, clips in enumerate(windows):
        order = shuffled[index, : len(clips)]
        restored[index, : len(clips)] = np.argsort(order)
        if golden.config["masking"] == "semantic":  # clips that are repeated have equal scores, in any order
            scores = masks.semantic_scores(clips)
            assert np.diff(scores[order]).min() >= -1e-6, f"{golden.path}: window {index} is sorted in another way"
        else:  # the rank of each clip is all that is kept of its random number
            scores = np.argsort(order).astype(float)
        masked[index, : len(clips)] = torch.from_numpy(masks.keep_first(scores, ratio))
    golden.compare("batch/mask", masked, tolerance=0)
    golden.compare("batch/ids_restore", restored, tolerance=0)
    kept = torch.tensor([masks.num_kept(len(clips), ratio) for clips in windows])
    golden.compare("batch/masked_length", kept, tolerance=0)
    golden.compare("batch/attn_mask", torch.arange(places + 1) > kept[:, None], tolerance=0)
    return masked


def in_their_order(golden: Any, rows: Tensor, packed_order: Tensor, kept: Tensor, places: int) -> Tensor:
    """Class token and visible clips in the authors' packing: by their shuffle, not by time."""
    laid = torch.zeros(len(rows), places + 1, rows.shape[-1], dtype=rows.dtype)
    laid[:, 0] = rows[:, 0]
    for index, count in enumerate(kept.tolist()):
        theirs = golden.array("batch/ids_shuffle")[index, :count]
        found = {int(place): row for row, place in enumerate(packed_order[index, :count])}
        laid[index, 1 : count + 1] = rows[index, 1:][[found[int(place)] for place in theirs]]
    return laid


def check_pretraining(golden: Any) -> None:
    config = golden.config
    assert config["layer_norm_eps"] == 1e-6
    assert not config["cos_loss"] or not config["norm_pix_loss"]
    places, windows = config["num_patches"], videos(golden, repeat=True)
    tokens, lengths = padded(windows, places)
    compare_batch(golden, tokens, lengths)
    masked = masks_of(golden, windows, places)
    heads = {"heads": config["num_heads"], "decoder_heads": config["decoder_num_heads"]}
    model = load_official("lv_mae", golden.state(), **heads)
    assert isinstance(model, MaskedAutoencoder)
    assert len(model.encoder.blocks) == config["depth"]
    assert len(model.reconstruction.blocks) == config["decoder_depth"]
    assert model.encoder.class_token.shape[-1] == config["embed_dim"]
    assert model.reconstruction.embed.out_features == config["decoder_embed_dim"]
    assert model.encoder.blocks[0].mlp.fc1.out_features == config["mlp_ratio"] * config["embed_dim"]
    for name, width in (("pos_embed", config["embed_dim"]), ("decoder_pos_embed", config["decoder_embed_dim"])):
        golden.compare(f"state/{name}", sine_table(places + 1, width, tokens)[None], tolerance=FLOAT64_TOLERANCE)
    with torch.no_grad():
        compare_outputs(golden, model, tokens, masked, lengths, ending="", tolerance=FLOAT32_TOLERANCE)
    model = model.double()
    loss = compare_outputs(golden, model, tokens.double(), masked, lengths, ending="_f64", tolerance=FLOAT64_TOLERANCE)
    loss.backward()
    rename, parameters = official_layout("lv_mae").rename, dict(model.named_parameters())
    for name in sorted(name.removeprefix("grad/") for name in golden.names if name.startswith("grad/")):
        gradient = parameters[str(rename(name))].grad
        assert gradient is not None, f"{golden.path}: {name} has no gradient"
        expected = golden.array(f"grad/{name}")
        tolerance = GRADIENT_TOLERANCE * min(1.0, float(abs(expected).max()))
        golden.compare(f"grad/{name}", gradient.reshape(expected.shape), tolerance=tolerance)


def compare_outputs(
    golden: Any,
    model: MaskedAutoencoder,
    tokens: Tensor,
    masked: Tensor,
    lengths: Tensor,
    *,
    ending: str,
    tolerance: float,
) -> Tensor:
    """Compare every output of one precision; returns the loss that the file's gradients belong to."""
    places = masked.shape[1]
    packed, encoded = encode_visible(model.encoder, tokens, masked, lengths)
    kept = packed.visible.sum(dim=1)
    ignored = torch.arange(places + 1) > kept[:, None]
    golden.compare(
        f"latent{ending}",
        in_their_order(golden, encoded.detach(), packed.order, kept, places),
        tolerance=tolerance,
        junk=ignored,
    )
    if not ending:
        units = torch.cat([torch.zeros(len(tokens), 1, tokens.shape[2]), unit_length(tokens)], dim=1)
        order = torch.from_numpy(golden.array("batch/ids_shuffle"))
        visible = units[:, 1:].gather(1, order[..., None].expand(-1, -1, units.shape[-1]))
        visible = visible.masked_fill(ignored[:, 1:, None], 0.0)
        golden.compare("batch/masked_padded_embeddings", visible, tolerance=FLOAT64_TOLERANCE)
        outside = torch.cat([torch.zeros(len(tokens), 1, dtype=torch.bool), padding(masked, lengths)], dim=1)
        line = model.reconstruction.laid_out(encoded, packed, places)
        golden.compare("decoder_input", line, tolerance=tolerance, junk=outside)
    predicted = model(tokens, masked, lengths)
    golden.compare(f"pred{ending}", predicted, tolerance=tolerance, junk=padding(masked, lengths))
    target = unit_length(tokens)
    losses = {}
    for name, kind in LOSSES.items():
        wanted = objective.over_channels(target) if kind == "channel-mse" else target
        losses[name] = objective.masked_mean(objective.error(predicted, wanted, kind), masked)
    for name, value in losses.items():
        if f"{name}{ending}" in golden.names:
            golden.compare(f"{name}{ending}", value, tolerance=tolerance)
    return losses["loss"]


def check_probe(golden: Any) -> None:
    """The encoder over whole videos, and both probes, with the released code's mask that ignores the last clip."""
    config = golden.config
    assert (config["layer_norm_eps"], config["probe_layer_norm_eps"]) == (1e-6, 1e-5)
    tokens, lengths = padded(videos(golden, repeat=False), config["num_patches"])
    compare_batch(golden, tokens, lengths)
    places = tokens.shape[1]
    golden.compare("batch/attn_mask", torch.arange(places + 1) >= lengths[:, None], tolerance=0)
    golden.compare(
        "state/pos_embed", sine_table(places + 1, config["embed_dim"], tokens)[None], tolerance=FLOAT64_TOLERANCE
    )
    rename = official_layout("lv_mae").rename
    encoder = {str(rename(name)): tensor for name, tensor in golden.state().items() if name != "pos_embed"}
    for probe in ("attentive", "linear"):
        settings = LVMAEConfig(
            dim=config["embed_dim"],
            outputs=config["classes"],
            depth=config["depth"],
            heads=config["num_heads"],
            mlp_ratio=config["mlp_ratio"],
            probe=probe,
            probe_heads=config["probe_heads"],
            last_clip="ignored",
        )
        model = LVMAE(settings).eval()
        head = {f"probe.{name}": tensor for name, tensor in golden.state(f"{probe}/").items()}
        fit_state(model, encoder | head, source=str(golden.path))
        junk = torch.arange(places + 1) > lengths[:, None]  # the last clip's own row is computed
        for ending, tolerance in (("", FLOAT32_TOLERANCE), ("_f64", FLOAT64_TOLERANCE)):
            model = model.double() if ending else model
            with torch.no_grad():
                given = tokens.double() if ending else tokens
                golden.compare(f"{probe}_logits{ending}", model(given, lengths), tolerance=tolerance)
                latent = model.encode(given, lengths)[0]
                golden.compare(f"latent{ending}", latent, tolerance=tolerance, junk=junk)


LAYOUTS = {"pretraining": (is_pretraining, check_pretraining), "probe": (is_probe, check_probe)}
