import numpy as np
import pytest
from PIL import Image

from transhash.codes import ModelRef, read_codes
from transhash.codes.arithmetic import fast_model
from transhash.codes.truncation import truncated_model
from transhash.encoding import engines
from transhash.encoding.run import encode, encode_to_file
from transhash.encoding.target import Target
from transhash.errors import CodesError, OutputError, SourceError
from transhash.hashers import load_hasher
from transhash.sources import decode, lookahead, open_source
from transhash.sources.base import Item


@pytest.mark.slow
def test_every_row_is_the_code_of_its_path(pictures, tmp_path):
    (tmp_path / "mixed").mkdir()
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        Image.open(path).save(tmp_path / "mixed" / f"{number:03}.png")
        (tmp_path / "mixed" / f"{number:03}x.png").write_bytes(path.read_bytes()[:50])
    hasher = load_hasher("phash")
    source = open_source(tmp_path / "mixed")
    for batch_size in (1, 7, 100):
        summary = encode_to_file(source, tmp_path / "c.h5", hasher, batch_size=batch_size)
        codes = read_codes(tmp_path / "c.h5")
        assert (summary.rows, summary.skipped.total(), len(codes), len(codes.skipped)) == (24, 24, 24, 24)
        for row in range(24):
            alone = hasher.encode(hasher.preprocess(decode.read(codes.records.path(row)))[None])
            np.testing.assert_array_equal(codes.packed[row], alone[0])


def test_memory_and_file_agree(pictures, tmp_path):
    hasher = load_hasher("phash")
    encode_to_file(open_source(pictures), tmp_path / "c.h5", hasher)
    stored, memory = read_codes(tmp_path / "c.h5"), encode(pictures, hasher)
    np.testing.assert_array_equal(stored.packed, memory.packed)
    assert list(stored.records.paths) == list(memory.records.paths)
    assert [stored.records.names(row) for row in range(24)] == [memory.records.names(row) for row in range(24)]
    assert stored.model == memory.model


def test_several_labels_from_a_list(pictures, tmp_path):
    (tmp_path / "list.txt").write_text("cross/0.png 1 1 0\ncircle/1.png 0 0 0\nnone.png 1 1 1\nstripe/2.png 0 0 1\n")
    (tmp_path / "classes.txt").write_text("red\ngreen\nblue\n")
    source = open_source(pictures, names=tmp_path / "list.txt")
    encode_to_file(source, tmp_path / "c.h5", load_hasher("phash"), batch_size=2)
    for codes in (read_codes(tmp_path / "c.h5"), encode(source, load_hasher("phash"))):
        assert [codes.records.names(row) for row in range(3)] == [("red", "green"), (), ("blue",)]
        assert [path for path, _ in codes.skipped] == [b"none.png"]


def test_files_have_no_labels(pictures):
    codes = encode([pictures / "cross" / "0.png", pictures / "circle" / "1.png"], load_hasher("phash"))
    assert codes.records.labels is None
    assert codes.records.path(1) == str(pictures / "circle" / "1.png")


def test_nothing_to_encode(tmp_path):
    hasher = load_hasher("phash")
    with pytest.raises(SourceError, match="no images in it"):
        encode(tmp_path, hasher)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match=r"'a\.jpg' cannot be read: empty file"):
        encode_to_file(open_source(tmp_path), tmp_path / "c.h5", hasher)
    assert not (tmp_path / "c.h5").exists()
    with pytest.raises(SourceError, match="no such file or folder"):
        encode(tmp_path / "nowhere", hasher)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_large_images_are_not_taken_far_ahead(monkeypatch, processes):
    """A hundred images of 64 kB, of which 256 kB may be waiting: few are taken before the first come out."""
    monkeypatch.setattr(lookahead, "MAX_BYTES", 1 << 18)
    taken = 0

    def items():
        nonlocal taken
        for number in range(100):
            taken += 1
            yield Item(b"%d" % number, (), np.full((256, 256), number, np.uint8))

    batches = engines.encode_batches(items(), b"", load_hasher("phash"), 1, processes=processes)
    first = next(batches)
    assert taken <= 8
    rest = list(batches)
    assert [item.path for batch in (first, *rest) for item in batch.items] == [b"%d" % n for n in range(100)]


def test_an_existing_file_of_another_length_or_arithmetic_is_told_apart(tmp_path):
    """The digests of these models begin alike."""
    model = ModelRef("copy", "d" * 64, 128, '{"nested": [64, 128]}')
    target = Target(tmp_path / "c.h5", model, b"/photos", "", 5, 0, None)
    made = r"made with copy \(128 bits, digest d{12}\)"
    with pytest.raises(OutputError, match=rf"{made}; this run uses copy \(64 bits, digest"):
        target.check_replaced(truncated_model(model, 64), b"/photos", "", False, None)
    with pytest.raises(OutputError, match=rf"{made}; this run uses copy --fast \(128 bits, digest d{{12}}\+fast\)"):
        target.check_replaced(fast_model(model), b"/photos", "", False, None)
    with pytest.raises(CodesError, match=rf"{made}, not with copy \(64 bits, digest"):
        target.check_extended(truncated_model(model, 64), b"/photos", "", False)
