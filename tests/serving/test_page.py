"""The page of `th serve` in a real browser, used as a visitor would, at two window widths."""

import base64
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

import transhash

ATTACK = "<img src=x onerror=document.title='broken'> & co.png"
SIDES = {"sea": 60, "town/streets": 60, "town/parks": 14}
WIDTHS = {"wide": 1440, "phone": 390}
TOKEN = "a-token-of-some-length"


def draw(seed: int) -> Image.Image:
    """An image whose perceptual hash is far from those of other seeds."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize((96, 72), Image.Resampling.BICUBIC)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Images in three folders, with three clusters of copies: two of three images, and one to move to the trash."""
    root = tmp_path_factory.mktemp("page") / "photos"
    seed = 0
    for folder, many in SIDES.items():
        (root / folder).mkdir(parents=True)
        for number in range(many):
            draw(seed).save(root / folder / f"{number:02}.png")
            seed += 1
    (root / "copies").mkdir()
    for number in (3, 4):
        draw(number).resize((48, 36)).save(root / "copies" / f"{number} small.jpg")
        draw(number).save(root / "copies" / f"{number}.jpg", quality=60)
    shutil.copy(root / "sea" / "07.png", root / "copies" / ATTACK)
    draw(seed).save(os.fsencode(root) + b"/sea/caf\xe9.png")
    return root


@pytest.fixture(scope="module")
def index(photos):
    path = photos.parent / "photos.index"
    transhash.build_index(transhash.encode(photos, "phash"), path)
    return path


@pytest.fixture(scope="module")
def serving(command, index, tmp_path_factory):
    """Start servers and return their addresses; stop them after the module."""
    running = []

    def run(*options: object, also: tuple[Path, ...] = ()) -> str:
        home = {"PATH": "/usr/bin:/bin", "HOME": str(index.parent), "XDG_DATA_HOME": str(index.parent / "data")}
        words = [*command, "serve", index, *also, "--port", "0", *options]
        process = subprocess.Popen(list(map(str, words)), stderr=subprocess.PIPE, text=True, env=home)
        running.append(process)
        assert process.stderr
        line = process.stderr.readline()
        found = re.search(r"http://\S+?(?=/? )", line)
        assert found, line + process.stderr.read()
        return found[0]

    yield run
    for process in running:
        process.terminate()
    for process in running:
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def address(serving):
    return serving("--allow-trash")


class Tab:
    """A browser tab that collects errors."""

    def __init__(self, chromium, address, width, scheme):
        touch = {"has_touch": True, "is_mobile": True} if width < 600 else {}
        self.context = chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, base_url=address, **touch
        )
        self.context.set_default_timeout(30_000)
        self.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=address)
        self.address, self.width = address, width
        self.complaints, self.elsewhere, self.further = [], [], []
        self.context.on("request", self._look_at)
        self.page = self.open()

    def open(self):
        page = self.context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.further.append(page)
        return page

    def forget(self):
        """Be as a new tab, of a browser that has seen the images: to draw the first page costs a second."""
        self.page.evaluate("localStorage.clear(), sessionStorage.clear()")
        self.page.goto("about:blank")
        for page in self.further[1:]:
            page.close()
        del self.further[1:], self.complaints[:], self.elsewhere[:]

    def _look_at(self, request):
        if not request.url.startswith((self.address, "data:", f"blob:{self.address}")):
            self.elsewhere.append(request.url)

    def show(self, view=""):
        self.page.goto(f"/{view}")
        self.page.locator(".card[data-id], .notice").first.wait_for()

    def paths(self):
        return self.page.locator(".card .path").evaluate_all("all => all.map(one => one.title)")

    def query(self):
        return urlsplit(self.page.url).query

    def fits(self):
        return self.page.evaluate("document.scrollingElement.scrollWidth") <= self.width


SIZES = [("wide", "light"), ("phone", "dark")]
WIDE, PHONE = (pytest.mark.parametrize("tab", [size], indirect=True, ids=[size[0]]) for size in SIZES)
"""For tests of what does not depend on the size: they run in one of the two."""


@pytest.fixture(scope="module")
def tabs(chromium, address):
    """A tab of each size, as it is first wanted."""
    opened: dict[str, Tab] = {}

    def find(name, scheme):
        if name not in opened:
            opened[name] = Tab(chromium, address, WIDTHS[name], scheme)
        return opened[name]

    yield find
    for tab in opened.values():
        tab.context.close()


@pytest.fixture(params=SIZES, ids=lambda param: param[0])
def tab(request, tabs):
    """A tab that must have no errors and no requests to other hosts."""
    opened = tabs(*request.param)
    yield opened
    try:
        assert opened.complaints == []
        assert opened.elsewhere == []
        assert opened.fits()
    finally:
        opened.forget()


def shown(tab, count):
    """Wait until the page shows `count` images."""
    tab.page.wait_for_function("count => document.querySelectorAll('.card[data-id]').length === count", arg=count)


def settled(tab, text):
    """Wait for a text in the line above the list."""
    tab.page.locator(".line", has_text=text).wait_for()


@WIDE
def test_browsing(tab):
    tab.show()
    settled(tab, "140 images")
    page = tab.page
    while page.locator(".card[data-id]").count() < 140:
        page.mouse.wheel(0, 4000)
        page.wait_for_timeout(50)
    assert len(set(tab.paths())) == 140
    assert page.locator(".more").is_hidden()
    page.get_by_role("button", name="Shuffle").click()
    page.wait_for_url("**seed=*")
    shown(tab, 60)
    mixed = tab.paths()
    assert mixed != sorted(mixed)
    page.reload()
    shown(tab, 60)
    assert tab.paths() == mixed


@PHONE
def test_filters_complete_and_a_link_reproduces_the_view(tab):
    tab.show()
    page = tab.page
    page.get_by_role("combobox", name="Filter by label").fill("to")
    page.get_by_role("option", name="town").click()
    settled(tab, "74 images")
    page.get_by_role("combobox", name="Filter by path").fill("tow")
    page.get_by_role("option", name="town/", exact=False).first.locator(".deeper").click()
    page.get_by_role("option", name="town/parks/").wait_for()
    page.get_by_role("option", name="all of town/", exact=True).wait_for()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    page.get_by_role("option", name="all of town/parks/").wait_for()
    page.get_by_role("combobox", name="Filter by path").fill("town/")
    page.get_by_role("option", name="town/parks/").click()
    page.wait_for_url("**glob=*")
    settled(tab, "14 images")
    page.get_by_role("combobox", name="Filter by path").fill("03")
    page.keyboard.press("Enter")
    settled(tab, "15 images")
    page.get_by_role("button", name="Remove the filter town/parks/*").click()
    settled(tab, "2 images")
    page.get_by_role("button", name="Copy link").click()
    link = page.evaluate("navigator.clipboard.readText()")
    other = tab.open()
    other.goto(link)
    other.locator(".line", has_text="2 images").wait_for()
    paths = other.locator(".card .path").evaluate_all("all => all.map(one => one.title)")
    assert sorted(paths) == ["town/parks/03.png", "town/streets/03.png"]
    assert other.locator(".chip").count() == 2


def test_a_filter_that_nothing_passes_is_explained(tabs):
    tab = tabs(*SIZES[0])
    tab.show("?glob=nowhere%2F*")
    assert (
        "nowhere" in tab.page.locator(".notice").inner_text() or "filter" in tab.page.locator(".notice").inner_text()
    )
    tab.forget()  # with what the browser says of the answer


def give_a_file(tab, data):
    tab.page.locator("#choose").set_input_files({"name": "mine.png", "mimeType": "image/png", "buffer": data})


def take_a_photo(tab, data):
    if tab.width > 600:  # desktop browsers have no such button
        assert tab.page.get_by_text("Take a photo").is_hidden()
        return give_a_file(tab, data)
    assert tab.page.locator("#camera").get_attribute("capture") == "environment"
    with tab.page.expect_file_chooser() as chooser:
        tab.page.get_by_text("Take a photo").click()
    return chooser.value.set_files({"name": "photo.png", "mimeType": "image/png", "buffer": data})


def transfer(event):
    """A script that passes an image to the page like a drop or a paste."""
    return f"""text => {{
        const data = Uint8Array.from(atob(text), (char) => char.charCodeAt(0)), transfer = new DataTransfer();
        transfer.items.add(new File([data], "mine.png", {{ type: "image/png" }}));
        {event}
    }}"""


DROP = transfer("""for (const kind of ["dragenter", "dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: transfer, bubbles: true, cancelable: true }));""")
PASTE = transfer("""document.body.dispatchEvent(
    new ClipboardEvent("paste", { clipboardData: transfer, bubbles: true, cancelable: true }));""")


def drop(tab, data):
    tab.page.evaluate(DROP, base64.b64encode(data).decode())


def paste(tab, data):
    tab.page.evaluate(PASTE, base64.b64encode(data).decode())


@pytest.mark.parametrize(
    ("tab", "give"),
    [(SIZES[0], take_a_photo), (SIZES[0], drop), (SIZES[0], paste), (SIZES[1], take_a_photo)],
    indirect=["tab"],
)
def test_an_image_of_ones_own(tab, photos, give):
    tab.show()
    give(tab, (photos / "sea" / "05.png").read_bytes())
    tab.page.locator(".query .name", has_text="Your image").wait_for()
    tab.page.locator(".card .distance").first.wait_for()
    assert tab.paths()[0] == "sea/05.png"
    assert tab.page.locator(".card .distance").first.inner_text().split("\n")[-1] == "0 bits"
    assert tab.query().startswith("code=")
    assert tab.page.locator("#drop").is_hidden()
    tab.page.wait_for_function("() => document.querySelector('.query img').naturalWidth > 0")
    found = tab.paths()
    tab.page.reload()
    tab.page.locator(".card .distance").first.wait_for()
    assert tab.paths() == found
    tab.page.wait_for_function("() => document.querySelector('.query img').naturalWidth > 0")


def test_what_is_no_image_is_said(tabs):
    tab = tabs(*SIZES[1])
    tab.show()
    give_a_file(tab, b"no picture")
    tab.page.get_by_role("alert").filter(has_text="not an image").wait_for()
    assert tab.page.locator(".busy").is_hidden()
    assert tab.query() == ""
    tab.forget()  # with what the browser says of the answer


@WIDE
def test_another_file_that_is_dropped_is_not_taken_silently(tab):
    tab.show()
    tab.page.evaluate(DROP.replace("mine.png", "notes.txt").replace("image/png", "text/plain"), "bm90ZXM=")
    tab.page.get_by_role("alert").filter(has_text="notes.txt is not an image.").wait_for()
    assert tab.query() == ""


@WIDE
def test_more_like_this_and_back(tab):
    tab.show()
    page = tab.page
    page.get_by_role("link", name="More like sea/03.png").click()
    page.locator(".query .name", has_text="sea/03.png").wait_for()
    page.locator(".card .distance").first.wait_for()
    assert set(tab.paths()[:2]) == {"copies/3.jpg", "copies/3 small.jpg"}
    assert "sea/03.png" not in tab.paths()
    assert page.locator(".card .word").first.inner_text() == "copy"
    page.mouse.wheel(0, 900)
    page.wait_for_function("() => scrollY > 400")
    depth = page.evaluate("scrollY")
    link = page.locator("a.picture").nth(9)
    link.click()
    page.locator(".card .distance").first.wait_for()
    page.wait_for_function("() => scrollY === 0")
    page.go_back()
    page.locator(".query .name", has_text="sea/03.png").wait_for()
    page.wait_for_function("() => scrollY > 100")
    assert abs(page.evaluate("scrollY") - depth) < 900
    page.get_by_role("button", name="Back to all images").click()
    settled(tab, "140 images")


@PHONE
def test_the_radius(tab):
    tab.show("?id=3")
    page = tab.page
    slider = page.get_by_role("slider", name="Radius")
    assert slider.get_attribute("aria-valuetext") == "any distance"
    slider.press("Home")
    page.wait_for_url("**radius=0")
    for _ in range(6):
        slider.press("ArrowRight")
    page.wait_for_url("**radius=6")
    assert slider.get_attribute("aria-valuetext").startswith("6 bits")
    settled(tab, "2 images within 6 bits")
    tab.show("?id=20&radius=0")
    page.get_by_text("No image is within 0 bits of this one.").wait_for()
    page.get_by_role("button", name="Search within 4 bits").click()
    page.wait_for_url("**radius=4")


@WIDE
def test_looking_closely(tab):
    tab.show("?id=3")
    page = tab.page
    button = page.locator(".card .over").first
    button.click()
    dialog = page.get_by_role("dialog")
    dialog.locator(".facts", has_text="96 × 72").wait_for()
    dialog.locator(".facts", has_text="kB").or_(dialog.locator(".facts", has_text="bytes")).first.wait_for()
    transforms = "[...document.querySelectorAll('.frame img')].map(image => image.style.transform)"
    dialog.get_by_role("button", name="Zoom in").click()
    one, two = page.evaluate(transforms)
    assert one == two
    assert "scale(1.4)" in one
    frame = dialog.locator(".frame").last
    frame.focus()
    for key in ("+", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    moved = page.evaluate(transforms)
    assert moved[0] == moved[1]
    assert "translate(0%, 0%)" not in moved[0]
    frame.hover()
    page.mouse.wheel(0, -300)
    page.wait_for_function("before => document.querySelector('.frame img').style.transform !== before", arg=moved[0])
    page.keyboard.press("0")
    assert page.evaluate(transforms) == ["translate(0%, 0%) scale(1)"] * 2
    first = dialog.locator("figcaption .path").last.inner_text()
    dialog.get_by_role("button", name="Next image").click()
    assert dialog.locator("figcaption .path").last.inner_text() != first
    assert page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
    page.keyboard.press("Escape")
    dialog.wait_for(state="detached")
    assert button.evaluate("element => element === document.activeElement")
    button.click()
    dialog.get_by_role("link", name="More like this").click()
    page.locator(".query .name", has_text="copies/").wait_for()
    assert dialog.count() == 0


def test_the_keyboard_alone(tab):
    tab.show()
    page = tab.page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "picture"
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    columns = page.evaluate("getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length")
    place = "[...document.querySelectorAll('a.picture')].indexOf(document.activeElement)"
    assert page.evaluate(place) == 1 + columns
    page.keyboard.press("Enter")
    page.wait_for_url("**id=*")
    page.locator(".card .distance").first.wait_for()


@WIDE
def test_names_run_nothing(tab):
    tab.show("?glob=*onerror*")
    settled(tab, "1 image")
    assert tab.paths() == [f"copies/{ATTACK}"]
    tab.page.locator(".card .over").click()
    tab.page.get_by_role("dialog").locator(".facts", has_text="72").wait_for()
    assert "broken" not in tab.page.title()


@PHONE
def test_names_that_are_not_utf8(tab):
    tab.show("?glob=sea%2Fcaf*")
    settled(tab, "1 image")
    assert tab.paths() == ["sea/caf\\xe9.png"]
    tab.page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")


def members(tab, place=0):
    return tab.page.locator(".cluster").nth(place).locator(".member")


def chosen(tab):
    return tab.page.locator(".member.goes .path").evaluate_all("all => all.map(one => one.title)")


def show_duplicates(tab, view=""):
    tab.page.goto(f"/?view=duplicates{view}")
    tab.page.locator(".member").first.wait_for()


@PHONE
def test_duplicates_are_chosen_by_rule_and_by_hand(tab, photos):
    show_duplicates(tab)
    page = tab.page
    settled(tab, "3 clusters of 8 images")
    bar = page.get_by_role("region", name="What will go")
    going = set(chosen(tab))
    assert (
        going == {"copies/3.jpg", "copies/3 small.jpg", "copies/4.jpg", "copies/4 small.jpg", "sea/07.png"}
        or len(going) == 5
    )
    bar.get_by_text("5 images to remove").wait_for()
    first = members(tab)
    assert "96 × 72" in first.first.inner_text()
    first.first.get_by_role("checkbox").check()
    bar.get_by_text("nothing stays of 1 cluster").wait_for()
    first.nth(1).get_by_role("button", name="Keep only").click()
    bar.get_by_text("5 images to remove").wait_for()
    assert first.nth(1).get_by_role("checkbox").is_checked() is False
    page.reload()
    page.locator(".member").first.wait_for()
    assert members(tab).nth(1).get_by_role("checkbox").is_checked() is False
    bar.get_by_text("1 cluster changed by hand").wait_for()
    bar.get_by_role("button", name="Undo changes").click()
    assert set(chosen(tab)) == going
    page.locator(".cluster").first.get_by_role("button", name="Keep all").click()
    bar.get_by_text("3 images to remove").wait_for()
    bar.get_by_role("button", name="Undo changes").click()


@WIDE
def test_rules_of_keeping(tab):
    show_duplicates(tab)
    page = tab.page
    page.get_by_label("Keep", exact=True).select_option("path")
    page.wait_for_url("**keep=path*")
    page.locator(".member").first.wait_for()
    assert {path.split("/")[0] for path in chosen(tab)} == {"sea", "copies"}
    page.get_by_role("combobox", name="Protect a folder").fill("copies/")
    page.get_by_role("option", name="all of copies/").click()
    page.wait_for_url("**reference=copies*")
    page.locator(".member").first.wait_for()
    assert {path.split("/")[0] for path in chosen(tab)} == {"sea"}
    page.get_by_role("slider", name="Radius").press("Home")
    page.wait_for_url("**radius=0*")
    page.locator(".line", has_text="within 0 bits").wait_for()


@PHONE
def test_changes_by_hand_stay_when_the_rules_change(tab):
    show_duplicates(tab)
    page = tab.page
    bar = page.get_by_role("region", name="What will go")
    first = members(tab).first.locator(".path").get_attribute("title")
    page.locator(".cluster").first.get_by_role("button", name="Keep all").click()
    bar.get_by_text("3 images to remove").wait_for()
    for rule in ("oldest", "path", "largest"):
        page.get_by_label("Keep", exact=True).select_option(rule)
        page.wait_for_url(f"**keep={rule}*")
        bar.get_by_text("3 images to remove").wait_for()
        bar.get_by_text("1 cluster changed by hand").wait_for()
    page.get_by_role("slider", name="Radius").press("ArrowRight")
    page.wait_for_url("**radius=*")
    bar.get_by_text("1 cluster changed by hand").wait_for()
    page.goto("/?view=duplicates&reference=copies%2F")
    page.locator(".member").first.wait_for()
    bar.get_by_text("1 cluster changed by hand").wait_for()
    assert first not in chosen(tab)
    bar.get_by_role("button", name="Undo changes").click()
    show_duplicates(tab)
    page.locator(".cluster").first.get_by_role("button", name="Keep all").click()
    page.get_by_label("Keep", exact=True).select_option("path")
    page.wait_for_url("**keep=path*")
    bar.get_by_text("1 cluster changed by hand").wait_for()
    bar.get_by_role("button", name="Undo changes").click()
    page.go_back()
    page.wait_for_url("**view=duplicates")
    bar.get_by_text("5 images to remove").wait_for()


@WIDE
def test_what_was_to_go_alone_never_leaves_a_cluster_empty(tab):
    """The image that one rule would keep goes by hand, and then another rule lets the others go."""
    show_duplicates(tab)
    page = tab.page
    bar = page.get_by_role("region", name="What will go")
    members(tab).nth(1).get_by_role("button", name="Keep only").click()
    kept = members(tab).nth(1).locator(".path").get_attribute("title")
    bar.get_by_text("1 cluster changed by hand").wait_for()
    for view in ("&keep=path", "&keep=oldest", "&radius=0", "&radius=12"):
        show_duplicates(tab, view)
        assert kept not in chosen(tab)
        assert page.locator(".cluster.emptied").count() == 0
    bar.get_by_role("button", name="Undo changes").click()


@PHONE
def test_a_protected_image_cannot_be_chosen(tab):
    show_duplicates(tab, "&reference=copies%2F")
    page = tab.page
    boxes = page.locator(".member", has=page.get_by_text("In a protected folder")).get_by_role("checkbox")
    assert boxes.count() == 5
    assert all(boxes.nth(place).is_disabled() for place in range(5))
    assert page.locator(".chip").inner_text().split() == ["protected", "copies/"]
    assert page.locator(".member .mark").first.inner_text().lower() == "protected"
    assert {path.split("/")[0] for path in chosen(tab)} == {"sea"}
    page.get_by_text("to remove have larger files than the copy that stays").wait_for()


@WIDE
def test_the_last_copy_goes_only_if_that_is_said(tab, photos):
    show_duplicates(tab)
    members(tab).first.get_by_role("checkbox").check()
    page = tab.page
    page.get_by_role("button", name="Review and export").click()
    dialog = page.get_by_role("dialog")
    button = dialog.get_by_role("button", name="Save the list")
    button.wait_for()
    assert button.is_disabled()
    assert dialog.get_by_text("No copy stays").count() == 3
    dialog.get_by_label("Remove all images of 1 cluster, without keeping a copy").check()
    with page.expect_download():
        button.click()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Undo changes").click()


@PHONE
def test_the_second_look_sees_what_happened_to_the_files(tab, photos, tmp_path):
    show_duplicates(tab)
    shutil.move(photos / "sea" / "03.png", tmp_path / "03.png")
    shutil.move(photos / "copies" / "4.jpg", tmp_path / "4.jpg")
    try:
        tab.page.get_by_role("button", name="Review and export").click()
        dialog = tab.page.get_by_role("dialog")
        dialog.get_by_role("heading", name="2 images to remove, ").wait_for()
        dialog.get_by_role("heading", name="3 chosen images must stay").wait_for()
        said = dialog.locator(".failed").inner_text()
        assert "copies/3.jpg: no other intact copy of it would stay" in said
        assert "copies/4.jpg: the file is gone" in said
        dialog.get_by_role("button", name="Move 2 files to the trash").wait_for()
        tab.page.keyboard.press("Escape")
    finally:
        shutil.move(tmp_path / "03.png", photos / "sea" / "03.png")
        shutil.move(tmp_path / "4.jpg", photos / "copies" / "4.jpg")


def test_a_missing_file_is_a_placeholder(chromium, address, photos, tmp_path):
    tab = Tab(chromium, address, 390, "dark")  # one that has not seen it before
    shutil.move(photos / "sea" / "12.png", tmp_path / "12.png")
    try:
        tab.show("?glob=sea%2F12.png")
        tab.page.locator(".card .blank", has_text="12.png").wait_for()
        tab.page.locator(".card .over").click()
        tab.page.get_by_role("dialog").get_by_text("This image cannot be shown.").wait_for()
    finally:
        shutil.move(tmp_path / "12.png", photos / "sea" / "12.png")
        tab.context.close()


@WIDE
def test_clusters_are_compared(tab):
    show_duplicates(tab)
    members(tab).nth(1).locator(".over").click()
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_role("button", name="Keep it").click()
    dialog.get_by_role("button", name="Remove it").wait_for()
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("region", name="What will go").get_by_text("4 images to remove").wait_for()
    tab.page.get_by_role("button", name="Undo changes").click()


@pytest.mark.parametrize(("form", "end"), [("lines", b"\n"), ("nul", b"\0")])
@PHONE
def test_a_list_is_saved(tab, photos, index, tmp_path, form, end):
    show_duplicates(tab)
    going = chosen(tab)
    tab.page.get_by_role("button", name="Review and export").click()
    dialog = tab.page.get_by_role("dialog")
    dialog.get_by_role("heading", name="5 images to remove, ").wait_for()
    pairs = dialog.locator(".going li")
    assert pairs.count() == 5
    assert {pairs.nth(place).locator("img").first.get_attribute("title") for place in range(5)} == set(going)
    assert "Stays" in pairs.first.inner_text()
    dialog.get_by_label("Format").select_option(form)
    with tab.page.expect_download() as saved:
        dialog.get_by_role("button", name="Save the list").click()
    saved.value.save_as(tmp_path / "list")
    listed = (tmp_path / "list").read_bytes().split(end)
    assert listed.pop() == b""
    assert sorted(Path(path.decode()).relative_to(photos).as_posix() for path in listed) == sorted(going)
    copy = tmp_path / "copy.index"
    shutil.copytree(index, copy)
    from transhash_cli import running

    words = ["index", "remove", str(copy), "--list", str(tmp_path / "list"), *(["-0"] if form == "nul" else [])]
    assert running.run(words) == 0
    assert len(transhash.open(copy)) == 140 - 5


def test_every_state_is_accessible(tab):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()

    def check():
        tab.page.wait_for_timeout(100)  # wait for colour transitions
        found = axe.run(tab.page, options={"resultTypes": ["violations"]}).response["violations"]
        assert not found, [(one["id"], [node["target"] for node in one["nodes"]]) for one in found]
        assert tab.fits()

    tab.show()
    check()
    tab.show("?glob=town%2Fparks%2F*")  # fewer images to check from here on
    tab.page.get_by_role("combobox", name="Filter by label").click()
    tab.page.get_by_role("option").first.wait_for()
    tab.page.keyboard.press("ArrowDown")
    check()
    tab.show("?id=3&glob=copies%2F*")
    check()
    tab.page.locator(".card .over").first.click()
    tab.page.get_by_role("dialog").locator(".facts", has_text="96 × 72").wait_for()
    assert tab.page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
    check()
    tab.show("?id=20&radius=0")
    check()
    show_duplicates(tab)
    members(tab).first.get_by_role("checkbox").check()
    check()
    tab.page.get_by_role("button", name="Review and export").click()
    tab.page.get_by_role("button", name="Save the list").wait_for()
    check()
    tab.page.keyboard.press("Escape")
    tab.page.get_by_role("button", name="Undo changes").click()


def test_a_server_with_a_token_asks_for_it(chromium, serving, tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    tab = Tab(chromium, serving("--token-file", tmp_path / "token"), 390, "light")
    tab.page.goto("/?id=3")
    dialog = tab.page.get_by_role("dialog", name="Sign in")
    dialog.get_by_label("Token").fill("another")
    tab.page.keyboard.press("Enter")
    dialog.get_by_text("does not take this token").wait_for()
    dialog.get_by_label("Token").fill(TOKEN)
    dialog.get_by_role("button", name="Sign in").click()
    tab.page.locator(".card img").first.wait_for()
    tab.page.wait_for_function("() => document.querySelector('.card img').naturalWidth > 0")
    wrong = "Failed to load resource: the server responded with a status of 401 (Unauthorized)"
    assert tab.complaints == [wrong]  # for the wrong token
    tab.page.goto("about:blank")  # first: the page may still load images, which a cookie allows
    tab.context.clear_cookies()
    tab.page.goto(f"/?id=3#token={TOKEN}")  # as --open does
    tab.page.locator(".card img").first.wait_for()
    assert "token" not in tab.page.url
    assert tab.complaints == [wrong]
    assert tab.elsewhere == []
    tab.context.close()


def test_several_collections_one_of_which_has_lost_its_images(chromium, serving, tmp_path):
    (tmp_path / "lost").mkdir()
    for seed in range(900, 903):
        draw(seed).save(tmp_path / "lost" / f"{seed}.png")
    transhash.build_index(transhash.encode(tmp_path / "lost", "phash"), tmp_path / "lost.index")
    shutil.rmtree(tmp_path / "lost")
    tab = Tab(chromium, serving(also=(tmp_path / "lost.index",)), 390, "dark")
    tab.show("?label=sea")
    settled(tab, "61 images")
    tab.page.locator("#which").select_option("lost")
    settled(tab, "3 images")
    assert tab.page.locator(".chip").count() == 0
    assert tab.page.locator(".card .blank").all_inner_texts() == ["900.png", "901.png", "902.png"]
    tab.page.get_by_role("link", name="More like").first.click()
    settled(tab, "2 images")
    tab.page.get_by_role("link", name="Duplicates").click()
    tab.page.get_by_role("heading", name="No near-duplicates").wait_for()
    assert "index=lost" in tab.query()
    assert tab.complaints == []
    assert tab.fits()
    tab.context.close()


def test_a_server_that_is_gone_is_reported(chromium, command, index):
    words = [*map(str, command), "serve", str(index), "--port", "0"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    found = re.search(r"http://\S+?(?=/? )", process.stderr.readline())
    tab = Tab(chromium, found[0], 390, "light")
    tab.show()
    process.kill()
    process.communicate()
    tab.page.get_by_role("link", name="More like sea/03.png").click()
    tab.page.get_by_role("alert").filter(has_text="The server cannot be reached").wait_for()
    assert tab.page.get_by_role("button", name="Try again").is_visible()
    tab.context.close()


@PHONE
def test_files_go_to_the_trash_after_a_second_look(tab, photos):
    """This test runs last, because it changes the collection."""
    show_duplicates(tab)
    for cluster in range(1, 3):
        tab.page.locator(".cluster").nth(cluster).get_by_role("button", name="Keep all").click()
    going = [photos / path for path in chosen(tab)]
    tab.page.get_by_role("button", name="Review and export").click()
    dialog = tab.page.get_by_role("dialog")
    button = dialog.get_by_role("button", name=f"Move {len(going)} files to the trash")
    button.wait_for()
    assert button.is_disabled()
    assert all(path.exists() for path in going)
    dialog.get_by_label("I have looked at them").check()
    button.click()
    dialog.get_by_role("status").filter(has_text=f"Moved {len(going)} files to the trash").wait_for()
    assert not any(path.exists() for path in going)
    assert {path.name for path in going} == {path.name for path in (photos.parent / "data/Trash/files").iterdir()}
    dialog.get_by_role("button", name="Done").click()
    tab.page.get_by_text("2 files are gone: neither kept nor removed").wait_for()
    tab.page.get_by_text("2 clusters changed by hand").wait_for()
    assert chosen(tab) == []
    tab.page.get_by_role("button", name="Undo changes").click()
    assert len(chosen(tab)) == 3
    for path in going:  # as if restored by the user
        shutil.move(photos.parent / "data/Trash/files" / path.name, path)
    tab.page.get_by_role("button", name="Look again").click()
    tab.page.get_by_text("5 images to remove").wait_for()
