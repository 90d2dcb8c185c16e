"""Files: written completely or not at all, never over another kind of file; paths as text."""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import OutputError


@contextmanager
def naming(target: Path) -> Iterator[None]:
    """Make an OSError that names no file, as those of writes do, name `target`."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


@contextmanager
def replacing(target: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary name beside `target`; what is written there becomes `target` if the block succeeds.

    The name lies in `folder` if one is given, which must be in the same file system.

    Readers see the old file or the new one, never half of either. If the block raises, the old file stays and
    the temporary one is removed. Raises OSError when the folder is missing or read-only.
    """
    handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".part", dir=folder or target.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(target):
            yield temporary
            temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; outputs follow the umask
            sync(temporary)
            temporary.replace(target)
            sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Make a file's contents, or a folder's entries, survive a power cut."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def display(path: str | bytes | os.PathLike[str]) -> str:
    """Return a path as printable text on one line: control characters and undecodable bytes become escapes."""
    name = os.fspath(path)
    return printable(name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else name)


def printable(text: str) -> str:
    """Return text in which control characters and undecodable bytes are replaced by escapes."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escaped(char) for char in text)


def check_replaceable(path: Path, is_ours: Callable[[Path], bool], kind: str) -> None:
    """Raise OutputError if `path` exists and is not a `kind`, such as "a codes file", by the check `is_ours`."""
    if path.exists() and not is_ours(path):
        raise OutputError(f"{display(path)}: exists and is not {kind}; choose another output")


def begins_with(path: Path, mark: bytes) -> bool:
    """Return whether `path` is a regular file whose contents begin with `mark`."""
    if not path.is_file():  # opening a pipe would block
        return False
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else char.encode("unicode_escape").decode()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
