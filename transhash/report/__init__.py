"""Reports: results files, and the pages and tables that are drawn from them.

from transhash import report

report.write_html("report.html", report.read("results.jsonl"))   # also write_markdown, write_csv
"""

from .page import write_html
from .records import append, read
from .text import write_csv, write_markdown

__all__ = ["append", "read", "write_csv", "write_html", "write_markdown"]
