"""Everything that decides how a hasher is trained or fitted; without torch, so that the command line can show it."""

from dataclasses import dataclass, replace

from ..errors import TrainingError
from ..settings import fault, setting

LOSSES = {  # and which of γ and λ each of them has
    "transhash": ("gamma", "quantization"),
    "dch": ("gamma", "quantization"),
    "dpsh": ("quantization",),
    "hashnet": (),
    "greedyhash": ("quantization",),
    "csq": ("quantization",),
    "orthohash": (),
    "dpn": (),
}
TARGETED = ("csq", "orthohash", "dpn")  # give every class a code that is the same in every run
METHODS = ("itq", "lsh")
SCHEDULES = ("constant", "cosine")
PRECISIONS = ("auto", "bf16", "fp32")
_PRETRAINED_DECAY = 0.75


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; those of the network are in `transhash.hashers.architecture`.

    Raises TrainingError for a value out of range.
    """

    loss: str = setting("orthohash", "Objective; see docs/training.md.", of=LOSSES)
    gamma: float | None = setting(
        None, "Scale γ of the Cauchy distribution, in bits; the objective's own if not given.", low=1e-3, high=1e4
    )
    quantization: float | None = setting(
        None, "Weight λ of the quantization term; the objective's own if not given.", low=0.0, high=1e3
    )
    epochs: int = setting(20, "Passes over the training images.", low=1, high=100_000)
    minutes: float | None = setting(
        None, "End the run after so long, if its epochs take longer; for --schedule constant.", low=0.01, high=1e6
    )
    batch_size: int = setting(64, "Images in a batch; every two of them are a pair.", low=2, high=100_000)
    accumulate: int = setting(1, "Batches whose gradients are summed for a step.", low=1, high=1000)
    balanced: bool = setting(False, "Draw every class equally often.")
    lr: float = setting(3e-4, "Peak learning rate of AdamW, for the hash heads.", low=1e-9, high=1.0)
    layer_decay: float | None = setting(
        None,
        "Factor on the learning rate from one block down to the next; if not given 0.75 from pretrained weights, 1 "
        "from random ones.",
        low=0.1,
        high=1.0,
    )
    weight_decay: float = setting(0.05, "Weight decay of AdamW, on matrices only.", low=0.0, high=1.0)
    warmup: float = setting(0.1, "Part of all steps in which the learning rate rises.", low=0.0, high=1.0)
    schedule: str = setting("constant", "Learning rate after that: the same, or falling to 0.", of=SCHEDULES)
    clip: float = setting(1.0, "Longest gradient; a longer one is scaled down.", low=1e-6, high=1e6)
    ema: float = setting(
        0.2,
        "Length of the weights' moving average, as part of the run; 0 takes the last weights.",
        low=0.0,
        high=0.28,
    )
    patch_drop: float = setting(
        0.0, "Part of an image's patches that a step leaves out, at random, and saves.", low=0.0, high=0.95
    )
    precision: str = setting("auto", "Arithmetic: bf16 where the machine has it, or as said.", of=PRECISIONS)
    crop: float = setting(0.5, "Smallest part of an image's area that a random crop keeps.", low=0.01, high=1.0)
    flip: float = setting(0.5, "Probability that an image is mirrored.", low=0.0, high=1.0)
    jitter: float = setting(
        0.3, "Strength of random changes of brightness, contrast and saturation.", low=0.0, high=1.0
    )
    augment: str = setting("", "A policy of timm in place of --jitter, such as rand-m9-mstd0.5.")
    erase: float = setting(0.0, "Probability that a rectangle of an image is erased.", low=0.0, high=1.0)
    cutmix: float = setting(
        0.0, "Probability that a batch's images swap rectangles, and share labels; for orthohash.", low=0.0, high=1.0
    )
    validation: float = setting(
        0.1, "Part of every class held out to measure mAP after each epoch.", low=0.0, high=0.5
    )
    seed: int = setting(0, "Seed of weights, batches and augmentation.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        """Check every value."""
        if message := fault(self):
            raise TrainingError(message)
        for name in ("gamma", "quantization"):
            if getattr(self, name) is not None and name not in LOSSES[self.loss]:
                raise TrainingError(f"{name}: nothing that the loss {self.loss} has; leave it out")
        if self.minutes and self.schedule != "constant":
            raise TrainingError(f"minutes: schedule {self.schedule} must run to its end; choose constant")
        if self.cutmix and self.loss != "orthohash":
            raise TrainingError(f"cutmix: the loss {self.loss} takes no shares of labels; leave it out")

    def settled(self, *, pretrained: bool) -> "TrainConfig":
        """Return these settings with a value for what was left to depend on the weights that a run starts from."""
        if self.layer_decay is not None:
            return self
        return replace(self, layer_decay=_PRETRAINED_DECAY if pretrained else 1.0)


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit without labels. Raises TrainingError for a value out of range."""

    method: str = setting("itq", "itq: rotated principal components; lsh: random planes.", of=METHODS)
    sample: int = setting(20_000, "Images to fit to, at most, drawn at random.", low=2, high=10_000_000)
    iterations: int = setting(50, "Iterations of itq.", low=1, high=10_000)
    seed: int = setting(0, "Seed of the sample and the rotation.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        """Check every value."""
        if message := fault(self):
            raise TrainingError(message)
