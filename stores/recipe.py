"""The recipe of a store: everything that decides a feature's value."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from longvid.notebook import html_table
from longvid.stores.canonical import differences, digest, plain
from longvid.stores.errors import NotAFeatureStore

TokenType = Literal["float16", "float32", "int8"]

FORMAT: Literal[1] = 1
"""The on-disk format of stores that this version writes and reads."""


class Recipe(BaseModel):
    """Everything that decides the value of a feature. Two stores with equal digests hold interchangeable features.

    Frozen. The dictionaries must be JSON; they are copied, so later changes by the caller have no effect. A whole float
    and the equal integer (`1.0` and `1`) are the same setting.
    Raises `pydantic.ValidationError` (a ValueError) for a field that is missing, unknown or impossible.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    encoder: str = Field(min_length=1)
    """Name of the short-range encoder, or "imported"."""
    encoder_config: dict[str, Any]
    """The encoder's configuration, complete enough to build it again."""
    weights_sha256: str
    """sha256 of the encoder's weights; empty where they are not known (imported features)."""
    sampling: dict[str, Any]
    """The frames of a clip, and the positions of the clips."""
    preprocessing: dict[str, Any]
    """From decoded pixels to the encoder's input."""
    pooling: str
    """From the encoder's output to `num_tokens` tokens per clip."""
    num_tokens: int = Field(ge=1)
    dim: int = Field(ge=1)
    dtype: TokenType = "float16"
    """How a token is stored; int8 has one float32 scale per token beside it."""
    format: Literal[1] = FORMAT

    @field_validator("encoder_config", "sampling", "preprocessing")
    @classmethod
    def _plain(cls, value: dict[str, Any]) -> dict[str, Any]:
        try:
            taken: dict[str, Any] = _whole_floats_as_integers(plain(value))
            return taken
        except TypeError as error:
            raise ValueError(f"must hold JSON values only ({error})") from error

    @property
    def digest(self) -> str:
        """sha256 of the recipe's canonical JSON, 64 hexadecimal digits."""
        return digest(self.to_dict())

    def differences(self, other: "Recipe") -> list[str]:
        """One line `field: this != other` for each field that differs, nested fields dotted; empty if equal."""
        return differences(self.to_dict(), other.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, a copy."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Recipe":
        """The inverse of `to_dict`. Raises NotAFeatureStore with the first fault for anything else."""
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(str(part) for part in fault["loc"])
            raise NotAFeatureStore(f"recipe field {where!r}: {fault['msg']}") from error

    def __hash__(self) -> int:
        return hash(self.digest)

    def _repr_html_(self) -> str:
        fields = self.to_dict()
        plain = [(name, str(value)) for name, value in fields.items() if not isinstance(value, dict)]
        nested = [
            (f"{name}.{inner}", str(value))
            for name, values in fields.items()
            if isinstance(values, dict)
            for inner, value in values.items()
        ]
        return html_table(f"recipe {self.digest[:16]}", plain + nested)


def _whole_floats_as_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole_floats_as_integers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_floats_as_integers(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
