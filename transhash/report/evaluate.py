"""Evaluate retrieval with codes: figures, curves as CSV, and a report as HTML."""

import shlex
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from .. import evaluation
from ..codes import Codes, read_codes
from ..errors import MismatchError
from ..evaluation import BitDiagnostics
from ..evaluation.curves import depths_to, is_curves_file, radius_curve, ranking_curve, write_curves
from ..system import files
from ..system.arguments import checked
from ..system.progress import Progress, silent
from . import evaluated, page

CodesSource = Codes | str | PathLike[str]


@dataclass(frozen=True, eq=False, repr=False)
class Evaluation:
    """The figures of an evaluation.

    Attributes:
        metrics: by name, as means over the queries: ``mAP@R`` with its band ``mAP@R worst`` and ``mAP@R best``,
            ``P@N``, ``recall@N``, ``P@H<=2`` and ``empty@H<=2``; see `transhash.evaluation.measure`.
        diagnostics: how well the database uses its bits.
        queries: number of queries.
        queries_id: digest of their paths and labels, which identifies the split.
        queries_without_label: how many have no label; they count as 0.
        queries_in_database: how many queries are also in the database.
        database: number of codes in the database.
        database_id: digest of its paths and labels.
        bits: width of a code.
        rule: how ties in mAP are treated, ``expected`` or ``legacy``.
    """

    metrics: dict[str, float]
    diagnostics: BitDiagnostics
    queries: int
    queries_id: str
    queries_without_label: int
    queries_in_database: int
    database: int
    database_id: str
    bits: int
    rule: str

    def __repr__(self) -> str:
        """Show the sizes and the mAP."""
        name, value = next(iter(self.metrics.items()))
        return f"Evaluation({name}={value:.4f}, queries={self.queries}, database={self.database}, bits={self.bits})"

    @property
    def ties(self) -> str:
        """Description of the tie rule."""
        return evaluation.TIE_RULES[self.rule]

    def document(self) -> dict[str, Any]:
        """Return everything as JSON values, as ``th eval --json`` prints it."""
        about = {name: value for name, value in vars(self).items() if name not in ("metrics", "diagnostics")}
        bits = asdict(self.diagnostics) | {"balance": self.diagnostics.balance.tolist()}
        return {**about, "ties": self.ties, "metrics": self.metrics, "bits_report": bits}


@checked
def evaluate(
    database: CodesSource,
    queries: CodesSource,
    *,
    at: int | None = None,
    rule: str = "expected",
    curves: str | PathLike[str] | None = None,
    report: str | PathLike[str] | None = None,
    images: str | PathLike[str] | None = None,
    progress: Progress = silent,
) -> Evaluation:
    """Search every query in a database, compare labels, and return the figures.

    An image is relevant if it shares a label with the query. Where distances tie, the figures are exact expectations
    over all orders.

    Args:
        database: `Codes` with labels, or a codes file.
        queries: the same, encoded with the same model.
        at: R of mAP@R; the whole database if None.
        rule: ``expected``, or ``legacy``: for mAP, ties stay in the order of the database, as in most published code.
        curves: also write precision-recall curves to this CSV file.
        report: also write a report to this HTML file (needs the extra ``report``): curves, bits, examples, and a
            comparison with the embeddings if both sides have them.
        images: folder of the images that the report shows; without it, the report shows their names.
        progress: called with the number of queries ranked by embeddings so far, and the total.

    Raises MismatchError if the codes are from different models, a side is empty or has no labels, or an argument is
    out of range; CodesError if a file is damaged; OutputError if an output exists and is another kind of file;
    ResultsError if the extra ``report`` is not installed. Outputs are checked before anything is computed.
    """
    if images is not None and report is None:
        raise MismatchError("images= needs report=")
    if curves is not None:
        files.check_replaceable(Path(curves), is_curves_file, "a file of curves")
    if report is not None:
        page.check_replaceable(Path(report))
    stored, query_codes = (_codes(side, embeddings=report is not None) for side in (database, queries))
    result = Evaluation(
        metrics=evaluation.measure(query_codes, stored, at, rule),
        diagnostics=evaluation.diagnose(stored.packed),
        queries=len(query_codes),
        queries_id=evaluation.identity(query_codes.records),
        queries_without_label=evaluation.without_label(query_codes.records),
        queries_in_database=evaluation.shared_rows(query_codes.records, stored.records),
        database=len(stored),
        database_id=evaluation.identity(stored.records),
        bits=stored.model.bits,
        rule=rule,
    )
    if curves is not None:
        levels = evaluation.hamming_levels(query_codes, stored)
        write_curves(Path(curves), [ranking_curve(levels, depths_to(len(stored))), radius_curve(levels)])
    if report is not None:
        command = _command(database, queries, at, rule, images, report)
        folder = None if images is None else Path(images)
        page.write_html(
            Path(report), list(evaluated.records(query_codes, stored, command, at, rule, folder, progress))
        )
    return result


def _codes(source: CodesSource, embeddings: bool) -> Codes:
    if isinstance(source, Codes):
        return source
    return read_codes(Path(source), embeddings=embeddings)


def _command(
    database: CodesSource,
    queries: CodesSource,
    at: int | None,
    rule: str,
    images: str | PathLike[str] | None,
    report: str | PathLike[str],
) -> str:
    """Return the command that reproduces the report; for codes in memory, the Python call."""
    if isinstance(database, Codes) or isinstance(queries, Codes):
        return "transhash.evaluate(...)"
    options = {"--queries": queries, "--at": at, "--rule": rule if rule != "expected" else None, "--images": images}
    words = [str(word) for name, value in options.items() if value is not None for word in (name, value)]
    return shlex.join(["th", "eval", str(database), *words, "--report", str(report)])
