"""What a hasher's file says of the network in it; without torch, so that a query need not load it."""

import json
import os
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors import SafetensorError, safe_open

from .. import files
from ..codes import ModelRef
from ..errors import ModelError, one_line
from .architecture import Architecture
from .numpy_net import Layout

FORMAT = "transhash-hasher"
VERSION = 0
DAMAGE = (SafetensorError, ModelError, ArithmeticError, ValueError, LookupError, TypeError, RuntimeError)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    Attributes:
        mean, std: of the channels, for pixels from 0 to 1.
        crop: side of the central square that is kept, as a part of the shorter side.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    crop: float = 1.0

    def square(self, image: Image.Image, side: int) -> NDArray[np.uint8]:
        """Cut the central square out of an RGB image and resize it (bicubic): (side, side, 3) uint8."""
        return np.array(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC, bleed=(1 - self.crop) / 2))


@dataclass(frozen=True)
class Header:
    """All of a hasher but its weights.

    Attributes:
        architecture: of the network.
        preprocessing: of its images.
        class_names: that it was trained on.
        training: how, for people to read.
        layout: what it takes to run the network without torch; None if that cannot be done.
    """

    architecture: Architecture
    preprocessing: Preprocessing
    class_names: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)
    layout: Layout | None = None

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file."""
        return {"format": FORMAT, "version": str(VERSION), "config": json.dumps(asdict(self))}

    def ref(self, path: Path, precision: str | None = None) -> ModelRef:
        """Return the identity of the hasher in the file at `path`, with its arithmetic if that is not float32."""
        name = os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")
        prepared = {"size": self.architecture.image_size, **asdict(self.preprocessing)}
        if self.architecture.nested:
            prepared["nested"] = self.architecture.lengths
        if precision:
            prepared["precision"] = precision
        return ModelRef(name, files.sha256(path), self.architecture.bits, json.dumps(prepared))


def parse(metadata: dict[str, str] | None) -> Header:
    """Return what the metadata of a safetensors file say. Raises one of `DAMAGE` if that is no hasher's."""
    metadata = metadata or {}
    if metadata.get("format") != FORMAT:
        raise ValueError("no TransHash hasher")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"format version {metadata.get('version')}, this TransHash reads {VERSION}")
    config = json.loads(metadata["config"])
    architecture = _architecture(config["architecture"])
    given = config["preprocessing"]
    mean, std, crop = _three(given["mean"]), _three(given["std"]), float(given["crop"])
    if not (0 < crop <= 1 and all(1e-3 <= value <= 1e3 for value in std) and all(abs(v) <= 1e3 for v in mean)):
        raise ValueError("preprocessing out of range")
    names = tuple(str(name) for name in config["class_names"])
    training = dict(config.get("training", {}))
    return Header(architecture, Preprocessing(mean, std, crop), names, training, _layout(config.get("layout")))


def _architecture(settings: dict[str, Any]) -> Architecture:
    nested = settings.get("nested", ())
    if not isinstance(nested, list | tuple) or any(type(length) is not int for length in nested):
        raise ValueError(f"nested is {nested!r}")
    architecture = Architecture(**{**settings, "nested": tuple(nested)})
    for entry in fields(Architecture):
        value = getattr(architecture, entry.name)
        if entry.name != "nested" and not isinstance(value, cast(type, entry.type)):
            raise ValueError(f"{entry.name} is {value!r}")
    return architecture


def is_hasher(path: str | Path) -> bool:
    """Return whether a file says of itself that it is a hasher."""
    try:
        with safe_open(path, framework="numpy") as file:
            return (file.metadata() or {}).get("format") == FORMAT
    except (SafetensorError, OSError):
        return False


def check_replaceable(path: Path) -> None:
    """Raise OutputError if `path` exists and is not a hasher."""
    files.check_replaceable(path, is_hasher, "a hasher")


def damaged(path: Path, error: Exception) -> ModelError:
    """Return the error for a file that is no hasher."""
    return ModelError(f"{path}: not a hasher, or a damaged one ({one_line(error)}); train one with: th train")


def _layout(given: Any) -> Layout | None:
    if given is None:
        return None
    layout = Layout(int(given["heads"]), float(given["eps"]), bool(given["late_prefix"]), int(given["stride"]))
    if not (1 <= layout.heads <= 1024 and 0 < layout.eps < 1 and 1 <= layout.stride <= 1024):
        raise ValueError(f"layout {given}")
    return layout


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = (float(value) for value in values)
    return red, green, blue
