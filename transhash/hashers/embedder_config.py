"""How images become the input of an embedder, an ONNX model, and which of its outputs are the embeddings."""

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

import msgspec

from ..errors import ModelError, one_line
from ..system.arguments import checked
from ..system.files import display
from ..system.settings import first_error, setting
from .preprocessing import RESAMPLING, Preprocessing

_LARGEST = 1 << 16  # bytes of a TOML file
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class EmbedderConfig:
    """Settings of an embedder. Raises ModelError for a value out of range."""

    size: int | None = setting(
        None, "Side of the square input, in pixels; by default that of the model.", low=8, high=2048
    )
    fit: str = setting(
        "crop", "crop: the central square; squash: the whole image, regardless of its aspect ratio.",
        of=("crop", "squash"),
    )  # fmt: skip
    crop: float = setting(
        1.0, "Side of the central square that is kept, as a fraction of the shorter side.", low=0.05, high=1.0
    )
    resample: str = setting("bicubic", "Interpolation with which images are resized.", of=RESAMPLING)
    mean: tuple[float, ...] = setting(
        _IMAGENET[0], "Mean of the red, green and blue channels, for pixels from 0 to 1."
    )
    std: tuple[float, ...] = setting(_IMAGENET[1], "Standard deviation of these channels.")
    embedding: str | None = setting(
        None, "Name of the output that is the embedding; by default the first one with a vector per image."
    )
    pool: str = setting(
        "token", "If that output has a vector per token: take the first one, or their mean.", of=("token", "mean")
    )
    normalize: bool = setting(True, "Scale embeddings to unit length.")

    def __post_init__(self) -> None:
        """Check every value. Mean and std may be lists."""
        for name in ("mean", "std"):
            if isinstance(value := getattr(self, name), list):
                object.__setattr__(self, name, tuple(value))
        message = first_error(self)
        for name, low in (("mean", -1e3), ("std", 1e-3)):
            values = getattr(self, name)
            if len(values) != 3 or not all(low <= value <= 1e3 for value in values):
                message = message or f"{name} {values!r:.60}: must be three numbers from {low:g} to 1000"
        if message:
            raise ModelError(message)

    def __str__(self) -> str:
        """Return one line, for people."""
        kept = "whole image" if self.fit == "squash" else "central square"
        cropped = f" of {self.crop:g} of the shorter side" if self.fit == "crop" and self.crop < 1 else ""
        mean, std = (", ".join(f"{value:g}" for value in values) for values in (self.mean, self.std))
        scaled = "" if self.normalize else ", not normalised"
        return (
            f"{self.size} px, {kept}{cropped}, {self.resample}; mean {mean}; std {std}; "
            f"output {self.embedding}{scaled}"
        )

    @property
    def preprocessing(self) -> Preprocessing:
        """How an image is made square and normalised."""
        red, green, blue = self.mean
        deviations = self.std[0], self.std[1], self.std[2]
        fit: Any = self.fit
        resample: Any = self.resample
        return Preprocessing((red, green, blue), deviations, self.crop, fit, resample)

    @classmethod
    @checked
    def beside(cls, embedder: str | Path, **changes: Any) -> Self:
        """Return the settings in the TOML file beside an ONNX model, with these changes.

        The file of ``model.onnx`` is ``model.toml``; its keys are the names of the settings. Without it, settings
        that are not among the changes have their defaults.

        Raises ModelError if the file is not valid or has a key that is not a setting, and ModelError or TypeError for
        a change that is not a value of its setting.
        """
        if not Path(embedder).name:
            raise ModelError(f"{display(str(embedder))!r}: not the name of an ONNX model")
        path = Path(embedder).with_suffix(".toml")
        stored = _read(path) if path.is_file() else {}
        _check_names(changes, cls)
        cls(**changes)
        try:
            _check_names(stored, cls)
            cls(**stored)
        except TypeError as error:
            raise ModelError(f"{display(path)}: {_in_toml(error)}") from None
        except ModelError as error:
            raise ModelError(f"{display(path)}: {error}") from None
        return msgspec.convert(stored | changes, cls)  # which also turns whole numbers into floats


def _check_names(values: dict[str, Any], kind: type[EmbedderConfig]) -> None:
    """Raise ModelError for the name of a setting that does not exist."""
    known = [entry.name for entry in fields(kind)]
    unknown = min(values.keys() - set(known), default=None)
    if unknown is not None:
        raise ModelError(f"no setting {unknown[:60]!r}; choose from {', '.join(known)}")


def _in_toml(error: TypeError) -> str:
    """Return the message about a value of a wrong type, for TOML, which has neither None nor tuples."""
    return str(error).replace(" or None", "").replace("a tuple", "a list")


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise ValueError(f"more than {_LARGEST:,} bytes")
        return tomllib.loads(text.decode())
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"{display(path)}: not valid TOML ({one_line(error)})") from None
