"""A report as one self-contained HTML page, in which nothing from a results file can run.

All text from a results file is escaped. The page's content security policy (CSP) allows only the scripts of this
package, by digest, and forbids loading anything.
"""

import base64
import hashlib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files as resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import ResultsError
from . import figures, output
from .accuracy import accuracies
from .records import Record
from .sections import Section, gather
from .summary import ReportSummary, summarize
from .tables import tables

_START = b"<!doctype html>\n<!-- a report of TransHash -->\n"


def write_html(path: str | Path, records: Iterable[Record], title: str = "") -> None:
    """Draw records as an HTML page, written atomically. Needs the extra ``report``.

    Raises OutputError if `path` exists and is not an earlier report, ResultsError if a library is missing.
    """
    check_replaceable(Path(path))
    output.write(Path(path), html(gather(records), title), _START)


def check_replaceable(path: Path) -> None:
    """Raise OutputError if `path` exists and is not an earlier report, ResultsError if a library is missing."""
    output.check(path, _START)
    _libraries()


def html(sections: Sequence[Section], title: str = "") -> bytes:
    """Return the HTML page of runs, those on copies or accuracy first.

    Raises ResultsError if a library is missing.
    """
    _libraries()
    from markupsafe import Markup

    from .plots import plots

    sections = sorted(sections, key=lambda section: section.run.suite != "copies" and not accuracies(section))
    parts: list[dict[str, Any]] = [
        {**vars(section), "plots": plots(section), "tables": tables(section)} for section in sections
    ]
    charts = any(part["plots"] for part in parts)
    scripts = [*([library()] if charts else []), script("page.js")]
    summary = summarize(sections)
    text = (
        environment()
        .get_template("page.html")
        .render(
            allowed=allowed(scripts),
            title=title or _title(summary, sections),
            summary=summary,
            parts=parts,
            charts=charts,
            library=Markup(scripts[0]),
            script=scripts[-1],
            better=figures.better,
            digits=figures.number,
            label=figures.label,
            listed=_listed,
            span=figures.span,
            spelled=figures.spelled,
        )
    )
    return text.encode("utf-8", "backslashreplace")


def environment() -> Any:
    """Return the Jinja environment for the templates of this package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    jinja = Environment(
        loader=PackageLoader("transhash.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    jinja.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return jinja


def allowed(scripts: Sequence[str]) -> Any:
    """Return the CSP sources that allow exactly these scripts, as markup."""
    from markupsafe import Markup

    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    return Markup(" ".join(f"'sha256-{digest}'" for digest in digests))


def script(name: str) -> Any:
    """Return a script of this package, as markup."""
    from markupsafe import Markup

    return Markup((resources(__package__) / "templates" / name).read_text(encoding="utf-8"))


@cache
def library() -> str:
    """Return Vega, Vega-Lite and Vega-Embed, which draw the plots, as one script."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _libraries() -> None:
    for name in ("altair", "jinja2", "vl_convert"):
        if find_spec(name) is None:
            raise ResultsError(f"reports need {name}; install it with: pip install 'transhash[report]'")


def _title(summary: ReportSummary, sections: Sequence[Section]) -> str:
    if summary.buys:
        return "What hash codes buy, and what they cost"
    return sections[0].run.title if sections else "No results"


def _listed(values: dict[str, Any]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_formatted(value)}" for name, value in values.items())


def _formatted(value: Any) -> str:
    if isinstance(value, list):
        return f"({', '.join(map(_formatted, value))})"
    if isinstance(value, dict):
        return f"({_listed(value)})"
    return "none" if value in (None, "") else str(value)
