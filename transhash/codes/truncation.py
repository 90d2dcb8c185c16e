"""Shorter codes out of nested ones (``th train --nested``): the first bits of each.

The reference of a model says when its codes were cut: the digest ends in a slash and the number of bits that are
left. So codes of different lengths are not taken for codes of one model.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import CodesError
from ..system.progress import Progress, silent
from .reader import open_codes
from .records import Codes, ModelRef
from .writer import CodesWriter


def truncate(codes: Codes, bits: int, *, force: bool = False) -> Codes:
    """Return codes with the first `bits` bits of each, and all else that belongs to them.

    Args:
        codes: of a hasher that was trained for this length, too.
        bits: a multiple of 8, at most the bits that the codes have.
        force: cut codes of any model: their bits are then in no particular order.

    Raises CodesError if the model was not trained for this length.
    """
    model = truncated_model(codes.model, bits, force=force)
    return replace(codes, packed=np.ascontiguousarray(codes.packed[:, : bits // 8]), model=model)


def truncate_codes(
    path: str | Path, bits: int, output: str | Path, *, force: bool = False, on_rows: Progress = silent
) -> int:
    """Write a codes file with the first `bits` bits of the codes in another, in memory that does not grow with them.

    Args:
        path: codes file.
        bits: as `truncate`.
        output: codes file to write; may be the same. It appears when it is complete.
        force: as `truncate`.
        on_rows: called with the number of rows done, and that of all.

    Returns the number of rows.

    Raises CodesError if the model was not trained for this length, the file is damaged, or something other than a
    codes file stands at `output`; OSError if it cannot be written.
    """
    with open_codes(path) as file:
        header = file.header
        model = truncated_model(header.model, bits, force=force)
        with CodesWriter.create(
            Path(output),
            model,
            header.root,
            labels=file.labels,
            embeddings=file.embeddings,
            stats=file.stats,
            share=header.share,
            origins=header.origins,
        ) as writer:
            for start, block in file.blocks():
                writer.extend(truncate(block, bits, force=force))
                on_rows(start + len(block), len(file))
            for skipped, reason in file.skipped():
                writer.skip(skipped, reason)
        return len(file)


def truncated_model(model: ModelRef, bits: int, *, force: bool = False) -> ModelRef:
    """Return the reference of a model whose codes are cut to `bits`. Raises CodesError as `truncate` does."""
    if bits == model.bits:
        return model
    if bits % 8 or not 8 <= bits < model.bits:
        raise CodesError(f"{bits} bits: must be a multiple of 8, from 8 to the {model.bits} of {model.name}")
    lengths = nested_lengths(model)
    if bits not in lengths and not force:
        shorter = ", ".join(str(length) for length in lengths if length < model.bits)
        trained = f"trained for {shorter} and {model.bits}" if shorter else f"trained for {model.bits} only"
        raise CodesError(
            f"{bits} bits: {model.name} was {trained}; train with --nested {bits}, or cut all the same: --force"
        )
    return replace(model, digest=f"{_whole(model)}/{bits}", bits=bits)


def nested_lengths(model: ModelRef) -> Sequence[int]:
    """Return the lengths that a model was trained for, ascending; empty if it is not one of nested codes."""
    try:
        lengths = json.loads(model.preprocessing)["nested"]
        return sorted(int(length) for length in lengths)
    except (ValueError, LookupError, TypeError):
        return ()


def fitting(codes: Codes, model: ModelRef) -> Codes:
    """Return codes cut to the length of `model` if its codes are theirs, cut; else as they are."""
    return truncate(codes, model.bits, force=True) if is_prefix(model, codes.model) else codes


def is_prefix(model: ModelRef, longer: ModelRef) -> bool:
    """Return whether codes of `model` are those of the model `longer`, cut."""
    return model.bits < longer.bits and model.digest == f"{_whole(longer)}/{model.bits}"


def _whole(model: ModelRef) -> str:
    """Return the digest of the model whose codes were cut, or of the model itself."""
    return model.digest.partition("/")[0]
