import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.codes import (
    CodesWriter,
    ModelRef,
    is_codes_file,
    open_codes,
    read_codes,
    verify_codes,
    write_codes,
    writer,
)
from transhash.errors import CodesError, MismatchError

from .rows import EVERYTHING, MODEL, Kind, append, kinds, many, read, rows, seen, write

GOLDEN = Path(__file__).parent.parent / "golden"
DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "codes-format.md").read_text(encoding="utf-8")


def digest(path):
    with open_codes(path, trusted=True) as file:
        return file.header.digest


def documented_digest(path):
    """The digest according to the second example of docs/codes-format.md, with h5py and hashlib alone."""
    example = DOCUMENT.split("```python\n")[2].split("```")[0].replace('"codes.h5"', repr(str(path)))
    assert "transhash" not in example.replace(repr(str(path)), "")
    scope = {}
    exec(example.replace("print(digest)", ""), scope)
    return scope["digest"]


@pytest.fixture
def short_segments(monkeypatch):
    monkeypatch.setattr(writer, "SEGMENT_ROWS", 7)


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.lists(rows, max_size=30), kinds, st.integers(1, 31), st.sampled_from([1, 5, 7, 1 << 16]))
def test_batches_do_not_show(tmp_path_factory, some, kind, batch, segment):
    folder = tmp_path_factory.mktemp("codes")
    skipped = [(b"bad \xfe\n.jpg", "empty file"), (b"", "\N{SNOWMAN}")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(writer, "SEGMENT_ROWS", segment)
        write(folder / "batches.h5", some, kind, batch=batch, skipped=skipped)
        write(folder / "once.h5", some, kind, skipped=skipped)
        write_codes(folder / "again.h5", read_codes(folder / "once.h5", embeddings=True, trusted=True))
    assert digest(folder / "batches.h5") == digest(folder / "once.h5") == digest(folder / "again.h5")
    assert digest(folder / "once.h5") == documented_digest(folder / "once.h5")
    assert read(folder / "batches.h5") == read(folder / "again.h5") == seen(some, kind)
    assert list(read_codes(folder / "batches.h5", trusted=True).skipped) == skipped


@pytest.mark.slow
@settings(deadline=None, max_examples=20)
@given(st.lists(rows, min_size=1, max_size=12), st.data())
def test_every_value_counts(tmp_path_factory, some, data):
    folder = tmp_path_factory.mktemp("codes")
    place = data.draw(st.integers(0, len(some) - 1))
    other = [*some[:place], data.draw(rows), *some[place + 1 :]]
    write(folder / "one.h5", some)
    write(folder / "other.h5", other)
    assert (digest(folder / "one.h5") == digest(folder / "other.h5")) == (some == other)


def test_where_one_string_ends_counts(tmp_path):
    one, other = many(2), many(2)
    one = [replace(row, path=path) for row, path in zip(one, (b"ab", b"c"), strict=True)]
    other = [replace(row, path=path) for row, path in zip(other, (b"a", b"bc"), strict=True)]
    assert digest(write(tmp_path / "one.h5", one)) != digest(write(tmp_path / "other.h5", other))


@pytest.mark.parametrize(
    "model",
    [
        ModelRef("other", "phash-dct-64", 64, '{"side": 32}'),
        ModelRef("phash", "other", 64, '{"side": 32}'),
        ModelRef("phash", "phash-dct-64", 64),
    ],
)
def test_the_header_counts(tmp_path, model):
    assert digest(write(tmp_path / "a.h5", many(3))) != digest(write(tmp_path / "b.h5", many(3), model=model))
    assert digest(tmp_path / "a.h5") != digest(write(tmp_path / "c.h5", many(3), root=b"/other"))
    assert digest(tmp_path / "a.h5") != digest(write(tmp_path / "d.h5", many(3), skipped=[(b"x", "y")]))


def test_names_that_are_no_text(tmp_path):
    """The names of a hasher without a path, and of a folder."""
    model = ModelRef("h\udcff.safetensors", "\udcff", 64)
    path = write(tmp_path / "c.h5", [replace(many(1)[0], labels=("\udcff",))], model=model)
    codes = read_codes(path)
    assert (codes.model.name, codes.model.digest) == ("h\\udcff.safetensors", "\\udcff")
    assert codes.records.names(0) == ("\\udcff",)
    verify_codes(path)


def test_what_is_not_there_is_unknown(tmp_path):
    some = [replace(row, labels=(), size=-1, mtime=-1) for row in many(20)]
    assert digest(write(tmp_path / "a.h5", some)) == digest(write(tmp_path / "b.h5", some, Kind(0, 3, False)))


def test_order_of_label_names_does_not_matter(tmp_path):
    path = write(tmp_path / "c.h5", many(50))
    before = digest(path)
    names = list(read_codes(path).records.label_names)
    with h5py.File(path, "r+") as file:
        labels = file["labels"][:]
        file["labels"][:] = np.where(labels < 0, labels, len(names) - 1 - labels)
        _replace_strings(file, "label_name", names[::-1])
    assert verify_codes(path).digest == before
    assert read(path) == many(50)


def _replace_strings(file, name, strings):
    del file[f"{name}s"], file[f"{name}_offsets"]
    file[f"{name}s"] = np.frombuffer("".join(strings).encode(), np.uint8)
    file[f"{name}_offsets"] = np.cumsum([0, *(len(string.encode()) for string in strings)]).astype(np.uint64)


def test_verify(tmp_path, short_segments):
    path = write(tmp_path / "c.h5", many(20), skipped=[(b"bad", "empty file")])
    reports = []
    found = verify_codes(path, lambda done, total: reports.append((done, total)))
    assert (found.rows, found.digest) == (20, digest(path))
    assert reports == [(7, 20), (14, 20), (20, 20)]
    old = verify_codes(GOLDEN / "codes-v0.h5")
    assert (old.rows, old.digest) == (2, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["codes", "paths", "labels", "embeddings", "sizes", "mtimes"])
@pytest.mark.parametrize("segment", [0, 1, 2])
def test_verify_names_the_segment_and_its_rows(tmp_path, short_segments, name, segment):
    path = write(tmp_path / "c.h5", many(20))
    with h5py.File(path, "r+") as file:
        row = 7 * segment + 3
        place = int(file["path_offsets"][row]) if name == "paths" else row
        values = file[name][place]
        file[name][place] = -1 if name == "labels" else values + 1
    assert read(path) != many(20)
    with pytest.raises(
        CodesError, match=rf"c\.h5: segment {segment}, rows {7 * segment} to {min(7 * segment + 6, 19)}:"
    ):
        verify_codes(path)


def test_verify_names_the_segment_whose_chunk_is_damaged(tmp_path):
    """A bit flipped on disk is detected by the checksum of HDF5."""
    count = 70_000
    codes = np.random.default_rng(0).integers(0, 256, (count, 8), dtype=np.uint8)
    path = tmp_path / "c.h5"
    with CodesWriter.create(path, MODEL) as out:
        out.append(codes, [b"x"] * count)
    data = bytearray(path.read_bytes())
    data[data.index(codes[69_000:69_010].tobytes())] ^= 16
    path.write_bytes(data)
    with pytest.raises(CodesError, match="segment 1, rows 65536 to 69999"):
        verify_codes(path)
    with pytest.raises(CodesError, match="rows 65536 to 69999: damaged"):
        read_codes(path)


def _attribute(name, value):
    return lambda file: file.attrs.__setitem__(name, value)


CHANGES = {
    "model": _attribute("model", "other"),
    "model digest": _attribute("model_digest", "other"),
    "preprocessing": _attribute("preprocessing", ""),
    "root": _attribute("root", np.zeros(3, np.uint8)),
    "digest": _attribute("digest", "0" * 64),
    "no digest": lambda file: file.attrs.__delitem__("digest"),
    "digest no text": _attribute("digest", 7),
    "segment rows": _attribute("segment_rows", 6),
    "no segment rows": _attribute("segment_rows", 0),
    "a checksum": lambda file: file["segment_checksums"].__setitem__((0, 0), file["segment_checksums"][0, 0] ^ 1),
    "no checksums": lambda file: file.__delitem__("segment_checksums"),
    "a label's name": lambda file: file["label_names"].__setitem__(0, ord("k")),
    "a skipped path": lambda file: file["skipped_paths"].__setitem__(0, ord("k")),
    "a reason": lambda file: file["skipped_reasons"].__setitem__(0, ord("k")),
    "times only": lambda file: file.__delitem__("sizes"),
    "no embeddings": lambda file: file.__delitem__("embeddings"),
    "version 0": _attribute("format_version", 0),
    "future version": _attribute("format_version", 2),
}


@pytest.mark.parametrize("change", CHANGES)
def test_readers_refuse_another_header(tmp_path, change):
    path = write(tmp_path / "c.h5", many(20), skipped=[(b"bad", "empty file")])
    with h5py.File(path, "r+") as file:
        CHANGES[change](file)
    if change == "version 0":  # has no checksums to verify
        assert len(read_codes(path)) == 20
        return
    for read_it in (read_codes, verify_codes):
        with pytest.raises(CodesError) as caught:
            read_it(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    assert is_codes_file(path)  # so it may be replaced


def test_unknown_version_says_what_is_known(tmp_path):
    path = write(tmp_path / "c.h5", many(2))
    with h5py.File(path, "r+") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(CodesError, match="format version 2, this TransHash reads 0 to 1"):
        read_codes(path)


def test_wide_embeddings_and_many_labels(tmp_path):
    width = 1 << 16
    vectors = np.random.default_rng(0).standard_normal((3, width)).astype(np.float16)
    names = tuple(f"label {number}" for number in range(1024))
    with CodesWriter.create(tmp_path / "c.h5", MODEL, labels=1024, embeddings=width) as out:
        for place in range(3):
            labels = [names[: 512 * place]]
            out.append(np.zeros((1, 8), np.uint8), [b"x"], labels, embeddings=vectors[place : place + 1])
    codes = read_codes(tmp_path / "c.h5", embeddings=True)
    np.testing.assert_array_equal(codes.embeddings, vectors)
    assert [codes.records.names(row) for row in range(3)] == [(), names[:512], names]
    assert read_codes(tmp_path / "c.h5").embeddings is None
    with pytest.raises(CodesError, match="65537"), CodesWriter.create(tmp_path / "d.h5", MODEL, embeddings=width + 1):
        pass


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"paths": [b"x" * 65537]}, CodesError),
        ({"labels": [("y" * 65537,)]}, CodesError),
        ({"labels": [("a", "b")]}, ValueError),
        ({"labels": [("a",), ("b",)]}, MismatchError),
        ({"codes": np.zeros((1, 9), np.uint8)}, MismatchError),
        ({"codes": np.zeros((1, 8), np.int8)}, MismatchError),
        ({"codes": np.zeros((2, 8), np.uint8)}, MismatchError),
        ({"embeddings": None}, ValueError),
        ({"embeddings": np.zeros((1, 2))}, ValueError),
        ({"sizes": np.zeros(2, np.int64)}, MismatchError),
        ({"mtimes": np.zeros((1, 1), np.int64)}, MismatchError),
    ],
)
def test_rows_that_do_not_fit_change_nothing(tmp_path, arguments, error):
    good = {"codes": np.zeros((1, 8), np.uint8), "paths": [b"x"], "labels": [("a",)], "embeddings": np.zeros((1, 3))}
    good |= {"sizes": np.zeros(1, np.int64), "mtimes": np.zeros(1, np.int64)}
    with CodesWriter.create(tmp_path / "c.h5", MODEL, labels=1, embeddings=3, stats=True) as out:
        out.append(**good)
        with pytest.raises(error):
            out.append(**(good | arguments))
        out.append(**good)
    codes = read_codes(tmp_path / "c.h5", embeddings=True)
    assert list(codes.records.paths) == [b"x", b"x"]
    assert [codes.records.names(row) for row in range(2)] == [("a",), ("a",)]
    with CodesWriter.create(tmp_path / "d.h5", MODEL) as out:
        for extra in ("labels", "embeddings", "sizes"):
            with pytest.raises(ValueError, match="announced"):
                out.append(good["codes"], [b"x"], **{extra: good[extra]})
    assert len(read_codes(tmp_path / "d.h5")) == 0


def test_old_files_stay_and_new_ones_are_what_they_were():
    """The digest of a stored file: a change of the algorithm requires a new format version."""
    assert len(read_codes(GOLDEN / "codes-v0.h5")) == 2
    path = GOLDEN / "codes-v1.h5"
    documented = documented_digest(path)
    codes = read_codes(path, embeddings=True)
    assert codes.packed.tolist() == [[0, 1], [254, 255], [128, 7]]
    assert list(codes.records.paths) == [b"a/\xc3\xa9t\xc3\xa9.jpg", b"b/undecodable \xff.png", b"/elsewhere/c.png"]
    assert codes.records.root == b"photos \xff"
    assert [codes.records.names(row) for row in range(3)] == [("b", "a"), ("c",), ()]
    assert codes.records.sizes.tolist() == [1234, -1, -1]
    assert codes.records.mtimes.tolist() == [1_700_000_000_123_456_789, -1, -1]
    np.testing.assert_array_equal(codes.embeddings, np.array([[1, 0], [0.6, 0.8], [-1, 0]], np.float16))
    assert codes.skipped == [(b"broken\n.jpg", "empty file")]
    assert codes.model == ModelRef("hasher.safetensors", "0123456789abcdef" * 4, 16, '{"size": 224}')
    assert (
        verify_codes(path).digest == documented == "0b7bfcc2982f0c61c2df50f502e8e4533fc2638f2273ba55b7e1af7059eea563"
    )


def test_the_same_rows_give_the_same_bytes(tmp_path):
    one, other = (write(tmp_path / name, many(100), skipped=[(b"x", "y")]) for name in ("a.h5", "b.h5"))
    assert hashlib.sha256(one.read_bytes()).digest() == hashlib.sha256(other.read_bytes()).digest()


@pytest.mark.slow
def test_skipping_takes_no_memory(tmp_path):
    code = f"""
import resource
from pathlib import Path
from transhash.codes import CodesWriter, ModelRef
with CodesWriter.create(Path({str(tmp_path / "c.h5")!r}), ModelRef("m", "d", 64)) as writer:
    for number in range(50_000):
        writer.skip(b"%0100d" % number, "empty file")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(200_000):
        writer.skip(b"%0100d" % number, "empty file")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 10_000  # KiB; the paths alone take 20,000
    codes = read_codes(tmp_path / "c.h5")
    assert len(codes.skipped) == 250_000
    assert codes.skipped[-1] == (b"%0100d" % 199_999, "empty file")


def test_codes_and_records_take_rows(tmp_path):
    some = many(20)
    codes = read_codes(write(tmp_path / "c.h5", some), embeddings=True)
    mask = np.arange(20) % 3 == 0
    for which, kept in ((mask, some[::3]), (slice(4, 9), some[4:9]), (slice(30, 40), [])):
        part = codes.take(which)
        write_codes(tmp_path / "part.h5", part)
        assert read(tmp_path / "part.h5") == kept
    assert EVERYTHING.labels == codes.records.labels.shape[1]
    with CodesWriter.create(tmp_path / "empty.h5", MODEL, labels=2) as out:
        append(out, [], Kind(2, 0, False))
    assert read(tmp_path / "empty.h5") == []
