"""The encoding suite."""

import pytest
from PIL import Image

from transhash.report.records import TableRow, read

CONFIG = 'images = 6\nbackbone = "test_vit"\nimage_size = 32\nrepeats = 2\nthreads = 1\n'


@pytest.mark.slow
def test_every_way_to_encode_has_a_rate(invoke, tmp_path):
    for name in ("a.jpg", "b.JPEG"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        Image.new("RGB", (60, 40), "red").save(tmp_path / "photos" / name, "JPEG")
    (tmp_path / "own.toml").write_text(CONFIG)
    done = invoke("encode", tmp_path / "photos", "--config", tmp_path / "own.toml", "-o", tmp_path / "r.jsonl")
    assert done.exit_code == 0, done.output
    rows = {row.method: row for row in read(tmp_path / "r.jsonl") if isinstance(row, TableRow)}
    assert {row.dataset for row in rows.values()} == {"6 images of 2 files"}
    assert len(rows) == 4  # with --fast
    alone = rows["model alone, images in memory"].values
    assert alone["ratio to the model alone"].value == pytest.approx(1)
    for row in rows.values():
        rate = row.values["images/s"]
        assert 0 < rate.low <= rate.value <= rate.high


def test_a_folder_without_photos_is_one_line(invoke, tmp_path):
    done = invoke("encode", tmp_path, "-o", tmp_path / "r.jsonl")
    assert done.exit_code == 1
    assert done.stderr == f"Error: {tmp_path}: no JPEG files\n"


@pytest.mark.slow
def test_every_decoder_has_a_rate(invoke, tmp_path):
    for name in ("a.jpg", "b.JPEG"):
        Image.new("RGB", (60, 40), "red").save(tmp_path / name, "JPEG")
    done = invoke("decode", tmp_path, "--side", "16", "--rounds", "1")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("2 photos, 16 pixels")
    assert {"Pillow", "TransHash's decoder"} <= {
        line.split(" | ")[0].strip("| ") for line in done.output.splitlines()
    }
