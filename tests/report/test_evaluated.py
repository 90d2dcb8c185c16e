"""An evaluation as records, and the command that renders it."""

import base64
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from transhash.codes import Codes, ModelRef, Records, write_codes
from transhash.evaluation import hamming_levels, measure
from transhash.evaluation.average_precision import average_precision
from transhash.report import append, read
from transhash.report.evaluated import records
from transhash.report.records import Curve, Example, Run, TableRow

COUNT, QUERIES, BITS = 60, 9, 16
MODEL = ModelRef("/folder/hasher.safetensors", "d" * 64, BITS)


def codes(count, first=b"", embeddings=True):
    """Codes and embeddings of two classes that overlap slightly; every third image is a cat."""
    rng = np.random.default_rng(len(first))
    labels = (np.arange(count) % 3 == 0).astype(np.int32)
    packed = np.where(labels[:, None] == 0, 0, 255).astype(np.uint8) ^ rng.integers(0, 32, (count, 2), dtype=np.uint8)
    vectors = rng.standard_normal((count, 8)) + 2 * labels[:, None]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    paths = [b"%s%d.png" % (first, row) for row in range(count)]
    floats = vectors.astype(np.float16) if embeddings else None
    return Codes(packed, Records(paths, b"/photos", labels, ("dog", "cat")), MODEL, (), floats)


@pytest.fixture
def split(tmp_path):
    write_codes(tmp_path / "c.h5", codes(COUNT))
    write_codes(tmp_path / "q.h5", codes(QUERIES, b"q"))
    (tmp_path / "photos").mkdir()
    for row in range(COUNT):
        Image.new("RGB", (40, 30), (row, 100, 100)).save(tmp_path / "photos" / f"{row}.png")
    return tmp_path


def of(kind, found):
    return [record for record in found if isinstance(record, kind)]


def test_metrics_and_curves_are_those_of_the_evaluation(tmp_path):
    asked, stored = codes(QUERIES, b"q"), codes(COUNT)
    found = list(records(asked, stored, "th eval", at=20))
    append(tmp_path / "r.jsonl", found)
    assert list(read(tmp_path / "r.jsonl")) == found
    (run,) = of(Run, found)
    assert (run.suite, run.title) == ("eval", "hasher.safetensors: 9 queries among 60 images")
    assert run.settings["model"] == "hasher.safetensors"
    ours, floats, bits = of(TableRow, found)
    metrics = measure(asked, stored, 20)
    values = {name: figure.value for name, figure in ours.values.items()}
    assert values.pop("bytes per image") == 2
    assert values == {name: value for name, value in metrics.items() if not name.endswith(("worst", "best"))}
    assert ours.values["mAP@20"].low == metrics["mAP@20 worst"]
    assert ours.values["mAP@20"].high == metrics["mAP@20 best"]
    assert floats.values["bytes per image"].value == 16
    assert floats.values["mAP@20"].value > 0.8
    assert bits.values["distinct codes"].value == len(np.unique(stored.packed, axis=0))
    for curve in of(Curve, found):
        if curve.plot == "Precision of the first N":
            row = ours if curve.family == "codes" else floats
            assert dict(curve.points)[10] == pytest.approx(row.values["P@10"].value)
        if curve.plot == "Distances":
            assert sum(y for _, y in curve.points) == pytest.approx(1)
        if curve.x == "bit":
            assert len(curve.points) == BITS


def test_examples_are_the_best_the_middle_and_the_worst():
    asked, stored = codes(QUERIES, b"q"), codes(COUNT)
    precisions = average_precision(hamming_levels(asked, stored))
    examples = of(Example, records(asked, stored, "th eval"))
    shown = [int(example.query.name.strip("q.png")) for example in examples]
    assert precisions[shown].tolist() == [precisions.max(), np.sort(precisions)[4], precisions.min()]
    for example, query in zip(examples, shown, strict=True):
        distances = [int(match.caption) for match in example.matches]
        assert distances == sorted(distances)
        assert len(distances) == 10
        labels = [int(match.name.removesuffix(".png")) % 3 == 0 for match in example.matches]
        assert [match.right for match in example.matches] == [label == (query % 3 == 0) for label in labels]


def test_without_embeddings_without_matching_labels():
    asked, stored = codes(QUERIES, b"q", embeddings=False), codes(COUNT)
    assert [row.family for row in of(TableRow, records(asked, stored, "th eval"))] == ["codes", "codes"]
    asked.records.labels[:] = 0
    stored.records.labels[:] = 1
    assert not of(Example, records(asked, stored, "th eval"))


def test_only_images_of_the_folder_are_shown(split):
    outside = split / "private.png"
    Image.new("RGB", (40, 30), "red").save(outside)
    stored = codes(COUNT)
    asked = codes(QUERIES, b"q")
    paths = [b"../private.png", bytes(outside), b"x/../../private.png", b"no\xff.png", b"."]
    asked = asked.take(slice(0, 5))
    asked = Codes(asked.packed, Records(paths, b"", asked.records.labels, ("dog", "cat")), MODEL)
    (split / "photos" / "0.png").write_bytes(b"no picture")
    found = of(Example, records(asked, stored, "th eval", folder=split / "photos"))
    assert not [example for example in found if example.query.image]
    matches = {match.name: match.image for example in found for match in example.matches}
    assert not matches.pop("0.png", "")
    for name, encoded in matches.items():
        image = Image.open(io.BytesIO(base64.b64decode(encoded)))
        assert image.size == (96, 96)
        assert abs(image.getpixel((48, 48))[0] - int(name.removesuffix(".png"))) < 8


@pytest.mark.slow
def test_the_command_writes_a_report(th, split):
    done = th("eval", "c.h5", "--queries", "q.h5", "--at", 20, "--images", "photos", "--report", "r.html", cwd=split)
    assert done.stderr.splitlines()[-1] == "wrote r.html"
    assert done.stdout == th("eval", "c.h5", "--queries", "q.h5", "--at", 20, cwd=split).stdout
    text = (split / "r.html").read_text(encoding="utf-8")
    assert "th eval c.h5 --queries q.h5 --at 20 --images photos --report r.html" in text
    assert text.count("data:image/jpeg") > 20
    metrics = measure(codes(QUERIES, b"q"), codes(COUNT), 20)
    assert f"{metrics['mAP@20']:.4f}" in text
    assert "float embedding" in text


def test_the_command_overwrites_only_reports(th, split):
    (split / "notes.html").write_text("<!doctype html>\n")
    done = th("eval", "c.h5", "--queries", "q.h5", "--report", "notes.html", cwd=split, code=1)
    assert done.stderr == "Error: notes.html: exists and is not a report; choose another output\n"
    assert done.stdout == ""
    assert (split / "notes.html").read_text() == "<!doctype html>\n"
    done = th("eval", "c.h5", "--queries", "q.h5", "--images", "photos", cwd=split, code=2)
    assert done.stderr.startswith("Error: --images requires --report")


@pytest.mark.slow
@given(st.integers(1, 5), st.integers(1, 12), st.sampled_from([1, 2, 32]), st.booleans(), st.integers(0, 9))
def test_few_codes(queries, count, size, several, seed):
    """Codes of any length, with one label, several or none."""
    rng = np.random.default_rng(seed)

    def some(number):
        labels = rng.integers(-1, 2, (number, 2) if several else number).astype(np.int32)
        labels = -np.sort(-labels) if several else labels
        labels.flat[0] = 0
        names = Records([b"%d" % row for row in range(number)], b"", labels, ("dog", "cat"))
        packed = rng.integers(0, 4, (number, size), dtype=np.uint8)
        return Codes(packed, names, ModelRef("m", "d", 8 * size), (), rng.random((number, 3)).astype(np.float16))

    found = list(records(some(queries), some(count), "th eval"))
    figures = [figure.value for row in of(TableRow, found) for figure in row.values.values()]
    figures += [value for curve in of(Curve, found) for point in curve.points for value in point]
    assert np.isfinite(figures).all()
    assert of(Example, found)
    assert all(len(example.matches) == min(10, count) for example in of(Example, found))
