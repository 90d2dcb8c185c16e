"""Token merging, against a plain program."""

import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.token_merging import MergingBlocks, merged


@given(st.integers(0, 2**32 - 1), st.integers(3, 12), st.integers(0, 6))
def test_the_most_similar_tokens_are_averaged(seed, length, r):
    torch.manual_seed(seed)
    tokens, keys = torch.randn(2, length, 4), torch.randn(2, length, 3)
    sizes = torch.randint(1, 4, (2, length, 1)).float()
    now, now_sizes, places = merged(tokens, sizes, torch.arange(length).expand(2, length), keys, r)
    assert now.shape[1] == length - min(r, (length - 1) // 2)
    for image in range(2):
        parts = {place: [place] for place in range(length)}  # the tokens that each remaining one consists of
        likeness = torch.nn.functional.cosine_similarity(keys[image][:, None], keys[image][None], dim=2)
        nearest = {one: max(range(1, length, 2), key=lambda odd: likeness[one, odd]) for one in range(2, length, 2)}
        ranked = sorted(nearest, key=lambda one: -likeness[one, nearest[one]])
        for one in ranked[: min(r, (length - 1) // 2)]:
            parts[nearest[one]] += parts.pop(one)
        kept = [*(place for place in parts if place % 2 == 0), *(place for place in parts if place % 2)]
        for row, place in enumerate(kept):
            weights = sizes[image, parts[place]]
            assert now_sizes[image, row] == weights.sum()
            mean = (tokens[image, parts[place]] * weights).sum(dim=0) / weights.sum()
            torch.testing.assert_close(now[image, row], mean)
            assert places[image, parts[place]].tolist() == [row] * len(parts[place])


@torch.no_grad()
def test_without_merging_nothing_changes():
    net = timm.create_model("test_vit", pretrained=False, num_classes=0, img_size=32).eval()
    images = torch.randn(2, 3, 32, 32)
    exact = net.forward_features(images)
    plain = net.blocks
    net.blocks = MergingBlocks(plain, 0)
    torch.testing.assert_close(net.forward_features(images), exact)
    net.blocks = MergingBlocks(plain, 1)
    assert net.forward_features(images).shape == exact.shape
    assert not torch.allclose(net.forward_features(images), exact)
