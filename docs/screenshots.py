"""Take the screenshots of the page of `th serve` that the documents show: `python docs/screenshots.py`.

The pictures come with scikit-image (public domain or CC0): as they are, cut, made smaller, and saved with fewer bits.
Needs `pip install scikit-image`, and what the tests need: Playwright and Chromium.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import skimage
from PIL import Image, ImageEnhance
from playwright.sync_api import Page, sync_playwright

import transhash

DOCS = Path(__file__).parent
NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "hubble_deep_field.jpg", "moon.png", "coins.png")
GROUND = ("brick.png", "grass.png", "gravel.png")
WIDE = {"viewport": {"width": 1280, "height": 800}}
PHONE = {"viewport": {"width": 390, "height": 800}, "is_mobile": True, "has_touch": True, "device_scale_factor": 2}


def collect(root: Path) -> None:
    """Write a small collection with copies."""
    for folder in ("pictures", "textures", "details", "phone backup"):
        (root / folder).mkdir(parents=True)
    for name in (*NAMES, *GROUND):
        image = Image.open(Path(skimage.__file__).parent / "data" / name).convert("RGB")
        stem = name.split(".")[0]
        image.save(root / ("textures" if name in GROUND else "pictures") / f"{stem}.jpg", quality=92)
        width, height = image.size
        corners = ((0, 0), (1, 0), (0, 1), (1, 1)) if name in NAMES[:4] else ()
        for place, (x, y) in enumerate(corners, start=1):
            box = x * width // 2, y * height // 2, (1 + x) * width // 2, (1 + y) * height // 2
            image.crop(box).save(root / "details" / f"{stem} {place}.jpg", quality=90)
        if name in NAMES[:4]:
            image.resize((width // 2, height // 2)).save(root / "phone backup" / f"{stem} small.jpg", quality=85)
            ImageEnhance.Brightness(image).enhance(1.15).save(root / "phone backup" / f"{stem} (1).jpg", quality=40)


def take(page: Page, name: str) -> None:
    """Save what the page shows once its images are there."""
    page.wait_for_function("() => [...document.images].every(image => image.complete || image.loading === 'lazy')")
    page.wait_for_timeout(700)
    page.screenshot(path=DOCS / name, type="jpeg", quality=82)


def visit(page: Page, name: str) -> None:
    """Search for a picture."""
    page.goto(f"/?glob={name}*")
    page.locator("a.picture").first.click()
    page.locator(".card .distance").nth(3).wait_for()


def main() -> None:
    """Build a collection, serve it and take the screenshots."""
    folder = Path(tempfile.mkdtemp())
    collect(folder / "photos")
    transhash.build_index(transhash.encode(folder / "photos", "copy"), folder / "photos.index")
    command = [Path(sys.executable).with_name("th"), "serve", folder / "photos.index", "--port", "0"]
    server = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    assert server.stderr
    found = re.search(r"http://\S+?(?=/? )", server.stderr.readline())
    assert found
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_context(base_url=found[0], color_scheme="light", **WIDE).new_page()
        visit(page, "pictures/chelsea")
        take(page, "page-search.jpg")
        page.locator(".card .over").first.click()
        page.get_by_role("button", name="Zoom in").click(click_count=3)
        take(page, "page-compare.jpg")
        page.goto("/?view=duplicates&radius=8")
        page.locator(".member").first.wait_for()
        take(page, "page-duplicates.jpg")
        phone = browser.new_context(base_url=found[0], color_scheme="dark", **PHONE).new_page()
        phone.goto("/?order=random&seed=9")
        phone.locator(".card[data-id]").first.wait_for()
        take(phone, "page-phone.jpg")
        browser.close()
    server.terminate()
    server.wait()
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
