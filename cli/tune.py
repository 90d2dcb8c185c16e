"""`th index tune`."""

from dataclasses import asdict
from pathlib import Path

import click

from . import options, render


@click.command()
@click.argument("folder", metavar="INDEX", type=options.Index("a server takes --nprobe of th query"))
@click.option(
    "--recall",
    type=options.FloatRange(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Share of the true neighbours to find.",
)
@click.option("-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How many neighbours.")
@click.option(
    "--queries",
    type=options.EXISTING_FILE,
    help="Codes file with queries [default: a sample of what is in the INDEX, a few bits flipped].",
)
@click.option("--sample", type=click.IntRange(8, 100_000), default=256, show_default=True, help="How many queries.")
@options.JSON
def tune(folder: Path, recall: float, k: int, queries: Path | None, sample: int, as_json: bool) -> None:
    """Find the cheapest search parameter of an INDEX that reaches a recall, and make it the default.

    \b
    Examples:
        th index tune photos.index
        th index tune photos.index --recall 0.99 -k 100 --queries queries.h5

    Searches of an approximate type are compared with exact ones: a match counts if it is as near as the k-th
    neighbour. The cheapest setting that gives the recall is stored in the INDEX; th query can still be told another.
    """
    import transhash

    found = transhash.tune(folder, recall, k, queries=queries, sample=sample)
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
    render.note(f"{folder}: searches use {name}={chosen.value} by default now")
