"""The contract that every hasher keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # the contract itself costs no import
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from ..codes import ModelRef


class Hasher(Protocol):
    """Turns images into codes, in two steps: `preprocess` one image in a loader thread, `encode` a batch."""

    ref: ModelRef
    """Name, digest and bits: what a codes file says of its model."""

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Turn an RGB image of any size into an array of one fixed shape and type."""
        ...

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn a stack of n preprocessed images into codes (n, bits/8) uint8."""
        ...


@runtime_checkable
class OutputHasher(Hasher, Protocol):
    """A hasher whose codes are the signs of real-valued outputs, and which can give those."""

    def outputs(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Turn preprocessed images into outputs (n, bits), which `transhash.packing.pack` makes codes of."""
        ...


@runtime_checkable
class EmbeddingHasher(Hasher, Protocol):
    """A hasher whose codes are made of float embeddings, and which can give both."""

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Turn preprocessed images into codes (n, bits/8) uint8 and embeddings (n, d) float16 of unit length."""
        ...
