"""Reports in a browser."""

import pytest

from transhash.report import write_html

from . import browser
from .samples import accuracy, hostile, search

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.PROGRAM is None, reason="no Chromium is installed"),
]

ATTACKS = (
    "</script><script>document.title='broken'</script><img src=x onerror=\"document.title='broken'\">",
    "'\"><svg onload=document.title='broken'> {{ 7 * 7 }} <!-- ]]> \\u003c ${7 * 7}",
    "javascript:document.title='broken'",
)


@pytest.fixture(scope="module")
def tab(tmp_path_factory):
    chromium = browser.Browser(tmp_path_factory.mktemp("profile"))
    yield chromium
    chromium.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_html(path, [*search(), *accuracy()])
    return path


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1100, 375])
def test_a_page_opens_quietly_and_fits(tab, page, width, scheme):
    tab.open(page, width, scheme)
    assert tab.complaints() == []
    assert tab.requests() == [page.as_uri()]
    assert tab.run("document.scrollingElement.scrollWidth") <= width
    assert tab.run("document.querySelectorAll('.chart svg').length") == 6
    beyond = "[...document.querySelectorAll('.chart svg')].filter(e => e.getBoundingClientRect().right > innerWidth)"
    assert tab.run(f"{beyond}.length") == 0
    smallest = (
        "Math.min(...[...document.querySelectorAll('svg text')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert tab.run(smallest) >= 11


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(tab, page, scheme):
    """Contrast according to WCAG 2: at least 4.5 for text and 3 for marks."""
    tab.open(page, 1100, scheme)
    tab.run(CONTRAST)
    texts = "document.querySelectorAll('h1, h2, p, td, th, figcaption, small, dd, dt, pre, .chart text')"
    assert tab.run(f"Math.min(...[...{texts}].map(contrast))") >= 4.5
    marks = "document.querySelectorAll('.chart .mark-symbol path')"
    assert tab.run(f"{marks}.length") > 20
    assert tab.run(f"Math.min(...[...{marks}].map(contrast))") >= 3


CONTRAST = """
function light(colour) {
  const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(part => part / 255);
  const [r, g, b] = parts.map(part => part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(element) {
  for (let e = element; e; e = e.parentElement) {
    const colour = getComputedStyle(e).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") return colour;
  }
}
function contrast(element) {
  const style = getComputedStyle(element), own = element.closest("svg") ? style.fill : style.color;
  if (own === "none") return 21;
  const [one, two] = [light(own), light(ground(element))].sort((a, b) => b - a);
  return (one + 0.05) / (two + 0.05);
}
"""


def test_tables_sort_by_click_and_by_key(tab, page):
    tab.open(page)
    table = "[...document.querySelectorAll('table')].find(t => t.textContent.includes('LSH'))"
    head = f"[...{table}.querySelectorAll('th')].find(th => th.textContent.includes('mAP@all'))"
    scores = f"[...{table}.tBodies[0].rows].map(row => row.cells[1].dataset.value).map(Number)"
    before = tab.run(scores)
    tab.run(f"{head}.firstElementChild.click()")
    assert tab.run(scores) == sorted(before, reverse=True)  # the better ones first
    assert tab.run(f"{head}.getAttribute('aria-sort')") == "descending"
    tab.run(f"{head}.firstElementChild.focus()")
    tab.press("Enter")
    assert tab.run(scores) == sorted(before)
    assert tab.run(f"{head}.getAttribute('aria-sort')") == "ascending"
    tab.run(f"{table}.querySelector('th button').click()")
    names = tab.run(f"[...{table}.tBodies[0].rows].map(row => row.cells[0].dataset.value)")
    assert names == sorted(names, key=str.lower)
    assert tab.run(f"{table}.querySelectorAll('th[aria-sort]').length") == 1


def test_plots_on_other_data_are_drawn_when_they_are_unfolded(tab, page):
    tab.open(page)
    assert tab.run("document.querySelectorAll('details').length") == 2
    assert tab.run("document.querySelector('details .chart').children.length") == 0
    tab.run("document.querySelector('summary').click()")
    tab.settle("details[open] .chart")
    assert tab.run("document.querySelector('details svg').getBoundingClientRect().width") > 500
    assert tab.complaints() == []


def test_plots_have_descriptions(tab, page):
    tab.open(page)
    spoken = "[...document.querySelectorAll('.chart svg')].map(svg => svg.querySelector('[aria-label]').ariaLabel)"
    assert all(tab.run(spoken))
    labels = tab.run("[...document.querySelectorAll('.mark-symbol path')].map(e => e.ariaLabel).join()")
    assert "mAP@all: 0.74" in labels
    tab.point_at(".mark-symbol path")
    assert "mAP@all" in tab.run("document.querySelector('#vg-tooltip-element.visible').textContent")
    assert tab.run("document.body.textContent").count("∝ codes^1.00") == 1
    assert tab.run("[...document.querySelectorAll('img')].every(i => i.alt && i.naturalWidth)")


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_untrusted_file_runs_no_script(tab, tmp_path, attack):
    path = tmp_path / "report.html"
    write_html(path, hostile(attack))
    tab.open(path)
    tab.point_at(".mark-symbol path")
    assert attack in tab.run("document.querySelector('#vg-tooltip-element.visible').textContent")
    assert tab.complaints() == []
    assert tab.requests() == [path.as_uri()]
    assert attack in tab.run("document.body.textContent")
    assert tab.run("document.title") != "broken"
    assert (
        tab.run(
            "document.querySelectorAll('[onerror], [onload], td svg, td img, .chart + script:not([type])').length"
        )
        == 0
    )


def test_the_content_security_policy_blocks_other_scripts(tab, page, tmp_path):
    broken = tmp_path / "report.html"
    injected = "<script>document.title = 'broken'</script><img src='https://example.org/x.png'>"
    broken.write_text(page.read_text(encoding="utf-8").replace("<main>", f"<main>{injected}"), encoding="utf-8")
    tab.open(broken)
    assert tab.run("document.title") != "broken"
    assert len(tab.complaints()) == 2  # the browser reports that it blocked both
    assert tab.run("document.querySelectorAll('.chart svg').length") == 6


def test_prints(tab, page):
    tab.open(page, 1100, "dark")
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.run("getComputedStyle(document.body).getPropertyValue('--ink').trim()") == "#1c1e21"
    assert len(tab.call("Page.printToPDF")["data"]) > 10_000
