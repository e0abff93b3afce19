"""The HTML report in a browser: quiet, complete, usable by mouse, keyboard and on paper."""

from __future__ import annotations

import pytest

from parity_tests.building.browsing import Opened, needs_chromium
from parity_tests.building.comparisons import report_of, weights_of
from porting.parity.weights import WeightComparison
from porting.reports.documents import page

TAPS = 300
BAD = 211

pytestmark = [pytest.mark.slow, needs_chromium]


def rows_of(opened):
    """Names of the taps in the table, in its order."""
    return opened.page.locator("#taps tbody td button").all_inner_texts()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for name, bad, weights in (("good", None, None), ("bad", BAD, weights_of(7))):
        report = report_of(TAPS, bad, weights)
        (folder / f"{name}.html").write_text(page(report), encoding="utf-8")
    for name, weights in (
        ("many", weights_of(190, bad=False)),
        ("equal", WeightComparison(300)),
        ("unpaired", WeightComparison(unpaired="no plan says <b>which</b>")),
    ):
        report = report_of(3, weights=weights)
        (folder / f"{name}.html").write_text(page(report), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("name", "width", "scheme"),
    [("good", 390, "light"), ("good", 1280, "dark"), ("bad", 390, "dark"), ("bad", 1280, "light")],
)
def test_it_opens_quietly_at_both_widths_in_both_schemes(browser, files, width, scheme, name):
    opened = Opened(browser, files / f"{name}.html", width, scheme)
    opened.page.locator("#taps tbody button").nth(40).click()
    assert opened.page.locator("#depth svg").count() == 1
    assert opened.page.locator("#readings svg").count() >= 6
    opened.check_fits()
    opened.check_quiet()


def test_the_verdict_is_in_the_first_lines(browser, files):
    good, bad = (Opened(browser, files / f"{name}.html").page for name in ("good", "bad"))
    assert good.locator("#badge").inner_text() == "At parity"
    assert bad.locator("#badge").inner_text() == "Not at parity"
    assert "born at blocks.21.1.act (net/block_211/Relu)" in bad.locator("#summary").inner_text()
    # Text from the data is shown as text, not as markup.
    assert "Judge <b> (1.0)" in good.locator("#summary").inner_text()
    assert "</script>.tflite" in good.locator("h1").inner_text()
    assert "the graph in <i>the file</i>" in good.locator("#provenance").inner_text()
    # The first failing tap is open from the start.
    assert bad.locator("#tap-heading").inner_text() == "blocks.21.1.act"
    assert not good.locator("#tap").is_visible()


def test_sorting(browser, files):
    opened = Opened(browser, files / "bad.html")
    assert rows_of(opened)[:2] == ["blocks.0.0.act", "blocks.0.1.act"]
    header = opened.page.locator('th[data-key="accumulated"] button')
    header.click()
    assert rows_of(opened)[0] == "blocks.21.1.act"
    assert opened.page.locator('th[aria-sort="descending"]').count() == 1
    header.click()
    assert rows_of(opened)[-1] == "blocks.21.1.act"
    opened.page.locator('th[data-key="tap"] button').click()
    # Numbers in names are sorted as numbers.
    assert rows_of(opened).index("blocks.2.9.act") < rows_of(opened).index("blocks.10.0.act")


def test_filtering(browser, files):
    opened = Opened(browser, files / "bad.html")
    opened.page.get_by_label("Filter").fill("blocks.21.")
    assert len(rows_of(opened)) == 10
    assert opened.page.locator("#count").inner_text() == "10 of 300 taps"
    opened.page.get_by_label("Filter").fill("block_7/")
    assert rows_of(opened) == ["blocks.0.7.act"]
    opened.page.get_by_label("Filter").fill("")
    opened.page.get_by_label("only those that disagree").check()
    assert rows_of(opened) == ["blocks.21.1.act"]


@pytest.mark.parametrize("width", [390, 1280])
def test_weights(browser, files, width):
    opened = Opened(browser, files / "bad.html", width)
    section = opened.page.locator("#weights")
    assert section.locator("#weights-headline").inner_text() == (
        "293 of 300 keys are the source's to the last bit."
    )
    lines = section.locator("#weights-lines li").all_inner_texts()
    assert lines[0].startswith("blocks.0.6.conv.weight<b> is the source's, 6, and 2 more are")
    rows = section.locator("tbody tr")
    assert rows.count() == section.locator("tr.bad").count() == 7
    cells = rows.nth(4).locator("td").all_inner_texts() if width > 700 else []
    assert not cells or cells == [
        "blocks.0.4.conv.weight<b>", "the source's, 4", "net/block_4/kernel", "0.4",
        "[4, 0, 1, 2]", "0.5", "NaN",
    ]  # fmt: skip
    opened.check_fits()
    opened.check_quiet()


def test_weights_that_agree_or_were_not_compared(browser, files):
    many, equal, unpaired, none = (
        Opened(browser, files / f"{name}.html").page.locator("#weights")
        for name in ("many", "equal", "unpaired", "good")
    )
    assert many.locator("#weights-count").inner_text() == "The 190 keys that differ"
    assert not many.locator("table").is_visible()
    many.locator("summary").click()
    assert many.locator("tbody tr").count() == 190
    assert many.locator("tr.bad").count() == 0
    assert equal.locator("#weights-headline").inner_text() == "All 300 keys are the source's."
    assert not equal.locator("details").is_visible()
    text = unpaired.locator("#weights-headline").inner_text()
    assert text == "Cannot be compared: no plan says <b>which</b>."
    assert not none.is_visible()


def test_by_keyboard(browser, files):
    opened = Opened(browser, files / "good.html")
    opened.page.locator("#filter").focus()
    for _ in range(2):
        opened.page.keyboard.press("Tab")
    # After the box the focus moves to the headers, then to the rows.
    headers = opened.page.locator("th button").count()
    for _ in range(headers):
        opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#tap-heading").inner_text() == "blocks.0.0.act"
    assert opened.page.evaluate("document.activeElement.id") == "tap-heading"
    opened.page.keyboard.press("Tab")
    opened.page.keyboard.press("Enter")
    assert opened.page.locator("#tap-heading").inner_text() == "blocks.0.1.act"
    opened.page.keyboard.press("Escape")
    assert not opened.page.locator("#tap").is_visible()
    assert opened.page.evaluate("document.activeElement.dataset.tap") == "blocks.0.1.act"
    opened.check_quiet()


def test_a_link_to_a_tap(browser, files):
    opened = Opened(browser, files / "good.html", fragment="#blocks.3.4.act")
    assert opened.page.locator("#tap-heading").inner_text() == "blocks.3.4.act"
    assert "net/block_34/Relu" in opened.page.locator("#tap-names").inner_text()
    opened.check_quiet()


def test_on_paper(browser, files, tmp_path):
    opened = Opened(browser, files / "bad.html")
    opened.page.emulate_media(media="print")
    assert not opened.page.locator(".controls").is_visible()
    assert opened.page.locator("#depth svg").is_visible()
    opened.page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 50_000
    opened.check_quiet()
