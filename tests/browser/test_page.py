"""The page in a browser."""

import signal
import time

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has no types
from playwright.sync_api import expect

from tests.browser.case import BrowserTestCase
from tests.integration.harness import Collector, eventually

SOON = 10_000  # ms; the page asks every two seconds


class PageTests(BrowserTestCase):
    def fleet(self, *options: str) -> Collector:
        """A collector without hosts."""
        return self.collector("--no-self", "--heartbeat-timeout", "3s", *options).ready()

    def send(self, collector: Collector, *hosts: str) -> None:
        """A Graphite line for each host, which is known then."""
        now = int(time.time())
        collector.send("".join(f"{host}.queue 1 {now}\n" for host in hosts))
        for host in hosts:
            self.known(collector, host)

    def known(self, collector: Collector, host: str) -> None:
        eventually(lambda: collector.state(host) == "up", f"{host} to be known")

    def test_live(self) -> None:
        """A host appears, and turns departed, before the reader's eyes; both are among the events."""
        collector = self.fleet()
        page = self.page(collector)
        expect(page.locator("#none")).to_contain_text("No host yet")
        agent = self.agent(collector, "web1", "--label", "role=db")
        row = page.locator("#hosts tbody tr", has_text="web1")
        expect(row.locator(".mark")).to_have_text("up", timeout=SOON)
        expect(row).to_contain_text("role=db")
        expect(row.locator("td.cpu")).to_contain_text("%", timeout=SOON)
        agent.signal(signal.SIGKILL)
        expect(row.locator(".mark")).to_have_text("departed", timeout=SOON)
        expect(page).to_have_title("(1 departed) perfmon")
        event = page.locator("#events li", has_text="departed")
        expect(event).to_contain_text("web1 (connection ")

    def test_filter_and_order(self) -> None:
        """By keyboard alone: the filter leaves what matches, and a heading sorts, first so and then the other way."""
        collector = self.fleet()
        self.send(collector, "web1", "web2", "db1")
        page = self.page(collector)
        names = page.locator("#hosts tbody td.name strong")
        expect(names).to_have_text(["db1", "web1", "web2"], timeout=SOON)
        page.locator("#search").focus()
        page.keyboard.type("WEB")
        expect(names).to_have_text(["web1", "web2"])
        expect(page.locator("#shown")).to_have_text("2 of 3")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        heading = page.locator('th[data-column="name"]')
        expect(heading).to_have_attribute("aria-sort", "ascending")
        page.keyboard.press("Enter")
        expect(heading).to_have_attribute("aria-sort", "descending")
        expect(names).to_have_text(["web2", "web1"])

    def test_store_away(self) -> None:
        """What is wrong with the store is told, and that it is over; the page goes on by itself."""
        collector = self.fleet()
        self.agent(collector, "web1")
        page = self.page(collector, allowed=("503",))
        expect(page.locator("#store")).to_have_text("ok", timeout=SOON)
        self.store(collector)("CONFIG", "SET", "maxmemory", "1")
        banner = page.locator("#banner")
        expect(banner).to_contain_text("it has no memory left", timeout=SOON)
        self.store(collector)("CONFIG", "SET", "maxmemory", "0")
        expect(banner).to_be_hidden(timeout=SOON)

    def test_token(self) -> None:
        """Where a token is needed the page asks for it, says that it is wrong, and goes on with the right one."""
        token = self.folder / "token"
        token.write_text("a token that nobody guesses")
        token.chmod(0o600)
        collector = self.collector("--no-self", "--token-file", str(token))
        page = self.page(collector, allowed=("401",))
        field = page.get_by_label("The collector's token")
        field.fill("wrong")
        field.press("Enter")
        expect(page.locator("#sign-in-why")).to_contain_text("does not know this token", timeout=SOON)
        field.fill(token.read_text())
        field.press("Enter")
        expect(page.locator("#none")).to_contain_text("No host yet", timeout=SOON)

    def test_without_scripts(self) -> None:
        """Without JavaScript the page leads to a table that lists the hosts."""
        collector = self.fleet()
        self.send(collector, "web1")
        page = self.page(collector, java_script_enabled=False)
        page.get_by_role("link", name="a plain table").click()
        expect(page.locator("tbody tr")).to_have_count(1)
        expect(page.locator("tbody tr")).to_contain_text("web1")

    def test_accessible(self) -> None:
        """axe-core finds nothing against the page and the plain table, by day and by night, wide and narrow."""
        collector = self.fleet()
        agent = self.agent(collector, "gone")
        self.agent(collector, "web1", "--label", "role=db")
        self.send(collector, "mail1")
        for host in ("gone", "web1"):
            self.known(collector, host)
        agent.signal(signal.SIGKILL)
        for path in ("/", "/plain"):
            for scheme, width in (("light", 1280), ("dark", 390)):
                page = self.page(collector, path, color_scheme=scheme, viewport={"width": width, "height": 800})
                expect(page.locator("tbody tr", has_text="gone").locator(".mark")).to_have_text(
                    "departed", timeout=SOON
                )
                found = Axe().run(page)
                self.assertEqual(found.violations_count, 0, found.generate_report())

    def test_narrow(self) -> None:
        """On a phone nothing is wider than the screen."""
        collector = self.fleet()
        self.agent(collector, "a-host-with-quite-a-long-name.example.com", "--label", "role=database")
        page = self.page(collector, viewport={"width": 360, "height": 740})
        expect(page.locator("#hosts tbody tr .mark")).to_have_text("up", timeout=SOON)
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360)
