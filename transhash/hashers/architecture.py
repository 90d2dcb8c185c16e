"""What it takes to build the network; without torch, so that the command line can show its defaults."""

from dataclasses import dataclass

from ..errors import ModelError
from ..settings import fault, setting

POOLS = ("token", "mean", "both")


@dataclass(frozen=True)
class Architecture:
    """Settings of the multi-granular vision transformer of `transhash.hashers.smvit`.

    Raises ModelError for a value out of range.
    """

    bits: int = setting(64, "Length of a code, a multiple of 8.", low=8, high=1024)
    backbone: str = setting("vit_small_patch16_224", "A plain vision transformer of timm, by its name.")
    image_size: int = setting(224, "Side of the square input, in pixels.", low=8, high=1024)
    patch_size: int | None = setting(
        None, "Side of a patch, in pixels; the backbone's own if not given.", low=1, high=1024
    )
    stride: int | None = setting(
        None, "Step between patches, in pixels; three quarters of a patch if not given.", low=1, high=1024
    )
    groups: int = setting(4, "Local streams; 0 for a plain vision transformer hasher.", low=0, high=512)
    pool: str = setting(
        "token", "What is read out of a stream: its class token, the mean of its patch tokens, or both.", of=POOLS
    )
    depth: int | None = setting(None, "Blocks of the backbone, from the first; all if not given.", low=2, high=1000)
    mirror: bool = setting(
        False, "Read an image as it is and mirrored, and take the mean: better codes, at twice the time of encoding."
    )
    nested: tuple[int, ...] = setting(
        (),
        "Shorter lengths, such as 16,32,48, whose codes are prefixes of the long one; see th codes truncate.",
    )

    def __post_init__(self) -> None:
        """Check every value by itself; what fits together is for the network to say."""
        if message := fault(self):
            raise ModelError(message)
        if self.bits % 8:
            raise ModelError(f"{self.bits} bits: a code has a multiple of 8, from 8 to 1024")
        for length in self.nested:
            if length % 8 or not 8 <= length <= self.bits:
                raise ModelError(f"nested {length}: must be a multiple of 8, from 8 to {self.bits} (--bits)")
        if self.groups > self.bits // 2:
            raise ModelError(f"{self.groups} groups: {self.bits} bits allow from 0 to half as many")

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of all codes that the network gives, ascending; the last is `bits`."""
        return tuple(sorted({*self.nested, self.bits}))
