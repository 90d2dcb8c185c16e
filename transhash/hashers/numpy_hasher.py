"""A trained hasher without torch: slower on many images, much sooner ready for one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open

from ..codes import ModelRef
from ..errors import ModelError
from ..packing import pack
from .header import DAMAGE, Header, damaged, parse
from .numpy_net import Floats, NumpyViT, unit


class NumpyHasher:
    """Gives the codes of `TransHasher`, computed in float32 by numpy."""

    def __init__(self, net: NumpyViT, header: Header, ref: ModelRef) -> None:
        """Put the parts together."""
        self._net = net
        self._header = header
        self.ref = ref

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Cut out the central square and resize it (bicubic): (H, W, 3) uint8."""
        return self._header.preprocessing.square(image, self._header.architecture.image_size)

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Hash preprocessed images (n, H, W, 3) uint8 into codes (n, bits/8) uint8."""
        with self._model_errors():
            return pack(self.outputs(batch))

    def outputs(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outputs of preprocessed images, (n, bits), whose signs are the codes."""
        with self._model_errors():
            return self._hashed(self._features(batch))

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Return the codes of preprocessed images and the embeddings behind them, of unit length, in float16."""
        with self._model_errors():
            features = self._features(batch)
            return pack(self._hashed(features)), unit(features).astype(np.float16)

    def _features(self, batch: NDArray[Any]) -> Floats:
        """Return what the network reads out, an image at a time: attention takes memory."""
        mean, std = (
            np.array(v, np.float32) * 255 for v in (self._header.preprocessing.mean, self._header.preprocessing.std)
        )
        pixels = ((batch.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        return np.concatenate([self._net.features(pixels[place : place + 1]) for place in range(len(pixels))])

    def _hashed(self, features: Floats) -> Floats:
        outputs = self._net.hash(features)
        if outputs.shape[1] != self.ref.bits:
            raise ValueError(f"{outputs.shape[1]} outputs for {self.ref.bits} bits")
        return outputs

    @contextmanager
    def _model_errors(self) -> Iterator[None]:
        """Say whose fault it is if tensors do not fit together, or give no numbers."""
        try:
            yield
        except (ValueError, KeyError, IndexError) as error:
            raise ModelError(f"{self.ref.name}: {error}; train it again") from error

    @classmethod
    def load(cls, path: str | Path) -> Self | None:
        """Read a hasher, or return None if its network is one that only torch can run.

        Raises ModelError if the file is no hasher.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="numpy") as file:
                header = parse(file.metadata())
                if header.layout is None:
                    return None
                weights = {name: file.get_tensor(name).astype(np.float32, copy=False) for name in file.keys()}  # noqa: SIM118
            chosen = header.architecture
            net = NumpyViT(weights, header.layout, chosen.groups, chosen.pool, chosen.mirror, chosen.lengths)
        except DAMAGE as error:
            raise damaged(path, error) from None
        return cls(net, header, header.ref(path))
