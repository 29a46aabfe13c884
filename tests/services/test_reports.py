"""Tests for `perfmon.services.reports`, of samples that went their way through a real store."""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from math import floor, nan
from statistics import fmean
from typing import Any

import numpy as np

from perfmon.core.control import NO_ORDER
from perfmon.core.globs import pattern
from perfmon.core.names import split_tags
from perfmon.core.numbering import Row
from perfmon.core.presence import State
from perfmon.core.query import BadQuery
from perfmon.core.tiers import DAY, RAW
from perfmon.probes.sampler import Sampler, all_probes
from perfmon.services.ingest import Ingest
from perfmon.services.queries import Queries
from perfmon.services.reports import CPU, FILESYSTEM, MEMORY, Reports
from perfmon.services.sealing import Sealing
from perfmon.storage.history import History
from perfmon.web.api import SUMMARY_METRICS
from tests.services.recording import RecordingSender
from tests.storage.samples import Writer
from tests.valkey import StoreCase
from tests.waiting import until

MINUTE, HOUR = 60, RAW.window

# The beginning of a day, when everything before it is rolled up; the server's own clock decides when a key expires.
TODAY = int(time.time()) // DAY * DAY

Samples = dict[str, list[tuple[int, float]]]
"""(ms since the epoch, value) of each metric."""


class StoredCase(StoreCase):
    """Has a store, with what writes, seals and reads it, at the time `now`."""

    async def begin(self, now: float) -> None:
        """A collector's run, with nothing received yet."""
        from twisted.internet import reactor

        self.now = now
        self.store = await self.connected()
        self.history = History(self.store.windows)
        self.sealing = Sealing(self.store.windows, reactor, self.wall)
        self.ingest = Ingest(self.store, reactor, self.wall)
        self.addCleanup(self.ingest.stopService)
        self.queries = Queries(self.store, self.history, self.ingest, lambda host: NO_ORDER, reactor, self.wall)

    def wall(self) -> float:
        return self.now

    async def fill(self, samples: Mapping[str, Sequence[tuple[int, float]]], host: str = "web1") -> None:
        """Stores `samples` of `host` as another collector does, now."""
        rounds = [(host, ms, {metric: value}) for metric, some in samples.items() for ms, value in some]
        await Writer(self.store).columns(sorted(rounds, key=lambda one: one[1]), self.now)

    async def seal(self, now: float) -> None:
        """Moves to `now`, and does all that is due then."""
        self.now = now
        while await self.sealing.work():
            pass

    async def roll_up(self, now: float) -> None:
        """The same with all that becomes due by it."""
        for tier in self.history.tiers:
            await self.seal(now + 2 * MINUTE * self.history.tiers.index(tier))

    async def received(self, values: Mapping[str, float], host: str = "web1") -> None:
        """An agent sends a round now, and it is stored."""
        log, first = self.ingest.numbering.schema(host, list(values))
        sender = RecordingSender()
        row = Row(log, first, round(self.now * 1000), np.array(list(values.values()), "<f8").tobytes())
        self.ingest.add_row(row, sender, 1)
        await until(lambda: sender.seqs, "the acknowledgement")


class ReportsCase(StoredCase):
    async def begin(self, now: float) -> None:
        await super().begin(now)
        self.reports = Reports(self.queries, self.history, self.wall)

    def some(self, seed: int, start: float, stop: float, metrics: Sequence[str], each: int) -> Samples:
        """Whole values, so that sums are exact in any order, at any millisecond of start..stop (s)."""
        draw = random.Random(seed)
        moments = sorted(draw.sample(range(round(start * 1000), round(stop * 1000)), each))
        return {metric: [(ms, float(draw.randrange(1000))) for ms in moments] for metric in metrics}


def inside(samples: Sequence[tuple[int, float]], start: float, stop: float) -> list[float]:
    return [value for ms, value in samples if start * 1000 <= ms < stop * 1000]


AGGREGATED: dict[str, Callable[[list[float]], float]] = {
    "avg": fmean,
    "min": min,
    "max": max,
    "sum": sum,
    "count": len,
    "last": lambda values: values[-1],
    "p50": lambda values: float(np.percentile(values, 50)),
}


class SummaryTests(ReportsCase):
    def check(self, answer: dict[str, Any], stored: Samples, agg: str = "avg") -> None:
        """The answer is what one finds looking at each minute and hour by itself."""
        self.assertEqual((set(answer), answer["host"]), ({"host", "minutes", "hours"}, "web1"))
        for name, step, count in (("minutes", MINUTE, 60), ("hours", HOUR, 24)):
            part = answer[name]
            stop = (floor(self.now / step) + 1) * step
            starts = [float(stop - step * back) for back in range(count, 0, -1)]
            self.assertLessEqual(starts[-1], self.now)
            self.assertEqual((part["from"], part["until"], part["step"]), (starts[0], stop, step))
            expected = {}
            for metric, samples in stored.items():
                each = [inside(samples, start, start + step) for start in starts]
                if any(each):
                    expected[metric] = [AGGREGATED[agg](values) if values else nan for values in each]
            self.assertEqual([series["metric"] for series in part["series"]], sorted(expected), name)
            for series in part["series"]:
                times, values = series["times"], series["values"]
                self.assertEqual((series["host"], times.tolist()), ("web1", starts))
                np.testing.assert_allclose(values, expected[series["metric"]], rtol=1e-12)

    async def test_points(self) -> None:
        """60 points by the minute and 24 by the hour, the last of each of that under way, and nothing beyond them."""
        await self.begin(TODAY - 3 * HOUR)
        stored = self.some(1, self.now - 26 * HOUR, self.now, [CPU, MEMORY], 200)
        recent = self.some(2, self.now - 2 * HOUR, self.now + 10, [CPU], 150)  # some minutes stay without any
        await self.fill(stored)
        await self.fill(recent)
        stored[CPU] += recent[CPU]
        await self.fill(self.some(3, self.now - 26 * HOUR, self.now, [CPU], 100), "web10")
        for ahead in (0.0, 0.001, 29.5, 59.999, 60.0, 1800.0, 3599.999, 3600.0):
            self.now = TODAY - 3 * HOUR + ahead
            self.check(await self.reports.summary("web1", SUMMARY_METRICS, "avg"), stored)

    async def test_sealed(self) -> None:
        """It is the same when the day before is in minutes, and the hours of this one are sealed."""
        await self.begin(TODAY + 5 * HOUR + 17)
        stored = self.some(4, self.now - 24 * HOUR, self.now, [CPU, MEMORY], 2000)
        await self.fill(stored)
        self.check(await self.reports.summary("web1", SUMMARY_METRICS, "avg"), stored)
        await self.roll_up(self.now + HOUR)
        self.assertTrue(self.server("KEYS", "pm:{web1}:1m:*"))
        self.now = TODAY + 5 * HOUR + 17
        self.check(await self.reports.summary("web1", SUMMARY_METRICS, "avg"), stored)

    async def test_aggs(self) -> None:
        """Every aggregate can be asked for; one that there is not is refused with those that there are."""
        await self.begin(TODAY - 3 * HOUR)
        stored = self.some(5, self.now - 3 * HOUR, self.now, [CPU], 500)
        await self.fill(stored)
        for agg in AGGREGATED:
            self.check(await self.reports.summary("web1", CPU, agg), stored, agg)
        with self.assertRaises(BadQuery) as caught:
            await self.reports.summary("web1", CPU, "median")
        self.assertIn("agg 'median' is unknown: use one of avg, ", str(caught.exception))

    async def test_rate(self) -> None:
        """A counter has a rate from the first minute and the first hour on."""
        await self.begin(TODAY - 3 * HOUR + 1)
        rising = [(ms, ms / 500) for ms in range((TODAY - 30 * HOUR) * 1000, round(self.now * 1000), 30_000)]
        await self.fill({"bytes": rising})
        answer = await self.reports.summary("web1", "bytes", "rate")
        for part, count in (("minutes", 60), ("hours", 24)):
            np.testing.assert_allclose(answer[part]["series"][0]["values"], [2.0] * count)

    async def test_metrics(self) -> None:
        """Any metrics can be asked for, by pattern or by name, with tags too; without any there are no series."""
        await self.begin(TODAY - 3 * HOUR)
        names = ["disk.free;mountpoint=/", "disk.free;mountpoint=/var", "load", "long.ago"]
        stored = self.some(6, self.now - HOUR, self.now, names[:3], 50)
        stored["long.ago"] = [(round(self.now - 25 * HOUR) * 1000, 1.0), (round(self.now - 90 * MINUTE) * 1000, 2.0)]
        await self.fill(stored)
        for metric in ("*", "disk.free", "disk.free;mountpoint=/,load", "l*", "nothing"):
            chosen = {name: stored[name] for name in names if pattern(metric).matches(name)}
            self.check(await self.reports.summary("web1", metric, "avg"), chosen)
        self.check(await self.reports.summary("nobody", "*", "avg") | {"host": "web1"}, {})


AGENT = {
    CPU: 0.5297,
    "system.cpu.load_average.1m": 0.41,
    "system.cpu.load_average.5m": 9.0,
    MEMORY: 0.0183,
    "system.memory.limit": 25276510208.0,
    "system.memory.usage;state=used": 199905280.0,
    "system.memory.usage;state=free": 9.0,
    "system.paging.usage;state=used": 1024.0,
    "system.paging.usage;state=free": 9.0,
    "system.paging.utilization;state=used": 0.125,
    "system.filesystem.usage;mountpoint=/var;state=free": 10.0,
    "system.filesystem.usage;mountpoint=/var;state=used": 30.0,
    "system.filesystem.utilization;mountpoint=/var": 0.75,
    "system.filesystem.usage;mountpoint=/;state=free": 50.0,
    "system.filesystem.usage;mountpoint=/;state=reserved": 5.0,
    "system.filesystem.usage;mountpoint=/;state=used": 50.0,
    "system.filesystem.utilization;mountpoint=/": 0.5,
    "system.filesystem.inodes.usage;mountpoint=/;state=used": 9.0,
    "system.disk.io;device=sda;direction=read": 1.0,
    "system.disk.io;device=sda;direction=write": 20.0,
    "system.disk.io;device=sdb;direction=read": 300.0,
    "system.disk.io_time;device=sda": 9.0,
    "system.network.io;device=eth0;direction=receive": 4000.0,
    "system.network.io;device=lo;direction=receive": 50000.0,
    "system.network.io;device=lo;direction=transmit": 600000.0,
    "system.network.packets;device=lo;direction=transmit": 9.0,
}

NOTHING = {
    "cpu": {"utilization": None, "load": None},
    "memory": {"utilization": None, "limit": None, "used": None},
    "swap": {"utilization": None, "used": None},
    "filesystems": [],
    "disk": {},
    "network": {},
}


class StatsCase(ReportsCase):
    async def stats(self, start: float, stop: float) -> dict[str, Any]:
        (known,) = await self.queries.hosts("web1", "*")
        return await self.reports.stats(known, start, stop)

    async def known(self, first: float) -> None:
        """web1 gave its first sign at `first` (s), and its last one now."""
        await self.store.sign({"web1": self.now})
        await self.store.change({"web1": self.now}, State.UP, first)


class CurrentTests(StatsCase):
    async def current(self) -> dict[str, Any]:
        current: dict[str, Any] = (await self.stats(self.now - 60, self.now))["current"]
        return current

    async def test_agent(self) -> None:
        """The newest values of what an agent sends: shares, sizes, every filesystem, totals over the devices."""
        await self.begin(TODAY - HOUR)
        await self.known(self.now)
        await self.received(dict.fromkeys(AGENT, 7.0))
        self.now += 5
        await self.received(AGENT)
        expected = {
            "cpu": {"utilization": 0.5297, "load": 0.41},
            "memory": {"utilization": 0.0183, "limit": 25276510208.0, "used": 199905280.0},
            "swap": {"utilization": 0.125, "used": 1024.0},
            "filesystems": [
                {"mountpoint": "/", "free": 50.0, "reserved": 5.0, "used": 50.0, "utilization": 0.5},
                {"mountpoint": "/var", "free": 10.0, "used": 30.0, "utilization": 0.75},
            ],
            "disk": {"read": 301.0, "write": 20.0},
            "network": {"receive": 54000.0, "transmit": 600000.0},
        }
        self.assertEqual(await self.current(), expected)
        await self.begin(self.now)  # another run of the collector, that has received nothing: it asks the store
        self.assertEqual(await self.current(), expected)

    async def test_this_machine(self) -> None:
        """Of what our agent really sends, every value is at its place."""
        sampler = Sampler(all_probes())
        sampler.sample()
        values, _ = sampler.sample()
        await self.begin(TODAY - HOUR)
        await self.known(self.now)
        await self.received(values)
        current = await self.current()
        self.assertEqual(current["cpu"]["load"], values["system.cpu.load_average.1m"])
        self.assertEqual(current["memory"]["utilization"], values[MEMORY])
        self.assertEqual(current["memory"]["limit"], values["system.memory.limit"])
        self.assertEqual(current["memory"]["used"], values["system.memory.usage;state=used"])
        shares = {split_tags(metric)[1]["mountpoint"]: values[metric] for metric in values if FILESYSTEM in metric}
        self.assertEqual({one["mountpoint"]: one["utilization"] for one in current["filesystems"]}, shares)
        received = [values[metric] for metric in values if "system.network.io;" in metric and "=receive" in metric]
        self.assertEqual(current["network"]["receive"], sum(received))

    async def test_nothing(self) -> None:
        """Of a host that sends other things, and of one that has sent nothing, all is null and the lists are empty."""
        await self.begin(TODAY - HOUR)
        await self.known(self.now)
        self.assertEqual(await self.current(), NOTHING)
        await self.received({"cpu.load": 1.0, "system.filesystem.usage": 2.0, "system.disk": 3.0})
        self.assertEqual(await self.current(), NOTHING)


class PastTests(StatsCase):
    METRICS = (CPU, MEMORY, f"{FILESYSTEM};mountpoint=/", f"{FILESYSTEM};mountpoint=/var", "cpu.load", f"{CPU}.more")

    def expected(self, stored: Samples, start: float, stop: float, step: int) -> dict[str, Any]:
        """What one finds looking at each sample of the range, which is widened to whole steps."""
        start, stop = floor(start / step) * step, -floor(-stop / step) * step
        found: dict[str, Any] = {"from": start, "until": stop, "cpu": None, "memory": None, "disk": {}}
        for metric, samples in stored.items():
            values = inside(samples, start, stop)
            if values:
                one = {"min": min(values), "max": max(values), "avg": sum(values) / len(values), "count": len(values)}
                if metric in (CPU, MEMORY):
                    found["cpu" if metric == CPU else "memory"] = one
                elif metric.startswith(FILESYSTEM):
                    found["disk"][split_tags(metric)[1].get("mountpoint", "")] = one
        return found

    async def check(self, stored: Samples, start: float, stop: float, first: float) -> None:
        """Both extents are those of the samples, by the minute or, of more than two days, by the hour."""
        answer = await self.stats(start, stop)
        step = MINUTE if stop - start <= 2 * DAY else HOUR
        self.assertEqual(answer["range"], self.expected(stored, start, stop, step))
        step = MINUTE if self.now - first <= 2 * DAY else HOUR
        self.assertEqual(answer["since_first_seen"], self.expected(stored, first, self.now, step))

    async def test_extents(self) -> None:
        """Least, greatest, average and number of samples in the range and since the first sign, by brute force."""
        first = TODAY - DAY - 5 * HOUR + 99.5
        await self.begin(first)
        stored = self.some(1, first, TODAY + HOUR, self.METRICS, 700)
        await self.fill(stored)
        await self.fill(self.some(2, first, TODAY + HOUR, self.METRICS, 70), "web10")
        for late in (0, 2):  # first all of it in heads, then sealed, and the first day in minutes
            if late:
                await self.roll_up(TODAY + late * HOUR)
            self.now = TODAY + HOUR + 7.25
            await self.known(first)
            for start, stop in (
                (first, self.now),
                (first + HOUR, first + HOUR + 0.001),
                (TODAY - 30.5, TODAY + 30.5),
                (TODAY - 2 * DAY + 30, TODAY + 30),
                (TODAY - 2 * DAY + 29.5, TODAY + 30),
                (first - 9 * DAY, self.now + DAY),
                (TODAY - 20 * DAY, TODAY - 19 * DAY),
            ):
                await self.check(stored, start, stop, first)

    async def test_long_known(self) -> None:
        """Since the first sign also means hours of which the samples are not kept any more."""
        first = TODAY - 3 * DAY + 100.0
        await self.begin(first)
        stored: Samples = {metric: [] for metric in self.METRICS}
        for day in range(3):
            begin = TODAY + (day - 3) * DAY + 100
            for metric, samples in self.some(day, begin, begin + DAY - 100, self.METRICS, 300).items():
                stored[metric] += samples
                await self.fill({metric: samples})
            await self.roll_up(begin + DAY + HOUR)
        self.now = TODAY + HOUR + 7.25
        await self.known(first)
        await self.check(stored, first, self.now, first)
        await self.check(stored, TODAY - DAY, self.now, first)

    async def test_new(self) -> None:
        """A host that has just come, and one that sends other metrics, have nothing to tell."""
        await self.begin(TODAY - HOUR + 5.0)
        await self.known(self.now)
        nothing: dict[str, Any] = {"cpu": None, "memory": None, "disk": {}}
        for _ in range(2):
            answer = await self.stats(self.now - 60, self.now)
            for part in ("range", "since_first_seen"):
                self.assertEqual({name: answer[part][name] for name in nothing}, nothing)
            await self.received({"cpu.load": 1.0})

    async def test_known(self) -> None:
        """The host itself is told of as the list of hosts does."""
        await self.begin(TODAY - HOUR)
        await self.known(self.now - 77.5)
        answer = await self.stats(self.now - 60, self.now)
        self.assertEqual(
            {name: answer[name] for name in ("host", "state", "first_seen", "last_seen")},
            {"host": "web1", "state": "up", "first_seen": self.now - 77.5, "last_seen": self.now},
        )
        self.assertEqual(
            set(answer), {"host", "state", "first_seen", "last_seen", "current", "range", "since_first_seen"}
        )
