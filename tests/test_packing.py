import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from transhash.packing import pack, unpack

outputs = st.integers(1, 128).flatmap(
    lambda width: hnp.arrays(
        np.float32, st.tuples(st.integers(0, 9), st.just(width * 8)), elements=st.floats(-1, 1, width=32)
    )
)


@pytest.mark.slow
@given(outputs)
def test_bit_order(values):
    codes = pack(values)
    assert codes.shape == (len(values), values.shape[1] // 8)
    for row in range(len(values)):
        for bit in range(values.shape[1]):
            assert bool(codes[row, bit // 8] & (0x80 >> bit % 8)) == (values[row, bit] > 0)


@given(outputs)
def test_round_trip(values):
    signs = unpack(pack(values))
    np.testing.assert_array_equal(signs, np.where(values > 0, 1, -1))
    np.testing.assert_array_equal(pack(signs), pack(values))


@pytest.mark.parametrize("width", [0, 7, 12, 1032])
def test_refuses_other_widths(width):
    with pytest.raises(ValueError, match="multiple of 8"):
        pack(np.zeros((1, width)))


def test_refuses_nan():
    with pytest.raises(ValueError, match="not a number"):
        pack(np.full((1, 8), np.nan))
