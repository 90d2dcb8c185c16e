"""Pages of images, as files and in a browser."""

import os
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

import transhash
from transhash.errors import OutputError

ATTACK = "'\"><img src=x onerror=document.title='broken'> {{ 7 * 7 }}"


@pytest.fixture(scope="module")
def photos(pictures, tmp_path_factory):
    """An image with a hard link, a copy with an unusual name and a smaller copy; and another image."""
    root = tmp_path_factory.mktemp("gallery") / "photos"
    root.mkdir()
    shutil.copy(pictures / "cross" / "0.png", root / "0.png")
    os.link(root / "0.png", root / "link.png")
    (root / ATTACK).mkdir()
    shutil.copy(root / "0.png", root / ATTACK / "copy.png")
    Image.open(root / "0.png").resize((36, 30)).save(os.fsencode(root) + b"/two\nlines \xff.png")
    shutil.copy(pictures / "stripe" / "0.png", root / "stripe.png")
    return root


@pytest.fixture(scope="module")
def index(photos):
    return transhash.build_index(transhash.encode(photos, "phash"), photos.parent / "photos.index")


@pytest.fixture(scope="module")
def matches_page(index, photos):
    path = photos.parent / "m.html"
    index.search([photos / "0.png", photos / "stripe.png"], k=4).write_html(path)
    return path


@pytest.fixture(scope="module")
def clusters_page(index, photos):
    path = photos.parent / "d.html"
    transhash.dedup(index, 8).write_html(path)
    return path


@pytest.fixture
def tab(chromium):
    """A tab that must not log to the console or request anything but its page."""
    context = chromium.new_context(viewport={"width": 1100, "height": 900})
    page = context.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    yield page
    assert not complaints
    assert all(url.startswith("data:") or url == page.url for url in requests), requests
    context.close()


@pytest.mark.slow
def test_only_an_earlier_page_is_replaced(index, photos, tmp_path):
    page = tmp_path / "page.html"
    writers = (index.search(photos / "0.png").write_html, transhash.dedup(index).write_html)
    for write in writers:
        write(page)
        write(page)
    page.write_text("notes")
    for write in writers:
        with pytest.raises(OutputError, match="exists and is not a report"):
            write(page)
    assert page.read_text() == "notes"


def test_pages_are_self_contained(matches_page, clusters_page):
    for page in (matches_page, clusters_page):
        text = page.read_text(encoding="utf-8")
        assert "default-src 'none'" in text
        assert not re.search(r'src="(?!data:)|href="(?!data:|file:///)', text)
        assert "<img src=x" not in text


def test_images_that_are_gone_are_named(index, tmp_path):
    index.search(index.codes().packed[:1], k=1).write_html(tmp_path / "m.html")  # a code is not an image
    assert (tmp_path / "m.html").read_text().count("cannot be shown") == 1


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
@pytest.mark.parametrize("name", ["m.html", "d.html"])
def test_a_page_fits_and_is_accessible(tab, matches_page, clusters_page, name, width, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    tab.goto(matches_page.with_name(name).as_uri())
    assert tab.evaluate("document.scrollingElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
    assert not axe.Axe().run(tab, options={"resultTypes": ["violations"]}).response["violations"]


def test_matches(tab, matches_page):
    tab.goto(matches_page.as_uri())
    assert tab.locator("section").count() == 2
    assert tab.locator("section").first.locator("li").count() == 4
    assert tab.locator("section").first.locator("li b").first.inner_text() == "0 bits apart"
    assert tab.title() == "Matches"


def test_a_selection_is_changed_and_saved(tab, clusters_page, photos):
    tab.goto(clusters_page.as_uri())
    assert tab.locator("section").count() == 1
    boxes = tab.get_by_role("checkbox")
    count = tab.get_by_role("status")
    assert [box.is_checked() for box in boxes.all()] == [False, False, True, True]
    sizes = [os.path.getsize(photos / "0.png"), os.path.getsize(os.fsencode(photos) + b"/two\nlines \xff.png")]
    assert count.inner_text() == f"2 images to remove, {sum(sizes) / 1000:.1f} kB"
    tab.get_by_role("button", name="Save as lines").click()
    assert "A name has a line break" in tab.locator("#warning").inner_text()
    with tab.expect_download() as saved:
        tab.get_by_role("button", name="xargs -0").click()
    listed = Path(saved.value.path()).read_bytes().split(b"\0")
    assert sorted(map(os.path.basename, listed)) == [b"", b"copy.png", b"two\nlines \xff.png"]
    boxes.nth(0).check()  # its other name remains, so no space is freed
    assert count.inner_text() == f"3 images to remove, {sum(sizes) / 1000:.1f} kB"
    boxes.nth(1).check()
    assert tab.locator("#warning").inner_text() == "Nothing stays of 1 cluster."
    assert tab.get_by_role("button", name="xargs -0").is_disabled()
    tab.get_by_label("Remove all images of a cluster, without keeping a copy").check()
    with tab.expect_download():
        tab.get_by_role("button", name="xargs -0").click()
    tab.get_by_role("button", name="None").click()
    assert count.inner_text() == "0 images to remove, 0 bytes"
    assert tab.get_by_role("button", name="xargs -0").is_disabled()
    boxes.nth(3).check()
    tab.get_by_role("button", name="Rule").click()
    assert [box.is_checked() for box in boxes.all()] == [False, False, True, True]


def test_a_protected_image_cannot_be_chosen_and_a_changed_one_is_no_copy(tab, photos, pictures, tmp_path):
    for number, folder in enumerate(("a", "b", "c")):
        (tmp_path / folder).mkdir()
        Image.open(photos / "stripe.png").save(tmp_path / folder / "0.png", compress_level=number)
    index = transhash.build_index(transhash.encode(tmp_path, "phash"), tmp_path / "photos.index")
    shutil.copy(pictures / "cross" / "1.png", tmp_path / "c" / "0.png")
    transhash.dedup(index).write_html(tmp_path / "d.html")
    tab.goto((tmp_path / "d.html").as_uri())
    boxes = tab.get_by_role("checkbox")
    assert [box.is_disabled() for box in boxes.all()] == [False, False, True]
    assert tab.locator("#emptied").is_hidden()
    boxes.nth(0).check()
    assert tab.locator("#warning").inner_text() == "Nothing stays of 1 cluster."
    transhash.dedup(index, reference=[tmp_path / "a"]).write_html(tmp_path / "d.html")
    tab.goto((tmp_path / "d.html").as_uri())
    assert tab.locator(".choice b").first.inner_text() == "protected"
    assert [box.is_disabled() for box in boxes.all()] == [True, False, True]
