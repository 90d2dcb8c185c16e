"""Encode images and keep the real-valued outputs that become bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes
from ..errors import ModelError
from ..hashers.base import Hasher, OutputHasher
from ..packing import pack
from . import run


def encode_with_outputs(images: Any, hasher: Hasher) -> tuple[Codes, NDArray[np.float32]]:
    """Encode images as `transhash.encode` does, and return their real-valued outputs (n, bits) beside the codes.

    Raises ModelError if the hasher does not have such outputs, such as phash; SourceError if no image could be read.
    """
    if not isinstance(hasher, OutputHasher):
        raise ModelError(f"{hasher.ref.name} has no real-valued outputs to re-rank by; use a trained hasher")
    keeping = _Keeping(hasher)
    codes = run.encode(images, keeping)
    return codes, np.concatenate(keeping.outputs)


class _Keeping:
    """A hasher that records the outputs of all images it encodes, in order."""

    def __init__(self, hasher: OutputHasher) -> None:
        self._hasher = hasher
        self.ref = hasher.ref
        self.preprocess = hasher.preprocess
        self.outputs = [np.empty((0, hasher.ref.bits), np.float32)]

    def encode(self, batch: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Return the codes of a batch."""
        self.outputs.append(self._hasher.outputs(batch))
        return pack(self.outputs[-1])
