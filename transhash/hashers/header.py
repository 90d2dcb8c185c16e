"""The metadata of a hasher's file, read without torch so that errors and single queries are fast."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open

from ..codes import ModelRef
from ..errors import ModelError, one_line
from ..system import files
from ..system.files import display
from .architecture import Architecture
from .numpy_net import Layout
from .rarity import Rarity

FORMAT = "transhash-hasher"
VERSION = 0
DAMAGE = (
    SafetensorError,
    ModelError,
    msgspec.MsgspecError,
    ArithmeticError,
    ValueError,
    LookupError,
    TypeError,
    RuntimeError,
)

_Mean = Annotated[float, Meta(ge=-1e3, le=1e3)]
_Deviation = Annotated[float, Meta(ge=1e-3, le=1e3)]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    Attributes:
        mean, std: mean and standard deviation of the channels, for pixels from 0 to 1.
        crop: side of the central square that is kept, as a fraction of the shorter side.
        fit: ``"crop"`` keeps the central square, ``"squash"`` the whole image, regardless of its aspect ratio.
    """

    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Deviation, _Deviation, _Deviation]
    crop: Annotated[float, Meta(gt=0, le=1)] = 1.0
    fit: Literal["crop", "squash"] = "crop"

    def square(self, image: Image.Image, side: int) -> NDArray[np.uint8]:
        """Resize an RGB image, or its central square, to a square (bicubic): (side, side, 3) uint8."""
        if self.fit == "squash":
            return np.array(image.resize((side, side), Image.Resampling.BICUBIC))
        return np.array(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC, bleed=(1 - self.crop) / 2))

    def settings(self) -> dict[str, Any]:
        """Return the attributes as stored in files, which leave out `fit` if it has the default."""
        found = asdict(self)
        if self.fit == "crop":
            del found["fit"]
        return found


@dataclass(frozen=True)
class HasherConfig:
    """Everything in a hasher's file except the weights.

    Attributes:
        architecture: the network.
        preprocessing: how an image becomes its input.
        class_names: the classes that it was trained on.
        training: a record, for people, of how it was trained.
        layout: what numpy needs to know to run the network; None if only torch can run it.
        default_bits: length of codes if none is chosen; None for the longest.
        rarity: distances of unrelated images, for each length; empty if they were not measured.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    layout: Layout | None = None
    default_bits: int | None = None
    rarity: tuple[Rarity, ...] = ()

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file."""
        config = asdict(self) | {"preprocessing": self.preprocessing.settings()}
        for name in ("default_bits", "rarity"):
            if not config[name]:
                del config[name]
        return {"format": FORMAT, "version": str(VERSION), "config": json.dumps(config)}

    def ref(self, path: Path, precision: str | None = None, name: str | None = None) -> ModelRef:
        """Return the reference to the hasher at `path` that codes files store.

        `precision` is given if it is not float32; `name` is the name under which the hasher is installed, if any.
        """
        name = name or os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")
        prepared = {"size": self.architecture.image_size, **self.preprocessing.settings()}
        if self.architecture.nested:
            prepared["nested"] = self.architecture.lengths
        if precision:
            prepared["precision"] = precision
        return ModelRef(name, files.sha256(path), self.architecture.bits, json.dumps(prepared))


def parse(metadata: Mapping[str, str] | None) -> HasherConfig:
    """Decode the metadata of a safetensors file. Raises one of `DAMAGE` if the file is not a hasher."""
    metadata = metadata or {}
    if metadata.get("format") != FORMAT:
        raise ValueError("not a TransHash hasher")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"format version {metadata.get('version')}, this TransHash reads {VERSION}")
    config = json.loads(metadata["config"], parse_constant=_no_number)
    found = msgspec.convert(config, HasherConfig)
    check_settings(config["architecture"], Architecture)
    if found.default_bits not in (None, *found.architecture.lengths):
        raise ValueError(f"default of {found.default_bits} bits: not one of its lengths")
    return found


def check_settings(values: Mapping[str, Any], kind: type) -> None:
    """Raise ValueError for settings that a dataclass does not have, such as those of a later version."""
    unknown = values.keys() - {entry.name for entry in fields(kind)}
    if unknown:
        raise ValueError(f"unknown setting {min(unknown)}; a later TransHash may read it")


def read(path: str | Path) -> HasherConfig:
    """Read the metadata of the hasher at `path`. Raises ModelError if the file is not a hasher."""
    try:
        with safe_open(path, framework="numpy") as file:
            return parse(file.metadata())
    except (OSError, *DAMAGE) as error:
        raise damaged(path, error) from None


def is_hasher(path: str | Path) -> bool:
    """Return whether a file is a hasher, according to its metadata."""
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def check_replaceable(path: Path) -> None:
    """Raise OutputError if `path` exists and is not a hasher."""
    files.check_replaceable(path, is_hasher, "a hasher")


def check_weights(path: str | Path) -> None:
    """Raise ModelError if `path` holds neither a hasher nor other tensors in safetensors format."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("format") != FORMAT:
                return
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{display(path)}: no weights for this backbone ({one_line(error)}); "
            "give a hasher, or a timm checkpoint in safetensors format"
        ) from None
    read(path)


def damaged(path: str | Path, error: Exception) -> ModelError:
    """Return the error for a file that is not a hasher."""
    return ModelError(
        f"{display(path)}: not a hasher, or a damaged one ({one_line(error)}); train one with: th train"
    )


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} in the configuration")
