"""Copy detection: edits, scores against an oracle, data sets, and the command."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import helper
from PIL import Image

from benchmarks.copy_scores import Scores
from benchmarks.copy_sets import find
from tests.hashers import onnx_models
from transhash.datasets.edits import EDITS
from transhash.errors import ResultsError
from transhash.report.records import Example, TableRow, read


def photo(seed: int, size: tuple[int, int] = (90, 64)) -> Image.Image:
    """A smooth picture: like a photo, it survives being scaled."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def save(folder, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        photo(number).save(folder / name)


@pytest.mark.parametrize("name", EDITS)
@pytest.mark.parametrize("size", [(90, 64), (37, 201)])
def test_an_edit_repeats_and_changes_the_image(name, size):
    image, others = photo(0, size), [photo(1), photo(2)]
    before = image.tobytes()
    one, two = (EDITS[name](image, np.random.default_rng(3), others) for _ in range(2))
    assert image.tobytes() == before
    assert (one.mode, one.size, one.tobytes()) == ("RGB", two.size, two.tobytes())
    assert (one.size, one.tobytes()) != (image.size, before)


@given(st.data())
def test_scores_are_those_of_a_sorted_list_of_pairs(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    base = rng.integers(0, 256, (data.draw(st.integers(1, 6)), 1), dtype=np.uint8)
    truth = rng.integers(-1, len(base), data.draw(st.integers(1, 6)))
    queries = rng.integers(0, 256, (len(truth), 1), dtype=np.uint8)
    pairs = [
        (int(np.bitwise_count(query ^ code).sum()), row == own)
        for query, own in zip(queries, truth, strict=True)
        for row, code in enumerate(base)
    ]
    copies = max(1, int((truth >= 0).sum()))
    found, area, clean, at_99 = 0, 0.0, 0, 0
    for distance in range(9):
        here = [right for apart, right in pairs if apart == distance]
        within = [right for apart, right in pairs if apart <= distance]
        found += sum(here)
        precision = sum(within) / len(within) if within else 1.0
        area += sum(here) * precision
        clean = found if all(within) else clean
        at_99 = found if precision >= 0.99 else at_99
    scores = Scores.of(queries, base, truth)
    assert scores.micro_ap == pytest.approx(area / copies)
    assert scores.recall_without_false == pytest.approx(clean / copies)
    assert scores.recall_at_99 == pytest.approx(at_99 / copies)


@pytest.mark.slow
def test_the_command_measures_every_edit_once(invoke, tmp_path):
    save(tmp_path / "photos", *(f"{number:02}.png" for number in range(23)))
    save(tmp_path / "more", "a.png", "b.png")
    words = ["copies", tmp_path / "photos", "--queries", 2, "--distractors", tmp_path / "more", "--model", "phash"]
    done = invoke(*words, "-o", tmp_path / "r.jsonl")
    assert done.exit_code == 0, done.output
    records = list(read(tmp_path / "r.jsonl"))
    rows = [record for record in records if isinstance(record, TableRow)]
    assert {row.dataset for row in rows} == {"5 images, 34 copies"}
    phash = {row.table: row.values for row in rows if row.method == "phash"}
    assert len(phash["Recall at 99 % precision, by edit"]) == len(EDITS)
    assert 0 <= phash["Copies"]["recall without a false pair"].value <= phash["Copies"]["µAP"].value <= 1
    shown = [record for record in records if isinstance(record, Example)]
    assert len(EDITS) <= len(shown) <= 2 * len(EDITS)
    again = invoke(*words, "-o", tmp_path / "r.jsonl")
    assert "measured before" in again.stderr


@pytest.mark.slow
def test_codes_are_fitted_to_an_embedder(invoke, tmp_path):
    """Its embedding is the means of squares of 4 x 4 pixels, 16 x 16 x 3 numbers."""
    save(tmp_path / "photos", *(f"{number:02}.png" for number in range(22)))
    save(tmp_path / "fit", *(f"{number:03}.jpg" for number in range(257)))
    nodes = [
        helper.make_node("AveragePool", ["pixels"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Flatten", ["small"], ["embedding"]),
    ]
    onnx_models.save(tmp_path / "small.onnx", onnx_models.build(nodes, shape=("n", 3, 64, 64)))
    words = ["copies", tmp_path / "photos", "--queries", 2, "--embedder", tmp_path / "small.onnx"]
    done = invoke(*words, "-o", tmp_path / "r.jsonl")
    assert "--embedder needs --fit FOLDER" in done.stderr
    done = invoke(*words, "--fit", tmp_path / "fit", "-o", tmp_path / "r.jsonl")
    assert done.exit_code == 0, done.output
    rows = [record for record in read(tmp_path / "r.jsonl") if isinstance(record, TableRow)]
    found = {row.method: row.values["bytes per image"].value for row in rows if row.table == "Copies"}
    assert found.items() >= {f"small.onnx, {bits} bits": bits / 8 for bits in (64, 128, 256)}.items()
    assert "measured before" in invoke(*words, "--fit", tmp_path / "fit", "-o", tmp_path / "r.jsonl").stderr


def test_too_few_photos_are_one_line(invoke, tmp_path):
    save(tmp_path / "photos", "a.png")
    done = invoke("copies", tmp_path / "photos", "-o", tmp_path / "r.jsonl")
    assert done.exit_code == 1
    assert "has 1 of the 120 photos needed, 100 to copy and 20 for collages; give a folder with more" in done.stderr
    save(tmp_path / "photos", *(f"{number}.png" for number in range(22)))
    done = invoke("copies", tmp_path / "photos", "-o", tmp_path / "r.jsonl")
    assert "has 23 of the 120 photos needed" in done.stderr
    assert "choose --queries 3 or fewer, or give a folder with more photos" in done.stderr


def test_disc21_asks_queries_without_an_original_too(tmp_path):
    save(tmp_path / "references", "R000000.jpg", "R000001.jpg")
    save(tmp_path / "queries", "Q00000.jpg", "Q00001.jpg")
    (tmp_path / "public_ground_truth.csv").write_text("query_id,reference_id\nQ00001,R000001\nQ00000,\n")
    known = find(tmp_path, 100, None, 0)
    (copies,) = known.copies()
    assert [path.name for path in copies.images] == ["Q00000.jpg", "Q00001.jpg"]
    assert copies.originals.tolist() == [-1, 1]
    (tmp_path / "public_ground_truth.csv").write_text("query_id,reference_id\nQ00001,R000009\n")
    with pytest.raises(ResultsError, match="R000009 is not in"):
        find(tmp_path, 100, None, 0)


def test_copydays_belong_to_the_original_of_their_block(tmp_path):
    save(tmp_path / "original", "200000.jpg", "200100.jpg")
    save(tmp_path, "strong/200101.jpg", "jpeg/75/200000.jpg", "jpeg/75/200100.jpg")
    known = find(tmp_path, 100, None, 0)
    assert {copies.edit: copies.originals.tolist() for copies in known.copies()} == {"strong": [1], "jpeg/75": [0, 1]}
    save(tmp_path, "strong/209901.jpg")
    with pytest.raises(ResultsError, match="no original 209900"):
        list(known.copies())
