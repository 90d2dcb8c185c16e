"""Truncate nested codes (``th train --nested``) to their first bits.

The model of truncated codes has a digest that ends in a slash and the number of bits, so that codes of different
lengths are not mistaken for codes of one model.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..errors import CodesError, OutputError
from ..system.arguments import checked
from ..system.files import display
from ..system.progress import Progress, silent
from .reader import open_codes
from .records import Codes, ModelRef
from .writer import CodesWriter


@checked
def truncate(codes: Codes, bits: int, *, force: bool = False) -> Codes:
    """Return codes with only the first `bits` bits of each, and unchanged records.

    Args:
        codes: codes of a hasher that was also trained for this length.
        bits: number of bits to keep, a multiple of 8.
        force: truncate codes of any model, even though their bits are in no particular order.

    Raises CodesError if the model was not trained for this length.
    """
    model = truncated_model(codes.model, bits, force=force)
    return replace(codes, packed=np.ascontiguousarray(codes.packed[:, : bits // 8]), model=model)


@checked
def truncate_codes(
    path: str | Path, bits: int, output: str | Path, *, force: bool = False, on_rows: Progress = silent
) -> int:
    """Write a codes file with the first `bits` bits of the codes in another, in constant memory.

    Args:
        path: the codes file to truncate.
        bits: as `truncate`.
        output: codes file to write, another one. It appears when it is complete.
        force: as `truncate`.
        on_rows: called with the number of rows done, and that of all.

    Returns the number of rows.

    Raises CodesError if the model was not trained for this length, the file is damaged, or something other than a
    codes file exists at `output`; OutputError if `output` is the file itself, whose longer codes would be lost;
    OSError if it cannot be written.
    """
    with open_codes(path) as file:
        if os.path.exists(output) and os.path.samefile(path, output):
            raise OutputError(
                f"{display(output)}: the file to truncate; choose another name, to keep the longer codes"
            )
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
    """Return the reference of a model whose codes are truncated to `bits`. Raises CodesError as `truncate` does."""
    if bits == model.bits:
        return model
    if bits % 8 or not 8 <= bits < model.bits:
        raise CodesError(f"{bits} bits: must be a multiple of 8, from 8 to the {model.bits} of {model.name}")
    lengths = nested_lengths(model)
    if bits not in lengths and not force:
        shorter = ", ".join(str(length) for length in lengths if length < model.bits)
        trained = f"trained for {shorter} and {model.bits}" if shorter else f"trained for {model.bits} only"
        raise CodesError(
            f"{bits} bits: {model.name} was {trained}; train with --nested {bits}, "
            "or truncate anyway with --force (force=True)"
        )
    return replace(model, digest=f"{_whole(model)}/{bits}", bits=bits)


def nested_lengths(model: ModelRef) -> Sequence[int]:
    """Return the lengths that a model was trained for, ascending; empty if its codes are not nested."""
    try:
        lengths = json.loads(model.preprocessing)["nested"]
        return sorted(int(length) for length in lengths)
    except (ValueError, LookupError, TypeError):
        return ()


def fitting(codes: Codes, model: ModelRef) -> Codes:
    """Return codes truncated to the length of `model` if they come from the same hasher; otherwise unchanged."""
    return truncate(codes, model.bits, force=True) if is_prefix(model, codes.model) else codes


def is_prefix(model: ModelRef, longer: ModelRef) -> bool:
    """Return whether codes of `model` are truncated codes of the model `longer`."""
    return model.bits < longer.bits and model.digest == f"{_whole(longer)}/{model.bits}"


def cutting(one: ModelRef, other: ModelRef) -> str:
    """Return how to make codes of two lengths of one hasher comparable; empty for other codes."""
    if one.bits == other.bits or _whole(one) != _whole(other):
        return ""
    return f"cut both to {min(one.bits, other.bits)} bits (transhash.truncate, th codes truncate)"


def _whole(model: ModelRef) -> str:
    """Return the digest of a model without the suffix for truncated codes."""
    return model.digest.partition("/")[0]
