"""Malicious or damaged files are opened consistently or rejected, and never crash the process."""

import os
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
from safetensors.numpy import save

from faiss_backend import FaissIndex
from faiss_backend.distinct import FILE as NODES_FILE
from faiss_backend.kind import FILE
from transhash.errors import BackendError

TYPES = ["BFlat", "BIVF8", "BIVF8_HNSW4", "BHNSW4", "BHash9", "BHash3x9"]

OPEN_MUTANTS = """
import resource, sys
from pathlib import Path
import numpy as np
from faiss_backend import FaissIndex
from faiss_backend.kind import FILE
from transhash.errors import BackendError

folder, whole = Path(sys.argv[1]), np.fromfile(sys.argv[2], np.uint8)
resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30))
rng = np.random.default_rng(1)
mappable = whole[:4].tobytes() in (b"IBxF", b"IBwF")
refused = 0
for attempt in range(500):
    mutant = whole.copy()
    end = len(mutant) if attempt % 2 else min(len(mutant), 400)
    if attempt % 5 == 0:
        mutant = mutant[: rng.integers(len(mutant))]
    elif attempt % 5 == 1:
        place = rng.integers(0, end - 8)
        number = rng.choice(np.array([0, 1, 2**31 - 1, 2**31, 2**62, 2**64 - 1], np.uint64))
        mutant[place : place + 8] = np.frombuffer(number.tobytes(), np.uint8)
    elif attempt % 5 == 2:
        place = rng.integers(0, end - 4)
        mutant[place : place + 4] = rng.choice(np.array([-2, -1, 0, 7, 2**30], np.int32)).view((np.uint8, 4))
    else:
        mutant[rng.integers(4 * (attempt % 3 > 0), end, 2)] = rng.integers(0, 256, 2)
    (folder / FILE).write_bytes(mutant.tobytes())
    print("attempt", attempt, flush=True)
    for mmap in (False, True)[: 1 + mappable]:
        try:
            index = FaissIndex.load(folder, mmap)
        except BackendError as error:
            refused += 1
            assert "\\n" not in str(error)
            continue
        width = index.bits // 8
        queries = np.concatenate([np.zeros((2, width), np.uint8), rng.integers(0, 256, (2, width), np.uint8)])
        ids = index.search(queries, 10).ids
        assert ids.max(initial=-1) < len(index)
        if index.info()["type"] != "hnsw":
            ids = index.range_search(queries, 20).ids
            assert ids.max(initial=-1) < len(index)
        if not mmap:
            index.add(queries)
            index.search(queries, 10)
print("refused", refused)
"""


def build(folder, factory):
    codes = np.random.default_rng(0).integers(0, 4, (300, 8), dtype=np.uint8)
    FaissIndex.build(codes, type=factory).save(folder)
    return codes


@pytest.mark.parametrize(
    "nodes",
    [
        {"nodes": np.array([0, 1, 2**40])},
        {"nodes": np.array([0, -1, 1])},
        {"nodes": np.zeros(3, np.int32)},
        {"nodes": np.zeros((3, 2), np.int64)},
        {"nodes": np.zeros(500, np.int64)},
        {"other": np.zeros(3, np.int64)},
    ],
)
def test_nodes_that_do_not_fit_their_graph(nodes, tmp_path):
    codes = np.random.default_rng(0).integers(0, 256, (300, 8), dtype=np.uint8)
    FaissIndex.build(np.concatenate([codes, codes[:9]]), type="hnsw").save(tmp_path)
    assert len(FaissIndex.load(tmp_path)) == 309
    (tmp_path / NODES_FILE).write_bytes(save(nodes))
    with pytest.raises(BackendError, match=r"index\.faiss: not a FAISS index, or damaged \(nodes.safetensors"):
        FaissIndex.load(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("factory", TYPES)
def test_mutated_files_are_consistent_or_rejected(factory, tmp_path):
    """No mutant crashes the process, hangs it, or takes gigabytes; what opens searches and grows."""
    build(tmp_path, factory)
    whole = (tmp_path / FILE).rename(tmp_path / "whole")
    done = subprocess.run(
        [sys.executable, "-c", OPEN_MUTANTS, tmp_path, whole], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, (done.returncode, done.stdout[-300:], done.stderr[-2000:])
    assert 100 < int(done.stdout.split()[-1]) < 1000


@pytest.mark.parametrize("factory", TYPES)
def test_files_are_compatible_with_faiss(factory, tmp_path):
    codes = build(tmp_path, factory)
    ours = FaissIndex.load(tmp_path)
    theirs = faiss.read_index_binary(str(tmp_path / FILE))
    distances, _ = theirs.search(codes[:20], 5)
    np.testing.assert_array_equal(ours.search(codes[:20], 5).distances[:, 0], distances[:, 0])
    faiss.write_index_binary(theirs, str(tmp_path / FILE))
    again = FaissIndex.load(tmp_path)
    assert again.info() == ours.info()
    np.testing.assert_array_equal(again.search(codes, 5).ids, ours.search(codes, 5).ids)


@pytest.mark.parametrize("kind", ["flat", "ivf", "mih"])
def test_paths_may_be_of_any_bytes(kind, tmp_path):
    folder = tmp_path / os.fsdecode(b"\xff \n")
    folder.mkdir()
    codes = build(folder, kind)
    for mmap in (False, True):
        assert (FaissIndex.load(folder, mmap).search(codes, 1).distances == 0).all()


def test_an_index_of_another_type_is_refused(tmp_path):
    codes = np.zeros((10, 8), np.uint8)
    other = faiss.IndexBinaryIDMap(faiss.IndexBinaryFlat(64))
    other.add_with_ids(codes, np.arange(10) + 5)
    for index in (other, faiss.IndexBinaryIVF(faiss.IndexBinaryFlat(64), 64, 4)):
        faiss.write_index_binary(index, str(tmp_path / FILE))
        with pytest.raises(BackendError, match=r"index\.faiss: not a FAISS index, or damaged"):
            FaissIndex.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda hnsw, flat: put(hnsw.neighbors, 3, 10_000), "does not lead to a node|out of range"),
        (lambda hnsw, flat: put(hnsw.levels, 0, 40), "levels|range"),
        (lambda hnsw, flat: put(hnsw.offsets, 5, 1), "offsets|do not follow"),
        (lambda hnsw, flat: setattr(hnsw, "entry_point", -1), "entry"),
        (lambda hnsw, flat: setattr(hnsw, "max_level", 0), "entry"),
        (lambda hnsw, flat: setattr(hnsw, "efSearch", 2**31 - 1), "ef="),
        (lambda hnsw, flat: setattr(hnsw, "efConstruction", 2**31 - 1), "parameters"),
        (lambda hnsw, flat: leave_level(hnsw), "leaves its level"),
        (lambda hnsw, flat: flat.add(np.zeros((1, 8), np.uint8)), "codes|mismatch"),
    ],
)
def test_invalid_graphs_are_rejected(change, message, tmp_path):
    index = faiss.IndexBinaryHNSW(64, 4)
    index.add(np.random.default_rng(0).integers(0, 256, (300, 8), dtype=np.uint8))
    change(index.hnsw, faiss.downcast_IndexBinary(index.storage))
    faiss.write_index_binary(index, str(tmp_path / FILE))
    with pytest.raises(BackendError, match=message):
        FaissIndex.load(tmp_path)


def put(vector, place, value):
    faiss.rev_swig_ptr(vector.data(), vector.size())[place] = value


def leave_level(hnsw):
    """Link the entry point on the top level to a node that exists only on the bottom level."""
    levels, starts = faiss.vector_to_array(hnsw.levels), faiss.vector_to_array(hnsw.offsets)
    put(hnsw.neighbors, int(starts[hnsw.entry_point]) + hnsw.cum_nb_neighbors(hnsw.max_level), int(levels.argmin()))


@pytest.mark.slow
def test_a_mapped_file_is_not_read_completely(tmp_path):
    """A mapped index uses no memory that cannot be reclaimed."""
    codes = np.random.default_rng(0).integers(0, 256, (2_000_000, 32), dtype=np.uint8)
    for name, rows in (("all", codes), ("few", codes[:100])):
        (tmp_path / name).mkdir()
        FaissIndex.build(rows).save(tmp_path / name)
    script = (
        "import sys\nfrom pathlib import Path\nfrom faiss_backend import FaissIndex\n"
        "def own(): return int(Path('/proc/self/status').read_text().split('RssAnon:')[1].split()[0])\n"
        "for name in ('few', 'all'):  # the first loads what is imported late\n"
        "    before = own()\n    index = FaissIndex.load(Path(sys.argv[1]) / name, mmap=True)\n"
        "    index.search(index.reconstruct(7, 8), 3)\nprint(own() - before)\n"
    )
    command = [sys.executable, "-c", script, tmp_path]  # the installed package, which has the compiled scan
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert int(done.stdout) < 40_000  # KiB; the codes take 62,500
    assert Path(tmp_path / "all" / FILE).stat().st_size > 64_000_000
