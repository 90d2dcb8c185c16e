"""Write results files as HTML, Markdown or CSV, and update the tables in documents."""

from itertools import chain
from pathlib import Path

import click

from benchmarks.documents import redrawn
from transhash import report
from transhash.report.records import Record
from transhash.report.sections import gather
from transhash.system import files

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
OUTPUT = click.Path(dir_okay=False, path_type=Path)


@click.command("report")
@click.argument("results", nargs=-1, required=True, type=FILE)
@click.option("-o", "--output", type=OUTPUT, help="Write an HTML page, as one file.")
@click.option("--markdown", type=OUTPUT, help="Write the tables as Markdown.")
@click.option("--csv", "table", type=OUTPUT, help="Write a CSV file with one row per figure.")
@click.option(
    "--update",
    "documents",
    multiple=True,
    type=FILE,
    help="Update the tables of a document between <!-- results: TABLE --> and <!-- end of results -->.",
)
def command(
    results: tuple[Path, ...],
    output: Path | None,
    markdown: Path | None,
    table: Path | None,
    documents: tuple[Path, ...],
) -> None:
    """Render RESULTS files.

    \b
    Examples:
        python -m benchmarks report accuracy.jsonl search.jsonl -o report.html
        python -m benchmarks report benchmarks/results/*.jsonl --update README.md --update docs/results.md
    """
    if not (output or markdown or table or documents):
        raise click.UsageError("nothing to write: give -o, --markdown, --csv or --update")
    records = list(chain.from_iterable(map(report.read, results)))
    try:
        for path, write in (
            (output, report.write_html),
            (markdown, report.write_markdown),
            (table, report.write_csv),
        ):
            if path:
                write(path, records)
                print(f"wrote {path}")
        for document in documents:
            print(f"{document}: {'updated' if _update(document, records) else 'up to date'}")
    except OSError as error:
        raise click.ClickException(str(error)) from None


def _update(document: Path, records: list[Record]) -> bool:
    """Update the tables of a document; return whether it changed."""
    old = document.read_text(encoding="utf-8")
    new = redrawn(old, gather(records))
    if new != old:
        with files.replacing(document) as temporary:
            temporary.write_text(new, encoding="utf-8", newline="")
    return new != old
