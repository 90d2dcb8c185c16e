import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

import transhash
from transhash import Codes, Filter, Index, duplicates, hamming
from transhash.codes import ModelRef, Records, write_codes
from transhash.errors import BackendError, IndexFolderError, MismatchError, SelectionError
from transhash.hashers import model_ref
from transhash.index import stats


def codes_of(packed, paths=None, root=b"/nowhere", name="phash", stats=True):
    """Codes of files, encoded as they are now; with unknown sizes and times unless `stats`."""
    paths = paths or [b"%d.jpg" % row for row in range(len(packed))]
    known = np.full((2, len(packed)), -1, np.int64)
    for row, path in enumerate(paths if stats else ()):
        with suppress(OSError):
            found = os.stat(os.path.join(root, path))
            known[:, row] = found.st_size, found.st_mtime_ns
    model = ModelRef(name, "digest", packed.shape[1] * 8)
    return Codes(packed, Records(paths, root, None, (), *known), model)


def on_disk(folder, packed, stats=True):
    """Codes of existing files 0.jpg, 1.jpg, … of 100 bytes each."""
    for row in range(len(packed)):
        (folder / f"{row}.jpg").write_bytes(b"%100d" % row)
    return codes_of(packed, root=os.fsencode(folder), stats=stats)


def groups(labels):
    """A canonical form of components, independent of their numbering."""
    _, first = np.unique(labels, return_index=True)
    order = np.argsort(first)
    return np.argsort(order)[np.unique(labels, return_inverse=True)[1]].tolist()


@st.composite
def collections(draw, most=800):
    """Codes with copies and near-copies, from sparse to dense, and a radius."""
    width, count = draw(st.sampled_from([1, 2, 3, 8, 16])), draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sources = rng.integers(0, 256, (draw(st.integers(1, count)), width), dtype=np.uint8)
    packed = sources[rng.integers(0, len(sources), count)]
    flips = rng.random((count, width * 8)) < draw(st.sampled_from([0, 0.01, 0.05]))
    return packed ^ np.packbits(flips, axis=1), draw(st.integers(0, 12) | st.integers(0, width * 8))


@pytest.mark.slow
@settings(deadline=None, max_examples=100)
@given(collections())
def test_components_equal_brute_force(collection):
    packed, radius = collection
    _, expected = connected_components(hamming.distances(packed, packed) <= radius)
    assert groups(duplicates.components(packed, radius)) == groups(expected)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """30 files of several sizes and dates, each with a symbolic link, a hard link and a path with ".."."""
    root = tmp_path_factory.mktemp("tree")
    (root / "a").mkdir()
    (root / "b").mkdir()
    for number in range(30):
        file = root / "ab"[number % 2] / f"{number}.jpg"
        file.write_bytes(b"x" * (1 + number % 4))
        os.utime(file, ns=(0, 1000 * (number % 5)))
        (root / f"link{number}.jpg").symlink_to(file)
        os.link(file, root / f"hard{number}.jpg")
    return root


def names_of(root, number):
    """All paths of a file; the last one does not exist."""
    file = root / "ab"[number % 2] / f"{number}.jpg"
    detour = f"{root}/a/../{'ab'[number % 2]}/{number}.jpg"
    return [str(file), f"{root}/link{number}.jpg", f"{root}/hard{number}.jpg", detour, f"{root}/gone{number}.jpg"]


@pytest.mark.slow
@settings(deadline=None, max_examples=120)
@given(collections(most=120), st.data())
def test_spare_files_are_never_the_last_copy(tree, collection, data):
    """Compared with all pairs: every spare file is near a kept file that exists and is a different file."""
    packed, radius = collection
    picks = st.tuples(st.integers(0, 29), st.integers(0, 4))
    paths = [
        names_of(tree, number)[name]
        for number, name in data.draw(st.lists(picks, min_size=len(packed), max_size=len(packed)))
    ]
    keep = data.draw(st.sampled_from(duplicates.KEEP))
    reference = [tree / "b"] if data.draw(st.booleans()) else []
    found = transhash.dedup(
        codes_of(packed, [os.fsencode(path) for path in paths], b""), radius, keep=keep, reference=reference
    )
    spare = {os.stat(path).st_ino for path in found.spare}
    kept = {os.stat(cluster.kept).st_ino for cluster in found if cluster.kept}
    assert not spare & kept
    everything = {os.stat(path).st_ino for path in paths if os.path.exists(path)}
    assert not everything or everything - spare
    for cluster in found:
        apart = hamming.distances(packed[cluster.ids], packed[cluster.ids[:1]])[:, 0]
        for path, id, distance, size, role in zip(
            cluster.paths, cluster.ids, cluster.distances, cluster.sizes, cluster.roles, strict=True
        ):
            assert path == paths[id]
            assert distance <= radius
            assert size == (os.path.getsize(path) if os.path.exists(path) else -1)
            if role == "spare":
                assert apart[cluster.paths.index(path)] <= radius
                assert os.stat(path).st_ino != os.stat(cluster.kept).st_ino
                assert not reference or not os.path.realpath(path).startswith(f"{tree}/b/")


@pytest.mark.slow
@settings(deadline=None, max_examples=60)
@given(collections(most=200))
@pytest.mark.parametrize("backend", [None, "exact", "faiss"])
def test_clusters_equal_brute_force(tmp_path_factory, backend, collection):
    """The oracle: the largest remaining file is kept and takes all others within the radius."""
    packed, radius = collection
    folder = test_clusters_equal_brute_force.__dict__.setdefault("folder", tmp_path_factory.mktemp("files"))
    for row in range(200):
        file = folder / f"{row}.jpg"
        if not file.exists():
            file.write_bytes(b"x" * (1 + row % 7))
    images, sizes = codes_of(packed, root=os.fsencode(folder)), np.arange(len(packed)) % 7 + 1
    found = transhash.dedup(Index.build(images, backend) if backend else images, radius)
    apart, free, expected = hamming.distances(packed, packed).astype(int), np.ones(len(packed), bool), []
    for centre in np.lexsort((np.arange(len(packed)), -sizes)):
        if free[centre]:
            near = sorted((apart[centre, row], row) for row in np.flatnonzero(free & (apart[centre] <= radius)))
            free[[row for _, row in near]] = False
            rows = [(0, centre), *sorted((d, r) for d, r in near if r != centre)]
            if len(rows) > 1:
                expected.append((sorted(rows), centre))
    expected.sort(key=lambda group: (-len(group[0]), min(row for _, row in group[0])))
    assert [(sorted(zip(c.distances, c.ids, strict=True)), c.ids[0]) for c in found] == expected
    for cluster in found:
        assert (cluster.ids.dtype, cluster.sizes.dtype) == (np.dtype("int64"),) * 2
        assert cluster.distances.dtype == np.dtype("int32")


ENCODED = 10**18  # time of every file when it is encoded
FATES = ("kept", "kept", "kept", "deleted", "overwritten", "truncated", "folder", "replaced by a link")
KINDS = ("file", "file", "file", "link", "hard link", "other case", "line break")


@pytest.mark.slow
@settings(deadline=None, max_examples=80)
@given(st.data())
def test_a_changed_folder_loses_no_photo(tmp_path_factory, data):
    """Files are linked, encoded and then changed; every spare file still has a copy with the same bytes."""
    root = tmp_path_factory.mktemp("photos")
    (root / "a").mkdir()
    count = data.draw(st.integers(2, 8))
    names, contents, packed = [], [], []
    for number in range(count):
        kind = data.draw(st.sampled_from(KINDS)) if number else "file"
        name = {"other case": f"P{number - 1}.JPG", "line break": f"p\n{number}.jpg"}.get(kind, f"p{number}.jpg")
        file = root / data.draw(st.sampled_from(["", "a"])) / name
        if kind.endswith("link"):
            source = data.draw(st.integers(0, number - 1))
            file.symlink_to(names[source]) if kind == "link" else os.link(os.path.realpath(names[source]), file)
            contents.append(contents[source])
            packed.append(packed[source])
        else:
            contents.append(b"%d" % number * data.draw(st.integers(1, 3)))
            packed.append([(1 << data.draw(st.integers(0, 8))) - 1 & 255])  # chains: neighbours are 1 bit apart
            file.write_bytes(contents[-1])
            os.utime(file, ns=(ENCODED, ENCODED))
        names.append(str(file))
    known = data.draw(st.booleans())
    codes = codes_of(
        np.array(packed, np.uint8),
        [os.fsencode(name) for name in names],
        b"",
        stats=known,
    )
    if data.draw(st.booleans()):  # an index stores sizes and times, too
        place = tmp_path_factory.mktemp("index") / "photos.index"
        Index.build(codes, "exact").save(place)
        codes = transhash.open(place).codes()
    if data.draw(st.booleans()):  # as if merged with itself
        records = codes.records.join(codes.records)
        codes = Codes(np.concatenate([codes.packed, codes.packed]), records, codes.model)
    for name in names:
        change(name, names[0], data.draw(st.sampled_from(FATES)))
    radius = data.draw(st.integers(0, 3))
    options = {"keep": data.draw(st.sampled_from(duplicates.KEEP))}
    for option in ("prefer", "reference"):
        options[option] = [root / "a"] if data.draw(st.booleans()) else []
    found = transhash.dedup(codes, radius, **options)

    def intact(path):
        place = names.index(path)
        return os.path.isfile(path) and Path(path).read_bytes() == contents[place]

    spare = set(found.spare)
    assert known or not spare
    left = [path for path in names if path not in spare and intact(path)]
    removed = {os.stat(path).st_ino for path in spare if not os.path.islink(path)}
    for path in spare:
        code = packed[names.index(path)][0]
        assert intact(path) or os.path.islink(path)  # a link that replaced a file of its size and time holds nothing
        near = [other for other in left if (packed[names.index(other)][0] ^ code).bit_count() <= radius]
        assert any(os.stat(other).st_ino not in removed for other in near)
        assert not options["reference"] or not path.startswith(f"{root}/a/")


def change(name, first, fate):
    """A change to a file between encoding and the search for duplicates."""
    if fate != "kept" and os.path.lexists(name):
        if fate == "overwritten" and os.path.isfile(name):
            with open(name, "r+b") as file:
                file.write(b"?")
        elif fate == "truncated" and os.path.isfile(name):
            os.truncate(name, 0)
        elif fate in ("deleted", "folder", "replaced by a link"):
            os.unlink(name)
            if fate == "folder":
                os.mkdir(name)
            elif fate == "replaced by a link" and name != first:
                os.symlink(first, name)


def test_without_size_and_time_a_file_is_neither_kept_nor_spare(tmp_path):
    """It may have been overwritten since it was encoded."""
    found = transhash.dedup(on_disk(tmp_path, np.zeros((2, 8), np.uint8), stats=False))
    assert (found[0].kept, found.spare, found[0].roles) == (None, [], ["unverified"] * 2)
    assert found.unverified == [f"{tmp_path}/0.jpg", f"{tmp_path}/1.jpg"]


@pytest.mark.slow
def test_an_index_knows_files_that_have_changed(tmp_path):
    """Also after rows were added and removed, and after a sync with codes of files that were touched."""
    codes = on_disk(tmp_path, np.zeros((5, 8), np.uint8))
    place = tmp_path / "photos.index"
    transhash.build_index(codes.take(slice(0, 4)), place)
    index = transhash.open(place)
    index.remove(Filter(ids=[0]))
    index.add(codes.take(slice(4, 5)))
    (tmp_path / "4.jpg").write_bytes(b"another photo")
    (cluster,) = transhash.dedup(place)
    assert (cluster.kept, cluster.spare) == (f"{tmp_path}/1.jpg", [f"{tmp_path}/{row}.jpg" for row in (2, 3)])
    assert transhash.dedup(place).changed == [f"{tmp_path}/4.jpg"]
    for row in (1, 4):
        os.utime(tmp_path / f"{row}.jpg", ns=(5, 5))
    again = codes_of(np.zeros((5, 8), np.uint8), root=os.fsencode(tmp_path))
    changes = transhash.open(place).sync(again)
    assert (changes.added, changes.removed, changes.changed) == (1, 0, 0)
    (cluster,) = transhash.dedup(place)
    assert (len(cluster), len(cluster.spare), transhash.dedup(place).changed) == (5, 4, [])


def test_damaged_sizes_and_times(tmp_path):
    transhash.build_index(on_disk(tmp_path, np.zeros((2, 8), np.uint8)), tmp_path / "photos.index")
    (stored,) = (tmp_path / "photos.index").glob("data-*/stats.npy")
    good = stored.read_bytes()
    records = Records([b"0.jpg", b"1.jpg"])
    assert stats.attached(stored.parent, records).sizes.tolist() == [100, 100]
    for damaged in (b"", good[:-1], good.replace(b"(2, 2)", b"(2, 3)"), good.replace(b"<i8", b"|O8"), b"x" * 200):
        stored.write_bytes(damaged)
        with pytest.raises(IndexFolderError, match="damaged sizes and times"):
            stats.attached(stored.parent, records)


def test_archives_with_two_names_and_missing_folders(tmp_path):
    """Members under two names of one archive are one; a file whose folder became a file is missing."""
    (tmp_path / "a.tar").write_bytes(b"tar")
    os.link(tmp_path / "a.tar", tmp_path / "b.tar")
    root, packed = os.fsencode(tmp_path), np.zeros((2, 8), np.uint8)
    assert transhash.dedup(codes_of(packed, [b"a.tar/1.jpg", b"b.tar/1.jpg"], root)).spare == []
    members = codes_of(packed, [b"a.tar/1.jpg", b"a.tar/2.jpg"], root)
    members.records.sizes[:] = 5
    found = transhash.dedup(members)
    assert (found.spare, len(found.missing)) == ([], 2)


def test_clusters_do_not_follow_chains(tmp_path):
    packed = np.packbits(np.tri(65, 64, -1, dtype=bool), axis=1)
    found = transhash.dedup(on_disk(tmp_path, packed), 20)
    assert all(cluster.distances.max() <= 20 for cluster in found)
    spare = sum(len(cluster) - 1 for cluster in found)
    assert found.chained == 65 - spare - 1  # all others but the first image
    assert len(transhash.dedup(on_disk(tmp_path, packed[::2]), 1)) == 0


def test_equal_codes_are_merged_before_pairing():
    """300,000 equal codes would be 45 billion pairs."""
    packed = np.zeros((300_000, 8), np.uint8)
    packed[1::3, 0] = 1
    packed[5] = 255
    assert np.bincount(duplicates.components(packed, 1)).tolist() == [299_999, 1]


@pytest.mark.slow
def test_progress_ends_at_the_total():
    rng, said = np.random.default_rng(0), []
    packed = rng.integers(0, 256, (3000, 8), dtype=np.uint8)
    for radius in (0, 2, 30):
        said.clear()
        duplicates.components(packed, radius, lambda done, total: said.append((done, total)))
        assert said == sorted(said)
        assert said[-1] == (3000, 3000)


def test_a_missing_file_is_not_kept(tmp_path):
    """By the sizes at encoding, the larger file would be kept, but it no longer exists."""
    codes = on_disk(tmp_path, np.zeros((2, 8), np.uint8))
    (tmp_path / "0.jpg").unlink()
    found = transhash.dedup(codes)
    assert (found[0].kept, found[0].spare) == (f"{tmp_path}/1.jpg", [])
    assert found.missing == [f"{tmp_path}/0.jpg"]
    assert found[0].sizes.tolist() == [100, -1]


def test_a_changed_file_is_neither_kept_nor_spare(tmp_path):
    codes = on_disk(tmp_path, np.zeros((3, 8), np.uint8))
    (tmp_path / "0.jpg").write_bytes(b"y" * 1000)
    found = transhash.dedup(codes)
    assert (found[0].kept, found[0].spare) == (f"{tmp_path}/1.jpg", [f"{tmp_path}/2.jpg"])
    assert found.changed == [f"{tmp_path}/0.jpg"]


def test_rows_of_one_file_with_different_codes_are_stale(tmp_path):
    (tmp_path / "x.jpg").write_bytes(b"x")
    (tmp_path / "y.jpg").write_bytes(b"y")
    codes = codes_of(np.array([[0], [1], [0]], np.uint8), [b"x.jpg", b"x.jpg", b"y.jpg"], os.fsencode(tmp_path))
    found = transhash.dedup(codes, 1)
    assert (found.spare, found.changed) == ([], [f"{tmp_path}/x.jpg"] * 2)


def test_files_connected_by_an_outdated_code_are_chained(tmp_path):
    """The first code of a file counts; its second one is near that of another file."""
    (tmp_path / "x.jpg").write_bytes(b"x")
    (tmp_path / "y.jpg").write_bytes(b"y")
    packed = np.array([[0], [3], [15]], np.uint8)
    found = transhash.dedup(codes_of(packed, [b"x.jpg", b"x.jpg", b"y.jpg"], os.fsencode(tmp_path)), 2)
    assert (len(found), found.chained) == (0, 1)


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, "large.jpg"),
        ({"keep": "oldest"}, "old.jpg"),
        ({"keep": "path"}, "a/x.jpg"),
        ({"prefer": ["a"]}, "a/x.jpg"),
        ({"reference": ["a"], "keep": "oldest"}, "a/x.jpg"),
    ],
)
def test_the_keep_rules(tmp_path, options, kept):
    (tmp_path / "a").mkdir()
    for name, size, date in (("a/x.jpg", 5, 20), ("large.jpg", 9, 30), ("old.jpg", 1, 10)):
        (tmp_path / name).write_bytes(b"x" * size)
        os.utime(tmp_path / name, ns=(date, date))
    paths = [b"large.jpg", b"old.jpg", b"a/x.jpg"]
    codes = codes_of(np.zeros((3, 8), np.uint8), paths, os.fsencode(tmp_path))
    options = {name: [tmp_path / value[0]] if isinstance(value, list) else value for name, value in options.items()}
    (cluster,) = transhash.dedup(codes, 0, **options)
    assert cluster.kept == f"{tmp_path}/{kept}"
    assert len(cluster.spare) == 2


def test_reference_files_are_never_spare(tmp_path):
    codes = on_disk(tmp_path, np.zeros((3, 8), np.uint8))
    (cluster,) = transhash.dedup(codes, 0, reference=[tmp_path])
    assert (cluster.spare, cluster.roles) == ([], ["kept", "reference", "reference"])


def test_members_of_an_archive(tmp_path):
    """They exist as long as their archive does, which may have been replaced: none is spare, nor a file for one."""
    archive, file = tmp_path / "a.tar", tmp_path / "x.jpg"
    archive.write_bytes(b"tar")
    file.write_bytes(b"x")
    paths = [os.fsencode(f"{archive}/1.jpg"), os.fsencode(f"{archive}/2.jpg")]
    (cluster,) = transhash.dedup(codes_of(np.zeros((2, 8), np.uint8), paths, b""), 0)
    assert (cluster.kept, cluster.roles, cluster.spare) == (f"{archive}/1.jpg", ["kept", "archived"], [])
    (cluster,) = transhash.dedup(codes_of(np.zeros((3, 8), np.uint8), [*paths, os.fsencode(file)], b""), 0)
    assert (cluster.kept, cluster.roles, cluster.spare) == (str(file), ["kept", "archived", "archived"], [])


@pytest.mark.slow
def test_locations_and_reprs(tmp_path):
    codes = on_disk(tmp_path, np.zeros((3, 8), np.uint8))
    write_codes(tmp_path / "c.h5", codes)
    Index.build(codes).save(tmp_path / "i.index")
    for images in (codes, tmp_path / "c.h5", str(tmp_path / "i.index"), Index.open(tmp_path / "i.index")):
        found = transhash.dedup(images)
        assert (found.radius, len(found.spare), found.spare_bytes) == (4, 2, 200)
        assert repr(found) == "<Duplicates: 1 cluster of 3 images within 4 bits, 2 spare>"
        assert repr(found[0]) == f"<Cluster of 3 images: {found[0].kept!r} kept, 2 spare>"
    assert transhash.dedup(codes_of(np.zeros((2, 8), np.uint8), name="other")).radius == 0


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((-1,), {}, BackendError, "radius=-1"),
        ((1025,), {}, BackendError, "radius=1025"),
        ((1.5,), {}, TypeError, "radius must be an integer"),
        ((0,), {"keep": "best"}, BackendError, "choose one of largest"),
        ((0,), {"reference": ["/not/there"]}, SelectionError, "reference /not/there: not a folder"),
    ],
)
def test_wrong_arguments(arguments, options, error, message):
    with pytest.raises(error, match=message):
        transhash.dedup(codes_of(np.zeros((2, 8), np.uint8)), *arguments, **options)


def test_wrong_images():
    with pytest.raises(TypeError, match="not ndarray"):
        transhash.dedup(np.zeros((2, 8), np.uint8))
    with pytest.raises(BackendError, match="password") as caught:
        transhash.dedup("milvus://root:secret@host:1/name")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("kind", ["flat", "ivf", "mih", "hash", "hnsw", "multihash"])
def test_every_type_that_keeps_codes(tmp_path, kind):
    packed = np.repeat(np.arange(60, dtype=np.uint8)[::2, None], 4, axis=0)
    found = transhash.dedup(Index.build(on_disk(tmp_path, packed), type=kind), 0)
    assert [cluster.ids.tolist() for cluster in found] == [list(range(4 * n, 4 * n + 4)) for n in range(30)]


def test_the_suggestion_separates_copies_from_the_rest():
    rng = np.random.default_rng(0)
    packed = rng.integers(0, 256, (2000, 8), dtype=np.uint8)
    copies = packed[:200] ^ np.packbits(np.arange(64) < 3)
    found = duplicates.suggest_radius(codes_of(np.concatenate([packed, copies])))
    assert 3 <= found.radius <= 8
    assert found.near[found.radius] == 2 * 200 * found.sample // 2200 or found.sample < 2200
    assert repr(found).startswith(f"<Suggestion: radius {found.radius}, ")
    assert duplicates.suggest_radius(codes_of(np.zeros((9, 8), np.uint8))).radius == 0
    with pytest.raises(MismatchError, match="at least two"):
        duplicates.suggest_radius(codes_of(np.zeros((1, 8), np.uint8)))


def test_lists_with_line_breaks_need_nul(tmp_path):
    for name in ("x.jpg", "x.jpg\nprecious.jpg"):
        (tmp_path / name).write_bytes(b"x")
    codes = codes_of(np.zeros((2, 8), np.uint8), [b"x.jpg", b"x.jpg\nprecious.jpg"], os.fsencode(tmp_path))
    found = transhash.dedup(codes, 0)
    assert duplicates.spare_lines(found, True) == [os.fsencode(tmp_path / "x.jpg\nprecious.jpg")]
    with pytest.raises(SelectionError, match="line break; separate paths by NUL bytes with -0"):
        duplicates.spare_lines(found, False)


def test_unrelated_images_are_never_spare(tmp_path):
    """Whatever the radius is: with it, all images are in one cluster."""
    rng = np.random.default_rng(0)
    codes = on_disk(tmp_path, np.repeat(rng.integers(0, 256, (30, 16), dtype=np.uint8), 2, axis=0))
    codes = Codes(codes.packed, codes.records, model_ref("copy", 128))
    (cluster,) = transhash.dedup(codes, 128)
    assert cluster.roles[:2] == ["kept", "spare"]
    assert cluster.roles[2:] == ["unrelated"] * 58
    assert cluster.spare == [cluster.paths[1]]
    assert cluster.spare_bytes == 100


@pytest.mark.parametrize(("independent", "doubtful"), [(8, True), (64, False)])
def test_codes_that_do_not_tell_images_apart(tmp_path, independent, doubtful):
    """Of a hasher that has collapsed to few independent bits, many codes are equal."""
    rng = np.random.default_rng(0)
    bits = rng.random((200, independent)) < 0.5
    bits[-20:] = bits[:20]  # copies
    found = transhash.dedup(on_disk(tmp_path, np.packbits(np.repeat(bits, 64 // independent, axis=1), axis=1)), 0)
    assert found.doubtful == doubtful
    assert found.chance_pairs == pytest.approx(200 * 199 / 2 / 2**independent, rel=0.5)
    assert transhash.dedup(on_disk(tmp_path, np.zeros((50, 8), np.uint8)), 0).chance_pairs == 0
