"""Compare a codes file with its checksums."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import CodesError
from ..system.arguments import checked
from ..system.progress import Progress, silent
from . import hdf5
from .checksums import SEGMENT_ROWS, LabelSums, SegmentSums
from .guard import guarded
from .reader import CodesFile


@dataclass(frozen=True)
class Verified:
    """The result of verifying an intact codes file.

    Attributes:
        rows: number of rows.
        digest: identity of the contents; empty for version 0, which has no checksums and could only be read.
    """

    rows: int
    digest: str


@checked
def verify_codes(path: str | Path, on_rows: Progress = silent) -> Verified:
    """Read all of a codes file and compare it with its checksums.

    Args:
        path: the codes file.
        on_rows: called with the number of rows read so far, and that of all.

    Raises CodesError if there is no such file, or it is no codes file or a damaged one; names the first segment that
    is not what was written, and its rows.
    """
    path = Path(path)
    hdf5.check_file(path)
    return Verified(*guarded(lambda report: _compare(path, report), path, on_rows))


def _compare(path: Path, report: Progress) -> tuple[int, str]:
    with hdf5.opened(path) as file:
        found = CodesFile(file, path)
    names = LabelSums(name.encode("utf-8") for name in found.label_names)
    step = found.header.segment_rows or SEGMENT_ROWS
    for segment, start in enumerate(range(0, len(found), step)):
        stop = min(start + step, len(found))
        sums = SegmentSums(step)
        try:
            for first, block in found.blocks(start, stop):
                sums.update(block, names)
                report(first + len(block), len(found))
        except CodesError as error:
            raise CodesError(_damaged(path, segment, start, stop)) from error
        if found.header.version and (sums.finish() != found.segments[segment]).any():
            raise CodesError(_damaged(path, segment, start, stop))
    for _ in found.skipped():
        pass
    return len(found), found.header.digest


def _damaged(path: Path, segment: int, start: int, stop: int) -> str:
    return f"{path}: segment {segment}, rows {start} to {stop - 1}: do not match their checksum; encode again"
