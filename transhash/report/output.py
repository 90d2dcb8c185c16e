"""Write reports completely or not at all, and only over an earlier report."""

from pathlib import Path

from ..system import files


def check(path: Path, mark: bytes) -> None:
    """Raise OutputError if `path` exists and does not begin with `mark`."""
    files.check_replaceable(path, lambda there: files.begins_with(there, mark), "a report")


def write(path: Path, data: bytes, mark: bytes) -> None:
    """Write or replace `path`; the data begin with `mark`. Raises OutputError as `check` does."""
    check(path, mark)
    with files.replacing(path) as temporary:
        temporary.write_bytes(data)
