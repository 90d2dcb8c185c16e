"""The entry point: a collection of LanceDB, opened, built, searched and changed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace as changed
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from transhash.backends import check_params, clustering
from transhash.codes import Codes, texts
from transhash.codes.models import check_same_model
from transhash.errors import BackendError, MismatchError
from transhash.index import comparing, contract, filters, kinds, scanning, selection
from transhash.index.contract import CodesInput, Params
from transhash.index.filters import Filter, checked_ids
from transhash.index.rows import Added, Changes, Row
from transhash.results import Nearest, Within
from transhash.system.progress import Progress, silent

from .location import Location
from .store import PARAMS, Contents, NewRows, Store

_TIES = 100  # rows fetched beyond those wanted, at least, so that most ties are among them
SCANNED = 1_000_000  # rows that are read in less time than the index takes for a query; measured


class LanceCollection(contract.Server):
    """Images in a table of LanceDB, in a folder or an object store; each change is a version of the table.

    Types are ``flat`` (exact, without an index) and ``ivf`` (IVF_FLAT).
    """

    types: ClassVar[tuple[str, ...]] = tuple(PARAMS)

    def __init__(self, store: Store) -> None:
        """Take a table; use `open` or `build` instead."""
        self._store = store
        self.model = store.contents().model

    @classmethod
    def open(cls, location: str) -> Self:
        """Open a collection that `build` made, ``lance://FOLDER/NAME`` or ``lance+s3://BUCKET/FOLDER/NAME``.

        Raises BackendError if it is not there, or not one of TransHash.
        """
        return cls(Store(Location.parse(location)))

    @classmethod
    def build(
        cls,
        codes: Path,
        location: str,
        *,
        type: str | None = None,
        params: Params | None = None,
        progress: Progress = silent,
    ) -> Self:
        """Build a collection of a codes file's rows, with ids from 0; an interrupted call leaves no table.

        Raises BackendError if another table has that name; it is not changed.
        """
        store = Store(Location.parse(location))
        with kinds.open_rows(codes) as file:
            kind, chosen = _planned(type, params, len(file))
            header = file.header
            wanted = Contents(header.model, kind, chosen, texts.text(header.root), len(file), header.digest)
            if store.exists():
                there = store.contents()
                same = bool(wanted.source) and there.source == wanted.source
                kinds.check_same_collection(location, codes, there, wanted, same_rows=same, typed=type is not None)
            else:
                store.create(wanted, _reported(file.blocks(embeddings=False), len(file), progress))
        contents = store.contents()
        if contents.type == "ivf" and not store.indexed():
            store.index(contents.params["nlist"])
        return cls(store)

    @property
    def location(self) -> str:
        """The location that `transhash.open` takes."""
        return str(self._store.location)

    def __len__(self) -> int:
        """Return the number of images."""
        return self._store.count()

    def _nearest(self, packed: NDArray[np.uint8], k: int, params: Params, where: Filter | None) -> Nearest:
        nprobe = self._nprobe(params)
        if nprobe and where is None and len(packed) * SCANNED < len(self):
            found = [self._by_index(query, k, nprobe) for query in packed]
            return scanning.padded([one for one in found if one]) if all(found) else self._scan(packed, k)
        return self._scan(packed, k, self._allowed(where))

    def _within(self, packed: NDArray[np.uint8], radius: int, params: Params, where: Filter | None) -> Within:
        self._nprobe(params)
        return scanning.within(self._blocks(self._allowed(where)), packed, min(radius, self.model.bits))

    def rows(self, ids: Sequence[int] | NDArray[np.int64]) -> list[Row]:
        """Return the paths and labels of the rows with the ids, in that order. Raises SelectionError."""
        wanted = checked_ids(ids)
        if not len(wanted):
            return []
        rows = self._store.rows(np.unique(wanted))
        selection.check_ids(wanted.tolist(), rows.numbers.tolist())
        places = np.searchsorted(rows.numbers, wanted).tolist()
        return [Row(rows.records.path(place), rows.records.names(place)) for place in places]

    def matching(self, where: Filter | Sequence[Filter], limit: int = 20) -> tuple[int, list[str]]:
        """Return how many rows pass at least one of the filters, and the paths of the first `limit` of them."""
        chosen, limit = contract.filters_of(where), contract.whole("limit", limit, 0)
        rows = self._store.rows()
        passed = filters.any_of(rows, chosen)
        return int(passed.sum()), [rows.records.path(row) for row in np.flatnonzero(passed)[:limit].tolist()]

    def snapshot(self) -> tuple[NDArray[np.int64], Codes]:
        """Return the ids (n,) and codes of all rows, in ascending order of ids, in memory."""
        return self._store.codes()

    def add(
        self, codes: CodesInput | Sequence[CodesInput], *, replace: bool = False, progress: Progress = silent
    ) -> Added:
        """Add rows, with ids above all that were ever used: all of them, or none if one file is refused."""
        parts = [kinds.in_memory(part) for part in kinds.codes_inputs(codes)]
        here, first = self._store.rows(), self._store.contents().next_id
        gone, new, replaced = np.zeros(len(here), np.bool_), list[NewRows](), 0
        for part in parts:
            check_same_model(part.model, self.model, "codes", "the collection")
            again = comparing.with_paths_of(here.records, part.records) & ~gone
            earlier = [comparing.with_paths_of(rows.records, part.records) for _, rows in new]
            twice = [(here.records, again), *zip((rows.records for _, rows in new), earlier, strict=True)]
            count = sum(int(mask.sum()) for _, mask in twice)
            if count and not replace:
                path = next(records.path(int(mask.argmax())) for records, mask in twice if mask.any())
                raise selection.already_there(path, count)
            gone |= again
            new = [(ids[~mask], rows.take(~mask)) for (ids, rows), mask in zip(new, earlier, strict=True)]
            new.append((np.arange(first, first + len(part)), part))
            first += len(part)
            replaced += count
        self._change(new, here.numbers[gone])
        added = sum(map(len, parts))
        progress(added, added)
        return Added(added, replaced)

    def remove(self, where: Filter | Sequence[Filter]) -> int:
        """Remove the rows that pass at least one of the filters, and return how many."""
        chosen = contract.filters_of(where)
        rows = self._store.rows()
        gone = filters.any_of(rows, chosen)
        if gone.all():
            raise selection.none_left(len(rows))
        self._change([], rows.numbers[gone])
        return int(gone.sum())

    def sync(self, codes: CodesInput, *, progress: Progress = silent) -> Changes:
        """Make the collection hold exactly the rows of `codes`, as one version; equal rows keep their ids."""
        wanted = kinds.in_memory(kinds.codes_input(codes))
        check_same_model(wanted.model, self.model, "codes", "the collection")
        if not len(wanted):
            raise MismatchError("no codes to sync with; drop the table instead")
        (ids, here), first = self.snapshot(), self._store.contents().next_id
        keep, new, changes = comparing.difference(here, wanted)
        self._change([(np.arange(first, first + len(new)), new)], ids[~keep])
        return changes

    def verify(self, *, progress: Progress = silent) -> Iterator[str]:
        """Read every row, and yield a line for each fault."""
        contents = self._store.contents()
        ids, codes = self._store.codes()
        progress(len(codes), len(codes))
        if len(np.unique(ids)) != len(ids):
            yield f"{self.location}: {len(ids) - len(np.unique(ids))} rows whose ids occur more than once"
        if len(ids) and not 0 <= ids[0] <= ids[-1] < contents.next_id:
            yield f"{self.location}: ids that were never used; next_id is {contents.next_id}"
        if contents.type == "ivf" and not self._store.indexed():
            yield f"{self.location}: the index is missing; searches are slow without it"

    def info(self) -> dict[str, int | str]:
        """Describe the collection."""
        contents = self._store.contents()
        return {
            "backend": "lance",
            "type": contents.type,
            **contents.params,
            "codes": len(self),
            "bits": self.model.bits,
            "model": self.model.name,
            "digest": self.model.digest,
            "next_id": contents.next_id,
            "version": self._store.version(),
        }

    def _change(self, new: Sequence[NewRows], gone: NDArray[np.int64]) -> None:
        """Add and remove rows as one version, after another that reserves the ids, so that none is used twice."""
        new = [(ids, rows) for ids, rows in new if len(rows)]
        if not new and not len(gone):
            return
        contents = self._store.contents()
        same = all(texts.text(rows.records.root) == contents.root for _, rows in new)
        next_id = max((int(ids[-1]) + 1 for ids, _ in new), default=contents.next_id)
        contents = changed(contents, next_id=next_id, source="", root=contents.root if same else "")
        self._store.change(self._store.write(contents), new, gone)

    def _by_index(
        self, query: NDArray[np.uint8], k: int, nprobe: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]] | None:
        """Return the k nearest rows by the index; None if it may have left out the first of those that tie."""
        wide = k + max(k, _TIES)
        ids, distances = self._store.nearest(query, wide, nprobe)
        if len(ids) < k or (len(ids) == wide and distances[-1] == distances[k - 1]):
            return None
        return ids[:k], distances[:k]

    def _scan(self, packed: NDArray[np.uint8], k: int, allowed: NDArray[np.int64] | None = None) -> Nearest:
        return scanning.nearest(self._blocks(allowed), packed, k)

    def _blocks(self, allowed: NDArray[np.int64] | None) -> Iterator[scanning.Block]:
        for ids, codes in self._store.blocks(self.model.bits // 8):
            kept = slice(None) if allowed is None else np.isin(ids, allowed)
            yield ids[kept], codes[kept]

    def _allowed(self, where: Filter | None) -> NDArray[np.int64] | None:
        """Return the ids of the rows that pass a filter."""
        if where is None:
            return None
        rows = self._store.rows()
        passed = filters.mask(rows, where)
        return None if passed is None else rows.numbers[passed]

    def _nprobe(self, params: Params) -> int:
        """Return how many lists a search looks at; 0 if it compares every row. Raises BackendError."""
        contents = self._store.contents()
        known = ("nprobe",) if contents.type == "ivf" else ()
        given = check_params(params, known, f"searching type {contents.type} of LanceDB")
        if not known:
            return 0
        return min(given.get("nprobe", contents.params["nprobe"]), contents.params["nlist"])


def _planned(type: str | None, params: Params | None, count: int) -> tuple[str, dict[str, int]]:
    """Return the type of an index of `count` codes, and its parameters. Raises BackendError."""
    kind = type or "flat"
    if kind not in PARAMS:
        raise BackendError(f"the lance backend has no index type {kind!r}; it has: {', '.join(PARAMS)}")
    given = check_params(params, PARAMS[kind], f"index type {kind} of LanceDB")
    if kind == "flat":
        return kind, {}
    nlist, nprobe = clustering.plan(count, given.get("nlist"), given.get("nprobe"))
    return kind, {"nlist": nlist, "nprobe": nprobe}


def _reported(blocks: Iterator[tuple[int, Codes]], total: int, progress: Progress) -> Iterator[tuple[int, Codes]]:
    for first, block in blocks:
        yield first, block
        progress(first + len(block), total)
