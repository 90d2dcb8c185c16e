"""A run on disk, so that it can go on: one safetensors file with everything that a step changes."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from .. import files
from ..errors import TrainingError, one_line
from ..hashers.architecture import Architecture
from .config import TrainConfig

FORMAT = "transhash-training"
VERSION = 0


@dataclass(frozen=True)
class State:
    """What a step changes, besides its own number."""

    modules: dict[str, nn.Module]
    optimizer: torch.optim.Optimizer

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor by name."""
        found = {
            f"{part}/{name}": value
            for part, module in self.modules.items()
            for name, value in module.state_dict().items()
        }
        for number, moments in self.optimizer.state_dict()["state"].items():
            found |= {f"optimizer/{number}/{name}": torch.as_tensor(value) for name, value in moments.items()}
        return found

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take over tensors that `tensors` returned.

        Raises RuntimeError, KeyError or ValueError if they are of another run.
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
            if shapes != {"step": torch.Size(), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}:
                raise KeyError(f"the moments of parameter {number} are of another run")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": moments})


def save(path: Path, state: State, step: int, run: dict[str, Any]) -> None:
    """Write a state after `step` steps of the run that `run` describes, atomically. Raises OSError."""
    metadata = {"format": FORMAT, "version": str(VERSION), "step": str(step), "run": json.dumps(run)}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors().items()}
    with files.replacing(path) as temporary:
        temporary.write_bytes(serialize(tensors, metadata))


def resume(path: Path, state: State, run: dict[str, Any]) -> int:
    """Load what `save` wrote, if it is there, and return the number of steps done; 0 if nothing is there.

    Raises TrainingError if it is of another run, naming the first thing that differs, or damaged.
    """
    if not path.exists():
        return 0
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT or metadata.get("version") != str(VERSION):
                raise ValueError("not a checkpoint of this version")
            differing = _difference(_completed(json.loads(metadata["run"])), json.loads(json.dumps(run)))
            if differing:
                raise TrainingError(
                    f"{path}: an unfinished run with another {differing}; go on with that, or begin anew: --restart"
                )
            state.load({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
            return int(metadata["step"])
    except (SafetensorError, ValueError, KeyError, TypeError, RuntimeError, OSError) as error:
        raise TrainingError(
            f"{path}: not a checkpoint, or a damaged one ({one_line(error)}); begin anew: --restart"
        ) from error


def _completed(run: dict[str, Any]) -> dict[str, Any]:
    """Give a run the defaults of settings that did not exist when it began: they change nothing of what was."""
    whole = json.loads(json.dumps({"architecture": asdict(Architecture()), "config": asdict(TrainConfig())}))
    return run | {part: defaults | run[part] for part, defaults in whole.items()}


def _difference(found: dict[str, Any], expected: dict[str, Any]) -> str | None:
    """Return the name of the first setting that differs, with both values."""
    for name in sorted(found.keys() | expected.keys()):
        one, other = found.get(name), expected.get(name)
        if isinstance(one, dict) and isinstance(other, dict):
            inner = _difference(one, other)
            if inner:
                return inner
        elif one != other:
            return f"{name.replace('_', '-')} ({one}, now {other})"
    return None
