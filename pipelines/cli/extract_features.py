"""What a training recipe asks of `longvid extract --recipe`."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from longvid.errors import ConfigError

if TYPE_CHECKING:
    from longvid.pipelines.training.sections import FeatureSettings


def features_of(recipe: str | None, encoder: str | None, *, allow_code: bool) -> "tuple[FeatureSettings, list[str]]":
    """The recipe's settings of features, for `encoder` where one is given, and notes about what was dropped.

    The settings name code only where the command line names it too, or allows it.
    """
    from longvid.encoders.registry import names_code
    from longvid.pipelines.training.config import load_features
    from longvid.pipelines.training.sections import FeatureSettings

    if recipe is None and encoder is None:
        raise typer.BadParameter("give --encoder NAME, or --recipe NAME to take the encoder of a training recipe")
    if recipe is None:
        return FeatureSettings(encoder=str(encoder)), []
    wanted = load_features(recipe, allow_code=allow_code or encoder is not None)
    if encoder is not None and encoder != wanted.encoder:
        dropped = [name for name in ("options", "preprocessing") if getattr(wanted, name)]
        notes = [f"{' and '.join(dropped)} of {recipe} are for {wanted.encoder}; {encoder} keeps its own"]
        kept = wanted.model_copy(update={"encoder": encoder, "options": {}, "preprocessing": {}})
        return kept, notes if dropped else []
    if names_code(wanted.encoder) and not allow_code and wanted.options:
        raise ConfigError(
            f"{recipe}: has options for {wanted.encoder}, which is code; give them with --option, or --allow-code if "
            "the file is your own"
        )
    notes = [f"importing {wanted.encoder}, which {recipe} names"] if names_code(wanted.encoder) and allow_code else []
    return wanted, notes


@contextmanager
def named_wishes(
    recipe: str | None,
    encoder: str | None,
    wanted: "FeatureSettings | None",
    *,
    sampling: str | None,
    pooling: str | None,
) -> Iterator[None]:
    """Name the recipe and the remedy where an encoder cannot do what a recipe for another encoder asks for."""
    from longvid.errors import EncoderError

    if wanted is None:
        yield
        return
    wishes = {"--sampling": None if sampling else wanted.sampling, "--pooling": None if pooling else wanted.pooling}
    asked = {flag: value for flag, value in wishes.items() if value is not None}
    try:
        yield
    except EncoderError as error:
        if recipe is None or encoder is None or not asked:
            raise
        told = ", ".join(f"{flag.removeprefix('--')} {value}" for flag, value in asked.items())
        raise EncoderError(f"{error}; {recipe} asks for {told}: give {' or '.join(asked)} beside --encoder") from error
