"""NumPy's .npy: only the codes, as an array."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ...errors import CodesError
from ...packing import MAX_BITS, check_bits, pack
from ...system import files
from ...system.files import display
from ...system.progress import Progress
from ..reader import CodesFile
from ..strings import STRINGS
from .table import CodesTable, RowBlock, check_path

# Keys are phrases in NumPy's messages.
_PROBLEMS = {"mmap length": "cut off", "Python objects": "holds Python objects"}
PathAndLabels = tuple[bytes, tuple[str, ...]]


def write(file: CodesFile, target: Path, on_rows: Progress) -> None:
    """Write the packed codes, (n, bits/8) uint8. Raises OSError if the file cannot be written."""
    shape = (len(file), file.header.model.bits // 8)
    with files.replacing(target) as temporary, temporary.open("wb") as out:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        npy.write_array_header_1_0(out, header)
        for start, block in file.blocks(embeddings=False):
            out.write(block.packed.tobytes())
            on_rows(start + len(block), len(file))


def read(path: Path, bits: int | None = None, rows: Iterable[PathAndLabels] | None = None) -> CodesTable:
    """Open an array of codes: packed, (n, bits/8) uint8, or signs, (n, bits) of any real type, 1 where positive.

    Packed codes may also be int8 minus 128, as sentence-transformers writes precision ``binary``. An int8 array is
    read as signs if it contains only -1, 0 and 1.

    Args:
        path: the array.
        bits: length of the codes; without it, uint8 is read as packed codes, and other types as signs.
        rows: path and labels of every row, iterated twice; without them, paths are row numbers.

    Raises CodesError if it is not such an array, or the number of `rows` differs.
    """
    array = _opened(path)
    if array.ndim != 2 or array.dtype.kind not in "buif":
        raise CodesError(f"{path}: not an array of codes: save packed uint8 (n, bits/8), or signs (n, bits)")
    width = array.shape[1]
    packed = (array.dtype == np.uint8 or _is_shifted(array)) and bits in (None, 8 * width)
    try:
        length = check_bits(8 * width if packed else width)
    except ValueError as error:
        raise CodesError(f"{path}: {error}") from None
    if (
        packed
        and array.dtype == np.uint8
        and bits is None
        and width > 1
        and array[:STRINGS].max(initial=0) <= 1
        and len(array)
    ):
        raise CodesError(
            f"{path}: zeros and ones may be packed codes or single bits; pass the length: --bits (bits=)"
        )
    if bits not in (None, length):
        raise CodesError(f"{path}: {width} columns of {array.dtype} are not codes of {bits} bits")
    most = max((len(labels) for _, labels in rows), default=0) if rows is not None else 0
    return CodesTable(length, _blocks(path, array, packed, rows), len(array), most)


def is_own(path: Path) -> bool:
    """Return whether a file is an array in the format of `write`."""
    try:
        array = _opened(path)
    except CodesError:
        return False
    return array.dtype == np.uint8 and array.ndim == 2 and array.shape[1] <= MAX_BITS // 8


def _opened(path: Path) -> NDArray[Any]:
    """Map an array. Raises CodesError if the file is not an array, or holds Python objects."""
    with path.open("rb") as file:
        if file.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            raise CodesError(f"{display(path)}: not a .npy file; save one with numpy.save")
    try:
        return npy.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # NumPy parses the header as Python, which can fail in many ways
        problem = next((known for words, known in _PROBLEMS.items() if words in str(error)), "the header is damaged")
        raise CodesError(f"{display(path)}: not a valid .npy file ({problem})") from None


def _is_shifted(array: NDArray[Any]) -> bool:
    """Return whether an array holds packed codes minus 128, rather than signs."""
    return array.dtype == np.int8 and any(
        (np.abs(array[start : start + STRINGS].astype(np.int16)) > 1).any() for start in range(0, len(array), STRINGS)
    )


def _as_unsigned(part: NDArray[Any]) -> NDArray[np.uint8]:
    return part if part.dtype == np.uint8 else (part.astype(np.int16) + 128).astype(np.uint8)


def _blocks(
    path: Path, array: NDArray[Any], packed: bool, rows: Iterable[PathAndLabels] | None
) -> Iterator[RowBlock]:
    named = iter(rows) if rows is not None else ((b"%d" % place, ()) for place in range(len(array)))
    for start in range(0, len(array), STRINGS):
        part = np.asarray(array[start : start + STRINGS])
        try:
            listed = [(check_path(name), labels) for name, labels in islice(named, len(part))]
        except ValueError as error:
            raise CodesError(f"{display(path)}: the list of names: {error}; shorten it") from None
        if len(listed) < len(part):
            count = start + len(listed)
            raise CodesError(
                f"{path}: {len(array)} codes, but the list has {count} path{'s' * (count != 1)}; list one for each"
            )
        try:
            codes = _as_unsigned(part) if packed else pack(part)
        except ValueError:
            raise CodesError(f"{path}: rows {start} to {start + len(part) - 1}: not a number") from None
        yield RowBlock(codes, [name for name, _ in listed], [labels for _, labels in listed])
    if next(named, None) is not None:
        raise CodesError(f"{path}: {len(array)} codes, but the list has more paths; list one for each")
