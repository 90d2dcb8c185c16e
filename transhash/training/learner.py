"""One step of training: network, objective, optimizer and average, on the devices of this machine."""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from timm.layers import Attention, use_fused_attn
from torch import Tensor, nn
from torchvision.transforms.v2 import CutMix

from ..errors import TrainingError
from ..hashers.bit_layout import streams
from ..hashers.precision import has_bf16
from ..hashers.transhash import TransHasher
from . import objectives, optimizer
from .average import averaging
from .checkpoint import State
from .config import TrainConfig
from .data import TrainingBatch
from .gather import gathered


class Learner:
    """Trains a network on batches. Under ``torchrun``, each process handles a share, and all get the same weights."""

    def __init__(self, hasher: TransHasher, config: TrainConfig, steps: int, *, several: bool = False) -> None:
        """Train `hasher` in `steps` steps; `several` says whether an image may have several classes."""
        self._hasher = hasher
        self._config = config
        self._steps = steps
        self._net = hasher.net.train()
        self._net.drop_patches(config.patch_drop)
        if hasher.device.type == "cpu":
            _fuse_attention(self._net, fused=False)  # measured in docs/training.md
        classes = len(hasher.class_names)
        architecture = hasher.architecture
        objective = objectives.build(
            config,
            architecture.lengths,
            classes,
            streams=streams(architecture.lengths, architecture.groups),
            several=several,
        )
        self._objective = objective.to(hasher.device)
        self._optimizer = optimizer.build(self._net, self._objective, config)
        self._learning = nn.ModuleDict({"net": self._net, "objective": self._objective})
        self._average = averaging(self._learning, config.ema) if config.ema else None
        self._accelerator = Accelerator(cpu=hasher.device.type == "cpu")
        self._wrapped: nn.Module = self._net
        if self.processes > 1:
            self._wrapped = self._accelerator.prepare(self._net)
        self.half = has_bf16() if config.precision == "auto" else config.precision == "bf16"

    @property
    def processes(self) -> int:
        """Number of processes that share a batch."""
        return self._accelerator.num_processes

    @property
    def process(self) -> int:
        """Number of this process, from 0; only process 0 writes files."""
        return self._accelerator.process_index

    @property
    def state(self) -> State:
        """Everything that a step changes."""
        modules = dict(self._learning.items())
        if self._average:
            modules["average"] = self._average
        return State(modules, self._optimizer)

    def step(self, step: int, batches: Sequence[TrainingBatch]) -> tuple[float, float]:
        """Train on the batches of step `step`, counted from 0.

        Returns:
            The loss and the learning rate.

        Raises TrainingError if the loss is not finite.
        """
        config = self._config
        part = optimizer.set_rate(self._optimizer, step, self._steps, config)
        _seed(config.seed, step, self.process)
        loss = 0.0
        for batch in batches:
            pixels, labels = self._mixed(self._normalised(self._moved(batch.pixels)), self._moved(batch.labels))
            with self._autocast():
                outputs = self._wrapped(pixels)
            cost = self._objective(gathered(outputs), gathered(labels), step) / len(batches)
            cost.backward()
            loss += cost.item()
        if not math.isfinite(loss):
            raise TrainingError(f"the loss diverged at step {step + 1}; lower --lr (lr=), now {config.lr}")
        nn.utils.clip_grad_norm_([*self._net.parameters(), *self._objective.parameters()], config.clip)
        self._optimizer.step()
        self._optimizer.zero_grad()
        if self._average:
            self._average.update_parameters(self._learning)
        return loss, config.lr * part

    def hasher(self) -> TransHasher:
        """Return the current hasher: the average of the weights, if any, with the objective's scale folded in."""
        learnt: Any = self._average.module if self._average else self._learning
        net = deepcopy(learnt["net"])
        _fuse_attention(net, fused=use_fused_attn() > 0)
        affine = learnt["objective"].affine()
        if affine:
            net.scale_outputs(*affine)
        hasher = self._hasher
        return TransHasher(
            net, hasher.architecture, hasher.preprocessing, hasher.class_names, training=hasher.training
        )

    def record(self, **values: Any) -> None:
        """Add values to the hasher's record of its training."""
        self._hasher.training.update(values)

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is set in any process: all must stop at the same step."""
        if self.processes == 1:
            return flag
        return bool(self._accelerator.reduce(torch.tensor(float(flag), device=self._hasher.device)) > 0)

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self._hasher.device, non_blocking=True)

    def _normalised(self, pixels: Tensor) -> Tensor:
        """Normalise uint8 pixels on the device: transferring them takes a quarter of the bytes of float32."""
        if pixels.dtype != torch.uint8:
            return pixels
        mean, std = (
            torch.tensor(values, device=pixels.device).view(3, 1, 1)
            for values in (self._hasher.preprocessing.mean, self._hasher.preprocessing.std)
        )
        return pixels.float().div_(255).sub_(mean).div_(std)

    def _mixed(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Apply CutMix at random: each image gets a rectangle of another one, and a share of its label."""
        part = self._config.cutmix
        if not part or torch.rand(()) >= part:
            return pixels, labels
        order = torch.randperm(len(labels))  # neighbours in a batch belong to the same class
        mixed: tuple[Tensor, Tensor] = CutMix()(pixels[order], labels[order])
        return mixed

    def _autocast(self) -> AbstractContextManager[None]:
        return torch.autocast(self._hasher.device.type, torch.bfloat16, enabled=self.half)


def _seed(*numbers: int) -> None:
    """Seed torch for the random numbers of a step, so that a resumed run draws the same ones."""
    torch.manual_seed(int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]))


def _fuse_attention(net: nn.Module, *, fused: bool) -> None:
    """Compute attention with torch's fused kernel, or with matrix products."""
    for module in net.modules():
        if isinstance(module, Attention):
            module.fused_attn = fused
