"""Join codes files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import CodesError
from ..system.arguments import checked
from ..system.files import display
from ..system.progress import Progress, silent
from . import keys
from .arithmetic import described, mixing
from .reader import CodesFile, open_codes
from .records import Codes, ModelRef
from .strings import StringTable
from .truncation import cutting
from .writer import CodesWriter


def merge(
    inputs: Sequence[tuple[Path, NDArray[np.bool_] | None]],
    output: Path,
    *,
    temporary: Path | None = None,
    trusted: bool = False,
    share: str = "",
    origins: tuple[bytes, ...] | None = None,
    partial: bool = False,
    all_skipped: bool = False,
    on_rows: Progress = silent,
) -> int:
    """Join selected rows of codes files of one model, in order, in memory that does not grow with the rows.

    Returns the number of rows that were kept.

    The result is the same as that of writing all kept rows at once. If the inputs were made from different folders,
    paths become absolute. Rows without sizes and times get unknown ones. The skipped images of an input are kept if
    all of its rows are.

    Args:
        inputs: one file or more, each with a mask (n,) of the rows to keep, or None for all of it.
        output: codes file to write; may be one of the inputs. It appears when it is complete.
        temporary: folder for the unfinished file, in the same file system; that of `output` if not given.
        trusted: that this program wrote the inputs, or has opened them before (see `open_codes`).
        share: which share of the images the result contains, as I/N; empty for all images.
        origins: what the images of the result were read from, as in `Header`.
        partial: join shares although some are missing.
        all_skipped: keep the skipped images of every input, each path once.
        on_rows: called with the number of rows read so far, and the total.

    Raises CodesError if an input is damaged, the models differ, only some inputs have embeddings, or shares are
    missing or occur twice; OutputError if `output` is another kind of file; ValueError if a mask does not fit;
    OSError if `output` cannot be written.
    """
    parts = [_described(path, trusted) for path, _ in inputs]
    if not partial:
        _check_shares(parts)
    roots = {part.root for part in parts}
    root = roots.pop() if len(roots) == 1 else None
    with CodesWriter.create(
        output,
        _model(parts),
        root or b"",
        labels=max(part.labels for part in parts),
        embeddings=_embeddings(parts),
        stats=any(part.stats for part in parts),
        share=share,
        origins=origins,
        temporary=temporary,
    ) as writer:
        return _write(writer, inputs, sum(part.rows for part in parts), root is None, all_skipped, on_rows)


@checked
def merge_codes(
    inputs: Sequence[str | Path], output: str | Path, *, partial: bool = False, on_rows: Progress = silent
) -> int:
    """Join codes files of one model into one, in order; return the number of rows.

    A row that occurs more than once is kept once. Paths become absolute if the files are of different folders.

    Args:
        inputs: one codes file or more.
        output: codes file to write; may be one of the inputs.
        partial: join shares although some are missing.
        on_rows: called with the number of rows read so far, and the total.

    Raises CodesError if an input is damaged, the models differ, a path has two codes, only some inputs have
    embeddings, or shares are missing or occur twice; OutputError if `output` is another kind of file; OSError if it
    cannot be written.
    """
    paths = [Path(path) for path in inputs]
    if not paths:
        raise CodesError("no codes files to merge; give one or more")
    masks = _first_occurrences(paths)
    return merge(
        list(zip(paths, masks, strict=True)), Path(output), partial=partial, all_skipped=True, on_rows=on_rows
    )


def _first_occurrences(paths: Sequence[Path]) -> list[NDArray[np.bool_] | None]:
    """Return for every file a mask of the rows whose paths do not occur before, or None if that is all of them.

    Raises CodesError if the models differ, or a path occurs with different codes. Takes 32 bytes of memory per row.
    """
    names, rows, counts, parts = [], [], [], []
    for path in paths:
        with open_codes(path, embeddings=False) as file:
            counts.append(len(file))
            parts.append(_part(path, file))
            for _, block in file.blocks(embeddings=False):
                full = [os.path.normpath(name) for name in block.records.full_paths()]
                names.append(keys.array(map(keys.path_key, full)))
                rows.append(
                    keys.array(
                        keys.row_key(name, code.tobytes(), ()) for name, code in zip(full, block.packed, strict=True)
                    )
                )
    _model(parts)
    every = np.concatenate([np.empty(0, keys.DTYPE), *names])
    _, first, inverse = np.unique(every, return_index=True, return_inverse=True)
    if len(first) == len(every):
        return [None] * len(paths)
    contents = np.concatenate(rows)
    other = contents != contents[first][inverse]
    if other.any():
        row = int(other.argmax())
        raise CodesError(f"{_name(paths, counts, row)}: has two different codes; encode again, or leave out one file")
    kept = np.zeros(len(every), np.bool_)
    kept[first] = True
    masks = np.split(kept, np.cumsum(counts)[:-1])
    return [None if mask.all() else mask for mask in masks]


def _name(paths: Sequence[Path], counts: Sequence[int], row: int) -> str:
    """Return the path of the image at a row of several files, for a message."""
    for path, count in zip(paths, counts, strict=True):
        if row < count:
            with open_codes(path, embeddings=False, trusted=True) as file:
                return display(next(iter(file.read(row, row + 1, embeddings=False).records.full_paths())))
        row -= count
    raise IndexError(row)


def _write(
    writer: CodesWriter,
    inputs: Sequence[tuple[Path, NDArray[np.bool_] | None]],
    total: int,
    absolute: bool,
    all_skipped: bool,
    on_rows: Progress,
) -> int:
    """Write the selected rows of the inputs and what they skipped; return the number of rows."""
    count = done = 0
    known: set[bytes] = set()
    for path, mask in inputs:
        with open_codes(path, trusted=True) as file:  # it was opened to be described
            if mask is not None and mask.shape != (len(file),):
                raise ValueError(f"{path}: a mask {mask.shape} for {len(file)} rows")
            for start, block in file.blocks():
                kept = block if mask is None else block.take(mask[start : start + len(block)])
                writer.extend(_absolute(kept) if absolute else kept)
                count += len(kept)
                done += len(block)
                on_rows(done, total)
            for name, reason in file.skipped() if all_skipped or mask is None else ():
                full = os.path.join(file.header.root, name)
                if not all_skipped or full not in known:
                    writer.skip(full if absolute else name, reason)
                    known.add(full)
    return count


@dataclass(frozen=True)
class _Part:
    """The properties of an input that must be known before the first row is written."""

    path: Path
    rows: int
    model: ModelRef
    root: bytes
    labels: int
    embeddings: int
    stats: bool
    share: str


def _described(path: Path, trusted: bool) -> _Part:
    with open_codes(path, trusted=trusted) as file:
        return _part(path, file)


def _part(path: Path, file: CodesFile) -> _Part:
    said = file.header
    return _Part(path, len(file), said.model, said.root, file.labels, file.embeddings, file.stats, said.share)


def _check_shares(parts: Sequence[_Part]) -> None:
    """Raise CodesError unless the parts contain each share of their source exactly once."""
    held: dict[tuple[bytes, int], dict[int, Path]] = {}
    for part in parts:
        if part.share:
            number, shares = map(int, part.share.split("/"))
            others = held.setdefault((part.root, shares), {})
            if number in others:
                raise CodesError(f"{others[number]} and {part.path} are both share {part.share}; leave one out")
            others[number] = part.path
    for (_, shares), found in held.items():
        missing = [str(number) for number in range(shares) if number not in found]
        if missing:
            which = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
            raise CodesError(
                f"{len(missing)} of {shares} shares are missing ({which}): encode them, "
                "or join without: --partial (partial=True)"
            )


def _model(parts: Sequence[_Part]) -> ModelRef:
    """Return the model of all parts, with its preprocessing if at least one of them records it."""
    first, model = parts[0], parts[0].model
    for part in parts[1:]:
        other = part.model
        if (other.digest, other.bits) != (model.digest, model.bits):
            if advice := cutting(model, other):
                raise CodesError(f"{first.path} has {model.bits} bits, {part.path} {other.bits}: {advice}")
            advice = mixing(model, other) or "encode both with one model"
            raise CodesError(
                f"{first.path} was made by {described(model)}, {part.path} by {described(other)}: {advice}"
            )
        if model.preprocessing and other.preprocessing and model.preprocessing != other.preprocessing:
            raise CodesError(
                f"{first.path} and {part.path}: their images were prepared in different ways; encode one again"
            )
        model = replace(model, preprocessing=model.preprocessing or other.preprocessing)
    return model


def _embeddings(parts: Sequence[_Part]) -> int:
    """Return the dimension of the embeddings of all parts; 0 without embeddings."""
    first = parts[0]
    for part in parts[1:]:
        if part.embeddings != first.embeddings:
            raise CodesError(
                f"{first.path} has embeddings of {first.embeddings} dimensions, {part.path} of {part.embeddings}: "
                "encode both alike, with or without --embeddings (embeddings=True)"
            )
    return first.embeddings


def _absolute(rows: Codes) -> Codes:
    """Return rows with absolute paths."""
    root = rows.records.root
    paths = StringTable.of([os.path.join(root, path) for path in rows.records.paths])
    return replace(rows, records=replace(rows.records, paths=paths, root=b""))
