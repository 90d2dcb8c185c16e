"""A flat collection: a search scans every code."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..results import Nearest, Within
from . import device as devices
from . import scan


class DeviceCodes:
    """Codes in the memory of a GPU. Searches return exactly what `transhash.hamming` returns on the CPU."""

    def __init__(self, codes: NDArray[np.uint8], device: str | torch.device | None = None) -> None:
        """Upload codes (n, bits/8) uint8 to a device (`transhash.gpu.choose`).

        Raises BackendError if the device does not exist or the codes do not fit.
        """
        self.device = device if isinstance(device, torch.device) else devices.choose(device)
        self._store = scan.Store(codes, self.device)
        self.bits = self._store.bits

    def __len__(self) -> int:
        """Return the number of codes."""
        return self._store.count

    def top_k(self, queries: NDArray[np.uint8], k: int, allowed: NDArray[np.bool_] | None = None) -> Nearest:
        """Return the min(k, n) nearest codes of each query, ordered by (distance, position).

        Args:
            queries: (q, bits/8) uint8.
            k: number of neighbours, at least 1; limited by memory only.
            allowed: (n,) bool; the search considers only positions where it is true.

        Raises BackendError if shapes do not match or memory runs out.
        """
        with devices.searching(self.device):
            k = min(k, len(self) if allowed is None else int(allowed.sum()))
            words, mask = self._store.queries(queries), self._store.mask(allowed)
            return scan.matches(self._tables(words, k, mask), k)

    def within(self, queries: NDArray[np.uint8], radius: int, allowed: NDArray[np.bool_] | None = None) -> Within:
        """Return every code at distance <= radius of each query, ordered by (distance, position).

        Raises BackendError if shapes do not match or memory runs out.
        """
        with devices.searching(self.device):
            words, mask = self._store.queries(queries), self._store.mask(allowed)
            return scan.range_matches(self._ranges(words, min(radius, self.bits), mask))

    def nearest(self, words: Tensor, k: int) -> Tensor:
        """Return the positions found by `top_k` as a (q, k) int64 tensor on the device.

        Args:
            words: queries on the device, (q, words) int32.
            k: at most n.
        """
        return torch.cat([ids for ids, _ in self._tables(words, k, None)])

    def _tables(self, words: Tensor, k: int, mask: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        store = self._store
        for group in store.groups(words, store.blocks()):
            minima, totals = store.survey(group, k, mask)
            levels, rooms = scan.thresholds(totals, k)
            for found in store.select(group, self._reaching(minima, levels), levels, rooms, mask):
                yield scan.tables(found, found.slots, self.bits, len(self), k)

    def _ranges(self, words: Tensor, radius: int, mask: Tensor | None) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        store = self._store
        for group in store.groups(words, store.blocks()):
            minima, _ = store.survey(group, 0, mask)
            levels = torch.full((len(group),), radius, dtype=torch.int32, device=self.device)
            for found in store.select(group, self._reaching(minima, levels), levels, None, mask):
                yield found.counts, *scan.ordered(found, found.slots, self.bits, len(self))

    def _reaching(self, minima: Tensor, levels: Tensor) -> scan.Items:
        """Return the blocks that contain a code at or below the level of a query."""
        owners, blocks = (minima <= levels[:, None]).nonzero().T.contiguous()
        starts = blocks * self._store.block
        return scan.Items(owners.to(torch.int32), starts, torch.full_like(starts, len(self)), owners)
