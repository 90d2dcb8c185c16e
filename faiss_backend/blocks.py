"""Read codes that may not fit in memory, block by block."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from transhash.backends import CodeRows

_BLOCK_BYTES = 1 << 26
_BLOCK_ROWS = 1 << 21


def blocks(rows: CodeRows, most: int | None = None) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Yield the first row and the codes of consecutive blocks, of at most `most` rows if given."""
    step = min(most or _BLOCK_ROWS, _BLOCK_BYTES // rows.shape[1])
    for start in range(0, len(rows), step):
        yield start, np.ascontiguousarray(rows[start : min(start + step, len(rows))])


def sample(rows: CodeRows, wanted: int) -> NDArray[np.uint8]:
    """Return `wanted` evenly spread codes: a random one from each of `wanted` equal stretches; at most all codes."""
    wanted = min(wanted, len(rows))
    edges = np.arange(wanted + 1) * len(rows) // wanted
    chosen = np.random.default_rng(0).integers(edges[:-1], edges[1:])
    parts = []
    for start, codes in blocks(rows):
        inside = slice(*np.searchsorted(chosen, [start, start + len(codes)]))
        parts.append(codes[chosen[inside] - start])
    return np.concatenate(parts)
