"""The protocol of hashers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # the protocol itself needs no import
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from ..codes import ModelRef


class Hasher(Protocol):
    """Turns images into codes, in two steps: `preprocess` one image in a loader thread, `encode` a batch."""

    ref: ModelRef
    """Name, digest and bits: what a codes file records about its model."""

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Turn an RGB image of any size into an array of one fixed shape and type."""
        ...

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Turn a stack of n preprocessed images into codes (n, bits/8) uint8."""
        ...


class Named:
    """A base class that gives hashers a one-line representation."""

    ref: ModelRef

    def __repr__(self) -> str:
        """Return one line."""
        if not self.ref.digest:
            return f"<{type(self).__name__} in memory: {self.ref.bits} bits>"
        return f"<{type(self).__name__} {self.ref.name!r}: {self.ref.bits} bits, digest {self.ref.digest[:12]}>"


@runtime_checkable
class OutputHasher(Hasher, Protocol):
    """A hasher whose codes are the signs of real-valued outputs, which it can return."""

    def outputs(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Turn preprocessed images into outputs (n, bits); `transhash.packing.pack` turns them into codes."""
        ...


@runtime_checkable
class EmbeddingHasher(Hasher, Protocol):
    """A hasher whose codes are made from float embeddings; it can return both."""

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Turn preprocessed images into codes (n, bits/8) uint8 and embeddings (n, d) float16 of unit length."""
        ...
