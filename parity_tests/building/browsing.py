"""Pages in a headless browser."""

from __future__ import annotations

import shutil

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PIXEL = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw"

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


class Opened:
    """A page with its console errors and its requests."""

    def __init__(self, browser, path, width=1280, scheme="light", fragment=""):
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = context.new_page()
        self.complaints, self.requests = [], []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.url = path.as_uri()
        self.page.goto(self.url + fragment)

    def check_quiet(self):
        """Check for no console errors, and no requests but the file's."""
        assert self.complaints == []
        asked = [u for u in self.requests if not u.startswith("data:")]
        assert {u.partition("#")[0] for u in asked} == {self.url}

    def check_fits(self):
        """Check that nothing overflows horizontally."""
        root = "document.documentElement"
        assert self.page.evaluate(f"{root}.scrollWidth - {root}.clientWidth") == 0
