"""What reports write: whole or not at all, and over nothing but an earlier one of theirs."""

from pathlib import Path

from .. import files
from ..errors import ResultsError


def check(path: Path, mark: bytes) -> None:
    """Raise ResultsError if anything stands at `path` that does not begin with `mark`."""
    if path.exists() and not _begins(path, mark):
        raise ResultsError(f"{path}: exists and is no report; choose another output")


def write(path: Path, data: bytes, mark: bytes) -> None:
    """Replace `path` by data that begin with `mark`. Raises ResultsError as `check` does."""
    check(path, mark)
    with files.replacing(path) as temporary:
        temporary.write_bytes(data)


def _begins(path: Path, mark: bytes) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(mark)) == mark
