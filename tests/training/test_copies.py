"""Training for copy detection, without labels."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image

import transhash
from transhash import Architecture, TrainConfig, hamming
from transhash.errors import TrainingError
from transhash.hashers.smvit import build
from transhash.hashers.transhash import TransHasher
from transhash.sources import list_images
from transhash.training import copies
from transhash.training.copy_edits import view
from transhash.training.data import Draw
from transhash.training.objectives.copies import Copies
from transhash.training.objectives.nested import Nested
from transhash.training.watcher import Watcher

TINY = Architecture(bits=32, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=0, nested=(16,))
RUN = TrainConfig(loss="copies", epochs=2, batch_size=24, precision="fp32", validation=0.25)


def photo(seed: int) -> Image.Image:
    """A smooth picture of few colours."""
    coarse = np.random.default_rng(seed).integers(0, 256, (3, 4, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((48, 36), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    for number in range(32):
        photo(number).save(folder / f"{number:02}.png")
    return folder


class Losses(Watcher):
    def __init__(self):
        self.losses, self.scores = [], []

    def on_step(self, result):
        self.losses.append(result.loss)
        if result.validation is not None:
            self.scores.append(result.validation)


@pytest.mark.slow
def test_a_run_without_labels_makes_a_hasher(photos, tmp_path):
    watcher = Losses()
    hasher = transhash.train(photos, tmp_path / "h.safetensors", TINY, RUN, watcher=watcher)
    assert len(watcher.losses) == RUN.epochs * 2
    assert np.isfinite(watcher.losses).all()
    assert len(watcher.scores) == RUN.epochs
    assert 0 < watcher.scores[-1] <= 1
    assert (hasher.preprocessing.fit, hasher.preprocessing.crop) == ("squash", 1.0)
    assert (hasher.class_names, hasher.rarity) == ((), ())  # 8 images held out say nothing about rare distances
    codes = transhash.encode([photo(0)], tmp_path / "h.safetensors", bits=16)
    assert codes.model.bits == 16


@pytest.mark.slow
def test_the_objective_learns_codes_that_views_share():
    """A layer on features that hold an image's 8 numbers, mixed with as many that change from view to view."""
    torch.manual_seed(0)
    mix = torch.randn(16, 16)

    def views(images: int) -> tuple[torch.Tensor, torch.Tensor]:
        own = torch.randn(images, 8).repeat_interleave(2, dim=0)
        features = torch.cat([own, 1.5 * torch.randn(2 * images, 8)], dim=1) @ mix
        return features, torch.arange(images).repeat_interleave(2)[:, None].float()

    net, objective = torch.nn.Linear(16, 32), Nested([16, 32], [Copies(16), Copies(32)])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        features, labels = views(64)
        loss = objective(net(features), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])
    objective.eval()
    affine = objective.affine()
    assert affine
    scale, shift = affine
    with torch.no_grad():
        bits = (net(views(100)[0]) * scale + shift > 0).numpy()
    for length in (16, 32):
        packed = np.packbits(bits[:, :length], axis=1)
        apart = hamming.distances(packed[::2], packed[1::2])
        others = apart[~np.eye(100, dtype=bool)]
        assert apart.diagonal().mean() < 0.6 * others.mean()
        assert others.mean() > 0.4 * length


@pytest.mark.slow
def test_a_run_repeats(photos):
    short = TrainConfig(loss="copies", epochs=1, batch_size=8, precision="fp32")
    one, two = (transhash.train(photos, None, TINY, short).net.state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_every_batch_holds_two_views_of_each_image():
    batches = copies.TwinBatches(11, TrainConfig(loss="copies", epochs=2, batch_size=6))
    assert (batches.size, batches.per_epoch, len(batches)) == (6, 3, 6)
    drawn = list(batches)
    for batch in drawn:
        assert [draw.turn for draw in batch] == [0, 1] * 3
        assert len({draw.place for draw in batch}) == 3
    assert list(copies.TwinBatches(11, TrainConfig(loss="copies", epochs=2, batch_size=6), 4)) == drawn[4:]


def test_views_repeat_and_differ(photos):
    hasher = TransHasher(build(TINY), TINY, None)
    images = copies.EditedImages(list_images(photos), hasher, RUN)
    assert len(images) == 32
    one, again, other = images[Draw(0, 3, 1)], images[Draw(0, 3, 1)], images[Draw(1, 3, 1)]
    assert torch.equal(one.pixels, again.pixels)
    assert not torch.equal(one.pixels, other.pixels)
    assert (one.pixels.shape, one.pixels.dtype) == ((3, 32, 32), torch.uint8)
    assert one.labels.tolist() == [3.0]


def test_both_views_of_an_unreadable_image_are_of_one_other(tmp_path):
    for number in range(5):
        photo(number).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes(b"no image")
    hasher = TransHasher(build(TINY), TINY, None)
    images = copies.EditedImages(list_images(tmp_path), hasher, RUN)
    views = [images[Draw(0, 2, turn)] for turn in (0, 1)]
    assert [path for view in views for path, _ in view.skipped] == [b"2.png", b"2.png"]
    assert views[0].labels == views[1].labels


@pytest.mark.parametrize("size", [(48, 36), (9, 200), (300, 17)])
def test_any_image_can_be_edited(size):
    image, others = photo(0).resize(size), itertools.cycle([photo(1), photo(2)])
    for seed in range(60):
        edited = view(image, 32, 1.0, np.random.default_rng(seed), lambda: next(others))
        assert (edited.mode, edited.size) == ("RGB", (32, 32))


def test_the_objective_rewards_equal_codes_of_an_image_that_are_far_from_others():
    torch.manual_seed(0)
    codes = torch.randint(0, 2, (8, 64)).float() * 2 - 1
    labels = torch.arange(8).repeat_interleave(2)[:, None]
    good = codes.repeat_interleave(2, dim=0)
    objective = Copies(64)
    best = objective(good, labels)
    assert best < objective(good.roll(1, dims=0), labels)
    assert best < objective(torch.ones(16, 64) + 1e-3 * good, torch.zeros(16, 1) + labels)
    nested = Nested([16, 64], [Copies(16), Copies(64)])
    assert nested(good, labels).isfinite()
    affine = nested.affine()
    assert affine
    scale, shift = affine
    assert scale.shape == shift.shape == (64,)


def test_settings_of_labels_are_refused(photos):
    for values, message in (
        ({"flip": 0.0}, "makes its own views"),
        ({"balanced": True}, "makes its own views"),
        ({"batch_size": 7}, "must be even"),
    ):
        with pytest.raises(TrainingError, match=message):
            TrainConfig(loss="copies", **values)


def test_too_few_images_are_one_line(tmp_path):
    photo(0).save(tmp_path / "a.png")
    with pytest.raises(TrainingError, match="1 images; training for copies takes at least 4"):
        transhash.train(tmp_path, None, TINY, RUN)
