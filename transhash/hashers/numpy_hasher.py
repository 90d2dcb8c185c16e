"""A trained hasher on numpy: slower for many images, but ready much sooner because it does not load torch."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
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
from ..system.forks import unforked
from . import tensor_file, weight_types
from .base import Named
from .header import DAMAGE, HasherConfig, damaged, parse_network
from .numpy_net import Floats, NumpyViT, unit


class NumpyHasher(Named):
    """Computes the codes of `TransHasher` in float32 with numpy."""

    def __init__(self, net: NumpyViT, config: HasherConfig, ref: ModelRef) -> None:
        """Combine a network with the other contents of a hasher's file."""
        self._net = net
        self._config = config
        self.ref = ref

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Convert an image to the network's square input (H, W, 3) uint8, as its preprocessing says."""
        return self._config.preprocessing.square(image, self._config.architecture.image_size)

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Hash preprocessed images (n, H, W, 3) uint8 into codes (n, bits/8) uint8."""
        with self._model_errors():
            return pack(self.outputs(batch))

    def outputs(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the outputs (n, bits) float32 of preprocessed images; their signs are the codes."""
        with self._model_errors():
            return self._hashed(self._features(batch))

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Compute codes (n, bits/8) uint8 and the embeddings (n, d) float16 behind them, of unit length."""
        with self._model_errors():
            features = self._features(batch)
            return pack(self._hashed(features)), unit(features).astype(np.float16)

    def _features(self, batch: NDArray[Any]) -> Floats:
        """Compute the features (n, d), one image at a time to limit the memory for attention."""
        pixels = self._config.preprocessing.normalized(batch).transpose(0, 3, 1, 2)
        features = []
        for place in range(len(pixels)):
            with unforked():
                features.append(self._net.features(pixels[place : place + 1]))
        return np.concatenate(features)

    def _hashed(self, features: Floats) -> Floats:
        with unforked():
            outputs = self._net.hash(features)
        bits = self._config.architecture.bits
        if outputs.shape[1] != bits:
            raise ValueError(f"{outputs.shape[1]} outputs for {bits} bits")
        return outputs[:, : self.ref.bits]

    @contextmanager
    def _model_errors(self) -> Iterator[None]:
        """Convert errors caused by inconsistent weights, or by NaN, to ModelError."""
        try:
            yield
        except (ValueError, KeyError, IndexError) as error:
            raise ModelError(f"{self.ref.name}: {error}; train it again") from error

    @classmethod
    def load(cls, path: str | Path) -> Self | None:
        """Read a hasher, or return None if it needs torch.

        Networks with layers that `NumpyViT` does not implement need torch. So do files without a checksum, because
        only torch can check whether their layout matches the network.

        Raises ModelError if the file is not a hasher.
        """
        path = Path(path)
        try:
            with safe_open(path, framework="numpy") as file, ThreadPoolExecutor(1) as pool:
                config = parse_network(file.metadata())
                if config.layout is None:
                    return None
                ref = pool.submit(config.ref, path)  # hashes the whole file, like `verify`
                if not tensor_file.verify(path):
                    return None
                weights = {name: weight_types.restore(file, name, _as_float32) for name in weight_types.shapes(file)}
            chosen = config.architecture
            net = NumpyViT(weights, config.layout, chosen.groups, chosen.pool, chosen.mirror, chosen.lengths)
        except DAMAGE as error:
            raise damaged(path, error) from None
        return cls(net, config, ref.result())


def _as_float32(weight: NDArray[Any]) -> Floats:
    return weight.astype(np.float32, copy=False)
