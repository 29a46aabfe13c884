"""The page and its view of the fleet, in a browser."""

import signal
import time
from urllib.parse import urlsplit

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
        event = page.locator("#recent li", has_text="departed")
        expect(event).to_contain_text("web1 (connection ")

    def test_filter_and_order(self) -> None:
        """By keyboard alone: the filter leaves what matches, and a heading sorts, first so and then the other way."""
        collector = self.fleet()
        self.send(collector, "web1", "web2", "db1")
        page = self.page(collector)
        names = page.locator("#hosts tbody td.name a")
        expect(names).to_have_text(["db1", "web1", "web2"], timeout=SOON)
        page.locator("#search").focus()
        page.keyboard.type("WEB")
        expect(names).to_have_text(["web1", "web2"])
        expect(page.locator("#shown")).to_have_text("2 of 3")
        for key in ("Tab", "Tab", "Enter"):
            page.keyboard.press(key)
        heading = page.locator('th[data-column="name"]')
        expect(heading).to_have_attribute("aria-sort", "ascending")
        page.keyboard.press("Enter")
        expect(heading).to_have_attribute("aria-sort", "descending")
        expect(names).to_have_text(["web2", "web1"])

    def test_state_and_label(self) -> None:
        """Hosts are chosen by their state and by a label, each with a click; a link to that shows the same again."""
        collector = self.fleet()
        agent = self.agent(collector, "db1", "--label", "role=db")
        self.agent(collector, "web1", "--label", "role=web")
        self.agent(collector, "web2", "--label", "role=web")
        for host in ("db1", "web1", "web2"):
            self.known(collector, host)
        page = self.page(collector)
        names = page.locator("#hosts tbody td.name a")
        page.get_by_role("button", name="role=web").first.click()
        expect(names).to_have_text(["web1", "web2"])
        agent.signal(signal.SIGKILL)
        page.locator("#search").fill("")
        page.get_by_role("button", name="1 departed").click()
        expect(names).to_have_text(["db1"])
        again = self.page(collector, f"/#{urlsplit(page.url).fragment}")
        expect(again.locator("#hosts tbody td.name a")).to_have_text(["db1"])
        expect(again.get_by_role("button", name="1 departed")).to_have_attribute("aria-pressed", "true")

    def test_thousands(self) -> None:
        """Of 5,000 hosts only those in sight have rows; the filter finds the others, and so does scrolling."""
        collector = self.fleet()
        now = int(time.time())
        hosts = [f"h{number:04}" for number in range(5_000)]
        collector.send("".join(f"hosts.{host}.perfmon.cpu.utilization 0.25 {now}\n" for host in hosts))
        eventually(lambda: collector.get("/status")["hosts"].get("up") == len(hosts), "all hosts to be known")
        page = self.page(collector)
        names = page.locator("#hosts tbody td.name a")
        expect(names.first).to_have_text("h0000")
        expect(page.locator("#hosts tbody td.cpu .number").first).to_have_text("25 %")
        self.assertLess(names.count(), 60)
        page.keyboard.press("End")
        expect(names.last).to_have_text("h4999")
        self.assertLess(names.count(), 60)
        page.locator("#search").fill("h321")
        expect(names).to_have_text([f"h321{digit}" for digit in range(10)])

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
        """axe-core finds nothing against any view, nor the plain table, by day and by night, wide and narrow."""
        collector = self.fleet()
        agent = self.agent(collector, "gone")
        self.agent(collector, "web1", "--label", "role=db")
        self.send(collector, "mail1")
        for host in ("gone", "web1"):
            self.known(collector, host)
        agent.signal(signal.SIGKILL)
        eventually(lambda: collector.state("gone") == "departed", "gone to depart")
        for path, shows in (
            ("/", "tbody tr.departed"),
            ("/plain", "tbody tr"),
            ("/#/hosts/web1?range=15m&metric=system.uptime", "figure canvas"),
            ("/#/explore?range=15m", "figure canvas"),
            ("/#/events", "#events li"),
        ):
            for scheme, width in (("light", 1400), ("dark", 390)):
                page = self.page(collector, path, color_scheme=scheme, viewport={"width": width, "height": 800})
                expect(page.locator(shows).first).to_be_visible(timeout=SOON)
                found = Axe().run(page)
                self.assertEqual(found.violations_count, 0, f"{path} {scheme}: {found.generate_report()}")

    def test_narrow(self) -> None:
        """On a phone no view is wider than the screen."""
        collector = self.fleet()
        name = "a-host-with-quite-a-long-name.example.com"
        self.agent(collector, name, "--label", "role=database")
        self.known(collector, name)
        for path, shows in (
            ("/", "#hosts tbody tr .mark"),
            (f"/#/hosts/{name}?range=15m", "figure canvas"),
            (f"/#/explore?range=15m&host={name}", "figure canvas"),
            ("/#/events", "#events li"),
        ):
            page = self.page(collector, path, viewport={"width": 360, "height": 740})
            expect(page.locator(shows).first).to_be_visible(timeout=SOON)
            self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), 360, path)
