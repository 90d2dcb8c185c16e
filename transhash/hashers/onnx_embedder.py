"""Embedders: ONNX models that turn images into embeddings, computed by ONNX Runtime on the processor."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from ..errors import ModelError, one_line
from ..system import memory
from ..system.threads import threads
from .embedder_config import EmbedderConfig

WIDEST = 1 << 14  # numbers of an embedding

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}
_MEMORY = 1 << 32  # bytes, where the memory of the machine is unknown

Floats = NDArray[np.float32]


class OnnxEmbedder:
    """Turns images into embeddings with an ONNX model.

    Every image is computed on its own, in one thread, so that batches of all sizes give equal embeddings.

    Attributes:
        data: the ONNX file, without external data.
        config: its settings, with `size` and `embedding`.
        width: numbers of an embedding.
    """

    def __init__(self, data: bytes, config: EmbedderConfig) -> None:
        """Open a model that `onnx_guard` has opened before.

        Raises ModelError if ONNX Runtime cannot run it, or it does not turn an image into an embedding.
        """
        self.data = data
        self._session = _session(data)
        self._input, self._type, self._channels_last, self._batch, side = _image_input(self._session)
        size = config.size or side
        if size is None:
            raise ModelError("takes images of any size; choose one with --embedder-size (size=)")
        if side not in (None, size):
            raise ModelError(f"takes images of {side} pixels; size is {size}")
        self.config = replace(config, size=size)
        known = [output.name for output in self._session.get_outputs()]
        if config.embedding is None:
            everything = self._run(np.zeros((size, size, 3), np.uint8), known)
            self.config = replace(self.config, embedding=self._found(known, everything))
        elif config.embedding not in known:
            raise ModelError(f"no output {config.embedding[:100]!r}; choose from {', '.join(known)[:200]}")
        self.width = len(self._vector(self._run(np.zeros((size, size, 3), np.uint8), [self._name])[0]))
        if not 1 <= self.width <= WIDEST:
            raise ModelError(f"embeddings of {self.width} numbers; at most {WIDEST}")

    def preprocess(self, image: Image.Image) -> NDArray[np.uint8]:
        """Resize an RGB image to the input of the model: (size, size, 3) uint8."""
        assert self.config.size is not None
        return self.config.preprocessing.square(image, self.config.size)

    def features(self, batch: NDArray[np.uint8]) -> Floats:
        """Compute the embeddings (n, width) float32 of preprocessed images (n, size, size, 3) uint8."""
        with ThreadPoolExecutor(threads(), thread_name_prefix="transhash-embed") as pool:
            return np.stack(list(pool.map(self._embedded, batch)))

    def _embedded(self, image: NDArray[np.uint8]) -> Floats:
        vector = self._vector(self._run(image, [self._name])[0])
        if self.config.normalize:
            vector = vector / max(np.float32(1e-12), np.linalg.norm(vector))
        return vector

    @property
    def _name(self) -> str:
        assert self.config.embedding is not None
        return self.config.embedding

    def _run(self, image: NDArray[np.uint8], outputs: list[str]) -> Sequence[Any]:
        """Compute outputs of one image; models with a fixed batch get it several times."""
        values: NDArray[Any] = image
        if self._type is not np.uint8:
            values = self.config.preprocessing.normalized(image).astype(self._type)
        if not self._channels_last:
            values = values.transpose(2, 0, 1)
        try:
            found: Sequence[Any] = self._session.run(
                outputs, {self._input: np.repeat(values[None], self._batch, axis=0)}
            )
        except Exception as error:  # ONNX Runtime raises classes of its own
            raise ModelError(f"ONNX Runtime cannot run it: {one_line(error)}") from None
        return found

    def _found(self, names: Sequence[str], outputs: Sequence[Any]) -> str:
        """Return the name of the first output with a vector per image or, failing that, per token."""
        for axes in (2, 3):
            for name, values in zip(names, outputs, strict=True):
                if _is_float(values) and values.ndim == axes and values.shape[0] == self._batch and values.size:
                    return name
        shapes = ", ".join(f"{name} {_shape(values)}" for name, values in zip(names, outputs, strict=True))
        raise ModelError(f"no output is an embedding: {shapes[:200]}")

    def _vector(self, values: Any) -> Floats:
        """Return the embedding of the first image of a batch, (width,)."""
        usable = _is_float(values) and values.ndim in (2, 3) and len(values) == self._batch and values.size
        if not usable:
            raise ModelError(
                f"output {self._name[:100]}: {_shape(values)}; expected embeddings (n, d) or (n, tokens, d)"
            )
        row = values[0].astype(np.float32)
        if row.ndim == 1:
            return row
        return row[0] if self.config.pool == "token" else row.mean(axis=0)


def _session(data: bytes) -> Any:
    """Open a model with the operators of ONNX Runtime only, and with limited memory."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("optimization.constant_folding_max_output_size_in_bytes", str(1 << 26))
    if _has_limited_memory():
        options.add_session_config_entry("session.use_env_allocators", "1")
    try:
        return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises classes of its own
        raise ModelError(f"ONNX Runtime cannot open it: {one_line(error)}") from None


@cache
def _has_limited_memory() -> bool:
    """Limit the memory of all models together to three quarters of the machine's; return whether that worked."""
    where = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    limit = (memory.installed() or _MEMORY) // 4 * 3
    try:
        onnxruntime.create_and_register_allocator(where, onnxruntime.OrtArenaCfg({"max_mem": limit}))
    except Exception:  # the program has registered one
        return False
    return True


def _image_input(session: Any) -> tuple[str, Any, bool, int, int | None]:
    """Return the name and type of the input, whether channels are last, the batch size, and the side or None."""
    inputs = session.get_inputs()
    if len(inputs) != 1:
        names = ", ".join(one.name for one in inputs)
        raise ModelError(f"takes {len(inputs)} inputs ({names[:100]}); export only the image encoder")
    (found,) = inputs
    shape = [size if isinstance(size, int) else None for size in found.shape]
    channels_last = len(shape) == 4 and shape[3] == 3 and shape[1] != 3
    sides = shape[1:3] if channels_last else shape[2:]
    channels = shape[-1] if channels_last else shape[1] if len(shape) == 4 else 0
    known = {side for side in sides if side is not None}
    if found.type not in _TYPES or channels not in (3, None) or len(known) > 1:
        raise ModelError(
            f"input {found.name[:100]} is {found.type} {found.shape}; expected square images, (n, 3, side, side)"
        )
    batch = shape[0] or 1
    if not 1 <= batch <= 1024:
        raise ModelError(f"takes batches of {batch} images; export it with a batch of any size")
    return found.name, _TYPES[found.type], channels_last, batch, known.pop() if known else None


def _is_float(values: Any) -> bool:
    return isinstance(values, np.ndarray) and values.dtype.kind == "f"


def _shape(values: Any) -> str:
    return f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
