"""Images listed for random access, and decoded ahead in order."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest
from PIL import Image

from transhash.sources import ImageList, Item, Skipped, decode, list_images, open_source
from transhash.sources.lookahead import load


def touch(root, *names):
    for name in names:
        path = os.path.join(os.fsencode(root), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb"):
            pass


def test_folder_is_walked_in_order(tmp_path):
    touch(tmp_path, b"b/2.PNG", b"b/1.jpg", b"a/x/deep.webp", b"top.gif", b"a/notes.txt", b"c\xff/new\nline \xfe.jpg")
    (tmp_path / "a" / "around").symlink_to(tmp_path)
    source = list_images(tmp_path)
    assert [(image.path, image.labels) for image in source.images] == [
        (b"top.gif", ()),
        (b"a/x/deep.webp", ("a",)),
        (b"b/1.jpg", ("b",)),
        (b"b/2.PNG", ("b",)),
        (b"c\xff/new\nline \xfe.jpg", ("c\\xff",)),
    ]
    assert [(item.path, item.reason) for item in source.skipped] == [(b"a/around", "link to a folder: not followed")]
    assert source.ignored == {".txt": 1}
    assert source.labelled


def test_load_keeps_order_and_names_what_it_skips(tmp_path):
    for number in range(40):
        path = tmp_path / f"{number:02}.png"
        if number % 7 == 3:
            path.write_bytes(b"no picture")
        else:
            Image.new("L", (4, 4), number).save(path)
    loaded = list(load(open_source(tmp_path), np.asarray, workers=3))
    assert len(loaded) == 40
    for number, item in enumerate(loaded):
        if number % 7 == 3:
            assert item == Skipped(b"%02d.png" % number, "not an image of a known format")
        else:
            assert item[0].path == b"%02d.png" % number
            assert (item[1] == number).all()


@pytest.fixture
def archive(tmp_path, png):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for number in range(5):
            info = tarfile.TarInfo(f"{number}.png")
            info.size = len(png(number))
            tar.addfile(info, io.BytesIO(png(number)))
    return tmp_path / "a.tar"


def shades(images):
    return [np.asarray(decode.open_item(images.root, item))[0, 0, 0] for item in images.images]


def test_images_of_an_archive_can_be_read_in_any_order(archive):
    images = list_images(archive)
    archive.unlink()
    assert [item.path for item in images.images] == [b"a.tar/%d.png" % number for number in range(5)]
    assert shades(ImageList(images.root, images.images[::-1])) == [4, 3, 2, 1, 0]
    copy = pickle.loads(pickle.dumps(images))  # noqa: S301 - as it travels to the processes that decode
    assert copy == images
    assert shades(copy) == [0, 1, 2, 3, 4]


def test_the_cache_goes_with_the_list(archive, tmp_path, monkeypatch):
    (tmp_path / "cache").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "cache"))
    images = list_images(archive)
    assert len(os.listdir(tmp_path / "cache")) == 1
    del images
    assert os.listdir(tmp_path / "cache") == []


def test_arrays_are_listed_too(tmp_path, gradient):
    np.save(tmp_path / "a.npy", gradient)
    for images in (list_images(tmp_path / "a.npy"), list_images(gradient), list_images(list(gradient))):
        found = [np.asarray(decode.open_item(images.root, item)) for item in images.images]
        assert np.array_equal(found, gradient)


def test_a_list_is_a_source(tmp_path, png):
    (tmp_path / "b.png").write_bytes(png(0))
    (tmp_path / "a.png").symlink_to("nowhere")
    images = list_images(tmp_path)
    assert open_source(images) is images
    assert list(images) == [Skipped(b"a.png", "No such file or directory"), Item(b"b.png")] or images.count() == 2
    assert images.images[0].size == len(png(0))
