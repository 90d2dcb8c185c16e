"""Runs that are stopped and go on, and runs that append: the file is that of one run over what is there."""

import os
import shutil
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from transhash import codes
from transhash.encoding import pending, unfinished
from transhash.encoding.run import encode_to_file
from transhash.errors import CodesError, ModelError, OutputError, SourceError
from transhash.hashers import load_hasher
from transhash.sources import decode
from transhash.sources.base import Item, Skipped
from transhash.sources.folder import FolderSource

PHASH = load_hasher("phash")


class Noise:
    """Images of noise, some of them broken, from memory."""

    root = b"/nowhere"
    description = "noise"

    def __init__(self, count, broken=()):
        self._count = count
        self._broken = set(broken)

    def __iter__(self):
        for number in range(self._count):
            name = b"%d.png" % number
            if number % 11 == 5:
                yield Skipped(name, "no image")
                continue
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16), dtype=np.uint8)
            labels = (f"class {number % 3}",) if number % 4 else ()
            yield Item(name, labels, b"broken" if number in self._broken else pixels)

    def count(self):
        return self._count


class Killed(BaseException):
    """Simulates kill -9, for which no handler of TransHash may run."""


def digest(path):
    with codes.open_codes(path) as file:
        return file.header.digest


def paths(path):
    return list(codes.read_codes(path).records.paths)


@pytest.mark.slow
@settings(deadline=None, max_examples=7, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(1, 30),
    broken=st.sets(st.integers(0, 29), max_size=5),
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    stops=st.lists(st.integers(1, 6), max_size=3),
    part=st.integers(1, 12),
    fan_in=st.integers(2, 4),
)
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, monkeypatch, count, broken, sizes, stops, part, fan_in):
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    source = Noise(count, broken)
    if not any(number % 11 != 5 and number not in broken for number in range(count)):
        return
    encode_to_file(source, tmp_path / "whole.h5", PHASH)
    monkeypatch.setattr(pending, "_ITEMS", part)
    monkeypatch.setattr(unfinished, "_FAN_IN", fan_in)
    for place, stop in enumerate(stops):
        calls = Counter()

        def on_progress(done, total, calls=calls, stop=stop):
            calls["batches"] += 1
            if calls["batches"] == stop:
                raise Killed

        try:
            size = sizes[place % len(sizes)]
            encode_to_file(source, tmp_path / "cut.h5", PHASH, batch_size=size, on_progress=on_progress)
        except Killed:
            continue
        break
    summary = encode_to_file(source, tmp_path / "cut.h5", PHASH, batch_size=sizes[-1])
    assert digest(tmp_path / "cut.h5") == digest(tmp_path / "whole.h5")
    assert summary.rows == len(codes.read_codes(tmp_path / "cut.h5"))
    assert sorted(os.listdir(tmp_path)) == ["cut.h5", "whole.h5"]


def stop_after(source, output, items, monkeypatch, **options):
    """Leave an unfinished run whose parts hold `items` items."""
    monkeypatch.setattr(pending, "_ITEMS", 1)
    done = Counter()

    def on_progress(done_, total):
        done["items"] += 1
        if done["items"] > items:
            raise Killed

    with pytest.raises(Killed):
        encode_to_file(source, output, PHASH, batch_size=1, on_progress=on_progress, **options)


@pytest.mark.slow
def test_finished_images_are_not_encoded_again(tmp_path, monkeypatch):
    stop_after(Noise(40), tmp_path / "c.h5", 30, monkeypatch)
    told, seen = [], []
    summary = encode_to_file(
        Noise(40),
        tmp_path / "c.h5",
        PHASH,
        batch_size=1,
        on_resume=told.append,
        on_progress=lambda *progress: seen.append(progress),
    )
    assert told == [30]
    assert seen == [(done, 40) for done in range(31, 41)]
    assert (summary.resumed, summary.encoded) == (27, 9)


@pytest.mark.slow
def test_an_unfinished_run_of_another_kind(tmp_path, monkeypatch):
    output = tmp_path / "c.h5"
    stop_after(Noise(20), output, 10, monkeypatch)
    with pytest.raises(CodesError, match=r"another append \(False, now True\).*--restart"):
        encode_to_file(Noise(20), output, PHASH, append=True)
    with pytest.raises(CodesError, match=r"have changed since the unfinished run .*'0.png'.*--restart"):
        encode_to_file(FolderSource(tmp_path), output, PHASH)
    assert encode_to_file(Noise(3), output, PHASH, restart=True).rows == 3


def test_two_runs_at_once(tmp_path):
    with (
        unfinished.UnfinishedRun.open(tmp_path / "c.h5", unfinished.RunSettings("digest", "")),
        pytest.raises(OutputError, match="another process is writing it"),
    ):
        encode_to_file(Noise(3), tmp_path / "c.h5", PHASH)


@pytest.mark.slow
def test_a_part_that_was_damaged(tmp_path, monkeypatch):
    stop_after(Noise(20), tmp_path / "c.h5", 10, monkeypatch)
    part = sorted((tmp_path / "c.h5.parts").glob("*.h5"))[3]
    part.write_bytes(part.read_bytes()[:-100])
    with pytest.raises(CodesError, match=part.name):
        encode_to_file(Noise(20), tmp_path / "c.h5", PHASH)


@pytest.fixture
def folder(pictures, tmp_path):
    return shutil.copytree(pictures, tmp_path / "photos")


@pytest.mark.slow
def test_append_adds_new_images(folder, tmp_path):
    output = tmp_path / "c.h5"
    encode_to_file(FolderSource(folder), output, PHASH)
    before = paths(output)
    shutil.copy(folder / "cross" / "1.png", folder / "circle" / "new.png")
    (folder / "cross" / "0.png").unlink()
    os.utime(folder / "cross" / "1.png", (1, 1))
    summary = encode_to_file(FolderSource(folder), output, PHASH, append=True)
    assert (summary.rows, summary.encoded, summary.changed, summary.vanished) == (25, 1, 1, 1)
    assert paths(output) == [*before, b"circle/new.png"]
    again = digest(output)
    assert encode_to_file(FolderSource(folder), output, PHASH, append=True).encoded == 0
    assert digest(output) == again


@pytest.mark.slow
def test_sync_equals_a_new_run(folder, tmp_path):
    output = tmp_path / "c.h5"
    (folder / "broken.png").write_bytes(b"no image")
    encode_to_file(FolderSource(folder), output, PHASH)
    (folder / "cross" / "0.png").unlink()
    shutil.copy(folder / "stripe" / "1.png", folder / "circle" / "2.png")
    summary = encode_to_file(FolderSource(folder), output, PHASH, sync=True)
    assert (summary.rows, summary.encoded, summary.changed, summary.vanished) == (23, 1, 1, 1)
    encode_to_file(FolderSource(folder), tmp_path / "new.h5", PHASH)
    synced, new = codes.read_codes(output), codes.read_codes(tmp_path / "new.h5")
    rows = {
        path: (code.tobytes(), synced.records.names(row))
        for row, (path, code) in enumerate(zip(synced.records.paths, synced.packed, strict=True))
    }
    assert rows == {
        path: (code.tobytes(), new.records.names(row))
        for row, (path, code) in enumerate(zip(new.records.paths, new.packed, strict=True))
    }
    assert synced.skipped == new.skipped == [(b"broken.png", "not an image of a known format")]


@pytest.mark.slow
def test_an_interrupted_append_resumes(folder, tmp_path, monkeypatch):
    output = tmp_path / "c.h5"
    encode_to_file(FolderSource(folder / "cross"), output, PHASH)
    with pytest.raises(CodesError, match="append to it from there"):
        encode_to_file(FolderSource(folder), output, PHASH, append=True)
    for number in range(6):
        shutil.copy(folder / "circle" / f"{number}.png", folder / "cross" / f"new {number}.png")
    shutil.copy(output, tmp_path / "whole.h5")
    stop_after(FolderSource(folder / "cross"), output, 3, monkeypatch, append=True)
    assert len(paths(output)) == 8
    encode_to_file(FolderSource(folder / "cross"), output, PHASH, append=True)
    encode_to_file(FolderSource(folder / "cross"), tmp_path / "whole.h5", PHASH, append=True)
    assert digest(output) == digest(tmp_path / "whole.h5")


def test_append_to_codes_of_another_model(folder, tmp_path, hasher_file):
    output = tmp_path / "c.h5"
    encode_to_file(FolderSource(folder), output, load_hasher(hasher_file))
    shutil.copy(folder / "cross" / "1.png", folder / "circle" / "new.png")
    with pytest.raises(CodesError, match="encode into another file"):
        encode_to_file(FolderSource(folder), output, PHASH, append=True)
    assert len(paths(output)) == 24


def test_embeddings(folder, tmp_path, hasher_file):
    hasher = load_hasher(hasher_file)
    encode_to_file(FolderSource(folder), tmp_path / "c.h5", hasher, embeddings=True)
    stored = codes.read_codes(tmp_path / "c.h5", embeddings=True)
    batch = np.stack([hasher.preprocess(decode.read(stored.records.path(row))) for row in range(len(stored))])
    np.testing.assert_allclose(stored.embeddings, hasher.embed(batch), atol=2e-2)
    np.testing.assert_allclose(np.linalg.norm(stored.embeddings.astype(float), axis=1), 1, atol=1e-2)
    with pytest.raises(ModelError, match="phash has no embeddings"):
        encode_to_file(FolderSource(folder), tmp_path / "p.h5", PHASH, embeddings=True)


@pytest.mark.slow
def test_processes_do_not_change_the_result(folder, tmp_path, hasher_file):
    (folder / "broken.png").write_bytes(b"no image")
    hasher = load_hasher(hasher_file)
    encode_to_file(FolderSource(folder), tmp_path / "one.h5", hasher, batch_size=5)
    encode_to_file(FolderSource(folder), tmp_path / "two.h5", hasher, batch_size=5, processes=2)
    assert digest(tmp_path / "one.h5") == digest(tmp_path / "two.h5")


def test_nothing_readable_leaves_nothing(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(b"")
    with pytest.raises(SourceError, match="cannot be read: empty file"):
        encode_to_file(FolderSource(tmp_path / "photos"), tmp_path / "c.h5", PHASH)
    assert os.listdir(tmp_path) == ["photos"]
