"""Two processes that share every batch end with the weights of one that saw it whole: real torchrun, on CPUs."""

import csv
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import transhash
from transhash.hashers.architecture import Architecture
from transhash.training.config import LABELLED, TrainConfig

pytestmark = pytest.mark.slow

TINY = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2, depth=2)
RUN = [
    "--backbone",
    "test_vit",
    "--image-size",
    "32",
    "--patch-size",
    "16",
    "--stride",
    "16",
    "--groups",
    "2",
    "--depth",
    "2",
    "--bits",
    "16",
]
RUN += ["--batch-size", "8", "--validation", "0", "--precision", "fp32"]
CPU = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
STEP = """
import os, sys, warnings
import torch
import torch.distributed as dist
import transhash
from transhash.errors import TrainingError
from transhash.hashers.architecture import Architecture
from transhash.hashers.transhash import start
from transhash.training.config import LABELLED, TrainConfig
from transhash.training.data import TrainingBatch
from transhash.training.gather import gathered
from transhash.training.learner import Learner

tiny = Architecture(bits=16, backbone="test_vit", image_size=32, patch_size=16, stride=16, groups=2, depth=2)


def check_gradient():
    # rows that were gathered carry the gradient of the whole batch
    def cost(outputs):
        return (outputs @ outputs.T).square().mean()  # every pair counts, in any order

    torch.manual_seed(0)
    inputs = torch.randn(6, 5)
    whole = torch.randn(5, 3, requires_grad=True)
    shared = whole.detach().clone().requires_grad_()
    outputs = inputs @ whole
    cost(outputs).backward()
    rank = dist.get_rank()
    rows = gathered(inputs[rank::2] @ shared)
    assert torch.equal(rows, torch.cat([inputs[0::2], inputs[1::2]]) @ shared)
    cost(rows).backward()
    dist.all_reduce(shared.grad)
    assert torch.allclose(shared.grad / 2, whole.grad, rtol=1e-4)  # the mean over processes, as DDP takes it
    alone, = torch.autograd.grad(cost(inputs[rank::2] @ shared), shared)
    assert not torch.allclose(alone, whole.grad, rtol=1e-2)


def check_uneven():
    try:
        transhash.train(sys.argv[2], sys.argv[1] + ".safetensors", tiny, TrainConfig(batch_size=7))
    except TrainingError as error:
        assert str(error) == "batch-size 7: 2 processes cannot share it evenly"
    else:
        raise AssertionError("accepted")


random = torch.Generator().manual_seed(1)
pixels = torch.randn(2, 8, 3, 32, 32, generator=random, dtype=torch.float64)
classes = torch.randint(0, 3, (2, 8), generator=random)
found = {}
for several in (False, True):
    labels = torch.eye(3).double()[classes]
    if several:
        labels[:, ::3, 1] = 1
    for loss in LABELLED:
        torch.manual_seed(0)
        hasher = start(tiny, class_names=("a", "b", "c"))
        hasher.net.double()
        config = TrainConfig(loss=loss, accumulate=2, clip=1e6, precision="fp32")
        learner = Learner(hasher, config, 10, several=several)
        state = learner.state
        state.modules["objective"].double()
        name = f"{loss} several" if several else loss

        def keep(optimizer, *_):
            parameters = [value for group in optimizer.param_groups for value in group["params"]]
            found.update({f"{name}/gradient {place}": value.grad.clone() for place, value in enumerate(parameters)})

        state.optimizer.register_step_pre_hook(keep)
        own = slice(learner.process, None, learner.processes)
        batches = [TrainingBatch(images[own], ones[own], []) for images, ones in zip(pixels, labels)]
        found[f"{name}/loss"] = torch.tensor(learner.step(3, batches)[0])
        found |= {f"{name}/objective {key}": value for key, value in state.modules["objective"].state_dict().items()}
torch.save(found, f"{sys.argv[1]}.{os.environ.get('RANK', 'alone')}")
if learner.processes > 1:
    with warnings.catch_warnings():
        warnings.simplefilter("error", FutureWarning)  # as torch announces what it will take away
        check_gradient()
    check_uneven()
else:
    assert gathered(pixels) is pixels
"""
INTERRUPTED = """
import signal, time
from transhash_cli.main import main

step = Learner.step


def interrupted(self, number, batches):
    result = step(self, number, batches)
    if number == 2 and os.environ["RANK"] == "0":
        arrived = []
        for sort in (signal.SIGINT, signal.SIGTERM):
            handler = signal.getsignal(sort)
            signal.signal(sort, lambda *values, handler=handler: (arrived.append(sort), handler(*values)))
        os.kill(os.getppid(), signal.SIGINT)
        while not arrived:  # torchrun passes it on
            time.sleep(0.01)
    return result


Learner.step = interrupted
sys.argv = ["th", *sys.argv[3:]]
main()
"""


AGAIN = """
import sys
from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def work():
    for name in [name for name in sys.modules if name.startswith("transhash")]:
        del sys.modules[name]  # some read RANK when they are imported
    from transhash_cli.main import main

    try:
        main()
    except SystemExit as ended:
        assert ended.code == 0


config = LaunchConfig(1, 1, 2, run_id="again", rdzv_backend="c10d", rdzv_endpoint="localhost:0", start_method="fork")
elastic_launch(config, work)()
"""
"""Like torchrun, but with forked processes."""


def torchrun(*command):
    script = Path(sys.executable).with_name("torchrun")
    return [str(script), "--standalone", "--nproc-per-node", "2", *map(str, command)]


def two(*command, code=0):
    done = subprocess.run(torchrun(*command), env={**os.environ, **CPU}, capture_output=True, text=True, timeout=600)
    assert done.returncode == code, done.stderr
    return done


def rows(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


def same(one, other):
    one, other = load_file(one), load_file(other)
    return one.keys() == other.keys() and all(
        torch.allclose(one[name], other[name], rtol=1e-3, atol=1e-4) for name in one
    )


@pytest.fixture(scope="module")
def interrupted(pictures, tmp_path_factory):
    """What two processes leave that check single steps, then run `th train` until Ctrl-C at torchrun after 3 steps.

    Returns the folder, the command, and what torchrun wrote to stderr.
    """
    folder = tmp_path_factory.mktemp("interrupted")
    (folder / "step.py").write_text(STEP + INTERRUPTED)
    (folder / "runs").mkdir()
    train = ["train", pictures, "-o", folder / "runs" / "two.safetensors", *RUN, "--epochs", 4]
    return folder, train, two(folder / "step.py", folder / "found", pictures, *train, code=1).stderr


def test_two_processes_take_the_step_of_one(interrupted, pictures, tmp_path, monkeypatch):
    """Every objective, two batches for a step: the loss, all gradients, and OrthoHash's statistics, in float64.

    And a batch that two processes cannot share evenly is refused, with nothing written.
    """
    folder, _, _ = interrupted
    script = tmp_path / "step.py"
    script.write_text(STEP)
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "found"), str(pictures)])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    runpy.run_path(str(script))
    alone = torch.load(tmp_path / "found.alone", weights_only=True)
    assert alone.keys() >= {f"{loss}{kind}/loss" for loss in LABELLED for kind in ("", " several")}
    assert "orthohash/objective norm.running_var" in alone
    assert sum(value.abs().max() > 1e-3 for name, value in alone.items() if "gradient" in name) > 16 * 20
    for process in (0, 1):
        found = torch.load(folder / f"found.{process}", weights_only=True)
        assert found.keys() == alone.keys()
        for name, value in found.items():
            assert torch.allclose(value, alone[name], rtol=1e-6, atol=1e-10), name
    assert sorted(os.listdir(folder)) == ["found.0", "found.1", "runs", "step.py"]


def test_a_resumed_run_of_two_processes_equals_a_single_process(interrupted, forks, pictures):
    """Ctrl-C at torchrun saves the run; the same command ends it, with OrthoHash's statistics of whole batches."""
    folder, train, errors = interrupted
    runs = folder / "runs"
    assert "saved after step 3; the same command resumes from there" in errors
    assert os.listdir(runs) == ["two.run"]
    done = forks.run(AGAIN, *train, env=CPU)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert done.stderr.count("wrote ") == done.stderr.count("24 images in ") == 1
    assert "resuming after step 3" in done.stderr

    config = TrainConfig(epochs=4, batch_size=8, validation=0, precision="fp32")
    transhash.train(pictures, runs / "one.safetensors", TINY, config)
    assert sorted(os.listdir(runs)) == ["one.run", "one.safetensors", "two.run", "two.safetensors"]
    one, both = rows(runs / "one.run"), rows(runs / "two.run")
    assert [row["step"] for row in both] == [str(step) for step in range(1, 13)]
    losses = [[float(row["loss"]) for row in found[:6]] for found in (one, both)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert same(runs / "one.safetensors", runs / "two.safetensors")


def test_torchrun_reports_errors_of_other_processes(command, tmp_path):
    """The first process would go on for a minute."""
    fails = 'if [ "$RANK" = 1 ]; then exec "$0" "$@"; else exec sleep 60; fi'
    done = two("--no-python", "sh", "-c", fails, *command, "soup", tmp_path / "none", "-o", tmp_path / "h", code=1)
    assert done.stderr.count("none' does not exist") == 1, done.stderr
