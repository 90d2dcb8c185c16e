"""A run that is stopped and goes on ends with the very weights of one that was never stopped."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save as serialize

import transhash
from transhash.errors import TrainingError
from transhash.hashers import tensor_file
from transhash.hashers.architecture import Architecture
from transhash.sources import ImageList, list_images
from transhash.training import checkpoint
from transhash.training.config import LABELLED, TrainConfig
from transhash.training.loop import CHECKPOINT, train
from transhash.training.watcher import Watcher

pytestmark = pytest.mark.slow

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2, depth=2)
RUN = {"epochs": 4, "batch_size": 6, "accumulate": 2, "ema": 0.2, "augment": "rand-m9-mstd0.5", "erase": 0.3}


class StopAt(Watcher):
    """Presses Ctrl-C after a step."""

    def __init__(self, step):
        self.step = step
        self.saved = None

    def on_step(self, progress):
        if progress.step == self.step:
            signal.raise_signal(signal.SIGINT)  # in this thread, so that the handler runs at once

    def on_save(self, path, step):
        self.saved = step


def weights(hasher):
    return {name: value.clone() for name, value in hasher.net.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("loss", ["transhash", "orthocauchy", "greedyhash"])
def test_a_resumed_run_equals_an_uninterrupted_one(pictures, tmp_path, loss):
    source, config = (
        list_images(pictures),
        TrainConfig(**RUN, loss=loss, patch_drop=0.5, cutmix=0.5 * (loss == "orthocauchy")),
    )
    whole = weights(train(source, TINY, config))
    for stop in (2, 5):
        watcher = StopAt(stop)
        with pytest.raises(KeyboardInterrupt):
            train(source, TINY, config, folder=tmp_path, watcher=watcher)
        assert watcher.saved == stop
    assert same(whole, weights(train(source, TINY, config, folder=tmp_path)))


def test_workers_do_not_change_the_result(pictures):
    source, config = list_images(pictures), TrainConfig(epochs=2, batch_size=8)
    assert same(weights(train(source, TINY, config)), weights(train(source, TINY, config, workers=2)))


def test_log_has_every_step_once(pictures, tmp_path):
    source, config = list_images(pictures), TrainConfig(epochs=3, batch_size=6, validation=0.25)
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, config, folder=tmp_path, watcher=StopAt(4))
    lost = "9,3,0.5,0.1,10.0,\n"  # as a killed process leaves it: later than its last checkpoint
    with (tmp_path / "log.csv").open("a") as log:
        log.write(lost)
    train(source, TINY, config, folder=tmp_path)
    header, *rows = [line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines()]
    assert header[:3] == ["step", "epoch", "loss"]
    assert [int(row[0]) for row in rows] == list(range(1, 10))
    assert [int(row[1]) for row in rows] == [1] * 3 + [2] * 3 + [3] * 3
    scored = [int(row[0]) for row in rows if row[-1]]
    assert scored == [3, 6, 9]
    assert all(0 <= float(row[-1]) <= 1 for row in rows if row[-1])


def test_another_run_is_refused(pictures, tmp_path):
    source = list_images(pictures)
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, TrainConfig(epochs=3, batch_size=6), folder=tmp_path, watcher=StopAt(1))
    with pytest.raises(TrainingError, match=r"unfinished run with another lr \(0.0003, now 0.01\)"):
        train(source, TINY, TrainConfig(epochs=3, batch_size=6, lr=0.01), folder=tmp_path)
    fewer = ImageList(source.root, source.images[:-1])
    with pytest.raises(TrainingError, match="another images"):
        train(fewer, TINY, TrainConfig(epochs=3, batch_size=6), folder=tmp_path)
    train(source, TINY, TrainConfig(epochs=1, batch_size=6), folder=tmp_path, restart=True)


def test_a_run_with_older_defaults_resumes_if_they_are_passed(pictures, tmp_path):
    source, old = list_images(pictures), {"loss": "transhash", "layer_decay": 1.0}
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, TrainConfig(epochs=3, batch_size=6, **old), folder=tmp_path, watcher=StopAt(1))
    with pytest.raises(
        TrainingError, match=r"another loss \(transhash, now orthocauchy\); use that, or pass --restart"
    ):
        train(source, TINY, TrainConfig(epochs=3, batch_size=6), folder=tmp_path)
    watcher = StopAt(2)
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, TrainConfig(epochs=3, batch_size=6, loss="transhash"), folder=tmp_path, watcher=watcher)
    assert watcher.saved == 2


def test_a_run_of_sgd_resumes(pictures, tmp_path):
    source = list_images(pictures)
    config = TrainConfig(
        epochs=3, batch_size=6, loss="transhash", optimizer="sgd", lr=0.01, warmup=2, resize=40, ema=0
    )
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, config, folder=tmp_path, watcher=StopAt(1))
    resumed = train(source, TINY, config, folder=tmp_path)
    assert same(weights(train(source, TINY, config)), weights(resumed))
    assert resumed.preprocessing.crop == TINY.image_size / 40


def test_a_run_from_before_a_setting_existed_resumes(pictures, tmp_path):
    source, config = list_images(pictures), TrainConfig(epochs=3, batch_size=6)
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, config, folder=tmp_path, watcher=StopAt(1))
    path = tmp_path / CHECKPOINT
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    run = json.loads(metadata["run"])
    del run["config"]["patch_drop"], run["architecture"]["mirror"]
    tensor_file.write(path, serialize(tensors, metadata | {"run": json.dumps(run)}))
    with pytest.raises(TrainingError, match=r"another patch-drop \(0.0, now 0.5\)"):
        train(source, TINY, replace(config, patch_drop=0.5), folder=tmp_path)
    assert same(weights(train(source, TINY, config)), weights(train(source, TINY, config, folder=tmp_path)))


def test_damaged_checkpoints_are_refused(pictures, tmp_path):
    """Every truncation, and random bytes anywhere."""
    source, config = list_images(pictures), TrainConfig(epochs=3, batch_size=6)
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, config, folder=tmp_path, watcher=StopAt(1))
    path = tmp_path / CHECKPOINT
    good = path.read_bytes()
    header = 8 + int.from_bytes(good[:8], "little")
    rng = np.random.default_rng(0)
    mutants = [good[:end] for end in (0, 7, 100, header, len(good) - 1)]
    for place in rng.integers(0, header, 10):
        mutants.append(good[:place] + bytes([good[place] ^ 0x55]) + good[place + 1 :])
    for mutant in mutants:
        path.write_bytes(mutant)
        try:
            train(source, TINY, config, folder=tmp_path, watcher=StopAt(2))
        except (TrainingError, KeyboardInterrupt) as error:
            assert isinstance(error, KeyboardInterrupt) or "\n" not in str(error)


KILLED = """
import os, signal, sys
from transhash.training import loop
from transhash.training.learner import Learner
from transhash_cli.main import main

step = Learner.step
loop._SAVE_EVERY = 0


def killed(self, number, batches):
    if number == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, number, batches)


Learner.step = killed
sys.argv[0] = "th"
last = int(sys.argv.pop(1))
main()
"""


def test_killed_at_any_moment(forks, pictures, tmp_path):
    """Killed again and again, before and after it saved the run, the command completes with an identical file."""
    command = ["train", pictures, "-o", tmp_path / "killed.safetensors", "--backbone", "test_vit", "--image-size", 32]
    command += ["--patch-size", 16, "--stride", 16, "--groups", 2, "--depth", 2, "--bits", 16, "--epochs", 6]
    command += ["--batch-size", 8, "--validation", 0, "--precision", "fp32"]
    for last in (0, 1, 7):
        assert forks.run(KILLED, last, *command).returncode == -signal.SIGKILL
    assert (tmp_path / "killed.run" / CHECKPOINT).exists()
    assert len((tmp_path / "killed.run" / "log.csv").read_text().splitlines()) == 8
    run = TINY, TrainConfig(epochs=6, batch_size=8, validation=0, precision="fp32")
    digests = [
        transhash.train(pictures, tmp_path / f"{name}.safetensors", *run).ref.digest for name in ("killed", "whole")
    ]
    assert digests[0] == digests[1]
    assert not (tmp_path / "killed.run" / CHECKPOINT).exists()


@pytest.mark.parametrize("change", ["tensor", "step"])
def test_a_checkpoint_that_was_changed_is_refused(pictures, tmp_path, change):
    """A bit of a tensor, or the number of the step."""
    source, config = list_images(pictures), TrainConfig(epochs=3, batch_size=6)
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, config, folder=tmp_path, watcher=StopAt(1))
    path = tmp_path / CHECKPOINT
    content = bytearray(path.read_bytes())
    if change == "tensor":
        content[-10] ^= 1
    else:
        content[content.index(b'"step":"') + len('"step":"')] ^= 1
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"do not match its checksum.*start over with --restart"):
        train(source, TINY, config, folder=tmp_path)


@pytest.mark.parametrize("step", ["-5", "0", "1000000000", "one"])
def test_an_invalid_step_is_rejected(pictures, tmp_path, step):
    """Even with a matching checksum."""
    source, config = list_images(pictures), TrainConfig(epochs=3, batch_size=6)
    with pytest.raises(KeyboardInterrupt):
        train(source, TINY, config, folder=tmp_path, watcher=StopAt(1))
    path = tmp_path / CHECKPOINT
    with safe_open(path, framework="pt") as file:
        metadata, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensor_file.write(path, serialize(tensors, metadata | {"step": step}))
    with pytest.raises(TrainingError, match="not a checkpoint, or a damaged one"):
        train(source, TINY, config, folder=tmp_path)


def test_state_knows_every_tensor(pictures):
    """The checkpoint holds all state that a step changes: weights, average, objective, both moments of AdamW."""
    net, objective = torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)
    optimizer = torch.optim.AdamW([*net.parameters(), *objective.parameters()])
    objective(net(torch.randn(4, 3))).sum().backward()
    optimizer.step()
    names = checkpoint.State({"net": net, "objective": objective}, optimizer).tensors()
    assert {"net/weight", "objective/running_mean", "optimizer/0/exp_avg", "optimizer/3/exp_avg_sq"} <= names.keys()


def test_all_losses_are_tested_somewhere():
    assert set(LABELLED) == {
        "transhash",
        "dch",
        "dpsh",
        "hashnet",
        "greedyhash",
        "csq",
        "orthohash",
        "orthocauchy",
        "dpn",
    }
