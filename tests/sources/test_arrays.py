import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transhash.sources import Item, decode, hdf5, npy, pixels
from transhash.sources.isolated import IsolatedSource


def write(path, array):
    if path.suffix == ".npy":
        np.save(path, array, allow_pickle=True)
    else:
        with h5py.File(path, "w") as file:
            file["images"] = array
    return os.fspath(path)


def reader(path):
    return npy if os.fspath(path).endswith(".npy") else hdf5


def read(path):
    return list(reader(path).rows(os.fspath(path), b"x"))


@pytest.fixture(params=["a.npy", "a.h5"])
def path(request, tmp_path):
    return tmp_path / request.param


def test_layouts(path, gradient):
    for array in (gradient, gradient[..., 0], gradient.transpose(0, 3, 1, 2)):
        write(path, np.ascontiguousarray(array))
        found = read(path)
        assert found == [Item(b"x/%d" % row) for row in range(6)]
        assert reader(path).count(os.fspath(path)) == 6
        for row, item in enumerate(found):
            expected = gradient[row] if array.ndim == 4 else gradient[row, ..., :1].repeat(3, axis=2)
            np.testing.assert_array_equal(np.asarray(decode.open_item(b"", item)), expected)


SHAPES = st.lists(st.integers(1, 5), min_size=3, max_size=4).map(tuple)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SHAPES)
def test_every_shape_is_images_or_refused(path, shape):
    array = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    write(path, array)
    if len(shape) == 3 and shape[2] == 3:
        return  # one picture
    ambiguous = len(shape) == 3 and (shape[2] in (1, 2, 4) or shape[0] == 3)
    if ambiguous or (len(shape) == 4 and 3 not in (shape[1], shape[3])):
        with pytest.raises(ValueError, match=re.escape(str(shape))):
            read(path)
        return
    for row, item in enumerate(read(path)):
        first = len(shape) == 4 and shape[3] != 3
        np.testing.assert_array_equal(item.data, array[row].transpose(1, 2, 0) if first else array[row])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 5, 5)), "(2, 5, 5) float64: pixels must be uint8"),
        (np.zeros(5, np.uint8), "not (n, H, W), (n, H, W, 3) or (n, 3, H, W) uint8"),
        (np.zeros((2, 0, 5), np.uint8), "not (n, H, W), (n, H, W, 3) or (n, 3, H, W) uint8"),
        (np.zeros((2, 4, 5, 4), np.uint8), "not (n, H, W), (n, H, W, 3) or (n, 3, H, W) uint8"),
    ],
)
def test_arrays_that_are_not_images(path, array, reason):
    source = IsolatedSource(reader(path).__name__.rpartition(".")[2], [write(path, array)])
    (only,) = source
    assert only.path == os.fsencode(path.name)
    assert reason in only.reason


def test_nothing_is_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (os.fspath(tmp_path / "trap"),)

    write(tmp_path / "a.npy", np.array([[[Trap()]]]))
    (only,) = IsolatedSource("npy", [tmp_path / "a.npy"])
    assert "object" in only.reason
    assert not (tmp_path / "trap").exists()


def test_columns_first_is_refused(tmp_path, gradient):
    np.save(tmp_path / "a.npy", np.asfortranarray(gradient))
    with pytest.raises(ValueError, match="ascontiguousarray"):
        read(tmp_path / "a.npy")


def test_an_array_that_is_cut_off_yields_what_is_there(tmp_path, gradient):
    whole = Path(write(tmp_path / "a.npy", gradient)).read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[: -gradient[0].size - 1])
    *items, last = IsolatedSource("npy", [tmp_path / "a.npy"])
    assert items == [Item(b"a.npy/%d" % row) for row in range(4)]
    assert last.reason == "cut off after 4 of 6 images"


def test_a_header_of_gigabytes_is_not_read(tmp_path):
    with open(tmp_path / "a.npy", "wb") as file:
        file.write(b"\x93NUMPY\x02\x00\xf0\xff\xff\xff")
        file.truncate(5 << 30)
    with pytest.raises(ValueError, match="too long"):
        read(tmp_path / "a.npy")


@pytest.mark.parametrize("chunks", [(1, 8, 12, 3), (4, 8, 12, 3), (6, 1, 1, 1), (5, 4, 4, 2), True])
def test_chunks(chunks, tmp_path, gradient, monkeypatch):
    for limit in (1, 600, 1 << 24):
        monkeypatch.setattr(pixels, "_AT_ONCE", limit)
        for most in (2000, 1 << 28):
            monkeypatch.setattr(hdf5, "_MAX_CHUNK", most)
            with h5py.File(tmp_path / "a.h5", "w") as file:
                file.create_dataset("x", data=gradient, chunks=chunks, compression="gzip")
            np.testing.assert_array_equal([item.data for item in read(tmp_path / "a.h5")], gradient)


def test_chunks_that_are_too_large(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("images", (9000, 200, 200), np.uint8, chunks=(9000, 200, 200), compression="gzip")
    with pytest.raises(ValueError, match="images: chunks of more than 268,435,456 bytes"):
        read(tmp_path / "a.h5")


def test_labels(tmp_path, gradient):
    for labels, expected in (
        ([3, 1, 2, 1, 0, -1], [("3",), ("1",), ("2",), ("1",), ("0",), ("-1",)]),
        (["a", "", "ü", "b", "c", "d"], [("a",), (), ("ü",), ("b",), ("c",), ("d",)]),
        (np.array([b"a", b"\xff", b"c", b"d", b"e", b"f"]), [("a",), ("\\xff",), ("c",), ("d",), ("e",), ("f",)]),
    ):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["whatever"] = gradient
            file["labels"] = labels
        assert [item.labels for item in read(tmp_path / "a.h5")] == expected
    for wrong in ([1.5] * 6, [1] * 5, [[1]] * 6):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            file["images"], file["labels"] = gradient, wrong
        with pytest.raises(ValueError, match="labels: "):
            read(tmp_path / "a.h5")


def test_external_data_are_not_read(tmp_path, gradient):
    write(tmp_path / "other.h5", gradient)
    (tmp_path / "secret").write_bytes(bytes(1000))

    def external(file):
        file.create_dataset("images", (2, 5, 5), np.uint8, external=[(tmp_path / "secret", 0, 50)])

    def virtual(file):
        layout = h5py.VirtualLayout((6, 8, 12, 3), np.uint8)
        layout[:] = h5py.VirtualSource(tmp_path / "other.h5", "images", (6, 8, 12, 3))
        file.create_virtual_dataset("images", layout)

    def linked(file):
        file["images"] = h5py.ExternalLink(tmp_path / "other.h5", "images")

    def soft(file):
        file["images"] = h5py.SoftLink("/images")

    def group(file):
        file.create_group("images")

    def empty(file):
        file["images"] = h5py.Empty(np.uint8)

    def several(file):
        file["a"], file["b"] = gradient, gradient

    for make in (external, virtual, linked, soft, group, empty, several, lambda file: None):
        with h5py.File(tmp_path / "a.h5", "w") as file:
            make(file)
        with pytest.raises(ValueError, match="images"):
            read(tmp_path / "a.h5")


@pytest.mark.slow
def test_damaged_hdf5(tmp_path, gradient):
    whole = Path(write(tmp_path / "whole.h5", gradient)).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(6):
        mutant = bytearray(whole)
        for place in rng.integers(0, 2048, 6):
            mutant[place] = rng.integers(256)
        (tmp_path / f"{number}.h5").write_bytes(mutant)
    for item in IsolatedSource("hdf5", sorted(tmp_path.glob("?.h5"))):
        assert isinstance(item, Item) or "\n" not in item.reason


def test_memory_does_not_grow_with_the_array(path, peak):
    code = """
        import sys
        from transhash.sources import hdf5, npy
        reader = npy if sys.argv[1].endswith("npy") else hdf5
        print(sum(1 for _ in reader.rows(sys.argv[1], b"")))
    """
    peaks = []
    for count in (10_000, 40_000):
        write(path, np.ones((count, 50, 50), np.uint8))
        peaks.append(peak(code, path))
    assert peaks[1] - peaks[0] < 20_000_000


def test_one_picture_in_a_file(tmp_path, gradient):
    for picture in (gradient[0], gradient[0, ..., 0]):
        np.save(tmp_path / "a.npy", picture)
        (item,) = npy.rows(os.fspath(tmp_path / "a.npy"), b"x")
        assert item.path == b"x/0"
        np.testing.assert_array_equal(item.data, picture)
    write(tmp_path / "a.h5", gradient[0])
    with pytest.raises(ValueError, match="is one picture"):
        hdf5.count(tmp_path / "a.h5")


@pytest.mark.parametrize("chunks", [None, (1, 64, 64, 3)])
def test_images_that_were_never_written(chunks, tmp_path):
    """A file of a few hundred bytes that declares ten thousand images with the fill value."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        images = file.create_dataset("images", (10_000, 64, 64, 3), np.uint8, chunks=chunks)
        if chunks:
            images[0] = 1
    assert os.path.getsize(tmp_path / "a.h5") < 1 << 16
    with pytest.raises(ValueError, match="10,000 images, but not all of them were written"):
        hdf5.count(os.fspath(tmp_path / "a.h5"))
