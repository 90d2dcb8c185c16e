"""Hashers turn images into codes. They share one protocol, and are loaded by name or from a file."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import plugins
from ..errors import ModelError
from .base import Hasher

if TYPE_CHECKING:
    from ..codes import ModelRef

__all__ = ["GROUP", "Hasher", "load_hasher", "model_ref"]

GROUP = "transhash.hashers"  # of entry points; each names a class, or a function without arguments
_FEW = 8  # images that numpy encodes before torch is loaded


def load_hasher(model: str | Path, expected_images: int | None = None, *, bf16: bool = False) -> Hasher:
    """Load a hasher by its name, such as ``"phash"``, or from a safetensors file that `train`, `fit` or `soup` wrote.

    Names are those of the entry points in the group ``transhash.hashers``, in which packages can offer further
    hashers. A name takes precedence over a file of the same name; write ``./phash`` for the file.

    Args:
        model: the name or the path.
        expected_images: how many images are to be encoded, if known. For a few, a hasher that does not need torch is
            preferred, because it is ready much sooner.
        bf16: compute in bfloat16: faster, at the price of a different bit in a few hundred.

    Raises ModelError if there is no such hasher, its file is damaged, or this machine cannot compute in bfloat16;
    TypeError if `model` is not a name or a path.
    """
    if not isinstance(model, str | os.PathLike):
        raise TypeError(f"a hasher is a name or the path of a file, not {type(model).__name__}")
    names = plugins.names(GROUP)
    if str(model) in names:
        if bf16:
            raise ModelError(f"{model}: not a network; leave out --bf16")
        return _installed(str(model))
    if model == "phash" and not names:  # an editable installation from before the group existed
        from .phash import PerceptualHasher

        return PerceptualHasher()
    path = Path(model)
    if not path.is_file():
        raise ModelError(f"{model}: no such hasher; give {', '.join(names)}, or a file made by: th train")
    if expected_images is not None and expected_images <= _FEW and not bf16:
        from .numpy_hasher import NumpyHasher

        quick = NumpyHasher.load(path)
        if quick:
            return quick
    from . import header

    header.read(path)  # before torch, which takes seconds to load
    from .transhash import TransHasher

    return TransHasher.load(path, bf16)


def model_ref(model: str | Path) -> "ModelRef":
    """Return the reference that codes files hold to a hasher, without loading its weights.

    Raises ModelError if there is no such hasher, or its file is damaged.
    """
    if not Path(model).is_file() or str(model) in plugins.names(GROUP):
        return load_hasher(model).ref
    from . import header

    return header.read(model).ref(Path(model))


def _installed(name: str) -> Hasher:
    """Make the hasher that a package offers under `name`. Raises ModelError if that fails."""
    hint = "repair or remove the package {package}"
    make: Any = plugins.load(GROUP, name, "hasher", hint, ModelError)
    try:
        hasher: Hasher = make()
        ref: ModelRef = hasher.ref
        methods = callable(hasher.preprocess) and callable(hasher.encode)
        fault = "" if methods and ref.bits % 8 == 0 else "it does not follow the protocol of hashers"
        if ref.name != name:
            fault = f"its ref.name is {ref.name!r}, not the name of its entry point"
    except Exception as error:  # the code of a plugin may fail in any way
        fault = f"{type(error).__name__}: {error}"
    if fault:
        raise ModelError(f"hasher {name!r} cannot be used ({' '.join(fault.split())[:200]}); repair its package")
    return hasher
