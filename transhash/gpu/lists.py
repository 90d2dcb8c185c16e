"""Inverted lists: codes grouped by nearest centroid; a search scans only the lists nearest to the query."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..results import Nearest, Within
from . import device as devices
from . import scan
from .flat import DeviceCodes


class DeviceLists:
    """A binary IVF index in GPU memory: exact within the probed lists, so exact overall if all are probed.

    A query probes the lists of its nearest centroids; among equally near centroids, the first ones.
    """

    def __init__(
        self,
        centroids: NDArray[np.uint8],
        offsets: NDArray[np.int64],
        codes: NDArray[np.uint8],
        ids: NDArray[np.int64],
        device: str | torch.device | None = None,
    ) -> None:
        """Upload an index to a device (`transhash.gpu.choose`).

        Args:
            centroids: (nlist, bits/8) uint8.
            offsets: (nlist + 1,) int64; list i owns the codes from `offsets[i]` to `offsets[i + 1]`.
            codes: (n, bits/8) uint8, list by list.
            ids: (n,) int64, the positions of these codes: each of 0 to n - 1 once.
            device: name of the device.

        Raises BackendError if the device does not exist or the index does not fit.
        """
        self._centroids = DeviceCodes(centroids, device)
        self.device, self.bits = self._centroids.device, self._centroids.bits
        narrow = ids.astype(np.int32 if len(ids) < 1 << 31 else np.int64)
        self._store = scan.Store(codes, self.device, narrow.itemsize)
        self._order = ids
        self._ids = torch.from_numpy(narrow).to(self.device)
        self._offsets = torch.from_numpy(offsets.astype(np.int64)).to(self.device)
        self._blocks = -(-self._offsets.diff() // self._store.block)
        self._longest = int(self._blocks.max())

    def __len__(self) -> int:
        """Return the number of codes."""
        return self._store.count

    def top_k(
        self, queries: NDArray[np.uint8], k: int, nprobe: int, allowed: NDArray[np.bool_] | None = None
    ) -> Nearest:
        """Return the min(k, n) nearest codes of each query in its `nprobe` lists, ordered by (distance, position).

        Args:
            queries: (q, bits/8) uint8.
            k: number of neighbours, at least 1; a row ends in ids of -1 if the probed lists hold fewer codes.
            nprobe: number of lists to probe, at least 1; more than there are means all.
            allowed: (n,) bool; the search considers only positions where it is true.

        Raises BackendError if shapes do not match or memory runs out.
        """
        with devices.searching(self.device):
            k = min(k, len(self) if allowed is None else int(allowed.sum()))
            words, mask = self._store.queries(queries), self._mask(allowed)
            return scan.matches(self._tables(words, k, nprobe, mask), k)

    def within(
        self, queries: NDArray[np.uint8], radius: int, nprobe: int, allowed: NDArray[np.bool_] | None = None
    ) -> Within:
        """Return every code at distance <= radius of each query in its `nprobe` lists, ordered as by `top_k`."""
        with devices.searching(self.device):
            words, mask = self._store.queries(queries), self._mask(allowed)
            return scan.range_matches(self._ranges(words, min(radius, self.bits), nprobe, mask))

    def _tables(self, words: Tensor, k: int, nprobe: int, mask: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        for group, items in self._work(words, nprobe):
            minima, totals = self._store.survey_items(group, items, mask)
            levels, rooms = scan.thresholds(totals, k)
            reaching = items[minima <= levels[items.owners.to(torch.int64)]]
            for found in self._store.select(group, reaching, levels, rooms, mask):
                yield scan.tables(found, self._positions(found), self.bits, len(self), k)

    def _ranges(
        self, words: Tensor, radius: int, nprobe: int, mask: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for group, items in self._work(words, nprobe):
            levels = torch.full((len(group),), radius, dtype=torch.int32, device=self.device)
            for found in self._store.select(group, items, levels, None, mask):
                yield found.counts, *scan.ordered(found, self._positions(found), self.bits, len(self))

    def _work(self, words: Tensor, nprobe: int) -> Iterator[tuple[Tensor, scan.Items]]:
        """Yield groups of queries with the blocks of the lists that they probe, a segment for each list."""
        nprobe = min(nprobe, len(self._centroids))
        for group in self._store.groups(words, nprobe * self._longest):
            lists = self._centroids.nearest(group, nprobe).flatten()
            blocks = self._blocks[lists]
            segments = torch.repeat_interleave(torch.arange(len(lists), device=self.device), blocks)
            block_in_list = torch.arange(len(segments), device=self.device) - (blocks.cumsum(0) - blocks)[segments]
            probed = lists[segments]
            starts = self._offsets[probed] + block_in_list * self._store.block
            owners = (segments // nprobe).to(torch.int32)
            yield group, scan.Items(owners, starts, self._offsets[probed + 1], segments)

    def _mask(self, allowed: NDArray[np.bool_] | None) -> Tensor | None:
        if allowed is not None and allowed.shape == (len(self),):
            allowed = allowed[self._order]
        return self._store.mask(allowed)

    def _positions(self, found: scan.Survivors) -> Tensor:
        return self._ids[found.slots].to(torch.int64)
