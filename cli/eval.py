"""`th eval`."""

from pathlib import Path

import click

from . import options, render


@click.command("eval")
@click.argument("codes", type=options.EXISTING_FILE)
@click.option("--queries", type=options.EXISTING_FILE, required=True, help="Codes file of the queries.")
@click.option("--at", type=click.IntRange(min=1), help="R of mAP@R [default: the whole database].")
@options.JSON
def evaluate(codes: Path, queries: Path, at: int | None, as_json: bool) -> None:
    """Measure retrieval: search every query in the CODES file, and compare labels.

    \b
    Example:
        th eval codes.h5 --queries queries.h5 --at 1000

    mAP@R, P@N, recall@N and precision within 2 bits, as means over the queries. Where distances tie, the figures are
    the exact expectation over all orders.
    """
    from transhash.codes import read_codes
    from transhash.evaluation import TIE_RULE
    from transhash.evaluation import evaluate as measure

    asked, database = read_codes(queries), read_codes(codes)
    metrics = measure(asked, database, at)
    if as_json:
        about = {
            "queries": len(asked),
            "database": len(database),
            "bits": database.model.bits,
            "ties": TIE_RULE,
        }
        render.document({**about, "metrics": metrics})
        return
    render.line(f"{len(asked)} queries, {len(database)} codes of {database.model.bits} bits, ties: {TIE_RULE}")
    render.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in metrics.items()])
