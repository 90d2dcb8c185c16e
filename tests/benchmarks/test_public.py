"""Public sets: tiny files of both kinds, files that are none, and results that ann-benchmarks reads."""

import h5py
import numpy as np
import pytest

from benchmarks.collection import Clustered, write
from benchmarks.sets import unpack, write_set
from transhash.errors import ResultsError
from transhash.report.records import TableRow, read

pytestmark = pytest.mark.slow

COUNT, QUERIES, NEAREST = 300, 12, 8


def vectors(width, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.random((6, width)) < 0.5
    rows = centres[rng.integers(6, size=COUNT + QUERIES)] ^ (rng.random((COUNT + QUERIES, width)) < 0.1)
    return rows[:COUNT], rows[COUNT:]


def truth(train, test):
    apart = (test[:, None] ^ train[None]).sum(axis=2)
    ids = np.argsort(apart, axis=1, kind="stable")[:, :NEAREST]
    return ids, np.take_along_axis(apart, ids, 1)


def ann(path, width=100, **changes):
    """A file as ann-benchmarks writes it."""
    train, test = vectors(width)
    ids, apart = truth(train, test)
    parts = {"train": train, "test": test, "neighbors": ids, "distances": apart / width, **changes}
    with h5py.File(path, "w") as file:
        file.attrs.update({"type": "dense", "distance": "hamming", "dimension": width, "point_type": "bit"})
        for name, part in parts.items():
            if part is not None:
                file.create_dataset(name, data=part)
    return path


def vibe(path, width=96):
    """A file as VIBE writes it."""
    train, test = vectors(width)
    ids, apart = truth(train, test)
    with h5py.File(path, "w") as file:
        file.attrs.update({"distance": "hamming", "dimension": width, "point_type": "binary"})
        file.create_dataset("train", data=np.packbits(train, axis=1))
        file.create_dataset("test", data=np.packbits(test, axis=1))
        file.create_dataset("neighbors", data=ids)
        file.create_dataset("distances", data=apart.astype(float))
        file.create_dataset("avg_distances", data=np.ones(QUERIES))
    return path


@pytest.mark.parametrize(
    ("make", "kind", "width"), [(ann, "ann-benchmarks", 100), (ann, "ann-benchmarks", 16), (vibe, "VIBE", 96)]
)
def test_both_kinds_become_packed_codes(make, kind, width, tmp_path):
    known = unpack(make(tmp_path / "set.hdf5", width), tmp_path / "out")
    train, test = vectors(width)
    assert (known.kind, known.name, known.width, known.true) == (kind, "set", width, 1.0)
    assert (np.unpackbits(known.collection.codes, axis=1)[:, :width] == train).all()
    assert (np.unpackbits(known.collection.query_codes, axis=1)[:, :width] == test).all()
    assert known.collection.bits == 8 * -(-width // 8)


def test_a_set_that_is_written_is_read(tmp_path):
    made = write(tmp_path / "made", Clustered(16, 64, 10, seed=0), 200, vectors=False)
    write_set(tmp_path / "own.hdf5", made, 20)
    known = unpack(tmp_path / "own.hdf5", tmp_path / "out")
    assert (known.kind, known.true, known.width) == ("ann-benchmarks", 1.0, 64)
    assert (known.collection.codes == made.codes).all()
    assert (known.collection.query_codes == made.query_codes).all()


def test_neighbours_that_are_not_the_nearest_are_told(tmp_path):
    train, test = vectors(100)
    ids = truth(train, test)[0]
    ids[0, 0] = int((test[0] ^ train).sum(axis=1).argmax())
    known = unpack(ann(tmp_path / "set.hdf5", neighbors=ids), tmp_path / "out")
    assert 1 - known.true == pytest.approx(1 / ids.size)


WIDE = (("neighbors", int), ("distances", float))


def own(path, **attributes):
    with h5py.File(path, "a") as file:
        file.attrs.update(attributes)
    return path


def linked(path):
    ann(path.with_name("other.hdf5"))
    with h5py.File(ann(path, train=None), "a") as file:
        file["train"] = h5py.ExternalLink("other.hdf5", "/train")


def bomb(path):
    with h5py.File(ann(path, train=None), "a") as file:
        file.create_dataset("train", (1 << 33, 100), dtype=bool, chunks=(1 << 10, 100))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_bytes(b"no HDF5 at all" * 100), "no Hamming set"),
        (lambda path: ann(path).write_bytes(path.read_bytes()[:9000]), "no Hamming set"),
        (lambda path: ann(path, train=None), "no dataset train"),
        (lambda path: ann(path, test=np.zeros((QUERIES, 99), bool)), "of two kinds"),
        (lambda path: ann(path, test=np.zeros((0, 100), bool)), "test: shape"),
        (lambda path: ann(path, train=np.zeros((50, 100), np.float32)), "vectors of float32"),
        (lambda path: ann(path, neighbors=np.full((QUERIES, NEAREST), COUNT)), "a neighbour is not a row"),
        (lambda path: ann(path, neighbors=np.zeros((QUERIES, 3), int)), "neighbors .12, 3. and distances"),
        (lambda path: ann(path, distances=np.zeros((QUERIES, NEAREST), int)), "distances of int64"),
        (
            lambda path: ann(path, **{name: np.zeros((QUERIES, 301), kind) for name, kind in WIDE}),
            "with 301 neighbours",
        ),
        (lambda path: ann(path, width=2000), "2,000 bits; 1,024 at most"),
        (lambda path: own(ann(path), distance="euclidean"), "its distance is euclidean"),
        (linked, "no dataset train"),
        (bomb, "too small to hold"),
    ],
)
def test_what_is_no_set_is_one_line(spoil, message, tmp_path):
    path = tmp_path / "set.hdf5"
    spoil(path)
    with pytest.raises(ResultsError, match=message) as caught:
        unpack(path, tmp_path / "out")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", range(8))
def test_a_file_with_damage_anywhere_is_read_or_refused(seed, tmp_path):
    path = ann(tmp_path / "set.hdf5")
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(seed)
    for place in rng.integers(0, min(4096, len(data)), 6):
        data[place] = rng.integers(256)
    path.write_bytes(bytes(data))
    try:
        assert unpack(path, tmp_path / "out").width > 0
    except ResultsError as error:
        assert str(path) in str(error)


def test_results_are_files_of_ann_benchmarks(invoke, tmp_path):
    config = tmp_path / "own.toml"
    config.write_text('k = 5\nsingles = 3\nrepeats = 2\nmethods = ["TransHash flat", "FAISS BinaryIVF"]\n')
    path = ann(tmp_path / "tiny-100-hamming.hdf5")
    command = ("public", path, "--config", config, "-o", tmp_path / "r.jsonl", "--answers", tmp_path / "answers")
    for _ in range(2):  # the second time nothing is measured
        done = invoke(*command)
        assert done.exit_code == 0, done.output
    rows = {row.method: row for row in read(tmp_path / "r.jsonl") if isinstance(row, TableRow)}
    assert rows.keys() == {"TransHash flat", "FAISS BinaryIVF", "tiny-100-hamming, ground truth"}
    written = sorted((tmp_path / "answers" / "tiny-100-hamming" / "5").rglob("*.hdf5"))
    assert {file.parent.name for file in written} == {"transhash-flat", "faiss-binaryivf"}
    train, test = vectors(100)
    ids, apart = truth(train, test)
    for file in written:
        with h5py.File(file, "r") as answers:
            assert (answers.attrs["distance"], answers.attrs["count"], answers.attrs["batch_mode"]) == (
                "hamming",
                5,
                False,
            )
            assert answers.attrs["dataset"] == "tiny-100-hamming"
            assert answers["times"].shape == (QUERIES,)
            found, distances = answers["neighbors"][()], answers["distances"][()]
        real = np.where(
            found < 0, np.inf, np.take_along_axis((test[:, None] ^ train[None]).mean(axis=2), np.maximum(found, 0), 1)
        )
        assert distances == pytest.approx(real)
        if file.parent.name == "transhash-flat":
            # recall as ann-benchmarks computes it: no further than the k-th true neighbour, and a thousandth
            assert (distances <= apart[:, 4:5] / 100 + 1e-3).all()
            assert (found == ids[:, :5]).all()
