"""The learning rate of every parameter at every step."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.hashers.architecture import Architecture
from transhash.hashers.smvit import build
from transhash.training import objectives, optimizer
from transhash.training.config import TrainConfig
from transhash.training.optimizer import set_rate

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2)


def rates(steps, **given):
    """The learning rate of every step, of a peak of 1 and one of 10."""
    optimizer = torch.optim.SGD(
        [{"params": [torch.zeros(1)], "peak": 1.0}, {"params": [torch.zeros(1)], "peak": 10.0}], lr=1.0
    )
    for step in range(steps):
        part = set_rate(optimizer, step, steps, TrainConfig(**given))
        one, ten = (group["lr"] for group in optimizer.param_groups)
        assert part == one
        assert 10 * part == pytest.approx(ten)
        yield part


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_rate_rises_in_a_line_and_stays_or_falls_along_a_cosine(steps, data):
    """During a fraction of all steps, or a number of them."""
    warmup = data.draw(st.floats(0, 1, exclude_max=True) | st.integers(1, steps))
    rising = max(1, round(steps * warmup) if warmup < 1 else warmup)
    assert list(rates(steps, warmup=warmup, schedule="constant"))[rising:] == [1] * (steps - rising)
    found = list(rates(steps, warmup=warmup, schedule="cosine"))
    assert found[:rising] == pytest.approx([(step + 1) / rising for step in range(rising)])
    falling = steps - rising
    assert found[rising:] == pytest.approx(
        [math.cos(math.pi / 2 * step / falling) ** 2 for step in range(falling)], abs=1e-12
    )
    assert max(found) == pytest.approx(1)
    if falling > 20:
        assert 0 < found[-1] < 0.01


def groups_by_name(config):
    """The optimizer's group of every parameter, by the parameter's name."""
    net, objective = build(TINY), objectives.build(config, [16], 3)
    names = {id(p): name for name, p in [*net.named_parameters(), *objective.named_parameters(prefix="objective")]}
    groups = optimizer.build(net, objective, config).param_groups
    placed = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(placed) == sorted(names)  # every parameter, once
    return {names[id(parameter)]: group for group in groups for parameter in group["params"]}, len(
        net.backbone.blocks
    )


@pytest.mark.parametrize("loss", ["greedyhash", "orthohash"])
def test_deeper_layers_learn_more_slowly(loss):
    found, blocks = groups_by_name(TrainConfig(loss=loss, lr=0.01, layer_decay=0.5))
    below = {"global_head": 0, "local_heads": 0, "objective": 0}
    below |= dict.fromkeys(("global_block", "global_norm", "local_block", "local_norm"), 1)
    below |= {f"backbone.blocks.{block}": 1 + blocks - block for block in range(blocks)}
    below |= dict.fromkeys(("backbone.patch_embed", "backbone.cls_token", "backbone.pos_embed"), 2 + blocks)
    for name, group in found.items():
        (depth,) = [depth for prefix, depth in below.items() if f"{name}.".startswith(f"{prefix}.")]
        assert group["peak"] == pytest.approx(0.01 * 0.5**depth), name
    assert all(any(f"{name}.".startswith(f"{prefix}.") for name in found) for prefix in below)


def test_sgd_has_the_momentum_and_the_decay():
    net, objective = build(TINY), objectives.build(TrainConfig(), [16], 3)
    made = optimizer.build(net, objective, TrainConfig(optimizer="sgd", lr=0.03, weight_decay=1e-4))
    assert isinstance(made, torch.optim.SGD)
    assert {group["momentum"] for group in made.param_groups} == {0.9}
    assert {group["weight_decay"] for group in made.param_groups} == {0, 1e-4}


def test_without_layer_decay_all_layers_have_the_same_rate():
    found, _ = groups_by_name(TrainConfig(lr=0.01))
    assert {group["peak"] for group in found.values()} == {0.01}


def test_weight_decay_applies_to_matrices_only():
    found, _ = groups_by_name(TrainConfig(loss="greedyhash", weight_decay=0.2))
    spared = ("bias", "norm.weight", "norm1.weight", "norm2.weight", "cls_token", "pos_embed")
    for name, group in found.items():
        assert group["weight_decay"] == (0.0 if name.endswith(spared) else 0.2), name
    assert {"objective.classifier.weight", "backbone.patch_embed.proj.weight", "global_head.weight"} <= {
        name for name, group in found.items() if group["weight_decay"]
    }
