"""The manifest of an index folder: its description, checked before any other file is opened. Does not load numpy.

An index folder holds ``manifest.json`` and one or two data folders that it names, so that replacing the manifest is
what replaces the index: a reader sees the old index or the new one. Format: ``docs/index-format.md``.
"""

import json
import os
import re
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..errors import IndexFolderError, one_line
from ..system import files

FORMAT = "transhash-index"
VERSION = 2  # version 1 has no changes
NAME = "manifest.json"

_LOCK = ".lock"
MAX_ID = (1 << 63) - 1  # largest id of the next row, so all ids are smaller

Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_ID)]

_MAX_BYTES = 1 << 20
_DATA = re.compile(r"data-[0-9a-f]{16}")


@dataclass(frozen=True)
class StoredFile:
    """Length and checksum of one file of the data folder."""

    bytes: Count
    sha256: str


@dataclass(frozen=True)
class Changes:
    """Changes of an index that its data folder does not hold: rows removed from it, and rows added to it.

    Attributes:
        data: name of their own data folder.
        files: its files by their path in it.
        stored: number of rows in the index's data folder, with those that were removed.
        added: number of rows that were added.
    """

    data: str
    files: dict[str, StoredFile]
    stored: Count
    added: Count


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
        changes: what is different from the data folder; None if nothing is.
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
    changes: Changes | None = None
    version: int = VERSION

    @property
    def stored(self) -> int:
        """Number of rows in the data folder."""
        return self.changes.stored if self.changes else self.count

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the data folders; the last one is unique to this state of the index."""
        return (self.data, self.changes.data) if self.changes else (self.data,)

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
            **self._changed(),
            "bytes": sum(file.bytes for file in self._files()),
        }

    def _changed(self) -> dict[str, int]:
        """Return the numbers of rows that were added and removed since the data folder was written, if any were."""
        if self.changes is None:
            return {}
        return {"added": self.changes.added, "removed": self.changes.stored + self.changes.added - self.count}

    def _files(self) -> list[StoredFile]:
        return [*self.files.values(), *(self.changes.files.values() if self.changes else ())]


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
        what = "not an index folder" if folder.exists() else "no such index folder"
        raise IndexFolderError(f"{folder}: {what}; build one with: th index build (transhash.build_index)") from None
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


def verify(folder: Path, manifest: Manifest) -> None:
    """Check length and SHA-256 of every file. Raises IndexFolderError."""
    for problem in problems(folder, manifest):
        raise IndexFolderError(f"{problem}; build the index again")


def verify_files(data: Path, stored: Mapping[str, StoredFile], names: Iterable[str] | None = None) -> None:
    """Check length and SHA-256 of the files of a data folder, or of some of them. Raises IndexFolderError."""
    wanted = stored if names is None else {name: stored[name] for name in names if name in stored}
    for problem in _problems(data, wanted):
        raise IndexFolderError(f"{problem}; build the index again")


def problems(folder: Path, manifest: Manifest) -> Iterator[str]:
    """Yield a line for each file that does not match the manifest."""
    yield from _problems(folder / manifest.data, manifest.files)
    if manifest.changes:
        yield from _problems(folder / manifest.changes.data, manifest.changes.files)


def _problems(data: Path, files_of: Mapping[str, StoredFile]) -> Iterator[str]:
    for name, stored in files_of.items():
        path = data / name
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
    """Yield a new data folder; remove it if the block raises, or otherwise those that it replaces."""
    data = folder / f"data-{secrets.token_hex(8)}"
    data.mkdir()
    try:
        yield data
    except BaseException:
        if not _names(folder, data):  # once it is committed, it must not be removed
            shutil.rmtree(data, ignore_errors=True)
        raise
    committed = read(folder).folders
    for entry in folder.iterdir():
        if _DATA.fullmatch(entry.name) and entry.name not in committed:
            shutil.rmtree(entry, ignore_errors=True)


def _names(folder: Path, data: Path) -> bool:
    try:
        return data.name in read(folder).folders
    except (IndexFolderError, OSError):
        return False


def replaceable(folder: Path) -> bool:
    """Return whether `folder` is an index, the remains of an interrupted build, or empty."""
    return folder.is_dir() and all(
        entry.name in (NAME, _LOCK) or entry.name.startswith(f".{NAME}.") or _DATA.fullmatch(entry.name)
        for entry in folder.iterdir()
    )


def commit(folder: Path, manifest: Manifest) -> None:
    """Make `manifest` the folder's manifest; the data folder that it names last is new."""
    data = folder / manifest.folders[-1]
    for name in manifest.changes.files if manifest.changes else manifest.files:
        files.sync(data / name)
    files.sync(data)
    version = VERSION if manifest.changes else VERSION - 1
    document = {"format": FORMAT, **asdict(replace(manifest, version=version))}
    if not manifest.changes:
        del document["changes"]
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
    for name in (*stored.files, *(stored.changes.files if stored.changes else ())):
        if Path(name).is_absolute() or ".." in Path(name).parts or "\0" in name:
            raise ValueError(f"file name {name!r}")
    for name in stored.folders:
        if not _DATA.fullmatch(name):
            raise ValueError(f"data folder {name!r}")
    if len(set(stored.folders)) < len(stored.folders):
        raise ValueError(f"data folder {stored.data!r} twice")
    if stored.changes and not 0 <= stored.stored + stored.changes.added - stored.count <= stored.stored:
        raise ValueError(f"{stored.count} codes of {stored.stored} and {stored.changes.added} more")
    if stored.count > stored.next_id:
        raise ValueError(f"{stored.count} codes, next id {stored.next_id}")
    return stored
