"""Hashers that are fitted to the embeddings of an ONNX model: sign(W x + b). Their files contain the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save as serialize

from ..codes import ModelRef
from ..errors import ModelError
from ..packing import pack
from ..system.files import display, printable
from ..system.forks import unforked
from . import onnx_guard, tensor_file
from .base import Named
from .embedder_config import EmbedderConfig
from .header import DAMAGE, EmbedderHasherConfig, check_replaceable, damaged, parse
from .numpy_net import unit

_MODEL, _WEIGHT, _BIAS = "embedder.onnx", "head.weight", "head.bias"
_LARGEST = (1 << 31) - 1  # bytes of an ONNX file

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Embedder:
    """An embedder that has been opened: its `model`, the name of its file, and the file's SHA-256."""

    model: Any
    name: str
    digest: str


def open_embedder(path: str | Path, config: EmbedderConfig | None = None) -> Embedder:
    """Open an ONNX model, with the settings in the TOML file beside it by default.

    Raises ModelError if it is not usable.
    """
    data, digest, config = _examined(Path(path), config or EmbedderConfig.beside(path))
    return Embedder(_opened(path, data, config), Path(path).name, digest)


def check_embedder(hasher: str | Path, config: object, embedder: str | Path) -> None:
    """Raise ModelError if a hasher, whose file has this config, was not fitted to this ONNX model."""
    if not isinstance(config, EmbedderHasherConfig):
        raise ModelError(
            f"{display(str(hasher))}: not fitted to an ONNX model; fit a hasher to it first: "
            f"th fit IMAGES -o hasher.safetensors --embedder {display(str(embedder))}"
        )
    _, digest, _ = _examined(Path(embedder), config.preprocessing)
    if digest != config.embedder_digest:
        fitted = printable(f"{config.embedder[:100]}, SHA-256 {config.embedder_digest[:12]}")
        raise ModelError(
            f"{display(str(embedder))}: not the ONNX model that {display(str(hasher))} was fitted to "
            f"({fitted}; this one {digest[:12]})"
        )


class EmbedderHasher(Named):
    """A linear projection of the embeddings of an ONNX model."""

    def __init__(self, embedder: Embedder, weight: Floats, bias: Floats, training: dict[str, Any]) -> None:
        """Combine an embedder with a projection: `weight` (bits, d) and `bias` (bits,)."""
        self._model = embedder.model
        self._weight = weight
        self._bias = bias
        self.config = EmbedderHasherConfig(
            len(weight), embedder.name, embedder.digest, embedder.model.config, training
        )
        self.preprocessing = embedder.model.config
        self.training = training
        self.ref = ModelRef("", "", len(weight))

    def preprocess(self, image: Image.Image) -> NDArray[Any]:
        """Convert an image to the embedder's square input (H, W, 3) uint8."""
        found: NDArray[Any] = self._model.preprocess(image)
        return found

    def encode(self, batch: NDArray[Any]) -> NDArray[np.uint8]:
        """Hash preprocessed images (n, H, W, 3) uint8 into codes (n, bits/8) uint8."""
        return self._pack(self.outputs(batch))

    def outputs(self, batch: NDArray[Any]) -> Floats:
        """Compute the outputs (n, bits) float32 of preprocessed images; their signs are the codes."""
        return self._projected(self.features(batch))

    def encode_both(self, batch: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
        """Compute codes (n, bits/8) uint8 and the embeddings (n, d) float16 behind them, of unit length."""
        features = self.features(batch)
        return self._pack(self._projected(features)), unit(features).astype(np.float16)

    def features(self, batch: NDArray[Any]) -> Floats:
        """Compute the embeddings (n, d) float32 that are projected."""
        with self._named_errors():
            found: Floats = self._model.features(batch)
        return found

    def _projected(self, features: Floats) -> Floats:
        """Project embeddings one by one: products of matrices would round differently for other batch sizes."""
        with unforked():
            return np.stack([self._weight @ row + self._bias for row in features])

    def _pack(self, outputs: Floats) -> NDArray[np.uint8]:
        try:
            return pack(outputs)
        except ValueError:
            raise ModelError(f"{self.ref.name}: an embedding is not a finite number") from None

    @contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except ModelError as error:
            raise ModelError(printable(f"{self.ref.name or self.config.embedder}: {error}")) from None

    def save(self, path: str | Path) -> None:
        """Write projection, embedder and settings to one safetensors file, atomically.

        Raises ModelError if something other than a hasher exists there, OSError if the file cannot be written.
        """
        path = Path(path)
        check_replaceable(path)
        arrays: dict[str, NDArray[Any]] = {
            _MODEL: np.frombuffer(self._model.data, np.uint8),
            _WEIGHT: self._weight,
            _BIAS: self._bias,
        }
        tensor_file.write(path, serialize(arrays, self.config.metadata()))
        self.ref = self.config.ref(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Load a hasher that `save` wrote. Raises ModelError if the file is not one, or is damaged."""
        path = Path(path)
        try:
            tensor_file.verify(path)
            with safe_open(path, framework="numpy") as file:
                config = parse(file.metadata())
                if not isinstance(config, EmbedderHasherConfig):
                    raise ValueError("it contains no ONNX model")
                data, weight, bias = (file.get_tensor(name) for name in (_MODEL, _WEIGHT, _BIAS))
            if data.dtype != np.uint8 or weight.dtype != np.float32 or bias.dtype != np.float32:
                raise ValueError("a tensor has another type")
            if weight.ndim != 2 or len(weight) != config.bits or bias.shape != (config.bits,):
                raise ValueError(f"a projection of shape {weight.shape} for {config.bits} bits")
        except DAMAGE as error:
            raise damaged(path, error) from None
        try:
            data, _, settings = onnx_guard.examine(data.tobytes(), None, config.preprocessing)
        except ModelError as error:
            raise ModelError(f"{display(path)}: {printable(str(error))}") from None
        model = _opened(path, data, settings)
        if model.width != weight.shape[1]:
            raise damaged(path, ValueError(f"embeddings of {model.width} numbers, {weight.shape[1]} expected"))
        embedder = Embedder(model, config.embedder, config.embedder_digest)
        hasher = cls(embedder, weight, bias, config.training)
        hasher.ref = config.ref(path)
        return hasher


def _examined(path: Path, config: EmbedderConfig) -> tuple[bytes, str, EmbedderConfig]:
    """Read an ONNX file, with its data files, and open it in a child process. Raises ModelError."""
    if not path.is_file():
        raise ModelError(f"{display(path)}: no such file; give an ONNX model")
    if path.stat().st_size > _LARGEST:
        raise ModelError(f"{display(path)}: over 2 GiB, more than an ONNX file holds")
    try:
        return onnx_guard.examine(path.read_bytes(), path.parent, config)
    except ModelError as error:
        raise ModelError(f"{display(path)}: {printable(str(error))}") from None


def _opened(path: str | Path, data: bytes, config: EmbedderConfig) -> Any:
    """Open a model that has been examined, in this process. Raises ModelError."""
    from .onnx_embedder import OnnxEmbedder

    try:
        return OnnxEmbedder(data, config)
    except ModelError as error:
        raise ModelError(f"{display(str(path))}: {printable(str(error))}") from None
