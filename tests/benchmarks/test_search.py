"""The search suite: real indexes in real processes; figures against numpy."""

import numpy as np
import pytest

from benchmarks.collection import Clustered, write
from benchmarks.search import Truth
from benchmarks.worker import Failed, Worker
from transhash.report.records import Curve, Run, Skipped, TableRow, read

CONFIG = """
counts = [300, 700]
bits = [32]
dim = 16
queries = 20
singles = 4
k = 5
repeats = 2
build_threads = 1
methods = ["TransHash flat", "TransHash ivf", "float Flat", "Milvus BIN_FLAT", "float HNSW"]
largest = {"float HNSW" = 1}
"""
METHODS = {"TransHash flat", "TransHash ivf", "float Flat"}


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "own.toml"
    path.write_text(CONFIG)
    return path


@pytest.fixture(scope="module")
def results(config, benchmarks, elsewhere):
    benchmarks("search", "--config", config, "-o", "new/search.jsonl")
    return elsewhere / "new" / "search.jsonl"


def rows(path):
    return {(row.dataset, row.method): row for row in read(path) if isinstance(row, TableRow)}


def test_every_method_has_a_row_or_a_reason_on_every_collection(results):
    (run,) = [record for record in read(results) if isinstance(record, Run)]
    assert (run.suite, run.settings["threads"], run.settings["seed"]) == ("search", 1, 0)
    datasets = [f"clustered, {count} codes of 32 bits" for count in (300, 700)]
    assert rows(results).keys() == {(dataset, method) for dataset in datasets for method in METHODS}
    skipped = {(one.dataset, one.method): one.reason for one in read(results) if isinstance(one, Skipped)}
    assert skipped.keys() == {(name, method) for name in datasets for method in ("Milvus BIN_FLAT", "float HNSW")}
    assert "not built above 1 rows" in skipped[datasets[0], "float HNSW"]
    assert not results.with_name("search.jsonl.work").exists()


def test_a_row_says_what_was_found_and_what_it_took(results):
    for (dataset, method), row in rows(results).items():
        values = {name: figure.value for name, figure in row.values.items()}
        assert row.family == ("float" if method.startswith("float") else "codes")
        assert values["recall@5 by distance"] >= (1 if "lat" in method else 0.95)
        assert 0 < values["ms per query"] <= values["ms per query p95"] <= values["ms per query p99"]
        count = int(dataset.split()[1])
        size = {"TransHash flat": 4, "TransHash ivf": 12, "float Flat": 64}[method]
        assert values["bytes per image on disk"] == pytest.approx(size, abs=1000 / count)
        assert values["MiB to search"] > 20
        if method == "float Flat":
            assert values["recall@5 of the floats"] == 1


def test_curves_rise_with_the_search_parameter(results):
    curves = [one for one in read(results) if isinstance(one, Curve) and one.method == "TransHash ivf"]
    assert {one.plot for one in curves} == {
        f"Speed against recall, {how}" for how in ("one query at a time", "in a batch")
    }
    for curve in curves:
        recalls = [x for x, _ in curve.points]
        assert recalls == sorted(recalls)
        assert recalls[-1] >= 0.95
        assert len(curve.params["nprobe"].split(", ")) == len(recalls)


def test_nothing_is_measured_twice(results, config, benchmarks):
    before = results.read_bytes()
    done = benchmarks("search", "--config", config, "-o", results)
    assert results.read_bytes() == before
    assert done.stderr.count("measured before") == 2


def test_a_run_that_was_killed_goes_on(results, config, begin, benchmarks, tmp_path):
    path = tmp_path / "search.jsonl"
    process = begin("search", "--config", config, "-o", path)
    for line in process.stderr:
        if "300 codes" not in line and "700 codes" in line and "building TransHash ivf" in line:
            break
    process.kill()
    process.wait()
    half = path.read_bytes()
    assert len(rows(path)) == len(METHODS)
    done = benchmarks("search", "--config", config, "-o", path)
    assert path.read_bytes().startswith(half)
    assert rows(path).keys() == rows(results).keys()
    assert "building TransHash flat" not in done.stderr  # that was whole when it was killed


def test_recall_is_that_of_numpy(tmp_path):
    made = write(tmp_path / "c", Clustered(8, 16, 30, seed=0), 200, vectors=True)
    truth = Truth(made, 5, vectors=True)
    rng = np.random.default_rng(0)
    ids = rng.permuted(np.tile(np.arange(200), (30, 1)), axis=1)[:, :5]
    ids[0, 3:] = -1
    codes = np.bitwise_count(made.query_codes[:, None] ^ np.asarray(made.codes)).sum(2, dtype=int)
    cosines = made.query_vectors @ np.asarray(made.vectors).T
    near = found = as_near = 0
    for query, own in enumerate(ids.tolist()):
        furthest, least = np.sort(codes[query])[4], np.sort(cosines[query])[-5]
        near += sum(codes[query, row] <= furthest for row in own if row >= 0)
        as_near += sum(cosines[query, row] >= least - 1e-6 for row in own if row >= 0)
        found += len(set(np.argsort(-cosines[query])[:5].tolist()) & set(own))
    assert truth.recall(ids, "codes") == pytest.approx(near / 150)
    assert truth.recall(ids, "vectors") == pytest.approx(as_near / 150)
    assert truth.of_floats(ids) == pytest.approx(found / 150)


@pytest.mark.slow
def test_a_method_that_dies_is_a_reason_not_an_end(tmp_path):
    with Worker("TransHash flat", 1) as worker:
        with pytest.raises(Failed, match="BackendError"):
            worker.ask("load", folder=str(tmp_path), queries="none")
        worker._process.kill()
        worker._process.wait()
        with pytest.raises(Failed, match="its process ended with"):
            worker.ask("peak")


def test_settings_that_are_wrong_are_one_line(invoke, tmp_path):
    own = tmp_path / "own.toml"
    own.write_text('methods = ["TransHash flott"]')
    done = invoke("search", "--config", own, "-o", tmp_path / "r.jsonl")
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: no method 'TransHash flott'; available: ")
    assert not (tmp_path / "r.jsonl").exists()
