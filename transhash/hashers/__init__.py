"""Hashers: what turns an image into a code. One contract, found by name or by file."""

from pathlib import Path

from ..errors import ModelError
from .base import Hasher

__all__ = ["Hasher", "load_hasher"]


_FEW = 8  # images that numpy encodes before torch is loaded


def load_hasher(model: str | Path, images: int | None = None, *, bf16: bool = False) -> Hasher:
    """Load a hasher: ``"phash"``, or the path of a safetensors file that ``th train`` or ``th fit`` wrote.

    Where `images` says that only a few are to be encoded, it is one that does not need torch, if that can be. With
    `bf16` a network computes in bfloat16: faster, and a bit in some hundreds comes out differently.

    Raises ModelError if there is no such hasher, the file is not one, or this machine has no bfloat16.
    """
    if str(model) == "phash":
        if bf16:
            raise ModelError("phash is no network; leave out --bf16")
        from .phash import PerceptualHasher

        return PerceptualHasher()
    if not Path(model).is_file():
        raise ModelError(f"{model}: no such hasher; give phash, or a file made by: th train")
    if images is not None and images <= _FEW and not bf16:
        from .numpy_hasher import NumpyHasher

        light = NumpyHasher.load(model)
        if light:
            return light
    from .transhash import TransHasher

    return TransHasher.load(model, bf16)
