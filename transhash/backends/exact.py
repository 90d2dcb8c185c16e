"""The brute-force backend, with which the tests compare all others."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from .. import hamming
from ..errors import BackendError
from ..results import Nearest, Within
from .contract import check_params

_FILE = "codes.safetensors"


class ExactIndex:
    """All codes in memory; a search computes every distance."""

    types: ClassVar[tuple[str, ...]] = ("exact",)
    reason = ""

    def __init__(self, codes: NDArray[np.uint8]) -> None:
        """Index codes (n, bits/8) uint8."""
        self._codes = codes
        self.bits = codes.shape[1] * 8

    @classmethod
    def build(
        cls, codes: NDArray[np.uint8], *, type: str | None = None, params: Mapping[str, int] | None = None
    ) -> Self:
        """Build an index of codes (n, bits/8) uint8."""
        if type not in (None, *cls.types):
            raise BackendError(f"the exact backend has no index type {type!r}; it has: {', '.join(cls.types)}")
        check_params(params, (), "the exact backend")
        return cls(codes)

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self._codes)

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self._codes = np.concatenate([self._codes, codes])

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Remove the codes where `keep` (n,) is false; the others are renumbered from 0, in order."""
        self._codes = self._codes[keep]

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`, (stop - start, bits/8) uint8."""
        return self._codes[start:stop].copy()

    def search(
        self,
        queries: NDArray[np.uint8],
        k: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Nearest:
        """Return the min(k, n) nearest codes of each query among those `allowed`, ordered by (distance, id)."""
        check_params(params, (), "the exact backend")
        return hamming.top_k(queries, self._codes, k, allowed)

    def range_search(
        self,
        queries: NDArray[np.uint8],
        radius: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Within:
        """Return every `allowed` code at distance <= radius of each query, ordered by (distance, id)."""
        check_params(params, (), "the exact backend")
        return hamming.within(queries, self._codes, radius, allowed)

    def save(self, folder: Path) -> None:
        """Write the codes as one safetensors file."""
        (folder / _FILE).write_bytes(serialize({"codes": self._codes}))

    @classmethod
    def load(cls, folder: Path, mmap: bool = False) -> Self:
        """Open what `save` wrote. Raises BackendError if the file does not hold codes, or for `mmap`."""
        if mmap:
            raise BackendError("the exact backend cannot map its file; types flat and ivf of the faiss backend can")
        try:
            codes = load_file(folder / _FILE)["codes"]
        except (OSError, KeyError, SafetensorError) as error:
            raise BackendError(f"{folder / _FILE}: does not hold codes ({error}); build the index again") from error
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] == 0:
            raise BackendError(f"{folder / _FILE}: {codes.dtype} {codes.shape} are not codes; build the index again")
        return cls(codes)

    def search_parameter(self) -> None:
        """Return None: every search is exact."""

    def tune(self, value: int) -> None:
        """Raise BackendError: there is no search parameter."""
        raise BackendError("the exact backend has nothing to tune: every search is exact")

    def info(self) -> dict[str, int | str]:
        """Describe the index."""
        return {"type": "exact", "bytes": self._codes.nbytes}
