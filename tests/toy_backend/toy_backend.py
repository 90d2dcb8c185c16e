"""A third-party backend in one file with one entry point: sorted distances of Python integers."""

from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from transhash.backends import check_params
from transhash.errors import BackendError
from transhash.results import Nearest, Within

Packed = NDArray[np.uint8]
Params = dict[str, int] | None
Mask = NDArray[np.bool_] | None


class ToyIndex:
    types = ("toy",)
    reason = ""

    def __init__(self, codes: Packed) -> None:
        self._rows = [int.from_bytes(row.tobytes(), "big") for row in codes]
        self.bits = codes.shape[1] * 8

    @classmethod
    def build(cls, codes: Packed, *, type: str | None = None, params: Params = None) -> Self:
        if type not in (None, "toy"):
            raise BackendError(f"the toy backend has no index type {type!r}; it has: toy")
        check_params(params, (), "the toy backend")
        return cls(codes)

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, codes: Packed) -> None:
        self._rows += ToyIndex(codes)._rows

    def remove(self, keep: NDArray[np.bool_]) -> None:
        self._rows = [row for row, stays in zip(self._rows, keep, strict=True) if stays]

    def reconstruct(self, start: int, stop: int) -> Packed:
        data = b"".join(row.to_bytes(self.bits // 8, "big") for row in self._rows[start:stop])
        return np.frombuffer(data, np.uint8).reshape(stop - start, self.bits // 8)

    def search(self, queries: Packed, k: int, params: Params = None, allowed: Mask = None) -> Nearest:
        check_params(params, (), "the toy backend")
        found = [self._sorted(query, allowed)[:k] for query in queries]
        shape = (len(queries), min(k, len(self) if allowed is None else int(allowed.sum())))
        return Nearest(
            np.array([[row for _, row in one] for one in found], np.int64).reshape(shape),
            np.array([[distance for distance, _ in one] for one in found], np.int32).reshape(shape),
        )

    def range_search(self, queries: Packed, radius: int, params: Params = None, allowed: Mask = None) -> Within:
        found = [[pair for pair in self._sorted(query, allowed) if pair[0] <= radius] for query in queries]
        owners = np.repeat(np.arange(len(queries)), [len(one) for one in found])
        distances, ids = np.array([pair for one in found for pair in one], np.int64).reshape(-1, 2).T
        return Within.sort(len(queries), owners, ids, distances)

    def save(self, folder: Path) -> None:
        lines = [f"{self.bits} {len(self)}", *(f"{row:x}" for row in self._rows)]
        (folder / "toy.txt").write_text("\n".join(lines))

    @classmethod
    def load(cls, folder: Path, mmap: bool = False) -> Self:
        if mmap:
            raise BackendError("the toy backend does not map its file")
        try:
            header, *rows = (folder / "toy.txt").read_text().splitlines()
            bits, count = map(int, header.split())
            if len(rows) != count:
                raise ValueError(f"{len(rows)} rows of {count}")
            data = b"".join(int(row, 16).to_bytes(bits // 8, "big") for row in rows)
        except (OSError, ValueError, OverflowError) as error:
            raise BackendError(f"{folder}: damaged ({error}); build it again") from None
        return cls(np.frombuffer(data, np.uint8).reshape(count, bits // 8))

    def search_parameter(self) -> None:
        return None

    def tune(self, value: int) -> None:
        raise BackendError("the toy backend has nothing to tune")

    def info(self) -> dict[str, str]:
        return {"type": "toy"}

    def _sorted(self, query: NDArray[np.uint8], allowed: Mask) -> list[tuple[int, int]]:
        value = int.from_bytes(query.tobytes(), "big")
        pairs = (((row ^ value).bit_count(), place) for place, row in enumerate(self._rows))
        return sorted(pair for pair in pairs if allowed is None or allowed[pair[1]])
