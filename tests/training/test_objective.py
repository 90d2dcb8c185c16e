import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.training.objective import CauchyObjective


def reference(outputs, labels, gamma, quantization):
    """The formulas of the paper, pair by pair, in float64."""
    bits = outputs.shape[1]

    def distance(one, other):
        cosine = one @ other / (np.linalg.norm(one) * np.linalg.norm(other))
        return max(bits / 2 * (1 - cosine), bits / 2 * 1e-6)

    costs = {True: [], False: []}
    for i in range(len(outputs)):
        for j in range(i + 1, len(outputs)):
            d = distance(outputs[i], outputs[j])
            similar = bool(labels[i] == labels[j])
            likelihood = gamma / (gamma + d) if similar else d / (gamma + d)
            costs[similar].append(-math.log(likelihood))
    pairs = sum(np.mean(cost) for cost in costs.values() if cost)
    ones = np.ones(bits)
    prior = np.mean([math.log1p(distance(np.abs(h), ones) / gamma) for h in outputs])
    return pairs + quantization * prior


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([8, 64]), st.integers(1, 4), st.floats(0.5, 30))
def test_value_is_the_papers(seed, count, bits, classes, gamma):
    rng = np.random.default_rng(seed)
    outputs, labels = rng.uniform(-1, 1, (count, bits)), rng.integers(0, classes, count)
    loss = CauchyObjective(gamma, 0.3)(torch.from_numpy(outputs), torch.from_numpy(labels))
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(reference(outputs, labels, gamma, 0.3), rel=1e-4)


def test_gradient():
    torch.manual_seed(0)
    outputs = torch.randn(6, 16, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 2, 0])
    assert torch.autograd.gradcheck(lambda h: CauchyObjective(10, 0.1)(h, labels), (outputs,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 1]])
def test_safe_where_distances_vanish(dtype, labels):
    """Equal codes, opposite codes and zeros: finite loss, finite gradients."""
    rows = torch.tensor([[1.0] * 16, [1.0] * 16, [-1.0] * 16, [0.0] * 16])
    outputs = rows.to(dtype).requires_grad_()
    loss = CauchyObjective(10, 0.1)(outputs, torch.tensor(labels))
    loss.backward()
    assert loss.isfinite()
    assert outputs.grad.isfinite().all()


def test_perfect_codes_cost_less_than_any_others():
    signs = torch.tensor([[1.0] * 8 + [1.0] * 8, [1.0] * 8 + [-1.0] * 8])
    labels = torch.tensor([0, 0, 1, 1])
    objective = CauchyObjective(10, 0.1)
    perfect = objective(signs.repeat_interleave(2, dim=0), labels)
    torch.manual_seed(0)
    assert all(objective(torch.randn(4, 16), labels) > perfect for _ in range(50))
