"""The moving average of the weights, against the sum that it stands for."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transhash.training.average import averaging, exponent

lengths = st.floats(0.005, 0.28)


@pytest.mark.slow
@given(lengths)
def test_length_is_the_deviation_of_the_steps_weights(length):
    power = exponent(length)
    at = (np.arange(100_000) + 0.5) / 100_000
    weights = at**power / (at**power).sum()
    mean = (weights * at).sum()
    assert np.isclose(np.sqrt((weights * (at - mean) ** 2).sum()), length, rtol=1e-3)


@pytest.mark.slow
@given(lengths, st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_average_of_all_steps(length, steps, seed):
    """Step i of t has the share of the power function between (i - 1)/t and i/t."""
    torch.manual_seed(seed)
    module = torch.nn.BatchNorm1d(3).double()
    average = averaging(module, length)
    shares = np.diff(np.linspace(0, 1, steps + 1) ** (exponent(length) + 1))
    expected = dict.fromkeys(("weight", "running_mean"), 0)
    for share in shares:
        module(torch.randn(4, 3, dtype=torch.float64))
        with torch.no_grad():
            module.weight.copy_(torch.randn(3))
        for name in expected:
            expected[name] = expected[name] + share * getattr(module, name).numpy(force=True)
        average.update_parameters(module)
    for name, value in expected.items():
        np.testing.assert_allclose(getattr(average.module, name).numpy(force=True), value, rtol=1e-9, atol=1e-12)
    assert int(average.module.num_batches_tracked) == steps
