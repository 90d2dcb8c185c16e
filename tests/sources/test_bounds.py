"""Images crafted to take much time or memory, and images that decoders reject because of their metadata."""

import base64
import io
import struct
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from transhash.errors import ImageError, SourceError
from transhash.sources import Item, Skipped, budget, decode, heif, open_source
from transhash.sources.lookahead import load_item


def chunk(kind, data, wrong=False):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data) ^ wrong)


def png_file(width, height, depth, colour, data, *extra):
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(extra) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def pixels(data):
    return np.asarray(decode.open_item(b"", Item(b"x", (), data)))


def reason(data):
    with pytest.raises(ImageError) as caught:
        decode.open_item(b"", Item(b"x", (), data))
    assert "\n" not in str(caught.value)
    return str(caught.value)


GREY = bytes(5) * 4  # 4 x 4, all black
HOLLOW = zlib.compress(bytes(1 << 17))


@pytest.mark.parametrize(
    "extra",
    [
        chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(1 << 22))),
        chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(bytes(1 << 22))),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(1 << 22))),
        chunk(b"iCCP", b"profile\0\0no such data"),
        chunk(b"tEXt", b"Comment\0" + b"x" * (1 << 21)),
        chunk(b"tEXt", b"Comment\0text", wrong=True),
        chunk(b"iTXt", b"Comment", wrong=True),
        chunk(b"eXIf", b"no EXIF data", wrong=True),
        chunk(b"tIME", b"", wrong=True),
        b"".join(chunk(b"zTXt", b"%d\0\0" % n + HOLLOW) for n in range(600)),
    ],
)
def test_png_is_read_regardless_of_other_chunks(extra):
    assert (pixels(png_file(4, 4, 8, 0, GREY, extra)) == 0).all()


def test_png_with_orientation_in_text():
    exif = Image.Exif()
    exif[0x0112] = 6
    profile = f"\nexif\n    {len(exif.tobytes())}\n{exif.tobytes().hex()}\n"
    text = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile.encode()))
    assert pixels(png_file(4, 2, 8, 0, bytes(5) * 2, text)).shape == (4, 2, 3)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("key", [0, 1])
def test_transparent_grey_is_blended_over_white(depth, key):
    rng = np.random.default_rng(0)
    values = rng.integers(0, min(2**depth, 3), (6, 8))
    bits = ((values[..., None] >> np.arange(depth)[::-1]) & 1).reshape(6, -1).astype(np.uint8)
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in bits)
    found = pixels(png_file(8, 6, depth, 0, rows, chunk(b"tRNS", struct.pack(">H", key))))
    want = np.where(values == key, 255, np.rint(values / (2**depth - 1) * 255))
    np.testing.assert_array_equal(found[..., 0], want)


@pytest.mark.parametrize(("width", "height"), [(46_000_000, 1), (1, 170_000_000)])
def test_a_picture_that_takes_too_much_memory_is_refused_before_it_is_decoded(width, height):
    assert "GiB, at most 1.5" in reason(png_file(width, height, 1, 0, b""))


def test_a_webp_of_some_bytes_that_takes_gigabytes():
    head = struct.pack("<I", (10_899 << 14) | 16_382)
    payload = b"VP8L" + struct.pack("<I", 13) + b"\x2f" + head + bytes(8) + b"\0"
    assert "too much memory to decode" in reason(b"RIFF" + struct.pack("<I", len(payload) + 4) + b"WEBP" + payload)


def jpeg_of(scans, side):
    data = io.BytesIO()
    Image.new("L", (side, side)).save(data, "JPEG", progressive=True)
    whole = data.getvalue()
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * scans + whole[-2:]


def test_a_jpeg_of_many_scans_is_refused():
    began = time.process_time()
    assert "takes too long to decode: 10" in reason(jpeg_of(1000, 4000))
    assert time.process_time() - began < 10
    assert pixels(jpeg_of(30, 32)).shape == (32, 32, 3)


@pytest.mark.parametrize("junk", [bytes(1 << 20), b"\xff\xe0\0\2" * (1 << 16), b"\xff" * (1 << 20)])
def test_a_jpeg_with_an_endless_head(junk):
    data = jpeg_of(0, 8)
    assert "damaged image" in reason(data[:20] + junk + data[20:])


def tiff(side, compression, **tags):
    data = io.BytesIO()
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for number, value in tags.items():
        info[int(number[1:])] = value
    Image.new("L", (side, side)).save(data, "TIFF", compression=compression, tiffinfo=info)
    return data.getvalue()


def test_a_tiff_of_many_scans(monkeypatch):
    monkeypatch.setattr(decode, "_MAX_SCANNED", 100 * 100)
    assert pixels(tiff(100, "jpeg")).shape == (100, 100, 3)
    monkeypatch.setattr(decode.jpeg, "count", lambda data: 2)
    assert "takes too long to decode: 2 scans of 100 x 100 pixels" in reason(tiff(100, "jpeg"))
    assert pixels(tiff(100, "raw")).shape == (100, 100, 3)


def test_overlapping_tiles():
    image = Image.open(io.BytesIO(tiff(16, "raw")))
    image.tile = image.tile * 9
    with pytest.raises(ImageError, match="its tiles overlap many times"):
        decode._check_work(image, io.BytesIO(), 1)


def test_an_image_that_fails_in_preprocessing_is_skipped(png):
    def fails(image):
        raise MemoryError

    item = Item(b"a.png", (), png(0))
    assert load_item(item, b"", fails) == Skipped(b"a.png", "not enough memory")
    assert load_item(item, b"", lambda image: np.array(1 // 0)) == Skipped(
        b"a.png", "cannot be preprocessed: ZeroDivisionError: integer division or modulo by zero"
    )


def test_threads_share_the_budget(monkeypatch):
    monkeypatch.setattr(budget, "TOTAL", 10)
    now, most, lock = 0, 0, threading.Lock()

    def work(size):
        nonlocal now, most
        with budget.reserved(size):
            with lock:
                now += size
                most = max(most, now)
            time.sleep(0.001)
            with lock:
                now -= size

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [1, 4, 6, 10, 3] * 20))
    assert (now, budget._used) == (0, 0)
    assert most <= 10
    with pytest.raises(ImageError, match="too much memory to decode"), budget.reserved(11):
        pass


HEIC = base64.b64decode("""
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAA
AAAERAAAIAAQAAAAAB7AABAAAAAAAAAH8AAgAAAAACawABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVp
bmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGE
ABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkA
AAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAACAAAAABAAAAQAAAAAH////gAAAAAgAAAAAAAAACAAAAEH
BpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAKttZGF0AAAA
eygBrwngOSMkv//40n//+6z///O67rVdc//3ib33xqY3/zXXwl/ANP/5656Dy94ABsZ/U32x27jz0HODX/+w9wyxWkYCdP/Hw3pDHdek/hUqYI
yX9fpnTUIP9S//5656Dy9/aKhI6/movlN1oIt3/+GaGJL7Xv0j0v4xeAAAAAZFeGlmAABNTQAqAAAACAABARIAAwAAAAEABgAAAAAAAA==
""")  # an image made with pillow-heif: 64 x 32, red then green, stored rotated


def test_heic():
    pytest.importorskip("pi_heif")
    found = pixels(HEIC)
    assert found.shape == (32, 64, 3)
    assert np.abs(found[:, :28].astype(int) - (200, 0, 0)).max() < 25
    assert np.abs(found[:, 36:].astype(int) - (0, 150, 0)).max() < 25


def test_heic_without_its_reader_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(heif, "installed", lambda: False)
    monkeypatch.setattr(heif, "_registered", tuple)
    assert reason(HEIC) == "HEIC, which is read after: pip install 'transhash[heic]'"
    (tmp_path / "a.HEIC").write_bytes(HEIC)
    with pytest.raises(SourceError, match=r"a.HEIC: HEIC, which is read after: pip install 'transhash\[heic\]'"):
        open_source(tmp_path / "a.HEIC")


@pytest.mark.parametrize("brand", [b"heic", b"mif1"])
def test_heic_that_is_damaged(brand):
    assert "image" in reason(b"\0\0\0\x18ftyp" + brand + bytes(100))


def test_pictures_of_up_to_178_megapixels_are_read_without_a_warning():
    """Pillow warns above 89 megapixels; the tests turn warnings into errors."""
    file = io.BytesIO(png_file(13_000, 13_000, 1, 0, b""))
    assert decode._opened(file, ["PNG"]).size == (13_000, 13_000)
