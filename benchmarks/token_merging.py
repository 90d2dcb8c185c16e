"""Token merging (Bolya et al., ICLR 2023, arXiv:2210.09461): a transformer that merges its most similar tokens.

After the attention of each block, `r` tokens are averaged with the tokens most like them, by the keys of the
attention, so that later blocks compute fewer. The class token stays. Before the streams of a hasher divide, every
patch gets the token that it was merged into.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class MergingBlocks(nn.Module):
    """The blocks of a backbone of timm, with merging; tokens (n, 1 + N, D) come out as many as they went in."""

    def __init__(self, blocks: Any, r: int) -> None:
        """Take the blocks of a backbone with one prefix token, and the number of tokens that each merges."""
        super().__init__()
        self.blocks = blocks
        self.r = r

    def forward(self, tokens: Tensor) -> Tensor:
        """Compute all blocks."""
        count, length, _ = tokens.shape
        sizes = tokens.new_ones(count, length, 1)
        places = torch.arange(length).expand(count, length)  # where each of the original tokens is now
        for block in self.blocks:
            attended, keys = attention(block.attn, block.norm1(tokens), sizes)
            tokens = tokens + block.ls1(attended)
            tokens, sizes, places = merged(tokens, sizes, places, keys, self.r)
            tokens = tokens + block.ls2(block.mlp(block.norm2(tokens)))
        return tokens.gather(1, places[:, :, None].expand(-1, -1, tokens.shape[2]))


def attention(layer: Any, tokens: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
    """Return the attention in which a token weighs as much as those that it consists of, and the keys (n, t, d)."""
    count, length, width = tokens.shape
    parts = layer.qkv(tokens).reshape(count, length, 3, layer.num_heads, layer.head_dim).permute(2, 0, 3, 1, 4)
    query, key, value = layer.q_norm(parts[0]), layer.k_norm(parts[1]), parts[2]
    found = functional.scaled_dot_product_attention(query, key, value, attn_mask=sizes.log().transpose(1, 2)[:, None])
    return layer.proj(found.transpose(1, 2).reshape(count, length, width)), key.mean(dim=1)


def merged(tokens: Tensor, sizes: Tensor, places: Tensor, keys: Tensor, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """Merge `r` of the tokens at even places into those at odd places that are most similar to them.

    Returns the tokens (n, t - r, D), how many original ones each consists of, and where each original one is.
    """
    count, length, width = tokens.shape
    r = min(r, (length - 1) // 2)
    keys = functional.normalize(keys, dim=2)
    likeness = keys[:, ::2] @ keys[:, 1::2].transpose(1, 2)
    likeness[:, 0] = -torch.inf  # the class token
    best, partner = likeness.max(dim=2)
    order = best.argsort(dim=1, descending=True)
    gone, stays = order[:, :r], order[:, r:].sort(dim=1).values
    target = partner.gather(1, gone)[:, :, None]
    totals, odd_sizes = tokens * sizes, sizes[:, 1::2].clone()
    even, odd = totals[:, ::2], totals[:, 1::2].clone()
    odd.scatter_add_(1, target.expand(-1, -1, width), even.gather(1, gone[:, :, None].expand(-1, -1, width)))
    odd_sizes.scatter_add_(1, target, sizes[:, ::2].gather(1, gone[:, :, None]))
    kept_sizes = sizes[:, ::2].gather(1, stays[:, :, None])
    all_sizes = torch.cat([kept_sizes, odd_sizes], dim=1)
    kept = even.gather(1, stays[:, :, None].expand(-1, -1, width))
    now = places.new_empty(count, length)  # where each token of before is
    now[:, 1::2] = torch.arange(odd.shape[1]) + stays.shape[1]
    evens = places.new_empty(count, even.shape[1])
    evens.scatter_(1, stays, torch.arange(stays.shape[1]).expand(count, -1))
    evens.scatter_(1, gone, target[:, :, 0] + stays.shape[1])
    now[:, ::2] = evens
    return torch.cat([kept, odd], dim=1) / all_sizes, all_sizes, now.gather(1, places)
