import numpy as np
import pytest
import torch

from transhash import images
from transhash.encoding import encode
from transhash.errors import TrainingError
from transhash.evaluation import evaluate
from transhash.hashers.architecture import Architecture
from transhash.training.config import TrainConfig
from transhash.training.loop import train

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=8, stride=8, groups=2)
RUN = TrainConfig(epochs=6, batch_size=12, lr=2e-3, crop=0.9, jitter=0.0)


def test_training_learns(pictures):
    seen = []
    hasher = train(images.folder(pictures), TINY, RUN, on_step=seen.append)
    assert [step.step for step in seen] == list(range(1, seen[-1].steps + 1))
    assert seen[-1].epoch == 6
    assert np.mean([step.loss for step in seen[-3:]]) < np.mean([step.loss for step in seen[:3]])
    assert hasher.class_names == ("circle", "cross", "stripe")
    codes = encode(pictures, hasher)
    assert evaluate(codes, codes)["mAP@all"] > 0.9


def test_same_seed_same_weights(pictures):
    runs = [train(images.folder(pictures), TINY, TrainConfig(epochs=1, batch_size=12, seed=s)) for s in (5, 5, 6)]
    weights = [run.net.state_dict() for run in runs]
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not torch.equal(weights[0]["global_head.weight"], weights[2]["global_head.weight"])


def test_unreadable_images_are_left_out(pictures, tmp_path):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for number in range(4):
            (tmp_path / label / f"{number}.png").write_bytes((pictures / "cross" / "0.png").read_bytes())
        (tmp_path / label / "broken.png").write_bytes(b"")
    seen = []
    train(images.folder(tmp_path), TINY, TrainConfig(epochs=1, batch_size=10), on_step=seen.append)
    assert [step.images for step in seen] == [8]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a/1.png", "b.png"], "'b.png' has no label"),
        (["a/1.png", "a/2.png"], "2 images in 1 classes"),
        (["a/1.png", "b/1.png"], "2 images in 2 classes"),
    ],
)
def test_labels_that_allow_no_training(paths, message, tmp_path):
    for path in paths:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).touch()
    with pytest.raises(TrainingError, match=message):
        train(images.folder(tmp_path), TINY, RUN)


@pytest.mark.parametrize("change", [{"epochs": 0}, {"lr": -1.0}, {"batch_size": 1}, {"gamma": 0.0}, {"flip": 2.0}])
def test_values_out_of_range(change):
    with pytest.raises(TrainingError, match="must be from"):
        TrainConfig(**change)
