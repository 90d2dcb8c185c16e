"""Atomic writes that never replace another kind of file, locks, and paths as text.

Some file systems (NFS, CIFS, FUSE) lack locks, modes, or `fsync` of a folder. These protect against a second writer
or a power cut; where they are missing the work is done without them.
"""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import OutputError
from .texts import display as display
from .texts import printable as printable

MAX_PATH = 1 << 12  # bytes; a longer path cannot be opened
_LONGEST_NAME = 255  # bytes
_UNSUPPORTED = {errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM}


@contextmanager
def naming(target: str | Path) -> Iterator[None]:
    """Add the name `target` to an OSError without a file name, such as one raised by a write."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, error.strerror, str(target)) from error
        raise


@contextmanager
def replacing(target: Path, folder: Path | None = None) -> Iterator[Path]:
    """Yield a temporary file beside `target`, which replaces `target` if the block succeeds.

    Readers see the old file or the new one, never a partial one. If the block raises, the old file stays and the
    temporary one is removed. If `target` is a symbolic link, the file that it leads to is replaced.

    Args:
        target: the file to write.
        folder: where to put the temporary file instead; on the same file system as `destination(target)`.

    Raises OSError if the folder is missing or read-only, or the disk is full.
    """
    target = destination(target)
    temporary = _created(target, folder or target.parent)
    try:
        with naming(target):
            yield temporary
            sync(temporary)
            temporary.replace(target)
            sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def destination(path: Path) -> Path:
    """Return the path that `path` leads to if it is a symbolic link, whether or not anything is there.

    Raises OSError if links lead in a circle.
    """
    if not path.is_symlink():
        return path
    found = Path(os.path.realpath(path))
    if found.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return found


def beside(path: Path, suffix: str) -> Path:
    """Return a path in the same folder whose name is that of `path` plus `suffix`.

    A name that would be too long for a file system is shortened and ends in a digest of the full name.
    """
    name = os.fsencode(path.name)
    end = os.fsencode(suffix)
    if len(name) + len(end) > _LONGEST_NAME:
        import hashlib

        end = b"-" + hashlib.sha256(name).hexdigest()[:16].encode() + end
        name = name[: _LONGEST_NAME - len(end)]
    return path.with_name(os.fsdecode(name + end))


@contextmanager
def locked(path: Path, output: Path) -> Iterator[None]:
    """Hold the lock file `path` while the block runs, so that only one process at a time writes `output`.

    A process that is killed releases its lock. On a file system without locks the block runs without one.

    Raises OutputError if another process holds the lock.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OutputError(
            f"{display(output)}: another process is writing it; wait for that, or choose another output"
        ) from None
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    try:
        yield
    finally:
        lock.release()


def sync(path: Path) -> None:
    """Flush a file's contents, or a folder's entries, to disk, if the file system supports it."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:  # a folder that can be written but not read
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal."""
    import hashlib  # takes a while to load, and `th --help` needs this module

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_replaceable(path: Path, is_ours: Callable[[Path], bool], kind: str) -> None:
    """Raise OutputError if `path` exists and is not a `kind`, such as "a codes file", by the check `is_ours`.

    Also raises OutputError if the parent folder of `path` does not exist.
    """
    if not destination(path).parent.is_dir():
        raise OutputError(f"{display(path.parent)}: no such folder; create it, or choose another output")
    if path.exists() and not is_ours(path):
        raise OutputError(f"{display(path)}: exists and is not {kind}; choose another output")


def begins_with(path: Path, mark: bytes) -> bool:
    """Return whether `path` is a regular file whose contents begin with `mark`."""
    if not path.is_file():  # opening a pipe would block
        return False
    with path.open("rb") as file:
        return file.read(len(mark)) == mark


def _created(target: Path, folder: Path) -> Path:
    """Create an empty temporary file with the mode that the umask allows, and return its path."""
    name = beside(folder / f".{target.name}", f".{os.urandom(4).hex()}.part")
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    return name
