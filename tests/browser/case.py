"""The page of a real collector in a real browser, which must have nothing to complain of."""

from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from tests.integration.harness import PATIENCE, Collector, IntegrationTestCase
from tests.programs import CHROMIUM


class BrowserTestCase(IntegrationTestCase):
    """One browser for all tests of a class, each page in a profile of its own."""

    playwright: Playwright
    browser: Browser

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.playwright = sync_playwright().start()
        cls.addClassCleanup(cls.playwright.stop)
        cls.browser = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        cls.addClassCleanup(cls.browser.close)

    def page(self, collector: Collector, path: str = "/", allowed: tuple[str, ...] = (), **context: Any) -> Page:
        """A page that is open. What it complains of at the end, or asks of others, fails the test.

        `allowed` are parts of complaints that the test expects.
        """
        opened = self.browser.new_context(**context)
        self.addCleanup(opened.close)
        opened.set_default_timeout(PATIENCE * 1000)
        page = opened.new_page()
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda problem: complaints.append(str(problem)))
        own = urlsplit(collector.url).netloc
        page.on("request", lambda asked: complaints.append(asked.url) if urlsplit(asked.url).netloc != own else None)

        def check() -> None:
            self.assertEqual([one for one in complaints if not any(part in one for part in allowed)], [])

        self.addCleanup(check)
        page.goto(collector.url + path)
        return page
