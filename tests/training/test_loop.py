"""A run as a whole: it learns, repeats, counts its steps, and measures what it says it measures."""

import math
import signal
from dataclasses import asdict
from itertools import permutations

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torchvision.transforms.functional import normalize

from transhash import load_hasher
from transhash.encoding.run import encode
from transhash.errors import TrainingError
from transhash.evaluation import measure
from transhash.hashers.architecture import Architecture
from transhash.hashers.transhash import plain_backbone, start
from transhash.sources import ImageList, Item, list_images
from transhash.training.average import exponent
from transhash.training.config import LABELLED, FitConfig, TrainConfig
from transhash.training.data import TrainingBatch, fingerprint, hold_out
from transhash.training.learner import Learner
from transhash.training.loop import CHECKPOINT, train
from transhash.training.watcher import Watcher

pytestmark = pytest.mark.slow

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2, depth=2)


class Seen(Watcher):
    """Records the events."""

    def __init__(self):
        self.started, self.steps, self.skipped = [], [], []

    def on_start(self, *numbers):
        self.started.append(numbers)

    def on_step(self, progress):
        self.steps.append(progress)

    def on_skip(self, path, reason):
        self.skipped.append((path, reason))


@pytest.fixture(scope="module")
def riddle(tmp_path_factory):
    """24 pictures in 3 classes of two motifs each: what belongs together has to be learned."""
    root = tmp_path_factory.mktemp("riddle")
    rng = np.random.default_rng(0)
    for label in "abc":
        (root / label).mkdir()
        for motif in range(2):
            base = rng.integers(0, 256, (6, 6, 3)).repeat(6, axis=0).repeat(6, axis=1)
            for number in range(4):
                pixels = np.clip(base + rng.integers(-30, 30, base.shape), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / label / f"{motif}{number}.png")
    return list_images(root)


def mean_average_precision(source, hasher):
    codes = encode(source, hasher)
    return measure(codes, codes)["mAP@all"]


def weights(hasher):
    return hasher.net.state_dict()


def same(one, other, **tolerance):
    close = (lambda a, b: torch.allclose(a, b, **tolerance)) if tolerance else torch.equal
    return all(close(weights(one)[name], weights(other)[name]) for name in weights(one))


@pytest.mark.parametrize("loss", LABELLED)
def test_training_learns(riddle, loss):
    config = TrainConfig(
        loss=loss, epochs=12, batch_size=12, lr=1e-3, crop=0.9, jitter=0.0, flip=0.0, validation=0, seed=1
    )
    torch.manual_seed(config.seed)
    assert mean_average_precision(riddle, start(TINY)) < 0.85  # with the weights that training starts from
    seen = Seen()
    hasher = train(riddle, TINY, config, watcher=seen)
    assert mean_average_precision(riddle, hasher) > 0.9
    losses = [step.loss for step in seen.steps]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_events_of_a_watcher(pictures):
    seen = Seen()
    train(list_images(pictures), TINY, TrainConfig(epochs=3, batch_size=6, validation=0.25), watcher=seen)
    assert seen.started == [(18, 6, 0, 9, 6)]
    assert [(step.epoch, step.step, step.steps, step.images) for step in seen.steps] == [
        (1 + step // 3, 1 + step, 9, 6) for step in range(9)
    ]
    assert [step.step for step in seen.steps if step.validation is not None] == [3, 6, 9]
    assert all(0 <= step.validation <= 1 for step in seen.steps[2::3])


def leave_one_out(codes):
    """mAP of each code among all others, averaged over every order that ties allow."""
    bits, labels = np.unpackbits(codes.packed, axis=1), [path.split(b"/")[0] for path in codes.records.paths]
    scores = []
    for query in range(len(bits)):
        others = [place for place in range(len(bits)) if place != query]
        distance = {place: int((bits[query] != bits[place]).sum()) for place in others}
        found = []
        for order in permutations(others):
            if list(map(distance.get, order)) != sorted(distance.values()):
                continue
            hits = [rank for rank, place in enumerate(order, 1) if labels[place] == labels[query]]
            found.append(np.mean([count / rank for count, rank in enumerate(hits, 1)]))
        scores.append(np.mean(found))
    return np.mean(scores)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_validation_is_the_mean_average_precision_of_what_was_held_out(riddle, seed):
    source = ImageList(riddle.root, [image for image in riddle.images if image.labels != ("c",)])
    config, seen = TrainConfig(epochs=2, batch_size=5, validation=0.375, seed=seed), Seen()
    hasher = train(source, TINY, config, watcher=seen)
    _, held = hold_out(source, config.validation, config.seed)
    assert len(held.images) == 6
    assert seen.steps[-1].validation == pytest.approx(leave_one_out(encode(held, hasher)))


def test_same_seed_same_weights(pictures):
    runs = [train(list_images(pictures), TINY, TrainConfig(epochs=1, batch_size=12, seed=s)) for s in (5, 5, 6)]
    assert same(runs[0], runs[1])
    assert not torch.equal(weights(runs[0])["global_head.weight"], weights(runs[2])["global_head.weight"])


def learnt(config):
    """A learner after each of six steps."""
    learner = Learner(start(TINY, class_names=("a", "b")), config, steps=6)
    for step in range(6):
        learner.step(step, [TrainingBatch(torch.randn(4, 3, 32, 32), torch.eye(2).repeat(2, 1), [])])
        yield learner


def test_average_lies_within_the_weights_it_follows():
    followed = []
    for learner in learnt(TrainConfig(loss="transhash", ema=0.2, lr=1e-3)):
        followed.append({name: value.clone() for name, value in learner.state.modules["net"].state_dict().items()})
    average = weights(learner.hasher())
    for name, value in average.items():
        steps = torch.stack([net[name] for net in followed])
        assert (steps.amin(0) - 1e-6 <= value).all()
        assert (value <= steps.amax(0) + 1e-6).all()
    assert not any(all(torch.equal(average[name], net[name]) for name in average) for net in followed)


def test_batch_normalisation_of_orthohash_is_folded_into_the_heads():
    *_, learner = learnt(TrainConfig(loss="orthohash", lr=1e-3, ema=0))
    hasher, pixels = learner.hasher(), torch.randn(5, 3, 32, 32).to(learner.hasher().device)
    net, objective = (learner.state.modules[name].eval() for name in ("net", "objective"))
    with torch.inference_mode():
        outputs = net(pixels)
        assert torch.allclose(hasher.net(pixels), objective.norm(outputs), atol=1e-5)
        assert not torch.allclose(hasher.net(pixels), outputs, atol=1e-2)


def test_the_average_includes_the_statistics_of_orthohash():
    """The final weights of the heads, computed from the weights and statistics after every step."""
    average: dict[str, torch.Tensor] = {}
    shares = np.diff(np.linspace(0, 1, 7) ** (exponent(0.2) + 1))
    for share, learner in zip(shares, learnt(TrainConfig(loss="orthohash", ema=0.2, lr=1e-2)), strict=True):
        state = learner.state
        now = {f"{part}/{name}": value.clone() for part in ("net", "objective") for name, value in
               state.modules[part].state_dict().items() if value.is_floating_point()}  # fmt: skip
        average = {name: average.get(name, 0) + share * value for name, value in now.items()}
    hasher, bits = weights(learner.hasher()), TINY.bits // 2
    for held, differs in ((average, False), (average | {k: now[k] for k in now if "running" in k}, True)):
        scale = held["objective/norm.weight"] / (held["objective/norm.running_var"] + 1e-5).sqrt()
        shift = held["objective/norm.bias"] - held["objective/norm.running_mean"] * scale
        head = held["net/global_head.weight"] * scale[:bits, None]
        bias = held["net/global_head.bias"] * scale[:bits] + shift[:bits]
        found = [
            torch.allclose(hasher["global_head.weight"], head, 1e-4),
            torch.allclose(hasher["global_head.bias"], bias, 1e-4, 1e-5),
        ]
        assert found == [not differs] * 2


def test_average_becomes_the_hasher(pictures):
    run = {"loss": "transhash", "epochs": 4, "batch_size": 12, "validation": 0}
    plain, average = (train(list_images(pictures), TINY, TrainConfig(**run, ema=ema)) for ema in (0.0, 0.2))
    assert not same(plain, average)
    assert same(plain, average, atol=0.01)


@pytest.mark.parametrize("part", [0.0, 0.5, 1.0])
def test_mixed_images_share_labels_as_they_share_pixels(part):
    learner = Learner(start(TINY, class_names=("a", "b")), TrainConfig(cutmix=part), steps=20)
    seen, modules = [], learner.state.modules
    modules["net"].register_forward_pre_hook(lambda _, given: seen.append(given[0].float().cpu()))
    modules["objective"].register_forward_pre_hook(lambda _, given: seen.append(given[1].cpu()))
    labels = torch.eye(2).repeat(4, 1)
    pixels = labels[:, 1].reshape(8, 1, 1, 1).expand(8, 3, 32, 32)
    for step in range(20):
        learner.step(step, [TrainingBatch(pixels, labels, [])])
    shares = [(image.mean(dim=(1, 2, 3)), label[:, 1]) for image, label in zip(seen[::2], seen[1::2], strict=True)]
    for share, label in shares:
        torch.testing.assert_close(share, label)
    mixed = sum(not torch.equal(label, label.round()) for _, label in shares)
    assert mixed == 0 if part == 0 else 0 < mixed <= 20
    assert mixed < 17 or part == 1


def test_accumulated_batches_make_the_step_of_a_large_one(pictures):
    """For a loss that is a mean over images, the very gradients."""
    found, losses = [], []
    for size, accumulate in ((12, 1), (6, 2)):
        seen = Seen()
        config = TrainConfig(
            loss="csq", epochs=3, batch_size=size, accumulate=accumulate, validation=0, precision="fp32"
        )
        found.append(train(list_images(pictures), TINY, config, watcher=seen))
        assert [(step.epoch, step.step, step.images) for step in seen.steps] == [
            (1 + step // 2, 1 + step, 12) for step in range(6)
        ]
        losses.append([step.loss for step in seen.steps])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert same(*found, rtol=1e-3, atol=1e-4)
    other = train(list_images(pictures), TINY, TrainConfig(loss="csq", epochs=3, batch_size=6, validation=0))
    assert not same(found[0], other, rtol=1e-3, atol=1e-4)


def test_half_precision(pictures):
    seen = Seen()
    run = {"epochs": 2, "batch_size": 12, "validation": 0}
    half = train(list_images(pictures), TINY, TrainConfig(precision="bf16", **run), watcher=seen)
    assert all(math.isfinite(step.loss) for step in seen.steps)
    assert all(value.dtype == torch.float32 and value.isfinite().all() for value in weights(half).values())
    assert not same(half, train(list_images(pictures), TINY, TrainConfig(precision="fp32", **run)))


def test_a_file_says_how_its_hasher_was_trained(pictures, tmp_path):
    source, config = list_images(pictures), TrainConfig(epochs=1, loss="dch", gamma=7.0, validation=0.25)
    hasher = train(source, TINY, config)
    hasher.save(tmp_path / "h.safetensors")
    loaded = load_hasher(tmp_path / "h.safetensors")
    kept, _ = hold_out(source, config.validation, config.seed)
    assert loaded.class_names == ("circle", "cross", "stripe")
    assert loaded.training == {
        "config": asdict(config) | {"layer_decay": 1.0},
        "images": len(kept.images),
        "images_id": fingerprint(kept),
    }
    assert same(hasher, loaded)


def test_unreadable_images_are_reported_once_and_batches_stay_full(pictures, tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(4):
            (tmp_path / label / f"{number}.png").write_bytes((pictures / "cross" / "0.png").read_bytes())
        (tmp_path / label / "broken.png").write_bytes(b"")
    seen = Seen()
    train(list_images(tmp_path), TINY, TrainConfig(epochs=3, batch_size=10), watcher=seen)
    assert [step.images for step in seen.steps] == [10] * 3
    assert sorted(seen.skipped) == [(b"a/broken.png", "empty file"), (b"b/broken.png", "empty file")]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a/1.png", "b.png"], "'b.png' has no label; .* or use th fit"),
        (["a/1.png", "a/2.png"], "2 images in 1 class;"),
        (["a/1.png", "b/1.png"], "2 images in 2 classes"),
    ],
)
def test_labels_that_allow_no_training(paths, message, tmp_path):
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    with pytest.raises(TrainingError, match=message):
        train(list_images(tmp_path), TINY, TrainConfig())


@pytest.fixture
def backbone():
    """Random weights of a tiny backbone."""
    return {name: value.clone() for name, value in plain_backbone(TINY).state_dict().items()}


@pytest.mark.parametrize(("given", "used"), [(None, 0.75), (0.9, 0.9)])
def test_pretrained_weights_have_layer_decay_by_default(pictures, backbone, tmp_path, given, used):
    save_file(backbone, tmp_path / "w.safetensors")
    config = TrainConfig(epochs=1, batch_size=12, validation=0, layer_decay=given)
    hasher = train(list_images(pictures), TINY, config, weights=tmp_path / "w.safetensors")
    assert hasher.training["config"] == asdict(config) | {"loss": "orthocauchy", "layer_decay": used}
    spelled_out = TrainConfig(epochs=1, batch_size=12, validation=0, layer_decay=used)
    assert same(hasher, train(list_images(pictures), TINY, spelled_out, weights=tmp_path / "w.safetensors"))


@pytest.mark.parametrize("loss", LABELLED)
def test_images_with_several_classes(pictures, loss):
    paths = [image.path for image in list_images(pictures).images]
    several = [Item(path, ("a", "b")[: 1 + number % 2]) for number, path in enumerate(paths)]
    source, run = ImageList(bytes(pictures), several), {"epochs": 1, "batch_size": 12, "validation": 0}
    seen = Seen()
    assert train(source, TINY, TrainConfig(loss=loss, **run), watcher=seen).class_names == ("a", "b")
    assert all(math.isfinite(step.loss) for step in seen.steps)


def test_greedyhash_takes_one_cost_for_all_of_a_data_set():
    """Binary cross entropy where any image has several classes, also for a batch in which none has."""
    batch = TrainingBatch(torch.randn(4, 3, 32, 32), torch.eye(2).repeat(2, 1), [])
    costs = []
    for several in (False, True):
        torch.manual_seed(0)
        config = TrainConfig(loss="greedyhash", precision="fp32")
        learner = Learner(start(TINY, class_names=("a", "b")), config, steps=1, several=several)
        costs.append(learner.step(0, [batch])[0])
    assert costs[0] != pytest.approx(costs[1], rel=1e-3)


def test_a_loss_of_nan_ends_the_run(pictures, backbone, tmp_path):
    backbone["cls_token"][:] = 1e38
    save_file(backbone, tmp_path / "bad.safetensors")
    config = TrainConfig(epochs=1, batch_size=12, validation=0)
    with pytest.raises(TrainingError, match=r"the loss diverged at step 1; lower --lr \(lr=\), now 0\.0003"):
        train(list_images(pictures), TINY, config, weights=tmp_path / "bad.safetensors", folder=tmp_path / "run")
    assert not (tmp_path / "run" / CHECKPOINT).exists()
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 1


def test_signal_handlers_are_restored_after_a_run(pictures):
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    train(list_images(pictures), TINY, TrainConfig(epochs=1))
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "epochs 0: must be from 1 to 100000"),
        ({"lr": -1.0}, "lr -1.0: must be from"),
        ({"lr": math.nan}, "lr nan: must be from"),
        ({"batch_size": 1}, "batch-size 1: must be from 2"),
        ({"gamma": 0.0}, "gamma 0.0: must be from"),
        ({"flip": 2.0}, "flip 2.0: must be from 0.0 to 1.0"),
        ({"validation": 0.6}, "validation 0.6: must be from"),
        ({"seed": -1}, "seed -1: must be from 0"),
        ({"loss": "none"}, "loss 'none': must be one of transhash, dch"),
        ({"precision": "fp16"}, "precision 'fp16': must be one of auto, bf16, fp32"),
        ({"loss": "csq", "gamma": 3.0}, "gamma: the loss csq does not have it"),
        ({"loss": "csq", "cutmix": 0.5}, "cutmix: the loss csq cannot use shares of labels"),
        ({"loss": "orthohash", "quantization": 1.0}, "quantization: the loss orthohash does not have it"),
    ],
)
def test_values_out_of_range(change, message):
    with pytest.raises(TrainingError, match=message):
        TrainConfig(**change)


def test_values_out_of_range_of_a_fit():
    with pytest.raises(TrainingError, match="sample 1: must be from 2"):
        FitConfig(sample=1)


def test_a_run_ends_after_its_minutes(pictures):
    seen = Seen()
    config = TrainConfig(epochs=100_000, batch_size=12, minutes=0.01, validation=0)
    hasher = train(list_images(pictures), TINY, config, watcher=seen)
    assert hasher.training["steps"] == len(seen.steps) < seen.steps[0].steps
    with pytest.raises(TrainingError, match="schedule cosine must run to its end"):
        TrainConfig(minutes=1, schedule="cosine")


def test_a_gpu_normalises_as_timm_does(pictures):
    learner = Learner(start(TINY, class_names=("a", "b")), TrainConfig(), 1)
    raw = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    preprocessing = learner.hasher().preprocessing
    expected = normalize(raw.float() / 255, list(preprocessing.mean), list(preprocessing.std))
    assert torch.equal(learner._normalised(raw), expected)
    assert learner._normalised(expected) is expected
