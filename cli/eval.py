"""`th eval`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from transhash.system.files import display

from . import options, render

if TYPE_CHECKING:
    from transhash.evaluation import BitDiagnostics
    from transhash.report.evaluate import Evaluation


@click.command("eval")
@click.argument("codes", type=options.EXISTING_FILE)
@click.option("--queries", type=options.EXISTING_FILE, required=True, help="Codes file of the queries.")
@click.option("--at", type=click.IntRange(min=1), help="R of mAP@R [default: the whole database].")
@click.option(
    "--rule",
    type=click.Choice(["expected", "legacy"]),
    default="expected",
    show_default=True,
    help="Ties in mAP: expected, the mean over all orders; legacy, the database order, as in public code.",
)
@click.option("--curves", type=options.Output(), help="Also write precision-recall curves as CSV.")
@click.option(
    "--report",
    "page",
    type=options.Output(),
    help="Also write an HTML report: curves, bits, examples, and a comparison with the files' embeddings.",
)
@click.option("--images", type=options.EXISTING_FOLDER, help="Folder of the images that --report shows.")
@options.JSON
def evaluate(
    codes: Path,
    queries: Path,
    at: int | None,
    rule: str,
    curves: Path | None,
    page: Path | None,
    images: Path | None,
    as_json: bool,
) -> None:
    """Measure retrieval: search every query in the CODES file, and compare labels.

    \b
    Examples:
        th eval codes.h5 --queries queries.h5 --at 1000
        th eval codes.h5 --queries queries.h5 --report report.html --images photos/

    mAP@R with its band, P@N, recall@N and precision within 2 bits, as means over the queries; then how well the
    database uses its bits. Where distances tie, the values are exact expectations over all orders; the band gives
    the values for the worst and the best order.
    """
    from transhash.report.evaluate import evaluate as run

    if images and not page:
        raise click.UsageError("--images requires --report FILE")
    with render.rows("queries") as progress:
        found = run(codes, queries, at=at, rule=rule, curves=curves, report=page, images=images, progress=progress)
    if as_json:
        render.document(found.document())
    else:
        _show(found)
    for output in filter(None, (curves, page)):
        render.note(f"wrote {display(output)}")


def _show(found: "Evaluation") -> None:
    render.line(
        f"{found.queries} queries (id {found.queries_id}), {found.database} codes (id {found.database_id}) of "
        f"{found.bits} bits, ties: {found.ties}"
    )
    if found.queries_without_label:
        render.line(f"{found.queries_without_label} queries have no label and count as 0")
    if found.queries_in_database:
        render.line(f"{found.queries_in_database} queries are also in the database")
    render.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in found.metrics.items()])
    render.line()
    _bits_table(found.diagnostics)


def _bits_table(bits: "BitDiagnostics") -> None:
    rows = [
        ("share of ones per bit", f"{bits.balance.min():.4f} to {bits.balance.max():.4f}"),
        ("entropy per bit, mean", f"{bits.mean_entropy:.4f}"),
        ("constant bits", f"{bits.constant_bits}"),
        ("correlation of two bits, mean", f"{bits.mean_correlation:.4f}"),
        ("correlation of two bits, max", f"{bits.max_correlation:.4f}"),
        ("distinct codes", f"{bits.distinct_codes}"),
        ("share of codes that have duplicates", f"{bits.collisions:.4f}"),
        ("largest group of equal codes", f"{bits.largest_bucket}"),
    ]
    render.table(("bits of the database", "value"), rows)
