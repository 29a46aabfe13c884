"""Tests for `perfmon.services.rightsizing`, of samples that went their way through a real store."""

import random
from collections import defaultdict
from statistics import fmean
from typing import Any

from twisted.internet import reactor

from perfmon.core.benchmarks import QUEUED, Spec
from perfmon.core.notes import NO_NOTE, Note
from perfmon.core.presence import State
from perfmon.core.prices import Prices
from perfmon.core.rightsizing import GIB, Settings
from perfmon.core.tiers import DAY
from perfmon.services.rightsizing import CORES, CPU, MEMORY, MEMORY_LIMIT, OOM_KILLS, STEAL, Rightsizing
from tests.services.test_reports import TODAY, Samples, StoredCase

HOUR = 3_600
NETWORK = "system.network.io;device={};direction=receive"


class RightsizingCase(StoredCase):
    async def begin(self, now: float) -> None:
        await super().begin(now)
        prices = Prices(10.0, 1.0, "EUR")
        self.rightsizing = Rightsizing(
            self.queries, self.history, self.store.runs, self.store.notes, prices, reactor, self.wall
        )

    async def known(self, host: str, first: float, **meta: str) -> None:
        """`host` has an agent, and was first seen then (s)."""
        await self.store.sign({host: self.now})
        await self.store.describe({host: {"kind": "agent", "interval": "10.0", "first": repr(first), **meta}})

    async def did(self, host: str, start: float, stop: float, step: float, **columns: Any) -> Samples:
        """`host` sent so every `step` s; a column is a value, or is called with each time (s). Its samples."""
        metrics = {"cpu": CPU, "steal": STEAL, "memory": MEMORY, "cores": CORES, "limit": MEMORY_LIMIT}
        times = [start + number * step for number in range(round((stop - start) / step))]
        samples = {
            metrics.get(name, name): [(round(at * 1000), value(at) if callable(value) else value) for at in times]
            for name, value in columns.items()
        }
        await self.fill(samples, host)
        return samples

    async def report(self, window: float, host: str = "*", **settings: Any) -> Any:
        return await self.rightsizing.report(host, window, Settings(**{"min_history": 0.9 * window} | settings))

    def of(self, report: Any, host: str) -> Any:
        (told,) = [told for told in report["hosts"] if told["host"] == host]
        return told


class ReportTests(RightsizingCase):
    SIZE: dict[str, Any] = {"cores": 8.0, "limit": 16 * GIB, "memory": 0.5}

    async def test_back_test(self) -> None:
        """Minutes over a size are those that the samples as they are give, one by one."""
        now = TODAY + 5 * HOUR
        await self.begin(now)
        draw = random.Random(4)
        start = now - 4 * HOUR

        def cpu(at: float) -> float:
            return 1.0 if start + 600 <= at < start + 660 else round(draw.random() ** 3 / 3, 4)

        samples = await self.did("web1", start, now, 20, cpu=cpu, **self.SIZE)
        await self.known("web1", start - DAY)
        told = self.of(await self.report(4 * HOUR), "web1")
        minutes = defaultdict(list)
        for ms, value in samples[CPU]:
            minutes[ms // 60_000].append(value)
        used = [fmean(values) * 8 / told["suggested"]["cores"] for values in minutes.values()]
        test = told["back_test"]
        self.assertEqual(test["minutes"], 240)
        self.assertEqual(test["cpu_tight"], sum(1 for value in used if value > 0.8))
        self.assertEqual(test["cpu_full"], sum(1 for value in used if value > 1.0))
        self.assertGreater(test["cpu_tight"], 0)
        self.assertEqual((told["verdict"], told["suggested"]["memory"]), ("shrink", 10 * GIB))

    async def test_long(self) -> None:
        """A window of days is judged by minutes and hours; what was done in it comes out of each alike."""
        now = TODAY + 7 * HOUR
        await self.begin(now)
        start = TODAY - 4 * DAY

        def counter(rate: float) -> Any:
            return lambda at: round((at - start) * rate)

        columns = {
            NETWORK.format("eth0"): counter(1_000.0),
            NETWORK.format("eth1"): counter(500.0),
            NETWORK.format("lo"): counter(1e9),
            "system.disk.io;device=sda;direction=write": counter(2_000.0),
            "perfmon.pressure.time;kind=some;resource=cpu": counter(0.1),
            "system.filesystem.utilization;mountpoint=/": lambda at: 0.2 + 0.1 * (at - start) / DAY,
        }
        await self.did("idle", start, now, 300, cpu=0.02, **self.SIZE, **columns)
        await self.did(
            "leaky", start, now, 300, cpu=0.4, cores=4.0, limit=GIB, memory=lambda at: 0.2 + (at - start) / DAY / 8
        )
        await self.did("killed", start, now, 300, cpu=0.4, **self.SIZE, **{OOM_KILLS: lambda at: at // DAY})
        await self.did("stolen", start, now, 300, cpu=0.6, steal=0.3, **self.SIZE)
        for host in ("idle", "leaky", "killed", "stolen"):
            await self.known(host, start, interval="300.0")
        await self.roll_up(now)
        await self.seal(now + 600)  # into the hours
        report = await self.report(3 * DAY)
        self.assertEqual(report["until"], TODAY + 6 * HOUR)
        names = {told["host"]: {rule["name"]: rule["figure"] for rule in told["rules"]} for told in report["hosts"]}
        idle = names["idle"]
        self.assertEqual(self.of(report, "idle")["verdict"], "grow")
        self.assertLess(abs(idle["filesystem-fills"] - (1 - 0.2 - 0.425) / 0.1 * DAY), 0.1 * DAY)
        await self.did(
            "quiet", start, now, 300, cpu=0.02, **self.SIZE, **{k: v for k, v in columns.items() if "file" not in k}
        )
        await self.known("quiet", start, interval="300.0")
        await self.roll_up(now + 700)
        await self.seal(now + 1_300)
        quiet = self.of(await self.report(3 * DAY), "quiet")
        figures = {rule["name"]: rule["figure"] for rule in quiet["rules"]}
        self.assertEqual(quiet["verdict"], "reclaim")
        self.assertLess(abs(figures["idle-network"] - 1_500), 20)
        self.assertLess(abs(figures["idle-disk"] - 2_000), 20)
        self.assertIn("memory-rises", names["leaky"])
        self.assertEqual(names["killed"]["out-of-memory"], 2)  # of today the hours are not there yet
        self.assertEqual(set(names["stolen"]) & {"steal", "cpu-high"}, {"steal"})
        self.assertEqual(report["counts"]["grow"], 2)
        self.assertEqual([told["verdict"] for told in report["hosts"]][:2], ["grow", "grow"])
        self.assertEqual(quiet["coverage"], 1.0)
        hours = self.of(await self.report(40 * DAY, min_history=2 * DAY), "quiet")  # minutes are kept for 30 days
        self.assertEqual(hours["verdict"], "reclaim")
        self.assertIn("by-the-hour", {rule["name"] for rule in hours["rules"]})

    async def test_saving(self) -> None:
        """What is saved is by the prices; it is the sum over those that were not dismissed."""
        now = TODAY + 5 * HOUR
        await self.begin(now)
        for host in ("web1", "web2"):
            await self.did(host, now - 2 * HOUR, now, 60, cpu=0.02, **self.SIZE)
            await self.known(host, now - 2 * HOUR)
        report = await self.report(2 * HOUR)
        self.assertEqual((report["saving"], report["currency"]), (2 * 96.0, "EUR"))
        await self.rightsizing.note("web2", "of the shop", self.now + DAY, dismiss=True)
        report = await self.report(2 * HOUR)
        web2 = self.of(report, "web2")
        self.assertEqual((report["saving"], report["counts"]["reclaim"]), (96.0, 1))
        self.assertEqual((web2["note"], web2["dismissed"]), ("of the shop", self.now + DAY))
        self.now += 2 * DAY
        await self.rightsizing.report("*", 2 * HOUR, Settings())
        self.assertIsNone(self.of(await self.report(2 * HOUR), "web2")["dismissed"])

    async def test_notes(self) -> None:
        """A note and a dismissal are set and taken back each by itself; a host that is removed has none."""
        await self.begin(TODAY)
        note = self.rightsizing.note
        self.assertEqual(await note("web1", "mine", None, dismiss=False), Note("mine"))
        self.assertEqual(await note("web1", None, 5.0, dismiss=True), Note("mine", 5.0))
        self.assertEqual(await note("web1", "yours", None, dismiss=False), Note("yours", 5.0))
        self.assertEqual(await note("web1", None, None, dismiss=True), Note("yours"))
        self.assertEqual(await self.store.notes.all(), {"web1": Note("yours")})
        self.assertGreater(self.server("TTL", "pm:notes"), 399 * DAY)
        await self.rightsizing.forget("web1")
        self.assertEqual(await self.store.notes.all(), {})
        self.assertEqual(await note("web1", "", None, dismiss=True), NO_NOTE)
        self.assertEqual(self.server("EXISTS", "pm:notes"), 0)

    async def test_benchmarks(self) -> None:
        """Time under perfmon's own benchmarks is left out, on the hosts that took part."""
        now = TODAY + 5 * HOUR
        await self.begin(now)
        start = now - 2 * HOUR
        busy = (start + 1_800, start + 3_000)
        for host in ("web1", "web2"):
            await self.did(host, start, now, 60, cpu=lambda at: 1.0 if busy[0] <= at < busy[1] else 0.02, **self.SIZE)
            await self.known(host, start)
        add = self.store.runs.add_run
        spec = Spec("7", "cpu", {}, ["web1"], busy[0], busy[0], busy[1] - busy[0])
        await add("7", spec.encode(), busy[0], busy[1], 9_000)
        waiting = Spec("8", "cpu", {}, ["web1"], now, QUEUED, 60.0)
        await add("8", waiting.encode(), now, now, 9_000)
        report = await self.report(2 * HOUR, min_history=HOUR)
        web1, web2 = self.of(report, "web1"), self.of(report, "web2")
        self.assertEqual((web1["verdict"], web2["verdict"]), ("reclaim", "grow"))
        self.assertEqual((web1["left_out"], web2["left_out"]), (1_320.0, 0.0))  # a minute before, and one after

    async def test_hosts(self) -> None:
        """Only those that are asked for; one that has sent nothing lacks data."""
        now = TODAY + 5 * HOUR
        await self.begin(now)
        await self.did("web1", now - HOUR, now, 15, cpu=0.5, **self.SIZE)
        for host in ("web1", "web2", "db1"):
            await self.known(host, now - HOUR)
        report = await self.report(HOUR, "web*")
        told = {told["host"]: (told["verdict"], [rule["name"] for rule in told["rules"]]) for told in report["hosts"]}
        self.assertEqual(told["web2"], ("insufficient-data", ["no-cpu-metric"]))
        self.assertEqual(told.keys(), {"web1", "web2"})
        self.assertEqual((await self.report(HOUR, "nobody"))["hosts"], [])
        gone = dict.fromkeys(("old1", "old2"), self.now - 2 * HOUR)
        await self.store.sign(gone)
        await self.store.change(gone, State.UP, self.now - 2 * HOUR)
        await self.store.change(gone, State.DEPARTED, self.now - HOUR, "timeout")
        await self.store.describe({"old1": {"kind": "agent"}})
        told = {told["host"]: told["verdict"] for told in (await self.report(HOUR, "old*"))["hosts"]}
        self.assertEqual(told, {"old1": "reclaim", "old2": "insufficient-data"})  # the other sent lines, if at all
        self.assertIsNone((await self.report(HOUR, "nobody"))["saving"])
