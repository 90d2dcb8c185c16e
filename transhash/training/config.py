"""Everything that decides how a hasher is trained; without torch, so that the command line can show it."""

from dataclasses import dataclass

from ..errors import TrainingError
from ..settings import setting

_RANGES = {
    "epochs": (1, 100_000),
    "batch_size": (2, 100_000),
    "lr": (1e-9, 1.0),
    "weight_decay": (0.0, 1.0),
    "warmup": (0.0, 1.0),
    "gamma": (1e-3, 1e4),
    "quantization": (0.0, 1e3),
    "crop": (0.01, 1.0),
    "flip": (0.0, 1.0),
    "jitter": (0.0, 1.0),
    "seed": (0, 2**63 - 1),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a training run; those of the network are in `transhash.hashers.architecture`.

    Raises TrainingError for a value out of range.
    """

    epochs: int = setting(20, "Passes over the training images.")
    batch_size: int = setting(64, "Images in a batch; every two of them are a pair.")
    lr: float = setting(3e-4, "Peak learning rate of AdamW.")
    weight_decay: float = setting(0.05, "Weight decay of AdamW, on matrices only.")
    warmup: float = setting(0.1, "Part of all steps in which the learning rate rises; then it falls along a cosine.")
    gamma: float = setting(10.0, "Scale γ of the Cauchy distribution, in bits: pairs within it count as near.")
    quantization: float = setting(0.1, "Weight λ of the quantization prior.")
    crop: float = setting(0.5, "Smallest part of an image's area that a random crop keeps.")
    flip: float = setting(0.5, "Probability that an image is mirrored.")
    jitter: float = setting(0.3, "Strength of random changes of brightness, contrast and saturation.")
    seed: int = setting(0, "Seed of weights, batches and augmentation.")

    def __post_init__(self) -> None:
        """Check every value against its range."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise TrainingError(f"{name.replace('_', '-')} {value}: must be from {low} to {high}")
