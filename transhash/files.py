"""Files that are whole or not there: temporary name, fsync, rename."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
