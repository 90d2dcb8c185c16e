"""Image lists: one path per line, with a column for every class, or CSV."""

import codecs
import csv
import os
import shutil
import stat
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import islice, takewhile
from pathlib import Path
from typing import BinaryIO

from ..errors import SourceError
from .base import Described, Item, Skipped, counted, file_item
from .labels import folder_labels, labels_of

CLASSES = "classes.txt"  # file beside a list that names its columns
STDIN = "-"

_HEADER = "path"  # name of the first column
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_BITS = frozenset((b"0", b"1"))
_LONGEST = 1 << 16  # bytes of a line
_BLOCK = 1 << 18
_HINT = "name a text file with one path per line, or - for standard input"

Row = tuple[bytes, tuple[str, ...]]


class FilesSource(Described):
    """Image files, in order, without labels."""

    def __init__(self, paths: Iterable[str | Path], root: str | Path | None = None) -> None:
        """Take paths relative to `root`, or to the working directory, as it is when they are read."""
        self.root = os.fsencode(os.path.abspath(root)) if root is not None else b""
        self._paths = [os.fsencode(path) for path in paths]
        self.origins = tuple(self._paths)
        self.description = counted(len(self._paths))

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the files with their sizes and times."""
        for path in self._paths:
            yield file_item(self.root, path, ())

    def count(self) -> int:
        """Return the number of files."""
        return len(self._paths)


class ListSource(Described):
    """The images that a text file, or standard input, lists: one path per line, relative to `root` unless absolute.

    If every line ends in the same number of zeros and ones, at least two, separated by blanks, they are the image's
    classes, as in the lists of the hashing literature: the names are the lines of ``classes.txt`` beside the list, or
    else ``0``, ``1`` and so on. In any other list, a line is a path, and labels are those that `FolderSource` would
    give. Blank lines are skipped; repeated paths are kept.

    A list that ends in .csv or .tsv has cells separated by commas or tabs: the first is the path, and every other
    non-empty cell is a label. A first row whose first cell is ``path`` names the columns, and is skipped.

    With `null`, paths end in NUL bytes instead, as ``find -print0`` writes them, and are not interpreted.
    """

    def __init__(self, root: str | Path, names: str | Path, null: bool = False) -> None:
        """Read the list once, to count it and detect its kind; standard input (``-``) is copied to a temporary file.

        Raises SourceError if it cannot be read, is empty or broken, or does not match its ``classes.txt``.
        """
        self.root = os.fsencode(os.path.abspath(root))
        self._names = Path(names)
        self.origins = None if str(names) == STDIN else (os.fsencode(os.path.abspath(names)),)
        self._name = "standard input" if str(names) == STDIN else str(names)
        self._end = b"\0" if null else b"\n"
        self._delimiter = None if null else _DELIMITERS.get(self._names.suffix.lower())
        self._classes: list[str] | None = None
        if str(names) == STDIN:
            self._spool = _spooled()  # removed with this object
            self._names = Path(self._spool.name)
        self._width = 0 if null or self._delimiter else self._columns()
        if self._width:
            self._classes = _class_names(Path(names), self._width)
        self._count = sum(1 for _ in self._rows())
        if not self._count:
            raise SourceError(f"{self._name}: lists no paths; write one per line, relative to {root}")
        self.description = f"{counted(self._count)} of {self._name}"

    def __iter__(self) -> Iterator[Item | Skipped]:
        """Yield the files with their sizes and times. Raises SourceError if the list has changed."""
        return self.every(0, 1)

    def entries(self) -> Iterator[Item]:
        """Yield the paths and labels of the list without accessing the files."""
        return (Item(path, labels) for path, labels in self._rows())

    def every(self, start: int, step: int) -> Iterator[Item | Skipped]:
        """Yield every `step`-th item, starting with item number `start`, without accessing other files."""
        for path, labels in islice(self._rows(), start, None, step):
            yield file_item(self.root, path, labels)

    def count(self) -> int:
        """Return the number of paths in the list."""
        return self._count

    def _rows(self) -> Iterator[Row]:
        if self._delimiter:
            yield from self._cells(self._delimiter)
        elif self._classes is not None:
            yield from self._multi_hot(self._classes)
        else:
            for _, line in self._lines():
                path = os.path.normpath(line)
                yield path, folder_labels(path)

    def _cells(self, delimiter: str) -> Iterator[Row]:
        for place, (number, line) in enumerate(self._lines()):
            text = line.decode("utf-8", "surrogateescape")
            try:
                path, *cells = next(csv.reader([text], delimiter=delimiter, strict=True))
                labels = labels_of([os.fsencode(cell) for cell in cells])
            except (csv.Error, ValueError) as error:
                raise self._broken(number, f"{error}; write a path, then its labels") from None
            if place == 0 and path == _HEADER:
                continue
            if not path:
                raise self._broken(number, "no path in the first cell; write one")
            yield os.path.normpath(os.fsencode(path)), labels

    def _multi_hot(self, classes: Sequence[str]) -> Iterator[Row]:
        @lru_cache(1 << 16)  # rows with the same classes share a tuple
        def labels(bits: tuple[bytes, ...]) -> tuple[str, ...]:
            return tuple(name for name, bit in zip(classes, bits, strict=True) if bit == b"1")

        for number, line in self._lines():
            row = _multi_hot(line, self._width)
            if row is None:
                raise self._broken(number, "changed while it was read; start again")
            yield os.path.normpath(row[0]), labels(row[1])

    def _columns(self) -> int:
        """Return the number of zeros and ones at the end of every line, or 0 if this is another kind of list."""
        width = 0
        for place, (_, line) in enumerate(self._lines()):
            if place == 0:
                width = _trailing_bits(line.split())
            if width < 2 or _multi_hot(line, width) is None:
                return 0
        return width

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines that are not blank, and their numbers, without a byte order mark."""
        return _lines(self._names, self._name, self._end)

    def _broken(self, number: int, reason: str) -> SourceError:
        return SourceError(f"{self._name}: line {number}: {reason}")


def _lines(path: Path, name: str, end: bytes = b"\n", hint: str = _HINT) -> Iterator[tuple[int, bytes]]:
    """Yield the numbers, from 1, and contents of the lines of a regular file that are not blank.

    A line of text is stripped of a byte order mark and carriage return; one that ends in NUL is unchanged.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe could block, and can be read only once
            kind = "a folder" if path.is_dir() else "not a regular file"
            raise SourceError(f"{name}: {kind}; {hint}")
        with open(path, "rb") as file:
            for number, line in enumerate(_split(file, end), 1):
                if len(line) > _LONGEST:
                    raise SourceError(f"{name}: line {number}: longer than {_LONGEST:,} bytes; {hint}")
                if end == b"\n":
                    line = line.removeprefix(codecs.BOM_UTF8 if number == 1 else b"").removesuffix(b"\r")
                if line if end == b"\0" else line.strip():
                    yield number, line
    except OSError as error:
        raise SourceError(f"{name}: {error.strerror}; {hint}") from None


def _split(file: BinaryIO, end: bytes) -> Iterator[bytes]:
    """Yield the parts that end in `end`, in pieces if one is much longer than a line may be."""
    rest = b""
    while block := file.read(_BLOCK):
        *whole, rest = (rest + block).split(end)
        yield from whole
        if len(rest) > _LONGEST:
            yield rest
            rest = b""
    if rest:
        yield rest


def _spooled() -> "tempfile._TemporaryFileWrapper[bytes]":
    """Copy standard input, which can be read only once, to a temporary file, and return it."""
    if sys.stdin is None:
        raise SourceError("standard input: closed; pipe a list into it")
    spool = tempfile.NamedTemporaryFile(prefix="transhash-list-")  # noqa: SIM115 - lives as long as the list
    shutil.copyfileobj(sys.stdin.buffer, spool)
    spool.flush()
    return spool


def _multi_hot(line: bytes, width: int) -> tuple[bytes, tuple[bytes, ...]] | None:
    """Return the path on a line, and the zeros and ones after it, or None unless there are exactly `width`."""
    path, *bits = line.rsplit(None, width)
    if len(bits) < width or not _BITS.issuperset(bits) or _trailing_bits(path.split()):
        return None
    return path, tuple(bits)


def _trailing_bits(tokens: list[bytes]) -> int:
    """Return the number of trailing zeros and ones, not counting the first token, which belongs to the path."""
    return sum(1 for _ in takewhile(_BITS.__contains__, reversed(tokens[1:])))


def _class_names(names: Path, width: int) -> list[str]:
    """Return the names of a list's classes, from ``classes.txt`` beside it if there is one."""
    path = names.with_name(CLASSES)
    if str(names) == STDIN or not path.exists():
        return [str(place) for place in range(width)]
    try:
        lines = _lines(path, str(path), hint="write one class per line")
        classes = [line.strip().decode("utf-8") for _, line in lines]
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not UTF-8; write one class per line, in UTF-8") from None
    if len(classes) != width:
        raise SourceError(f"{path}: {len(classes)} classes, but {names.name} has {width} columns; write one for each")
    twice = next((name for name, count in Counter(classes).items() if count > 1), None)
    if twice is not None:
        raise SourceError(f"{path}: {twice!r} occurs twice; give every class a different name")
    return classes
