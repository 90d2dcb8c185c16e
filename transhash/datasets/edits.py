"""Typical edits of images before they are shared, made with Pillow: crops, captions, stickers, collages, …

An edit takes an RGB image, a random generator and other images (for collages), and returns the edited image.
"""

import io
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Rng = np.random.Generator
Edit = Callable[[Image.Image, Rng, Sequence[Image.Image]], Image.Image]

_LETTERS = list("ABCDEFGH lmnopqrs!?")


def _crop(part: float) -> Edit:
    """Crop to a fraction of the area, at a random position."""

    def edit(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
        width, height = (int(side * part**0.5) for side in image.size)
        left, top = int(rng.integers(image.width - width + 1)), int(rng.integers(image.height - height + 1))
        return image.crop((left, top, left + width, top + height))

    return edit


def _jpeg(quality: int) -> Edit:
    def edit(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
        data = io.BytesIO()
        image.save(data, "JPEG", quality=quality)
        return Image.open(data).convert("RGB")

    return edit


def _mirror(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    return ImageOps.mirror(image)


def _turn(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Rotate by 90 degrees in a random direction."""
    return image.transpose(Image.Transpose.ROTATE_90 if rng.random() < 0.5 else Image.Transpose.ROTATE_270)


def _tilt(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Rotate by 8 to 25 degrees in a random direction; the corners become black."""
    angle = float(rng.choice([-1, 1]) * rng.uniform(8, 25))
    return image.rotate(angle, Image.Resampling.BICUBIC, expand=True)


def _text(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Write three lines of random text at random positions."""
    edited = image.copy()
    draw = ImageDraw.Draw(edited)
    for _ in range(3):
        size = int(image.height * rng.uniform(0.06, 0.16))
        place = int(rng.integers(max(1, image.width // 2))), int(rng.integers(max(1, image.height - size)))
        draw.text(place, "".join(rng.choice(_LETTERS, 14)), font=_font(size), fill=_colour(rng))
    return edited


def _sticker(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Paste three smiley faces on the image."""
    edited = image.copy()
    draw = ImageDraw.Draw(edited)
    for _ in range(3):
        side = int(min(image.size) * rng.uniform(0.15, 0.3))
        x, y = int(rng.integers(image.width - side)), int(rng.integers(image.height - side))
        quarter, third = side / 4, side / 3
        draw.ellipse((x, y, x + side, y + side), fill=(255, 210, 40))
        draw.ellipse((x + quarter, y + quarter, x + third, y + third), fill=(0, 0, 0))
        draw.ellipse((x + 2 * third, y + quarter, x + 3 * quarter, y + third), fill=(0, 0, 0))
        mouth = (x + quarter, y + quarter, x + 3 * quarter, y + 3 * quarter)
        draw.arc(mouth, 20, 160, fill=(0, 0, 0), width=3)
    return edited


def _border(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    return ImageOps.expand(image, int(min(image.size) * rng.uniform(0.1, 0.3)), _colour(rng))


def _meme(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Add white bars with a caption above and below the image."""
    width, height = image.size
    edited = Image.new("RGB", (width, int(height * 1.45)), "white")
    edited.paste(image, (0, int(height * 0.25)))
    draw = ImageDraw.Draw(edited)
    for y in (0.05, 1.28):
        draw.text((10, int(height * y)), "WHEN THE CODE IS SHORT", font=_font(int(height * 0.09)), fill="black")
    return edited


def _screenshot(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Paste the image into a screenshot of a messenger."""
    edited = Image.new("RGB", (360, 640), (245, 245, 245) if rng.random() < 0.5 else (20, 20, 20))
    draw = ImageDraw.Draw(edited)
    draw.rectangle((0, 0, 360, 50), fill=(60, 90, 160))
    draw.text((10, 15), "Messages   12:41", font=_font(18), fill="white")
    edited.paste(ImageOps.contain(image, (340, 420)), (10, 110))
    for y in (70, 560, 590):
        draw.text((14, y), "so funny, look at this one", font=_font(16), fill=(128, 128, 128))
    return edited


def _collage(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Combine the image with one or three others in a grid."""
    edited = Image.new("RGB", (400, 400))
    corners, position = [(0, 0), (200, 0), (0, 200), (200, 200)], int(rng.integers(4))
    if rng.random() < 0.5:
        edited.paste(image.resize((400, 200)), (0, 200 * (position % 2)))
        edited.paste(_one_of(others, rng).resize((400, 200)), (0, 200 * (1 - position % 2)))
        return edited
    for number, corner in enumerate(corners):
        edited.paste((image if number == position else _one_of(others, rng)).resize((200, 200)), corner)
    return edited


def _blur(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(min(image.size) * 0.02))


def _colours(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Change saturation, brightness, hue and contrast."""
    image = ImageEnhance.Color(image).enhance(rng.uniform(0, 2.2))
    image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.6, 1.5))
    values = np.array(image.convert("HSV"))
    values[..., 0] += np.uint8(rng.integers(40))
    hued = Image.merge("HSV", [Image.fromarray(channel) for channel in np.moveaxis(values, 2, 0)])
    return ImageEnhance.Contrast(hued.convert("RGB")).enhance(rng.uniform(0.6, 1.6))


def _squeeze(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    return image.resize((max(1, int(image.width * rng.choice([0.55, 1.7]))), image.height))


def _small(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    return ImageOps.contain(image, (48, 48))


def _several(image: Image.Image, rng: Rng, others: Sequence[Image.Image]) -> Image.Image:
    """Apply three random edits in sequence, then JPEG compression at quality 30."""
    for name in rng.choice(sorted(_COMBINED), 3, replace=False):
        image = _COMBINED[name](image, rng, others)
    return _jpeg(30)(image, rng, others)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(max(1, size))


def _colour(rng: Rng) -> tuple[int, ...]:
    return tuple(rng.integers(0, 256, 3).tolist())


def _one_of(images: Sequence[Image.Image], rng: Rng) -> Image.Image:
    return images[int(rng.integers(len(images)))]


_COMBINED: dict[str, Edit] = {
    "crop": _crop(0.6),
    "mirrored": _mirror,
    "text": _text,
    "stickers": _sticker,
    "border": _border,
    "colours": _colours,
    "blurred": _blur,
    "JPEG 15": _jpeg(15),
    "tilted": _tilt,
    "meme": _meme,
}

EDITS: dict[str, Edit] = {
    "crop to 60 %": _crop(0.6),
    "crop to a third": _crop(0.34),
    "mirrored": _mirror,
    "quarter turn": _turn,
    "tilted": _tilt,
    "text": _text,
    "stickers": _sticker,
    "border": _border,
    "meme": _meme,
    "screenshot": _screenshot,
    "collage": _collage,
    "blurred": _blur,
    "JPEG 5": _jpeg(5),
    "colours": _colours,
    "squeezed": _squeeze,
    "48 pixels": _small,
    "three edits": _several,
}
