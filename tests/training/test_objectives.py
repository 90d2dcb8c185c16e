"""Every objective against its paper's formula, written with loops in float64."""

import copy
import math
from itertools import combinations, product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from transhash.errors import TrainingError
from transhash.hashers import smvit
from transhash.hashers.architecture import Architecture
from transhash.hashers.bit_layout import bit_order, split_bits, streams
from transhash.training import objectives
from transhash.training.config import LABELLED, TARGETED, TrainConfig
from transhash.training.objectives.base import Sum
from transhash.training.objectives.targets import class_targets

OWN = {  # the settings that an objective has, and what they are if nobody gives them
    "gamma": {"transhash": None, "orthocauchy": None, "dch": 20.0},  # None: half of the bits
    "quantization": {"transhash": 0.1, "dch": 0.1, "dpsh": 0.1, "greedyhash": 0.1, "csq": 1e-4, "orthocauchy": 0.1},
}
each_loss = pytest.mark.parametrize("loss", LABELLED)


def deciding(objective):
    """The term of a sum that decides how outputs become bits, or the objective itself."""
    return objective.terms[0] if isinstance(objective, Sum) else objective


def build(loss, bits, classes, seed=0, several=False, **own):
    torch.manual_seed(seed)
    return objectives.build(TrainConfig(loss=loss, **own), [bits], classes, several=several)


def has_several(y):
    return bool((y.sum(axis=1) != 1).any())


def one_hot(labels, classes):
    return torch.eye(classes)[torch.tensor(labels)]


# The formulas: (objective, outputs u, labels y, step, γ, λ) -> cost.


def mean(values):
    return sum(values) / len(values) if len(values) else 0.0


def share(one, other):
    return any(a == 1 and b == 1 for a, b in zip(one, other, strict=True))


def pair_costs(rows, y, cost):
    """Return the costs of similar pairs, and those of dissimilar ones."""
    costs = {True: [], False: []}
    for i, j in combinations(range(len(y)), 2):
        similar = share(y[i], y[j])
        costs[similar].append(cost(rows[i], rows[j], similar))
    return costs[True], costs[False]


def logistic(theta, similar):
    return -math.log(1 / (1 + math.exp(-theta if similar else theta)))


def cross_entropy(scores, weights):
    total = sum(math.exp(score) for score in scores)
    return -sum(w * math.log(math.exp(score) / total) for score, w in zip(scores, weights, strict=True))


def targets(objective, y):
    """The majority of the targets of an image's classes, bit by bit; a fixed bit where they draw."""
    codes = np.empty((len(y), len(objective.undecided)))
    for i, bit in np.ndindex(codes.shape):
        votes = sum(float(objective.targets[k, bit]) for k, has in enumerate(y[i]) if has)
        codes[i, bit] = math.copysign(1, votes) if votes else objective.undecided[bit]
    return codes


def dch(objective, u, y, step, gamma, lam):
    return cauchy(np.tanh(u), y, gamma, lam)


def transhash(objective, u, y, step, gamma, lam):
    return cauchy(u, y, gamma or u.shape[1] / 2, lam)


def cauchy(h, y, gamma, lam):
    bits = h.shape[1]

    def length(code):
        return max(math.sqrt(code @ code), 1e-3)

    def distance(one, other):
        return bits / 2 * (1 - one @ other / (length(one) * length(other)))

    def cost(one, other, similar):
        d = max(distance(one, other), bits / 2 * 1e-6)
        return -math.log(gamma / (gamma + d) if similar else d / (gamma + d))

    similar, dissimilar = pair_costs(h, y, cost)
    prior = [-math.log(gamma / (gamma + distance(abs(code), np.ones(bits)))) for code in h]
    return mean(similar) + mean(dissimilar) + lam * mean(prior)


def dpsh(objective, u, y, step, gamma, lam):
    similar, dissimilar = pair_costs(u, y, lambda one, other, s: logistic(one @ other / 2, s))
    return mean(similar + dissimilar) + lam * mean([(x - np.sign(x)) ** 2 for x in u.flat])


def hashnet(objective, u, y, step, gamma, lam):
    h = np.tanh(math.sqrt(1 + step / 200) * u)
    similar, dissimilar = pair_costs(h, y, lambda one, other, s: logistic(10 / u.shape[1] * (one @ other), s))
    return mean(similar) + mean(dissimilar)


def greedyhash(objective, u, y, step, gamma, lam):
    scores = np.sign(u) @ objective.classifier.weight.detach().numpy().T
    if not has_several(y):
        cost = mean([cross_entropy(row, own) for row, own in zip(scores, y, strict=True)])
    else:
        cost = mean([logistic(score, bool(has)) for score, has in zip(scores.flat, y.flat, strict=True)])
    return cost + lam * mean([abs(abs(x) - 1) ** 3 for x in u.flat])


def csq(objective, u, y, step, gamma, lam):
    costs = []
    for x, t in zip(u.flat, targets(objective, y).flat, strict=True):
        p, q = (1 + math.tanh(x)) / 2, (1 + t) / 2
        costs.append(-(q * math.log(p) + (1 - q) * math.log(1 - p)))
    return mean(costs) + lam * mean([(abs(math.tanh(x)) - 1) ** 2 for x in u.flat])


def dpn(objective, u, y, step, gamma, lam):
    hinges = [max(0, 1 - x * t) for x, t in zip(u.flat, targets(objective, y).flat, strict=True)]
    return sum(hinges) / len(u)


def orthohash(objective, u, y, step, gamma, lam):
    z = (u - u.mean(axis=0)) / np.sqrt(((u - u.mean(axis=0)) ** 2).mean(axis=0) + 1e-5)
    costs = []
    for row, labels in zip(z, y, strict=True):
        length = max(math.sqrt(row @ row), 1e-2) * math.sqrt(len(row))
        cosines = [row @ code / length for code in objective.targets.numpy()]
        scores = [8 * (cosine - 0.2 * has) for cosine, has in zip(cosines, labels, strict=True)]
        costs.append(cross_entropy(scores, labels / max(1, labels.sum())))
    return mean(costs)


def orthocauchy(objective, u, y, step, gamma, lam):
    by_target, by_pair = objective.terms
    return orthohash(by_target, u, y, step, gamma, lam) + transhash(by_pair, u, y, step, gamma, lam)


FORMULAS = {"transhash": transhash, "dch": dch, "dpsh": dpsh, "hashnet": hashnet}
FORMULAS |= {"greedyhash": greedyhash, "csq": csq, "dpn": dpn, "orthohash": orthohash, "orthocauchy": orthocauchy}


@st.composite
def batches(draw):
    """Outputs, some rows of which may be equal or zero, and labels: one class an image, or any number."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, bits, classes = draw(st.integers(2, 9)), draw(st.sampled_from([8, 16, 48, 64])), draw(st.integers(2, 20))
    u = rng.standard_normal((count, bits)) * draw(st.sampled_from([0.05, 1, 2]))
    if draw(st.booleans()):
        u[rng.random(count) < 0.4] = u[0] * rng.integers(0, 2)
    several = draw(st.booleans())
    y = rng.random((count, classes)) < 0.3 if several else np.eye(classes)[rng.integers(0, min(classes, 4), count)]
    return u, y.astype(float)


@pytest.mark.slow
@each_loss
@settings(deadline=None, max_examples=40)
@given(batches(), st.sampled_from([0, 1, 200, 12345]), st.data())
def test_value_equals_the_paper(loss, batch, step, data):
    """With γ and λ of the caller, or the objective's defaults."""
    chosen = {name: data.draw(st.none() | st.floats(0.1, 50), name) for name in OWN if loss in OWN[name]}
    used = [OWN[name].get(loss) if chosen.get(name) is None else chosen[name] for name in OWN]
    u, y = batch
    objective = build(loss, u.shape[1], y.shape[1], several=has_several(y), **chosen).double()
    cost = objective(torch.from_numpy(u), torch.from_numpy(y), step)
    assert (cost.shape, cost.dtype) == ((), torch.float64)
    assert cost.item() == pytest.approx(FORMULAS[loss](objective, u, y, step, *used), rel=1e-7, abs=1e-12)


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(batches(), st.integers(0, 4), st.floats(0.1, 100) | st.none(), st.floats(0, 10), st.booleans())
def test_the_paper_sums_over_streams(batch, groups, gamma, lam, nested):
    """Each stream by itself has the cost of its bits, with its share of γ; so it has in every prefix of a code."""
    u, y = batch
    bits = u.shape[1]
    lengths = [8, bits] if nested and bits > 8 else [bits]
    config = TrainConfig(loss="transhash", gamma=gamma, quantization=lam)
    objective = objectives.build(config, lengths, y.shape[1], streams=streams(lengths, groups)).double()
    of_bits = np.repeat(np.arange(groups + 1 if groups else 1), split_bits(bits, groups))[bit_order(lengths, groups)]
    costs = []
    for length in lengths:
        outputs = [u[:, np.flatnonzero(of_bits[:length] == stream)] for stream in range(groups + 1)]
        parts = [(h, (gamma / bits if gamma else 0.5) * h.shape[1]) for h in outputs if h.shape[1]]
        costs.append(sum(cauchy(h, y, share, lam) for h, share in parts))
    found = objective(torch.from_numpy(u), torch.from_numpy(y))
    assert found.item() == pytest.approx(mean(costs), rel=1e-7, abs=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("loss", [loss for loss in LABELLED if loss != "greedyhash"])
@pytest.mark.parametrize("labels", ["single", "several"])
def test_gradient(loss, labels):
    objective = build(loss, 16, 4).double()
    y = one_hot([0, 0, 1, 1, 2, 0], 4) if labels == "single" else (torch.rand(6, 4) < 0.4).float()
    u = torch.randn(6, 16, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda u: objective(u, y.double(), 300), (u,))


@pytest.mark.slow
@settings(deadline=None)
@given(batches())
def test_greedyhash_passes_gradients_straight_through(batch):
    """The outputs receive the gradient at their signs, that of a linear classifier."""
    u, y = batch
    objective = build("greedyhash", u.shape[1], y.shape[1], several=has_several(y), quantization=0.7).double()
    outputs = torch.from_numpy(u).requires_grad_()
    objective(outputs, torch.from_numpy(y)).backward()
    weight = objective.classifier.weight.detach().numpy()
    scores = np.sign(u) @ weight.T
    if not has_several(y):
        errors = (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) - y) / len(y)
    else:
        errors = (1 / (1 + np.exp(-scores)) - y) / y.size
    cube = 3 * (abs(u) - 1) * abs(abs(u) - 1) * np.sign(u) / u.size
    np.testing.assert_allclose(outputs.grad.numpy(), errors @ weight + 0.7 * cube, atol=1e-10)
    np.testing.assert_allclose(objective.classifier.weight.grad.numpy(), errors.T @ np.sign(u), atol=1e-10)


@pytest.mark.slow
@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("bits", [16, 48])
def test_safe_at_the_edges(loss, dtype, bits):
    """Equal, opposite, zero and huge outputs, all pairs similar or none: finite cost, finite gradients."""
    one, zero = torch.ones(bits), torch.zeros(bits)
    mixed = torch.where(torch.arange(bits) % 3 == 0, -one, one)
    huge = 6e4 if dtype == torch.float16 else 1e4
    if (loss, dtype) == ("greedyhash", torch.float16):
        huge = 100.0  # the slope of its cube is itself out of half precision's range further out
    rows = [[one, one, -one, zero], [one, -one, zero, zero], [0.3 * one] * 4, [zero] * 4, [huge * one] * 4]
    rows += [[huge * one, huge * one, -huge * one, huge * mixed], [huge * mixed, -huge * mixed, one, zero]]
    labels = [one_hot(some, 4) for some in ([0] * 4, [0, 1, 2, 3], [0, 0, 1, 1], [0, 1, 0, 1])]
    labels += [torch.ones(4, 4), torch.zeros(4, 4), torch.tensor([[1.0, 1, 0, 0], [0, 1, 1, 0]] * 2)]
    objective = build(loss, bits, 4)
    for some, y in product(rows, labels):
        outputs = torch.stack(some).to(dtype).requires_grad_()
        cost = objective(outputs, y, 10_000)
        cost.backward()
        assert cost.isfinite(), (some, y)
        assert outputs.grad.isfinite().all(), (some, y)


@each_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_outputs_are_summed_in_float32(loss, dtype):
    """The sums are wider: only the rounding of the outputs themselves shows."""
    objective = build(loss, 64, 5)
    wide = copy.deepcopy(objective).double()
    u, y = torch.randn(32, 64, dtype=torch.float64), one_hot([0, 1, 2, 3] * 8, 5)
    cost = objective(u.to(dtype), y).item()
    assert cost == pytest.approx(wide(u.to(dtype).double(), y.double()).item(), rel=1e-5)
    assert cost == pytest.approx(wide(u, y.double()).item(), rel=0.02)


def test_several_classes_vote_for_the_target():
    objective = build("csq", 16, 4)
    a, b, c, _ = objective.targets
    draw = objective.undecided
    found = objective.of(torch.tensor([[1.0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]]))
    assert found.abs().eq(1).all()
    assert found[0].equal(a)
    assert found[1].equal(torch.stack([a, b, c]).median(dim=0).values)
    assert found[2].equal(torch.where(a == b, a, draw))
    assert found[3].equal(draw)
    assert not draw.eq(draw[0]).all()


def distances(codes):
    """Hamming distances between all pairs of codes of ±1."""
    return np.array([(one != other).sum() for one, other in combinations(codes.numpy(), 2)])


@pytest.mark.parametrize(
    ("bits", "classes"), [(8, 3), (8, 7), (8, 8), (8, 16), (16, 10), (16, 31), (32, 64), (64, 100), (128, 256)]
)
def test_hadamard_targets(bits, classes):
    found = class_targets(bits, classes)
    assert (found.shape, found.dtype) == ((classes, bits), torch.float32)
    assert found.abs().eq(1).all()
    opposite = classes > bits
    assert set(distances(found)) == ({bits // 2, bits} if opposite else {bits // 2})


@pytest.mark.parametrize(
    ("bits", "classes", "nearest"), [(48, 10, 18), (32, 81, 7), (64, 1000, 8), (24, 2, 15), (48, 1, 48)]
)
def test_random_targets_are_far_apart(bits, classes, nearest):
    """Farther than one draw would put them, where there are few classes; in little memory where there are many."""
    with Allocations() as made:
        found = class_targets(bits, classes)
    assert made.bytes < 100e6
    assert (found.shape, found.dtype) == ((classes, bits), torch.float32)
    assert found.abs().eq(1).all()
    assert all(distance >= nearest for distance in distances(found[:200]))


@pytest.mark.parametrize("loss", TARGETED)
@pytest.mark.parametrize("bits", [16, 24])
def test_targets_do_not_depend_on_the_seed(loss, bits):
    one, other = (deciding(build(loss, bits, 5, seed)) for seed in (0, 1))
    assert one.targets.equal(other.targets)
    assert one.undecided.equal(other.undecided)


class Allocations(TorchDispatchMode):
    """Adds up the sizes of all tensors that torch makes."""

    bytes = 0

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        made = function(*arguments, **(named or {}))
        self.bytes += made.nbytes if isinstance(made, torch.Tensor) else 0
        return made


def test_orthohash_normalisation_becomes_part_of_the_heads():
    objective = build("orthohash", 16, 3)
    network = smvit.build(
        Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=8, stride=8, groups=2)
    ).eval()
    images = torch.randn(24, 3, 32, 32)
    outputs = network(images).detach()
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
    for step in range(40):
        optimizer.zero_grad()
        chosen = torch.randperm(24)[:12]
        objective(outputs[chosen], one_hot((chosen % 3).tolist(), 3), step).backward()
        optimizer.step()
    objective.eval()
    scale, shift = objective.affine()
    with torch.no_grad():
        normalised = objective.norm(outputs)
        assert (normalised.sign() != outputs.sign()).any()
        assert (outputs * scale + shift).sign().equal(normalised.sign())
        network.scale_outputs(scale, shift)
        torch.testing.assert_close(network(images), normalised, rtol=1e-3, atol=1e-3)


@each_loss
@pytest.mark.parametrize("name", OWN)
def test_settings_that_a_loss_does_not_have_are_rejected(loss, name):
    if loss in OWN[name]:
        assert getattr(TrainConfig(loss=loss, **{name: 1.0}), name) == 1
        return
    with pytest.raises(TrainingError, match=f"{name}.*{loss}"):
        TrainConfig(loss=loss, **{name: 1.0})


@pytest.mark.slow
@each_loss
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.3, 1, 3]))
def test_perfect_codes_cost_less_than_random_ones(loss, seed, scale):
    """Every image at its class's code: its target, or one of two opposite corners."""
    objective = build(loss, 16, 2, seed)
    code = torch.randint(0, 2, (16,)) * 2.0 - 1
    codes = getattr(deciding(objective), "targets", torch.stack([code, -code]))
    if loss == "greedyhash":
        objective.classifier.weight.data = codes
    labels = [0, 1] * 4
    y = one_hot(labels, 2)
    assert objective(codes[labels], y) < objective(torch.randn(8, 16) * scale, y)


@pytest.mark.slow
@each_loss
def test_the_cost_decreases(loss):
    """Free outputs of twelve images in three classes: a class gathers, and leaves the others."""
    bits = 32
    objective = build(loss, bits, 3)
    u = torch.nn.Parameter(torch.randn(12, bits) * 0.05)
    optimizer = torch.optim.Adam([u, *objective.parameters()], lr=0.05)
    labels = [0, 1, 2] * 4
    for step in range(200):
        optimizer.zero_grad()
        objective(u, one_hot(labels, 3), step).backward()
        optimizer.step()
    scale, shift = objective.affine() or (1, 0)
    assert (objective.affine() is None) == (loss not in ("orthohash", "orthocauchy"))
    signs = (u.detach() * scale + shift).sign()
    same = np.array([one == other for one, other in combinations(labels, 2)])
    apart = distances(signs)
    assert apart[same].mean() <= 0.25 * bits
    assert apart[~same].mean() >= 0.45 * bits
