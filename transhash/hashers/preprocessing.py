"""How an image becomes the square input of a network."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray
from PIL import Image, ImageOps

RESAMPLING = ("bicubic", "bilinear", "lanczos")

_Mean = Annotated[float, Meta(ge=-1e3, le=1e3)]
_Deviation = Annotated[float, Meta(ge=1e-3, le=1e3)]


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the network's input.

    Attributes:
        mean, std: mean and standard deviation of the channels, for pixels from 0 to 1.
        crop: side of the central square that is kept, as a fraction of the shorter side.
        fit: ``"crop"`` keeps the central square, ``"squash"`` the whole image, regardless of its aspect ratio.
        resample: the interpolation, one of `RESAMPLING`.
    """

    mean: tuple[_Mean, _Mean, _Mean]
    std: tuple[_Deviation, _Deviation, _Deviation]
    crop: Annotated[float, Meta(gt=0, le=1)] = 1.0
    fit: Literal["crop", "squash"] = "crop"
    resample: Literal["bicubic", "bilinear", "lanczos"] = "bicubic"

    def square(self, image: Image.Image, side: int) -> NDArray[np.uint8]:
        """Resize an RGB image, or its central square, to a square: (side, side, 3) uint8."""
        resample = Image.Resampling[self.resample.upper()]
        if self.fit == "squash":
            return np.array(image.resize((side, side), resample))
        return np.array(ImageOps.fit(image, (side, side), resample, bleed=(1 - self.crop) / 2))

    def normalized(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Subtract the mean from pixels (..., 3) and divide them by the standard deviation."""
        mean, std = (np.array(values, np.float32) * 255 for values in (self.mean, self.std))
        return (pixels.astype(np.float32) - mean) / std

    def settings(self) -> dict[str, Any]:
        """Return the attributes as stored in files, which leave out `fit` and `resample` if they have the default."""
        found = asdict(self)
        for name, default in (("fit", "crop"), ("resample", "bicubic")):
            if found[name] == default:
                del found[name]
        return found
