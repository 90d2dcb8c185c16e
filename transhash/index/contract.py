"""The one API of a searchable collection of images, in an index folder or on a server.

`transhash.open` opens one and `transhash.build_index` builds one (`transhash.index.collection`).
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from ..codes import Codes, ModelRef
from ..codes.queries import Queries, is_packed, positions
from ..errors import BackendError, SelectionError, redacted
from ..hashers import rarity_of
from ..hashers.base import Hasher
from ..hashers.rarity import Rarity
from ..results import Nearest, Within
from ..system.arguments import checked
from ..system.files import display
from ..system.progress import Progress, silent
from . import queries as asking
from .filters import Filter
from .manifest import MAX_ID
from .matches import Lookup, Matches
from .rows import Added, Changes, Row
from .verdicts import Verdicts

if TYPE_CHECKING:
    from .tuning import Tuning

Params = Mapping[str, int]
CodesInput = Codes | str | Path
"""Codes in memory, or the path of a codes file, which need not fit into memory."""

K = 10
_LARGEST_INT32 = (1 << 31) - 1


class Collection(ABC):
    """Images with an id, a code, a path and labels, all encoded by one model.

    A row keeps its id (int64) as long as it exists, and no id is used twice. A change is on disk, or acknowledged by
    the server, when a method returns. A filter that matches nothing raises SelectionError, and codes of another model
    raise MismatchError.

    Attributes:
        model: the model that made the codes.
        reason: why type ``auto`` chose the index type; empty if the type was given.
    """

    model: ModelRef
    reason: str = ""

    @property
    @abstractmethod
    def location(self) -> str:
        """The location that `transhash.open` takes; empty for an index in memory."""

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of images."""

    @abstractmethod
    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Return the paths and labels of the rows with the ids, in that order.

        Raises SelectionError for an id that no row has.
        """

    @abstractmethod
    def matching(self, where: Filter | Sequence[Filter], limit: int = 20) -> tuple[int, list[str]]:
        """Return how many rows pass at least one of the filters, and the paths of the first `limit` of them."""

    @abstractmethod
    def add(
        self, codes: CodesInput | Sequence[CodesInput], *, replace: bool = False, progress: Progress = silent
    ) -> Added:
        """Add rows, with ids above all that were ever used.

        Args:
            codes: codes, a codes file, or several of these.
            replace: replace rows with the same paths; otherwise such a path raises SelectionError before
                anything changes.
            progress: called with the number of rows done and the total.

        Raises MismatchError if the codes are of another model; CodesError for a damaged file; BackendError if rows
        must be removed and the index type cannot remove.
        """

    @abstractmethod
    def remove(self, where: Filter | Sequence[Filter]) -> int:
        """Remove the rows that pass at least one of the filters, and return how many.

        Raises SelectionError if no row would be left; BackendError if the index type cannot remove.
        """

    @abstractmethod
    def sync(self, codes: CodesInput, *, progress: Progress = silent) -> Changes:
        """Make the collection hold exactly the rows of `codes`.

        Rows with the same path, code and labels keep their ids; others are removed or added. To add images, call
        `add`.
        """

    def compact(self) -> None:
        """Write changes that are kept beside the index into it. Searches give the same answers, and become faster.

        Raises BackendError if the collection is on a server, which does that by itself.
        """
        raise BackendError(f"{redacted(self.location)}: on a server, which merges changes by itself")

    @abstractmethod
    def verify(self, *, progress: Progress = silent) -> Iterator[str]:
        """Check everything that is stored, and yield a line for each problem."""

    @abstractmethod
    def info(self) -> dict[str, int | str]:
        """Describe the collection: ``backend``, ``type``, ``codes``, ``bits``, ``model``, ``digest`` and others."""

    def snapshot(self) -> tuple[NDArray[np.int64], Codes]:
        """Return the ids (n,) and codes of all rows, in ascending order of ids, in memory.

        Raises BackendError if the collection cannot return its codes.
        """
        raise BackendError(f"{self.location}: cannot return its codes; use the codes file that it was built from")

    @abstractmethod
    def _nearest(self, packed: NDArray[np.uint8], k: int, params: Params, where: Filter | None) -> Nearest:
        """Return the ids of the min(k, n) nearest rows of packed queries (q, bits/8) that pass a filter."""

    @abstractmethod
    def _within(self, packed: NDArray[np.uint8], radius: int, params: Params, where: Filter | None) -> Within:
        """Return the ids of all rows within a radius of packed queries (q, bits/8) that pass a filter."""

    def _lookup(self) -> Lookup:
        """Return a function that looks up the current rows by ids."""
        return self.rows

    def _rerank(self, how: asking.Reranking, found: Nearest, queries: Queries) -> Nearest:
        """Re-rank candidates."""
        raise BackendError(f"{self.location}: on a server; re-ranking reads the codes of an index folder")

    @cached_property
    def _rarity(self) -> Rarity | None:
        return rarity_of(self.model)

    @property
    def verdicts(self) -> Verdicts | None:
        """The distances of copies in a collection of this size; None if they are unknown for the model."""
        return Verdicts.of(self._rarity, len(self)) if self._rarity else None

    def tune(
        self,
        recall: float = 0.95,
        k: int = K,
        *,
        queries: CodesInput | None = None,
        sample: int = 256,
    ) -> Tuning:
        """Find the lowest value of the search parameter that reaches a recall, and make it the default of searches.

        Args:
            recall: share of the true neighbors to find, above 0, at most 1.
            k: number of neighbors.
            queries: codes to search for; by default stored codes with a few bits flipped.
            sample: number of queries to use.

        Raises BackendError if every search of the index type is exact, or the collection is on a server.
        """
        raise BackendError(f"{self.location}: on a server; pass params={{'nprobe': …}} to each search instead")

    def search(
        self,
        queries: Any,
        k: int | None = None,
        *,
        radius: int | None = None,
        where: Filter | None = None,
        params: Params | None = None,
        hasher: Hasher | str | Path | None = None,
        rerank: str | None = None,
        candidates: int | None = None,
        embeddings: str | Path | None = None,
    ) -> Matches:
        """Find the images most like each query, nearest first; equal distances are ordered by id.

        Args:
            queries: `Codes`, packed codes (q, bits/8) uint8, the path of a codes file, or images in any form that
                `transhash.encode` takes: paths, PIL images, arrays (H, W, 3) uint8, bytes, or a list of these.
                Images are encoded with the model of the index. An array with two dimensions is packed codes: pass
                a grey image (H, W) as ``[array]``. A query image that cannot be read gets no row of matches.
            k: number of matches for each query; by default 10 or, with a radius, all. Without either, a model that
                says how near unrelated images come, such as ``copy``, gives only matches that may be copies.
            radius: return only matches at a distance of at most this many bits.
            where: only images that pass this filter are searched.
            params: search parameters of the index type, such as ``{"nprobe": 16}``.
            hasher: the hasher for query images, if its file has moved since encoding: a hasher, its name or
                its file.
            rerank: re-rank the nearest codes: ``"asymmetric"``, by the query's outputs before they become bits, or
                ``"embeddings"``.
            candidates: number of nearest codes to re-rank; by default ten times `k`, at least 100.
            embeddings: codes file with the embeddings of the indexed images, for ``rerank="embeddings"``.

        Raises TypeError for an argument of the wrong type; MismatchError if the queries are of another model, type or
        shape; SelectionError if the filter matches nothing; ModelError if the index's hasher is missing;
        SourceError if no query image can be read; BackendError if the index type cannot do what is asked.
        """
        plain = radius is None and where is None and hasher is None
        plain = plain and rerank is None and candidates is None and embeddings is None
        if plain and type(k) is int and k > 0 and is_packed(queries, self.model):
            # A short cut: for the shortest searches, the general code below would take longer than the search.
            found = self._nearest(queries, k, checked_params(params), None)
            return Matches.of(found, self._lookup(), positions(len(queries)), (), k, self.verdicts)
        return self._search(queries, k, radius, where, params, hasher, rerank, candidates, embeddings)

    @checked
    def _search(
        self,
        queries: Any,
        k: int | None,
        radius: int | None,
        where: Filter | None,
        params: Params | None,
        hasher: Hasher | str | Path | None,
        rerank: str | None,
        candidates: int | None,
        embeddings: str | Path | None,
    ) -> Matches:
        k = None if k is None else whole("k", k, 1)
        radius = None if radius is None else whole("radius", radius, 0)
        if candidates is not None:
            candidates = whole("candidates", candidates, 1)
        chosen = checked_params(params)
        best = K if k is None else k
        how = asking.Reranking.of(rerank, candidates, embeddings, best, radius)
        asked = asking.encode(queries, self.model, hasher, rerank)
        verdicts = self.verdicts
        found: Nearest | Within
        if radius is not None:
            found = self._within(asked.packed, radius, chosen, where)
            return Matches.of(found, self._lookup(), asked.names, asked.skipped, k, verdicts, radius)
        found = self._nearest(asked.packed, how.candidates if how else best, chosen, where)
        if how:
            found = self._rerank(how, found, asked)
        limit = verdicts.likely if verdicts and k is None and how is None else None
        return Matches.of(found, self._lookup(), asked.names, asked.skipped, best, verdicts, limit)

    def like(
        self,
        images: int | str | Path | Sequence[int | str | Path],
        k: int | None = None,
        *,
        radius: int | None = None,
        where: Filter | None = None,
        params: Params | None = None,
    ) -> Matches:
        """Find the images most like given images in the index, by their stored codes. No image matches itself.

        Args:
            images: one or several images: an int is an id, anything else a path as `Filter.paths` takes it.
            k: number of matches for each image, as in `search`.
            radius: return only matches at a distance of at most this many bits.
            where: only images that pass this filter are searched.
            params: search parameters of the index type.

        Raises SelectionError if an image is not in the index; BackendError if it does not keep its codes, as on a
        server; TypeError and BackendError for other arguments, as `search` does.
        """
        raise BackendError(f"{redacted(self.location)}: on a server; search with the image file itself")

    @checked
    def kneighbors(
        self, X: Any, n_neighbors: int = K, *, where: Filter | None = None, params: Params | None = None
    ) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Return the nearest images of each query as arrays, like scikit-learn's ``NearestNeighbors``.

        Args:
            X: queries as `search` takes them.
            n_neighbors: number of neighbors.
            where: only images that pass this filter are searched.
            params: search parameters of the index type.

        Returns distances (q, k) int32, in bits, and ids (q, k) int64. If a query has fewer matches than others, its
        row ends in ids of -1 and distances of 2147483647.

        Raises what `search` raises.
        """
        number = whole("n_neighbors", n_neighbors, 1)
        found = self.search(X, number, where=where, params=params)
        distances, ids = found.padded()
        if not len(found):  # as many columns as other answers have, so that answers can be concatenated
            width = min(number, len(self))
            distances, ids = distances.reshape(0, width), ids.reshape(0, width)
        return distances, ids

    def __repr__(self) -> str:
        """Return one line: where it is, how many codes of how many bits, and the model."""
        where = display(self.location) if self.location else "in memory"
        return f"<{type(self).__name__} {where}: {len(self)} codes of {self.model.bits} bits by {self.model.name}>"


class Server(Collection):
    """A collection on a server. A subclass is named by an entry point of the group ``transhash.servers``."""

    types: ClassVar[tuple[str, ...]]
    """The index types it can build; the first is the default."""

    @classmethod
    @abstractmethod
    def open(cls, location: str) -> Self:
        """Open the collection at a location. Raises BackendError if there is none, or TransHash did not create it."""

    @classmethod
    @abstractmethod
    def build(
        cls,
        codes: Path,
        location: str,
        *,
        type: str | None = None,
        params: Params | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Build a collection of a codes file's rows, with ids from 0; resume where an earlier call was stopped.

        Raises BackendError if another collection has that name; it is not changed.
        """


def row_id(value: Any) -> int:
    """Return an id as an int. Raises TypeError if it is not a whole number; SelectionError if no row can have it."""
    number = whole("id", value, 0, most=MAX_ID)
    if number == MAX_ID:
        raise SelectionError(f"id {number} or above: not in the index; ids are lower")
    return number


def whole(name: str, value: Any, low: int, most: int = _LARGEST_INT32) -> int:
    """Return an argument as an int, `most` if it is larger.

    Raises TypeError if it is not a whole number; BackendError if it is less than `low`.
    """
    if type(value) is int and low <= value <= most:
        return value
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {type(value).__name__}") from None
    if isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, not bool")
    if number < low:
        raise BackendError(f"{name}={number}: must be at least {low}")
    return min(number, most)


def checked_params(params: Any) -> dict[str, int]:
    """Return parameters of an index type as a dict. Raises TypeError if they are not names with whole numbers."""
    if params is None:
        return {}
    checked: dict[str, int] = {}
    mapping = type(params) is dict or isinstance(params, Mapping)
    for name, value in params.items() if mapping else [(None, None)]:
        if not isinstance(name, str):
            raise TypeError("params must map names to integers, such as {'nprobe': 16}")
        checked[name] = whole(name, value, -_LARGEST_INT32)
    return checked


def filters_of(where: Any) -> list[Filter]:
    """Return one filter, or several, as a list. Raises TypeError for anything else."""
    filters = [where] if isinstance(where, Filter) else list(where) if isinstance(where, list | tuple) else []
    if not filters or not all(isinstance(one, Filter) for one in filters):
        raise TypeError(f"where must be a transhash.Filter or a list of these, not {type(where).__name__}")
    return filters
