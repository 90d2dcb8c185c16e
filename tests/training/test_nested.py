"""Codes of several lengths from one training: each is a prefix of the next."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.errors import ModelError
from transhash.hashers.architecture import Architecture
from transhash.hashers.bit_layout import bit_order, split_bits
from transhash.hashers.numpy_hasher import NumpyHasher
from transhash.hashers.smvit import build
from transhash.hashers.transhash import TransHasher, start
from transhash.training import objectives
from transhash.training.config import LABELLED, TrainConfig
from transhash.training.objectives.targets import nested_targets

TINY = Architecture(bits=32, nested=(8, 16, 32), backbone="test_vit", image_size=32, patch_size=8, stride=8, groups=2)


@given(st.sets(st.integers(1, 16), min_size=1), st.integers(0, 6))
@settings(deadline=None)
def test_every_prefix_has_its_share_of_every_head(eighths, groups):
    lengths = [8 * eighth for eighth in sorted(eighths)]
    if groups > lengths[-1] // 2:
        return
    order = bit_order(lengths, groups)
    assert sorted(order) == list(range(lengths[-1]))
    head_of = np.repeat(np.arange(groups + 1 if groups else 1), split_bits(lengths[-1], groups))
    for bits in lengths:
        assert np.bincount(head_of[order[:bits]], minlength=1 + groups).tolist() == split_bits(bits, groups)


def test_scaling_outputs_is_the_same_for_interleaved_bits():
    torch.manual_seed(0)
    net = build(TINY).eval()
    images, scale, shift = torch.randn(3, 3, 32, 32), torch.rand(32) + 0.5, torch.randn(32)
    with torch.inference_mode():
        expected = net(images) * scale + shift
        net.scale_outputs(scale, shift)
        torch.testing.assert_close(net(images), expected)


def test_a_file_gives_the_same_outputs_in_torch_and_numpy(tmp_path):
    torch.manual_seed(0)
    start(TINY).save(tmp_path / "h.safetensors")
    full, light = TransHasher.load(tmp_path / "h.safetensors"), NumpyHasher.load(tmp_path / "h.safetensors")
    assert full.architecture.lengths == (8, 16, 32)
    assert light is not None
    assert light.ref == full.ref
    batch = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    np.testing.assert_allclose(light.outputs(batch), full.outputs(batch), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("nested", [(12,), (0,), (40,), (-8,)])
def test_invalid_prefix_lengths(nested):
    with pytest.raises(ModelError, match=r"nested -?\d+: must be a multiple of 8, from 8 to 32"):
        Architecture(bits=32, nested=nested)


@pytest.mark.parametrize("loss", [loss for loss in LABELLED if not loss.startswith("ortho")])
def test_the_cost_is_the_mean_over_the_prefixes(loss):
    torch.manual_seed(0)
    config = TrainConfig(loss=loss)
    objective = objectives.build(config, (8, 16, 32), 4)
    outputs, labels = torch.randn(12, 32), torch.eye(4)[torch.arange(12) % 4]
    costs = [part(outputs[:, :bits], labels, 3) for bits, part in zip((8, 16, 32), objective.parts, strict=True)]
    torch.testing.assert_close(objective(outputs, labels, 3), sum(costs) / 3)
    assert objective.affine() is None


@pytest.mark.slow
def test_orthohash_normalises_a_bit_equally_in_every_prefix():
    objective = objectives.build(TrainConfig(loss="orthohash"), (8, 16, 32), 4)
    outputs, labels = 3 * torch.randn(64, 32) + 1, torch.eye(4)[torch.arange(64) % 4]
    for _ in range(200):
        objective(outputs, labels)
    assert len([name for name, _ in objective.named_parameters()]) == 2  # scale and shift of one layer
    affine = objective.affine()
    assert affine
    scale, shift = affine
    normed = outputs * scale + shift
    assert normed.mean(dim=0).abs().max() < 0.05
    for part in objective.parts:
        bits = part.targets.shape[1]
        assert torch.equal(part.targets, objective.parts[-1].targets[:, :bits])


@pytest.mark.slow
@given(st.integers(2, 20), st.sets(st.integers(2, 10), min_size=2, max_size=4))
@settings(deadline=None, max_examples=20)
def test_targets_differ_in_every_prefix(classes, eighths):
    lengths = [8 * eighth for eighth in sorted(eighths)]
    targets = nested_targets(lengths, classes)
    assert targets.shape == (classes, lengths[-1])
    assert torch.equal(targets, nested_targets(lengths, classes))
    for bits in lengths:
        assert len(torch.unique(targets[:, :bits], dim=0)) == classes


def test_ten_classes_are_orthogonal_in_the_usual_lengths():
    targets = nested_targets((16, 32, 48, 64), 10)
    for bits in (16, 32, 48, 64):
        products = targets[:, :bits] @ targets[:, :bits].T
        assert torch.equal(products, bits * torch.eye(10))
