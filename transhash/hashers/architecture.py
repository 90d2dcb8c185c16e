"""The settings of the network. This module does not load torch, so that the command line can show the defaults."""

from dataclasses import dataclass

from ..errors import ModelError
from ..system.settings import first_error, setting

POOLS = ("token", "mean", "both")


@dataclass(frozen=True)
class Architecture:
    """Settings of the multi-granular vision transformer of `transhash.hashers.smvit`.

    Raises ModelError for a value out of range.
    """

    bits: int = setting(64, "Length of a code, a multiple of 8.", low=8, high=1024)
    backbone: str = setting("vit_small_patch16_224", "Name of a plain vision transformer in timm.")
    image_size: int = setting(224, "Side of the square input, in pixels.", low=8, high=1024)
    patch_size: int | None = setting(
        None, "Side of a patch, in pixels; by default the size of the backbone.", low=1, high=1024
    )
    stride: int | None = setting(
        None,
        "Step between patches, in pixels; by default the side of a patch, without overlap.",
        low=1,
        high=1024,
    )
    groups: int = setting(2, "Number of local streams; 0 gives a plain vision transformer hasher.", low=0, high=512)
    pool: str = setting(
        "token", "What is read out of a stream: its class token, the mean of its patch tokens, or both.", of=POOLS
    )
    depth: int | None = setting(None, "Number of blocks to keep, from the first; by default all.", low=2, high=1000)
    mirror: bool = setting(
        False, "Average the features of an image and its mirror image: better codes, but twice the encoding time."
    )
    nested: tuple[int, ...] = setting(
        (),
        "Shorter lengths, such as 16,32,48, whose codes are prefixes of the long one; see th codes truncate.",
    )

    def __post_init__(self) -> None:
        """Check each value on its own; building the network checks whether they are consistent."""
        if message := first_error(self):
            raise ModelError(message)
        if self.bits % 8:
            raise ModelError(f"{self.bits} bits: must be a multiple of 8 from 8 to 1024")
        for length in self.nested:
            if length % 8 or not 8 <= length <= self.bits:
                raise ModelError(f"nested {length}: must be a multiple of 8, from 8 to {self.bits} (--bits, bits=)")
        if self.groups > self.bits // 2:
            raise ModelError(f"{self.groups} groups: {self.bits} bits allow 0 to {self.bits // 2}")

    @property
    def lengths(self) -> tuple[int, ...]:
        """The lengths of all codes that the network produces, ascending; the last is `bits`."""
        return tuple(sorted({*self.nested, self.bits}))
