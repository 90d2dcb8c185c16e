"""The images under a folder."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from ..errors import SourceError
from ..system.files import display
from .base import HIDDEN, Described, Item, Skipped, file_item
from .labels import folder_labels
from .names import is_hidden, is_image, suffix


class FolderSource(Described):
    """The images under a folder, ordered by path: the files of a folder come before its subfolders.

    A file is an image if its name ends in one of `names.SUFFIXES`. Its label is the first folder of its path below
    the root, if any. Links to files are followed; links to folders are not, because they may form cycles.

    Patterns are those of the shell (`fnmatch`: ``*`` also matches ``/``), case-sensitive, for the path below the root
    or the name alone. Only files that match one of `include` are taken, and none that matches one of `exclude`; a
    folder that is excluded is not entered. A pattern of `include` that does not end in ``*`` takes whatever it
    matches, with the suffix of an image or not.

    Hidden files and folders, and system files (``Thumbs.db``, ``@eaDir``, ``__MACOSX``), are ignored unless
    `include_hidden` is true.

    Attributes:
        ignored: the number of files that the last walk ignored, by suffix: those that are not images by name and,
            under ``hidden``, hidden files and folders.
    """

    origins = (b".",)

    def __init__(
        self,
        root: str | Path,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        *,
        include_hidden: bool = False,
    ) -> None:
        """Open a folder. Raises SourceError if `root` is not a folder, or cannot be listed."""
        self.root = os.fsencode(os.path.abspath(root))
        self.description = f"images in {root}"
        self.ignored: Counter[str] = Counter()
        self._include_hidden = include_hidden
        self._include = [os.fsencode(pattern) for pattern in include]
        self._exclude = [os.fsencode(pattern).rstrip(b"/") for pattern in exclude]
        if not os.path.isdir(self.root):
            raise SourceError(f"{root}: not a folder; name a folder of images")
        self._list(b"")

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the images with their sizes and times, and the folders that were not entered."""
        return self.every(0, 1)

    def entries(self) -> Iterator[Item]:
        """Yield the paths and labels of the images without accessing the files."""
        return (Item(path, folder_labels(path)) for path in self._walk() if not isinstance(path, Skipped))

    def every(self, start: int, step: int) -> Iterator[Item | Skipped]:
        """Yield every `step`-th item, starting with item number `start`, without accessing other files."""
        for path in islice(self._walk(), start, None, step):
            yield path if isinstance(path, Skipped) else file_item(self.root, path, folder_labels(path))

    def count(self) -> int:
        """Walk the folder once, and return the number of items, including skipped ones."""
        return sum(1 for _ in self._walk())

    def _walk(self) -> Iterator[bytes | Skipped]:
        """Yield paths of images. Memory is bounded by the names in the folders along one path."""
        self.ignored.clear()
        pending = [b""]
        while pending:
            below = pending.pop()
            try:
                files, folders, links = self._list(below)
            except OSError as error:
                yield Skipped(below, f"folder: {error.strerror}")
                continue
            for path in links:
                yield Skipped(path, "link to a folder: not followed")
            for path in files:
                if self._is_image(path):
                    yield path
            pending += reversed(folders)

    def _list(self, below: bytes) -> tuple[list[bytes], list[bytes], list[bytes]]:
        """Return the sorted paths of the files, folders and links to folders in a folder that are not excluded.

        Raises OSError if it cannot be listed, SourceError if it is the root.
        """
        files, folders, links = [], [], []
        try:
            with os.scandir(os.path.join(self.root, below)) as entries:
                for entry in entries:
                    path = os.path.join(below, entry.name)
                    if not self._include_hidden and is_hidden(entry.name):
                        self.ignored[HIDDEN] += 1
                        continue
                    if self._exclude and _matches(path, self._exclude):
                        continue
                    if not _leads_to_a_folder(entry):
                        files.append(path)
                    elif entry.is_symlink():
                        links.append(path)
                    else:
                        folders.append(path)
        except OSError as error:
            if below:
                raise
            where = display(self.root)
            raise SourceError(f"{where}: cannot be listed ({error.strerror}); check its permissions") from None
        return sorted(files), sorted(folders), sorted(links)

    def _is_image(self, path: bytes) -> bool:
        matching = [pattern for pattern in self._include if _matches(path, [pattern])]
        if self._include and not matching:
            return False
        if is_image(path) or any(not pattern.endswith(b"*") for pattern in matching):
            return True
        self.ignored[suffix(path)] += 1
        return False


def _leads_to_a_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a cyclic link, or one into an unreadable folder; opening it will report the error
        return False


def _matches(path: bytes, patterns: list[bytes]) -> bool:
    name = os.path.basename(path)
    return any(fnmatchcase(path, pattern) or fnmatchcase(name, pattern) for pattern in patterns)
