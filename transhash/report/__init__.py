"""Reports: results files, and the pages and tables that are drawn from them.

One call writes a page (HTML), Markdown or CSV:

    report.write_html("report.html", report.read("results.jsonl"))

`evaluated.records` makes the same records from codes. HTML needs the extra ``report``.
"""

from .page import write_html
from .records import append, read
from .text import write_csv, write_markdown

__all__ = ["append", "read", "write_csv", "write_html", "write_markdown"]
