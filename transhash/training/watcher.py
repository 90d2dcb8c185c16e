"""The events of a training run."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StepResult:
    """The result of a step.

    Attributes:
        epoch, step: counted from 1; the run has `steps` in all.
        images: number of images in this step.
        loss: mean loss of this step.
        validation: mAP on the held-out images, after the last step of an epoch; otherwise None.
    """

    epoch: int
    step: int
    steps: int
    images: int
    loss: float
    validation: float | None = None


class Watcher:
    """Receives the events of a run, in the first process; override the methods of interest."""

    def on_start(self, images: int, held_out: int, step: int, steps: int, step_images: int) -> None:
        """Handle the start of training. `step` of `steps` steps were done before, with `step_images` images each."""

    def on_step(self, result: StepResult) -> None:
        """Handle the end of a step."""

    def on_skip(self, path: bytes, reason: str) -> None:
        """Handle an image that cannot be read; another one of its class replaces it. Called once per image."""

    def on_save(self, path: Path, step: int) -> None:
        """Handle an interruption after `step` steps; the run can resume from the checkpoint at `path`."""
