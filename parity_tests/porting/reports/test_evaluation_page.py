"""An evaluation's page, and its section in a comparison's, in a browser."""

from __future__ import annotations

import pytest

from parity_tests.building.browsing import PIXEL, Opened, needs_chromium
from parity_tests.building.comparisons import report_of
from parity_tests.building.evaluations import (
    HOSTILE,
    change_of,
    differing_image,
    evaluation_data,
    explanation_data,
    side_of,
)
from porting.reports.documents import LISTED_IMAGES, page

PAGES = {
    "same": evaluation_data(),
    "ties": evaluation_data([differing_image(3, PIXEL, near_tie=True)]),
    "differs": evaluation_data(
        [
            differing_image(n, PIXEL if n else None, called=HOSTILE)
            for n in range(LISTED_IMAGES + 5)
        ],
        failed=[f"{HOSTILE}.jpg", "b.jpg"], differs=True, explanation=explanation_data(),
    ),
    "quantised": evaluation_data([differing_image(3, PIXEL, quantised=True)]),
    "answers": evaluation_data([differing_image(3, PIXEL, near_tie=True), differing_image(5)]),
    "alone": evaluation_data(
        sides=(side_of("port", 70, 80),), agreement=None, stated_top1=None,
    ),
}  # fmt: skip

MINUS = "\N{MINUS SIGN}"

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    for name, data in PAGES.items():
        (folder / f"{name}.html").write_text(page(data), encoding="utf-8")
    both = page(report_of(12), PAGES["differs"])
    (folder / "both.html").write_text(both, encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("name", [*PAGES, "both"])
def test_it_opens_quietly_at_both_widths_in_both_schemes(browser, files, width, name):
    scheme = ("light", "dark")[([*PAGES, "both"].index(name) + width // 1000) % 2]
    result = Opened(browser, files / f"{name}.html", width, scheme)
    assert result.page.locator("#accuracies svg.interval circle").count() >= 2
    result.check_fits()
    result.check_quiet()


@pytest.mark.parametrize(
    ("name", "badge", "kind"),
    [
        ("same", "The port is the judge", "badge"),
        ("ties", "The port is the judge", "badge"),
        ("quantised", "The port is the judge", "badge"),
        ("answers", "Answers differ", "badge bad"),
        ("differs", "Accuracy differs", "badge bad"),
        ("alone", "Measured", "badge open"),
    ],
)
def test_the_verdict_is_in_the_first_lines(browser, files, name, badge, kind):
    result = Opened(browser, files / f"{name}.html").page
    assert result.locator("#badge").inner_text() == badge
    assert result.locator("#badge").get_attribute("class") == kind
    assert "of 80 answers differ." in result.locator("#summary").inner_text()
    assert not result.locator("#evaluation-verdict").is_visible()


@pytest.mark.parametrize(
    ("images", "differs", "badge", "kind"),
    [
        ([], False, "The port is the judge", "badge"),
        ([differing_image(3, near_tie=True)], False, "The port is the judge", "badge"),
        ([differing_image(3)], False, "Answers differ", "badge open"),
        ([differing_image(3)], True, "Accuracy differs", "badge bad"),
    ],
)
def test_of_an_earlier_version_which_does_not_say_whether_the_two_agree(
    browser, tmp_path, images, differs, badge, kind
):
    data = evaluation_data(images, differs=differs)
    del data["verdict"]["agrees"]
    (tmp_path / "p.html").write_text(page(data), encoding="utf-8")
    element = Opened(browser, tmp_path / "p.html").page.locator("#badge")
    assert element.inner_text() == badge
    assert element.get_attribute("class") == kind


def test_a_port_of_which_nobody_can_tell(browser, tmp_path):
    data = evaluation_data([differing_image(3)])
    data["verdict"]["agrees"] = None
    (tmp_path / "p.html").write_text(page(data), encoding="utf-8")
    badge = Opened(browser, tmp_path / "p.html").page.locator("#badge")
    assert badge.inner_text() == "Answers differ"
    assert badge.get_attribute("class") == "badge open"


def test_accuracies_with_intervals(browser, files):
    result = Opened(browser, files / "ties.html").page
    top1 = result.locator("#accuracies figure").nth(0)
    assert top1.locator(".value").all_inner_texts() == [
        "87.50 % (78.50 to 93.07)", "86.25 % (77.03 to 92.15)", "49.80 %",
    ]  # fmt: skip
    port = top1.locator("svg").nth(1)
    (left, right), dot = (
        [float(port.locator("line.range.port").nth(0).get_attribute(x)[:-1]) for x in ("x1", "x2")],
        float(port.locator("circle.port").get_attribute("cx")[:-1]),
    )
    # The dot divides the bar as the accuracy divides its interval.
    assert (dot - left) / (right - left) == pytest.approx((86.25 - 77.03) / (92.15 - 77.03), 0.01)
    facts = result.locator("#evaluation-facts b").all_inner_texts()
    assert facts == ["79 of 80", "20 of 80", f"{MINUS}1.25", "0.25"]
    assert result.locator("#accuracies figure").nth(1).locator("svg").count() == 3


def test_images_that_differ_are_shown(browser, files):
    result = Opened(browser, files / "ties.html").page
    assert result.locator("#differing-heading").inner_text() == "1 image on which the two differ"
    card = result.locator("#images li")
    assert card.locator("img").get_attribute("src") == PIXEL
    assert card.locator("p").all_inner_texts() == [
        "tench", "judge: tench\nright, by 1.25",
        "port: sleeping bag\nwrong, by 0.0824", "a near tie", "val/003.jpg",
    ]  # fmt: skip
    assert not result.locator("#failed").is_visible()
    assert not result.locator("#explanation").is_visible()
    assert not result.locator("#by-quantisation").is_visible()
    quantised = Opened(browser, files / "quantised.html").page
    assert quantised.locator("#images li p").all_inner_texts()[3] == "by quantisation"
    assert quantised.locator("#by-quantisation").is_visible()
    same = Opened(browser, files / "same.html").page
    assert not same.locator("#differing").is_visible()


def test_a_page_holds_the_first_images_and_counts_the_others(browser, files):
    text = (files / "differs.html").read_text(encoding="utf-8")
    assert text.count(PIXEL) == LISTED_IMAGES - 1
    result = Opened(browser, files / "differs.html").page
    assert result.locator("#images li").count() == LISTED_IMAGES
    assert result.locator("#images div.picture").inner_text() == "no picture"
    assert result.locator("#differing-heading").inner_text() == "65 images on which the two differ"
    more = "The first 60 are shown; there are 5 more."
    assert result.locator("#more-images").inner_text() == more


def test_what_came_in_as_text_stays_text(browser, files):
    result = Opened(browser, files / "differs.html")
    assert result.page.locator("#images .called").nth(0).inner_text() == HOSTILE
    assert result.page.locator("#failures dt").nth(0).inner_text() == f"{HOSTILE}.jpg"
    assert result.page.locator("#changes tbody tr").nth(2).locator("td").nth(1).inner_text() == (
        HOSTILE
    )
    assert result.page.locator("img[src=x]").count() == 0
    result.check_quiet()


def test_the_explanation(browser, files):
    result = Opened(browser, files / "differs.html").page
    rows = result.locator("#changes tbody tr")
    assert [rows.nth(n).locator("td").nth(0).inner_text() for n in range(4)] == [
        "preprocessing", "weights", "channel order", "together",
    ]  # fmt: skip
    assert rows.nth(0).locator("td").all_inner_texts() == [
        "preprocessing", "pillow for slim (helps)",
        f"{MINUS}7.90 ({MINUS}12.90 to {MINUS}3.90)", "72.10", "0.3", "1, 6",
    ]  # fmt: skip
    assert rows.nth(0).get_attribute("class") == "helps"
    assert rows.nth(1).get_attribute("class") == ""
    # All on one axis: larger losses further left, with a mark at 0 in each.
    dots = [float(rows.nth(n).locator("circle").get_attribute("cx")[:-1]) for n in range(3)]
    assert dots[2] < dots[0] < dots[1]
    assert result.locator("#changes .zero").count() == 4
    assert result.locator("#unchanged").inner_text() == "Not changed: background (there is none)."


def test_no_change_at_all_is_on_the_axis_of_changes(browser, tmp_path):
    far = {**explanation_data(), "changes": [change_of("weights", "raw", -22.0)], "combined": None}
    (tmp_path / "p.html").write_text(page(evaluation_data(explanation=far)), encoding="utf-8")
    ticks = Opened(browser, tmp_path / "p.html").page.locator("#changes tfoot text")
    assert ticks.all_text_contents()[-1] == "0"


def test_what_the_figures_rest_on(browser, files):
    told = Opened(browser, files / "same.html").page.locator("#rests-on")
    words = told.inner_text()
    texts = (
        "photos: 80 images, folder of files named by synset", "sorted", "1 file is no image",
        "d" * 64, "0" * 64, "1" * 64, "LiteRT 2", "net, net.pth", "as its authors made them",
        "RGB 0..255, minus (127.5, 127.5, 127.5)", "torch 2", "16 images, on cpu",
    )  # fmt: skip
    assert [text for text in texts if text not in words] == []


def test_a_pipeline_that_is_not_the_authors(browser, tmp_path):
    sides = (side_of("judge", 7, 80, "decode pillow"), side_of("port", 7, 80))
    (tmp_path / "p.html").write_text(page(evaluation_data(sides=sides)), encoding="utf-8")
    words = Opened(browser, tmp_path / "p.html").page.locator("#rests-on").inner_text()
    assert "Pixels of the judge\ndecode pillow\n" in words
    assert "as its authors made them" not in words


def test_a_section_in_a_comparison(browser, files):
    result = Opened(browser, files / "both.html")
    assert result.page.locator("#badge").inner_text() == "At parity"
    assert result.page.locator("#evaluation-badge").inner_text() == "Accuracy differs"
    assert result.page.locator("#evaluation-summary").inner_text() == "65 of 80 answers differ."
    assert "87.50 % / 6.25 %" in result.page.locator("#facts").inner_text()
    assert result.page.locator("#images li").count() == LISTED_IMAGES
    assert result.page.locator("#taps tbody tr").count() == 12
    result.check_quiet()


def test_on_paper(browser, files, tmp_path):
    result = Opened(browser, files / "ties.html")
    result.page.emulate_media(media="print")
    assert result.page.locator("#images img").is_visible()
    result.page.pdf(path=tmp_path / "report.pdf")
    assert (tmp_path / "report.pdf").stat().st_size > 10_000
    result.check_quiet()
