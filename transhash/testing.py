"""Conformance tests for backends and servers: subclass a suite in your tests, and pytest runs it.

    from transhash.testing import BackendContract
    from my_package import MyIndex

    class TestMyIndex(BackendContract):
        backend = MyIndex

Results are compared with brute force in numpy. For an approximate type, set `search_params` that make it exhaustive,
because only then is the result unique, and list the operations that it `refuses`, with a BackendError.

`CollectionContract` tests whole collections with ids, paths and labels, on a server or in an index folder.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from . import hamming
from .backends.contract import Backend, Rewriting
from .codes import Codes, ModelRef, Records, label_ids, write_codes
from .errors import BackendError, MismatchError, SelectionError, TransHashError
from .index import collection
from .index.contract import Collection
from .index.filters import Filter
from .index.rows import Changes

_WIDTHS = (1, 3, 8, 16, 128)  # bytes in a code


class BackendContract:
    """The tests of a backend. They need only numpy; pytest collects the methods of a subclass."""

    backend: ClassVar[type[Backend]]
    type: ClassVar[str | None] = None
    params: ClassVar[Mapping[str, int]] = {}
    search_params: ClassVar[Mapping[str, int]] = {}
    refuses: ClassVar[Set[str]] = frozenset()
    """The operations that the type does not support: "allowed", "mmap", "range_search", "reconstruct", "remove"."""

    def build(self, codes: NDArray[np.uint8]) -> Backend:
        """Build the index under test."""
        return self.backend.build(codes, type=self.type, params=self.params)

    def test_search_equals_brute_force(self) -> None:
        """Ids, distances and the order of ties are those of a sort by (distance, position)."""
        for codes, queries in _collections():
            index = self.build(codes)
            for k in (1, 2, len(codes) // 2 + 1, len(codes), len(codes) + 5):
                found = index.search(queries, k, self.search_params)
                expected = hamming.top_k(queries, codes, k)
                np.testing.assert_array_equal(found.ids, expected.ids)
                np.testing.assert_array_equal(found.distances, expected.distances)
                assert found.ids.dtype == np.int64
                assert found.distances.dtype == np.int32

    def test_range_search_equals_brute_force(self) -> None:
        """A range search returns exactly the codes at distance <= radius, in order."""
        for codes, queries in self._able("range_search"):
            index = self.build(codes)
            for radius in (0, 1, codes.shape[1] * 4, codes.shape[1] * 8):
                found = index.range_search(queries, radius, self.search_params)
                expected = hamming.within(queries, codes, radius)
                np.testing.assert_array_equal(found.offsets, expected.offsets)
                np.testing.assert_array_equal(found.ids, expected.ids)
                np.testing.assert_array_equal(found.distances, expected.distances)

    def test_no_queries(self) -> None:
        """No queries give no rows."""
        codes, queries = next(_collections())
        index = self.build(codes)
        assert len(index.search(queries[:0], 3, self.search_params)) == 0
        if "range_search" not in self.refuses:
            assert len(index.range_search(queries[:0], 3, self.search_params)) == 0

    def test_add_continues_the_ids(self) -> None:
        """Added codes get the next positions."""
        for codes, queries in _collections():
            index = self.build(codes)
            index.add(codes[::-1].copy())
            assert len(index) == 2 * len(codes)
            found = index.search(queries, 7, self.search_params)
            expected = hamming.top_k(queries, np.concatenate([codes, codes[::-1]]), 7)
            np.testing.assert_array_equal(found.ids, expected.ids)

    def test_allowed_equals_brute_force(self) -> None:
        """A search with a mask returns only allowed codes, as if there were no others."""
        for codes, queries in self._able("allowed"):
            index = self.build(codes)
            for allowed in _masks(len(codes)):
                for k in (1, len(codes) // 2 + 1, len(codes) + 5):
                    found = index.search(queries, k, self.search_params, allowed)
                    expected = hamming.top_k(queries, codes, k, allowed)
                    np.testing.assert_array_equal(found.ids, expected.ids)
                    np.testing.assert_array_equal(found.distances, expected.distances)
                if "range_search" in self.refuses:
                    continue
                for radius in (0, codes.shape[1] * 4):
                    inside = index.range_search(queries, radius, self.search_params, allowed)
                    all_inside = hamming.within(queries, codes, radius, allowed)
                    np.testing.assert_array_equal(inside.offsets, all_inside.offsets)
                    np.testing.assert_array_equal(inside.ids, all_inside.ids)

    def test_remove_equals_a_new_build(self) -> None:
        """The remaining codes are renumbered in order, and more can be added."""
        for codes, queries in self._able("remove"):
            for keep in _masks(len(codes)):
                index = self.build(codes)
                index.remove(keep)
                assert len(index) == keep.sum()
                index.add(codes[:2])
                rest = np.concatenate([codes[keep], codes[:2]])
                found = index.search(queries, 9, self.search_params)
                expected = hamming.top_k(queries, rest, 9)
                np.testing.assert_array_equal(found.ids, expected.ids)
                np.testing.assert_array_equal(found.distances, expected.distances)

    def test_reconstruct_gives_the_codes(self) -> None:
        """`reconstruct` returns a copy of the codes by their ids."""
        for codes, _ in self._able("reconstruct"):
            index = self.build(codes)
            index.add(codes[:1])
            everything = np.concatenate([codes, codes[:1]])
            for start, stop in ((0, len(codes) + 1), (len(codes) // 3, len(codes) // 2), (0, 0)):
                part = index.reconstruct(start, stop)
                assert part.dtype == np.uint8
                np.testing.assert_array_equal(part, everything[start:stop])

    def test_unsupported_operations_raise(self) -> None:
        """Each unsupported operation raises BackendError instead of returning a wrong result."""
        codes, queries = next(_collections())
        index = self.build(codes)
        every = np.ones(len(codes), dtype=bool)
        attempts: dict[str, Callable[[], object]] = {
            "allowed": lambda: index.search(queries, 1, self.search_params, every),
            "mmap": lambda: _mapped(index),
            "range_search": lambda: index.range_search(queries, 1, self.search_params),
            "remove": lambda: index.remove(every),
            "reconstruct": lambda: index.reconstruct(0, 1),
        }
        for name in self.refuses:
            _refuses(name, attempts[name])

    def test_save_and_load(self) -> None:
        """A saved index loads unchanged."""
        for codes, queries in _collections():
            index = self.build(codes)
            with TemporaryDirectory() as folder:
                index.save(Path(folder))
                loaded = self.backend.load(Path(folder))
                assert (len(loaded), loaded.bits) == (len(codes), codes.shape[1] * 8)
                assert loaded.info() == index.info()
                found = loaded.search(queries, 5, self.search_params)
                np.testing.assert_array_equal(found.ids, index.search(queries, 5, self.search_params).ids)

    def test_a_mapped_index_is_read_only(self) -> None:
        """Results are the same; adding and removing raise BackendError."""
        for codes, queries in self._able("mmap"):
            index = self.build(codes)
            with TemporaryDirectory() as folder:
                index.save(Path(folder))
                mapped = self.backend.load(Path(folder), mmap=True)
                assert mapped.info() == index.info()
                found = mapped.search(queries, 5, self.search_params)
                np.testing.assert_array_equal(found.ids, index.search(queries, 5, self.search_params).ids)
                inside = mapped.range_search(queries, codes.shape[1] * 4, self.search_params)
                all_inside = hamming.within(queries, codes, codes.shape[1] * 4)
                np.testing.assert_array_equal(inside.ids, all_inside.ids)
                np.testing.assert_array_equal(mapped.reconstruct(0, len(codes)), codes)
                _refuses("adding to a mapped index", mapped.add, codes)
                _refuses("removing from a mapped index", mapped.remove, np.ones(len(codes), dtype=bool))

    def test_a_rewritten_index_equals_a_new_build(self) -> None:
        """If the backend is `Rewriting`: saved codes are read, some left out, and others added."""
        for codes, queries in _collections():
            index = self.build(codes)
            if not isinstance(index, Rewriting) or not index.rewrites(str(index.info()["type"])):
                return
            for keep in _masks(len(codes)):
                with TemporaryDirectory() as old, TemporaryDirectory() as new:
                    index.save(Path(old))
                    with index.saved_codes(Path(old)) as rows:
                        np.testing.assert_array_equal(rows[0 : len(rows)], codes)
                    written = index.rewrite(Path(old), keep, codes[:2], Path(new))
                    rest = np.concatenate([codes[keep], codes[:2]])
                    np.testing.assert_array_equal(written.reconstruct(0, len(written)), rest)
                    found = self.backend.load(Path(new)).search(queries, 9, self.search_params)
                    np.testing.assert_array_equal(found.ids, hamming.top_k(queries, rest, 9).ids)

    def test_unknown_types_and_parameters_raise(self) -> None:
        """An unknown type or parameter raises BackendError."""
        codes, queries = next(_collections())
        unknown = {"no_such_parameter": 1}
        _refuses("an unknown type", self.backend.build, codes, type="no-such-type")
        _refuses("an unknown parameter", self.backend.build, codes, type=self.type, params=unknown)
        _refuses("an unknown search parameter", self.build(codes).search, queries, 1, unknown)

    def test_load_refuses_damage(self) -> None:
        """A truncated file raises BackendError."""
        codes, _ = next(_collections())
        with TemporaryDirectory() as folder:
            self.build(codes).save(Path(folder))
            for path in (path for path in Path(folder).rglob("*") if path.is_file()):
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            _refuses("half a file", self.backend.load, Path(folder))
            if "mmap" not in self.refuses:
                _refuses("half a file, mapped", self.backend.load, Path(folder), mmap=True)

    def test_tuning_stays(self) -> None:
        """A tuned value is used, shown by `info`, and saved; values outside the range are refused."""
        codes, queries = list(_collections())[-1]
        index = self.build(codes)
        parameter = index.search_parameter()
        if parameter is None:
            _refuses("tuning an exact index", index.tune, 1)
            return
        _refuses("a value above the highest", index.tune, parameter.high + 1)
        index.tune(parameter.low)
        assert index.info()[parameter.name] == parameter.low
        with TemporaryDirectory() as folder:
            index.save(Path(folder))
            loaded = self.backend.load(Path(folder))
            assert loaded.info()[parameter.name] == parameter.low
            for one in (index, loaded):
                found = one.search(queries, 3)
                np.testing.assert_array_equal(
                    found.ids, index.search(queries, 3, {parameter.name: parameter.low}).ids
                )

    def test_info_names_the_type(self) -> None:
        """`info` holds the type, and values that JSON can hold."""
        codes, _ = next(_collections())
        info = self.build(codes).info()
        assert info["type"] in self.backend.types
        assert all(isinstance(value, int | str) for value in info.values())

    def _able(self, operation: str) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Yield the codes and queries to test an operation with; none if the type refuses it."""
        if operation not in self.refuses:
            yield from _collections()


def _refuses(
    what: str,
    attempt: Callable[..., object],
    *given: object,
    error: type[TransHashError] = BackendError,
    **named: object,
) -> None:
    try:
        attempt(*given, **named)
    except error:
        return
    raise AssertionError(f"did not refuse {what}")


def _mapped(index: Backend) -> None:
    with TemporaryDirectory() as folder:
        index.save(Path(folder))
        type(index).load(Path(folder), mmap=True)


def _collections() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield (codes, queries) of every width, full of ties and repeated rows."""
    rng = np.random.default_rng(0)
    for width in _WIDTHS:
        for count in (1, 17, 400):
            codes = rng.integers(0, 256, (count, width), dtype=np.uint8)
            codes[count // 2 :] = codes[: count - count // 2]
            codes[::5] = codes[0]
            yield codes, np.concatenate([codes[:3], rng.integers(0, 256, (5, width), dtype=np.uint8)])


def _masks(count: int) -> Iterator[NDArray[np.bool_]]:
    """Yield choices of `count` codes: all, none, the last, and about half."""
    yield np.ones(count, dtype=bool)
    yield np.zeros(count, dtype=bool)
    yield np.arange(count) == count - 1
    yield np.random.default_rng(count).random(count) < 0.5


@dataclass(frozen=True)
class _Image:
    """A row of the reference data."""

    path: bytes
    code: bytes
    labels: tuple[str, ...] = ()


class CollectionContract:
    """The tests of a collection, in a folder or on a server. They need only numpy and h5py.

    Collections on servers are slow to create, so all tests without changes share one, and the others share another.
    """

    search_params: ClassVar[Mapping[str, int]] = {}
    _made: ClassVar["_Made | None"] = None

    @classmethod
    def teardown_class(cls) -> None:
        """Remove the files of the collection that tests shared."""
        if cls._made:
            cls._made.close()

    def build(self, codes: Path, place: Path) -> Collection:
        """Make a new collection of a codes file; `place` is an empty folder that exists while it is used."""
        raise NotImplementedError

    def test_answers_are_those_of_brute_force(self) -> None:
        """Ids, distances and the order of ties are those of a sort by (distance, id), with filters and without."""
        made, rows = self._shared()
        assert len(made.opened) == len(rows)
        for k in (1, 10, len(rows) // 2 + 1, len(rows) + 5):
            self._check(made.opened, rows, k=k)
        for radius in (0, 3, 64):
            self._check(made.opened, rows, radius=radius)
        for where in (
            Filter(globs=["a/*"]),
            Filter(globs=["*7.png", "/pictures/b/*"], labels=["cat"]),
            Filter(labels=["dog", "young"]),
            Filter(ids=[1, 2, 5, len(rows) - 1]),
            Filter(paths=["/pictures/a/0.png", "b/1.png"]),
        ):
            self._check(made.opened, rows, where, k=10)
            self._check(made.opened, rows, where, radius=30)
        assert not len(made.opened.search(_queries(rows)[:0], 3, params=self.search_params))
        assert not len(made.opened.search(_queries(rows)[:0], radius=3, params=self.search_params))

    def test_names_from_anywhere(self) -> None:
        """Paths with any bytes and labels with any characters are returned unchanged, and filters find them."""
        made, rows = self._shared()
        strange = {id: image for id, image in rows.items() if "strange" in image.labels}
        assert len(strange) == len(_STRANGE)
        found = made.opened.rows(np.fromiter(strange, np.int64))
        full = [os.fsdecode(os.path.join(b"/pictures", image.path)) for image in strange.values()]
        assert [(row.path, row.labels) for row in found] == list(
            zip(full, (image.labels for image in strange.values()), strict=True)
        )
        query = np.zeros((1, 8), np.uint8)
        for id, row in zip(strange, found, strict=True):
            for where in (Filter(labels=row.labels[:1]), Filter(paths=[row.path])):
                (match,) = made.opened.search(query, 5, where=where, params=self.search_params)[0]
                assert (match.id, match.path, match.labels) == (id, row.path, row.labels)
        there = made.opened.search(query, 5, where=Filter(globs=["/pictures/日本/*"]), params=self.search_params)
        assert [rows[id].path for id in there.ids.tolist()] == ["日本/猫.png".encode()]

    def test_refuses_what_makes_no_sense(self) -> None:
        """Codes of other models, unknown names and duplicate paths are refused, and change nothing."""
        made, rows = self._shared()
        opened, foreign = made.opened, ModelRef("other", "f" * 64, 64)
        queries = Codes(_queries(rows), Records([b"q"] * 8), foreign)
        other = made.file([_Image(b"new.png", bytes(8))], foreign)
        for refusing in (
            lambda: opened.search(queries),
            lambda: opened.search(queries, radius=1),
            lambda: opened.search(queries.packed[:, :4]),
            lambda: opened.add([other]),
            lambda: opened.sync(other),
        ):
            _refuses("codes of another model", refusing, error=MismatchError)
        for where in (
            Filter(globs=["nothing/*"]),
            Filter(globs=["*.nothing"]),
            Filter(labels=["cat", "nothing"]),
            Filter(ids=[0, 999_999]),
            Filter(paths=["nothing.png"]),
            Filter(ids=[0], paths=[os.fsdecode(rows[1].path)]),
        ):
            _refuses(f"{where}", opened.search, queries.packed, 1, where=where, error=SelectionError)
            _refuses(f"{where}", opened.remove, [where], error=SelectionError)
        for where in (Filter(ids=[]), Filter(ids=[], globs=["*"])):
            assert not len(opened.search(queries.packed[:1], 1, where=where)[0]), where
            assert opened.remove([where]) == 0, where
        _refuses("to remove everything", opened.remove, [Filter(globs=["*"])], error=SelectionError)
        _refuses("a path twice", opened.add, [made.file([_Image(rows[0].path, bytes(8))])], error=SelectionError)
        _refuses("an unknown id", opened.rows, np.array([0, 999_999]), error=SelectionError)
        _refuses("no neighbours", opened.search, queries.packed, 0)
        _refuses("a negative radius", opened.search, queries.packed, radius=-1)
        _refuses("an unknown parameter", opened.search, queries.packed, 1, params={"no_such_parameter": 1})
        self._check(opened, rows, k=30)

    def test_changes(self) -> None:
        """No id is used twice; adding, removing and synchronising leave exactly the expected rows."""
        images = _images(60)
        with closing(_Made(self, images[:40])) as made:
            opened, rows = made.opened, dict(enumerate(images[:40]))
            more = made.file(images[40:50])
            added = opened.add([more])
            assert (added.rows, added.replaced) == (10, 0)
            rows |= dict(enumerate(images[40:50], 40))
            self._check(opened, rows, k=60)
            assert opened.matching([Filter(ids=[40, 3]), Filter(ids=[3])], 1) == (
                2,
                ["/pictures/" + _name(images[3])],
            )
            assert opened.remove([Filter(ids=[49, 3]), Filter(globs=["a/3.png"])]) == 2
            rows = {id: image for id, image in rows.items() if id not in (49, 3)}
            self._check(opened, rows, k=60)
            again = [_Image(images[5].path, bytes(8)), *images[50:52]]
            added = opened.add([made.file(again)], replace=True)
            assert (added.rows, added.replaced) == (3, 1)
            rows = {id: image for id, image in rows.items() if id != 5} | dict(enumerate(again, 50))
            self._check(opened, rows, k=60)
            wanted = [*images[:20], _Image(images[20].path, images[20].code, ("new",)), *images[52:]]
            stays = {id: image for id, image in rows.items() if image in wanted}
            new = [image for image in wanted if image not in stays.values()]
            changed = len({image.path for image in new} & {image.path for image in rows.values()})
            done = opened.sync(made.file(wanted))
            assert done == Changes(len(new) - changed, len(rows) - len(stays) - changed, changed)
            rows = stays | dict(enumerate(new, 53))
            reopened = collection.open(opened.location)
            self._check(reopened, rows, k=60)
            assert len(reopened) == len(rows)
            assert list(reopened.verify()) == []
            info = reopened.info()
            assert (info["codes"], info["bits"], info["digest"]) == (len(rows), 64, _MODEL.digest)
            assert all(isinstance(value, int | str) for value in info.values())
            assert opened.sync(made.file(wanted)) == Changes(0, 0, 0)

    def _shared(self) -> tuple["_Made", dict[int, _Image]]:
        """Return a collection that no test changes, and its rows."""
        cls = type(self)
        images = [*_images(400), *_special_names()]
        if "_made" not in vars(cls) or cls._made is None:
            cls._made = _Made(self, images)
        return cls._made, dict(enumerate(images))

    def _check(
        self,
        opened: Collection,
        rows: Mapping[int, _Image],
        where: Filter | None = None,
        k: int | None = None,
        radius: int = 0,
    ) -> None:
        """Compare a search with one by brute force among the rows that pass a filter."""
        passed = {id: image for id, image in sorted(rows.items()) if where is None or _passes(id, image, where)}
        assert passed
        ids = np.fromiter(passed, np.int64)
        codes = np.frombuffer(b"".join(image.code for image in passed.values()), np.uint8).reshape(-1, 8)
        queries = _queries(rows)
        if k:
            found = opened.search(queries, k, where=where, params=self.search_params)
            nearest = hamming.top_k(queries, codes, k)
            np.testing.assert_array_equal(np.diff(found.offsets), nearest.ids.shape[1])
            expected, far = nearest.ids.ravel(), nearest.distances.ravel()
        else:
            found = opened.search(queries, radius=radius, where=where, params=self.search_params)
            inside = hamming.within(queries, codes, radius)
            np.testing.assert_array_equal(found.offsets, inside.offsets)
            expected, far = inside.ids, inside.distances
        assert found.ids.dtype == np.int64
        assert found.distances.dtype == np.int32
        np.testing.assert_array_equal(found.distances, far)
        np.testing.assert_array_equal(found.ids, ids[expected])


_MODEL = ModelRef("phash", "ab" * 32, 64)
_STRANGE = (
    b"it's.png",
    b'"quoted".png',
    b"back\\slash.png",
    b"new\nline",
    b"%_[x].png",
    "日本/猫.png".encode(),
    b"no \xff utf-8",
    "\U0010ff61.png".encode(),
    b"deep/" * 800 + b"end.png",
    b"$id or 1 == 1",
)


class _Made:
    """A temporary collection of images, and the codes files of its changes."""

    def __init__(self, contract: CollectionContract, images: Sequence[_Image]) -> None:
        self._folder = TemporaryDirectory()
        self._files = 0
        place = Path(self._folder.name, "place")
        place.mkdir()
        self.opened = contract.build(self.file(images), place)

    def close(self) -> None:
        """Remove the files."""
        self._folder.cleanup()

    def file(self, images: Sequence[_Image], model: ModelRef = _MODEL) -> Path:
        """Write a codes file."""
        self._files += 1
        path = Path(self._folder.name, f"{self._files}.h5")
        names: dict[str, int] = {}
        labels = label_ids([image.labels for image in images], 2, names)
        codes = np.frombuffer(b"".join(image.code for image in images), np.uint8).reshape(-1, 8)
        records = Records([image.path for image in images], b"/pictures", labels, tuple(names))
        write_codes(path, Codes(codes, records, model))
        return path


def _images(count: int = 400) -> list[_Image]:
    """Return images in three folders, some with labels, whose codes are full of ties."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 4, (count, 8), dtype=np.uint8)
    codes[count // 2 :] = codes[: count - count // 2]
    labels = ((), ("cat",), ("dog",), ("cat", "young"))
    return [
        _Image(f"{'abc'[place % 3]}/{place}.png".encode(), code.tobytes(), labels[place % 4])
        for place, code in enumerate(codes)
    ]


def _special_names() -> list[_Image]:
    """Return images whose paths and labels contain characters that are special in some programs."""
    labels = [name.decode("utf-8", "ignore")[:200] for name in _STRANGE]
    return [
        _Image(name, bytes([place] * 8), (label, "strange"))
        for place, (name, label) in enumerate(zip(_STRANGE, labels, strict=True))
    ]


def _queries(rows: Mapping[int, _Image]) -> NDArray[np.uint8]:
    """Return queries (8, 8): the codes of some rows, and other codes."""
    some = np.frombuffer(b"".join(image.code for image in list(rows.values())[:3]), np.uint8).reshape(-1, 8)
    return np.concatenate([some, np.random.default_rng(1).integers(0, 4, (5, 8), dtype=np.uint8)])


def _name(image: _Image) -> str:
    return os.fsdecode(image.path)


def _passes(id: int, image: _Image, where: Filter) -> bool:
    """Return whether a row passes a filter, for the patterns and paths that this suite uses."""
    full = "/pictures/" + _name(image)
    globs = [
        re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), full if pattern.startswith("/") else _name(image))
        for pattern in where.globs
    ]
    return (
        (not globs or any(globs))
        and (not where.labels or bool(set(where.labels) & set(image.labels)))
        and (where.ids is None or id in where.ids)
        and (not where.paths or bool({full, _name(image)} & set(where.paths)))
    )
