"""Training that starts from a pretraining: `decoder.init`.

The decoder is the pretrained one: its name, its options and, where the training standardises features, its mean and
deviation. Only the head is new.
"""

from dataclasses import fields
from typing import Any

from longvid.decoders import DECODERS, Decoder, DecoderEntry
from longvid.errors import ConfigError, WeightsError
from longvid.hub import hub_place
from longvid.pipelines.training.config import TrainConfig
from longvid.pipelines.training.recipe_files import is_elsewhere
from longvid.pretrained import PretrainedRecord, freeze_body, read_pretrained, take_over
from longvid.stores import Recipe


def started_from(config: TrainConfig) -> TrainConfig:
    """The config with the name and options of the pretrained decoder; the same config without `decoder.init`.

    Options of the recipe go before those of the pretraining; `ConfigError` for another decoder.
    """
    settings = config.decoder
    if settings.init is None:
        return config
    if is_elsewhere(settings.init) and hub_place(settings.init) is None:
        raise ConfigError(
            f"decoder.init={settings.init}: is neither a folder on this machine nor on the Hub (hf://user/name); copy "
            "the pretraining here"
        )
    record = read_pretrained(settings.init)
    pretrained = record.decoder
    if "name" in settings.model_fields_set and settings.name != pretrained.name:
        raise ConfigError(
            f"decoder.name={settings.name}: {settings.init} pretrained {pretrained.name!r}; leave decoder.name out"
        )
    if config.standardise != pretrained.standardise:
        said = str(pretrained.standardise).lower()
        raise ConfigError(f"standardise: {settings.init} was pretrained with standardise={said}; say the same here")
    options = pretrained.options | _fixed(record) | settings.options
    return config.model_copy(
        update={"decoder": settings.model_copy(update={"name": pretrained.name, "options": options})}
    )


def _fixed(record: PretrainedRecord) -> dict[str, Any]:
    """Options that stand for the pretraining's usual length: stored weights mean nothing at another one."""
    pretrained = record.decoder
    entry = DECODERS[pretrained.name]
    if not isinstance(entry, DecoderEntry):
        return {}
    defaults = {field.name: field.default for field in fields(entry.config)}
    if "map_lengths" not in defaults or not pretrained.max_length or pretrained.options.get("map_lengths"):
        return {}
    layers = int(pretrained.options.get("layers", defaults["layers"]))
    return {"map_lengths": [pretrained.max_length >> block for block in range(layers)]}


def refuse_other_features(config: TrainConfig, recipe: dict[str, Any]) -> None:
    """Raise `ConfigError` if the store's features are not those of the pretraining, width first."""
    assert config.decoder.init is not None
    before, now = Recipe.from_dict(read_pretrained(config.decoder.init).store_recipe), Recipe.from_dict(recipe)
    remedy = "pretrain on a store of this recipe"
    if before.dim != now.dim:
        raise ConfigError(
            f"decoder.init={config.decoder.init}: was pretrained on features {before.dim} wide, the store's are "
            f"{now.dim} wide; {remedy}"
        )
    if differences := before.differences(now):
        raise ConfigError(
            f"decoder.init={config.decoder.init}: was pretrained on other features ({'; '.join(differences)}); {remedy}"
        )


def start_from(decoder: Decoder, config: TrainConfig) -> bool:
    """Copy the pretrained layers into the decoder, and freeze them if asked; False without `decoder.init`."""
    if config.decoder.init is None:
        return False
    try:
        take_over(decoder, config.decoder.init)
    except WeightsError as error:
        raise WeightsError(f"decoder.init={config.decoder.init}: {error}") from None
    if config.decoder.frozen:
        freeze_body(decoder)
    return True
