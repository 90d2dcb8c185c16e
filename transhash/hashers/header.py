"""The metadata of a hasher's file, read without torch so that errors and single queries are fast."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar

import msgspec
from safetensors import SafetensorError, safe_open

from ..codes import ModelRef
from ..errors import ModelError, one_line
from ..packing import check_bits
from ..system import files
from ..system.files import display
from .architecture import Architecture
from .embedder_config import EmbedderConfig
from .numpy_net import Layout
from .preprocessing import Preprocessing
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

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of its codes, ascending."""
        return self.architecture.lengths

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file."""
        config = asdict(self) | {"preprocessing": self.preprocessing.settings()}
        for name in ("default_bits", "rarity"):
            if not config[name]:
                del config[name]
        return _metadata(config)

    def ref(self, path: Path, precision: str | None = None, name: str | None = None) -> ModelRef:
        """Return the reference to the hasher at `path` that codes files store.

        `precision` is given if it is not float32; `name` is the name under which the hasher is installed, if any.
        """
        prepared = {"size": self.architecture.image_size, **self.preprocessing.settings()}
        if self.architecture.nested:
            prepared["nested"] = self.architecture.lengths
        if precision:
            prepared["precision"] = precision
        return _ref(path, name, self.architecture.bits, prepared)


@dataclass(frozen=True)
class EmbedderHasherConfig:
    """The same, in the file of a hasher that `fit` fitted to the embeddings of an ONNX model.

    Attributes:
        bits: length of its codes.
        embedder: name of the ONNX file.
        embedder_digest: SHA-256 of that file and of its data files, if any.
        preprocessing: how an image becomes its input, and which output is the embedding; `size` and `embedding` are
            not None.
        training: a record, for people, of the fit.
    """

    bits: int
    embedder: str
    embedder_digest: str
    preprocessing: EmbedderConfig
    training: dict[str, Any] = field(default_factory=dict)

    class_names: ClassVar[tuple[str, ...]] = ()
    default_bits: ClassVar[None] = None
    rarity: ClassVar[tuple[Rarity, ...]] = ()

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of its codes."""
        return (self.bits,)

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file."""
        return _metadata(asdict(self))

    def ref(self, path: Path, precision: str | None = None, name: str | None = None) -> ModelRef:
        """Return the reference to the hasher at `path`, as `HasherConfig.ref`; it has one precision only."""
        return _ref(path, name, self.bits, asdict(self.preprocessing))


AnyConfig = HasherConfig | EmbedderHasherConfig


def parse(metadata: Mapping[str, str] | None) -> AnyConfig:
    """Decode the metadata of a safetensors file. Raises one of `DAMAGE` if the file is not a hasher."""
    metadata = metadata or {}
    if metadata.get("format") != FORMAT:
        raise ValueError("not a TransHash hasher")
    if metadata.get("version") != str(VERSION):
        raise ValueError(f"format version {metadata.get('version')}, this TransHash reads {VERSION}")
    config = json.loads(metadata["config"], parse_constant=_reject_constant)
    if "embedder" in config:
        check_settings(config, EmbedderHasherConfig)
        fitted = msgspec.convert(config, EmbedderHasherConfig)
        check_bits(fitted.bits)
        return fitted
    found = msgspec.convert(config, HasherConfig)
    check_settings(config["architecture"], Architecture)
    if found.default_bits not in (None, *found.architecture.lengths):
        raise ValueError(f"default of {found.default_bits} bits: not one of its lengths")
    return found


def parse_network(metadata: Mapping[str, str] | None) -> HasherConfig:
    """Decode the metadata of a hasher that is a network. Raises one of `DAMAGE` if it is not one."""
    config = parse(metadata)
    if not isinstance(config, HasherConfig):
        raise ValueError(f"it contains an ONNX model, {display(config.embedder[:100])}, not a network of TransHash")
    return config


def check_settings(values: Mapping[str, Any], kind: type) -> None:
    """Raise ValueError for settings that a dataclass does not have, such as those of a later version."""
    unknown = values.keys() - {entry.name for entry in fields(kind)}
    if unknown:
        raise ValueError(f"unknown setting {min(unknown)}; a later TransHash may read it")


def read(path: str | Path) -> AnyConfig:
    """Read the metadata of the hasher at `path`. Raises ModelError if the file is not a hasher."""
    try:
        with safe_open(path, framework="numpy") as file:
            return parse(file.metadata())
    except (OSError, *DAMAGE) as error:
        raise damaged(path, error) from None


def read_network(path: str | Path) -> HasherConfig:
    """Read the metadata of a hasher that is a network. Raises ModelError if the file is not one."""
    config = read(path)
    if not isinstance(config, HasherConfig):
        embedder = display(config.embedder[:100])
        raise ModelError(
            f"{display(path)}: contains an ONNX model, {embedder}, and no network of TransHash; give a hasher of "
            "th train, or of th fit without an embedder"
        )
    return config


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
            f"{display(path)}: no weights for this backbone{_reason(error)}; "
            "give a hasher, or a timm checkpoint in safetensors format"
        ) from None
    read_network(path)


def damaged(path: str | Path, error: Exception) -> ModelError:
    """Return the error for a file that is not a hasher."""
    return ModelError(f"{display(path)}: not a hasher, or a damaged one{_reason(error)}; train one with: th train")


def _reason(error: Exception) -> str:
    """Return an error's message in parentheses; empty for those of safetensors, which are about its format."""
    return "" if isinstance(error, SafetensorError) else f" ({one_line(error)})"


def _metadata(config: dict[str, Any]) -> dict[str, str]:
    return {"format": FORMAT, "version": str(VERSION), "config": json.dumps(config)}


def _ref(path: Path, name: str | None, bits: int, prepared: dict[str, Any]) -> ModelRef:
    name = name or os.fsencode(path.absolute()).decode("utf-8", "backslashreplace")
    return ModelRef(name, files.sha256(path), bits, json.dumps(prepared))


def _reject_constant(constant: str) -> float:
    raise ValueError(f"{constant} in the configuration")
