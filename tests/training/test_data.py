from collections import Counter

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transhash.training.data import PairedBatches


@settings(deadline=None)
@given(st.lists(st.integers(0, 5), min_size=2, max_size=80), st.integers(2, 30), st.integers(0, 99))
def test_epochs_use_images_once_and_batches_are_full(labels, size, seed):
    batches = PairedBatches(labels, size, torch.Generator().manual_seed(seed))
    epoch = list(batches)
    used = [place for batch in epoch for place in batch]
    assert len(epoch) == len(batches) == max(1, len(labels) // size)
    assert {len(batch) for batch in epoch} == {min(size, len(labels))}
    assert max(Counter(used).values()) == 1


def test_similar_pairs_exist_even_with_many_classes():
    labels = [place // 4 for place in range(4000)]
    batches = list(PairedBatches(labels, 32, torch.Generator().manual_seed(0)))
    for batch in batches:
        counts = Counter(labels[place] for place in batch)
        assert sum(count > 1 for count in counts.values()) >= 10


def test_epochs_differ_and_seeds_repeat():
    labels = [0, 1] * 50
    first, again = (PairedBatches(labels, 10, torch.Generator().manual_seed(3)) for _ in range(2))
    one, two = list(first), list(first)
    assert one != two
    assert [list(again), list(again)] == [one, two]
