"""The view of benchmarks in a browser."""

import re

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has no types
from playwright.sync_api import expect

from tests.browser.case import BrowserTestCase
from tests.integration.harness import Collector, eventually

SOON = 15_000  # ms


class BenchmarksTests(BrowserTestCase):
    def fleet(self) -> Collector:
        """A collector with two agents that are there."""
        collector = self.collector("--no-self").ready()
        for host in ("web1", "web2"):
            self.agent(collector, host, "--benchmark-folder", str(self.folder / "benchmarks"))
            eventually(lambda host=host: collector.state(host) == "up", f"{host} to be known")  # type: ignore[misc]  # mypy infers no lambda with defaults
        return collector

    def test_run(self) -> None:
        """A benchmark is begun, goes on before the reader's eyes, and stands beside the metrics of its time."""
        collector = self.fleet()
        page = self.page(collector, "/#/benchmarks")
        expect(page.locator("#benchmarks .none")).to_be_visible(timeout=SOON)
        page.locator("#benchmarks select[name=kind]").select_option("cpu")
        page.get_by_label("On hosts").fill("web*")
        page.get_by_label("Seconds").fill("3")
        page.get_by_role("button", name="Begin").click()
        rows = page.locator("#benchmarks .one .scroll tbody tr")
        expect(rows).to_have_count(2, timeout=SOON)
        expect(rows.first.locator(".mark")).to_have_text("running", timeout=SOON)
        self.assertGreaterEqual(rows.first.locator("progress").evaluate("bar => bar.value"), 0)
        expect(rows.first.locator(".mark")).to_have_text("done", timeout=SOON)
        expect(page.locator("#benchmarks .one .facts")).to_contain_text("All together", timeout=SOON)
        expect(page.locator("#benchmarks figure canvas").first).to_be_visible(timeout=SOON)
        found = Axe().run(page)
        self.assertEqual(found.violations_count, 0, found.generate_report())
        (id,) = [run["id"] for run in collector.get("/api/v1/benchmarks")["benchmarks"]]
        expect(page).to_have_url(re.compile(f"#/benchmarks/{id}"))
        page.get_by_role("link", name="web1").click()
        expect(page.locator("#host ol")).to_contain_text(f"benchmark cpu {id}", timeout=SOON)

    def test_compared_and_cancelled(self) -> None:
        """Two of a kind are compared; one that goes on is cancelled; what cannot be begun is said."""
        collector = self.fleet()
        page = self.page(collector, "/#/benchmarks", allowed=("404",))
        page.locator("#benchmarks select[name=kind]").select_option("cpu")
        for seconds in ("1", "600"):
            page.get_by_label("On hosts").fill("web1")
            page.get_by_label("Seconds").fill(seconds)
            page.get_by_role("button", name="Begin").click()
            mark = page.locator("#benchmarks .one .title .mark")
            expect(mark).to_have_text("done" if seconds == "1" else "running", timeout=SOON)
        first = collector.get("/api/v1/benchmarks")["benchmarks"][-1]["id"]
        page.locator("#benchmarks select[name=compare]").select_option(first)
        expect(page.locator("#benchmarks .one thead")).to_contain_text("Ratio")
        page.get_by_role("button", name="Cancel").click()
        expect(mark).to_have_text("cancelled", timeout=SOON)
        page.get_by_label("On hosts").fill("nobody")
        page.get_by_role("button", name="Begin").click()
        expect(page.locator("#benchmarks .problem")).to_contain_text("no host with an agent")

    def test_pairs(self) -> None:
        """A benchmark between hosts has a table of its pairs; one that waits says so."""
        collector = self.fleet()
        page = self.page(collector, "/#/benchmarks")
        page.locator("#benchmarks select[name=kind]").select_option("echo")
        page.locator("#benchmarks select[name=pairs]").select_option("all")
        page.get_by_label("On hosts").fill("web*")
        page.get_by_label("Seconds").fill("5")
        page.get_by_role("button", name="Begin").click()
        mark = page.locator("#benchmarks .one .title .mark")
        expect(mark).to_have_text("running", timeout=SOON)
        first = page.url
        page.get_by_label("wait for busy hosts").check()
        page.locator("#benchmarks select[name=kind]").select_option("cpu")
        expect(page.locator("#benchmarks select[name=pairs]")).to_be_hidden()
        page.get_by_label("Seconds").fill("1")
        page.get_by_role("button", name="Begin").click()
        expect(mark).to_have_text("queued", timeout=SOON)
        expect(page.locator("#benchmarks .one .facts")).to_contain_text("when its hosts are free")
        expect(mark).to_have_text("done", timeout=2 * SOON)
        page.goto(first)
        pairs = page.locator("#benchmarks .pairs")
        expect(pairs.locator("thead th")).to_have_text(["From / to", "web1", "web2"], timeout=SOON)
        expect(pairs.locator("tbody tr").first.locator("td")).to_have_text(
            [re.compile("^$"), re.compile(r"^[\d.]+ ms$")]
        )
        expect(page.locator("#benchmarks .one .scroll thead").first).to_contain_text("Wrong")
        found = Axe().run(page)
        self.assertEqual(found.violations_count, 0, found.generate_report())
