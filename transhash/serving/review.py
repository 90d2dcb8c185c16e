"""The images chosen for removal: checked against the disk, exported as a list, or moved to the system's trash.

Nothing may be listed or moved that could be the last copy: an image may go only if another file of its cluster, which
was not chosen, is on the disk as it was encoded. The client must name any exceptions.
"""

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..codes import check_query_model
from ..duplicates import Duplicates
from ..duplicates.on_disk import ImageFile, State, entry_of, files_of, inside
from ..errors import SelectionError, ServingError, TransHashError, one_line
from ..sources import decode
from ..system.files import display
from .duplicates import DuplicateSearch
from .encoder import QueryEncoder
from .queries import QueryError

MOST_TRASHED = 100  # files of a request: each is decoded and hashed, and the client waits

_TOLERANCE = 32  # a file is unchanged if its code differs by at most one bit in so many: networks differ by rounding
_STATES = {
    State.MISSING: "the file is gone",
    State.CHANGED: "has changed since it was encoded",
    State.UNVERIFIED: "may have changed since it was encoded",
    State.ARCHIVED: "a member of an archive",
}
_LAST = "no other intact copy of it would stay"


class ConflictError(ServingError):
    """The files on disk do not allow the requested change."""


@dataclass(frozen=True)
class Failed:
    """An image that must stay or was not moved, and the reason."""

    id: int
    path: bytes
    reason: str


@dataclass(frozen=True)
class Going:
    """An image that may go.

    Attributes:
        id: its id.
        path: its path in the index.
        full: its full path.
        bytes: the size of its file.
        stays: the rows of the copies that stay, one for each file; none for a last copy.
    """

    id: int
    path: bytes
    full: bytes
    bytes: int
    stays: tuple[int, ...]


@dataclass(frozen=True)
class Judged:
    """The images that may go, those that must stay, and the bytes that removing the former frees."""

    going: list[Going]
    refused: list[Failed]
    freed: int


@dataclass(frozen=True)
class Moved:
    """The files that were moved, those that were not, and the bytes of the former."""

    going: list[Going]
    refused: list[Failed]
    bytes: int


@dataclass
class _Look:
    """The facts about the files that a decision needs: the paths to be removed, and the real folders of paths."""

    leaving: set[bytes]
    real: dict[bytes, bytes] = field(default_factory=dict)
    entries: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.entries = {self.entry(path) for path in self.leaving}

    def entry(self, path: bytes) -> bytes:
        """Return `entry_of` a path, resolving each folder only once."""
        folder, name = os.path.split(path)
        if folder not in self.real:
            self.real[folder] = os.path.dirname(entry_of(path))
        return os.path.join(self.real[folder], name)

    def keeps(self, file: ImageFile) -> bool:
        """Return whether a name of the file stays; links count only if it has no other name."""
        paths = [path for path, linked in zip(file.paths, file.linked, strict=True) if not linked]
        if not paths:
            return self.leaving.isdisjoint(file.paths)
        return any(path not in self.leaving and self.entry(path) not in self.entries for path in paths)


class Review:
    """A choice of images, with the clusters that they are in."""

    def __init__(
        self,
        search: DuplicateSearch,
        found: Duplicates,
        reference: Sequence[Path],
        remove: Sequence[int],
        last: Sequence[int] = (),
    ) -> None:
        """Take the clusters, the folders that are protected, and the ids of the chosen images.

        The images in `last` may go even if no copy stays. Raises SelectionError for an id that is not in the index,
        QueryError if `last` contains ids that are not in `remove`.
        """
        if not set(last) <= set(remove):
            raise QueryError("last_copies: must be among the ids in remove")
        self._search = search
        self._radius = found.radius
        self._reference = reference
        chosen = search.ids.rows(np.array(list(dict.fromkeys(remove)), np.int64))
        self.chosen: list[int] = chosen.tolist()
        self._last = set(search.ids.rows(np.array(list(last), np.int64)).tolist()) if last else set()
        numbers = search.clusters_of(chosen)
        clusters = [found[number].ids for number in np.unique(numbers[numbers >= 0]).tolist()]
        self._rows = np.unique(np.concatenate([chosen, *clusters]))
        groups = search.clusters_of(self._rows)
        self._group = np.where(groups < 0, -1 - self._rows, groups)  # an image in no cluster forms a group of its own
        snapshot = search.snapshot
        mask = np.zeros(len(snapshot), np.bool_)
        mask[self._rows] = True
        self._codes = snapshot.codes(search.ids.of(self._rows))
        rows = self._rows.tolist()
        self._path = dict(zip(rows, snapshot.local.records.paths_of(self._rows), strict=True))
        self._id = dict(zip(rows, search.ids.of(self._rows).tolist(), strict=True))
        self._records = search.rooted(snapshot.local.records.take(mask))
        self._full = list(self._records.full_paths())

    def is_last(self, row: int) -> bool:
        """Return whether a row may go even if no copy stays."""
        return row in self._last

    def path(self, row: int) -> bytes:
        """Return the path of one of its rows, as the index holds it."""
        return self._path[row]

    def id(self, row: int) -> int:
        """Return the id of a row."""
        return self._id[row]

    def judge(self, only: int | None = None) -> Judged:
        """Look at the files, and return which of the chosen images may go; of the cluster of row `only`, if given."""
        leaving = set(self.chosen)
        look = _Look({path for row, path in zip(self._rows.tolist(), self._full, strict=True) if row in leaving})
        places = np.arange(len(self._rows))
        if only is not None:
            places = np.flatnonzero(self._group == self._group[np.searchsorted(self._rows, only)])
        mask = np.zeros(len(self._rows), np.bool_)
        mask[places] = True
        files = files_of(self._rows[places], self._codes[places], self._records.take(mask))
        protected = inside(files, self._reference, "reference")
        group_of = dict(zip(self._rows[places].tolist(), self._group[places].tolist(), strict=True))
        intact: dict[int, dict[int, int]] = defaultdict(dict)  # of each cluster: files that stay, and a row of each
        for number, file in enumerate(files):
            if file.state is State.PRESENT and look.keeps(file):
                row = next(row for row, path in zip(file.rows, file.paths, strict=True) if path not in look.leaving)
                for group in {group_of[row] for row in file.rows}:
                    intact[group][number] = row
        judged: dict[int, Going | Failed] = {}
        freed = 0
        for number, file in enumerate(files):
            gone = []
            for row, path in zip(file.rows, file.paths, strict=True):
                if row not in leaving:
                    continue
                stays = tuple(row for other, row in intact[group_of[row]].items() if other != number)
                reason = self._reason(row, path, file, bool(protected[number]), stays, look)
                if reason:
                    judged[row] = Failed(self.id(row), self.path(row), reason)
                else:
                    judged[row] = Going(self.id(row), self.path(row), path, file.size, stays)
                    gone.append(path)
            freed += file.frees(gone)
        ordered = [judged[row] for row in self.chosen if row in judged]
        return Judged(
            [one for one in ordered if isinstance(one, Going)],
            [one for one in ordered if isinstance(one, Failed)],
            freed,
        )

    def _reason(
        self, row: int, path: bytes, file: ImageFile, protected: bool, stays: tuple[int, ...], look: _Look
    ) -> str:
        """Return why an image must stay; empty if it may go."""
        if file.state in _STATES:
            return _STATES[file.state]
        if protected:
            return "in a protected folder"
        entry = look.entry(path)
        for other in file.paths:
            if other not in look.leaving and other != path and look.entry(other) == entry:
                return f"another name of {display(os.path.basename(other))}, which stays, through a linked folder"
        if stays or row in self._last:
            return ""
        if len(self._group[self._group == self._group[np.searchsorted(self._rows, row)]]) == 1:
            return f"no other image is within {self._radius} bits of it"
        return _LAST


def listing(judged: Judged, null: bool) -> bytes:
    """Return the full paths, one per line or, with `null`, each followed by a NUL byte.

    Raises ConflictError if an image must stay; QueryError without `null` for a path that contains a line break: a
    reader would take it for two paths.
    """
    if judged.refused:
        first, many = judged.refused[0], len(judged.refused)
        raise ConflictError(
            f"{many} of {many + len(judged.going)} images must stay; {display(first.path)}: {first.reason}; "
            "the action check names all"
        )
    for image in judged.going:
        if not null and (b"\n" in image.full or b"\r" in image.full):
            raise QueryError(
                f"{display(image.path)}: a line break in the name; choose the format nul: paths end in NUL"
            )
    return b"".join(image.full + (b"\0" if null else b"\n") for image in judged.going)


class Mover:
    """Moves the files of a review to the trash of the system, each after a last look at its cluster."""

    def __init__(self, review: Review, search: DuplicateSearch, encoder: QueryEncoder) -> None:
        """Take the choice, its clusters, and what encodes images like those of the index."""
        self._review = review
        self._search = search
        self._encoder = encoder
        self._verified: set[int] = set()  # rows of copies that stay, whose pixels were compared

    def run(self) -> Moved:
        """Move the files that may go.

        A file goes only if it is a regular file inside the image folder, not a link nor reached through one, if it
        still has the code that the index holds, and if a copy that stays has its code, too.
        """
        gone, failed, freed = [], [], 0
        for row in self._review.chosen:
            try:
                image, size = self._move(row)
            except (TransHashError, OSError) as error:
                failed.append(Failed(self._review.id(row), self._review.path(row), _words(error)))
            else:
                gone.append(image)
                freed += size
        return Moved(gone, failed, freed)

    def _move(self, row: int) -> tuple[Going, int]:
        """Move one file, and return it with the bytes that this frees. Raises SelectionError if it must stay."""
        import send2trash

        image = self._judged(row)
        self._check_place(image)
        self._check_code(row)
        copies = {copy for copy in image.stays if self._is_intact(copy)}
        again = self._judged(row)  # as late as possible, because decoding takes time
        if copies.isdisjoint(again.stays) and not self._review.is_last(row):
            raise SelectionError(_LAST)
        self._check_place(again)
        found = os.lstat(again.full)
        send2trash.send2trash(os.fsdecode(again.full))
        return again, found.st_size if found.st_nlink == 1 else 0

    def _judged(self, row: int) -> Going:
        judged, id = self._review.judge(row), self._review.id(row)
        for refused in judged.refused:
            if refused.id == id:
                raise SelectionError(refused.reason)
        return next(image for image in judged.going if image.id == id)

    def _check_place(self, image: Going) -> None:
        if os.path.islink(image.full):
            raise SelectionError("a link, not a file")
        root = self._search.folder.root
        if root is None:
            raise SelectionError(
                "the index names no single folder of images; start the server with --images DIR (images=)"
            )
        plain = os.path.normpath(os.path.join(os.path.realpath(root), os.path.relpath(image.full, root)))
        if entry_of(image.full) != plain:
            raise SelectionError("reached through a linked folder, or not in the image folder")

    def _is_intact(self, row: int) -> bool:
        """Return whether the pixels of a copy are those that were encoded."""
        if row in self._verified:
            return True
        try:
            self._check_code(row)
        except (TransHashError, OSError):
            return False
        self._verified.add(row)
        return True

    def _check_code(self, row: int) -> None:
        """Raise SelectionError unless the image of a row still has its code."""
        snapshot, hasher = self._search.snapshot, self._encoder.hasher
        check_query_model(hasher.ref, snapshot.model, "the index")
        with self._search.folder.opened(self._review.path(row)) as (file, _):
            pixels = hasher.preprocess(decode.read_file(file))
        now = hasher.encode(pixels[None])[0, : snapshot.model.bits // 8]
        stored: NDArray[np.uint8] = snapshot.codes(np.array([self._review.id(row)], np.int64))[0]
        if np.bitwise_count(now ^ stored).sum() > snapshot.model.bits // _TOLERANCE:
            raise SelectionError("has changed since it was encoded")


def _words(error: TransHashError | OSError) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror[0].lower() + error.strerror[1:]
    return one_line(error)
