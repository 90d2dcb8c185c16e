"""Write reports atomically, and overwrite only earlier reports."""

from pathlib import Path

from ..system import files


def check(path: Path, mark: bytes) -> None:
    """Raise OutputError if `path` exists and does not start with `mark`."""
    files.check_replaceable(path, lambda existing: files.begins_with(existing, mark), "a report")


def write(path: Path, data: bytes, mark: bytes) -> None:
    """Write or replace `path`; `data` must start with `mark`. Raises OutputError as `check` does."""
    check(path, mark)
    with files.replacing(path) as temporary:
        temporary.write_bytes(data)
