"""Hashers turn images into codes. They share one protocol, and are loaded by name or from a file."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ModelError
from ..system import plugins
from ..system.arguments import checked
from .base import Hasher

if TYPE_CHECKING:
    from ..codes import ModelRef
    from .rarity import Rarity

__all__ = [
    "DEFAULT",
    "GROUP",
    "HUB",
    "Hasher",
    "check_embedder",
    "check_stored",
    "default_bits",
    "export_hasher",
    "hasher_file",
    "load_hasher",
    "model_ref",
    "names",
    "push_hasher",
    "rarity_of",
]

GROUP = "transhash.hashers"  # entry points; each names a class, a function without arguments, or a hasher's file
DEFAULT = "copy"
HUB = "hf://"  # locations on the Hugging Face Hub
_BF16, _FAST = "--bf16 (bf16=True)", "--fast (fast=True)"
_FEW_IMAGES = 8  # for at most this many images, encoding with numpy takes less time than loading torch


@checked
def load_hasher(
    model: str | Path,
    expected_images: int | None = None,
    *,
    bf16: bool = False,
    fast: bool = False,
    bits: int | None = None,
) -> Hasher:
    """Load a hasher by its name, such as ``"copy"`` or ``"phash"``, or from a file that `train` or `fit` wrote.

    Names are entry points in the group ``transhash.hashers``, to which packages can add hashers. A name takes
    precedence over a file of the same name; write ``./phash`` for the file. ``hf://user/name``, or
    ``hf://user/name@revision``, is a hasher on the Hugging Face Hub, which is downloaded unless it is in the cache.

    Args:
        model: the name, the path or the location on the hub.
        expected_images: number of images to encode, if known. For a few, a hasher that does not need torch is
            preferred, because it loads much faster.
        bf16: compute in bfloat16: faster, but about one bit in several hundred differs.
        fast: compute with 8-bit integers on OpenVINO, on the processor: much faster, but about one bit in fifty
            differs. Its codes are marked, and do not mix with others.
        bits: length of the codes, one that the hasher was trained for; by default the longest.

    Raises ModelError if there is no such hasher, its file is damaged, it was not trained for that length, or this
    machine cannot compute in bfloat16 or lacks OpenVINO; TypeError if `model` is not a name or a path.
    """
    if bf16 and fast:
        raise ModelError("--bf16 (bf16=True) and --fast (fast=True) cannot be combined; choose one")
    path, name = _located(model)
    if path is None:
        if bf16 or fast:
            raise ModelError(f"{model}: not a network; leave out {_FAST if fast else _BF16}")
        hasher = _installed(str(model))
        _cut(hasher.ref, bits)
        return hasher
    from . import header

    if isinstance(header.read(path), header.EmbedderHasherConfig):
        from .embedder_hasher import EmbedderHasher

        if bf16 or fast:
            raise ModelError(
                f"{model}: ONNX models compute in the precision that they have; leave out {_FAST if fast else _BF16}"
            )
        return _shortened(EmbedderHasher.load(path), name, bits)
    if fast:
        from .fast_hasher import FastHasher

        return _shortened(FastHasher.load(path), name, bits)
    if expected_images is not None and expected_images <= _FEW_IMAGES and not bf16:
        from .numpy_hasher import NumpyHasher

        quick = NumpyHasher.load(path)
        if quick:
            return _shortened(quick, name, bits)
    from .transhash import TransHasher

    return _shortened(TransHasher.load(path, bf16), name, bits)


@checked
def export_hasher(model: str | Path, output: str | Path, bits: int | None = None) -> Path:
    """Write a hasher to an ONNX file, for programs in other languages.

    The file's input ``images`` are preprocessed images (n, side, side, 3) uint8 RGB, its output ``codes`` are packed
    codes (n, bits/8) uint8, most significant bit first. Its metadata say how to preprocess, and hold the hasher's
    digest.

    Args:
        model: name of an installed hasher, or the safetensors file of one.
        output: the ONNX file to write; its name ends in ``.onnx``.
        bits: length of the codes, one that the hasher was trained for; by default the longest.

    Returns:
        The path of the ONNX file.

    Raises ModelError if there is no such hasher, it is not a network, it was not trained for that length, or onnx is
    not installed; OutputError if something other than an exported hasher exists at `output`; TypeError for an
    argument of a wrong type.
    """
    path = hasher_file(model)
    if path is None:
        raise ModelError(f"{model}: not a network, so it cannot be exported")
    from . import header

    header.read_network(path)
    model_ref(model, bits)
    from . import onnx_export
    from .transhash import TransHasher

    onnx_export.check_replaceable(Path(output))
    hasher = load_hasher(model, bits=bits)
    assert isinstance(hasher, TransHasher)
    onnx_export.export(hasher, Path(output))
    return Path(output)


def names() -> list[str]:
    """Return the names of all installed hashers, sorted."""
    return plugins.names(GROUP)


def hasher_file(model: str | Path) -> Path | None:
    """Return the file of a hasher, given its name, path or location; None if the name refers to a class.

    Raises ModelError if there is no such hasher.
    """
    return _located(model)[0]


def check_stored(name: str) -> None:
    """Raise ModelError if a name from a file or a server would lead to a download: only users start these."""
    if name.startswith(HUB):
        from . import hub

        try:
            hub.find(name, download=False)
        except ModelError:
            raise ModelError(f"{name}: not downloaded yet; to download it, name it with --model (hasher=)") from None


@checked
def push_hasher(hasher: str | Path, repository: str, *, private: bool = False, message: str | None = None) -> str:
    """Upload a hasher to the Hugging Face Hub, and return its location, ``hf://user/name@commit``.

    Creates the repository unless it exists. Writes a model card from the file's metadata, unless the repository has a
    card. The token comes from the environment (HF_TOKEN), or from ``hf auth login``.

    Args:
        hasher: the safetensors file of a hasher.
        repository: name of the repository, ``user/name``.
        private: whether a new repository is private.
        message: of the commit.

    Raises ModelError if `hasher` is not a hasher, or the hub cannot be reached or refuses.
    """
    from . import hub

    return hub.push(Path(hasher), repository, private, message)


def _located(model: str | Path) -> tuple[Path | None, str | None]:
    """Return the file of a hasher, or None for a class; and the name that codes files store, None for its path.

    Raises ModelError if there is no such hasher.
    """
    if str(model).startswith(HUB):
        from . import hub

        return hub.find(str(model))
    if os.sep not in str(model) and plugins.has(GROUP, str(model)):
        found = _object(str(model))
        return (found, str(model)) if isinstance(found, Path) else (None, None)
    path = Path(model)
    if path.suffix.lower() == ".onnx":
        raise ModelError(
            f"{str(model)[:200]}: an ONNX model, not a hasher; fit one to it: "
            f"th fit IMAGES -o hasher.safetensors --embedder {str(model)[:200]}"
        )
    if not os.path.isfile(path):
        known = ", ".join(names())
        raise ModelError(f"{str(model)[:200]}: no such hasher; choose {known}, or a file made by: th train, th fit")
    return path, None


@checked
def model_ref(model: str | Path, bits: int | None = None, *, fast: bool = False) -> "ModelRef":
    """Return the reference to a hasher that codes files store, without loading its weights; see `load_hasher`.

    Raises ModelError if there is no such hasher, its file is damaged, or it was not trained for codes of `bits`.
    """
    path, name = _located(model)
    if path is None:
        return _cut(_installed(str(model)).ref, bits)
    from ..codes.arithmetic import fast_model
    from . import header

    ref = header.read(path).ref(path, name=name)
    return _cut(fast_model(ref) if fast else ref, bits)


def default_bits(model: str | Path) -> int | None:
    """Return a hasher's default code length, or None for its longest."""
    path = hasher_file(model)
    if path is None:
        return None
    from . import header

    return header.read(path).default_bits


def check_embedder(hasher: "Hasher | str | Path", embedder: str | Path) -> None:
    """Raise ModelError unless a hasher was fitted to this ONNX model."""
    from . import header
    from .embedder_hasher import check_embedder

    if isinstance(hasher, str | Path):
        path = hasher_file(hasher)
        check_embedder(hasher, path and header.read(path), embedder)
    else:
        check_embedder(hasher.ref.name, getattr(hasher, "config", None), embedder)


def rarity_of(ref: "ModelRef") -> "Rarity | None":
    """Return a model's distances between unrelated images, or None if its file is missing or does not contain any."""
    try:
        check_stored(ref.name)
        path = hasher_file(ref.name)
        if path is None:
            return None
        from ..codes.arithmetic import file_digest
        from . import header

        config = header.read(path)
        found = next((entry for entry in config.rarity if entry.bits == ref.bits), None)
        same = found and config.ref(path).digest == file_digest(ref)
    except (ModelError, OSError):
        return None
    return found if same else None


def _shortened(hasher: Any, name: str | None, bits: int | None) -> Hasher:
    """Set the name under which a hasher from a file is installed, if any, and shorten its codes to `bits`."""
    if name:
        hasher.ref = replace(hasher.ref, name=name)
    hasher.ref = _cut(hasher.ref, bits)
    return hasher


def _cut(ref: "ModelRef", bits: int | None) -> "ModelRef":
    """Return the reference to a hasher whose codes are cut to `bits`. Raises ModelError."""
    from ..codes.truncation import nested_lengths, truncated_model

    if bits is None or bits == ref.bits:
        return ref
    lengths = nested_lengths(ref) or [ref.bits]
    if bits not in lengths:
        raise ModelError(
            f"{bits} bits: {ref.name} makes codes of {', '.join(map(str, lengths))} bits; choose from these"
        )
    return truncated_model(ref, bits)


def _object(name: str) -> Any:
    """Load the object installed under a name. Raises ModelError if that fails."""
    return plugins.load(GROUP, name, "hasher", "repair or remove the package {package}", ModelError)


def _installed(name: str) -> Hasher:
    """Make the hasher that a package offers under `name`. Raises ModelError if that fails."""
    make = _object(name)
    try:
        hasher: Hasher = make()
        ref: ModelRef = hasher.ref
        methods = callable(hasher.preprocess) and callable(hasher.encode)
        problem = "" if methods and ref.bits % 8 == 0 else "it does not follow the protocol of hashers"
        if ref.name != name:
            problem = f"its ref.name is {ref.name!r}, not the name of its entry point"
    except Exception as error:  # the code of a plugin may fail in any way
        problem = f"{type(error).__name__}: {error}"
    if problem:
        raise ModelError(f"hasher {name!r} cannot be used ({' '.join(problem.split())[:200]}); repair its package")
    return hasher
