"""Pack signs to bits and back. Only this module defines the bit order and the treatment of zero.

Bit ``j`` of a code is in byte ``j // 8`` under the mask ``0x80 >> (j % 8)`` (most significant bit first, as in
`numpy.packbits`). It is 1 if the hasher's output is greater than zero, else 0.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

BIT_ORDER: Literal["big"] = "big"
MIN_BITS = 8
MAX_BITS = 1024


def check_bits(bits: int) -> int:
    """Return `bits`, or raise ValueError if it is not a multiple of 8 from 8 to 1024."""
    if not (MIN_BITS <= bits <= MAX_BITS and bits % 8 == 0):
        raise ValueError(f"{bits} bits: must be a multiple of 8 from {MIN_BITS} to {MAX_BITS}")
    return bits


def pack(outputs: NDArray[Any]) -> NDArray[np.uint8]:
    """Pack real or boolean outputs (n, bits) into codes (n, bits/8) uint8.

    Raises ValueError if `bits` is not a valid code length, or an output is NaN.
    """
    if outputs.ndim != 2:
        raise ValueError(f"outputs of shape {outputs.shape}: expected (n, bits)")
    check_bits(outputs.shape[1])
    if np.isnan(outputs).any():
        raise ValueError("an output is not a number: the hasher has diverged")
    return np.packbits(outputs > 0, axis=1, bitorder=BIT_ORDER)


def unpack(codes: NDArray[np.uint8]) -> NDArray[np.int8]:
    """Unpack codes (n, bits/8) uint8 into signs (n, bits) int8: +1 for a 1, -1 for a 0."""
    bits = np.unpackbits(codes, axis=1, bitorder=BIT_ORDER)
    return bits.astype(np.int8) * 2 - 1
