"""Options and inputs that a benchmark cannot use: one line, before anything is measured."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transhash.demo import photographs

PHOTOS = {"arithmetic", "decode"}  # commands that take a folder
NEEDS = {"arithmetic": "onnxruntime", "gpu": "faiss", "serve": "starlette"}

BAD_OPTIONS = [
    *((name, "--rounds", 0) for name in ("arithmetic", "decode", "scan", "exact", "ivf", "dedup", "busy", "cold")),
    *((name, "--rounds", 0) for name in ("gpu", "serve")),
    *((name, "-n", 0) for name in ("scan", "exact", "ivf", "dedup", "edits", "gpu", "memory", "search", "types")),
    *(
        (name, "--bits", bits)
        for name in ("scan", "exact", "ivf", "dedup", "edits", "gpu", "types", "databases")
        for bits in (7, 12, 0, 1032)
    ),
    *((name, "-k", 0) for name in ("scan", "exact", "ivf", "gpu")),
    *((name, "--radius", radius) for name in ("exact", "dedup") for radius in (-1, 2000)),
    ("arithmetic", "--batch", 0),
    ("arithmetic", "--images", 0),
    ("decode", "--side", 0),
    ("dedup", "--fewer", 0),
    ("exact", "--singles", 0),
    ("ivf", "--nlist", 0),
    ("ivf", "--nprobe", 0),
    ("scan", "--threads", 0),
    ("databases", "--rows", 0),
    ("serve", "--codes", 0),
]

BAD_TOGETHER = [
    (("scan", "-n", 20, "-k", 21), "-k 21: more than the 20 codes of -n"),
    (("exact", "-n", 1, "-n", 20, "-k", 2), "-k 2: more than the 1 code of -n"),
    (("edits", "-n", 100), "--changed 1000: more than the 100 rows of -n"),
    (("edits", "-n", 5000, "-n", 20, "--changed", 21, "--type", "mih"), "--changed 21: more than the 20 rows of -n"),
    (("edits", "--type", "hnsw"), "Invalid value for '--type': 'hnsw' is not one of 'flat', 'mih', 'ivf'"),
    (("edits", "--folder", "/dev/null/x"), "Invalid value for '--folder': /dev/null/x: Not a directory"),
    (("ivf", "-n", 20, "-k", 21), "-k 21: more than the 20 codes of -n"),
    (("ivf", "-n", 20, "--nlist", 2, "--nprobe", 3), "--nprobe 3: more than the 2 lists"),
    (("dedup", "-n", 20, "--bits", 16, "--radius", 17), "--radius 17: more than the 16 bits of a code"),
    (("exact", "-n", 20, "--bits", 16, "--radius", 17), "--radius 17: more than the 16 bits of a code"),
]


def is_usage_error(done, message):
    assert done.exit_code == 2, done.output
    assert done.stderr.splitlines()[-1].startswith("Error: "), done.stderr
    assert message in done.stderr.splitlines()[-1]
    assert not done.stdout


@pytest.mark.parametrize(("name", "option", "value"), BAD_OPTIONS)
def test_a_number_out_of_range_is_a_usage_error(name, option, value, invoke, tmp_path):
    if name in NEEDS and find_spec(NEEDS[name]) is None:
        pytest.skip(f"needs {NEEDS[name]}")
    done = invoke(name, *([tmp_path] if name in PHOTOS else []), option, value)
    is_usage_error(done, f"Invalid value for '{option}'")
    assert str(value) in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(("arguments", "message"), BAD_TOGETHER)
def test_numbers_that_do_not_fit_together_are_a_usage_error(arguments, message, invoke):
    is_usage_error(invoke(*arguments), message)


@pytest.mark.parametrize("name", sorted(PHOTOS))
def test_a_folder_without_photos_is_one_line(name, invoke, tmp_path):
    if name == "arithmetic":
        pytest.importorskip("onnxruntime")
    done = invoke(name, tmp_path)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr == f"Error: {tmp_path}: no JPEG files\n"


def test_arithmetic_needs_a_network(invoke, tmp_path):
    pytest.importorskip("onnxruntime")
    is_usage_error(invoke("arithmetic", tmp_path, "--model", "phash"), "--model phash: not a vision transformer")


@pytest.mark.parametrize(
    "arguments",
    [
        ("scan", "-n", 1, "-k", 1, "--bits", 8, "--rounds", 1),
        ("scan", "-n", 13, "-k", 13, "--bits", 24, "--rounds", 1),
        ("exact", "-n", 1, "-k", 1, "--bits", 8, "--radius", 8, "--rounds", 1, "--singles", 1),
        ("ivf", "-n", 1, "-k", 1, "--bits", 8, "--rounds", 1),
        ("dedup", "-n", 1, "--fewer", 1, "--bits", 8, "--radius", 0, "--radius", 8, "--rounds", 1),
        ("dedup", "-n", 10, "--fewer", 10, "--radius", 8, "--rounds", 1),
    ],
)
def test_the_smallest_numbers_are_measured(arguments, invoke):
    done = invoke(*arguments)
    assert done.exit_code == 0, done.output
    assert "0.00 " not in done.stdout
    assert "1 threads" not in done.stdout
    assert "1 rounds" not in done.stdout
    assert "nan" not in done.stdout


@pytest.mark.parametrize("name", sorted(PHOTOS))
def test_a_damaged_photo_is_named(name, invoke, tmp_path):
    if name == "arithmetic":
        pytest.importorskip("onnxruntime")
    (tmp_path / "a.jpg").write_text("no image")
    done = invoke(name, tmp_path, "--rounds", 1)
    assert done.exit_code == 1
    assert done.stderr == f"Error: {tmp_path / 'a.jpg'}: not an image of a known format\n"


@pytest.mark.parametrize(("photos", "batch", "rate"), [(3, 16, "12.0"), (8, 4, "16.0")])
def test_a_rate_counts_the_images_that_were_computed(photos, batch, rate):
    arithmetic = pytest.importorskip("benchmarks.arithmetic")
    encoders = dict.fromkeys(("torch, float32", "other"), lambda pixels: pixels[:, :1])
    seconds = {"torch, float32": [0.25, 0.25], "other": [0.5, 0.5]}
    first, other = arithmetic.rows(encoders, seconds, np.zeros((photos, 4), np.uint8), batch)
    assert first == f"| torch, float32 | {rate} | 1.00 | 0.0000 |"
    assert other == f"| other | {float(rate) / 2} | 0.50 | 0.0000 |"


@pytest.mark.slow
def test_arithmetic_counts_its_photos_and_logs_nothing(benchmarks):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("openvino")
    done = benchmarks(
        "arithmetic", Path(photographs.__file__).with_name("photos"), "--images", 3, "--batch", 2, "--rounds", 1
    )
    assert done.stdout.startswith("3 photos, batches of 2, 1 round\n")
    assert done.stderr.splitlines() == ["round 0 of 1", "round 1 of 1"]


def test_exact_and_scan_name_the_clock(invoke):
    assert "wall time: median" in invoke("exact", "-n", 20, "-k", 1, "--rounds", 1, "--singles", 1).stdout
    assert "cache" in invoke("scan", "--help").stdout


def test_decode_measures_photos(invoke, tmp_path):
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "a.jpg")
    done = invoke("decode", tmp_path, "--rounds", 1, "--side", 32)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("1 photo, 32 pixels, 1 round; ")
