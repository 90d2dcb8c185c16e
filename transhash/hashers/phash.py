"""Perceptual hash: finds near-duplicates without any weights.

A 64-bit hash of the low frequencies of a 32 x 32 grey picture (discrete cosine transform, thresholded at the
median), as computed by the library ImageHash. Pictures that differ in scale, compression or small retouches are
within a few bits of each other; different pictures of the same kind of object are not.
"""

from typing import Any

import imagehash
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..codes import ModelRef
from ..packing import pack
from .base import Named


class PerceptualHasher(Named):
    """The DCT perceptual hash, 64 bits."""

    ref = ModelRef("phash", "phash-dct-64", 64)

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Compute the 64 bits of an image, (64,) bool."""
        return np.asarray(imagehash.phash(image).hash, dtype=bool).ravel()

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Pack bits (n, 64) bool into codes (n, 8) uint8."""
        return pack(batch)
