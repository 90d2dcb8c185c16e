import csv
import json
import os
from types import SimpleNamespace

import numpy as np
import pytest

import transhash
from cli import running
from transhash import TransHashError, read_codes
from transhash.codes import Codes, ModelRef, Records, write_codes
from transhash.evaluation import diagnose, identity, measure

METRICS = ["mAP@all", "P@1", "P@10", "recall@1", "recall@10", "P@H<=2", "empty@H<=2"]


@pytest.fixture
def th(monkeypatch, capsys):
    """Run `th` in this process, which imports its libraries only once."""

    def here(*arguments, cwd, code=0):
        monkeypatch.chdir(cwd)
        ended = running.run([str(word) for word in arguments])
        stdout, stderr = capsys.readouterr()
        assert ended == code, stderr
        return SimpleNamespace(stdout=stdout, stderr=stderr)

    return here


@pytest.fixture
def split(tmp_path):
    """60 codes of 16 bits in two classes, and 9 queries: 2 without a label, 3 that are in the database."""
    rng = np.random.default_rng(0)
    codes, labels = rng.integers(0, 8, (60, 2), dtype=np.uint8), rng.integers(0, 2, 60).astype(np.int32)
    asked = np.append(labels[:7], [-1, -1]).astype(np.int32)
    model = ModelRef("m", "d", 16)
    paths = [f"{row}.png".encode() for row in range(60)]
    own = paths[:3] + [b"q" + path for path in paths[:6]]
    write_codes(tmp_path / "c.h5", Codes(codes, Records(paths, b"/photos", labels, ("cat", "dog")), model))
    write_codes(tmp_path / "q.h5", Codes(codes[:9], Records(own, b"/photos", asked, ("cat", "dog")), model))
    return tmp_path


@pytest.mark.parametrize("rule", ["expected", "legacy"])
def test_json(th, split, rule):
    done = th("eval", "c.h5", "--queries", "q.h5", "--rule", rule, "--json", cwd=split)
    document = json.loads(done.stdout)
    queries, database = read_codes(split / "q.h5"), read_codes(split / "c.h5")
    assert document["metrics"] == measure(queries, database, rule=rule)
    band = ["mAP@all worst", "mAP@all best"] if rule == "expected" else []
    assert list(document["metrics"]) == METRICS[:1] + band + METRICS[1:]
    assert document["rule"] == rule
    assert ("order of the database" in document["ties"]) == (rule == "legacy")
    assert (document["queries"], document["database"], document["bits"]) == (9, 60, 16)
    assert (document["queries_without_label"], document["queries_in_database"]) == (2, 3)
    assert (document["queries_id"], document["database_id"]) == (
        identity(queries.records),
        identity(database.records),
    )
    report, bits = document["bits_report"], diagnose(database.packed)
    assert report.pop("balance") == bits.balance.tolist()
    assert report.items() <= vars(bits).items()
    assert len(report) == 7


def test_from_python(split):
    """One call with codes or files does all that the command does."""
    database, queries = read_codes(split / "c.h5"), read_codes(split / "q.h5")
    found = transhash.evaluate(database, queries, at=20)
    assert found.metrics == measure(queries, database, 20)
    assert repr(found) == f"Evaluation(mAP@20={found.metrics['mAP@20']:.4f}, queries=9, database=60, bits=16)"
    same = transhash.evaluate(split / "c.h5", str(split / "q.h5"), at=20, curves=split / "curves.csv")
    assert same.document() == found.document()
    assert (split / "curves.csv").read_text().startswith("curve,at,precision,recall\n")
    with pytest.raises(TransHashError, match="images= needs report="):
        transhash.evaluate(database, queries, images=split)
    with pytest.raises(TypeError, match="not list"):
        transhash.evaluate(database, [1, 2])


def test_text(th, split):
    done = th("eval", "c.h5", "--queries", "q.h5", "--at", 20, cwd=split)
    lines = done.stdout.splitlines()
    queries, database = read_codes(split / "q.h5"), read_codes(split / "c.h5")
    assert lines[0].startswith(
        f"9 queries (id {identity(queries.records)}), 60 codes (id {identity(database.records)})"
    )
    assert lines[1] == "2 queries have no label and count as 0"
    assert lines[2] == "3 queries are also in the database"
    blank = lines.index("")
    shown = [line.rsplit(maxsplit=1) for line in lines[4:blank]]
    expected = measure(queries, database, 20)
    assert shown == [[name, f"{value:.4f}"] for name, value in expected.items()]
    assert lines[blank + 1].startswith("bits of the database")
    bits = diagnose(database.packed)
    assert any(line.split() == ["distinct", "codes", str(bits.distinct_codes)] for line in lines[blank:])
    legacy = th("eval", "c.h5", "--queries", "q.h5", "--rule", "legacy", cwd=split).stdout
    assert "mAP in the order of the database" in legacy.splitlines()[0]
    assert "worst" not in legacy


def test_notes_only_if_needed(th, split):
    queries = read_codes(split / "q.h5")
    records = Records([b"other"] * 7, b"/photos", queries.records.labels[:7], queries.records.label_names)
    write_codes(split / "new.h5", Codes(queries.packed[:7], records, queries.model))
    done = th("eval", "c.h5", "--queries", "new.h5", cwd=split)
    assert "of the queries" not in done.stdout
    assert done.stdout.splitlines()[1].split() == ["metric", "value"]


def test_curves(th, split):
    for _ in range(2):  # the second time over the first file
        done = th("eval", "c.h5", "--queries", "q.h5", "--curves", "curves.csv", "--json", cwd=split)
    assert done.stderr == "wrote curves.csv\n"
    metrics = json.loads(done.stdout)["metrics"]
    with (split / "curves.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["curve", "at", "precision", "recall"]
    curves = {(row["curve"], int(row["at"])): (float(row["precision"]), float(row["recall"])) for row in rows}
    assert len(curves) == len(rows)
    assert [at for name, at in curves if name == "ranking"] == [*range(1, 10), *range(10, 61, 10)]
    assert [at for name, at in curves if name == "radius"] == list(range(17))
    for depth in (1, 10):
        precision, recall = curves["ranking", depth]
        assert precision == pytest.approx(metrics[f"P@{depth}"])
        assert recall == pytest.approx(metrics[f"recall@{depth}"])
    assert curves["radius", 2][0] == pytest.approx(metrics["P@H<=2"])
    assert curves["ranking", 60] == pytest.approx(curves["radius", 16])


def test_curves_overwrite_only_curves(th, split):
    (split / "notes.csv").write_text("curve,at\n1,2\n")
    (split / "folder").mkdir()
    for name in ("notes.csv", "c.h5", "folder"):
        before = (split / name).read_bytes() if name != "folder" else b""
        done = th("eval", "c.h5", "--queries", "q.h5", "--curves", name, cwd=split, code=1)
        assert done.stderr.count("\n") == 1
        assert f"{name}: exists and is not a file of curves" in done.stderr
        assert done.stdout == ""
        assert name == "folder" or (split / name).read_bytes() == before
    assert sorted(os.listdir(split)) == ["c.h5", "folder", "notes.csv", "q.h5"]


def test_no_labels_at_all(th, split):
    queries = read_codes(split / "q.h5")
    records = Records([b"x"] * 9, b"", np.full(9, -1, np.int32), ("cat",))
    write_codes(split / "bare.h5", Codes(queries.packed, records, queries.model))
    done = th("eval", "c.h5", "--queries", "bare.h5", cwd=split, code=1)
    assert done.stderr == "Error: none of the 9 queries has a label, so nothing is relevant to them\n"
