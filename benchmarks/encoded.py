"""Read the user's codes files, with embeddings, of a database and its queries."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from transhash.codes import Codes, StringTable, read_codes
from transhash.codes.models import check_same_model
from transhash.errors import MismatchError


@dataclass(frozen=True, eq=False)
class EncodedSet:
    """A codes file in memory.

    Attributes:
        name: file name of the model, without folder and suffix.
        digest: first twelve digits of the model's digest.
        file: contents of the codes file.
        codes: (n, bits/8) uint8.
        embeddings: (n, d) float32.
    """

    name: str
    digest: str
    file: Codes
    codes: NDArray[np.uint8]
    embeddings: NDArray[np.float32]


def read_pair(database: Path, queries: Path) -> tuple[EncodedSet, EncodedSet]:
    """Read the codes and embeddings of a database and of its queries.

    Raises MismatchError if a file has no embeddings or no rows, or if the files are of different models.
    """
    stored, searched = _read(database), _read(queries)
    check_same_model(searched.file.model, stored.file.model, f"{queries}", f"{database}")
    return stored, searched


def shuffled(encoded: EncodedSet, seed: int) -> EncodedSet:
    """Return the rows in random order, without the sizes and modification times of their images."""
    order = np.random.default_rng(seed).permutation(len(encoded.codes))
    file, paths = encoded.file, list(encoded.file.records.full_paths())
    records = replace(
        file.records,
        paths=StringTable.of([paths[row] for row in order]),
        root=b"",
        labels=None if file.records.labels is None else file.records.labels[order],
        sizes=None,
        mtimes=None,
    )
    assert file.embeddings is not None
    mixed = replace(file, packed=file.packed[order], embeddings=file.embeddings[order], records=records)
    return replace(encoded, file=mixed, codes=mixed.packed, embeddings=encoded.embeddings[order])


def _read(path: Path) -> EncodedSet:
    file = read_codes(path, embeddings=True)
    if file.embeddings is None or not len(file):
        raise MismatchError(f"{path}: no embeddings, or no rows; encode with --embeddings")
    return EncodedSet(
        Path(file.model.name).stem, file.model.digest[:12], file, file.packed, file.embeddings.astype(np.float32)
    )
