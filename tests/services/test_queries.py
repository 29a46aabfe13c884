"""Tests for `perfmon.services.queries`, with samples that came in through ingest and lie in a real store."""

import struct
import time
from typing import Any

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.columns import Column
from perfmon.core.control import NO_ORDER, Absence, Order
from perfmon.core.numbering import Row
from perfmon.core.presence import State
from perfmon.core.query import BadQuery, Plan, Query
from perfmon.core.series import Stored
from perfmon.core.tiers import TIERS
from perfmon.services import queries as queries_module
from perfmon.services.ingest import Ingest
from perfmon.services.queries import Queries
from perfmon.storage.history import History
from perfmon.storage.store import Store
from tests.services.recording import RecordingSender
from tests.valkey import StoreCase
from tests.waiting import until

NOW = float(int(time.time()))  # the server's own clock decides when a key expires
START = NOW - 100


def pairs(series: dict[str, Any]) -> list[tuple[float, float]]:
    """(time, value) of each point of a series in an answer."""
    return list(zip(series["times"].tolist(), series["values"].tolist(), strict=True))


class QueriesCase(StoreCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        super().setUp()
        self.reactor = reactor
        self.seq = 0

        self.orders: dict[str, Order] = {}

    def wanted(self, host: str) -> Order:
        return self.orders.get(host, NO_ORDER)

    async def begin(self) -> None:
        """A collector's run: its own ingest, with nothing received yet."""
        self.store: Store = await self.connected()
        self.ingest = Ingest(self.store, self.reactor, lambda: NOW)
        self.ingest.startService()
        self.addCleanup(self.ingest.stopService)
        self.queries = Queries(
            self.store, History(self.store.windows), self.ingest, self.wanted, self.reactor, lambda: NOW
        )

    async def fill(self, host: str, at: float, **values: float) -> None:
        """One round at `at` s after `START`, stored; an underscore in a name stands for a dot."""
        names = [name.replace("_", ".") for name in values]
        log, first = self.ingest.numbering.schema(host, names)
        sender = RecordingSender()
        packed = struct.pack(f"<{len(values)}d", *values.values())
        self.ingest.add_row(Row(log, first, round((START + at) * 1000), packed), sender, 1)
        await until(lambda: sender.seqs, "the acknowledgement")
        await self.store.sign({host: START + at})

    async def query(
        self, host: str = "*", metric: str = "*", start: float = START, stop: float = NOW, step: float | None = None
    ) -> list[dict[str, Any]]:
        """The series of the answer, their points as lists of [s after `START`, value]."""
        answer = await self.queries.query(Query(host, metric, start, stop, step))
        self.assertEqual((answer["from"], answer["until"], answer["step"]), (start, stop, step))
        return [
            {
                "host": series["host"],
                "metric": series["metric"],
                "unit": series["unit"],
                "points": [[when - START, value] for when, value in pairs(series)],
            }
            for series in answer["series"]
        ]


class QueryTests(QueriesCase):
    async def test_series(self) -> None:
        """Every series of every host that matches is given, in order, with its unit and its points."""
        await self.begin()
        await self.fill("web2", 0, cpu=1.0)
        await self.fill("web1", 0, system_uptime=5.0, cpu=2.0)
        await self.fill("web1", 10.5, system_uptime=6.0)
        self.assertEqual(
            await self.query(),
            [
                {"host": "web1", "metric": "cpu", "unit": "", "points": [[0.0, 2.0]]},
                {"host": "web1", "metric": "system.uptime", "unit": "s", "points": [[0.0, 5.0], [10.5, 6.0]]},
                {"host": "web2", "metric": "cpu", "unit": "", "points": [[0.0, 1.0]]},
            ],
        )

    async def test_patterns(self) -> None:
        """Hosts and metrics are chosen by patterns, or by name."""
        await self.begin()
        for host in ("web1", "web2", "db1"):
            await self.fill(host, 0, cpu=1.0, load=2.0)
        for host, metric, expected in (
            ("web1", "cpu", ["web1 cpu"]),
            ("web*", "cpu", ["web1 cpu", "web2 cpu"]),
            ("db1,web2", "l*", ["db1 load", "web2 load"]),
            ("web3", "*", []),
            ("nothing*", "*", []),
            ("web1", "nothing", []),
        ):
            found = [f"{one['host']} {one['metric']}" for one in await self.query(host, metric)]
            self.assertEqual(found, expected, (host, metric))

    async def test_span(self) -> None:
        """Only the span that was asked for is given; series without a point in it are left out."""
        await self.begin()
        for at in (0, 10, 20, 30):
            await self.fill("web1", at, cpu=float(at))
        await self.fill("web1", 0, load=1.0)
        (series,) = await self.query(start=START + 10, stop=START + 30)
        self.assertEqual((series["metric"], series["points"]), ("cpu", [[10.0, 10.0], [20.0, 20.0]]))

    async def test_steps(self) -> None:
        """With a step there is one value for each, aligned to its multiples."""
        await self.begin()
        first = START - START % 60 + 60
        for at in (0.0, 5.0, 20.0):
            await self.fill("web1", first - START + at, cpu=at)
        answer = await self.queries.query(Query("web1", "cpu", first, first + 30, 10.0))
        points = pairs(answer["series"][0])
        self.assertEqual([value for _, value in points if value == value], [2.5, 20.0])
        self.assertEqual([when - first for when, _ in points], [0.0, 10.0, 20.0])

    async def test_rate_at_the_start(self) -> None:
        """The rate at the first point is known from the sample before it."""
        await self.begin()
        for at in (0.0, 10.0, 20.0):
            await self.fill("web1", at, bytes=at * 100)
        answer = await self.queries.query(Query("web1", "bytes", START + 5, START + 25, None, "rate"))
        self.assertEqual(pairs(answer["series"][0]), [(START + 10, 100.0), (START + 20, 100.0)])

    async def test_no_rate_yet(self) -> None:
        """A series of which no rate is known in the span is left out."""
        await self.begin()
        await self.fill("web1", 0.0, bytes=100.0)
        answer = await self.queries.query(Query("web1", "bytes", START + 5, START + 25, None, "rate"))
        self.assertEqual(answer["series"], [])

    async def test_not_signed_yet(self) -> None:
        """A host whose samples are stored, but not yet its first sign, is found by a pattern all the same."""
        await self.begin()
        await self.fill("web1", 0, cpu=1.0)
        await self.store._writer.call("DEL", "pm:hosts")
        self.assertEqual(len(await self.query("web*")), 1)
        self.assertEqual(len(await self.query("web1")), 1)

    async def test_all_times(self) -> None:
        """A question about all times has the same answer; what it costs is told in `tests.storage.test_reading`."""
        await self.begin()
        await self.fill("web1", 0, cpu=1.0)
        (series,) = await self.query(start=0.0, stop=253_402_300_799.0)
        self.assertEqual(series["points"], [[0.0, 1.0]])
        self.assertEqual(await self.query(start=0.0, stop=1000.0), [])

    async def test_too_many_points(self) -> None:
        """An answer has a bounded size; the refusal says what to ask for instead."""
        self.patch(queries_module, "MAX_POINTS", 5)
        await self.begin()
        for at in range(3):
            await self.fill("web1", at, cpu=1.0)
            await self.fill("web2", at, cpu=1.0)
        with self.assertRaises(BadQuery) as caught:
            await self.query()
        self.assertIn("more than 5 points", str(caught.exception))
        self.assertEqual(len(await self.query("web1")), 1)


class HostsTests(QueriesCase):
    async def test_described(self) -> None:
        """A host is described by all that is known of it, with the latest value of each metric."""
        await self.begin()
        await self.fill("web1", 0, cpu=1.0, load=2.0)
        await self.fill("web1", 10, system_uptime=5.0, cpu=3.0)
        await self.store.describe(
            {
                "web1": {
                    "kind": "agent",
                    "labels": '{"rack":"7"}',
                    "platform": '{"system":"Linux"}',
                    "agent": "1.2",
                    "boot": "b",
                    "interval": "10.0",
                    "offset": "-0.5",
                    "round_trip": "0.001",
                }
            }
        )
        await self.store.change({"web1": NOW}, State.UP, START + 0.5)
        self.orders["web1"] = Order(absence=Absence(NOW + 60, "new disks"))
        self.assertEqual(
            await self.queries.hosts("web1", "*"),
            [
                {
                    "host": "web1",
                    "state": "up",
                    "first_seen": START + 0.5,
                    "since": START + 0.5,
                    "reason": "",
                    "last_seen": START + 10,
                    "kind": "agent",
                    "absence": {"until": NOW + 60, "reason": "new disks"},
                    "collector": "collector",
                    "clock": {"offset": -0.5, "round_trip": 0.001},
                    "stopped": False,
                    "labels": {"rack": "7"},
                    "platform": {"system": "Linux"},
                    "agent": "1.2",
                    "interval": 10.0,
                    "latest": {
                        "cpu": {"time": START + 10, "value": 3.0, "unit": ""},
                        "load": {"time": START, "value": 2.0, "unit": ""},
                        "system.uptime": {"time": START + 10, "value": 5.0, "unit": "s"},
                    },
                }
            ],
        )

    async def test_little_known(self) -> None:
        """A host of which little is known has the same fields."""
        await self.begin()
        await self.store.sign({"web1": NOW})
        (host,) = await self.queries.hosts("*", "*")
        self.assertEqual((host["state"], host["since"], host["kind"], host["latest"]), ("up", NOW, "sender", {}))

    async def test_patterns(self) -> None:
        """Hosts are chosen by a pattern or by name, and so are the metrics of which the latest is told."""
        await self.begin()
        for host in ("web2", "db1", "web1"):
            await self.fill(host, 0, cpu=1.0, load=2.0)
        for host, metric, expected in (
            ("*", "cpu", [("db1", ["cpu"]), ("web1", ["cpu"]), ("web2", ["cpu"])]),
            ("web*", "*", [("web1", ["cpu", "load"]), ("web2", ["cpu", "load"])]),
            ("web1", "-", [("web1", [])]),
            ("web3", "*", []),
            ("nothing*", "*", []),
        ):
            found = [(one["host"], list(one["latest"])) for one in await self.queries.hosts(host, metric)]
            self.assertEqual(found, expected)

    async def test_received(self) -> None:
        """The latest values are those received, also before they are stored."""
        await self.begin()
        await self.fill("web1", 0, cpu=1.0)
        self.server("CONFIG", "SET", "maxmemory", "1")
        log, first = self.ingest.numbering.schema("web1", ["cpu"])
        self.ingest.add_row(Row(log, first, round(NOW * 1000), struct.pack("<d", 2.0)))
        await until(lambda: self.ingest.problem, "the problem")
        (host,) = await self.queries.hosts("web1", "*")
        self.assertEqual(host["latest"]["cpu"]["value"], 2.0)
        self.server("CONFIG", "SET", "maxmemory", "0")
        await until(lambda: not self.ingest.buffered, "the store")

    async def test_after_restart(self) -> None:
        """After a restart the latest values are read from the store, once for each sign of a host."""
        await self.begin()
        await self.fill("web1", 0, cpu=1.0, load=2.0)
        await self.fill("web1", 20, cpu=3.0)
        await self.begin()
        reads: list[object] = []
        read = self.store.windows.read

        async def counting(hosts: Any, *others: Any) -> list[list[Stored]]:
            reads.append(hosts)
            return await read(hosts, *others)

        self.patch(self.store.windows, "read", counting)
        for _ in range(3):
            (host,) = await self.queries.hosts("web1", "*")
            self.assertEqual(
                {name: (latest["time"] - START, latest["value"]) for name, latest in host["latest"].items()},
                {"cpu": (20.0, 3.0), "load": (0.0, 2.0)},
            )
        self.assertEqual(len(reads), 1)
        await self.store.sign({"web1": NOW})
        await self.queries.hosts("web1", "*")
        self.assertEqual(len(reads), 2)

    async def test_bounded_memory(self) -> None:
        """Of the hosts whose latest values were read only so many are kept."""
        self.patch(queries_module, "_KEPT", 3)
        await self.begin()
        for number in range(5):
            await self.fill(f"web{number}", 0, cpu=1.0)
        await self.begin()
        self.assertEqual(len(await self.queries.hosts("*", "*")), 5)
        self.assertEqual(list(self.queries._read), ["web2", "web3", "web4"])


class AnswerTests(SynchronousTestCase):
    def test_bounded(self) -> None:
        """However few samples series have, they are worked out, and their points counted, before they are too many."""
        plan = Plan.of(Query("*", "*", 0.0, 30_000.0, 1.0), TIERS, 30_000.0)
        answer = queries_module._Answer(plan)
        sample = Column(np.array([5_000]), np.array([1.0]))
        with self.assertRaises(BadQuery):
            for place in range(1_000):
                answer.add("web1", f"m{place}", [sample])
                self.assertLessEqual(len(answer._waiting) * 30_000, 50_000)
        self.assertEqual(len(answer.series), 1_000_000 // 30_000)
