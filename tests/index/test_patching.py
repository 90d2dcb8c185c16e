"""Changes that are kept beside an index: what an index with them answers, and what a kill or damage leaves."""

import json
import os
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import transhash
from transhash import Codes, Filter
from transhash.codes import ModelRef, Records, write_codes
from transhash.errors import IndexFolderError, SelectionError, TransHashError
from transhash.index import editing, lookup, manifest
from transhash.index.index import Index
from transhash.index.rows import Added, Changes
from transhash.serving.monitor import Monitor
from transhash.serving.served import ServedIndex

MODEL = ModelRef("phash", "digest-a", 16)
NAMES = ("red", "green", "blue")


@pytest.fixture(autouse=True, scope="module")
def small_indexes_keep_changes_beside_them():
    before = editing._LEAST, editing._SHARE, editing._LOOKED_UP
    editing._LEAST, editing._SHARE = 1, 1
    yield
    editing._LEAST, editing._SHARE, editing._LOOKED_UP = before


def codes_of(rows, root=b"/photos"):
    """Codes from rows (path, code, label, size); a label is a place in NAMES or -1, a size is -1 if unknown."""
    packed = np.array([[code >> 8, code & 255] for _, code, _, _ in rows], np.uint8).reshape(-1, 2)
    labels = np.array([label for *_, label, _ in rows], np.int32)
    sizes = np.array([size for *_, size in rows], np.int64)
    names = NAMES if (labels >= 0).any() else ()
    stats = (sizes, np.where(sizes < 0, -1, sizes * 10)) if (sizes >= 0).any() else (None, None)
    records = Records([path for path, *_ in rows], root, labels if names else None, names, *stats)
    return Codes(packed, records, MODEL)


def numbered(start, stop):
    return codes_of([(b"%d.jpg" % number, number * 257 % 65536, -1, -1) for number in range(start, stop)])


def described(index):
    """The rows of an index: {id: (full path, code, labels, size)}."""
    ids, codes = index.snapshot()
    sizes = codes.records.sizes
    known = np.full(len(ids), -1) if sizes is None else np.asarray(sizes)
    if codes.records.mtimes is not None:
        np.testing.assert_array_equal(np.asarray(codes.records.mtimes), np.where(known < 0, -1, known * 10))
    packed = codes.packed.astype(int)
    return {
        id: (path, (high << 8) + low, codes.records.names(row), int(known[row]))
        for row, (id, path, (high, low)) in enumerate(
            zip(ids.tolist(), codes.records.full_paths(), packed.tolist(), strict=True)
        )
    }


def distances(query, rows):
    return np.array([(query ^ code).bit_count() for _, code, _, _ in rows.values()], np.int64)


def check(index, rows, params):
    """Compare everything that an index answers with plain rows."""
    assert len(index) == len(rows) == index.info()["codes"]
    found = described(index)
    assert found == rows
    assert list(found) == list(rows)
    ids = np.array(list(rows))
    packed = codes_of([(b"", code, -1, -1) for _, code, _, _ in rows.values()][:4]).packed
    queries = np.concatenate([packed, np.array([[0, 0], [171, 205]], np.uint8)])
    inside = ids[::2]
    for where, allowed in ((None, np.ones(len(ids), bool)), (Filter(ids=inside.tolist()), np.isin(ids, inside))):
        nearest = index.search(queries, 3, where=where, params=params)
        within = index.search(queries, radius=5, where=where, params=params)
        for query, code in enumerate(queries.astype(int)):
            far = distances((code[0] << 8) + code[1], rows)[allowed]
            order = np.lexsort((ids[allowed], far))
            for result, kept in ((nearest, order[:3]), (within, order[far[order] <= 5])):
                span = slice(result.offsets[query], result.offsets[query + 1])
                assert result.ids[span].tolist() == ids[allowed][kept].tolist()
                assert result.distances[span].tolist() == far[kept].tolist()
    for id, (path, _, labels, _) in list(rows.items())[-3:]:
        assert index.path(id) == os.fsdecode(path)
        assert index.labels(id) == labels
        assert len(index.like(id, 1, params=params).ids) == (len(rows) > 1)


ROWS = st.lists(
    st.tuples(
        st.integers(0, 12).map(b"%d.jpg".__mod__),
        st.sampled_from([0, 1, 3, 7, 256, 65535, 4242]),
        st.integers(-1, 2),
        st.sampled_from([-1, 5, 6]),
    ),
    max_size=5,
    unique_by=lambda row: row[0],
)
ROOTS = st.sampled_from([b"/photos", b"/photos", b"/photos", b"/other"])
EDITS = st.lists(
    st.tuples(st.sampled_from(["add", "add", "replace", "replace", "sync", "compact", "tune"]), ROWS, ROWS, ROOTS)
    | st.tuples(st.just("remove"), st.sets(st.integers(0, 12), max_size=3), st.none(), ROOTS),
    max_size=7,
)


def plainly(rows, following, name, first, second, root):
    """Change plain rows; return them, the next id, and what the method returns or the error that it raises."""
    if name == "remove":
        gone = {id for id, row in rows.items() if int(row[0].split(b"/")[-1][:-4]) in first}
        if not gone or gone == rows.keys():
            return rows, following, SelectionError
        return {id: row for id, row in rows.items() if id not in gone}, following, len(gone)
    full = [
        [
            (root + b"/" + path, code, NAMES[label : label + 1] if label >= 0 else (), size)
            for path, code, label, size in part
        ]
        for part in (first, second)
    ]
    if name == "sync":
        if not first:
            return rows, following, TransHashError
        wanted = {row[:3]: row for row in full[0]}
        kept = {id: wanted[row[:3]] for id, row in rows.items() if row[:3] in wanted}
        gone = {row[0] for id, row in rows.items() if id not in kept}
        new = [row for key, row in wanted.items() if key not in {row[:3] for row in rows.values()}]
        changed = len(gone & {row[0] for row in new})
        kept |= dict(enumerate(new, following))
        return kept, following + len(new), Changes(len(new) - changed, len(gone) - changed, changed)
    total, replaced = 0, 0
    for part in full:
        paths = {row[0] for row in part}
        gone = {id for id, row in rows.items() if row[0] in paths}
        if gone and name == "add":
            return None, None, SelectionError
        rows = {id: row for id, row in rows.items() if id not in gone} | dict(enumerate(part, following))
        following, total, replaced = following + len(part), total + len(part), replaced + len(gone)
    return rows, following, Added(total, replaced)


def change(index, folder, name, first, second, root):
    """Make a change of `EDITS`."""
    if name == "remove":
        return index.remove(Filter(globs=[f"{number}.jpg" for number in first] or ["none"]))
    if name == "sync":
        write_codes(folder / "wanted.h5", codes_of(first, root))
        return index.sync(folder / "wanted.h5")
    return index.add([codes_of(part, root) for part in (first, second)], replace=name == "replace")


@pytest.mark.parametrize(
    ("kind", "looked_up"),
    [
        ("flat", 0),
        *(pytest.param(kind, 1 << 14, marks=pytest.mark.slow) for kind in ("flat", "ivf", "mih")),
    ],
)
@settings(max_examples=10)
@given(first=ROWS.filter(len), edits=EDITS)
def test_answers_are_those_of_plain_rows(kind, looked_up, first, edits, tmp_path_factory):
    editing._LOOKED_UP = looked_up
    folder = tmp_path_factory.mktemp("patched")
    Index.build(codes_of(first), kind).save(folder / "i")
    params = {"nprobe": 1000} if kind == "ivf" else {}
    rows, following, _ = plainly({}, 0, "replace", first, [], b"/photos")
    index = transhash.open(folder / "i")
    for name, one, two, root in edits:
        if name == "compact":
            index.compact()
            assert manifest.read(folder / "i").changes is None
        elif name == "tune":
            if kind == "ivf":
                index.tune(0.5, 1)
        else:
            after, then, expected = plainly(rows, following, name, one, two, root)
            if isinstance(expected, type):
                with pytest.raises(expected):
                    change(index, folder, name, one, two, root)
                continue
            assert change(index, folder, name, one, two, root) == expected
            rows, following = after, then
    check(index, rows, params)
    check(transhash.open(folder / "i"), rows, params)
    check(transhash.open(folder / "i", mmap=True), rows, params)
    assert manifest.read(folder / "i").next_id == following
    assert list(transhash.open(folder / "i").verify()) == []
    assert len(list((folder / "i").glob("[!.]*"))) == 1 + len(manifest.read(folder / "i").folders)


@pytest.fixture
def folder(tmp_path):
    Index.build(numbered(0, 50)).save(tmp_path / "i")
    index = transhash.open(tmp_path / "i")
    index.add(numbered(50, 55))
    index.remove(Filter(ids=[3, 51]))
    return tmp_path / "i"


def states(folder):
    return manifest.read(folder), {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_index_says_what_is_beside_it(folder):
    info = transhash.index_info(folder)
    assert (info["codes"], info["added"], info["removed"], info["next_id"]) == (53, 4, 1, 55)
    assert json.loads((folder / manifest.NAME).read_text())["version"] == 2
    transhash.open(folder).compact()
    assert transhash.index_info(folder).keys() & {"added", "removed"} == set()
    assert json.loads((folder / manifest.NAME).read_text())["version"] == 1


def test_faiss_sees_the_data_folder(folder):
    import faiss

    def counted():
        return faiss.read_index_binary(str(next(folder.glob("data-*/backend/index.faiss")))).ntotal

    assert counted() == 50
    transhash.open(folder).compact()
    assert counted() == 53


def test_data_that_did_not_change_is_not_written_again(folder):
    before = manifest.read(folder)
    transhash.open(folder).add(numbered(60, 61))
    after = manifest.read(folder)
    assert (after.data, after.files) == (before.data, before.files)
    assert after.changes.data != before.changes.data


def test_many_changes_are_merged_by_themselves(folder, monkeypatch):
    monkeypatch.setattr(editing, "_SHARE", 5)  # ten of fifty rows
    index = transhash.open(folder)
    index.add(numbered(100, 106))
    assert manifest.read(folder).changes.added == 10
    index.add(numbered(106, 107))
    assert manifest.read(folder).changes is None
    assert manifest.read(folder).count == 60
    index.remove(Filter(ids=list(range(10, 30))))
    assert manifest.read(folder).changes is None


def test_small_indexes_are_written_anew(folder, monkeypatch):
    monkeypatch.setattr(editing, "_LEAST", 1000)
    transhash.open(folder).add(numbered(60, 61))
    assert manifest.read(folder).changes is None


def test_indexes_without_a_lookup_get_one(folder):
    """As an earlier version wrote them."""
    transhash.open(folder).compact()
    stored = manifest.read(folder)
    (folder / stored.data / lookup.NAME).unlink()
    files = {name: vars(file) for name, file in stored.files.items() if name != lookup.NAME}
    document = json.loads((folder / manifest.NAME).read_text()) | {"files": files, "root": None}
    (folder / manifest.NAME).write_text(json.dumps(document))
    with pytest.raises(SelectionError, match="in the index already"):
        transhash.open(folder).add(numbered(7, 8))
    transhash.open(folder).add(numbered(60, 61))
    assert lookup.NAME in manifest.read(folder).files
    assert transhash.open(folder).path(55) == "/photos/60.jpg"


def test_a_reader_that_was_there_before_still_answers(folder):
    reader = transhash.open(folder)
    assert reader.path(50) == "/photos/50.jpg"
    transhash.open(folder).remove(Filter(ids=[50]))
    assert reader.path(50) == "/photos/50.jpg"
    assert reader.search(numbered(50, 51), 1).ids.tolist() == [50]


def test_a_server_opens_an_index_with_changes_and_sees_the_next(folder):
    served = ServedIndex("i", folder, None, Monitor())
    assert not served.refresh()
    assert served.snapshot.nearest(numbered(52, 53).packed, 1, None).ids.tolist() == [[52]]
    transhash.open(folder).remove(Filter(ids=[52]))
    assert served.refresh()
    assert len(served.snapshot) == 52
    assert 52 not in served.snapshot.nearest(numbered(52, 53).packed, 52, None).ids
    served.close()


def test_near_duplicates_and_exports_are_those_of_all_rows(folder, tmp_path):
    index = transhash.open(folder)
    index.add(codes_of([(b"copy.jpg", 10 * 257, -1, -1)]))
    (cluster,) = transhash.dedup(folder, radius=0)
    assert {os.path.basename(path) for path in cluster.paths} == {"10.jpg", "copy.jpg"}
    assert transhash.export_index(folder, tmp_path / "all.h5") == 54
    exported = transhash.read_codes(tmp_path / "all.h5")
    assert list(exported.records.full_paths()) == list(index.records.full_paths())
    np.testing.assert_array_equal(exported.packed, index.codes().packed)


def test_tuning_and_merging_take_the_changes(folder, tmp_path):
    Index.build(numbered(0, 50), "ivf", {"nlist": 5}).save(tmp_path / "ivf")
    index = transhash.open(tmp_path / "ivf")
    index.add(numbered(50, 55))
    index.tune(0.9, 1)
    assert manifest.read(tmp_path / "ivf").changes is None
    merged = transhash.merge_indexes([folder, tmp_path / "ivf"], tmp_path / "both", replace=True)
    assert len(merged) == 55


BESIDE = ["manifest.describe", "manifest.commit", "manifest.files.replacing"]
MERGED = ["write_rows", "manifest.describe", "manifest.files.replacing"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("edit", "stage"),
    [
        *(("index.add(codes)", stage) for stage in BESIDE),
        ("index.remove(transhash.Filter(ids=[7]))", BESIDE[-1]),
        *(("index.compact()", stage) for stage in MERGED),
    ],
)
def test_a_kill_leaves_the_old_state(forks, folder, edit, stage, tmp_path):
    write_codes(tmp_path / "new.h5", numbered(60, 62))
    before, files = states(folder)
    code = f"""
import os, signal, transhash
from transhash.index import editing
editing._LEAST = editing._SHARE = 1
*above, name = "{stage}".split(".")
target = editing
for part in above:
    target = getattr(target, part)
setattr(target, name, lambda *arguments: os.kill(os.getpid(), signal.SIGKILL))
index, codes = transhash.open({str(folder)!r}), {str(tmp_path / "new.h5")!r}
{edit}
"""
    assert forks.run(code).returncode == -9
    now, left = states(folder)
    assert now == before
    assert files.items() <= left.items()
    assert len(left) > len(files)
    transhash.open(folder).add(numbered(70, 71))
    assert len(list(folder.glob("[!.]*"))) == 1 + len(manifest.read(folder).folders)
    assert len(transhash.open(folder)) == 54


CHANGES = ("codes.npy", "removed.npy", "changed.npy", "ids.safetensors", "records.h5", lookup.NAME)


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "unnamed", "of another index"])
def test_damaged_changes_give_one_line(folder, name, damage, tmp_path):
    changes = json.loads((folder / manifest.NAME).read_text())["changes"]
    path = folder / changes["data"] / name
    if damage == "flipped":
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    elif damage == "gone":
        path.unlink()
    elif damage == "unnamed":
        del changes["files"][name]
    else:  # with a manifest that fits, as an attacker writes it
        shutil.copytree(folder, tmp_path / "other")
        other = transhash.open(tmp_path / "other")
        other.add(numbered(80, 90))
        other.remove(Filter(ids=[10, 11]))
        shutil.copy(tmp_path / "other" / manifest.read(tmp_path / "other").changes.data / name, path)
        changes["files"][name] = vars(manifest.describe(path.parent)[name])
    document = json.loads((folder / manifest.NAME).read_text()) | {"changes": changes}
    (folder / manifest.NAME).write_text(json.dumps(document))
    for attempt in (
        lambda: transhash.open(folder).search(numbered(1, 2)),
        lambda: transhash.open(folder).add(numbered(0, 1)),
    ):
        try:
            attempt()
        except (IndexFolderError, SelectionError, TransHashError) as error:
            assert "\n" not in str(error)
        else:
            assert name in ("changed.npy", lookup.NAME)


@pytest.mark.parametrize(
    "changes",
    [
        {"added": 3},
        {"added": -1},
        {"stored": 49},
        {"stored": 2**62},
        {"data": "../i"},
        {"data": "data-0000000000000000"},
        {"files": {"../../x": {"bytes": 1, "sha256": ""}}},
        {"files": {}},
        None,
        [],
    ],
)
def test_a_damaged_manifest_gives_one_line(folder, changes):
    document = json.loads((folder / manifest.NAME).read_text())
    document["changes"] = changes if not changes else document["changes"] | changes
    (folder / manifest.NAME).write_text(json.dumps(document))
    with pytest.raises(TransHashError) as caught:
        transhash.open(folder).search(numbered(1, 2))
    assert "\n" not in str(caught.value)
