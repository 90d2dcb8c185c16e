"""Pretrained weights of a backbone, from the model hub or from a file; safetensors only."""

import logging
from pathlib import Path
from typing import Any

import timm
from huggingface_hub import hf_hub_download
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.models.vision_transformer import checkpoint_filter_fn

from ..errors import ModelError, one_line

_FILE = "model.safetensors"
_RESAMPLED = ("pos_embed", "patch_embed.proj.weight")  # timm resizes these to the input size
_UNFIT = (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)


def download(backbone: str) -> Path:
    """Download timm's weights for a backbone from the hub, unless they are cached, and return their path.

    Raises ModelError if timm has no weights for it, or they cannot be downloaded.
    """
    config = timm.get_pretrained_cfg(backbone)
    if not config or not config.hf_hub_id:
        raise ModelError(
            f"backbone {backbone}: timm has no pretrained weights for it; pass --weights FILE (weights=)"
        )
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it reports every retry; we report once
    try:
        return Path(hf_hub_download(config.hf_hub_id, _FILE))
    except Exception as error:  # of the hub client, the network or the file system
        raise ModelError(
            f"backbone {backbone}: its weights, {_FILE} of {config.hf_hub_id}, cannot be downloaded from the model "
            f"hub ({type(error).__name__}); get that file elsewhere and pass --weights FILE (weights=)"
        ) from error


def load(backbone: Any, path: Path) -> None:
    """Load a timm checkpoint into a plain backbone; position embeddings are resampled to its input size.

    Raises ModelError if the file is not in safetensors format, does not fit the backbone, or holds NaN or infinity.
    """
    state: dict[str, Any] = {}
    try:
        state = {name: weight.float() for name, weight in load_file(path).items()}
        missing, surplus = backbone.load_state_dict(checkpoint_filter_fn(state, backbone), strict=False)
    except (OSError, SafetensorError, *_UNFIT) as error:
        sizes = "".join(f"; {name} is {tuple(state[name].shape)}" for name in _RESAMPLED if name in state)
        raise ModelError(
            f"{path}: no weights for this backbone ({one_line(error)}{sizes}); give a timm checkpoint"
        ) from None
    foreign = [name for name in surplus if name.startswith("blocks.")]  # a classifier is allowed
    if foreign:
        raise ModelError(
            f"{path}: made for another backbone, it has {foreign[0]}; choose that one with --backbone (backbone=)"
        )
    if missing:
        raise ModelError(f"{path}: lacks {len(missing)} of the backbone's tensors, {missing[0]} for one")
    broken = next((name for name, weight in backbone.state_dict().items() if not weight.isfinite().all()), None)
    if broken:
        raise ModelError(f"{path}: {broken} holds NaN or infinity: the weights are damaged; give others")
