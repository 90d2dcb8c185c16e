"""A conformance suite for backends: subclass it in your tests, and pytest runs it on your backend.

    from transhash.testing import BackendContract
    from my_package import MyIndex

    class TestMyIndex(BackendContract):
        backend = MyIndex

Answers are compared with brute force in numpy. An approximate type names the `search_params` that make it
exhaustive, since only then is there one right answer, and what it `refuses`, which it must do with a BackendError.
"""

from collections.abc import Callable, Iterator, Mapping, Set
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from . import hamming
from .backends import Backend
from .errors import BackendError

_WIDTHS = (1, 3, 8, 16, 128)  # bytes in a code


class BackendContract:
    """What every backend promises. Needs nothing but numpy; pytest collects the methods of a subclass."""

    backend: ClassVar[type[Backend]]
    type: ClassVar[str | None] = None
    params: ClassVar[Mapping[str, int]] = {}
    search_params: ClassVar[Mapping[str, int]] = {}
    refuses: ClassVar[Set[str]] = frozenset()
    """Of "allowed", "mmap", "range_search", "reconstruct" and "remove", what the type cannot do."""

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
        """Everything at distance <= radius comes back, in order, and nothing else."""
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
        """Codes added later have the positions behind those there were."""
        for codes, queries in _collections():
            index = self.build(codes)
            index.add(codes[::-1].copy())
            assert len(index) == 2 * len(codes)
            found = index.search(queries, 7, self.search_params)
            expected = hamming.top_k(queries, np.concatenate([codes, codes[::-1]]), 7)
            np.testing.assert_array_equal(found.ids, expected.ids)

    def test_allowed_equals_brute_force(self) -> None:
        """Only what is allowed comes back, as if there were nothing else."""
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

    def test_remove_leaves_what_a_fresh_build_has(self) -> None:
        """What stays is numbered anew in its order, and can be added to."""
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
        """The codes come back by their ids, as a copy."""
        for codes, _ in self._able("reconstruct"):
            index = self.build(codes)
            index.add(codes[:1])
            everything = np.concatenate([codes, codes[:1]])
            for start, stop in ((0, len(codes) + 1), (len(codes) // 3, len(codes) // 2), (0, 0)):
                part = index.reconstruct(start, stop)
                assert part.dtype == np.uint8
                np.testing.assert_array_equal(part, everything[start:stop])

    def test_refuses_what_it_cannot_do(self) -> None:
        """Each operation that the type lacks is a BackendError, not a wrong answer."""
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
        """An index comes back from its folder as it was."""
        for codes, queries in _collections():
            index = self.build(codes)
            with TemporaryDirectory() as folder:
                index.save(Path(folder))
                loaded = self.backend.load(Path(folder))
                assert (len(loaded), loaded.bits) == (len(codes), codes.shape[1] * 8)
                assert loaded.info() == index.info()
                found = loaded.search(queries, 5, self.search_params)
                np.testing.assert_array_equal(found.ids, index.search(queries, 5, self.search_params).ids)

    def test_a_mapped_index_answers_and_does_not_change(self) -> None:
        """Answers are the same; adding and removing are refused."""
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

    def test_refuses_what_it_does_not_know(self) -> None:
        """An unknown type or parameter is a BackendError, not a guess."""
        codes, queries = next(_collections())
        unknown = {"no_such_parameter": 1}
        _refuses("an unknown type", self.backend.build, codes, type="no-such-type")
        _refuses("an unknown parameter", self.backend.build, codes, type=self.type, params=unknown)
        _refuses("an unknown search parameter", self.build(codes).search, queries, 1, unknown)

    def test_load_refuses_damage(self) -> None:
        """A file cut short is a BackendError."""
        codes, _ = next(_collections())
        with TemporaryDirectory() as folder:
            self.build(codes).save(Path(folder))
            for path in (path for path in Path(folder).rglob("*") if path.is_file()):
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            _refuses("half a file", self.backend.load, Path(folder))
            if "mmap" not in self.refuses:
                _refuses("half a file, mapped", self.backend.load, Path(folder), mmap=True)

    def test_tuning_stays(self) -> None:
        """A tuned value of the knob is used, told, and kept in the folder; values outside its range are refused."""
        codes, queries = list(_collections())[-1]
        index = self.build(codes)
        knob = index.knob()
        if knob is None:
            _refuses("tuning an exact index", index.tune, 1)
            return
        _refuses("a value above the highest", index.tune, knob.high + 1)
        index.tune(knob.low)
        assert index.info()[knob.name] == knob.low
        with TemporaryDirectory() as folder:
            index.save(Path(folder))
            loaded = self.backend.load(Path(folder))
            assert loaded.info()[knob.name] == knob.low
            for one in (index, loaded):
                found = one.search(queries, 3)
                np.testing.assert_array_equal(found.ids, index.search(queries, 3, {knob.name: knob.low}).ids)

    def test_info_names_the_type(self) -> None:
        """`info` holds the type, and values that JSON can hold."""
        codes, _ = next(_collections())
        info = self.build(codes).info()
        assert info["type"] in self.backend.types
        assert all(isinstance(value, int | str) for value in info.values())

    def _able(self, operation: str) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Yield the collections to try an operation with: none if the type refuses it."""
        if operation not in self.refuses:
            yield from _collections()


def _refuses(what: str, attempt: Callable[..., object], *given: object, **named: object) -> None:
    try:
        attempt(*given, **named)
    except BackendError:
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
