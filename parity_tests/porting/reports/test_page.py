"""The HTML report in a browser: quiet, complete, usable by mouse, keyboard and on paper."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from porting.parity.compare import Comparer
from porting.reports.comparison import figures_json
from porting.reports.html import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TAPS = 300
BAD = 211
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]


def report_of(taps, bad=None):
    """A report's data as `porting diff --json` writes it, with taps of many shapes."""
    generator = np.random.default_rng(0)
    names = {f"blocks.{i // 10}.{i % 10}.act": f"net/block_{i}/Relu" for i in range(taps)}
    comparer = Comparer(names, ("accumulated", "isolated"))
    judge, port = {}, {}
    for number, tap in enumerate(names):
        shape = (1, 1 + number % 40, *((4 + number % 30,) * 2 if number % 7 else ()))
        judge[tap] = generator.standard_normal(shape).astype(np.float32)
        port[tap] = judge[tap] + 1e-6 * generator.standard_normal(shape).astype(np.float32)
        if number == bad:
            port[tap] += np.float32(0.5)
    for reading in ("accumulated", "isolated"):
        comparer.add(reading, judge, port, dict.fromkeys(names, np.array([4e-6])))
    comparison = comparer.finish("Judge <b>", "1.0")
    return {
        **figures_json(comparison),
        "source": {"file": "</script>.tflite", "format": "tflite", "sha256": "0" * 64,
                   "weight_set": "as stored"},
        "subject": {"model": "net", "file": "net.pth", "sha256": "1" * 64, "notes": ["a note"]},
        "inputs": {
            "count": 1, "what": "1 random image",
            "convention": {"size": 224, "mean": [1, 2, 3], "std": [4, 5, 6]},
            "skipped": [{"file": "broken.png", "reason": "cut short"}],
            "thumbnails": [PIXEL],
        },
        "quantised": None,
        "versions": {"python": "3"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    for name, bad in (("good", None), ("bad", BAD)):
        (folder / f"{name}.html").write_text(page(report_of(TAPS, bad)), encoding="utf-8")
    return folder


class Opened:
    """A page with what it complained of and asked for."""

    def __init__(self, browser, path, width=1280, scheme="light", fragment=""):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url + fragment)

    def rows(self):
        """Names of the taps in the table, in its order."""
        return self.page.locator("#taps tbody td button").all_inner_texts()

    def check_quiet(self):
        """No complaint, and nothing asked for but the file itself."""
        assert self.complaints == []
        asked = [u for u in self.requests if not u.startswith("data:")]
        assert {u.partition("#")[0] for u in asked} == {self.url}


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["good", "bad"])
def test_it_opens_quietly_at_both_widths_in_both_schemes(browser, files, width, scheme, name):
    opened = Opened(browser, files / f"{name}.html", width, scheme)
    opened.page.locator("#taps tbody button").nth(40).click()
    assert opened.page.locator("#depth svg").count() == 1
    assert opened.page.locator("#readings svg").count() >= 6
    overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert opened.page.evaluate(overflow) == 0
    opened.check_quiet()


def test_the_verdict_is_in_the_first_lines(browser, files):
    good, bad = (Opened(browser, files / f"{name}.html").page for name in ("good", "bad"))
    assert good.locator("#badge").inner_text() == "At parity"
    assert bad.locator("#badge").inner_text() == "Not at parity"
    assert "born at blocks.21.1.act (net/block_211/Relu)" in bad.locator("#summary").inner_text()
    # What came in as text stays text.
    assert "Judge <b> (1.0)" in good.locator("#summary").inner_text()
    assert "</script>.tflite" in good.locator("h1").inner_text()
    # The culprit is open without being asked for.
    assert bad.locator("#tap-heading").inner_text() == "blocks.21.1.act"
    assert not good.locator("#tap").is_visible()


def test_sorting(browser, files):
    opened = Opened(browser, files / "bad.html")
    assert opened.rows()[:2] == ["blocks.0.0.act", "blocks.0.1.act"]
    header = opened.page.locator('th[data-key="accumulated"] button')
    header.click()
    assert opened.rows()[0] == "blocks.21.1.act"
    assert opened.page.locator('th[aria-sort="descending"]').count() == 1
    header.click()
    assert opened.rows()[-1] == "blocks.21.1.act"
    opened.page.locator('th[data-key="tap"] button').click()
    # Numbers in names count as numbers.
    assert opened.rows().index("blocks.2.9.act") < opened.rows().index("blocks.10.0.act")


def test_filtering(browser, files):
    opened = Opened(browser, files / "bad.html")
    opened.page.get_by_label("Filter").fill("blocks.21.")
    assert len(opened.rows()) == 10
    assert opened.page.locator("#count").inner_text() == "10 of 300 taps"
    opened.page.get_by_label("Filter").fill("block_7/")
    assert opened.rows() == ["blocks.0.7.act"]
    opened.page.get_by_label("Filter").fill("")
    opened.page.get_by_label("only those that disagree").check()
    assert opened.rows() == ["blocks.21.1.act"]


def test_by_keyboard(browser, files):
    opened = Opened(browser, files / "good.html")
    opened.page.locator("#filter").focus()
    for _ in range(2):
        opened.page.keyboard.press("Tab")
    # Past the box come the headers, then the rows.
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
