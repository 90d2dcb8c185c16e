"""The state of an unfinished run: one safetensors file with everything that a step changes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from ..errors import TrainingError, TransHashError, one_line
from ..hashers import tensor_file
from ..hashers.architecture import Architecture
from ..hashers.header import check_settings
from ..system.files import display
from .config import TrainConfig

FORMAT = "transhash-training"
VERSION = 1
_DAMAGE = (SafetensorError, msgspec.MsgspecError, ValueError, LookupError, TypeError, RuntimeError, OSError)


@dataclass(frozen=True)
class RunSettings:
    """Everything that determines the result of a run; a checkpoint of another run is refused.

    Attributes:
        architecture: the network.
        config: the settings of the run.
        images: number of training images.
        images_id: digest of their paths and labels.
        start: the weights that the run started from: a digest, or a keyword.
        bf16: whether it computes in bfloat16.
        processes: number of processes that share a batch.
    """

    architecture: Architecture
    config: TrainConfig
    images: int
    images_id: str
    start: str
    bf16: bool
    processes: int


@dataclass(frozen=True)
class State:
    """Everything that a step changes."""

    modules: dict[str, nn.Module]
    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name."""
        found = {
            f"{part}/{name}": value
            for part, module in self.modules.items()
            for name, value in module.state_dict().items()
        }
        for number, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer/{number}/{name}": torch.as_tensor(value) for name, value in moments.items()}
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Restore the state from tensors that `tensors` returned.

        Raises RuntimeError, KeyError or ValueError if they belong to another run.
        """
        for part, module in self.modules.items():
            prefix = f"{part}/"
            module.load_state_dict(
                {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
            )
        moments: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            if part == "optimizer":
                place, _, moment = rest.partition("/")
                moments.setdefault(int(place), {})[moment] = value
        parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        if sorted(moments) != list(range(len(parameters))):
            raise KeyError("the moments of some parameters are missing")
        for number, parameter in enumerate(parameters):
            shapes = {name: value.shape for name, value in moments[number].items()}
            if shapes != self._moment_shapes(parameter):
                raise KeyError(f"the moments of parameter {number} are of another run")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})

    def _moment_shapes(self, parameter: Tensor) -> dict[str, torch.Size]:
        if isinstance(self.optimizer, torch.optim.SGD):
            return {"momentum_buffer": parameter.shape}
        return {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}


def save(path: Path, state: State, step: int, run: RunSettings) -> None:
    """Write the state of `run` after `step` steps, atomically. Raises OSError."""
    metadata = {"format": FORMAT, "version": str(VERSION), "step": str(step), "run": json.dumps(asdict(run))}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors().items()}
    tensor_file.write(path, serialize(tensors, metadata))


def resume(path: Path, state: State, run: RunSettings, steps: int) -> int:
    """Load the checkpoint that `save` wrote, if the file exists.

    Returns:
        The number of completed steps, out of `steps`; 0 if there is no checkpoint.

    Raises TrainingError if the checkpoint is damaged or of another run; the message names the first difference.
    """
    if not path.exists():
        return 0
    try:
        if not tensor_file.verify(path):
            raise ValueError("it has no checksum")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
                raise ValueError("not a checkpoint of this version")
            differing = _difference(_settings(metadata["run"]), asdict(run))
            if differing:
                raise TrainingError(
                    f"{display(path)}: an unfinished run with another {differing}; "
                    "use that, or pass --restart (restart=True)"
                )
            done = int(metadata["step"])
            if not 0 < done <= steps:
                raise ValueError(f"step {done} of {steps}")
            state.load({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            return done
    except _DAMAGE as error:
        reason = "" if isinstance(error, SafetensorError) else f" ({one_line(error)})"
        raise TrainingError(
            f"{display(path)}: not a checkpoint, or a damaged one{reason}; start over with --restart (restart=True)"
        ) from error


def _settings(text: str) -> dict[str, Any]:
    """Decode a run's settings. Those that did not exist when it began get their defaults, which change nothing."""
    values = json.loads(text)
    try:
        run = msgspec.convert(values, RunSettings)
    except TransHashError as error:  # a value out of range
        raise ValueError(str(error)) from error
    check_settings(values["architecture"], Architecture)
    check_settings(values["config"], TrainConfig)
    return asdict(run)


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """Name the first setting that differs, with both values."""
    for name in sorted(found.keys() | expected.keys()):
        one, other = found.get(name), expected.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            inner = _difference(one, other)
            if inner:
                return inner
        elif one != other:
            return f"{name.replace('_', '-')} ({one}, now {other})"
    return None
