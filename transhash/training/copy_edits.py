"""Random image edits for training: combinations of the edits that people make before they share a picture.

`view` draws each edit with a probability that grows with a strength: crops, mirror images, quarter turns, tilts and
squeezes; a collage with another picture, a meme or a screenshot; colours; text and stickers; blur, noise,
downscaling and JPEG.
"""

import io
import math
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Rng = np.random.Generator
Another = Callable[[], Image.Image]

_LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 !?.,#@&")
_BILINEAR = Image.Resampling.BILINEAR


def view(image: Image.Image, side: int, strength: float, rng: Rng, another: Another) -> Image.Image:
    """Return an edited copy of an RGB image, squashed to a square.

    Args:
        image: the image.
        side: side of the square, in pixels.
        strength: multiplies the probability of every edit, 0 to 1.
        rng: generator that draws the edits.
        another: function that returns another image to put this one on.
    """

    def drawn(chance: float) -> bool:
        return bool(rng.random() < chance * strength)

    canvas = side * 3 // 2
    image = _shape(image, canvas, drawn, rng)
    if drawn(0.4):
        image = _placed(image, drawn, rng, another)
    image = _colours(image, drawn, rng)
    for chance in (0.4, 0.15):
        if drawn(chance):
            image = _overlaid(image, rng)
    for edit in rng.permutation(np.array([_blurred, _downscaled, _noisy], dtype=object)):
        if drawn(0.28):
            image = edit(image, rng)
    if drawn(0.45):
        image = _compressed(image, int(rng.choice([3, 8, 20, 45])))
    return image.resize((side, side), Image.Resampling.BICUBIC)


def _shape(image: Image.Image, canvas: int, drawn: Callable[[float], bool], rng: Rng) -> Image.Image:
    """Crop, squeeze, mirror, turn and tilt; the result is about `canvas` pixels wide."""
    if drawn(0.6):
        area, skew = math.exp(rng.uniform(math.log(0.12), 0)), math.exp(rng.uniform(-0.5, 0.5))
        width, height = (max(8, int(length)) for length in _part(image.size, area, skew))
        left = int(rng.integers(max(1, image.width - width + 1)))
        top = int(rng.integers(max(1, image.height - height + 1)))
        image = image.crop((left, top, left + width, top + height))
    ratio = image.width / image.height * (math.exp(rng.uniform(-0.7, 0.7)) if drawn(0.25) else 1.0)
    ratio = min(max(ratio, 0.25), 4.0)
    image = image.resize((max(8, int(canvas * ratio**0.5)), max(8, int(canvas / ratio**0.5))), _BILINEAR)
    if drawn(0.35):
        image = ImageOps.mirror(image)
    if drawn(0.15):
        image = image.transpose(Image.Transpose(int(rng.integers(2, 5))))  # by 90, 180 or 270 degrees
    if drawn(0.25):
        image = image.rotate(rng.uniform(-36, 36), _BILINEAR, expand=bool(rng.random() < 0.7), fillcolor=_colour(rng))
    return image


def _part(size: tuple[int, int], area: float, skew: float) -> tuple[float, float]:
    """Return the sides of a rectangle that covers a fraction of the area."""
    return size[0] * min(1.0, (area * skew) ** 0.5), size[1] * min(1.0, (area / skew) ** 0.5)


def _placed(image: Image.Image, drawn: Callable[[float], bool], rng: Rng, another: Another) -> Image.Image:
    """Put the image on a plain ground, a blurred copy of itself, or one or two other pictures."""
    across = rng.uniform(0.4, 0.95)
    down = across if rng.random() < 0.5 else rng.uniform(0.4, 1.0)
    size = max(16, int(image.width / across)), max(16, int(image.height / down))
    kind = rng.random()
    if kind < 0.5:
        ground = another().resize(size, _BILINEAR)
        if rng.random() < 0.4:
            ground.paste(another().resize((size[0] // 2, size[1]), _BILINEAR), (size[0] // 2, 0))
    elif kind < 0.65:
        ground = image.resize((12, 12), Image.Resampling.BOX).resize(size, Image.Resampling.BICUBIC)
    else:
        ground = Image.new("RGB", size, _colour(rng))
    left, top = (int(rng.integers(ground.size[axis] - image.size[axis] + 1)) for axis in (0, 1))
    ground.paste(image, (left, top))
    return ground


def _colours(image: Image.Image, drawn: Callable[[float], bool], rng: Rng) -> Image.Image:
    if drawn(0.4):
        image = ImageEnhance.Color(image).enhance(rng.uniform(0, 2))
    if drawn(0.2):
        values = np.array(image.convert("HSV"))
        values[..., 0] += np.uint8(rng.integers(-45, 46) % 256)
        image = Image.merge("HSV", [Image.fromarray(channel) for channel in np.moveaxis(values, 2, 0)]).convert("RGB")
    if drawn(0.4):
        image = ImageEnhance.Contrast(image).enhance(math.exp(rng.uniform(-0.7, 0.7)))
    if drawn(0.4):
        image = ImageEnhance.Brightness(image).enhance(math.exp(rng.uniform(-0.5, 0.5)))
    return ImageOps.invert(image) if drawn(0.02) else image


def _overlaid(image: Image.Image, rng: Rng) -> Image.Image:
    """Write text, with or without a bar behind it, or draw overlapping shapes, like emoji and logos."""
    image = image.copy()
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.55:
        size = max(6, int(image.height * rng.uniform(0.06, 0.3)))
        top, rows = int(rng.integers(max(1, image.height - size))), int(rng.integers(1, 4))
        if rng.random() < 0.4:
            draw.rectangle((0, top - 2, image.width, top + rows * size + 4), fill=_colour(rng))
        for row in range(rows):
            text = "".join(rng.choice(_LETTERS, int(rng.integers(4, 24))))
            place = int(rng.integers(max(1, image.width // 4))), top + row * size
            draw.text(place, text, font=ImageFont.load_default(size), fill=_colour(rng))
        return image
    across, down = (rng.uniform(0, 0.8) * length for length in image.size)
    reach = min(image.size) * rng.uniform(0.1, 0.5)
    for _ in range(int(rng.integers(1, 7))):
        x, y = across + rng.uniform(0, reach), down + rng.uniform(0, reach)
        box = (x, y, x + rng.uniform(1, reach), y + rng.uniform(1, reach))
        (draw.ellipse if rng.random() < 0.5 else draw.rectangle)(box, fill=_colour(rng))
    return image


def _blurred(image: Image.Image, rng: Rng) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0.005, 0.025) * image.width))


def _downscaled(image: Image.Image, rng: Rng) -> Image.Image:
    part = rng.uniform(0.15, 0.45)
    small = image.resize((max(4, int(image.width * part)), max(4, int(image.height * part))), _BILINEAR)
    return small.resize(image.size, Image.Resampling.NEAREST if rng.random() < 0.3 else _BILINEAR)


def _noisy(image: Image.Image, rng: Rng) -> Image.Image:
    noise = rng.normal(0, rng.uniform(0, 38), (image.height, image.width, 3))
    return Image.fromarray((np.asarray(image) + noise).clip(0, 255).astype(np.uint8))


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    data = io.BytesIO()
    image.save(data, "JPEG", quality=quality)
    return Image.open(data).convert("RGB")


def _colour(rng: Rng) -> tuple[int, int, int]:
    """Draw a colour: black or white half of the time."""
    red, green, blue = (int(value) for value in rng.integers(0, 256, 3))
    return (red, green, blue) if rng.random() < 0.5 else (red // 128 * 255,) * 3
