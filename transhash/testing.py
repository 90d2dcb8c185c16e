"""A conformance suite for backends: subclass it in your tests, and pytest runs it on your backend.

    from transhash.testing import BackendContract
    from my_package import MyIndex

    class TestMyIndex(BackendContract):
        backend = MyIndex

Answers are compared with brute force in numpy. An approximate type names the `search_params` that make it
exhaustive, since only then is there one right answer.
"""

from collections.abc import Iterator, Mapping
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
        for codes, queries in _collections():
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

    def test_refuses_what_it_does_not_know(self) -> None:
        """An unknown type or parameter is a BackendError, not a guess."""
        codes, queries = next(_collections())
        for attempt in (
            lambda: self.backend.build(codes, type="no-such-type"),
            lambda: self.backend.build(codes, type=self.type, params={"no_such_parameter": 1}),
            lambda: self.build(codes).search(queries, 1, {"no_such_parameter": 1}),
        ):
            try:
                attempt()
            except BackendError:
                continue
            raise AssertionError("accepted what it does not know")

    def test_load_refuses_damage(self) -> None:
        """A file cut short is a BackendError."""
        codes, _ = next(_collections())
        with TemporaryDirectory() as folder:
            self.build(codes).save(Path(folder))
            for path in (path for path in Path(folder).rglob("*") if path.is_file()):
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
            try:
                self.backend.load(Path(folder))
            except BackendError:
                return
            raise AssertionError("opened half a file")

    def test_info_names_the_type(self) -> None:
        """`info` holds the type, and values that JSON can hold."""
        codes, _ = next(_collections())
        info = self.build(codes).info()
        assert info["type"] in self.backend.types
        assert all(isinstance(value, int | str) for value in info.values())


def _collections() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield (codes, queries) of every width, full of ties and repeated rows."""
    rng = np.random.default_rng(0)
    for width in _WIDTHS:
        for count in (1, 17, 400):
            codes = rng.integers(0, 256, (count, width), dtype=np.uint8)
            codes[count // 2 :] = codes[: count - count // 2]
            codes[::5] = codes[0]
            yield codes, np.concatenate([codes[:3], rng.integers(0, 256, (5, width), dtype=np.uint8)])
