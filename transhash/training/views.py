"""Random views of an image for training without labels: another crop, mirrored or not, in other colours."""

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_AREA = 0.5  # smallest part of the image that a crop keeps
_ASPECT = 4 / 3
_COLOUR = 0.4  # largest relative change of brightness, contrast and saturation
_GREY = 0.1  # probability


def view(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a random view of an RGB image."""
    width, height = image.size
    part = rng.uniform(_AREA, 1) ** 0.5
    aspect = np.exp(rng.uniform(-0.5, 0.5) * np.log(_ASPECT))
    size = max(1, min(width, round(width * part * aspect))), max(1, min(height, round(height * part / aspect)))
    left, top = rng.integers(0, width - size[0] + 1), rng.integers(0, height - size[1] + 1)
    found = image.crop((int(left), int(top), int(left) + size[0], int(top) + size[1]))
    if rng.random() < 0.5:
        found = ImageOps.mirror(found)
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        found = enhancer(found).enhance(rng.uniform(1 - _COLOUR, 1 + _COLOUR))
    return ImageOps.grayscale(found).convert("RGB") if rng.random() < _GREY else found
