"""Tests for `perfmon.services.stats_log`."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.reject import BAD_LINE, Rejected
from perfmon.services import ingest as ingest_module
from perfmon.services.stats_log import StatsLog
from tests.logs import logged
from tests.services.own_figures import OwnFigures


def agent() -> Any:
    """What is read of an agent's session. (A class of its own, for it is a key.)"""
    return type("Agent", (), {"samples": 0})()


class StatsLogTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.own = OwnFigures()
        self.clock = self.own.clock
        self.statistics = StatsLog(
            20.0,
            self.own.ingest,
            self.own.commits,
            self.own.refusals,
            self.own.port,
            self.clock,
            self.clock.seconds,
        )

    def lines(self, seconds: float) -> list[str]:
        """What is logged within so many seconds from now on."""
        with logged() as log:
            self.clock.advance(seconds)
        self.assertEqual(log.warnings, [])
        return log.infos

    def line(self, seconds: float) -> str:
        (line,) = self.lines(seconds)
        return line

    def start(self) -> None:
        self.statistics.startService()
        self.addCleanup(self.statistics.stopService)

    def test_nothing(self) -> None:
        """Also a collector that has nothing to do says so, at the end of every interval and not before."""
        self.start()
        self.assertEqual(self.lines(0), [])
        self.assertEqual(self.lines(19.9), [])
        quiet = "0.0 samples/s received, 0.0 stored, 0.0 rejected; 0 agents, 0 connections"
        self.assertEqual(self.line(0.1), quiet)
        self.assertEqual(self.line(20), quiet)

    def test_rates(self) -> None:
        """Rates are those of the interval, in numbers that can be read."""
        self.own.ingest.received = 5_000_000  # before the start
        self.start()
        self.own.ingest.received += 4_000_010
        self.own.ingest.stored += 2_000_000
        self.own.refusals.note([Rejected(BAD_LINE, "x")] * 30, "peer")
        self.own.port.connections = set(range(1_234))
        self.assertEqual(
            self.line(20),
            "200,000.5 samples/s received, 100,000.0 stored, 1.5 rejected; 0 agents, 1,234 connections",
        )
        self.assertIn("0.0 samples/s received, 0.0 stored, 0.0 rejected; ", self.line(20))

    def test_late(self) -> None:
        """Rates are by the time that has passed, also where the line comes too late."""
        self.start()
        self.own.ingest.received += 600
        self.assertIn("20.0 samples/s received, ", self.line(30))

    def test_agents(self) -> None:
        """Mean and deviation are of the agents that were there for the whole interval, while there are any."""
        first, second, third = agent(), agent(), agent()
        first.samples = 1_000
        self.own.port.agents = {"web1": first, "web2": second}
        self.start()
        first.samples += 200
        second.samples += 600
        third.samples = 9_999
        self.own.port.agents["web3"] = third
        self.assertIn("; 3 agents, 0 connections; 20.00 ± 10.00 samples/s each agent", self.line(20))
        for one in (first, second, third):
            one.samples += 300
        self.assertIn("; 15.00 ± 0.00 samples/s each agent", self.line(20))
        self.own.port.agents = {"web1": agent(), "web2": agent()}  # all have reconnected
        self.assertTrue(self.line(20).endswith("; 2 agents, 0 connections"))

    def test_commits(self) -> None:
        """Commits of the interval, with their mean size, and how long they took."""
        self.own.commit(8, 3.0)  # before the start
        self.start()
        self.own.commit(30, 0.5)
        self.own.commit(10, 0.25)
        line = self.line(20)
        self.assertTrue(line.endswith("; 2 commits of 20 samples in 375.0 ms, the longest 500.0 ms"), line)
        self.assertNotIn("commits", self.line(20))

    def test_buffer(self) -> None:
        """What waits is told of when it is much, or has waited for long; and whether senders are held back."""
        self.start()
        self.own.add(100)
        self.assertNotIn("wait", self.line(20), "a commit that has just begun")
        self.assertTrue(self.line(20).endswith("; 1 KiB wait to be stored, a commit for 20.0 s"))
        self.patch(ingest_module, "HIGH_WATER", 1 << 20)
        self.own.add(200_000)
        line = self.line(20)
        self.assertTrue(line.endswith("; 1,564 KiB wait to be stored, a commit for 40.0 s, senders are paused"), line)

    def test_much(self) -> None:
        """Much that waits is told of although no commit takes long."""
        self.start()
        self.lines(19.5)
        self.own.add(200_000)
        self.clock.advance(0)
        self.assertTrue(self.line(0.5).endswith("; 1,563 KiB wait to be stored"))

    def test_stop(self) -> None:
        """When it stops it says no more."""
        self.statistics.startService()
        self.statistics.stopService()
        self.assertEqual((self.lines(100), self.clock.getDelayedCalls()), ([], []))
