"""Make a codes file from CSV, a NumPy array or Parquet."""

import os
from collections.abc import Iterator
from pathlib import Path

from ..codes import ModelRef, check_replaceable, exchange
from ..codes.exchange import PathAndLabels
from ..codes.truncation import nested_lengths
from ..errors import CodesError
from ..hashers import model_ref, names
from ..sources.lists import ListSource
from ..system.arguments import checked
from ..system.files import display
from ..system.progress import Progress, silent


@checked
def import_codes(
    source: str | Path,
    output: str | Path,
    *,
    model: str | ModelRef | None = None,
    root: str | Path | None = None,
    bits: int | None = None,
    names: str | Path | None = None,
    on_rows: Progress = silent,
) -> int:
    """Make a codes file from an export, or from codes of another method; return the number of rows.

    Args:
        source: a file that ends in .csv, .npy or .parquet, such as `export_codes` writes.
        output: codes file to write; replaces one that exists.
        model: the model of the codes: "copy", "phash", the path of a hasher, or any other name; None for the one
            named in a Parquet file.
        root: folder that the paths are relative to.
        bits: length of the codes in a .npy file, if the array's dtype does not determine it.
        names: list of the paths and labels for a .npy file, as for `encode`.
        on_rows: called with the number of rows written so far, and the total, 0 if unknown.

    Raises CodesError if the source is missing, damaged or does not name its model, ModelError if a hasher cannot be
    loaded, OutputError if `output` is another kind of file, and OSError if it cannot be written.
    """
    source, output = Path(source), Path(output)
    if source.suffix.lower() != ".npy" and (bits or names):
        raise CodesError(f"{display(source)}: bits and a list of names are only for .npy files")
    check_replaceable(output)
    table = exchange.open_table(source, bits, _Listed(names, root) if names else None)
    ref = _model(model, table.bits) if isinstance(model, str) else model or table.model
    if ref is None:
        raise CodesError(f"{display(source)} does not name the model of its codes; pass --model NAME, or model=")
    folder = os.fsencode(os.path.abspath(root)) if root else table.root or b""
    return exchange.import_table(table, output, ref, folder, on_rows)


class _Listed:
    """Path and labels of every image in a list; can be iterated several times."""

    def __init__(self, names: str | Path, root: str | Path | None) -> None:
        self._source = ListSource(root or ".", names)

    def __iter__(self) -> Iterator[PathAndLabels]:
        for item in self._source.entries():
            yield item.path, item.labels


def _model(name: str, bits: int) -> ModelRef:
    """Return the reference of the hasher with a name, for codes of `bits`, or a reference with any other name."""
    if name in names() or name.endswith(".safetensors") or os.path.isfile(name):
        whole = model_ref(name)
        return model_ref(name, bits) if bits in nested_lengths(whole) else whole
    return ModelRef(name, name, bits)
