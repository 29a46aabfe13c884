"""Tests for `perfmon.services.status`, with a real store."""

import signal
import struct
from typing import Any

from twisted.internet.defer import ensureDeferred
from twisted.internet.task import Clock

from perfmon import __version__
from perfmon.core.numbering import Row
from perfmon.core.presence import Timeouts
from perfmon.core.reject import BAD_LINE, FUTURE, Rejected
from perfmon.services.ingest import Ingest
from perfmon.services.looplag import LoopLag
from perfmon.services.presence import PresenceService
from perfmon.services.refusals import Refusals
from perfmon.services.sealing import Sealing
from perfmon.services.status import Status
from perfmon.storage.store import Store
from tests.programs import STORE_SERVERS
from tests.valkey import StoreCase
from tests.waiting import until

NOW = 1_800_000_000.0


class Agent:
    """What the status reads of an agent's session."""

    def __init__(self) -> None:
        self.samples = 0


class Port:
    """What the status reads of the collector's port."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.connections: set[object] = set()


class StatusTests(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.port = Port()
        self.problem: str | None = None

    def status(self, store: Store) -> Status:
        """The status of a collector that has just been started."""
        seconds = self.clock.seconds
        self.ingest = Ingest(store, self.clock, lambda: NOW)
        self.sealing = Sealing(store.windows, self.clock, lambda: NOW)
        self.presence = PresenceService(store, Timeouts(7.5, 15.0, 300.0), self.clock, seconds, lambda: NOW)
        self.refusals = Refusals(seconds)
        status = Status(
            store,
            "unix:/run/valkey.sock",
            lambda: self.problem,
            self.ingest,
            self.sealing,
            self.presence,
            self.refusals,
            self.port,
            LoopLag(self.clock, seconds),
            self.clock,
            seconds,
        )
        status.startService()
        self.addCleanup(status.stopService)
        return status

    async def test_fresh(self) -> None:
        """A collector that has just been started has everything, and nothing yet."""
        report = await self.status(await self.connected()).report()
        store = report.pop("store")
        self.assertEqual(
            report,
            {
                "version": __version__,
                "collector": "collector",
                "uptime": 0.0,
                "hosts": {},
                "samples": {
                    "received": 0,
                    "stored": 0,
                    "rejected": 0,
                    "rejected_by_reason": {},
                    "received_per_second": 0.0,
                    "stored_per_second": 0.0,
                },
                "agents": {"connected": 0, "samples_per_second": {"mean": 0.0, "deviation": 0.0}},
                "connections": 0,
                "sealing": {"sealed": 0, "rolled_up": 0, "due": 0, "behind": 0.0},
                "ingest": {"buffered_bytes": 0, "paused": False, "commits": 0},
                "loop_lag": 0.0,
            },
        )
        self.assertEqual((store["address"], store["problem"]), ("unix:/run/valkey.sock", None))
        self.assertEqual(store["server"], {"valkey": "valkey", "redis": "redis"}[self.kind])
        self.assertRegex(store["version"], r"^\d+\.\d+\.\d+")
        self.assertGreater(store["memory_bytes"], 100_000)
        self.assertIs(store["append_only"], True)

    async def test_counts(self) -> None:
        """Hosts, samples and refusals are counted, and rates are of the last seconds."""
        status = self.status(await self.connected())
        self.presence.sign("web1")
        self.presence.sign("web2", beating=False)
        self.presence.leave("web3", "stopped")
        self.refusals.note([Rejected(BAD_LINE, "x"), Rejected(FUTURE, "y"), Rejected(BAD_LINE, "z")], "peer")
        self.port.connections = {1, 2, 3}
        for _ in range(20):
            self.ingest.received += 50
            self.ingest.stored += 40
            self.clock.advance(1)
        log, first = self.ingest.numbering.schema("web1", ["cpu"])
        self.ingest.add_row(Row(log, first, round(NOW * 1000), struct.pack("<d", 1.0)))
        report = await status.report()
        self.assertEqual(report["uptime"], 20.0)
        self.assertEqual(report["hosts"], {"up": 2, "left": 1})
        self.assertEqual(
            report["samples"],
            {
                "received": 1001,
                "stored": 800,
                "rejected": 3,
                "rejected_by_reason": {BAD_LINE: 2, FUTURE: 1},
                "received_per_second": 50.0,
                "stored_per_second": 40.0,
            },
        )
        self.assertEqual(report["connections"], 3)
        self.assertGreater(report["ingest"]["buffered_bytes"], 0)

    async def agents(self, status: Status) -> Any:
        return (await status.report())["agents"]

    async def test_agents(self) -> None:
        """The rates of agents have their mean and deviation, over half a minute to a minute."""
        status = self.status(await self.connected())
        first, second = Agent(), Agent()
        self.port.agents = {"web1": first, "web2": second}
        for _ in range(45):
            first.samples += 10
            second.samples += 30
            self.clock.advance(1)
        self.assertEqual(
            await self.agents(status), {"connected": 2, "samples_per_second": {"mean": 20.0, "deviation": 10.0}}
        )
        for _ in range(90):
            first.samples += 100
            second.samples += 100
            self.clock.advance(1)
        self.assertEqual((await self.agents(status))["samples_per_second"], {"mean": 100.0, "deviation": 0.0})

    async def test_new_agent(self) -> None:
        """An agent that has just come has no immense rate."""
        status = self.status(await self.connected())
        self.clock.pump([1.0] * 20)
        agent = Agent()
        self.port.agents = {"web1": agent}
        agent.samples = 40
        self.assertEqual((await self.agents(status))["samples_per_second"]["mean"], 2.0)

    async def test_problem(self) -> None:
        """While samples cannot be stored the report says why, and the store is not asked."""
        status = self.status(self.new_store())
        self.problem = "server ended by itself"
        report = await status.report()
        self.assertEqual(report["store"], {"address": "unix:/run/valkey.sock", "problem": "server ended by itself"})
        self.assertEqual(status.problem, "server ended by itself")

    async def test_store_stuck(self) -> None:
        """A store that does not answer does not hold up the report, which says so."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        status = self.status(store)
        server.signal(signal.SIGSTOP)
        report = ensureDeferred(status.report())
        self.assertNoResult(report)
        self.clock.advance(3600)
        self.assertIn("no answer within", self.successResultOf(report)["store"]["problem"])

    async def test_store_just_lost(self) -> None:
        """A store that does not answer the report is a problem, too."""
        store = await self.connected()
        status = self.status(store)
        await store.stopService()
        self.assertIsNotNone((await status.report())["store"]["problem"])


class RedisStatusTests(StatusTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
