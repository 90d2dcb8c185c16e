"""The entry point of the FAISS backend: checks arguments and passes them to the class of the index type."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from transhash.backends import CodeRows, SearchParameter, check_params
from transhash.backends.rows import Joined, Selected
from transhash.errors import BackendError
from transhash.results import Nearest, Within

from . import gpu, rewriting, storage
from .blocks import blocks
from .choice import Choice, chosen, spelled
from .estimate import share_of_scan
from .flat import Flat
from .hashing import Hash, MultiHash
from .hnsw import Hnsw
from .ivf import Ivf
from .kind import FILE, Kind
from .mih import Mih
from .streaming import write_flat, write_ivf

_KINDS: dict[str, type[Kind]] = {kind.name: kind for kind in (Flat, Ivf, Mih, Hnsw, Hash, MultiHash)}

_REWRITTEN = ("flat", "ivf", "mih")
_ADDED = 1 << 14  # codes added between two calls of the progress callback


class FaissIndex:
    """A binary index of FAISS, with answers that do not depend on how FAISS breaks ties.

    Types are ``flat`` and ``mih`` (exact), ``ivf``, ``hnsw``, ``hash``, ``multihash``, and ``auto`` to choose one of
    them; a factory string of FAISS such as ``BIVF1024`` names a type and its parameters. See ``docs/tuning.md``.
    """

    types: ClassVar[tuple[str, ...]] = (*_KINDS, "auto")

    def __init__(self, kind: Kind, mapped: bool = False, reason: str = "") -> None:
        """Wrap an index type; use `FaissIndex.build` or `FaissIndex.load` instead."""
        self._kind = kind
        self._mapped = mapped
        self.bits = kind.bits
        self.reason = reason

    @classmethod
    def build(
        cls, codes: NDArray[np.uint8], *, type: str | None = None, params: Mapping[str, int] | None = None
    ) -> Self:
        """Build an index of codes (n, bits/8) uint8. Its attribute `reason` explains the choice of type ``auto``."""
        choice = _choose(codes, type or cls.types[0], dict(params or {}))
        kind = _KINDS[choice.type]
        built = kind.train(codes, check_params(choice.params, kind.build_params, f"index type {choice.type}"))
        built.add(codes)
        return cls(built, reason=choice.reason)

    @classmethod
    def stream(
        cls,
        rows: CodeRows,
        folder: Path,
        *,
        type: str | None = None,
        params: Mapping[str, int] | None = None,
        advance: Callable[[int], object] = lambda _: None,
    ) -> Self:
        """Build an index in a folder, with the files that `build` and `save` would write, and open it.

        For types ``flat`` and ``ivf`` neither the codes nor the index need to fit in memory, and for type ``mih`` the
        codes need not: the index is opened mapped.
        """
        choice = _choose(rows, type or cls.types[0], dict(params or {}))
        kind = _KINDS[choice.type]
        build_params = check_params(choice.params, kind.build_params, f"index type {choice.type}")
        if kind is Flat:
            write_flat(rows, folder / FILE, advance)
        elif kind is Mih:
            write_flat(rows, folder / FILE, advance)
            Mih.complete(folder)
        elif kind is Ivf:
            write_ivf(rows, build_params, folder / FILE, advance)
        else:
            built = kind.train(rows, build_params)
            for _, codes in blocks(rows):
                for start in range(0, len(codes), _ADDED):
                    built.add(codes[start : start + _ADDED])
                    advance(len(codes[start : start + _ADDED]))
            built.save(folder)
            return cls(built, reason=choice.reason)
        return cls(storage.read(folder, (kind,), mmap=True, trusted=True), mapped=True, reason=choice.reason)

    @classmethod
    def rewrites(cls, type: str) -> bool:
        """Return whether `saved_codes` and `rewrite` support an index type."""
        return type in _REWRITTEN

    @classmethod
    def saved_codes(cls, folder: Path) -> AbstractContextManager[CodeRows]:
        """Open the codes of a saved index, by position. Raises BackendError if it is damaged."""
        return rewriting.saved_codes(folder)

    @classmethod
    def rewrite(
        cls,
        saved: Path,
        keep: NDArray[np.bool_],
        added: CodeRows,
        folder: Path,
        advance: Callable[[int], object] = lambda _: None,
    ) -> Self:
        """Write a saved index into `folder`, without some of its codes and with others after them, and open it.

        For types ``flat`` and ``ivf`` nothing needs to fit in memory. Type ``mih`` builds its tables in memory.
        """
        kind = storage.kind(saved, tuple(_KINDS.values()))
        if kind is Ivf:
            rewriting.rewrite_lists(saved, keep, added, folder / FILE, advance)
        else:
            with rewriting.saved_codes(saved) as codes:
                write_flat(Joined([Selected(codes, keep), added]), folder / FILE, advance, rewriting.ROWS)
            if kind is Mih:
                Mih.complete(folder)
        return cls(storage.read(folder, (kind,), mmap=True, trusted=True), mapped=True)

    def __len__(self) -> int:
        """Return the number of codes."""
        return len(self._kind)

    def add(self, codes: NDArray[np.uint8]) -> None:
        """Append codes (n, bits/8) uint8."""
        self._check_changeable()
        self._kind.add(codes)

    def remove(self, keep: NDArray[np.bool_]) -> None:
        """Drop the codes where `keep` (n,) is false; the others are renumbered in their order."""
        self._check_changeable()
        self._kind.remove(keep)

    def reconstruct(self, start: int, stop: int) -> NDArray[np.uint8]:
        """Return a copy of the codes with ids `start` to `stop`, (stop - start, bits/8) uint8."""
        return self._kind.reconstruct(start, stop)

    def search(
        self,
        queries: NDArray[np.uint8],
        k: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Nearest:
        """Return the min(k, n) nearest codes of each query among those `allowed`, ordered by (distance, id).

        An approximate type searches more buckets if those requested by `params` hold fewer codes.
        """
        value = self._value(params)
        k = min(k, len(self) if allowed is None else int(allowed.sum()))
        if not k:
            return Nearest(np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.int32))
        return self._kind.search(queries, k, self._kind.default if value is None else value, allowed)

    def range_search(
        self,
        queries: NDArray[np.uint8],
        radius: int,
        params: Mapping[str, int] | None = None,
        allowed: NDArray[np.bool_] | None = None,
    ) -> Within:
        """Return every `allowed` code at distance <= radius of each query, ordered by (distance, id)."""
        return self._kind.range_search(queries, radius, self._value(params), allowed)

    def save(self, folder: Path) -> None:
        """Write the index as a file for `faiss.read_index_binary`; types ``hnsw`` and ``mih`` add more files."""
        self._kind.save(folder)

    @classmethod
    def load(cls, folder: Path, mmap: bool = False) -> Self:
        """Open an index that `save` or FAISS wrote. Raises BackendError if it is damaged or of another type.

        With `mmap`, for types ``flat``, ``ivf`` and ``mih``, the index may be larger than memory. Its files must not
        be changed while it is open; replace them instead, as ``th`` does.
        """
        return cls(storage.read(folder, tuple(_KINDS.values()), mmap), mapped=mmap)

    def inverted_lists(self) -> tuple[NDArray[np.uint8], NDArray[np.int32]] | None:
        """Return the centroids of type ``ivf``, (nlist, bits/8), and the list of each code, (n,); None for others."""
        return gpu.inverted_lists(self._kind.index) if isinstance(self._kind, Ivf) else None

    def search_parameter(self) -> SearchParameter | None:
        """Return the search parameter that trades time for recall; None for exact types."""
        return self._kind.search_parameter

    def tune(self, value: int) -> None:
        """Set the default value of the search parameter; `info` shows it and `save` keeps it."""
        parameter = self._kind.search_parameter
        if parameter and not parameter.low <= value <= parameter.high:
            raise BackendError(f"{parameter.name}={value}: must be from {parameter.low} to {parameter.high}")
        self._kind.tune(value)

    def info(self) -> dict[str, int | str]:
        """Describe the index."""
        return {"type": self._kind.name, **self._kind.details()}

    def _value(self, params: Mapping[str, int] | None) -> int | None:
        """Return the value of the search parameter in `params`, limited to its maximum, or None if it is not set."""
        if not params:
            return None
        parameter = self._kind.search_parameter
        if parameter and [*params] == [parameter.name] and params[parameter.name] >= parameter.low:
            return min(params[parameter.name], parameter.high)  # most searches, which are short
        known, least = ((parameter.name,), parameter.low) if parameter else ((), 1)
        checked = check_params(params, known, f"searching type {self._kind.name}", least)
        return min(checked[parameter.name], parameter.high) if parameter and checked else None

    def _check_changeable(self) -> None:
        if self._mapped:
            raise BackendError("the index was opened with mmap, and is read-only; open it without mmap to change it")


def _choose(rows: CodeRows, type: str, params: dict[str, int]) -> Choice:
    """Return the type, and all its parameters, for codes (n, bits/8) uint8."""
    if type in _KINDS:
        return Choice(type, params)
    if type == "auto":
        recall = check_params(params, ("recall",), "index type auto").get("recall")
        return chosen(rows.shape[0], rows.shape[1] * 8, recall, lambda: share_of_scan(rows))
    choice = spelled(type)
    if choice is None:
        raise BackendError(
            f"the faiss backend has no index type {type!r}; it has: {', '.join(FaissIndex.types)}, "
            "and FAISS's BFlat, BIVF1024, BIVF1024_HNSW32, BHNSW32, BHash16, BHash4x16 with any numbers"
        )
    twice = choice.params.keys() & params.keys()
    if twice:
        raise BackendError(f"{min(twice)}: {type} sets it already; leave it out")
    return Choice(choice.type, choice.params | params)
