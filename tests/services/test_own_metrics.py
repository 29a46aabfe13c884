"""Tests for `perfmon.services.own_metrics`."""

from twisted.internet.defer import Deferred, fail
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.names import checked_metric
from perfmon.core.reject import BAD_LINE, FUTURE, REASONS, Rejected
from perfmon.core.units import UNITS
from perfmon.services import ingest as ingest_module
from perfmon.services.own_host import Rounds
from perfmon.storage.store import StoreUnavailable
from tests.logs import logged
from tests.services.own_figures import NOW, OwnFigures, own_figures


class OwnMetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.own = OwnFigures()
        self.clock = self.own.clock

    def test_names(self) -> None:
        """Every metric has a unit, every unit of the collector's its metric, and all can be stored."""
        found = own_figures()
        self.assertEqual([checked_metric(metric) for metric in found], found)
        expected = {metric for metric in UNITS if metric.startswith("perfmon.collector.")}
        self.assertEqual({metric.partition(";")[0] for metric in found}, expected)

    def test_fresh(self) -> None:
        """A collector that has just begun has counted nothing; what it cannot know yet is absent."""
        counted = ["samples.received", "samples.stored", "commits", "windows.sealed"]
        counted += [f"samples.rejected;reason={reason}" for reason in REASONS]
        states = ["buffer.usage", "paused", "connections", "agents"]
        self.assertEqual(self.own.sample(), dict.fromkeys(counted + states, 0.0))

    def test_counters(self) -> None:
        """Counters go on counting; refusals are told apart by their reason."""
        self.own.commit(5, 0.1)
        self.own.refusals.note([Rejected(BAD_LINE, "x"), Rejected(FUTURE, "y"), Rejected(BAD_LINE, "z")], "peer")
        self.own.sealing.sealed = 7
        for received in (5, 8):
            values = self.own.sample()
            self.assertEqual((values["samples.received"], values["samples.stored"]), (received, 5))
            self.assertEqual(values["samples.rejected;reason=bad-line"], 2)
            self.assertEqual(values["samples.rejected;reason=future"], 1)
            self.assertEqual(values["samples.rejected;reason=too-old"], 0)
            self.assertEqual((values["commits"], values["windows.sealed"]), (1, 7))
            self.own.add(3)

    def test_states(self) -> None:
        """Connections, agents and what waits are as they are."""
        self.patch(ingest_module, "HIGH_WATER", 100)
        self.own.port.connections = {1, 2, 3}
        self.own.port.agents = {"web1": object()}
        self.own.add(4)
        values = self.own.sample()
        self.assertEqual((values["connections"], values["agents"], values["paused"]), (3, 1, 1))
        self.assertEqual(values["buffer.usage"], self.own.ingest.buffered)
        self.assertGreater(values["buffer.usage"], 4 * 8)

    def test_commits(self) -> None:
        """Sizes and durations of commits are of the time since the last round, and absent where there were none."""
        names = ["commit.size.mean", "commit.size.max", "commit.duration.mean", "commit.duration.max"]
        self.own.commit(30, 0.5)
        self.own.commit(10, 0.25)
        values = self.own.sample()
        self.assertEqual([values[name] for name in names], [20.0, 30.0, 0.375, 0.5])
        self.own.commit(6, 0.125)
        values = self.own.sample()
        self.assertEqual([values[name] for name in names], [6.0, 6.0, 0.125, 0.125])
        self.assertEqual(set(self.own.sample()) & set(names), set())

    def test_commit_under_way(self) -> None:
        """A commit that the store does not confirm counts as the longest with what it has taken by now, in no mean."""
        self.own.commit(2, 0.5)
        self.own.add(3)
        self.clock.advance(0)
        self.clock.advance(4)
        values = self.own.sample()
        self.assertEqual((values["commit.duration.mean"], values["commit.duration.max"]), (0.5, 4.0))
        self.clock.advance(5)
        values = self.own.sample()
        self.assertEqual(values["commit.duration.max"], 9.0)
        self.assertNotIn("commit.duration.mean", values)
        self.own.appends.confirm()
        self.assertEqual(self.own.sample()["commit.duration.mean"], 9.0)
        self.assertNotIn("commit.duration.max", self.own.sample())

    def test_commit_lost(self) -> None:
        """A commit that was given up is none, and is not under way any more."""
        self.own.add(3)
        self.clock.advance(0)
        self.own.appends.fail(ZeroDivisionError("a bug"))
        self.flushLoggedErrors(ZeroDivisionError)
        self.clock.advance(100)
        values = self.own.sample()
        self.assertEqual((values["commits"], values["samples.stored"]), (0, 0))
        self.assertNotIn("commit.duration.max", values)

    def test_lag(self) -> None:
        """The lag is the worst since the last round."""
        self.own.lag.startService()
        self.addCleanup(self.own.lag.stopService)
        self.assertNotIn("loop.lag", self.own.sample())
        for seconds in (0.25, 0.75, 0.5):
            self.own.behind += seconds - 0.25
            self.clock.advance(0.25)
        self.assertEqual(self.own.sample()["loop.lag"], 0.5)
        self.clock.advance(0.25)
        self.assertEqual(self.own.sample()["loop.lag"], 0.0)

    def test_store_memory(self) -> None:
        """What the store has told since the last round is used once; it is asked once a round, and not while away."""
        self.assertNotIn("store.memory.usage", self.own.sample())
        self.assertEqual(self.own.sample()["store.memory.usage"], 1_563_408)
        self.own.store.problem = "away"
        self.assertEqual(self.own.sample()["store.memory.usage"], 1_563_408)
        self.assertNotIn("store.memory.usage", self.own.sample())
        self.assertEqual(self.own.store.asked, 2)

    def test_store_says_less(self) -> None:
        """A store that does not tell its memory has none that is known."""
        self.own.store.facts = {"server_name": "other"}
        self.own.sample()
        self.assertNotIn("store.memory.usage", self.own.sample())

    def test_store_stuck(self) -> None:
        """A store that does not answer holds up no round, is asked by one question at a time, and later anew."""
        self.own.store.answer = Deferred()
        with logged() as log:
            for _ in range(3):
                self.assertNotIn("store.memory.usage", self.own.sample())
            self.assertEqual(self.own.store.asked, 1)
            self.clock.advance(2)
            self.own.store.answer = fail(StoreUnavailable("lost"))
            self.own.sample()
            self.own.store.answer = None
            self.own.sample()
        self.assertEqual(self.own.sample()["store.memory.usage"], 1_563_408)
        self.assertEqual((self.own.store.asked, log.warnings), (4, []))

    def test_rounds_wait(self) -> None:
        """While the store is away rounds wait as all samples do; then they are stored, in one commit."""
        rounds = Rounds("monitor", self.own.ingest)
        self.own.add(1)
        self.clock.advance(0)
        for _ in range(10):
            self.clock.advance(5)
            rounds.take(NOW + self.clock.seconds(), self.own.sample())
        self.own.appends.confirm()
        self.clock.advance(0)
        self.own.appends.confirm()
        self.assertEqual((self.own.ingest.buffered, self.own.ingest.commits), (0, 2))
        stored = [(time, value) for host, name, time, value in self.own.appends.samples() if name == "buffer.usage"]
        self.assertEqual([time for time, _ in stored], [NOW + 5 * number for number in range(1, 11)])
        self.assertEqual(sorted(value for _, value in stored), [value for _, value in stored], "it had grown")

    def test_own_rounds_alone(self) -> None:
        """A collector that has nothing else to do makes one commit a round of telling of itself."""
        rounds = Rounds("monitor", self.own.ingest)
        for number in range(1, 11):
            self.clock.advance(5)
            rounds.take(NOW + self.clock.seconds(), self.own.sample())
            self.clock.advance(0)
            self.own.appends.confirm()
            self.clock.advance(0)
            self.assertEqual((self.own.ingest.commits, self.clock.getDelayedCalls()), (number, []))
