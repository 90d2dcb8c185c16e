import copy

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vision_transformer import VisionTransformer

from transhash.errors import ModelError
from transhash.hashers.architecture import POOLS, Architecture
from transhash.hashers.bit_layout import split_bits
from transhash.hashers.smvit import build, explicit, network, plain_backbone


def tiny(**changes):
    usual = {"backbone": "test_vit", "image_size": 32, "patch_size": 8, "stride": 6, "groups": 2, "bits": 16}
    return Architecture(**(usual | changes))


def tiny_dinov2():
    """A random transformer like DINOv2 with registers: layer scale, and positions of patches only."""
    sizes = {"img_size": 56, "patch_size": 14, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 0}
    return VisionTransformer(**sizes, init_values=1e-5, reg_tokens=4, no_embed_class=True)


def networks(**changes):
    """A net over a plain backbone (class token, 5 x 5 patches) and one over DINOv2's (and registers, 5 x 5 too).

    Every scale and shift is random, and the two streams are no longer alike, as after training.
    """
    torch.manual_seed(0)
    plain = build(tiny(**changes))
    dinov2 = network(tiny_dinov2(), tiny(image_size=56, patch_size=14, stride=10, **changes))
    for net, leading in ((plain, 1), (dinov2, 5)):
        for name, weight in net.named_parameters():
            if weight.ndim == 1 or name.startswith("local_"):
                torch.nn.init.normal_(weight, std=0.5)
        yield net.eval(), leading


def images_for(net, count=2):
    side = 32 if net.prefix == 1 else 56
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [32, 33, 47])
@pytest.mark.parametrize("stride", [3, 4, 8])
def test_number_of_patches(size, stride):
    net = build(tiny(image_size=size, stride=stride))
    side = (size + stride - 8) // stride
    assert net.backbone.forward_features(torch.zeros(1, 3, size, size)).shape == (1, 1 + side * side, 64)
    assert net(torch.randn(2, 3, size, size)).shape == (2, 16)


def test_features_are_averaged_over_the_mirror_image_except_in_training():
    for net, _ in networks():
        images = images_for(net)
        once, mirrored = net.features(images), net.features(images.flip(3))
        net.mirror = True
        torch.testing.assert_close(net.features(images), (once + mirrored) / 2)
        torch.testing.assert_close(net.train().features(images), once)


def test_patches_do_not_overlap_by_default():
    assert build(tiny(stride=None)).backbone.patch_embed.proj.stride == (8, 8)
    assert explicit(tiny(stride=5)).stride == 5
    assert explicit(tiny(stride=None)).stride == 6  # as in files of earlier versions


BITS_AND_GROUPS = st.integers(1, 128).flatmap(
    lambda octets: st.tuples(st.just(8 * octets), st.integers(0, min(4 * octets, 25)))
)


@settings(deadline=None)
@given(BITS_AND_GROUPS)
def test_bits_are_shared_half_and_half(sizes):
    bits, groups = sizes
    first, *rest = split_bits(bits, groups)
    assert first + sum(rest) == bits
    assert len(rest) == groups
    if groups:
        assert first == bits // 2
        assert 1 <= min(rest) <= max(rest) <= min(rest) + 1
        assert rest == sorted(rest, reverse=True)  # saved hashers rely on which groups have one more bit


@pytest.mark.slow
@settings(deadline=None, max_examples=6)
@given(BITS_AND_GROUPS, st.sampled_from(POOLS))
def test_networks_of_any_width_have_as_many_outputs(sizes, pool):
    bits, groups = sizes
    with torch.device("meta"):
        outputs = build(tiny(bits=bits, groups=groups, pool=pool))(torch.zeros(2, 3, 32, 32))
    assert outputs.shape == (2, bits)


@pytest.mark.parametrize("pool", POOLS)
def test_without_groups_or_overlap_it_is_the_plain_transformer(pool):
    """The global stream is timm's own output."""
    torch.manual_seed(0)
    backbone = plain_backbone(tiny()).eval()
    reference = copy.deepcopy(backbone)
    images = torch.randn(3, 3, 32, 32)
    tokens = reference.forward_features(images)
    expected = {"token": tokens[:, 0], "mean": tokens[:, 1:].mean(dim=1)}
    expected["both"] = torch.cat([expected["token"], expected["mean"]], dim=1)
    net = network(backbone, tiny(stride=8, groups=0, pool=pool)).eval()
    torch.testing.assert_close(net.features(images), expected[pool])


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_streams_written_out_with_plain_loops(pool):
    """One shared block over leading tokens + group; class token, mean of the patches, or both; a linear head."""
    for net, leading in networks(groups=3, bits=24, pool=pool):
        images = images_for(net)
        for image, features, outputs in zip(images, net.features(images), net(images), strict=True):
            tokens = net.backbone.forward_features(image[None])[0]
            assert len(tokens) == leading + 25
            streams = [net.global_norm(net.global_block(tokens[None]))[0]]
            start = leading
            for size in (9, 8, 8):
                group = torch.cat([tokens[:leading], tokens[start : start + size]])
                streams.append(net.local_norm(net.local_block(group[None]))[0])
                start += size
            expected, bits = [], []
            for stream, head in zip(streams, [net.global_head, *net.local_heads], strict=True):
                mean = sum(stream[leading:]) / (len(stream) - leading)
                read = {"token": stream[0], "mean": mean, "both": torch.cat([stream[0], mean])}[pool]
                expected.append(read)
                bits.append(head.weight @ read + head.bias)
            torch.testing.assert_close(features, torch.cat(expected))
            torch.testing.assert_close(outputs, torch.cat(bits))


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("groups", [0, 3])
def test_outputs_are_the_heads_over_the_features(pool, groups):
    for net, _ in networks(groups=groups, pool=pool):
        images = images_for(net)
        assert torch.equal(net.hash(net.features(images)), net(images))


def test_heads_are_in_the_order_of_their_bits_and_outputs_are_raw():
    net = build(tiny(bits=24, groups=3)).eval()
    assert [head.out_features for head in net.heads] == [12, 4, 4, 4]
    with torch.no_grad():
        for number, head in enumerate(net.heads):
            head.weight.zero_()
            head.bias.fill_(10.0 * number)
    expected = [0.0] * 12 + [10.0] * 4 + [20.0] * 4 + [30.0] * 4
    assert net(torch.randn(1, 3, 32, 32)).tolist() == [expected]


@pytest.mark.parametrize("groups", [0, 3])
def test_scaled_outputs(groups):
    for net, _ in networks(groups=groups):
        images, scale, shift = images_for(net), 3 * torch.randn(16), torch.randn(16)
        scale[5] = 0
        before = net(images)
        net.scale_outputs(scale, shift)
        torch.testing.assert_close(net(images), before * scale + shift, atol=1e-5, rtol=1e-4)


def test_streams_start_equal_and_do_not_share_weights():
    net = build(tiny())
    ours, theirs = dict(net.global_block.named_parameters()), dict(net.local_block.named_parameters())
    for name, weight in ours.items():
        torch.testing.assert_close(weight, theirs[name])
        assert weight is not theirs[name]


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone",
    [
        "vit_tiny_patch16_224",
        "deit_tiny_patch16_224",
        "deit3_small_patch16_224",
        "vit_small_patch14_dinov2",
        "vit_small_patch14_reg4_dinov2",
    ],
)
def test_plain_transformers_of_timm(backbone):
    patch = int(backbone.split("patch")[1][:2])
    architecture = Architecture(bits=32, backbone=backbone, image_size=4 * patch, pool="both")
    with torch.device("meta"):
        net = build(architecture)
        outputs = net(torch.zeros(2, 3, 4 * patch, 4 * patch))
    assert outputs.shape == (2, 32)
    assert net.prefix == (5 if "reg4" in backbone else 1)
    assert net.backbone.patch_embed.num_patches == 16


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


def test_positions_of_a_constant_field_stay_constant_beside_registers():
    """If only patches have positions (DINOv2 with registers, DeiT III), none is used for another token."""
    backbone = tiny_dinov2()
    with torch.no_grad():
        backbone.pos_embed.copy_(torch.arange(32.0).expand_as(backbone.pos_embed))
    net = network(backbone, tiny(image_size=56, stride=10))
    torch.testing.assert_close(net.backbone.pos_embed, torch.arange(32.0).expand(1, 25, 32))


def test_depth_takes_the_first_blocks():
    torch.manual_seed(0)
    whole = build(tiny(groups=0))
    torch.manual_seed(0)
    shallow = build(tiny(groups=0, depth=3))
    assert len(shallow.backbone.blocks) == 2
    for own, theirs in zip([*shallow.backbone.blocks, shallow.global_block], whole.backbone.blocks, strict=False):
        assert torch.equal(own.attn.qkv.weight, theirs.attn.qkv.weight)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.5, 0.9])
def test_dropped_patches_leave_the_others_in_their_order(part):
    net = build(tiny(groups=2))  # 25 patches
    net.drop_patches(part)
    tokens = torch.arange(26.0).expand(8, 26).unsqueeze(2)  # the class token first
    left = net.backbone.patch_drop(tokens)[:, :, 0]
    assert left.shape == (8, 1 + int(25 * (1 - part)))
    assert (left[:, 0] == 0).all()
    assert (left.diff(dim=1) > 0).all()
    assert part == 0 or len(left.unique(dim=0)) > 1
    assert torch.equal(net.eval().backbone.patch_drop(tokens), tokens)


def test_too_few_patches_left_for_the_groups():
    with pytest.raises(ModelError, match="4 groups, but only 2 patches remain; drop fewer patches"):
        build(tiny(groups=4)).drop_patches(0.9)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bits": 12}, "multiple of 8"),
        ({"bits": 1032}, "bits 1032"),
        ({"backbone": "no_such_vit"}, "no such model"),
        ({"backbone": "hf-hub:someone/something"}, "no such model"),
        ({"backbone": "resnet18"}, "resnet18"),
        ({"backbone": "test_vit2"}, "test_vit2: not a plain vision transformer with a class token"),
        ({"image_size": 4}, "image-size 4: must be from 8"),
        ({"image_size": 5000}, "image-size 5000"),
        ({"stride": 9}, "gaps"),
        ({"stride": 0}, "stride 0"),
        ({"patch_size": 64}, "patch size 64"),
        ({"groups": 9}, "9 groups"),
        ({"groups": 30, "bits": 64, "stride": 8}, "16 patches"),
        ({"depth": 1}, "depth 1: must be from 2"),
        ({"depth": 13}, "depth 13: backbone test_vit has 6 blocks"),
        ({"pool": "max"}, "pool 'max': must be one of token, mean, both"),
    ],
)
def test_refusals(changes, message):
    with pytest.raises(ModelError, match=message) as caught:
        build(tiny(**changes))
    assert "\n" not in str(caught.value)
