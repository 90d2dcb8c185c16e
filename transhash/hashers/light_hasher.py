"""A trained hasher without torch: slower on many images, much sooner ready for one."""

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
from .light import LightNet


class LightHasher:
    """Gives the codes of `TransHasher`, computed in float32 by numpy."""

    def __init__(self, net: LightNet, header: Header, ref: ModelRef) -> None:
        """Put the parts together."""
        self._net = net
        self._header = header
        self.ref = ref

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Cut out the central square and resize it (bicubic): (H, W, 3) uint8."""
        return self._header.preprocessing.square(image, self._header.architecture.image_size)

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Hash preprocessed images (n, H, W, 3) uint8 into codes (n, bits/8) uint8."""
        mean, std = (
            np.array(v, np.float32) * 255 for v in (self._header.preprocessing.mean, self._header.preprocessing.std)
        )
        pixels = ((batch.astype(np.float32) - mean) / std).transpose(0, 3, 1, 2)
        try:
            outputs = np.concatenate([self._net(pixels[place : place + 1]) for place in range(len(pixels))])
            if outputs.shape[1] != self.ref.bits:
                raise ValueError(f"{outputs.shape[1]} outputs for {self.ref.bits} bits")
            return pack(outputs)
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
            net = LightNet(weights, header.layout, header.architecture.groups, header.architecture.pool)
        except DAMAGE as error:
            raise damaged(path, error) from None
        return cls(net, header, header.ref(path))
