from functools import cache
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from transhash import duplicates, hamming, native
from transhash.duplicates import linking, planning
from transhash.native import join

BEST = native.isas[0] if native.isas else ""
ISAS = pytest.mark.parametrize("isa", ["", *native.isas], ids=lambda isa: isa or "numpy")
COMPILED = pytest.mark.skipif(not BEST, reason="built without a C compiler")


def distances(codes):
    """All distances, (n, n), from unpacked bits."""
    bits = np.unpackbits(codes, axis=1).astype(np.float32)
    ones = bits.sum(axis=1)
    return (ones[:, None] + ones[None] - 2 * bits @ bits.T).astype(np.int16)


def same(labels, expected):
    """Whether two numberings of components divide the codes alike."""
    pairs = len(np.unique(np.stack([labels, expected]), axis=1).T)
    return len(np.unique(labels)) == len(np.unique(expected)) == pairs


@st.composite
def collections(draw, most=700):
    """Codes around few or many centres, some of them equal, of which some bits may be constant."""
    width = draw(st.one_of(st.integers(1, 20), st.sampled_from([8, 16, 32, 127, 128])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(1, most))
    centres = rng.integers(0, 256, (draw(st.sampled_from([1, 2, 20, count])), width), dtype=np.uint8)
    flips = rng.random((count, width * 8)) < draw(st.sampled_from([0, 0.01, 0.05, 0.1]))
    codes = centres[rng.integers(0, len(centres), count)] ^ np.packbits(flips, axis=1)
    codes[:, : draw(st.integers(0, width // 2))] = 0
    return codes


RADII = st.one_of(st.integers(0, 40), st.integers(0, 1030))


@pytest.mark.slow
@ISAS
@settings(deadline=None, max_examples=25)
@given(collections(), RADII, st.integers(1, 3), st.sampled_from([1, 1 << 28]))
def test_components_are_those_of_brute_force(isa, codes, radius, threads, budget):
    """Also with many parts, and calls that end early."""
    with (
        patch.object(hamming, "isa", isa),
        patch.object(join, "threads", lambda: threads),
        patch.object(join, "_TASKS", 3),
        patch.object(join, "_BUDGET", budget),
        patch.object(planning, "_FEW", 1),
        patch.object(planning, "_WORD", 1e4),  # longer keys than are worth it for so few codes
    ):
        found = duplicates.components(codes, radius)
    expected = connected_components(distances(codes) <= radius)[1]
    assert same(found, expected)
    assert found.max() + 1 == len(np.unique(found))


@pytest.mark.slow
@COMPILED
@pytest.mark.parametrize("isa", native.isas)
@settings(deadline=None, max_examples=25)
@given(collections(), st.data())
def test_a_join_links_codes_with_near_keys(isa, codes, data):
    """Exactly those: keys of any bits, with any number of flips, and a tree that is known."""
    bits = 8 * codes.shape[1]
    key = np.array(data.draw(st.lists(st.integers(0, bits - 1), max_size=9, unique=True)), np.uint32)
    flips, radius = data.draw(st.integers(0, 10)), data.draw(st.integers(0, min(bits, 60)))
    parents = np.arange(len(codes), dtype=np.uint32)
    tree = np.random.default_rng(0).random(len(codes)) < data.draw(st.sampled_from([0, 0.2, 0.8, 1]))
    parents[tree] = np.flatnonzero(tree)[:1]
    join.link(join.Sorted.by(codes, key, tree), flips, radius, parents, isa, lambda done: None)
    keys = np.unpackbits(codes, axis=1)[:, key]
    near = (distances(codes) <= radius) & ((keys[:, None] != keys[None]).sum(axis=2) <= flips)
    near |= tree[:, None] & tree[None]
    assert (parents <= np.arange(len(codes))).all()
    for _ in range(len(codes).bit_length()):
        parents = parents[parents]
    assert same(parents, connected_components(near)[1])


@cache
def around_few_centres(width, radius):
    """More codes than fit into a block, of 32 KiB, and their components by brute force."""
    count = {8: 4500, 32: 2500, 128: 1500}[width]
    rng = np.random.default_rng(width)
    centres = rng.integers(0, 256, (3, width), dtype=np.uint8)
    noise = rng.random((count, 8 * width)) < rng.choice([0.02, 0.06, 0.5], (count, 1), p=[0.6, 0.3, 0.1])
    codes = centres[rng.integers(0, 3, count)] ^ np.packbits(noise, axis=1)
    return codes, connected_components(distances(codes) <= radius)[1]


@pytest.mark.slow
@COMPILED
@pytest.mark.parametrize("isa", native.isas)
@pytest.mark.parametrize(("width", "radius"), [(8, 4), (8, 9), (32, 9), (32, 20), (128, 50)])
def test_thousands_of_codes_around_few_centres(isa, width, radius):
    """Several blocks, packed ones, and trees of which nearly all codes are left out."""
    codes, expected = around_few_centres(width, radius)
    with patch.object(hamming, "isa", isa):
        assert same(duplicates.components(codes, radius), expected)
        with patch.object(planning, "_FEW", 1):
            assert same(duplicates.components(codes, radius), expected)


@settings(deadline=None, max_examples=25)
@given(collections(), st.integers(1, 40))
def test_near_codes_have_near_keys_in_a_part(codes, radius):
    with patch.object(planning, "_FEW", 1), patch.object(planning, "_WORD", 1e4):
        parts = planning.planned(codes, radius)
    bits = np.unpackbits(codes, axis=1)
    found = np.zeros((len(codes), len(codes)), np.bool_)
    for part in parts:
        keys = bits[:, part.key].astype(np.float32)
        ones = keys.sum(axis=1)
        found |= ones[:, None] + ones[None] - 2 * keys @ keys.T <= part.flips
    assert found[distances(codes) <= radius].all()
    keyed = np.concatenate([part.key for part in parts])
    assert len(keyed) == len(np.unique(keyed))


def test_crowded_codes_get_longer_keys():
    """Keys of constant bits are as good as none, and those of half the codes are half as good."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 256, (100_000, 8), dtype=np.uint8)
    lengths = [len(part.key) for part in planning.planned(codes, 3)]
    assert all(8 < length < 20 for length in lengths)
    codes[:, 1::2] = 0
    assert not {bit for part in planning.planned(codes, 3) for bit in part.key if bit // 8 % 2}
    codes[:] = codes[:1]
    assert [len(part.key) for part in planning.planned(codes, 3)] == [0]


@settings(deadline=None)
@given(collections())
def test_distinct_codes(codes):
    distinct, place = linking._distinct(codes)
    np.testing.assert_array_equal(distinct[place], codes)
    assert len(distinct) == len(np.unique(codes, axis=0))
    assert all(one.tobytes() < other.tobytes() for one, other in pairwise(distinct))


@COMPILED
@pytest.mark.parametrize("threads", [1, 2])
def test_an_interruption_ends_a_join(threads):
    codes = np.random.default_rng(0).integers(0, 256, (3000, 8), dtype=np.uint8)

    def interrupted(done):
        raise KeyboardInterrupt

    ordered, parents = join.Sorted.by(codes, np.arange(5, dtype=np.uint32)), np.arange(3000, dtype=np.uint32)
    with patch.object(join, "threads", lambda: threads), pytest.raises(KeyboardInterrupt):
        join.link(ordered, 2, 9, parents, BEST, interrupted)


@COMPILED
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 27}, "a key of 27 bits for codes of 8 bytes"),
        ({"width": 129}, "a key of 5 bits for codes of 129 bytes"),
        ({"offsets": np.zeros(2, np.uint32)}, "an array of 8 bytes where 260"),
        ({"parents": np.zeros(2, np.uint32)}, "an array of 8 bytes where 400"),
        ({"masks": np.array([1], np.uint32)}, "outside the codes"),
        ({"masks": np.array([0, 32], np.uint32)}, "outside the codes"),
        ({"end": 101}, "outside the codes"),
        ({"radius": 65}, "outside the codes"),
        ({"isa": "other"}, "other is not available"),
    ],
)
def test_arguments_are_checked(changes, message):
    codes = np.zeros((100, 8), np.uint8)
    ordered = join.Sorted.by(codes, np.arange(5, dtype=np.uint32))
    arguments = {"isa": BEST, "width": 8, "bits": 5, "planes": ordered.planes, "rows": ordered.rows}
    arguments |= {"offsets": ordered.offsets, "masks": join._masks(5, 1), "parents": np.arange(100, dtype=np.uint32)}
    arguments |= {"radius": 1, "first": 0, "end": 100, "budget": 1 << 20}
    with pytest.raises(ValueError, match=message):
        native._scan.join_link(*(arguments | changes).values())
    with pytest.raises(ValueError, match="a bit outside the codes"):
        join.Sorted.by(codes, np.array([64], np.uint32))
