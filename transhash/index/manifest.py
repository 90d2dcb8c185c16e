"""The manifest of an index folder: its description, checked before any other file is opened. Does not load numpy.

An index folder holds ``manifest.json`` and one data folder that it names, so that replacing the manifest is what
replaces the index: a reader sees the old index or the new one. Format: ``docs/index-format.md``.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..errors import IndexFolderError, one_line
from ..system import files

FORMAT = "transhash-index"
VERSION = 1
NAME = "manifest.json"

_LOCK = ".lock"
MAX_ID = (1 << 63) - 1  # of the next row, so all ids are smaller

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]

_MAX_BYTES = 1 << 20
_DATA = re.compile(r"data-[0-9a-f]{16}")


@dataclass(frozen=True)
class StoredFile:
    """Length and checksum of one file of the data folder."""

    bytes: Count
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The contents of an index folder.

    Attributes:
        backend: name of the entry point that opens it.
        count: number of codes.
        bits: width of a code.
        model: the model that made the codes: ``phash``, or the hasher's path when they were encoded.
        model_digest: fingerprint of that model; a query must have the same.
        next_id: the id of the next row, above all ids ever used.
        data: name of the data folder.
        files: its files by their path in it.
        info: the backend's description of its index.
        root: the image folder that paths are relative to, empty if there are several; None if it is not stored.
        version: of the format.
    """

    backend: str
    count: Count
    bits: Count
    model: str
    model_digest: str
    next_id: Count
    data: str
    files: dict[str, StoredFile]
    info: dict[str, int | str] = field(default_factory=dict)
    root: str | None = None
    version: int = VERSION

    def root_bytes(self) -> bytes:
        """Return the image folder as bytes."""
        return os.fsencode(self.root or "")

    def described(self) -> dict[str, int | str]:
        """Return the fields that `th index info` shows."""
        return {
            "backend": self.backend,
            **self.info,
            "codes": self.count,
            "bits": self.bits,
            "model": self.model,
            "digest": self.model_digest,
            "next_id": self.next_id,
            "bytes": sum(file.bytes for file in self.files.values()),
        }


def read(folder: Path) -> Manifest:
    """Read the manifest of an index folder.

    Raises IndexFolderError if `folder` is not an index folder, or its manifest is damaged or of an unknown version.
    """
    path = folder / NAME
    try:
        if not path.is_file() and path.exists():  # reading a pipe would block forever
            raise IndexFolderError(f"{path}: not a file; build the index again")
        if path.stat().st_size > _MAX_BYTES:
            raise IndexFolderError(f"{path}: larger than a manifest can be; build the index again")
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise IndexFolderError(f"{folder}: not an index folder; make one with: th index build") from None
    except (ValueError, RecursionError) as error:
        raise IndexFolderError(f"{path}: damaged ({error}); build the index again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise IndexFolderError(f"{path}: not a TransHash manifest; name a folder made by: th index build")
    if document.get("version") not in range(VERSION + 1):
        raise IndexFolderError(
            f"{path}: format version {document.get('version')!r}, this TransHash reads 0 to {VERSION}; "
            "upgrade TransHash or build the index again"
        )
    try:
        return _parse(document)
    except (KeyError, ValueError, msgspec.ValidationError) as error:
        raise IndexFolderError(f"{path}: damaged ({one_line(error)}); build the index again") from None


def verify(folder: Path, manifest: Manifest) -> Path:
    """Check length and SHA-256 of every file and return the data folder. Raises IndexFolderError."""
    for problem in problems(folder, manifest):
        raise IndexFolderError(f"{problem}; build the index again")
    return folder / manifest.data


def problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield a line for each file that does not match the manifest."""
    for name, stored in manifest.files.items():
        path = folder / manifest.data / name
        if not path.is_file() or path.is_symlink():
            yield f"{path}: missing"
        elif path.stat().st_size != stored.bytes:
            yield f"{path}: {path.stat().st_size} bytes, the manifest says {stored.bytes}"
        elif files.sha256(path) != stored.sha256:
            yield f"{path}: contents do not match their checksum"


@contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Create an index folder if there is none, and yield an empty data folder in it; one writer at a time.

    If the block raises, or commits nothing, what it wrote is removed and the folder is as it was.

    Raises OutputError if `folder` exists and is not an index folder, which is never replaced, or if another process
    is writing it.
    """
    folder = files.destination(folder)
    existed = folder.exists()
    files.check_replaceable(folder, replaceable, "an index folder")
    folder.mkdir(exist_ok=True)
    try:
        with files.locked(folder / _LOCK, folder):
            yield from _data_folder(folder)
    except BaseException:
        if not existed and {entry.name for entry in folder.iterdir()} <= {_LOCK}:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _data_folder(folder: Path) -> Iterator[Path]:
    """Yield a new data folder; remove it if the block raises, or otherwise the one that it replaces."""
    data = folder / f"data-{secrets.token_hex(8)}"
    data.mkdir()
    try:
        yield data
    except BaseException:
        if not _names(folder, data):  # once it is committed, it must not be removed
            shutil.rmtree(data, ignore_errors=True)
        raise
    committed = read(folder).data
    for entry in folder.iterdir():
        if _DATA.fullmatch(entry.name) and entry.name != committed:
            shutil.rmtree(entry, ignore_errors=True)


def _names(folder: Path, data: Path) -> bool:
    try:
        return read(folder).data == data.name
    except (IndexFolderError, OSError):
        return False


def replaceable(folder: Path) -> bool:
    """Return whether `folder` is an index, the remains of an interrupted build, or empty."""
    return folder.is_dir() and all(
        entry.name in (NAME, _LOCK) or entry.name.startswith(f".{NAME}.") or _DATA.fullmatch(entry.name)
        for entry in folder.iterdir()
    )


def commit(folder: Path, manifest: Manifest) -> None:
    """Make `manifest` the folder's manifest."""
    data = folder / manifest.data
    for name in manifest.files:
        files.sync(data / name)
    files.sync(data)
    document = {"format": FORMAT, **asdict(manifest)}
    with files.replacing(folder / NAME) as temporary:
        temporary.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def describe(data: Path) -> dict[str, StoredFile]:
    """Return length and SHA-256 of every file in a data folder."""
    return {
        path.relative_to(data).as_posix(): StoredFile(path.stat().st_size, files.sha256(path))
        for path in sorted(data.rglob("*"))
        if path.is_file()
    }


def _parse(document: dict[str, Any]) -> Manifest:
    """Return a manifest from its JSON document. Raises KeyError, ValueError or msgspec.ValidationError."""
    if not document["version"]:  # in version 0, ids are always 0 to n - 1
        document = document | {"next_id": document["count"]}
    stored = msgspec.convert(document, Manifest)
    for name in stored.files:
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            raise ValueError(f"file name {name!r}")
    if not _DATA.fullmatch(stored.data):
        raise ValueError(f"data folder {stored.data!r}")
    if stored.count > stored.next_id:
        raise ValueError(f"{stored.count} codes, next id {stored.next_id}")
    return stored
