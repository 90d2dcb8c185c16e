"""How rare a distance is among unrelated images."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from transhash import hamming
from transhash.hashers.rarity import Rarity


def test_measured_distances_have_the_stated_share():
    codes = np.random.default_rng(0).integers(0, 256, (2000, 8), dtype=np.uint8)
    rarity = Rarity.measured(codes)
    apart = hamming.distances(codes, codes)[np.triu_indices(len(codes), 1)]
    assert (apart <= rarity.thousand).mean() <= 1e-3 < (apart <= rarity.thousand + 1).mean()
    assert (apart <= rarity.million).mean() <= 2e-5
    assert rarity.billion < rarity.million < rarity.thousand < 32


def test_too_few_images_give_no_measurement():
    codes = np.random.default_rng(0).integers(0, 256, (100, 8), dtype=np.uint8)
    assert Rarity.measured(codes) is None
    assert Rarity.measured(codes[:1]) is None


@given(
    st.lists(st.integers(-64, 64), min_size=3, max_size=3).map(sorted),
    st.floats(1e-15, 1),
    st.floats(1e-15, 1),
)
def test_the_radius_grows_with_the_share(distances, one, other):
    rarity = Rarity(64, *reversed(distances))
    low, high = sorted((one, other))
    assert 0 <= rarity.radius(low) <= rarity.radius(high) <= max(0, rarity.thousand)


def test_the_radius_at_the_three_measured_shares():
    rarity = Rarity(128, 36, 20, 4)
    assert [rarity.radius(share) for share in (1e-2, 1e-3, 1e-6, 1e-9, 1e-12)] == [36, 36, 20, 4, 0]
