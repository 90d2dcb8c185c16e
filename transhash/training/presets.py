"""Settings of published training runs, by name. This module does not load torch."""

from dataclasses import dataclass

from ..errors import TrainingError
from ..hashers.architecture import Architecture
from ..system.arguments import checked
from .config import TrainConfig


@dataclass(frozen=True)
class Preset:
    """The settings of a training run.

    Attributes:
        architecture: the network.
        config: the training settings.
    """

    architecture: Architecture
    config: TrainConfig


PRESETS = {
    # Chen et al., ICMR 2022. The paper states neither epochs, momentum, γ nor λ: those are our defaults.
    "transhash-icmr22": Preset(
        Architecture(backbone="vit_large_patch32_224", image_size=224, groups=2),
        TrainConfig(
            loss="transhash",
            batch_size=64,
            optimizer="sgd",
            lr=3e-2,
            layer_decay=1.0,
            weight_decay=1e-4,
            warmup=500,
            schedule="cosine",
            ema=0.0,
            resize=256,
            flip=0.5,
            jitter=0.0,
            validation=0.0,
        ),
    ),
}


@checked
def preset(name: str) -> Preset:
    """Return the settings of a published training run, for `transhash.train`.

    ``"transhash-icmr22"`` is the setup of the TransHash paper: ViT-L/32, two local streams, a separate objective for
    each stream, SGD. Change a setting with `dataclasses.replace`.

    Raises TrainingError for an unknown name.
    """
    if name not in PRESETS:
        raise TrainingError(f"preset {name!r}: unknown; choose from {', '.join(PRESETS)}")
    return PRESETS[name]
