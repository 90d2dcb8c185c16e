"""The same images have the same codes in every kind of source."""

import os
import subprocess
import tarfile

import h5py
import numpy as np
import pytest
from PIL import Image

from transhash import encode, load_hasher, read_codes
from transhash.sources import open_source


@pytest.fixture(scope="module")
def files(pictures):
    return sorted(pictures.rglob("*.png"))


@pytest.fixture(scope="module")
def expected(pictures):
    return encode(pictures, load_hasher("phash")).packed


def tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for number, file in enumerate(files):
            archive.add(file, f"{number:03}.png")


def parquet(path, files):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pa.table({"image": [file.read_bytes() for file in files]}), path)


def npy(path, files):
    np.save(path, np.stack([np.asarray(Image.open(file)) for file in files]))


def hdf5(path, files):
    with h5py.File(path, "w") as file:
        file["x"] = np.stack([np.asarray(Image.open(picture)) for picture in files])


@pytest.mark.slow
@pytest.mark.parametrize(("write", "name"), [(tar, "a.tgz"), (parquet, "a.parquet"), (npy, "a.npy"), (hdf5, "a.h5")])
def test_archives_and_tables(write, name, files, expected, tmp_path):
    write(tmp_path / name, files)
    codes = encode(open_source(tmp_path / name), load_hasher("phash"))
    np.testing.assert_array_equal(codes.packed, expected)
    assert codes.records.root == os.fsencode(tmp_path)


def test_the_command_takes_what_find_writes(command, pictures, expected, tmp_path):
    odd = os.fsencode(tmp_path) + b"/new\nline \xff.png"
    os.symlink(pictures / "circle" / "0.png", odd)
    found = subprocess.run(["find", tmp_path, "-name", "*.png", "-print0"], capture_output=True, check=True).stdout
    arguments = [*command, "encode", "--list", "-", "-0", "-o", tmp_path / "c.h5", "--model", "phash"]
    subprocess.run(arguments, input=found, check=True)
    codes = read_codes(tmp_path / "c.h5")
    assert list(codes.records.paths) == [odd]
    np.testing.assert_array_equal(codes.packed, expected[:1])
