"""Reports: results files, and the pages and tables that are drawn from them.

One line writes a page, or Markdown, or CSV:

    report.write_html("report.html", report.read("results.jsonl"))

What `read` yields can be made from codes, too: `evaluated.records`. A page needs the extra ``report``.
"""

from .page import write_html
from .records import append, read
from .text import write_csv, write_markdown

__all__ = ["append", "read", "write_csv", "write_html", "write_markdown"]
