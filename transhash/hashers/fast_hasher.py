"""A trained hasher that computes with 8-bit integers on OpenVINO (``--fast``)."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..codes import ModelRef
from ..codes.arithmetic import fast_model
from ..errors import ModelError, one_line
from ..packing import pack
from ..system.files import display
from ..system.forks import unforked
from . import quantized, range_cache
from .header import HasherConfig
from .numpy_hasher import NumpyHasher
from .numpy_net import Floats, NumpyViT, unit

_PHOTOS = Path(__file__).parents[1] / "demo" / "photos"
_CALIBRATION = ("astronaut", "bee", "bridge", "cat", "citrus", "meadow", "photographer", "sunset")


class FastHasher(NumpyHasher):
    """Computes with 8-bit matrices and activations, on the processor."""

    def __init__(self, net: NumpyViT, config: HasherConfig, ref: ModelRef) -> None:
        """Round and compile a network. Raises ModelError if OpenVINO is missing or cannot compile it."""
        if find_spec("openvino") is None:
            raise ModelError("--fast (fast=True) needs OpenVINO; install it with: pip install 'transhash[fast]'")
        from .openvino_net import OpenVinoViT
        from .saturation import largest_weight

        super().__init__(net, config, fast_model(ref))
        with self._model_errors(), unforked():
            quantized.fold(net)
            ranges = range_cache.read(ref.digest)
            if ranges is None or ranges.keys() != quantized.matrix_names(net):
                ranges = quantized.input_ranges(net, _photographs(config))
                range_cache.write(ref.digest, ranges)
            quantized.fold_preprocessing(net, config.preprocessing)
            matrices = quantized.matrices(net, ranges, largest_weight())
        try:
            self._compiled = OpenVinoViT(net, matrices, config.architecture.image_size)
        except (RuntimeError, ValueError, LookupError) as error:
            raise ModelError(f"{display(ref.name)}: OpenVINO cannot compute it: {one_line(error)}") from None

    def outputs(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Compute the outputs (n, bits) float32 of preprocessed images; their signs are the codes."""
        return self._computed(batch)[1]

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Compute codes (n, bits/8) uint8 and the embeddings (n, d) float16 behind them, of unit length."""
        features, outputs = self._computed(batch)
        with self._model_errors():
            return pack(outputs), unit(features).astype(np.float16)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read a hasher. Raises ModelError if the file is not one, or has layers that only torch computes."""
        found = super().load(path)
        if found is None:
            raise ModelError(f"{display(path)}: has layers that only torch computes; leave out --fast (fast=True)")
        return found

    def _computed(self, batch: NDArray[Any]) -> tuple[Floats, Floats]:
        features, outputs = self._compiled(batch)
        return features, outputs[:, : self.ref.bits]


def _photographs(config: HasherConfig) -> list[Floats]:
    """Return photographs that come with the package as the network's input, (1, 3, side, side) each."""
    found = []
    for name in _CALIBRATION:
        with Image.open(_PHOTOS / f"{name}.jpg") as photo:
            square = config.preprocessing.square(photo.convert("RGB"), config.architecture.image_size)
        found.append(config.preprocessing.normalized(square).transpose(2, 0, 1)[None])
    return found
