"""What it takes to build the network; without torch, so that the command line can show its defaults."""

from dataclasses import dataclass

from ..settings import setting


@dataclass(frozen=True)
class Architecture:
    """Settings of the multi-granular vision transformer of `transhash.hashers.smvit`."""

    bits: int = setting(64, "Length of a code, a multiple of 8 from 8 to 1024.")
    backbone: str = setting("vit_small_patch16_224", "A plain vision transformer of timm, by its name.")
    image_size: int = setting(224, "Side of the square input, in pixels.")
    patch_size: int | None = setting(None, "Side of a patch, in pixels; the backbone's own if not given.")
    stride: int | None = setting(None, "Step between patches, in pixels; three quarters of a patch if not given.")
    groups: int = setting(4, "Local streams; 0 for a plain vision transformer hasher.")
