"""The siamese multi-granular vision transformer of TransHash (Chen et al., ICMR 2022, arXiv:2105.01823).

Siamese means that every image goes through the same weights; pairs are formed over the batch, in the objective.
``docs/hasher.md`` lists where this network follows the paper and where it differs.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import timm
import torch
from timm.layers import PatchDropout, PatchEmbed, resample_abs_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

from ..errors import ModelError
from .architecture import Architecture
from .backbones import not_plain, unknown
from .bit_layout import bit_order, split_bits
from .numpy_net import Layout


class SMViT(nn.Module):
    """Two streams over one backbone; each stream has its own hash head.

    | tensor | shape |
    |---|---|
    | images | (n, 3, H, W) float |
    | tokens before the last block | (n, 1 + N, D) |
    | global stream: last block, final norm, read out | (n, F) |
    | local stream: K groups, each led by the class token, one shared block, read out | K times (n, F) |
    | features: both streams side by side | (n, (1 + K) F) |
    | outputs: bits/2 from the global head, the rest shared among K local heads | (n, bits) |

    Outputs are ordered by head. Those of nested codes are interleaved, so that the prefix of each of `lengths` has
    its share of every head (`bit_layout.bit_order`).

    A stream is read out as its class token, the mean of its patch tokens, or both: width F = D, D or 2D. With
    `mirror`, features are the mean over an image and its mirror image, except during training.
    """

    def __init__(
        self, backbone: Any, lengths: Sequence[int], groups: int, pool: str = "token", mirror: bool = False
    ) -> None:
        """Split the last block of a timm `VisionTransformer` into two streams, for codes of `lengths`, ascending."""
        super().__init__()
        self.groups = groups
        self.pool = pool
        self.mirror = mirror
        self.prefix = int(backbone.num_prefix_tokens)
        dim = int(backbone.embed_dim) * (2 if pool == "both" else 1)
        self.backbone = backbone
        self.global_block = backbone.blocks[-1]
        self.global_norm = backbone.norm
        backbone.blocks = backbone.blocks[:-1]
        backbone.norm = nn.Identity()
        self.order = bit_order(lengths, groups) if len(lengths) > 1 else None
        global_bits, *local_bits = split_bits(lengths[-1], groups)
        self.global_head = nn.Linear(dim, global_bits)
        self.local_heads = nn.ModuleList(nn.Linear(dim, width) for width in local_bits)
        if groups:
            self.local_block = deepcopy(self.global_block)
            self.local_norm = deepcopy(self.global_norm)

    def features(self, images: Tensor) -> Tensor:
        """Read out the streams, side by side: (n, 3, H, W) -> (n, (1 + K) F)."""
        features = self._features(images)
        if self.mirror and not self.training:
            features = (features + self._features(images.flip(3))) / 2
        return features

    def _features(self, images: Tensor) -> Tensor:
        tokens = self.backbone.forward_features(images)  # (n, prefix + N, D)
        streams = [self._read_out(self.global_norm(self.global_block(tokens)))]
        if self.groups:
            prefix, patches = tokens[:, : self.prefix], tokens[:, self.prefix :]
            for group in patches.tensor_split(self.groups, dim=1):
                local = self.local_block(torch.cat([prefix, group], dim=1))
                streams.append(self._read_out(self.local_norm(local)))
        return torch.cat(streams, dim=1)

    def hash(self, features: Tensor) -> Tensor:
        """Map features (n, (1 + K) F) to outputs (n, bits), whose signs are the code."""
        streams = features.chunk(1 + self.groups, dim=1)
        outputs = torch.cat([head(stream) for head, stream in zip(self.heads, streams, strict=True)], dim=1)
        return outputs if self.order is None else outputs[:, self.order]

    def forward(self, images: Tensor) -> Tensor:
        """Map images (n, 3, H, W) to outputs (n, bits), whose signs are the code."""
        return self.hash(self.features(images))

    def drop_patches(self, part: float) -> None:
        """Leave out a random fraction of each image's patches in every training step (arXiv:2208.07220).

        Raises ModelError if fewer patches than groups are left.
        """
        left = max(1, int(self.backbone.patch_embed.num_patches * (1 - part)))
        if left < self.groups:
            raise ModelError(f"{self.groups} groups, but only {left} patches remain; drop fewer patches")
        self.backbone.patch_drop = PatchDropout(part, self.prefix, ordered=True)

    @torch.no_grad()
    def take_over(self, trained: "SMViT") -> None:
        """Copy the weights of a trained network, except the hash heads; resample its position embeddings.

        If only this network has local streams, their block starts as a copy of the trained last block. Raises
        ModelError if the two networks otherwise differ in shape.
        """
        found = trained.state_dict()
        found["backbone.pos_embed"] = _resampled(trained.backbone, self.backbone.patch_embed.grid_size)
        if not trained.groups:
            found |= {
                name.replace("global_", "local_", 1): found[name] for name in found if name.startswith("global_")
            }
        ours = dict(self.named_parameters())
        surplus = [name for name in found if name.startswith("backbone.") and name not in ours]
        if surplus:
            raise ModelError(f"{surplus[0]} is missing here")
        for name, weight in ours.items():
            if name.startswith(("global_head", "local_heads")):
                continue
            there = tuple(found[name].shape) if name in found else "missing"
            if there != tuple(weight.shape):
                raise ModelError(f"{name} is {there} there, {tuple(weight.shape)} here")
            weight.copy_(found[name])

    @torch.no_grad()
    def scale_outputs(self, scale: Tensor, shift: Tensor) -> None:
        """Fold a scale and a shift of the outputs, both (bits,), into the heads."""
        if self.order is not None:
            places = torch.tensor(self.order, device=scale.device).argsort()
            scale, shift = scale[places], shift[places]
        start = 0
        for head in self.heads:
            bits = slice(start, start + head.out_features)
            head.weight.mul_(scale[bits, None])
            head.bias.mul_(scale[bits]).add_(shift[bits])
            start += head.out_features

    @property
    def heads(self) -> list[nn.Linear]:
        """The hash heads, in the order of their bits."""
        return [self.global_head, *(cast(nn.Linear, head) for head in self.local_heads)]

    def _read_out(self, tokens: Tensor) -> Tensor:
        if self.pool == "token":
            return tokens[:, 0]
        mean = tokens[:, self.prefix :].mean(dim=1)
        return mean if self.pool == "mean" else torch.cat([tokens[:, 0], mean], dim=1)


def build(architecture: Architecture) -> SMViT:
    """Build the network with random weights.

    Raises ModelError if the backbone is not a plain vision transformer, or settings do not fit together.
    """
    return network(plain_backbone(architecture), architecture)


def explicit(architecture: Architecture) -> Architecture:
    """Return the architecture stored in a hasher's file, with its stride filled in.

    Files of earlier versions, in which patches overlapped by a quarter by default, may lack it.
    """
    if architecture.stride is not None:
        return architecture
    patch = plain_backbone(architecture).patch_embed.patch_size[0]
    return replace(architecture, stride=max(1, patch * 3 // 4))


def layout(net: SMViT) -> Layout | None:
    """Describe a network for `numpy_net.NumpyViT`, or return None if that does not support all of its parts."""
    block = net.global_block
    plain = type(block) is Block and type(block.mlp.act) is nn.GELU and isinstance(net.global_norm, nn.LayerNorm)
    if not plain or any(not isinstance(part, nn.Identity) for part in (block.mlp.norm, net.backbone.norm_pre)):
        return None
    return Layout(
        block.attn.num_heads,
        net.global_norm.eps,
        bool(net.backbone.no_embed_class),
        net.backbone.patch_embed.proj.stride[0],
    )


def plain_backbone(architecture: Architecture) -> Any:
    """Make timm's vision transformer for an architecture, with random weights and patches that do not overlap yet."""
    _check(architecture)
    patch = {} if architecture.patch_size is None else {"patch_size": architecture.patch_size}
    try:
        backbone = timm.create_model(
            architecture.backbone,
            pretrained=False,
            num_classes=0,
            img_size=architecture.image_size,
            **patch,
        )
    except (TypeError, AssertionError) as error:
        raise ModelError(f"backbone {architecture.backbone}: does not take these sizes ({error})") from error
    plain = isinstance(backbone, VisionTransformer) and type(backbone.patch_embed) is PatchEmbed
    if not plain or backbone.cls_token is None or len(backbone.blocks) < 2:
        raise not_plain(architecture.backbone)
    return backbone


def network(backbone: Any, architecture: Architecture) -> SMViT:
    """Make a plain backbone's patches overlap, take its first blocks, and split it into two streams."""
    depth = architecture.depth or len(backbone.blocks)
    if depth > len(backbone.blocks):
        raise ModelError(f"depth {depth}: backbone {architecture.backbone} has {len(backbone.blocks)} blocks")
    backbone.blocks = backbone.blocks[:depth]
    patch = backbone.patch_embed.patch_size[0]
    stride = architecture.stride or patch
    _overlap(backbone, architecture.image_size, patch, stride)
    if architecture.groups > backbone.patch_embed.num_patches:
        raise ModelError(
            f"{architecture.groups} groups of {backbone.patch_embed.num_patches} patches: choose fewer groups"
        )
    return SMViT(backbone, architecture.lengths, architecture.groups, architecture.pool, architecture.mirror)


def _check(architecture: Architecture) -> None:
    if not timm.is_model(architecture.backbone):
        raise unknown(architecture.backbone)
    for name, value in (("patch size", architecture.patch_size), ("stride", architecture.stride)):
        if value is not None and value > architecture.image_size:
            raise ModelError(f"{name} {value}: larger than the image, {architecture.image_size}")


def _overlap(backbone: Any, image_size: int, patch: int, stride: int) -> None:
    """Slide the patch window by `stride`: N = ⌊(H + S - P) / S⌋ · ⌊(W + S - P) / S⌋ patches, N = HW/P² if S = P."""
    embed = backbone.patch_embed
    if stride > patch:
        raise ModelError(f"stride {stride}: larger than the patch, {patch}, it would leave gaps")
    side = (image_size + stride - patch) // stride
    if backbone.pos_embed is None:
        raise ModelError("backbone: it has no absolute position embedding; choose another")
    backbone.pos_embed = nn.Parameter(_resampled(backbone, (side, side)))
    embed.proj.stride = (stride, stride)
    embed.grid_size, embed.num_patches = (side, side), side * side
    embed.strict_img_size, embed.dynamic_img_pad, embed.img_size = False, False, None


def _resampled(backbone: Any, grid: tuple[int, int]) -> Tensor:
    """Interpolate a backbone's position embeddings to another grid of patches."""
    positions, old = backbone.pos_embed.detach(), backbone.patch_embed.grid_size
    if grid == old:
        return cast(Tensor, positions)
    prefix = 0 if backbone.no_embed_class else backbone.num_prefix_tokens
    return cast(Tensor, resample_abs_pos_embed(positions, list(grid), list(old), num_prefix_tokens=prefix))
