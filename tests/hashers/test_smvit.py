import copy

import pytest
import timm
import torch

from transhash.errors import ModelError
from transhash.hashers.architecture import Architecture
from transhash.hashers.smvit import build, plain_backbone, split_bits


def tiny(**changes):
    settings = {"backbone": "test_vit", "image_size": 32, "patch_size": 8, "stride": 6, "groups": 2, "bits": 16}
    return Architecture(**(settings | changes))


@pytest.mark.parametrize("size", [32, 33, 47])
@pytest.mark.parametrize("stride", [3, 4, 8])
def test_number_of_patches_is_the_papers(size, stride):
    net = build(tiny(image_size=size, stride=stride))
    side = (size + stride - 8) // stride
    assert net.backbone.forward_features(torch.zeros(1, 3, size, size)).shape == (1, 1 + side * side, 64)
    assert net(torch.randn(2, 3, size, size)).shape == (2, 16)


@pytest.mark.parametrize(("bits", "groups"), [(8, 4), (16, 3), (64, 4), (64, 0), (1024, 5)])
def test_bits_are_shared_half_and_half(bits, groups):
    first, *rest = split_bits(bits, groups)
    assert first + sum(rest) == bits
    assert len(rest) == groups
    if groups:
        assert first == bits // 2
        assert max(rest) - min(rest) <= 1
    assert build(tiny(bits=bits, groups=groups)).eval()(torch.randn(1, 3, 32, 32)).shape == (1, bits)


def test_without_groups_or_overlap_it_is_the_plain_transformer():
    """The global stream is timm's own class token."""
    torch.manual_seed(0)
    backbone = plain_backbone(tiny()).eval()
    reference = copy.deepcopy(backbone)
    from transhash.hashers.smvit import network

    images = torch.randn(3, 3, 32, 32)
    net = network(backbone, tiny(stride=8, groups=0)).eval()
    torch.testing.assert_close(net.features(images), reference.forward_features(images)[:, 0])


def test_local_streams_see_their_own_patches_and_the_class_token():
    """Written out with plain loops: one shared block over class token + group, class token read out."""
    torch.manual_seed(0)
    net = build(tiny(groups=3)).eval()
    images = torch.randn(2, 3, 32, 32)
    tokens = net.backbone.forward_features(images)
    patches = tokens[:, 1:]
    assert patches.shape[1] == 25
    sizes = [9, 8, 8]
    expected = [net.global_norm(net.global_block(tokens))[:, 0]]
    start = 0
    for size in sizes:
        group = torch.cat([tokens[:, :1], patches[:, start : start + size]], dim=1)
        expected.append(net.local_norm(net.local_block(group))[:, 0])
        start += size
    torch.testing.assert_close(net.features(images), torch.cat(expected, dim=1))
    heads = [net.global_head, *net.local_heads]
    outputs = torch.cat([torch.tanh(head(stream)) for head, stream in zip(heads, expected, strict=True)], dim=1)
    torch.testing.assert_close(net(images), outputs)


def test_streams_start_alike_and_do_not_share_weights():
    net = build(tiny())
    ours, theirs = dict(net.global_block.named_parameters()), dict(net.local_block.named_parameters())
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name])
        assert weight is not theirs[name]


@pytest.mark.parametrize(
    "backbone",
    ["vit_tiny_patch16_224", "deit_tiny_patch16_224", "deit3_small_patch16_224", "vit_small_patch14_dinov2"],
)
def test_plain_transformers_of_timm(backbone):
    patch = int(backbone.split("patch")[1][:2])
    architecture = Architecture(bits=32, backbone=backbone, image_size=4 * patch)
    with torch.device("meta"):
        net = build(architecture)
        outputs = net(torch.zeros(2, 3, 4 * patch, 4 * patch))
    assert outputs.shape == (2, 32)
    assert net.backbone.patch_embed.num_patches > 16


def test_positions_are_resampled_not_forgotten():
    torch.manual_seed(0)
    reference = timm.create_model("test_vit", num_classes=0, img_size=32, patch_size=8)
    torch.manual_seed(0)
    net = build(tiny(stride=8, groups=0))
    torch.testing.assert_close(net.backbone.pos_embed, reference.pos_embed)
    torch.manual_seed(0)
    overlapping = build(tiny(stride=4, groups=0)).backbone.pos_embed
    assert overlapping.shape == (1, 1 + 49, 64)
    torch.testing.assert_close(overlapping[:, 0], reference.pos_embed[:, 0])
    torch.testing.assert_close(overlapping[0, 1:].mean(), reference.pos_embed[0, 1:].mean(), atol=0.01, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 12}, "multiple of 8"),
        ({"backbone": "no_such_vit"}, "no such model"),
        ({"backbone": "hf-hub:someone/something"}, "no such model"),
        ({"backbone": "resnet18"}, "resnet18"),
        ({"backbone": "vit_base_patch16_clip_quickgelu_224", "image_size": 4}, "image size 4"),
        ({"image_size": 5000}, "image size 5000"),
        ({"stride": 9}, "gaps"),
        ({"stride": 0}, "stride 0"),
        ({"patch_size": 64}, "patch size 64"),
        ({"groups": 9}, "9 groups"),
        ({"groups": 30, "bits": 64, "stride": 8}, "16 patches"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ModelError, match=message):
        build(tiny(**changes))
