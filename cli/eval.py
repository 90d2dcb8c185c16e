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
    help="Ties in mAP: expected over all their orders, or in the order of the database, as public hashing code does.",
)
@click.option("--curves", type=options.Output(), help="Also write precision-recall curves as CSV.")
@click.option(
    "--report",
    "page",
    type=options.Output(),
    help="Also write a page of HTML: curves, bits, examples, and the files' embeddings beside their codes.",
)
@click.option("--images", type=options.EXISTING_FOLDER, help="Where the images lie that --report shows.")
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
    Example:
        th eval codes.h5 --queries queries.h5 --at 1000
        th eval codes.h5 --queries queries.h5 --report report.html --images photos/

    mAP@R with its band, P@N, recall@N and precision within 2 bits, as means over the queries; then how well the
    database uses its bits. Where distances tie, the figures are the exact expectation over all orders; the band is
    what the worst and the best order would give.
    """
    from transhash.report.evaluate import evaluate as run

    if images and not page:
        raise click.UsageError("--images is for --report: say where to write it")
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
        render.line(f"{found.queries_without_label} of the queries have no label: they count as 0")
    if found.queries_in_database:
        render.line(f"{found.queries_in_database} of the queries are in the database themselves")
    render.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in found.metrics.items()])
    render.line()
    _bits_table(found.diagnostics)


def _bits_table(bits: "BitDiagnostics") -> None:
    rows = [
        ("share of ones in a bit", f"{bits.balance.min():.4f} to {bits.balance.max():.4f}"),
        ("entropy of a bit, mean", f"{bits.mean_entropy:.4f}"),
        ("constant bits", f"{bits.constant_bits}"),
        ("correlation of two bits, mean", f"{bits.mean_correlation:.4f}"),
        ("correlation of two bits, max", f"{bits.max_correlation:.4f}"),
        ("distinct codes", f"{bits.distinct_codes}"),
        ("share of codes that are not alone", f"{bits.collisions:.4f}"),
        ("largest group of equal codes", f"{bits.largest_bucket}"),
    ]
    render.table(("bits of the database", "value"), rows)
