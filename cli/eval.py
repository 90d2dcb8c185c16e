"""`th eval`."""

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from . import options, render

if TYPE_CHECKING:
    from transhash.codes import Codes
    from transhash.evaluation import BitDiagnostics


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
    from transhash import evaluation
    from transhash.codes import read_codes

    if curves:
        _check_replaceable(curves)
    if page:
        from transhash.report.page import check_replaceable

        check_replaceable(page)
    elif images:
        raise click.UsageError("--images is for --report: say where to write it")
    asked, database = (read_codes(path, embeddings=page is not None) for path in (queries, codes))
    metrics = evaluation.evaluate(asked, database, at, rule)
    bits = evaluation.diagnose(database.packed)
    about = {
        "queries": len(asked),
        "queries_id": evaluation.identity(asked.records),
        "queries_without_label": evaluation.without_label(asked.records),
        "queries_in_database": evaluation.shared_rows(asked.records, database.records),
        "database": len(database),
        "database_id": evaluation.identity(database.records),
        "bits": database.model.bits,
        "rule": rule,
        "ties": evaluation.TIE_RULES[rule],
    }
    if curves:
        from transhash.evaluation.curves import depths_to, radius_curve, ranking_curve, write_curves

        levels = evaluation.hamming_levels(asked, database)
        write_curves(curves, [ranking_curve(levels, depths_to(len(database))), radius_curve(levels)])
    if as_json:
        render.document(
            {**about, "metrics": metrics, "bits_report": asdict(bits) | {"balance": bits.balance.tolist()}}
        )
    else:
        render.line(
            "{queries} queries (id {queries_id}), {database} codes (id {database_id}) of {bits} bits, "
            "ties: {ties}".format(**about)
        )
        if about["queries_without_label"]:
            render.line(f"{about['queries_without_label']} of the queries have no label: they count as 0")
        if about["queries_in_database"]:
            render.line(f"{about['queries_in_database']} of the queries are in the database themselves")
        render.table(("metric", "value"), [(name, f"{value:.4f}") for name, value in metrics.items()])
        render.line()
        _bits_table(bits)
    if curves:
        render.note(f"wrote {curves}")
    if page:
        _write_report(page, asked, database, at, rule, images, _spell(codes, queries, at, rule, images, page))
        render.note(f"wrote {page}")


def _write_report(
    page: Path, queries: "Codes", database: "Codes", at: int | None, rule: str, images: Path | None, command: str
) -> None:
    from transhash.report import evaluated, write_html

    with render.rows("queries") as progress:
        records = list(evaluated.records(queries, database, command, at, rule, images, progress))
    write_html(page, records)


def _spell(codes: Path, queries: Path, at: int | None, rule: str, images: Path | None, page: Path) -> str:
    """Spell the command that repeats a report."""
    given = {"--queries": queries, "--at": at, "--rule": rule if rule != "expected" else None, "--images": images}
    words = [str(word) for name, value in given.items() if value is not None for word in (name, value)]
    return shlex.join(["th", "eval", str(codes), *words, "--report", str(page)])


def _check_replaceable(output: Path) -> None:
    from transhash import files
    from transhash.evaluation.curves import is_curves_file

    files.check_replaceable(output, is_curves_file, "a file of curves")


def _bits_table(bits: "BitDiagnostics") -> None:
    rows = [
        ("ones in a bit", f"{bits.balance.min():.4f} to {bits.balance.max():.4f}"),
        ("entropy of a bit, mean", f"{bits.mean_entropy:.4f}"),
        ("constant bits", f"{bits.constant_bits}"),
        ("correlation of two bits, mean", f"{bits.mean_correlation:.4f}"),
        ("correlation of two bits, max", f"{bits.max_correlation:.4f}"),
        ("distinct codes", f"{bits.distinct_codes}"),
        ("share of codes that are not alone", f"{bits.collisions:.4f}"),
        ("largest group of equal codes", f"{bits.largest_bucket}"),
    ]
    render.table(("bits of the database", "value"), rows)
