"""The passes of an exact scan over codes in device memory.

The survey reads every code once. It stores the smallest distance of each block of slots, and a histogram of distances
for each query, which gives the query's level: the distance of its k-th code. The selection then reads only blocks
that reach the level again. It counts their codes below the level and the first ones at it, computes output
positions, and writes the codes there. The result does not depend on the order in which the GPU runs its programs.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import BackendError
from ..results import NO_DISTANCE, NO_ID, Nearest, Within
from . import device as devices
from . import kernels

_BLOCK = 1024  # slots that one program scans
_TILE = 16  # queries for which one program scans them
_UPLOAD = 1 << 26  # bytes of codes copied to the device at a time
_FIRST = 1 << 16  # codes in the first launch of a survey, whose histogram bounds the level for the next
_GROWTH = 32  # factor from one launch to the next
_LAUNCH = 1 << 30  # codes in one launch at most: its counts are int32
_CELLS = 1 << 24  # numbers stored for a group of queries: histograms and block minima
_SURVIVORS = 1 << 24  # codes collected and sorted at a time


@dataclass(frozen=True)
class Items:
    """Blocks of slots to scan, each for one query, ordered by query.

    Attributes:
        owners: (m,) int32, queries.
        starts: (m,) int64, first slots.
        stops: (m,) int64, the ends of the ranges to scan; an item ends at most one block after its start.
        segments: (m,) int64, ascending: items of a segment belong to one query, and their slots ascend.
    """

    owners: Tensor
    starts: Tensor
    stops: Tensor
    segments: Tensor

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.owners)

    def __getitem__(self, selected: Tensor | slice) -> "Items":
        """Return a subset of the items."""
        return Items(self.owners[selected], self.starts[selected], self.stops[selected], self.segments[selected])


@dataclass(frozen=True)
class Survivors:
    """The codes found by consecutive queries, query by query.

    Attributes:
        counts: (q,) int64, number of codes per query.
        slots: (total,) int64, unordered within a query.
        distances: (total,) int64.
        owners: (total,) int64, queries counted from the first of these.
    """

    counts: Tensor
    slots: Tensor
    distances: Tensor
    owners: Tensor


class Store:
    """Codes in device memory, and the kernels that scan them. `queries` and `mask` upload the other arguments."""

    def __init__(self, codes: NDArray[np.uint8], device: torch.device, beside: int = 0) -> None:
        """Upload codes (n, bits/8) uint8 in pieces.

        Raises BackendError if they do not fit, including `beside` bytes per code that the caller will upload.
        """
        self.device = device
        self.count, width = codes.shape
        self.bits = width * 8
        self.words = -(-width // 4)
        self.block = _BLOCK
        self._stride = (-(-self.count // _BLOCK) + 1) * _BLOCK
        devices.check_room(device, self._stride, self.words * 4 + beside, self.bits)
        self._codes = torch.zeros((self.words, self._stride), dtype=torch.int32, device=device)
        rows = max(1, _UPLOAD // (self.words * 4))
        for start in range(0, self.count, rows):
            piece = codes[start : start + rows]
            self._codes[:, start : start + len(piece)] = self._as_words(piece).T

    def queries(self, queries: NDArray[np.uint8]) -> Tensor:
        """Upload queries (q, bits/8) uint8 as (q, words) int32. Raises BackendError for another width."""
        if queries.dtype != np.uint8 or queries.ndim != 2 or queries.shape[1] * 8 != self.bits:
            raise BackendError(f"queries {queries.dtype} {queries.shape}: must be uint8 (q, {self.bits // 8})")
        return self._as_words(queries)

    def mask(self, allowed: NDArray[np.bool_] | None) -> Tensor | None:
        """Upload which slots may be found, (n,) bool, as one bit per slot. Raises BackendError for another length."""
        if allowed is None:
            return None
        if allowed.shape != (self.count,):
            raise BackendError(f"allowed {allowed.shape}: must be ({self.count},), one for each code")
        marks = np.zeros(self._stride // 8, dtype=np.uint8)
        marks[: -(-self.count // 8)] = np.packbits(allowed, bitorder="little")
        return torch.from_numpy(marks).to(self.device)

    def groups(self, queries: Tensor, cells: int) -> Iterator[Tensor]:
        """Split queries into groups for which `cells` numbers per query, and the histograms, fit into memory."""
        size = max(1, _CELLS // max(cells, self.bits + 1))
        for start in range(0, len(queries), size):
            yield queries[start : start + size]

    def blocks(self) -> int:
        """Return the number of blocks of all slots."""
        return -(-self.count // self.block)

    def survey(self, queries: Tensor, k: int, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scan all slots for queries (q, words); with k = 0 for minima only.

        Returns:
            The smallest distance in each block, (q, blocks) int16, and the number of codes at each distance,
            (q, bits + 1) int64, which is exact for all codes nearer than the query's k-th; up to its distance, it
            counts at least k codes.
        """
        minima = torch.empty((len(queries), self.blocks()), dtype=torch.int16, device=self.device)
        totals = torch.zeros((len(queries), self.bits + 1), dtype=torch.int64, device=self.device)
        bounds = torch.full((len(queries),), self.bits + 1 if k else 0, dtype=torch.int32, device=self.device)
        tiles = -(-len(queries) // _TILE)
        for first, stop in _launches(self.blocks(), max(_FIRST, 4 * k) // self.block, _LAUNCH // self.block):
            histogram = torch.zeros_like(totals, dtype=torch.int32)
            kernels.survey_blocks[((stop - first) * tiles,)](
                self._codes,
                self._stride,
                first,
                self.count,
                queries,
                len(queries),
                bounds,
                self._codes if mask is None else mask,
                minima,
                self.blocks(),
                histogram,
                BINS=self._bins(),
                TILE=_TILE,
                **self._constants(mask),
            )
            totals += histogram
            if k:
                enough = totals.sum(dim=1) >= k
                bounds = torch.where(enough, thresholds(totals, k)[0], self.bits + 1).to(torch.int32)
        return minima, totals

    def survey_items(self, queries: Tensor, items: Items, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        """Scan items; return the smallest distance of each, (m,) int16, and the histograms of queries as `survey`."""
        minima = torch.empty(len(items), dtype=torch.int16, device=self.device)
        totals = torch.zeros((len(queries), self.bits + 1), dtype=torch.int64, device=self.device)
        size = _LAUNCH // self.block
        for start in range(0, len(items), size):
            part = slice(start, start + size)
            histogram = torch.zeros_like(totals, dtype=torch.int32)
            self._launch(kernels.survey_items, queries, items[part], mask, minima[part], histogram, BINS=self._bins())
            totals += histogram
        return minima, totals

    def select(
        self, queries: Tensor, items: Items, levels: Tensor, rooms: Tensor | None, mask: Tensor | None
    ) -> Iterator[Survivors]:
        """Yield the codes below the level of each query, and the first `rooms` codes of each segment at the level.

        Args:
            queries: (q, words) int32.
            items: the blocks to scan; all codes of other blocks are above the levels.
            levels: (q,) int32.
            rooms: (q,) int64, or None for all codes at the level.
            mask: as returned by `mask`.

        Each `Survivors` covers a run of consecutive queries; together they cover all queries.
        """
        below, at = (torch.empty(len(items), dtype=torch.int32, device=self.device) for _ in range(2))
        self._launch(kernels.count_items, queries, items, mask, levels, below, at)
        owners = items.owners.to(torch.int64)
        room = at.to(torch.int64)
        if rooms is not None:
            before = room.cumsum(0) - room
            before -= before[torch.searchsorted(items.segments, items.segments)]
            room = torch.minimum(room, (rooms[owners] - before).clamp(min=0))
        kept = below + room
        counts = torch.zeros(len(queries), dtype=torch.int64, device=self.device).index_add_(0, owners, kept)
        first = 0
        for size in _runs(counts.tolist()):
            part = slice(
                *torch.searchsorted(owners, torch.tensor([first, first + size], device=self.device)).tolist()
            )
            chosen = kept[part] > 0
            yield self._collect(
                queries,
                items[part][chosen],
                levels,
                room[part][chosen],
                kept[part][chosen],
                mask,
                counts[first : first + size],
                first,
            )
            first += size

    def _collect(
        self,
        queries: Tensor,
        items: Items,
        levels: Tensor,
        room: Tensor,
        kept: Tensor,
        mask: Tensor | None,
        counts: Tensor,
        first: int,
    ) -> Survivors:
        total = int(counts.sum())
        slots = torch.empty(total, dtype=torch.int64, device=self.device)
        distances = torch.empty(total, dtype=torch.int16, device=self.device)
        places = kept.cumsum(0) - kept
        self._launch(kernels.collect_items, queries, items, mask, levels, room, places, slots, distances)
        owners = torch.repeat_interleave(torch.arange(len(counts), device=self.device), counts)
        return Survivors(counts, slots, distances.to(torch.int64), owners)

    def _launch(
        self, kernel: Any, queries: Tensor, items: Items, mask: Tensor | None, *others: Tensor, **constants: int
    ) -> None:
        if len(items):
            allowed = self._codes if mask is None else mask
            work = (items.owners, items.starts, items.stops)
            kernel[(len(items),)](
                self._codes, self._stride, *work, queries, allowed, *others, **constants, **self._constants(mask)
            )

    def _constants(self, mask: Tensor | None) -> dict[str, int | bool]:
        return {
            "enable_fp_fusion": False,  # the kernels use no floats, and Triton warns without this
            "WORDS": self.words,
            "BITS": self.bits,
            "BLOCK": self.block,
            "MASKED": mask is not None,
            "POPC": devices.counts_in_hardware(self.device),
        }

    def _bins(self) -> int:
        return max(32, 1 << (self.bits + 1).bit_length())

    def _as_words(self, codes: NDArray[np.uint8]) -> Tensor:
        """Return codes (n, bits/8) on the device as (n, words) int32, padded with zeros."""
        padded = np.zeros((len(codes), self.words * 4), dtype=np.uint8)
        padded[:, : codes.shape[1]] = codes
        return torch.from_numpy(padded.view(np.int32)).to(self.device)


def thresholds(totals: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the distance of the k-th nearest code of each query, and how many codes at it belong to the first k.

    Args:
        totals: (q, bits + 1) int64, codes at each distance.
        k: number of codes wanted; if there are fewer, all are taken.

    Returns:
        (q,) int32 and (q,) int64.
    """
    reached = totals.cumsum(dim=1)
    levels = (reached < reached[:, -1:].clamp(max=k)).sum(dim=1)
    below = (reached - totals).gather(1, levels[:, None])[:, 0]
    return levels.to(torch.int32), k - below


def ordered(survivors: Survivors, positions: Tensor, bits: int, count: int) -> tuple[Tensor, Tensor]:
    """Return positions and distances of survivors, both (total,) int64, by (query, distance, position)."""
    keys = ((survivors.owners * (bits + 1) + survivors.distances) * count + positions).sort().values
    return keys % count, keys // count % (bits + 1)


def tables(survivors: Survivors, positions: Tensor, bits: int, count: int, k: int) -> tuple[Tensor, Tensor]:
    """Return the first `k` survivors of each query as (q, k) int64 positions and (q, k) int32 distances."""
    positions, distances = ordered(survivors, positions, bits, count)
    ranks = torch.arange(k, device=positions.device)
    filled = ranks < survivors.counts[:, None]
    sources = torch.where(filled, (survivors.counts.cumsum(0) - survivors.counts)[:, None] + ranks, 0)
    ids = positions.new_full(filled.shape, NO_ID)
    bits_apart = positions.new_full(filled.shape, NO_DISTANCE, dtype=torch.int32)
    if len(positions):
        ids = torch.where(filled, positions[sources], ids)
        bits_apart = torch.where(filled, distances[sources].to(torch.int32), bits_apart)
    return ids, bits_apart


def matches(parts: Iterable[tuple[Tensor, Tensor]], k: int) -> Nearest:
    """Concatenate tables of consecutive queries on the host."""
    ids, distances = [np.empty((0, k), np.int64)], [np.empty((0, k), np.int32)]
    for part in parts:
        ids.append(part[0].cpu().numpy())
        distances.append(part[1].cpu().numpy())
    return Nearest(np.concatenate(ids), np.concatenate(distances))


def range_matches(parts: Iterable[tuple[Tensor, Tensor, Tensor]]) -> Within:
    """Concatenate counts, positions and distances of consecutive queries on the host."""
    counts, ids, distances = [np.zeros(1, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.int32)]
    for part in parts:
        counts.append(part[0].cpu().numpy())
        ids.append(part[1].cpu().numpy())
        distances.append(part[2].to(torch.int32).cpu().numpy())
    return Within(np.concatenate(counts).cumsum(), np.concatenate(ids), np.concatenate(distances))


def _launches(blocks: int, size: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield the blocks (first, stop) of each launch; launches grow."""
    first = 0
    while first < blocks:
        stop = min(first + max(1, min(size, most)), blocks)
        yield first, stop
        first, size = stop, size * _GROWTH


def _runs(counts: list[int]) -> Iterator[int]:
    """Split queries into runs whose survivors fit into one collection; yield the length of each run."""
    size = total = 0
    for count in counts:
        if size and total + count > _SURVIVORS:
            yield size
            size = total = 0
        size, total = size + 1, total + count
    if size:
        yield size
