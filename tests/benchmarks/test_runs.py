"""Results files: they go on where they were cut, and mix nothing."""

import json

import pytest

from benchmarks import config, machine
from benchmarks.runs import Results
from benchmarks.search import Search
from transhash.errors import ResultsError
from transhash.report.records import Measurement, Run, Skipped, TableRow, read


def row(results, dataset, method, value=1.0):
    return TableRow(results.run.id, "Search", dataset, method, "peer", {}, {"ms per query": Measurement(value)})


def opened(path, **settings):
    return Results.open(path, "search", "Search", settings)


def test_a_run_goes_on_in_the_same_file(tmp_path):
    path = tmp_path / "search.jsonl"
    first = opened(path, seed=0)
    first.write([row(first, "a", "one"), Skipped(first.run.id, "a", "two", "not installed")])
    second = opened(path, seed=0)
    assert second.run.id == first.run.id
    assert second.has("a", ["one", "two"])
    assert not second.has("b", ["one"])
    assert [type(record) for record in read(path)] == [Run, TableRow, Skipped]


@pytest.mark.parametrize("left", [0.3, 0.6, 0.9])
def test_a_file_cut_anywhere_loses_only_what_was_not_whole(tmp_path, left):
    path = tmp_path / "search.jsonl"
    results = opened(path, seed=0)
    results.write([row(results, "a", "one"), row(results, "a", "two")])
    whole = path.read_bytes()
    results.write([row(results, "b", "one"), row(results, "b", "two")])
    added = path.read_bytes()[len(whole) :]
    path.write_bytes(whole + added[: int(left * len(added))])
    again = opened(path, seed=0)
    assert again.has("a", ["one", "two"])
    assert not again.has("b", ["one", "two"])  # half of a comparison is none: it is measured again
    again.write([row(again, "b", "one", 2.0), row(again, "b", "two", 2.0)])
    rows = [(record.dataset, record.method, record.values["ms per query"].value) for record in list(read(path))[1:]]
    assert rows == [("a", "one", 1.0), ("a", "two", 1.0), ("b", "one", 2.0), ("b", "two", 2.0)]


def test_other_settings_are_a_run_of_their_own(tmp_path):
    path = tmp_path / "search.jsonl"
    first = opened(path, seed=0)
    first.write([row(first, "a", "one")])
    other = opened(path, seed=1)
    assert not other.has("a", ["one"])
    other.write([row(other, "a", "one")])
    assert first.has("a", ["one"])
    assert len({record.run for record in read(path) if isinstance(record, TableRow)}) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("commit", "another"),
        ("versions", {**machine.versions(), "numpy": "1.0"}),
        ("machine", {**machine.machine(), "cores": 99}),
    ],
)
def test_rows_of_other_source_versions_or_machines_are_not_mixed(tmp_path, monkeypatch, name, value):
    path = tmp_path / "search.jsonl"
    opened(path, seed=0)
    before = path.read_bytes()
    monkeypatch.setattr(machine, name, lambda: value)
    with pytest.raises(ResultsError, match=r"search.jsonl.*choose another file"):
        opened(path, seed=0)
    assert path.read_bytes() == before


def test_what_runs_is_told(tmp_path):
    path = tmp_path / "search.jsonl"
    opened(path, seed=0)
    run = json.loads(path.read_text())
    assert {"cpu", "cores", "memory_gib", "gpu", "system"} == run["machine"].keys()
    assert {"python", "numpy", "torch", "scan"} < run["versions"].keys()
    assert run["settings"] == {"seed": 0}
    assert run["command"].startswith("python -m benchmarks")


def test_a_config_lies_over_the_small_one_and_that_over_the_default(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("queries = 7\n")
    chosen = config.load(Search, "search", True, own)
    assert (chosen.queries, chosen.counts, chosen.k) == (7, [10_000], 10)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("querys = 7", "no setting querys; available: singles"),
        ("queries = true", "queries = True: expected int"),
        ('counts = ["a"]', "expected list"),
        ("queries = ", "cannot be read as TOML"),
    ],
)
def test_a_config_that_is_wrong_says_where(tmp_path, text, message):
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(ResultsError, match=message) as caught:
        config.load(Search, "search", False, own)
    assert str(own) in str(caught.value)
