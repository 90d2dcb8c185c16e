"""`th index tune`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options, render

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from transhash.index.index import Index


@click.command()
@click.argument("folder", metavar="INDEX", type=options.Index("a server takes --nprobe of th query"))
@click.option(
    "--recall",
    type=options.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of the true neighbours that searches shall find.",
)
@click.option("-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many neighbours.")
@click.option(
    "--queries",
    type=options.EXISTING_FILE,
    help="Codes file with queries [default: a sample of what is in the INDEX, some bits flipped].",
)
@click.option("--sample", type=click.IntRange(8, 100_000), default=256, show_default=True, help="How many queries.")
@options.JSON
def tune(folder: Path, recall: float, k: int, queries: Path | None, sample: int, as_json: bool) -> None:
    """Find how thoroughly an INDEX must search for a recall, and make its searches do so.

    \b
    Examples:
        th index tune photos.index
        th index tune photos.index --recall 0.99 -k 100 --queries queries.h5

    Searches of an approximate type are compared with exact ones: a match counts if it is as near as the k-th
    neighbour. The cheapest setting that gives the recall is stored in the INDEX; th query can still be told another.
    """
    from transhash.index import tuning
    from transhash.index.index import Index

    with Index.edit(folder) as index:
        found = tuning.tune(index.backend, _queries(index, queries, sample), recall, k)
        index.backend.tune(found.chosen.value)
    name, chosen = found.parameter.name, found.chosen
    if as_json:
        trials = [asdict(trial) for trial in found.trials]
        render.document({"k": k, "parameter": name, "chosen": asdict(chosen), "trials": trials})
        return
    render.table(
        (name, "recall", "ms per query", ""),
        [
            (one.value, f"{one.recall:.4f}", f"{1000 * one.seconds:.3f}", "chosen" if one == chosen else "")
            for one in found.trials
        ],
    )
    render.note(f"{folder}: searches take {name}={chosen.value} now, unless they say otherwise")


def _queries(index: "Index", file: Path | None, count: int) -> "NDArray[np.uint8]":
    """Return the first codes of a file, or a sample of what is indexed."""
    from transhash.codes import read_codes
    from transhash.codes.models import check_same_model
    from transhash.errors import BackendError, MismatchError
    from transhash.index import tuning

    if file is None:
        try:
            return tuning.sample(index.backend, count)
        except BackendError as error:
            raise BackendError(f"{error}; or pass --queries FILE") from None
    codes = read_codes(file)
    check_same_model(codes.model, index.model, "queries", "index")
    if not len(codes):
        raise MismatchError(f"{file}: holds no codes to search for")
    return codes.packed[:count]
