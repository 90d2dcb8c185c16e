"""`th index tune`."""

from dataclasses import asdict
from pathlib import Path

import click

from . import options, render


@click.command()
@click.argument("folder", metavar="INDEX", type=options.Index("on a server, pass --nprobe to th query instead"))
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
    help="Codes file with queries [default: a sample of the codes in the INDEX with a few bits flipped].",
)
@click.option("--sample", type=click.IntRange(8, 100_000), default=256, show_default=True, help="How many queries.")
@options.JSON
def tune(folder: Path, recall: float, k: int, queries: Path | None, sample: int, as_json: bool) -> None:
    """Find the lowest value of an INDEX's search parameter that reaches a recall, and make it the default.

    \b
    Examples:
        th index tune photos.index
        th index tune photos.index --recall 0.99 -k 100 --queries queries.h5

    Approximate searches are compared with exact ones: a match counts if it is as near as the k-th true neighbour. The
    lowest value that reaches the recall is stored in the INDEX; options of th query override it.
    """
    import transhash

    tuning = transhash.tune(folder, recall, k, queries=queries, sample=sample)
    name, chosen = tuning.parameter.name, tuning.chosen
    if as_json:
        trials = [asdict(trial) for trial in tuning.trials]
        render.document({"k": k, "parameter": name, "chosen": asdict(chosen), "trials": trials})
        return
    render.table(
        (name, "recall", "ms per query", ""),
        [
            (trial.value, f"{trial.recall:.4f}", f"{1000 * trial.seconds:.3f}", "chosen" if trial == chosen else "")
            for trial in tuning.trials
        ],
    )
    render.note(f"{folder}: searches now use {name}={chosen.value} by default")
