import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.codes import (
    Codes,
    CodesWriter,
    ModelRef,
    Records,
    StringTable,
    open_records,
    read_codes,
    write_codes,
    write_records,
)
from transhash.errors import CodesError, MismatchError, ModelError, OutputError

GOLDEN = Path(__file__).parent.parent / "golden" / "codes-v0.h5"
MODEL = ModelRef("phash", "phash-dct-64", 64)

names = st.binary(min_size=1, max_size=40).filter(lambda name: b"\0" not in name)


def some_codes(paths, labels=None, skipped=()):
    codes = np.random.default_rng(0).integers(0, 256, (len(paths), 8), dtype=np.uint8)
    ids = None if labels is None else np.array([{"a": 0, "b": 1, None: -1}[label] for label in labels], np.int32)
    return Codes(codes, Records(paths, b"/root \xff", ids, ("a", "b") if labels else ()), MODEL, list(skipped))


def assert_same(one, other):
    np.testing.assert_array_equal(one.packed, other.packed)
    assert list(one.records.paths) == list(other.records.paths)
    assert [one.records.names(row) for row in range(len(one))] == [
        other.records.names(row) for row in range(len(one))
    ]
    assert (one.model, one.records.root, list(one.skipped)) == (other.model, other.records.root, list(other.skipped))


@pytest.mark.slow
@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(names, st.sampled_from(["a", "b", None])), min_size=1, max_size=50))
def test_round_trip(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("codes") / "c.h5"
    codes = some_codes([name for name, _ in rows], [label for _, label in rows], [(b"bad \xfe\n.jpg", "empty file")])
    write_codes(path, codes)
    assert_same(read_codes(path), codes)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.lists(names, min_size=1, max_size=60), st.integers(1, 20))
def test_writing_in_batches_is_writing_at_once(tmp_path_factory, paths, batch):
    folder = tmp_path_factory.mktemp("codes")
    labels = [("a", "b", None)[place % 3] for place in range(len(paths))]
    codes = some_codes(paths, labels)
    with CodesWriter.create(folder / "batches.h5", MODEL, b"/root \xff", labels=1) as writer:
        for start in range(0, len(paths), batch):
            own = slice(start, start + batch)
            writer.append(codes.packed[own], paths[own], [(label,) if label else () for label in labels[own]])
    assert read_codes(folder / "batches.h5").records.labels.ndim == 1
    assert_same(read_codes(folder / "batches.h5"), codes)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.lists(st.lists(st.sampled_from("abcdef"), unique=True, max_size=4).map(tuple), min_size=1, max_size=40))
def test_several_labels_a_row(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("codes")
    codes = np.zeros((len(rows), 8), np.uint8)
    with CodesWriter.create(folder / "c.h5", MODEL, labels=4) as writer:
        for code, labels in zip(codes, rows, strict=True):
            writer.append(code[None], [b"x"], [labels])
    read = read_codes(folder / "c.h5")
    assert read.records.labels.shape == (len(rows), 4)
    assert [read.records.names(row) for row in range(len(rows))] == rows
    write_codes(folder / "again.h5", read)
    assert_same(read_codes(folder / "again.h5"), read)
    write_records(folder / "records.h5", read.records.blocks())
    np.testing.assert_array_equal(open_records(folder / "records.h5", len(rows)).labels, read.records.labels)


def test_number_of_labels_is_limited(tmp_path):
    with pytest.raises(CodesError, match="1024"), CodesWriter.create(tmp_path / "c.h5", MODEL, labels=1025):
        pass
    with (
        pytest.raises(ValueError, match="2 labels of a row"),
        CodesWriter.create(tmp_path / "c.h5", MODEL, labels=1) as writer,
    ):
        writer.append(np.zeros((1, 8), np.uint8), [b"x"], [("a", "b")])
    assert os.listdir(tmp_path) == []


@given(st.lists(st.binary(max_size=9), max_size=30))
def test_string_table(strings):
    table = StringTable.of(strings)
    assert list(table) == strings
    assert table[:] == strings
    assert table[3:7] == strings[3:7]
    assert [table[place] for place in range(-len(strings), len(strings))] == strings * 2
    with pytest.raises(IndexError):
        table[len(strings)]


def test_golden_file_opens_for_ever():
    codes = read_codes(GOLDEN)
    assert codes.packed.tolist() == [[0, 1, 2, 3, 4, 5, 6, 7], [255, 254, 253, 252, 251, 250, 249, 248]]
    assert list(codes.records.paths) == [b"a/\xc3\xa9t\xc3\xa9.jpg", b"b/undecodable \xff.png"]
    assert codes.records.label_names == ("a", "b")
    assert codes.records.labels.shape == (2,)
    assert [codes.records.names(row) for row in range(2)] == [("a",), ("b",)]
    assert codes.skipped == [(b"broken\n.jpg", "empty file")]
    assert codes.model == MODEL


@pytest.mark.slow
def test_documented_reading_with_h5py_alone():
    """The example of docs/codes-format.md."""
    text = (Path(__file__).parents[2] / "docs" / "codes-format.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0].replace("codes.h5", str(GOLDEN))
    assert "transhash" not in example.replace("transhash-codes", "")
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, check=True)
    assert b"b/undecodable \xff.png b 255" in done.stdout or b"udcff" in done.stdout


def test_an_error_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / "c.h5"
    write_codes(path, some_codes([b"old"]))
    with pytest.raises(RuntimeError), CodesWriter.create(path, MODEL) as writer:
        writer.append(np.zeros((1, 8), np.uint8), [b"new"])
        raise RuntimeError
    assert list(read_codes(path).records.paths) == [b"old"]
    assert os.listdir(tmp_path) == ["c.h5"]


@pytest.mark.slow
def test_kill_leaves_the_old_file(forks, tmp_path):
    path = tmp_path / "c.h5"
    write_codes(path, some_codes([b"old"]))
    code = f"""
import numpy as np, os, signal
from pathlib import Path
from transhash.codes import CodesWriter, ModelRef
with CodesWriter.create(Path({str(path)!r}), ModelRef("m", "d", 64)) as writer:
    writer.append(np.zeros((1000, 8), np.uint8), [b"new"] * 1000)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    assert forks.run(code).returncode == -signal.SIGKILL
    assert list(read_codes(path).records.paths) == [b"old"]


def test_never_replaces_another_kind_of_file(tmp_path):
    path = tmp_path / "holiday.jpg"
    path.write_bytes(b"\xff\xd8 a picture")
    for attempt in (
        lambda: write_codes(path, some_codes([b"x"])),
        lambda: CodesWriter.create(path, MODEL).__enter__(),
    ):
        with pytest.raises(OutputError, match="not a codes file"):
            attempt()
    assert path.read_bytes() == b"\xff\xd8 a picture"


def test_never_replaces_somebody_elses_hdf5(tmp_path):
    with h5py.File(tmp_path / "data.h5", "w") as file:
        file["precious"] = 1
    with pytest.raises(OutputError, match="not a codes file"):
        write_codes(tmp_path / "data.h5", some_codes([b"x"]))
    with h5py.File(tmp_path / "data.h5") as file:
        assert file["precious"][()] == 1


def test_rows_and_paths_must_agree(tmp_path):
    with pytest.raises(MismatchError, match="packed is"), CodesWriter.create(tmp_path / "c.h5", MODEL) as writer:
        writer.append(np.zeros((2, 8), np.uint8), [b"one"])


def damage(change):
    def apply(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return apply


def replace(name, **how):
    def change(file):
        del file[name]
        if how:
            file.create_dataset(name, **how)

    return damage(change)


def external(file):
    Path(file.filename).with_suffix(".raw").write_bytes(bytes(16))
    del file["codes"]
    file.create_dataset("codes", (2, 8), "u1", external=[(str(Path(file.filename).with_suffix(".raw")), 0, 16)])


def linked(file):
    with h5py.File(Path(file.filename).with_suffix(".other"), "w") as other:
        other["codes"] = np.zeros((2, 8), np.uint8)
    del file["codes"]
    file["codes"] = h5py.ExternalLink(str(Path(file.filename).with_suffix(".other")), "codes")


ATTACKS = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not HDF5"),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:4000]),
    "no format": damage(lambda file: file.attrs.__delitem__("format")),
    "foreign format": damage(lambda file: file.attrs.__setitem__("format", "other")),
    "future version": damage(lambda file: file.attrs.__setitem__("format_version", 99)),
    "other bit order": damage(lambda file: file.attrs.__setitem__("bit_order", "little")),
    "impossible bits": damage(lambda file: file.attrs.__setitem__("bits", 65)),
    "bits of another width": damage(lambda file: file.attrs.__setitem__("bits", 128)),
    "bits no number": damage(lambda file: file.attrs.__setitem__("bits", "many")),
    "no digest": damage(lambda file: file.attrs.__delitem__("model_digest")),
    "no codes": replace("codes"),
    "codes of floats": replace("codes", data=np.zeros((2, 8))),
    "codes of one axis": replace("codes", data=np.zeros(16, np.uint8)),
    "objects": replace("codes", shape=(2, 8), dtype=h5py.string_dtype()),
    "huge and empty": replace("codes", shape=(2**50, 8), dtype="u1", chunks=(1024, 8)),
    "codes in another file": damage(external),
    "codes behind a link": damage(linked),
    "foreign filter": replace("codes", data=np.zeros((2, 8), np.uint8), compression="lzf"),
    "too few paths": replace("path_offsets", data=np.array([0, 3], np.uint64)),
    "huge offsets": replace("path_offsets", shape=(2**50,), dtype="u8", chunks=(1024,)),
    "offsets beyond the end": replace("path_offsets", data=np.array([0, 5, 2**60], np.uint64)),
    "label without a name": replace("labels", data=np.array([0, 7], np.int32)),
    "too few labels": replace("labels", data=np.array([0], np.int32)),
    "label of less than none": replace("labels", data=np.array([0, -2], np.int32)),
    "labels of three axes": replace("labels", data=np.zeros((2, 1, 1), np.int32)),
    "no labels per row": replace("labels", data=np.zeros((2, 0), np.int32)),
    "too many labels a row": replace("labels", data=np.full((2, 1025), -1, np.int32)),
    "one of several labels without a name": replace("labels", data=np.array([[0, 7], [1, -1]], np.int32)),
    "padding before a label": replace("labels", data=np.array([[0, 1], [-1, 1]], np.int32)),
    "huge rows of labels": replace("labels", shape=(2, 2**40), dtype="i4", chunks=(2, 1024)),
    "reasons missing": replace("skipped_reason_offsets", data=np.array([0], np.uint64)),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_damaged_files_give_one_line(attack, tmp_path):
    path = tmp_path / "c.h5"
    path.write_bytes(GOLDEN.read_bytes())
    ATTACKS[attack](path)
    with pytest.raises(CodesError) as caught:
        read_codes(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_descending_offsets_are_found_when_read(tmp_path):
    path = tmp_path / "c.h5"
    write_codes(path, some_codes([b"one", b"two", b"three"]))
    replace("path_offsets", data=np.array([0, 9, 3, 11], np.uint64))(path)
    with pytest.raises(CodesError, match="damaged offsets"):
        list(read_codes(path).records.paths)


def test_missing_file(tmp_path):
    with pytest.raises(CodesError, match="th encode"):
        read_codes(tmp_path / "none.h5")


def test_the_length_of_a_model_is_checked():
    with pytest.raises(ModelError, match="33 bits: must be a multiple of 8"):
        ModelRef("m", "d", 33)


def test_messages_for_other_files_have_no_words_of_hdf5(tmp_path):
    image, part = tmp_path / "x.JPEG", tmp_path / "cut.h5"
    image.write_bytes(b"\xff\xd8\xff\xe0" * 100)
    with h5py.File(part, "w") as file:
        file["codes"] = np.zeros(5000)
    part.write_bytes(part.read_bytes()[:1000])
    for path, words in ((image, "encode the images first: transhash.encode, th encode"), (part, "(truncated file)")):
        with pytest.raises(CodesError) as refused:
            read_codes(path)
        assert words in str(refused.value)
        assert "Unable to" not in str(refused.value)
