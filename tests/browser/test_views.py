"""The views of one host, of metrics across hosts, and of events, in a browser."""

import re
import signal
import time
from typing import Any

import orjson
from playwright.sync_api import Page, expect

from tests.browser.case import BrowserTestCase
from tests.integration.harness import Collector, eventually

SOON = 10_000  # ms
CPU = "perfmon.cpu.utilization"

# What a chart shows: its times, and for each line its name and values.
DRAWN = "element => element.chart.drawn"

# The times of the first chart.
FIRST = "document.querySelector('figure').chart.drawn.times"

# A line that was joined over missing steps, these in words.
JOINED = "async line => (await import('./chart.js')).joined(line).map(one => one === undefined ? 'joined' : one)"


class ViewTestCase(BrowserTestCase):
    def fleet(self, *options: str) -> Collector:
        """A collector without hosts."""
        return self.collector("--no-self", "--heartbeat-timeout", "3s", *options).ready()

    def history(self, collector: Collector, host: str, times: range) -> None:
        """Stores a sample of `CPU` at each time; a share that is another one each time."""
        lines = [f"hosts.{host}.{CPU} {(time % 997) / 1000} {time}\n" for time in times]
        collector.send("".join(lines))
        asked = {"from": str(times[0]), "until": str(times[-1] + 1)}
        eventually(lambda: len(collector.points(host, CPU, **asked)) == len(times), "all to be stored")

    def drawn(self, page: Page, title: str) -> Any:
        """What the chart of this title shows, once it shows anything."""
        chart = page.locator("figure").filter(has=page.locator("figcaption span", has_text=re.compile(f"^{title}$")))
        expect(chart.locator("canvas")).to_be_visible(timeout=SOON)
        return chart.evaluate(DRAWN)

    def told(self, collector: Collector, times: list[float], host: str, metric: str, agg: str = "avg") -> Any:
        """What the API says of the same steps: the series of all hosts that match, by name."""
        step = times[1] - times[0]
        given = {"from": str(times[0]), "until": str(times[-1] + step), "step": str(step), "agg": agg}
        series = collector.get("/api/v1/query", host=host, metric=metric, **given)["series"]
        for one in series:
            self.assertEqual(one["times"], times)
        return {one["host"]: one["values"] for one in series}


class HostTests(ViewTestCase):
    def test_values(self) -> None:
        """Charts draw the values that the API returns, with the extremes of each step, and gaps as gaps."""
        collector = self.fleet()
        end = int(time.time()) // 600 * 600
        self.history(collector, "web1", range(end - 7_200, end - 3_600, 10))
        self.history(collector, "web1", range(end - 2_400, end, 10))
        page = self.page(collector, f"/#/hosts/web1?from={end - 14_400}&until={end}")
        drawn = self.drawn(page, "CPU")
        (line,) = drawn["lines"]
        self.assertEqual(drawn["times"][1] - drawn["times"][0], 60)
        for field, agg in (("values", "avg"), ("low", "min"), ("high", "max")):
            expected = self.told(collector, drawn["times"], "web1", CPU, agg)
            if line[field] is not None:  # at the interval of the samples there are no extremes
                self.assertEqual(line[field], expected["web1"], field)
        there = [value is not None for value in line["values"]]
        self.assertEqual(there, [False] * 120 + [True] * 60 + [False] * 20 + [True] * 40)

    def test_gaps(self) -> None:
        """A line has a gap where samples are missing, and none where they only come a step late."""
        page = self.page(self.fleet(), "/#/events")
        expect(page.locator("#events .none")).to_be_visible(timeout=SOON)
        lines = (
            ([1, None, 2, 3, 4], [1, "joined", 2, 3, 4]),
            ([1, None, None, 2, 3, 4], [1, None, None, 2, 3, 4]),
            ([1, None, None, 2, None, None, 3], [1, "joined", "joined", 2, "joined", "joined", 3]),
            ([None, 1, None], [None, 1, None]),
            ([None, None], [None, None]),
        )
        for values, line in lines:
            self.assertEqual(page.evaluate(JOINED, values), line)

    def test_zoom(self) -> None:
        """Dragging over a chart shows that time in finer steps, which are asked for; the way back leads back."""
        collector = self.fleet()
        end = int(time.time()) // 600 * 600
        self.history(collector, "web1", range(end - 144_000, end, 60))
        page = self.page(collector, f"/#/hosts/web1?from={end - 604_800}&until={end}")
        before = self.drawn(page, "CPU")
        self.assertEqual(before["times"][1] - before["times"][0], 3_600)
        over = page.locator("figure .u-over").first
        box = over.bounding_box()
        assert box is not None
        y = box["y"] + box["height"] / 2
        page.mouse.move(box["x"] + 0.85 * box["width"], y)
        page.mouse.down()
        page.mouse.move(box["x"] + 0.97 * box["width"], y, steps=5)
        with page.expect_response(lambda response: "api/v1/query" in response.url) as asked:
            page.mouse.up()
        self.assertIn("step=300", asked.value.url)
        expect(page).to_have_url(re.compile(r"from=\d+&until=\d+"))
        eventually(lambda: page.evaluate(f"() => {FIRST}[1] - {FIRST}[0]") == 300, "the finer steps to be drawn")
        after = self.drawn(page, "CPU")
        self.assertGreater(after["times"][0], end - 0.16 * 604_800)
        self.assertEqual(after["lines"][0]["values"], self.told(collector, after["times"], "web1", CPU)["web1"])
        page.go_back()
        eventually(lambda: page.evaluate(f"() => {FIRST}[0]") == before["times"][0], "the whole to be drawn again")
        self.assertEqual(self.drawn(page, "CPU")["times"], before["times"])

    def test_agent(self) -> None:
        """An agent's host shows what it is and charts of all it sends, which go on; any metric is found by search."""
        collector = self.fleet()
        self.agent(collector, "web1", "--label", "role=db", "--interval", "0.5s")
        eventually(lambda: collector.state("web1") == "up", "web1 to be known")
        page = self.page(collector, "/#/hosts/web1?range=15m")
        titles = page.locator("#host figcaption span:first-child")
        expect(titles.filter(has_text=re.compile("^Network$"))).to_be_visible(timeout=SOON)
        for title in ("CPU", "CPU by state", "Load", "Memory", "Memory by state", "Filesystems", "Network"):
            expect(titles.filter(has_text=re.compile(f"^{title}$"))).to_be_visible()
        expect(page.locator("#host .labels")).to_have_text("role=db")
        expect(page.locator("#host .facts")).to_contain_text("every 0.5 s")
        expect(page.locator("#host ol")).to_contain_text("web1")
        last = self.drawn(page, "Load")["times"][-1]
        eventually(lambda: page.evaluate(f"() => {FIRST}.at(-1)") > last, "the charts to go on")
        page.get_by_label("Find any metric").fill("uptime")
        page.get_by_role("button", name="system.uptime").click()
        expect(titles.first).to_have_text("system.uptime")
        expect(page).to_have_url(re.compile("metric=system.uptime"))
        self.assertGreater(len(self.drawn(page, "system.uptime")["lines"]), 0)

    def test_sampling(self) -> None:
        """Its sampling is stopped and started by a button, which says what is so."""
        collector = self.fleet()
        self.agent(collector, "web1")
        eventually(lambda: collector.state("web1") == "up", "web1 to be known")
        page = self.page(collector, "/#/hosts/web1")
        page.get_by_role("button", name="Stop sampling").click()
        expect(page.get_by_role("button", name="Start sampling")).to_be_visible(timeout=SOON)
        self.assertTrue(collector.get("/api/v1/hosts/web1")["stopped"])
        page.get_by_role("button", name="Start sampling").click()
        expect(page.get_by_role("button", name="Stop sampling")).to_be_visible(timeout=SOON)
        self.assertFalse(collector.get("/api/v1/hosts/web1")["stopped"])

    def test_own_metrics(self) -> None:
        """A host that sends metrics of its own has charts of these; what it cannot do has no button."""
        collector = self.fleet()
        now = int(time.time())
        collector.send("".join(f"mail1.queue.{name} {now % 7} {now}\n" for name in ("in", "out")))
        eventually(lambda: collector.state("mail1") == "up", "mail1 to be known")
        page = self.page(collector, "/#/hosts/mail1?range=15m")
        expect(page.locator("#host figcaption span:first-child")).to_have_text(["queue.in", "queue.out"], timeout=SOON)
        expect(page.locator("#host .sampling")).to_be_hidden()

    def test_unknown(self) -> None:
        """A host that there is not is said not to be there."""
        page = self.page(self.fleet(), "/#/hosts/nope", allowed=("404",))
        expect(page.locator("#host .problem")).to_contain_text("no host 'nope'", timeout=SOON)


class ExploreTests(ViewTestCase):
    def test_across_hosts(self) -> None:
        """Any metric across hosts by pattern, a line for each or all together; the link holds it."""
        collector = self.fleet()
        end = int(time.time()) // 60 * 60
        for host in ("web1", "web2", "db1"):
            self.history(collector, host, range(end - 600, end, 10))
        page = self.page(collector, f"/#/explore?from={end - 900}&until={end}&host=web*")
        lines = {line["name"]: line["values"] for line in self.drawn(page, CPU)["lines"]}
        times = self.drawn(page, CPU)["times"]
        self.assertEqual(lines, self.told(collector, times, "web*", CPU))
        page.get_by_role("textbox", name="Hosts", exact=True).fill("*")
        page.get_by_label("Hosts together").select_option("sum")
        page.get_by_label("Each step is").select_option("max")
        page.get_by_role("combobox", name="Step", exact=True).select_option("60")
        expect(page.locator("#explore .scroll tbody tr")).to_have_count(1)
        expect(page.locator("#explore .scroll tbody")).to_contain_text("sum of 3")
        again = self.page(collector, page.url.removeprefix(collector.url))
        expect(again.locator("#explore .scroll tbody")).to_contain_text("sum of 3", timeout=SOON)
        drawn = self.drawn(again, CPU)
        told = self.told(collector, drawn["times"], "*", CPU, "max")
        sums = [None if None in values else sum(values) for values in zip(*told.values(), strict=True)]
        self.assertEqual(orjson.dumps(drawn["lines"][0]["values"]), orjson.dumps(sums))

    def test_refused(self) -> None:
        """What cannot be answered is said in the collector's words."""
        page = self.page(self.fleet(), "/#/explore", allowed=("400",))
        page.get_by_role("textbox", name="Hosts", exact=True).fill("x" * 2_000)
        page.get_by_role("button", name="Show").click()
        expect(page.locator("#explore .problem")).to_contain_text("pattern over 1024 characters", timeout=SOON)


class EventsTests(ViewTestCase):
    def test_filters(self) -> None:
        """Events come live, and can be chosen by host and by kind; the link holds the choice."""
        collector = self.fleet()
        agent = self.agent(collector, "web1")
        self.agent(collector, "db1")
        for host in ("web1", "db1"):
            eventually(lambda host=host: collector.state(host) == "up", f"{host} to be known")  # type: ignore[misc]  # mypy infers no lambda with defaults
        page = self.page(collector, "/#/events")
        items = page.locator("#events li")
        expect(page.locator("#events")).to_contain_text("db1", timeout=SOON)
        page.locator("#events input").fill("web*")
        expect(page.locator("#events")).not_to_contain_text("db1")
        expect(items).to_have_count(1)
        agent.signal(signal.SIGKILL)
        expect(items.first).to_contain_text("departed", timeout=SOON)
        page.get_by_role("button", name="departed").click()
        expect(items).to_have_count(1)
        expect(items).to_contain_text("web1 (connection ")
        expect(page).to_have_url(re.compile(r"host=web\*&kind=departed"))
        again = self.page(collector, page.url.removeprefix(collector.url))
        expect(again.locator("#events li")).to_have_count(1, timeout=SOON)
        again.get_by_role("link", name="web1").click()
        expect(again.locator("#host-title")).to_have_text("web1")

    def test_older(self) -> None:
        """More than fit on one page come when they are asked for, each once."""
        collector = self.fleet()
        store = self.store(collector)
        now = time.time()
        for number in range(120):
            event = ("kind", "up", "hosts", f'["h{number:03}"]', "at", repr(now - 120 + number), "reason", "")
            store("XADD", "pm:events", "MAXLEN", "~", "100000", f"{int(1000 * (now - 120 + number))}-0", *event)
        page = self.page(collector, "/#/events")
        items = page.locator("#events li")
        expect(items).to_have_count(100, timeout=SOON)
        page.get_by_role("button", name="Older ones").click()
        expect(items).to_have_count(120)
        expect(page.get_by_role("button", name="Older ones")).to_be_hidden()
        told = items.locator(".told").all_text_contents()
        self.assertEqual(told, [f"h{number:03}" for number in reversed(range(120))])
