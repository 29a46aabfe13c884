"""The view of rightsizing in a browser."""

import time

import orjson
from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]  # has no types
from playwright.sync_api import expect

from tests.browser.case import BrowserTestCase
from tests.integration.harness import Collector, eventually

SOON = 15_000  # ms
GIB = 1 << 30


class RightsizingTests(BrowserTestCase):
    def fleet(self) -> Collector:
        """A collector with an hour of an idle host, and of one that is too small."""
        prices = self.folder / "prices.toml"
        prices.write_text('core = 10\ngib = 1\ncurrency = "EUR"')
        collector = self.collector("--no-self", "--prices", str(prices)).ready()
        now = int(time.time())
        for host, cpu in (("idle", 0.02), ("busy", 0.95)):
            values = {
                "perfmon.cpu.utilization": cpu,
                "perfmon.memory.utilization": 0.5,
                "system.cpu.logical.count": 4,
                "system.memory.limit": 8 * GIB,
            }
            samples = [
                {"metric": metric, "value": value, "time": at}
                for at in range(now - 3_600, now, 15)
                for metric, value in values.items()
            ]
            body = orjson.dumps({"host": host, "samples": samples})
            status, answer = collector.ask("/api/v1/samples", body, "application/json")
            self.assertEqual((status, answer["refused"]), (200, []))
        eventually(lambda: len(collector.get("/api/v1/hosts")["hosts"]) == 2, "the hosts")
        return collector

    def test_verdicts(self) -> None:
        """The verdicts with what they save; a click shows the evidence, and there a note is kept, and one dismissed."""
        page = self.page(self.fleet(), "/#/rightsizing?window=1h")
        rows = page.locator("#rightsizing .hosts tbody tr")
        expect(rows).to_have_count(2, timeout=SOON)
        expect(rows.nth(0)).to_contain_text("4 → 6")
        expect(rows.nth(1)).to_contain_text("+48.00 EUR")
        expect(page.locator("#rightsizing .summary")).to_contain_text("1 grow, 1 reclaim")
        page.get_by_role("link", name="idle").click()
        rules = page.locator("#rightsizing .rules tbody")
        expect(rules).to_contain_text("idle-cpu", timeout=SOON)
        expect(rules).to_contain_text("2.0 %")
        expect(page.locator("#rightsizing .one figure canvas").first).to_be_visible(timeout=SOON)
        found = Axe().run(page)
        self.assertEqual(found.violations_count, 0, found.generate_report())
        page.get_by_label("Note, such as its owner").fill("of the shop")
        page.get_by_role("button", name="Keep").click()
        expect(rows.nth(1)).to_contain_text("(of the shop)", timeout=SOON)
        page.get_by_label("Dismiss for, days").fill("30")
        page.get_by_role("button", name="Keep").click()
        expect(rows).to_have_count(1, timeout=SOON)
        expect(page.locator("#rightsizing .summary")).not_to_contain_text("reclaim")
        page.get_by_role("button", name="Recall").click()
        expect(rows).to_have_count(2, timeout=SOON)

    def test_asked(self) -> None:
        """What is asked for stands in the address; what cannot be judged is shown on demand, with the reason."""
        page = self.page(self.fleet(), "/#/rightsizing")
        none = page.locator("#rightsizing .none")
        expect(none).to_be_visible(timeout=SOON)
        page.get_by_label("all", exact=True).check()
        rows = page.locator("#rightsizing .hosts tbody tr")
        expect(rows).to_have_count(2, timeout=SOON)
        expect(rows.first).to_contain_text("insufficient-data")
        page.locator("#rightsizing select[name=window]").select_option("1h")
        expect(rows.first).to_contain_text("cpu-high", timeout=SOON)
        self.assertIn("window=1h", page.url)
        self.assertIn("all=1", page.url)
        page.get_by_label("Idle below, %").fill("1")
        page.get_by_label("Idle below, %").press("Enter")
        expect(page.locator("#rightsizing .summary")).not_to_contain_text("reclaim", timeout=SOON)
