"""Stream the members of a tar archive.

Only single headers are parsed by `tarfile`, which is otherwise not safe for untrusted archives: it keeps all headers
in memory, reads extended headers of any length, and searches them in quadratic time before Python 3.11.10.
"""

import os
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

_BLOCK = tarfile.BLOCKSIZE
_PIECE = 1 << 20
_MAX_NAME = 1 << 15  # bytes
_MAX_HEADER = 1 << 24  # bytes of an extended header, which may hold attributes of any kind
_MAX_SIZE = 1 << 62
_GNU_MAGIC = b"ustar  \0"
_EXTENDED = (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE)
_SPARSE = frozenset((b"GNU.sparse.major", b"GNU.sparse.map"))  # keywords that only sparse files have
_LINKS = (tarfile.LNKTYPE, tarfile.SYMTYPE)
_WITHOUT_DATA = (*_LINKS, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE)


@dataclass(frozen=True, slots=True)
class Member:
    """The fields of a member's header.

    Attributes:
        name: its path in the archive.
        size: number of bytes that follow the header.
        kind: "file", "folder", "link" or "special file", which includes sparse files.
    """

    name: bytes
    size: int
    kind: str


class TarStream:
    """The members of an archive in the formats of GNU, POSIX (ustar, pax) and Version 7, read without seeking."""

    def __init__(self, file: BufferedIOBase) -> None:
        """Read from a file that is open and buffered."""
        self._file = file
        self._left = 0  # bytes before the next header

    def __iter__(self) -> Iterator[Member]:
        """Yield the members; each can be `read` until the next is asked for.

        Raises EOFError where the archive is cut off, ValueError where it is damaged, and what the file raises.
        """
        extended: dict[bytes, bytes] = {}
        while block := self._next_block():
            header = _parsed(block)
            if header.type in _EXTENDED:
                extended |= _records(self._header(header.size))
            elif header.type == tarfile.GNUTYPE_LONGNAME:
                extended[b"path"] = _name(self._header(header.size).rstrip(b"\0"))
            elif header.type in (tarfile.GNUTYPE_LONGLINK, tarfile.XGLTYPE):
                self._leave(header.size)
            else:
                member = _member(header, extended)
                if header.type == tarfile.GNUTYPE_SPARSE:
                    self._skip_map(block)
                self._leave(0 if header.type in _WITHOUT_DATA else member.size)
                yield member
                extended = {}

    def read(self, member: Member) -> bytes:
        """Return the contents of the member yielded last. Raises EOFError if the archive is cut off there."""
        self._left -= member.size
        return self._exactly(member.size)

    def _next_block(self) -> bytes:
        """Return the next header, or nothing at the end."""
        if self._left and self._file.seekable():
            self._file.seek(self._left, os.SEEK_CUR)
            self._left = 0
        while self._left:
            self._left -= len(self._exactly(min(self._left, _PIECE)))
        block = self._exactly(_BLOCK)
        return b"" if block == bytes(_BLOCK) else block

    def _header(self, size: int) -> bytes:
        """Return the contents of an extended header."""
        if size > _MAX_HEADER:
            raise ValueError(f"a header of {size} bytes")
        self._leave(size)
        self._left -= size
        return self._exactly(size)

    def _leave(self, size: int) -> None:
        """Record the number of bytes before the next header."""
        if not 0 <= size < _MAX_SIZE:
            raise ValueError(f"a member of {size} bytes")
        self._left = size + -size % _BLOCK

    def _skip_map(self, block: bytes) -> None:
        """Skip the blocks that continue the map of an old GNU sparse file."""
        more = block[482]
        while more:
            more = self._exactly(_BLOCK)[504]

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) < size:
            raise EOFError("cut off")
        return data


def _parsed(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise ValueError(str(error)) from None
    if block[257:265] == _GNU_MAGIC:  # has times where other formats have the start of the name
        header.name = block[:100].partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return header


def _name(name: bytes) -> bytes:
    if len(name) > _MAX_NAME:
        raise ValueError(f"a name of {len(name)} bytes")
    return name


def _member(header: tarfile.TarInfo, extended: dict[bytes, bytes]) -> Member:
    name = extended.get(b"path", header.name.encode("utf-8", "surrogateescape"))
    size = int(extended.get(b"size", header.size))
    if header.isdir():
        return Member(name, size, "folder")
    if header.type in _LINKS:
        return Member(name, size, "link")
    plain = header.isreg() and header.type != tarfile.GNUTYPE_SPARSE and _SPARSE.isdisjoint(extended)
    return Member(name, size, "file" if plain else "special file")


def _records(data: bytes) -> dict[bytes, bytes]:
    """Return the relevant keywords of an extended header; a record is its length, a blank, keyword=value."""
    records = {}
    at = 0
    while at < len(data):
        length = data[at : at + 8].partition(b" ")[0]
        end = at + (int(length) if length.isdigit() else 0)
        keyword, equals, value = data[at + len(length) + 1 : end - 1].partition(b"=")
        if not at < end <= len(data) or not equals:
            raise ValueError("a damaged extended header")
        if keyword in (b"path", b"size", *_SPARSE):
            records[keyword] = _name(value)
        at = end
    return records
