import io
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from transhash.errors import ImageError
from transhash.sources import Item, decode

RED_GREEN = Image.new("RGB", (20, 10), (200, 0, 0))
RED_GREEN.paste((0, 150, 0), (10, 0, 20, 10))


def save(image, path, **how):
    image.save(path, **how)
    return path


def assert_red_then_green(image):
    assert (image.mode, image.size) == ("RGB", (20, 10))
    pixels = np.asarray(image).astype(int)
    assert np.abs(pixels[:, 2:8].mean(axis=(0, 1)) - (200, 0, 0)).max() < 25
    assert np.abs(pixels[:, 12:18].mean(axis=(0, 1)) - (0, 150, 0)).max() < 25


@pytest.mark.parametrize(
    ("suffix", "how"),
    [
        ("jpg", {"quality": 95}),
        ("png", {}),
        ("webp", {"lossless": True}),
        ("bmp", {}),
        ("gif", {}),
        ("tiff", {}),
        ("tif", {"compression": "tiff_lzw"}),
    ],
)
def test_formats(suffix, how, tmp_path):
    assert_red_then_green(decode.read(save(RED_GREEN, tmp_path / f"a.{suffix}", **how)))


def test_format_is_detected_from_contents(tmp_path):
    assert_red_then_green(decode.read(save(RED_GREEN, tmp_path / "png.jpg", format="PNG")))


def test_cmyk_jpeg(tmp_path):
    image = decode.read(save(RED_GREEN.convert("CMYK"), tmp_path / "a.jpg", quality=95))
    assert image.mode == "RGB"
    assert np.asarray(image)[5, 5, 0] > 150


def test_palette(tmp_path):
    assert_red_then_green(decode.read(save(RED_GREEN.convert("P"), tmp_path / "a.png")))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_transparency_is_blended_over_white(mode, tmp_path):
    clear = Image.new("RGBA", (20, 10), (0, 0, 0, 0)).convert(mode if mode != "PA" else "RGBA")
    if mode == "PA":
        clear = clear.convert("P")
        clear.info["transparency"] = clear.getpixel((0, 0))
    assert np.asarray(decode.read(save(clear, tmp_path / "a.png"))).min() > 250


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_16_bit_grey(suffix, tmp_path):
    ramp = np.linspace(0, 65535, 20).astype(np.uint16)[None].repeat(10, axis=0)
    read = np.asarray(decode.read(save(Image.fromarray(ramp), tmp_path / f"a.{suffix}")))
    np.testing.assert_allclose(read[..., 0], np.rint(ramp / 257), atol=1)
    assert (read[..., 0] == read[..., 2]).all()


def test_real_valued_tiff(tmp_path):
    ramp = np.linspace(-3, 5, 20, dtype=np.float32)[None].repeat(10, axis=0)
    read = np.asarray(decode.read(save(Image.fromarray(ramp), tmp_path / "a.tiff")))
    assert (read[0, 0, 0], read[0, -1, 0]) == (0, 255)


def test_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 270 degrees to see it upright
    turned = RED_GREEN.transpose(Image.Transpose.ROTATE_90)
    assert_red_then_green(decode.read(save(turned, tmp_path / "a.jpg", exif=exif, quality=95)))


def test_animation_gives_its_first_frame(tmp_path):
    path = tmp_path / "a.gif"
    RED_GREEN.save(path, save_all=True, append_images=[Image.new("RGB", (20, 10))] * 3)
    assert_red_then_green(decode.read(path))


def bomb() -> bytes:
    """A PNG of 40,000 x 40,000 pixels in a file of a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9999)))


def jpeg() -> bytes:
    data = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(data, "JPEG")
    return data.getvalue()


@pytest.mark.parametrize(
    ("contents", "reason"),
    [
        (b"", "empty file"),
        (b"just some words", "not an image"),
        (jpeg()[:900], "truncated"),
        (bomb(), "pixels"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"GIF89a" + b"\xff" * 60, "damaged|truncated|not an image"),
    ],
)
def test_reasons(contents, reason, tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(contents)
    with pytest.raises(ImageError, match=reason) as caught:
        decode.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_every_truncation_and_mutation_is_an_image_or_a_reason(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "a"
    for suffix in ("JPEG", "PNG", "GIF", "TIFF", "WEBP", "BMP"):
        data = io.BytesIO()
        RED_GREEN.resize((37, 23)).save(data, suffix)
        whole = np.frombuffer(data.getvalue(), np.uint8)
        for _ in range(60):
            mutant = whole[: rng.integers(len(whole) // 2, len(whole) + 1)].copy()
            mutant[rng.integers(0, len(mutant), 3)] = rng.integers(0, 256, 3)
            path.write_bytes(mutant.tobytes())
            try:
                assert decode.read(path).mode == "RGB"
            except ImageError as error:
                assert "\n" not in str(error)


def test_special_files_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="not a regular file"):
        decode.read(tmp_path / "pipe.jpg")
    with pytest.raises(ImageError, match="folder"):
        decode.read(tmp_path)
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    with pytest.raises(ImageError, match="symbolic links"):
        decode.read(tmp_path / "loop.jpg")


def test_permission_denied(tmp_path):
    path = save(RED_GREEN, tmp_path / "a.png")
    path.chmod(0)
    own = os.geteuid()
    if own == 0:  # root can read every file
        os.seteuid(65534)
    try:
        with pytest.raises(ImageError, match="Permission denied"):
            decode.read(path)
    finally:
        os.seteuid(own)


def noise(mode, size):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], len(Image.new(mode, (1, 1)).getbands())))
    return (
        Image.fromarray(pixels.astype(np.uint8).squeeze(), mode) if mode != "P" else noise("RGB", size).quantize(99)
    )


@pytest.mark.parametrize("strip", [1, 100, 10_000])
@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "I;16", "I", "F", "clear P", "clear RGB"]
)
def test_strips_give_what_the_whole_would(mode, strip, tmp_path, monkeypatch):
    """The oracle converts the whole image with Pillow and scales grey values as documented."""
    monkeypatch.setattr(decode, "_STRIP", strip)
    rng = np.random.default_rng(0)
    size, how = (37, 23), {}
    if mode in ("I;16", "I"):
        values = rng.integers(0, 65536, size[::-1])
        picture = Image.fromarray(values.astype(np.uint16 if mode == "I;16" else np.int32))
        whole = Image.fromarray(np.rint(values / 257).astype(np.uint8)).convert("RGB")
    elif mode == "F":
        values = rng.normal(size=size[::-1]).astype(np.float32)
        picture = Image.fromarray(values)
        scaled = (values.astype(float) - values.min()) / (float(values.max()) - values.min()) * 255
        whole = Image.fromarray(np.rint(scaled).astype(np.uint8)).convert("RGB")
    else:
        picture = noise("RGB", size).convert("1") if mode == "1" else noise(mode.removeprefix("clear "), size)
        if mode.startswith("clear"):
            how = {"transparency": 5 if mode == "clear P" else picture.getpixel((3, 3))}
            clear = picture.copy()
            clear.info.update(how)
            picture.info.update(how)
        whole = picture.convert("RGB")
        if picture.has_transparency_data:
            whole = Image.new("RGBA", size, "white")
            whole.alpha_composite(picture.convert("RGBA"))
            whole = whole.convert("RGB")
    path = tmp_path / ("a.png" if mode not in ("CMYK", "F", "I") else "a.tiff")
    picture.save(path, **how)
    np.testing.assert_array_equal(np.asarray(decode.read(path)), np.asarray(whole))


def test_extreme_float_values(tmp_path):
    values = np.array([[-np.inf, -3e38, 0, 3e38, np.inf, np.nan]], np.float32)
    read = np.asarray(decode.read(save(Image.fromarray(values), tmp_path / "a.tiff")))
    assert read[0, :, 0].tolist() == [0, 15, 128, 240, 255, 128]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(orientation, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(noise("RGB", (16, 8)), tmp_path / "a.jpg", exif=exif)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(np.asarray(decode.read(path)), expected)
    np.testing.assert_array_equal(np.asarray(decode.read(path, draft=4)), expected)


@pytest.mark.slow
def test_drafts_keep_twice_the_pixels(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = noise("RGB", (40, 30)).resize((800, 600), Image.Resampling.BICUBIC)
    upright = save(picture, tmp_path / "a.jpg", quality=95)
    turned = save(picture, tmp_path / "b.jpg", quality=95, exif=exif)
    for draft, size in (
        (None, (800, 600)),
        (301, (800, 600)),
        (300, (800, 600)),
        (150, (400, 300)),
        (38, (200, 150)),
        (1, (100, 75)),
    ):
        assert decode.read(upright, draft).size == size
        assert decode.read(turned, draft).size == size[::-1]
    assert decode.read(save(picture, tmp_path / "a.png"), draft=1).size == (800, 600)
    assert decode.read(save(picture.convert("L"), tmp_path / "l.jpg"), draft=1).mode == "RGB"
    assert decode.read(save(picture.convert("CMYK"), tmp_path / "c.jpg"), draft=1).size == (100, 75)
    small = [
        np.asarray(decode.read(upright, draft).resize((64, 64), Image.Resampling.BICUBIC)) for draft in (None, 64)
    ]
    assert np.abs(small[0].astype(int) - small[1]).mean() < 2


PEAK = """
import sys
from PIL import Image, ImageOps
from transhash.sources import decode

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

picture = Image.open(sys.argv[1])
picture.load()
decoded = peak()
del picture
size = decode.read(sys.argv[1]).size
print((peak() - decoded) / (3 * size[0] * size[1]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["RGBA", "P", "I;16", "F", "turned"])
def test_conversion_takes_no_more_than_twice_the_picture(kind, tmp_path):
    """Peak memory beyond the decoded image, as a multiple of its RGB size; Pillow alone needs 1.33."""
    size, how = (4000, 3000), {}
    picture = Image.new("RGB" if kind == "turned" else kind, size)
    if kind == "P":
        how = {"transparency": 0}
    if kind == "turned":
        exif = Image.Exif()
        exif[0x0112] = 6
        how = {"exif": exif}  # type: ignore[dict-item]
    path = save(picture, tmp_path / ("a.tiff" if kind == "F" else "a.png"), **how)
    done = subprocess.run([sys.executable, "-c", PEAK, path], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 2


def test_items(tmp_path):
    gradient = np.arange(8 * 12 * 3, dtype=np.uint8).reshape(8, 12, 3)
    path = save(RED_GREEN, tmp_path / "a.png")
    root = os.fsencode(tmp_path)
    assert_red_then_green(decode.open_item(root, Item(b"a.png")))
    assert_red_then_green(decode.open_item(b"/nowhere", Item(os.fsencode(path))))
    assert_red_then_green(decode.open_item(b"", Item(b"x", (), path.read_bytes())))
    np.testing.assert_array_equal(np.asarray(decode.open_item(b"", Item(b"x", (), gradient))), gradient)
    turned = gradient.transpose(1, 0, 2)
    np.testing.assert_array_equal(np.asarray(decode.open_item(b"", Item(b"x", (), turned))), turned)
    grey = np.asarray(decode.open_item(b"", Item(b"x", (), gradient[..., 0])))
    np.testing.assert_array_equal(grey, gradient[..., :1].repeat(3, axis=2))
    large = save(Image.new("RGB", (80, 80)), tmp_path / "l.jpg").read_bytes()
    assert decode.open_item(b"", Item(b"x", (), large), draft=10).size == (20, 20)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "No such file"),
        (b"", "empty file"),
        (b"words", "not an image"),
        (np.zeros((3, 4, 4), np.uint8), r"pixels \(3, 4, 4\) uint8"),
        (np.zeros((4, 4)), "float64"),
        (np.zeros((0, 4), np.uint8), r"\(0, 4\)"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.broadcast_to(np.uint8(0), (20_000, 20_000)), "20000 x 20000: more than"),
    ],
)
def test_items_that_are_not_images(data, reason, tmp_path):
    with pytest.raises(ImageError, match=reason):
        decode.open_item(os.fsencode(tmp_path), Item(b"x.png", (), data))
    with pytest.raises(ImageError, match="null"):
        decode.read(b"a\0b")
