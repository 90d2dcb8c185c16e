"""The backend ``triton``: indexes that are built on the CPU and searched on a GPU."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as serialize

from .. import hamming
from ..backends import clustering
from ..backends.contract import Backend, SearchParameter, check_params
from ..errors import BackendError
from ..results import NO_ID, Nearest, Within
from .device import choose, choose_some, threads
from .flat import DeviceCodes
from .lists import DeviceLists
from .spread import MultiDeviceIndex

_FILE = "codes.safetensors"


@dataclass
class InvertedLists:
    """The inverted lists of type ``ivf``.

    Attributes:
        centroids: (nlist, bits/8) uint8.
        lists: (n,) int32, the list of each code.
        nprobe: number of lists that a search probes by default.
    """

    centroids: NDArray[np.uint8]
    lists: NDArray[np.int32]
    nprobe: int


@runtime_checkable
class HasInvertedLists(Protocol):
    """A backend whose ``ivf`` indexes can be copied to a GPU; their `info` includes ``nprobe``."""

    def inverted_lists(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
        """Return centroids (nlist, bits/8) uint8 and the list of each code (n,) int32; None for other types."""
        ...


class TritonIndex:
    """An index that is searched by `DeviceCodes` (type ``flat``, exact) or `DeviceLists` (type ``ivf``).

    The first search copies them to the device (`transhash.gpu.choose`); building and saving need no GPU.
    """

    types: ClassVar[tuple[str, ...]] = ("flat", "ivf")
    reason = ""

    def __init__(
        self, codes: NDArray[np.uint8], inverted: InvertedLists | None = None, devices: Sequence[torch.device] = ()
    ) -> None:
        """Assemble an index; call `TritonIndex.build` or `TritonIndex.load` instead."""
        self._codes = codes
        self._inverted = inverted
        self._devices = devices
        self._uploaded: MultiDeviceIndex | None = None
        self.bits = codes.shape[1] * 8

    @classmethod
    def build(
        cls, codes: NDArray[np.uint8], *, type: str | None = None, params: Mapping[str, int] | None = None
    ) -> Self:
        """Build an index of codes (n, bits/8) uint8.

        Type ``ivf`` takes ``nlist`` and ``nprobe``, with the defaults of `clustering.plan`.
        """
        if type not in (None, *cls.types):
            raise BackendError(f"the triton backend has no index type {type!r}; it has: {', '.join(cls.types)}")
        known = ("nlist", "nprobe") if type == "ivf" else ()
        chosen = check_params(params, known, f"index type {type or cls.types[0]}")
        return cls(codes, _inverted_lists(codes, chosen) if type == "ivf" else None)

    @classmethod
    def of(cls, backend: Backend, device: str | None = None) -> Self:
        """Copy an index of any backend to a device, or divide it among ``all`` GPUs. It gives the same results.

        Supports the exact types ``exact``, ``flat`` and ``mih``, and ``ivf`` if the backend is `HasInvertedLists`.

        Raises BackendError for other types, or if the device does not exist or has too little memory.
        """
        chosen, info = choose_some(device), backend.info()
        parts = backend.inverted_lists() if isinstance(backend, HasInvertedLists) else None
        if parts is None and info["type"] not in ("exact", "flat", "mih"):
            raise BackendError(f"index type {info['type']} does not run on a GPU; types that do: flat, ivf, mih")
        inverted = InvertedLists(*parts, int(info["nprobe"])) if parts else None
        index = cls(backend.reconstruct(0, len(backend)), inverted, chosen)
        index._scanned()
        return index

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self._codes)

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self._codes = np.concatenate([self._codes, codes])
        if self._inverted:
            self._inverted.lists = np.concatenate([self._inverted.lists, _nearest(codes, self._inverted.centroids)])
        self._uploaded = None

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Drop the codes where `keep` (n,) is false, and renumber the others in their order."""
        self._codes = self._codes[keep]
        if self._inverted:
            self._inverted.lists = self._inverted.lists[keep]
        self._uploaded = None

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
        """Return the min(k, n) nearest codes of each query among those `allowed`, ordered by (distance, id).

        Type ``ivf`` takes ``nprobe``. It probes more lists where those hold fewer than k codes.
        """
        nprobe, scanned = self._nprobe(params), self._scanned()
        nearest = scanned.top_k(queries, k, nprobe, allowed)
        if not (nprobe and nearest.ids.shape[1]):
            return nearest
        while len(short := np.flatnonzero(nearest.ids[:, -1] == NO_ID)):
            nprobe = (4 * nprobe[0],)
            more = scanned.top_k(queries[short], k, nprobe, allowed)
            nearest.ids[short], nearest.distances[short] = more.ids, more.distances
        return nearest

    def range_search(
        self,
        queries: NDArray[np.uint8],
        radius: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Within:
        """Return every `allowed` code at distance <= radius of each query, ordered by (distance, id)."""
        return self._scanned().within(queries, radius, self._nprobe(params), allowed)

    def save(self, folder: Path) -> None:
        """Write the codes, and for type ``ivf`` its centroids and lists, as one safetensors file."""
        arrays: dict[str, NDArray[np.generic]] = {"codes": self._codes}
        if self._inverted:
            arrays |= {"centroids": self._inverted.centroids, "lists": self._inverted.lists}
            arrays["nprobe"] = np.array([self._inverted.nprobe])
        (folder / _FILE).write_bytes(serialize(arrays))

    @classmethod
    def load(cls, folder: Path, mmap: bool = False) -> Self:
        """Open an index written by `save`. Raises BackendError if the file is inconsistent, or for `mmap`."""
        if mmap:
            raise BackendError("the triton backend cannot map its file; types flat and ivf of the faiss backend can")
        path = folder / _FILE
        try:
            arrays = load_file(path)
        except (OSError, SafetensorError) as error:
            raise BackendError(f"{path}: does not hold codes ({error}); build the index again") from error
        problem = _problem(arrays)
        if problem:
            raise BackendError(f"{path}: {problem}; build the index again")
        if "lists" not in arrays:
            return cls(arrays["codes"])
        return cls(arrays["codes"], InvertedLists(arrays["centroids"], arrays["lists"], int(arrays["nprobe"][0])))

    def inverted_lists(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
        """Return the centroids of type ``ivf``, (nlist, bits/8), and the list of each code, (n,); None for others."""
        return (self._inverted.centroids, self._inverted.lists) if self._inverted else None

    def search_parameter(self) -> SearchParameter | None:
        """Return ``nprobe`` for type ``ivf``; None for type ``flat``, which is exact."""
        return SearchParameter("nprobe", 1, len(self._inverted.centroids)) if self._inverted else None

    def tune(self, value: int) -> None:
        """Make searches probe `value` lists by default. Raises BackendError for type ``flat``."""
        if not self._inverted:
            raise BackendError("index type flat is exact: there is nothing to tune")
        if not 1 <= value <= len(self._inverted.centroids):
            raise BackendError(f"nprobe={value}: must be from 1 to {len(self._inverted.centroids)}")
        self._inverted.nprobe = value

    def info(self) -> dict[str, int | str]:
        """Describe the index; ``bytes`` is its size on the device."""
        words = -(-self.bits // 32) * 4
        if not self._inverted:
            return {"type": "flat", "bytes": len(self) * words}
        nlist = len(self._inverted.centroids)
        return {
            "type": "ivf",
            "nlist": nlist,
            "nprobe": self._inverted.nprobe,
            "longest_list": int(np.bincount(self._inverted.lists, minlength=nlist).max()),
            "bytes": len(self) * (words + 4) + nlist * words,
        }

    def _scanned(self) -> MultiDeviceIndex:
        if self._uploaded is None:
            devices = (self._devices or [choose()])[: max(1, len(self))]
            edges = np.linspace(0, len(self), len(devices) + 1).astype(np.int64)
            stretches = [slice(start, stop) for start, stop in pairwise(edges.tolist())]
            with threads(len(devices)) as pool:
                self._uploaded = MultiDeviceIndex(list(pool.map(self._upload, stretches, devices)))
        return self._uploaded

    def _upload(self, rows: slice, device: torch.device) -> DeviceCodes | DeviceLists:
        codes = self._codes[rows]
        if not self._inverted:
            return DeviceCodes(codes, device)
        lists = self._inverted.lists[rows]
        order = np.argsort(lists, kind="stable")
        sizes = np.bincount(lists, minlength=len(self._inverted.centroids))
        offsets = np.concatenate([[0], sizes.cumsum()])
        return DeviceLists(self._inverted.centroids, offsets, codes[order], order, device)

    def _nprobe(self, params: Mapping[str, int] | None) -> tuple[int, ...]:
        """Return the extra argument of a search by lists, the number to probe; empty for type ``flat``."""
        known = ("nprobe",) if self._inverted else ()
        chosen = check_params(params, known, f"searching type {'ivf' if self._inverted else 'flat'}")
        return (chosen.get("nprobe", self._inverted.nprobe),) if self._inverted else ()


def _inverted_lists(codes: NDArray[np.uint8], params: dict[str, int]) -> InvertedLists:
    nlist, nprobe = clustering.plan(len(codes), params.get("nlist"), params.get("nprobe"))
    centroids = clustering.centroids(codes, nlist)
    return InvertedLists(centroids, _nearest(codes, centroids), nprobe)


def _nearest(codes: NDArray[np.uint8], centroids: NDArray[np.uint8]) -> NDArray[np.int32]:
    return hamming.top_k(codes, centroids, 1).ids[:, 0].astype(np.int32)


def _problem(arrays: dict[str, NDArray[np.generic]]) -> str | None:
    """Describe the first inconsistency of the arrays in a file; None if there is none."""
    codes = arrays.get("codes", np.empty(0))
    if codes.dtype != np.uint8 or codes.ndim != 2 or not 1 <= codes.shape[1] <= 128:
        return f"{codes.dtype} {codes.shape} are not codes"
    if arrays.keys() == {"codes"}:
        return None
    if arrays.keys() != {"codes", "centroids", "lists", "nprobe"}:
        return f"it holds {', '.join(sorted(arrays))}"
    centroids, lists, nprobe = arrays["centroids"], arrays["lists"], arrays["nprobe"]
    if (
        centroids.dtype != np.uint8
        or centroids.ndim != 2
        or centroids.shape[1] != codes.shape[1]
        or not len(centroids)
    ):
        return f"{centroids.dtype} {centroids.shape} are not centroids"
    if lists.dtype != np.int32 or lists.shape != (len(codes),):
        return f"{lists.dtype} {lists.shape} are not lists"
    if lists.min(initial=0) < 0 or lists.max(initial=0) >= len(centroids):
        return "a list without a centroid"
    if nprobe.dtype != np.int64 or nprobe.shape != (1,) or not 1 <= nprobe[0] <= len(centroids):
        return "nprobe is out of range"
    return None
