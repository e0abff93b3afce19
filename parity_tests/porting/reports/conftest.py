"""A browser for the pages."""

from __future__ import annotations

import pytest

from parity_tests.building.browsing import CHROMIUM


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        result = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield result
        result.close()
