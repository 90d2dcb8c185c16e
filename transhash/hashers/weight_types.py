"""How a hasher's weights are stored: in float32, float16, or as int8 matrices with a float32 scale for every row.

Both loaders compute in float32 with the values from `restore`, so their codes are equal.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelError

WEIGHT_TYPES = ("fp32", "fp16", "int8")

_SCALE = ".scale"
_LARGEST_SCALE = 1e30  # times 127 is still a float32
LARGEST_INT8 = 127

Weights = dict[str, NDArray[Any]]


def convert(weights: Weights, to: str) -> Weights:
    """Convert float32 weights, by name, to the arrays that a file stores.

    With ``"int8"``, a matrix or convolution (rows, ...) named `NAME.weight` becomes an int8 array of its shape and a
    float32 array (rows,) named `NAME.weight.scale`; a value is off by at most half the scale of its row. All other
    weights stay in float32.

    Raises ModelError if `to` is not one of `WEIGHT_TYPES`, or a weight is not finite or too large for float16.
    """
    if to not in WEIGHT_TYPES:
        raise ModelError(f"weights as {to}: choose one of {', '.join(WEIGHT_TYPES)}")
    if to == "fp32":
        return weights
    stored: Weights = {}
    for name, weight in weights.items():
        if to == "fp16":
            with np.errstate(over="ignore"):
                stored[name] = weight.astype(np.float16)
            _check_finite(name, stored[name], to)
        elif weight.ndim > 1 and name.endswith(".weight"):
            _check_finite(name, weight, to)
            stored[name], stored[name + _SCALE] = quantize(weight)
        else:
            stored[name] = weight
    return stored


def quantize(
    weight: NDArray[np.float32], largest: int = LARGEST_INT8
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round weights (rows, ...) to multiples of a row's largest magnitude / `largest`.

    Returns:
        The multiples, int8 of the same shape, and the unit of each row, float32 (rows,).
    """
    rows = weight.reshape(len(weight), -1)
    scale = np.maximum(np.abs(rows).max(axis=1, initial=0) / np.float32(largest), np.finfo(np.float32).tiny)
    multiples = np.rint(rows / scale[:, None]).clip(-largest, largest)
    return multiples.astype(np.int8).reshape(weight.shape), scale.astype(np.float32)


def shapes(file: Any) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of an open safetensors file, by name; scales belong to their weights.

    Raises ValueError if int8 weights lack a scale for every row.
    """
    entries = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    found = {name: tuple(entry.get_shape()) for name, entry in entries.items()}
    for name, entry in entries.items():
        if entry.get_dtype() == "I8":
            scale = found.pop(name + _SCALE, None)
            if not found[name] or scale != found[name][:1] or entries[name + _SCALE].get_dtype() != "F32":
                raise ValueError(f"tensor {name}: int8, and no float32 scale for every row")
    return found


def restore(file: Any, name: str, as_float32: Callable[[Any], Any]) -> Any:
    """Return a weight of an open safetensors file in float32, as an array of the framework it was opened with.

    Raises ValueError if a scale is not a positive, finite number.
    """
    weight = as_float32(file.get_tensor(name))
    if file.get_slice(name).get_dtype() != "I8":
        return weight
    scale = file.get_tensor(name + _SCALE)
    if len(scale) and not (float(scale.min()) > 0 and float(scale.max()) <= _LARGEST_SCALE):
        raise ValueError(f"tensor {name}: a scale is not a positive, finite number")
    return weight * scale.reshape(-1, *[1] * (weight.ndim - 1))


def _check_finite(name: str, weight: NDArray[Any], to: str) -> None:
    if not np.isfinite(weight).all():
        raise ModelError(f"{name} holds NaN, infinity or a number too large for {to}")
