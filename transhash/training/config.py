"""The settings of training and fitting. This module does not load torch, so that ``th train --help`` is fast."""

from dataclasses import dataclass, replace

from ..errors import TrainingError
from ..system.arguments import checked
from ..system.settings import first_error, setting

LOSSES = {  # each loss, and which of the parameters γ (gamma) and λ (quantization) it has
    "transhash": ("gamma", "quantization"),
    "dch": ("gamma", "quantization"),
    "dpsh": ("quantization",),
    "hashnet": (),
    "greedyhash": ("quantization",),
    "csq": ("quantization",),
    "orthohash": (),
    "orthocauchy": ("gamma", "quantization"),
    "dpn": (),
    "copies": (),
}
UNLABELLED = ("copies",)  # losses that take images without labels
LABELLED = tuple(name for name in LOSSES if name not in UNLABELLED)
TARGETED = (
    "csq",
    "orthohash",
    "orthocauchy",
    "dpn",
)  # losses with a fixed target code for each class, the same in all runs
SHARING = ("orthohash", "orthocauchy")  # losses that divide the weight of an image among its classes
METHODS = ("crovca", "itq", "whiten", "lsh")
SCHEDULES = ("constant", "cosine")
OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("auto", "bf16", "fp32")
_PRETRAINED_DECAY = 0.75
_CROP = 0.5


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; those of the network are in `transhash.hashers.architecture`.

    Raises TrainingError for a value out of range.
    """

    loss: str = setting("orthocauchy", "Objective; see docs/training.md.", of=LOSSES)
    gamma: float | None = setting(
        None,
        "Scale γ of the Cauchy distribution, in bits of the code; by default 20 for dch, else half of them.",
        low=1e-3,
        high=1e4,
    )
    quantization: float | None = setting(
        None, "Weight λ of the quantization term; by default that of the objective.", low=0.0, high=1e3
    )
    epochs: int = setting(20, "Passes over the training images.", low=1, high=100_000)
    minutes: float | None = setting(
        None, "End the run after this time if its epochs take longer; for --schedule constant.", low=0.01, high=1e6
    )
    batch_size: int = setting(64, "Number of images in a batch; every two of them form a pair.", low=2, high=100_000)
    accumulate: int = setting(1, "Number of batches whose gradients are summed for a step.", low=1, high=1000)
    balanced: bool = setting(False, "Draw every class equally often.")
    optimizer: str = setting("adamw", "adamw, or sgd: stochastic gradient descent with momentum 0.9.", of=OPTIMIZERS)
    lr: float = setting(3e-4, "Peak learning rate, for the hash heads.", low=1e-9, high=1.0)
    layer_decay: float | None = setting(
        None,
        "Factor between the learning rates of a block and the one below it; by default 0.75 from pretrained weights "
        "and 1 from random ones.",
        low=0.1,
        high=1.0,
    )
    weight_decay: float = setting(0.05, "Weight decay, on matrices only.", low=0.0, high=1.0)
    warmup: float = setting(
        0.1,
        "Steps during which the learning rate rises: a fraction of all steps, or a number of 1 or more.",
        low=0.0,
        high=1e9,
    )
    schedule: str = setting("constant", "Learning rate after that: constant, or falling to 0.", of=SCHEDULES)
    clip: float = setting(1.0, "Maximum length of the gradient; longer ones are scaled down.", low=1e-6, high=1e6)
    ema: float = setting(
        0.2,
        "Length of the moving average of the weights, as a fraction of the run; 0 takes the last weights.",
        low=0.0,
        high=0.28,
    )
    patch_drop: float = setting(
        0.0, "Fraction of each image's patches that a step leaves out, at random, to save time.", low=0.0, high=0.95
    )
    precision: str = setting("auto", "Arithmetic; auto is bf16 if the machine supports it, else fp32.", of=PRECISIONS)
    resize: int | None = setting(
        None,
        "Side to which images are resized before a random square of the image size is cut out, instead of --crop; "
        "the hasher encodes the central square.",
        low=8,
        high=4096,
    )
    crop: float = setting(_CROP, "Smallest fraction of an image's area that a random crop keeps.", low=0.01, high=1.0)
    flip: float = setting(0.5, "Probability that an image is mirrored.", low=0.0, high=1.0)
    jitter: float = setting(
        0.3, "Strength of random changes of brightness, contrast and saturation.", low=0.0, high=1.0
    )
    augment: str = setting("", "A policy of timm to use instead of --jitter, such as rand-m9-mstd0.5.")
    erase: float = setting(0.0, "Probability that a rectangle of an image is erased.", low=0.0, high=1.0)
    cutmix: float = setting(
        0.0,
        "Probability that images of a batch exchange rectangles and shares of labels; for orthohash, orthocauchy.",
        low=0.0,
        high=1.0,
    )
    validation: float = setting(
        0.1, "Fraction of every class that is held out to measure mAP after each epoch.", low=0.0, high=0.5
    )
    seed: int = setting(0, "Seed of weights, batches and augmentation.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        """Check every value."""
        if message := first_error(self):
            raise TrainingError(message)
        for name in ("gamma", "quantization"):
            if getattr(self, name) is not None and name not in LOSSES[self.loss]:
                raise TrainingError(f"{name}: the loss {self.loss} does not have it; leave it out")
        if self.minutes and self.schedule != "constant":
            raise TrainingError(f"minutes: schedule {self.schedule} must run to its end; choose constant")
        if self.resize is not None and self.crop != _CROP:
            raise TrainingError("resize and crop cannot be combined; leave one of them out")
        if self.loss in UNLABELLED:
            self._check_unlabelled()
        if self.cutmix and self.loss not in SHARING:
            raise TrainingError(f"cutmix: the loss {self.loss} cannot use shares of labels; leave it out")

    def _check_unlabelled(self) -> None:
        """Raise TrainingError for settings that need labels, or augmentations other than edited copies."""
        for name in ("balanced", "resize", "crop", "flip", "jitter", "augment", "erase"):
            if getattr(self, name) != TrainConfig.__dataclass_fields__[name].default:
                raise TrainingError(f"{name}: the loss {self.loss} makes its own views of an image; leave it out")
        if self.batch_size % 2 or self.batch_size < 4:
            raise TrainingError(
                f"batch-size {self.batch_size}: must be even and at least 4, for two views of an image"
            )

    @checked
    def settled(self, *, pretrained: bool) -> "TrainConfig":
        """Return a copy with the defaults that depend on whether a run starts from pretrained weights."""
        if self.layer_decay is not None:
            return self
        return replace(self, layer_decay=_PRETRAINED_DECAY if pretrained else 1.0)


@dataclass(frozen=True)
class FitConfig:
    """Settings of a fit without labels. Raises TrainingError for a value out of range."""

    method: str = setting(
        "crovca",
        "crovca: a head trained on two views of each image; itq: rotated principal components; whiten: the same of "
        "whitened ones; lsh: random planes.",
        of=METHODS,
    )
    sample: int = setting(20_000, "Maximum number of images to fit to, drawn at random.", low=2, high=10_000_000)
    iterations: int = setting(50, "Iterations of the rotation, for all but lsh.", low=1, high=10_000)
    seed: int = setting(0, "Seed of the sample and the rotation.", low=0, high=2**63 - 1)

    def __post_init__(self) -> None:
        """Check every value."""
        if message := first_error(self):
            raise TrainingError(message)
