"""Hashers: what turns an image into a code. One contract, found by name or by file."""

from pathlib import Path

from ..errors import ModelError
from .base import Hasher

__all__ = ["Hasher", "load_hasher"]


def load_hasher(model: str | Path) -> Hasher:
    """Load a hasher: ``"phash"``, or the path of a safetensors file that ``th train`` wrote.

    Raises ModelError if there is no such hasher or the file is not one.
    """
    if str(model) == "phash":
        from .phash import PerceptualHasher

        return PerceptualHasher()
    if not Path(model).is_file():
        raise ModelError(f"{model}: no such hasher; give phash, or a file made by: th train")
    from .transhash import TransHasher

    return TransHasher.load(model)
