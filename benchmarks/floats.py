"""Accuracy of the float embeddings in two codes files: what their codes are compared with."""

from pathlib import Path

import click
import numpy as np

from transhash.codes import read_codes
from transhash.evaluation import score_levels
from transhash.evaluation.average_precision import average_precision

_QUERIES = 100  # whose scores are in memory at a time


@click.command("floats")
@click.argument("database", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("queries", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def command(database: Path, queries: Path) -> None:
    """mAP over the whole database by cosine, for files of th encode --embeddings with one label an image."""
    stored, asked = read_codes(database, embeddings=True), read_codes(queries, embeddings=True)
    if stored.embeddings is None or asked.embeddings is None:
        raise click.UsageError("no embeddings in these files; encode with --embeddings")
    names = {name: place for place, name in enumerate(stored.records.label_names)}
    labels, wanted = (
        np.array([names.get(codes.records.names(row)[0], -1) for row in range(len(codes))], dtype=np.int32)
        for codes in (stored, asked)
    )
    vectors = stored.embeddings.astype(np.float32)
    found = [
        average_precision(
            score_levels(
                asked.embeddings[start : start + _QUERIES].astype(np.float32) @ vectors.T,
                wanted[start : start + _QUERIES],
                labels,
            )
        )
        for start in range(0, len(asked), _QUERIES)
    ]
    print(f"mAP@{len(stored)} by cosine, {vectors.shape[1]} numbers: {np.concatenate(found).mean():.4f}")
