"""The training suite agrees with `th eval` on the same hashers."""

import pytest

from transhash import evaluate, load_hasher
from transhash.datasets import protocols
from transhash.report.records import Run, TableRow, read

pytestmark = pytest.mark.slow

CONFIG = """
protocol = "tiny"
bits = [8]
encode = []
options = ["--backbone", "test_vit", "--image-size", "32", "--patch-size", "8", "--groups", "1", "--epochs", "2",
    "--batch-size", "6", "--validation", "0"]
[rows]
CSQ = [["--loss", "csq"]]
soup = [["--seed", "1"], ["--seed", "2", "--crop", "0.9"]]
"""
TINY = protocols.Protocol("tiny", 3, 12, 9, 3, 5, "three images of a class are searched", "rest")


@pytest.fixture
def arguments(monkeypatch, pictures, tmp_path):
    monkeypatch.setitem(protocols.PROTOCOLS, "tiny", TINY)
    protocols.write(protocols.draw(TINY, pictures), tmp_path / "lists", TINY, 0)
    (tmp_path / "own.toml").write_text(CONFIG)
    return ["training", pictures, tmp_path / "lists", "--config", tmp_path / "own.toml", "-o", tmp_path / "r.jsonl"]


@pytest.mark.usefixtures("th_here")
def test_rows_are_those_of_th_eval_and_made_once(invoke, arguments, tmp_path):
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    run, *rows = read(tmp_path / "r.jsonl")
    assert isinstance(run, Run)
    assert [(row.method, row.params["bits"]) for row in rows] == [("CSQ", 8), ("soup", 8)]
    assert {row.dataset for row in rows} == {f"tiny, split {protocols.check(TINY, tmp_path / 'lists').identity}"}
    work = tmp_path / "r.jsonl.work" / run.id
    for place, row in enumerate(rows):
        made = work / f"8 bits, {place}, seed 0"
        metrics = evaluate(made / "database.h5", made / "query.h5", at=5).metrics
        assert row.values["mAP@5"].value == pytest.approx(metrics["mAP@5"], abs=1e-12)
        assert row.values["P@1"].value == pytest.approx(metrics["P@1"], abs=1e-6)
    soup = load_hasher(work / "8 bits, 1, seed 0" / "soup.safetensors")
    assert [member["training"]["config"]["seed"] for member in soup.training["soup"]] == [1, 2]
    assert load_hasher(work / "8 bits, 0, seed 0" / "0.safetensors").training["config"]["loss"] == "csq"

    whole = (tmp_path / "r.jsonl").read_bytes()
    hashers = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")}
    assert len(hashers) == 4
    (tmp_path / "r.jsonl").write_bytes(whole[: whole.rindex(b'{"record"')])  # interrupted before the last row
    (work / "8 bits, 1, seed 0" / "database.h5").unlink()
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "r.jsonl").read_bytes() == whole
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")} == hashers


@pytest.mark.usefixtures("th_here")
def test_digits_without_images(invoke, tmp_path):
    (tmp_path / "own.toml").write_text("bits = [8]\nseeds = [0, 1]\n[rows]\nOrthoHash = [['--epochs', '1']]\n")
    done = invoke("training", "--small", "--config", tmp_path / "own.toml", "-o", tmp_path / "r.jsonl")
    assert done.exit_code == 0, done.output
    rows = [record for record in read(tmp_path / "r.jsonl") if isinstance(record, TableRow)]
    (row,) = rows
    assert (row.dataset, row.params) == ("digits", {"bits": 8})
    found = row.values["mAP@all"]
    assert found.low < found.value < found.high
    assert found.low > 0.11  # 0.1 by chance


def test_what_cannot_be_trained_is_one_line(invoke, arguments, tmp_path):
    (tmp_path / "own.toml").write_text(CONFIG.replace("csq", "none"))
    done = invoke(*arguments)
    assert (done.exit_code, done.stderr.splitlines()[-1]) == (1, "Error: th train: exit code 2")
    (tmp_path / "lists" / "train.txt").unlink()
    done = invoke(*arguments)
    assert done.exit_code == 1
    assert "train.txt" in done.stderr.splitlines()[-1]
    done = invoke(*arguments[:2])
    assert "give IMAGES and LISTS, or neither" in done.stderr
