"""What a training run sees: who is held out, who meets whom in a batch, and what an augmented image depends on."""

import random
import re
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from transhash.errors import TrainingError
from transhash.hashers.architecture import Architecture
from transhash.hashers.transhash import start
from transhash.sources import ImageList, Item, list_images
from transhash.training.config import TrainConfig
from transhash.training.data import Draw, LabelledImages, PairedBatches, fingerprint, hold_out, loader
from transhash.training.labels import class_names

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2)
CLASSES = st.lists(st.integers(0, 5), min_size=2, max_size=80)
SIZE = st.integers(2, 30)


def dealt(firsts, *args, **values):
    """The batches of a run, as lists."""
    return list(PairedBatches(np.array(firsts), TrainConfig(**values), *args))


def alone(firsts, batch):
    """Positions in a batch whose image has no other of its class there, though its class has another."""
    here, all_of = Counter(firsts[draw.place] for draw in batch), Counter(firsts)
    classes = [firsts[draw.place] for draw in batch]
    return [position for position, name in enumerate(classes) if here[name] == 1 < all_of[name]]


@pytest.mark.slow
@settings(deadline=None)
@given(CLASSES, SIZE, st.integers(0, 99))
def test_epochs_use_images_once_and_batches_are_full(firsts, size, seed):
    batches = PairedBatches(np.array(firsts), TrainConfig(batch_size=size, seed=seed, epochs=2))
    found = list(batches)
    assert batches.per_epoch == max(1, len(firsts) // size)
    assert len(found) == len(batches) == 2 * batches.per_epoch
    assert {len(batch) for batch in found} == {batches.size} == {min(size, len(firsts))}
    for epoch in range(2):
        own = [draw for batch in found[epoch * batches.per_epoch :][: batches.per_epoch] for draw in batch]
        assert {draw.epoch for draw in own} == {epoch}
        assert {draw.turn for draw in own} == {0}
        assert len({draw.place for draw in own}) == len(own)
        assert {draw.place for draw in own} <= set(range(len(firsts)))


@settings(deadline=None)
@given(CLASSES, SIZE, st.integers(0, 99))
def test_only_the_ends_of_a_batch_can_be_without_another_of_their_class(firsts, size, seed):
    for batch in dealt(firsts, batch_size=size, seed=seed, epochs=2):
        assert set(alone(firsts, batch)) <= {0, len(batch) - 1}


@pytest.mark.slow
@settings(deadline=None)
@given(CLASSES, SIZE, st.integers(0, 99))
def test_every_image_has_a_partner_if_groups_of_two_fill_the_batches(firsts, size, seed):
    firsts = firsts + firsts
    assert not any(alone(firsts, batch) for batch in dealt(firsts, batch_size=2 * size, seed=seed, epochs=2))


def test_similar_pairs_exist_even_with_many_classes():
    firsts = [place // 4 for place in range(4000)]
    for batch in dealt(firsts, batch_size=32, epochs=1):
        counts = Counter(firsts[draw.place] for draw in batch)
        assert sum(count > 1 for count in counts.values()) >= 10


def test_epochs_differ_and_seeds_repeat():
    run = {"batch_size": 10, "epochs": 2}
    one, again, other = (dealt([0, 1] * 50, seed=seed, **run) for seed in (3, 3, 4))
    assert one == again
    first, second = ([draw.place for batch in half for draw in batch] for half in (one[:10], one[10:]))
    assert first != second
    assert one != other


@pytest.mark.slow
@settings(deadline=None)
@given(CLASSES, SIZE, st.booleans(), st.data())
def test_a_later_start_is_the_tail_of_the_whole(firsts, size, balanced, data):
    run = {"batch_size": size, "epochs": 3, "balanced": balanced}
    whole = dealt(firsts, **run)
    first = data.draw(st.integers(0, len(whole)))
    assert dealt(firsts, first, **run) == whole[first:]
    assert len(PairedBatches(np.array(firsts), TrainConfig(**run), first)) == len(whole) - first


@pytest.mark.slow
@settings(deadline=None)
@given(CLASSES, SIZE, st.sampled_from([2, 3]))
def test_shares_of_all_processes_are_the_batch(firsts, size, processes):
    run = {"batch_size": size, "epochs": 2}
    shares = [dealt(firsts, 0, slice(process, None, processes), **run) for process in range(processes)]
    for batch, *parts in zip(dealt(firsts, **run), *shares, strict=True):
        assert [parts[place % processes][place // processes] for place in range(len(batch))] == batch


def test_balanced_draws_every_class_equally_often():
    firsts = [0] * 100 + [1] * 20 + [2] * 5
    plain = PairedBatches(np.array(firsts), TrainConfig(batch_size=25))
    even = PairedBatches(np.array(firsts), TrainConfig(batch_size=25, balanced=True, epochs=1))
    assert even.per_epoch == plain.per_epoch == 5
    draws = [draw for batch in even for draw in batch]
    counts = Counter(firsts[draw.place] for draw in draws)
    assert max(counts.values()) - min(counts.values()) <= 1
    images_of = {name: Counter(draw.place for draw in draws if firsts[draw.place] == name) for name in range(3)}
    assert max(images_of[0].values()) == 1
    assert set(images_of[1].values()) <= {1, 2, 3}
    assert set(images_of[2].values()) <= {7, 8, 9}
    for place, count in images_of[2].items():
        assert [draw.turn for draw in draws if draw.place == place] == list(range(count))


# Images


@pytest.fixture(scope="module")
def hasher():
    return start(TINY)


def labelled(source, hasher, **values):
    return LabelledImages(source, class_names(source), hasher, TrainConfig(**values))


@pytest.mark.parametrize("values", [{}, {"augment": "rand-m9-mstd0.5", "erase": 0.5}])
def test_pixels_depend_on_the_draw_alone(pictures, hasher, values):
    source = list_images(pictures)
    dataset = labelled(source, hasher, **values)
    draws = [Draw(0, 5), Draw(1, 5), Draw(0, 6), Draw(0, 5, 1)]
    found = [dataset[draw].pixels for draw in draws]
    dtype = torch.float32 if values else torch.uint8  # erasing comes after normalising
    assert {(pixels.shape, pixels.dtype) for pixels in found} == {((3, 32, 32), dtype)}
    assert not any(torch.equal(one, other) for one, other in combinations(found, 2))
    for seed, copy in enumerate((dataset, labelled(source, hasher, **values))):
        random.seed(seed), np.random.seed(seed), torch.manual_seed(seed)
        for draw, pixels in reversed(list(zip(draws, found, strict=True))):
            assert torch.equal(copy[draw].pixels, pixels)
    assert not torch.equal(labelled(source, hasher, seed=1, **values)[draws[0]].pixels, found[0])


def test_labels_are_ones_among_zeros(pictures, hasher):
    several = [("round", "dark"), ("dark",), ("round",)]
    source = ImageList(bytes(pictures), [Item(b"circle/0.png", names) for names in several])
    dataset = labelled(source, hasher)  # classes: dark, round
    assert [dataset[Draw(0, place)].labels.tolist() for place in range(3)] == [[1, 1], [1, 0], [0, 1]]
    assert dataset.firsts.tolist() == [1, 0, 1]


@pytest.fixture
def broken(pictures, tmp_path):
    """Class a with a broken picture among four, class b with nothing else."""
    for label, good in (("a", 3), ("b", 0)):
        (tmp_path / label).mkdir()
        for number in range(4):
            content = (pictures / "cross" / f"{number}.png").read_bytes() if number < good else b"no picture"
            (tmp_path / label / f"{number}.png").write_bytes(content)
    return list_images(tmp_path)


def test_an_unreadable_image_is_replaced_by_another_of_its_class(broken, hasher):
    dataset = labelled(broken, hasher, crop=1.0, flip=0.0, jitter=0.0)
    sample = dataset[Draw(0, 3)]
    assert sample.labels.tolist() == [1, 0]
    assert {path for path, _ in sample.skipped} == {b"a/3.png"}
    assert "not an image" in sample.skipped[0][1]
    assert any(torch.equal(sample.pixels, dataset[Draw(0, place)].pixels) for place in range(3))
    assert dataset[Draw(0, 0)].skipped == []


@pytest.mark.parametrize("workers", [0, 1])
def test_a_class_that_cannot_be_read_at_all_ends_the_run(broken, hasher, workers):
    config = TrainConfig(batch_size=8, epochs=1)
    batches = loader(labelled(broken, hasher), PairedBatches(np.array([0] * 4 + [1] * 4), config), workers)
    with pytest.raises(TrainingError) as caught:
        list(batches)
    assert re.fullmatch(r"'b/\d.png' and others of its class cannot be read \(.*\); remove them", str(caught.value))


@pytest.mark.parametrize("policy", ["nonsense", "rand-m9,5", "3augment"])
def test_unknown_augmentation(pictures, hasher, policy):
    with pytest.raises(TrainingError, match=f"augment '{policy}': timm has no such policy; try rand-m9-mstd0.5"):
        labelled(list_images(pictures), hasher, augment=policy)


def test_failing_augmentations_are_redrawn(pictures, hasher):
    """At its highest level timm's posterization keeps 0 bits, which is an error to Pillow."""
    dataset = labelled(list_images(pictures), hasher, augment="rand-m10-inc1")
    for place in range(60):
        assert dataset[Draw(place, place % 24)].pixels.isfinite().all()


# Sources


def source_of(sizes):
    return ImageList(
        b"", [Item(f"{name}/{n}".encode(), (str(name),)) for name, size in enumerate(sizes) for n in range(size)]
    )


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.floats(0, 0.5), st.integers(0, 99))
@example([3, 3], 0.5, 0)  # two of three held out would leave no pair to learn from
def test_hold_out(sizes, part, seed):
    source = source_of(sizes)
    kept, held = hold_out(source, part, seed)
    assert sorted([*kept.images, *held.images], key=source.images.index) == source.images
    left, out = (Counter(image.labels[0] for image in side.images) for side in (kept, held))
    for name, size in enumerate(sizes):
        taken = out[str(name)]
        assert taken == 0 or (taken >= 2 and left[str(name)] >= 2)
        assert abs(taken - part * size) <= (0.5 if size >= 4 and round(part * size) >= 2 else 1.5)
    assert hold_out(source, part, seed) == (kept, held)


def test_hold_out_follows_the_seed():
    halves = [hold_out(source_of([20, 20]), 0.5, seed)[1].images for seed in range(5)]
    assert not any(one == other for one, other in combinations(halves, 2))


PATHS = st.binary(min_size=1, max_size=4).filter(lambda path: not {9, 10} & set(path))
LABELS = st.lists(st.sampled_from("abc"), unique=True).map(tuple)


@pytest.mark.slow
@settings(deadline=None)
@given(st.lists(st.builds(Item, PATHS, LABELS), max_size=6), st.randoms(), st.binary())
def test_identity_is_that_of_paths_and_labels(files, rng, root):
    shuffled = [Item(file.path, tuple(rng.sample(file.labels, len(file.labels)))) for file in files]
    rng.shuffle(shuffled)
    own = fingerprint(ImageList(b"", files))
    assert re.fullmatch("[0-9a-f]{12}", own)
    assert fingerprint(ImageList(root, shuffled)) == own
    for place, file in enumerate(files):
        for other in (Item(file.path + b"x", file.labels), Item(file.path, (*file.labels, "d"))):
            assert fingerprint(ImageList(b"", [*files[:place], other, *files[place + 1 :]])) != own
