"""Contact sheets, and where examples of copies stand on a page."""

import numpy as np
import pytest
from PIL import Image

from transhash.report.page import html
from transhash.report.records import Example, Picture, Run
from transhash.report.sections import gather
from transhash.report.sheet import MOST, Strip, Thumbnail, draw


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "a.png"
    Image.new("RGB", (40, 20), (10, 200, 30)).save(path)
    return path


def colours(sheet):
    return {tuple(pixel) for pixel in np.asarray(sheet).reshape(-1, 3)[::7].tolist()}


def test_draws_images_in_their_frames(photo):
    plain = draw([Strip([Thumbnail(photo, "query"), Thumbnail(photo, "3 bits: copy")])])
    framed = draw([Strip([Thumbnail(photo, "query"), Thumbnail(photo, "3 bits: copy", "#ff0000")])])
    assert plain.size == framed.size
    assert (10, 200, 30) in colours(plain)
    assert (255, 0, 0) in colours(framed) - colours(plain)


def test_fills_columns_row_by_row(photo):
    strips = [Strip([Thumbnail(photo, "query")], f"{number}: found", "#1a8250") for number in range(3)]
    one, two = draw(strips), draw(strips, columns=2)
    assert two.width > 2 * one.width
    assert 0.6 < two.height / one.height < 0.7


def test_long_strips_are_cut_and_unreadable_images_are_grey(photo, tmp_path):
    full = draw([Strip([Thumbnail(photo, "x")] * MOST)])
    assert draw([Strip([Thumbnail(photo, "x")] * (MOST + 5))]).size == full.size
    assert (211, 211, 211) in colours(draw([Strip([Thumbnail(tmp_path / "missing.png", "x")])]))
    assert draw([]).height < 128


@pytest.mark.parametrize(("count", "first"), [(12, True), (13, False)])
def test_a_few_examples_of_copies_open_the_page(count, first):
    run = Run("c", "copies", "Copies", "th demo", "2026-11-27T12:00:00+00:00")
    shown = Picture("a.jpg", "a.jpg"), [Picture("b.jpg", "40 bits: unrelated", False)]
    examples = [Example("c", "25 photos", "copy", f"edit {number}: missed", *shown) for number in range(count)]
    page = html(gather([run, *examples])).decode()
    assert (page.index("edit 0: missed") < page.index("<main>")) == first
    assert page.count(f"<p>edit {count - 1}: missed</p>") == 1
