"""Outputs of reports: pages, Markdown, CSV and tables inside documents."""

import csv
import re
import subprocess
import sys
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from benchmarks.documents import names, redrawn
from transhash.errors import OutputError, ResultsError
from transhash.report import append, read, write_csv, write_html, write_markdown
from transhash.report.sections import gather

from .samples import accuracy, hostile, search

REPOSITORY = Path(__file__).parents[2]
WRITERS = (write_html, write_markdown, write_csv)


@pytest.mark.slow
@pytest.mark.parametrize("write", WRITERS)
def test_only_an_earlier_report_is_replaced(tmp_path, write):
    path = tmp_path / "report"
    write(path, accuracy())
    first = path.read_bytes()
    write(path, [*accuracy(), *search()])
    assert len(path.read_bytes()) > len(first)
    for content in (b"", b"notes\n", b"<!doctype html>\n<html>"):
        path.write_bytes(content)
        with pytest.raises(OutputError, match="exists and is not a report; choose another output"):
            write(path, accuracy())
        assert path.read_bytes() == content
    with pytest.raises(OutputError, match="is not a report"):
        write(tmp_path, accuracy())
    assert [entry.name for entry in tmp_path.iterdir()] == ["report"]


@pytest.mark.slow
def test_a_page_is_self_contained(tmp_path):
    write_html(tmp_path / "report.html", [*search(), *accuracy()])
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert len(text) < 1_500_000
    page = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "content=\"default-src 'none'; " in page
    assert text.index("Accuracy</h2>") < text.index("Search</h2>")
    for word in ("no server was given", "python -m benchmarks search", "some cpu", "0.7400", "Best query"):
        assert word in text


@pytest.mark.parametrize("library", ["altair", "jinja2", "vl_convert"])
def test_a_missing_library_is_named(tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(
        ResultsError, match=rf"reports need {library}; install it with: pip install 'transhash\[report\]'"
    ):
        write_html(tmp_path / "report.html", accuracy())
    assert not list(tmp_path.iterdir())


def test_markdown(tmp_path):
    write_markdown(tmp_path / "report.md", [*accuracy(), *search()])
    lines = (tmp_path / "report.md").read_text(encoding="utf-8").splitlines()
    assert "| method | mAP@all | bytes per image |" in lines
    assert "| **TransHash, 64 bits** | **0.7400 (0.7300 to 0.7500)** | **8** |" in lines
    assert "| LSH, 64 bits | 0.1400 | 8 |" in lines
    assert "- Milvus, clustered, 1,000,000: no server was given" in lines
    assert "    python -m benchmarks accuracy" in lines


def test_untrusted_text_is_escaped_in_markdown(tmp_path):
    write_markdown(tmp_path / "report.md", hostile("a|b\n<script>alert(1)</script> [x](javascript:1) `"))
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.replace("\\|", "").count("|") for line in rows}) == 1
    outside = "\n".join(line for line in text.splitlines()[1:] if not line.startswith("    "))
    assert not re.search(r"(?<!\\)[<`\[]", outside)


def test_csv(tmp_path):
    write_csv(tmp_path / "report.csv", [*accuracy(), *search()])
    with (tmp_path / "report.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 5 * 2 + 6 * 5
    (found,) = [row for row in rows if row["params"] == "64 bits" and row["method"] == "TransHash" and row["low"]]
    assert (found["dataset"], found["figure"], float(found["value"])) == ("cifar10", "mAP@all", 0.74)
    assert (float(found["low"]), float(found["high"])) == (0.73, 0.75)


@pytest.mark.parametrize("start", list("=+-@\t\r"))
def test_formulas_are_neutralized(tmp_path, start):
    write_csv(tmp_path / "report.csv", hostile(f"{start}1+1"))
    with (tmp_path / "report.csv").open(newline="", encoding="utf-8") as file:
        cells = list(chain.from_iterable(csv.reader(file)))
    assert f"'{start}1+1" in cells
    assert not [cell for cell in cells if cell.startswith(start)]


def test_tables_of_documents():
    text = "before\n<!-- results: accuracy: mAP@all -->\nold\n<!-- end of results -->\nafter\n"
    drawn = redrawn(text, gather(accuracy()))
    assert drawn.startswith("before\n<!-- results: accuracy: mAP@all -->\n\n| method | mAP@all |\n|---|---:|\n| ")
    assert drawn.endswith("|\n\n<!-- end of results -->\nafter\n")
    assert redrawn(drawn, gather(accuracy())) == drawn
    assert "bytes" not in drawn
    with pytest.raises(ResultsError, match="no table 'speed' in the results; available: accuracy, accuracy/accuracy"):
        redrawn(text.replace(": accuracy:", ": speed:"), gather(accuracy()))
    with pytest.raises(ResultsError, match="no figure 'mAP@7' in accuracy; available: mAP@all, bytes per image"):
        redrawn(text.replace("mAP@all", "mAP@7"), gather(accuracy()))


def test_tables_with_the_same_name_are_distinguished_by_suite():
    other = [replace(accuracy()[0], id="b", suite="public"), replace(accuracy()[1], run="b")]
    text = "<!-- results: accuracy -->\n<!-- end of results -->\n"
    with pytest.raises(ResultsError, match="2 tables 'accuracy' in the results"):
        redrawn(text, gather([*accuracy(), *other]))
    drawn = redrawn(text.replace(": accuracy", ": public/accuracy"), gather([*accuracy(), *other]))
    assert "LSH" not in drawn
    assert "TransHash" in drawn


@pytest.mark.slow
def test_the_command(tmp_path):
    append(tmp_path / "one.jsonl", accuracy())
    append(tmp_path / "two.jsonl", search())
    (tmp_path / "notes.md").write_text("<!-- results: accuracy -->\n<!-- end of results -->\n")
    outputs = ["-o", "r.html", "--markdown", "r.md", "--csv", "r.csv", "--update", "notes.md"]
    command = [sys.executable, "-m", "benchmarks", "report", "one.jsonl", "two.jsonl", *outputs]
    environment = {"PYTHONPATH": str(REPOSITORY), "PATH": ""}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True)
    assert all("Accuracy" in (tmp_path / name).read_text(encoding="utf-8") for name in ("r.html", "r.md"))
    assert "| float embedding | 0.7500 | 1,536 |" in (tmp_path / "notes.md").read_text(encoding="utf-8")
    nowhere = [*command[:6], "-o", "nowhere/r.html"]
    (tmp_path / "bad.jsonl").write_text("{}\n")
    for words, said in (
        ([*command, "bad.jsonl"], "bad.jsonl, line 1: not a record of a results file: "),
        (nowhere, "nowhere: no such folder; create it, or choose another output"),
        (command[:6], "nothing to write: give -o, --markdown, --csv or --update"),
    ):
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode > 0
        assert done.stderr.splitlines()[-1].startswith(f"Error: {said}")
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("document", ["README.md", "docs/results.md"])
def test_documents_say_what_the_results_say(document):
    text = (REPOSITORY / document).read_text(encoding="utf-8")
    assert names(text)
    records = chain.from_iterable(read(path) for path in sorted((REPOSITORY / "benchmarks/results").glob("*.jsonl")))
    said = "python -m benchmarks report benchmarks/results/*.jsonl --update README.md --update docs/results.md"
    assert redrawn(text, gather(records)) == text, f"draw them again: {said}"


def test_every_file_of_results_is_drawn_somewhere():
    drawn = {name for path in ("README.md", "docs/results.md") for name in names((REPOSITORY / path).read_text())}
    for path in sorted((REPOSITORY / "benchmarks" / "results").glob("*.jsonl")):
        known = {f"{one.run.suite}/{row.table}" for one in gather(read(path)) for row in one.rows}
        assert drawn & (known | {name.partition("/")[2] for name in known}), path
