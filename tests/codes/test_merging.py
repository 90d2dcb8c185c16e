import os
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.codes import CodesWriter, ModelRef, merge, open_codes, read_codes, verify_codes
from transhash.codes.arithmetic import fast_model
from transhash.errors import CodesError, OutputError

from .rows import MODEL, Kind, kinds, many, read, rows, seen, write


def digest(path):
    with open_codes(path, trusted=True) as file:
        return file.header.digest


@pytest.mark.slow
@settings(deadline=None, max_examples=15)
@given(st.lists(st.lists(rows, max_size=12), min_size=1, max_size=4), kinds, st.data())
def test_merging_is_writing_what_is_kept(tmp_path_factory, parts, kind, data):
    folder = tmp_path_factory.mktemp("codes")
    inputs, kept, skipped = [], [], []
    for number, part in enumerate(parts):
        mask = data.draw(st.none() | st.lists(st.booleans(), min_size=len(part), max_size=len(part)))
        own = [(b"bad %d" % number, "empty file")] * number
        path = write(folder / f"{number}.h5", part, kind, skipped=own)
        inputs.append((path, None if mask is None else np.array(mask, dtype=bool)))
        kept += part if mask is None else [row for row, keep in zip(part, mask, strict=True) if keep]
        skipped += own if mask is None else []
    once = write(folder / "once.h5", kept, kind, skipped=skipped)
    output = data.draw(st.sampled_from([folder / "out.h5", *(path for path, _ in inputs)]))
    assert merge(inputs, output, trusted=True) == len(kept)
    assert digest(output) == digest(once)
    assert read(output) == seen(kept, kind)
    assert read_codes(output, trusted=True).skipped == skipped


def test_different_files_are_joined(tmp_path):
    """Files with different label numbers, string widths and root folders, and times in only one of them."""
    one = write(tmp_path / "1.h5", [replace(row, labels=("b",)) for row in many(3)], Kind(1, 0, False), root=b"/one")
    two = write(
        tmp_path / "2.h5", [replace(row, labels=("a", "b")) for row in many(2)], Kind(2, 0, True), root=b"/two"
    )
    three = write(tmp_path / "3.h5", many(1), Kind(0, 0, False), root=b"", skipped=[(b"bad", "why")])
    assert merge([(one, None), (two, None), (three, None)], tmp_path / "all.h5") == 6
    codes = read_codes(tmp_path / "all.h5")
    records = codes.records
    paths = [b"/one/" + row.path for row in many(3)] + [b"/two/" + row.path for row in many(2)]
    assert list(records.paths) == [*paths, many(1)[0].path]
    assert records.root == b""
    assert records.label_names == ("b", "a")
    assert [records.names(row) for row in range(6)] == [("b",)] * 3 + [("a", "b")] * 2 + [()]
    assert records.sizes.tolist() == [-1, -1, -1, *(row.size for row in many(2)), -1]
    assert records.mtimes.tolist() == [-1, -1, -1, *(row.mtime for row in many(2)), -1]
    verify_codes(tmp_path / "all.h5")


def test_skipped_files_keep_their_folder(tmp_path):
    one = write(tmp_path / "1.h5", many(1), root=b"/one", skipped=[(b"bad", "why")])
    two = write(tmp_path / "2.h5", many(1), root=b"/two", skipped=[(b"/abs", "why")])
    merge([(one, None), (two, None)], tmp_path / "all.h5")
    assert read_codes(tmp_path / "all.h5").skipped == [(b"/one/bad", "why"), (b"/abs", "why")]


def test_one_of_them_says_what_it_does_to_images(tmp_path):
    silent = write(tmp_path / "1.h5", many(1), model=replace(MODEL, preprocessing=""))
    merge([(silent, None), (write(tmp_path / "2.h5", many(1)), None)], tmp_path / "all.h5")
    assert read_codes(tmp_path / "all.h5").model == MODEL


@pytest.mark.parametrize(
    ("model", "kind", "message"),
    [
        (fast_model(MODEL), Kind(), r"64\), .* by phash --fast .*64\+fast\): only one was .*: encode both with it"),
        (ModelRef("other", "digest", 64), Kind(), r"1\.h5 was made by phash .*2\.h5 by other .*: encode both"),
        (replace(MODEL, preprocessing="{}"), Kind(), "prepared in different ways"),
        (MODEL, Kind(embeddings=0), r"1\.h5 has embeddings of 3 dimensions, .*2\.h5 of 0"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, model, kind, message):
    one, two = write(tmp_path / "1.h5", many(2)), write(tmp_path / "2.h5", many(2), kind, model=model)
    before = one.read_bytes()
    with pytest.raises(CodesError, match=message) as caught:
        merge([(one, None), (two, None)], one)
    assert "\n" not in str(caught.value)
    assert one.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["1.h5", "2.h5"]


def test_other_widths_are_refused(tmp_path):
    one = write(tmp_path / "1.h5", many(2), Kind(0, 0, False))
    with CodesWriter.create(tmp_path / "2.h5", replace(MODEL, bits=16)) as writer:
        writer.append(np.zeros((1, 2), np.uint8), [b"x"])
    with pytest.raises(CodesError, match=r"64 bits.*16 bits"):
        merge([(one, None), (tmp_path / "2.h5", None)], tmp_path / "all.h5")


def test_masks_must_fit(tmp_path):
    one = write(tmp_path / "1.h5", many(2))
    with pytest.raises(ValueError, match="mask"):
        merge([(one, np.ones(3, bool))], tmp_path / "all.h5")


def test_output_of_another_kind_is_refused(tmp_path):
    (tmp_path / "note.h5").write_text("mine")
    with pytest.raises(OutputError, match="not a codes file"):
        merge([(write(tmp_path / "1.h5", many(2)), None)], tmp_path / "note.h5")
    assert (tmp_path / "note.h5").read_text() == "mine"


def test_damage_in_the_second_leaves_the_output(tmp_path):
    one, two = write(tmp_path / "1.h5", many(2)), write(tmp_path / "2.h5", many(2))
    two.write_bytes(two.read_bytes()[:-5000])
    before = one.read_bytes()
    with pytest.raises(CodesError, match=r"2\.h5"):
        merge([(one, None), (two, None)], one)
    assert one.read_bytes() == before


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_kill_leaves_the_old_file_and_its_litter_where_it_was_told(tmp_path, apart):
    path = write(tmp_path / "c.h5", many(40_000), Kind(1, 0, False))
    (tmp_path / "litter").mkdir()
    before = path.read_bytes()
    code = f"""
import os, signal
from pathlib import Path
from transhash.codes import merge
path = Path({str(path)!r})
merge([(path, None), (path, None)], path, temporary={f"Path({str(tmp_path / 'litter')!r})" if apart else None},
      on_rows=lambda done, total: done > total / 2 and os.kill(os.getpid(), signal.SIGKILL))
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert path.read_bytes() == before
    where = tmp_path / "litter" if apart else tmp_path
    assert len([name for name in os.listdir(where) if name.endswith(".part")]) == 1
    assert len(os.listdir(tmp_path)) == (2 if apart else 3)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path):
    code = f"""
import resource
from pathlib import Path
import numpy as np
from transhash.codes import CodesWriter, ModelRef, merge
from transhash.codes.arithmetic import fast_model
folder = Path({str(tmp_path)!r})
with CodesWriter.create(folder / "c.h5", ModelRef("m", "d", 1024), labels=1, embeddings=64, stats=True) as writer:
    for number in range(6):
        paths = [b"%d/%040d" % (number, place) for place in range(10_000)]
        writer.append(np.zeros((10_000, 128), np.uint8), paths, [("x",)] * 10_000, embeddings=np.zeros((10_000, 64)))
merge([(folder / "c.h5", None)], folder / "one.h5")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert merge([(folder / "c.h5", None)] * 5, folder / "five.h5") == 300_000
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 30_000  # KiB; the rows take 100,000


@pytest.mark.slow
def test_thousands_of_parts(tmp_path):
    """More parts than a process may have open files."""
    import resource

    part = write(tmp_path / "part.h5", many(1))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (40, hard))
    try:
        assert merge([(part, None)] * 60, tmp_path / "all.h5", trusted=True) == 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
