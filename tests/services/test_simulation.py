"""Tests for `perfmon.services.simulation`, with a collector that does as it is told."""

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.rota import Turn
from perfmon.core.simulated_fleet import SimulatedFleet
from perfmon.core.summary import Summary
from perfmon.core.tally import Tally
from perfmon.services import simulation
from perfmon.services.simulation import GRACE, MOST_AT_ONCE, Simulation
from tests.logs import logged

NOW = 1_800_000_000.0


class RecordingSending:
    """Takes rounds, and acknowledges them when it is told to."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self.turns: list[tuple[float, Turn, list[Any]]] = []
        self.clock: Clock | None = None
        self.acknowledged = [0]
        self.stopping: Deferred[None] = succeed(None)
        self.stopped = False
        self.problem: Exception | None = None

    def startService(self) -> None:
        self.tally.connect()

    def stopService(self) -> Deferred[None]:
        self.stopped = True
        self.tally.disconnect(lost=False)
        return self.stopping

    def send(self, turn: Turn, rows: list[Any]) -> None:
        assert self.clock is not None
        self.turns.append((self.clock.seconds(), turn, rows))
        self.tally.sampled += len(turn)
        if self.problem is not None:
            raise self.problem

    @property
    def settled(self) -> bool:
        return not self.tally.unacknowledged

    def acknowledge(self) -> None:
        """All that was sampled."""
        self.tally.acknowledged = self.tally.sampled


class SimulationTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.tally = Tally()
        self.sending = RecordingSending(self.tally)
        self.sending.clock = self.clock
        self.summaries: list[Summary] = []

    def start(self, agents: int = 100, interval: float = 10.0, metrics: int = 12) -> None:
        self.fleet = SimulatedFleet(agents, metrics, interval, 0.2, 1, NOW)
        self.simulation = Simulation(
            self.fleet,
            agents,
            interval,
            self.sending,
            self.tally,
            self.summaries.append,
            self.clock,
            lambda: NOW + self.clock.seconds(),
        )
        self.simulation.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Leaves no timer behind."""
        if self.simulation.running:
            self.sending.acknowledge()
            self.successResultOf(self.simulation.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def advance(self, seconds: float) -> None:
        self.clock.pump([0.05] * round(seconds / 0.05))

    def test_spread(self) -> None:
        """In each interval each agent samples once; they do so all through it, soon after they are due."""
        self.start()
        self.advance(10.3)
        numbers = [number for _, turn, _ in self.sending.turns for number in turn.numbers.tolist()]
        self.assertEqual(sorted(numbers[:100]), list(range(100)))
        self.assertGreater(len(self.sending.turns), 40)
        self.assertLessEqual(max(len(turn) for _, turn, _ in self.sending.turns), 4)
        for now, turn, _ in self.sending.turns:
            for time in turn.times.tolist():
                self.assertTrue(0 <= NOW + now - time <= 0.3, time)

    def test_values(self) -> None:
        """What is sent is what the agents of the turn measure at their time."""
        self.start()
        self.advance(3)
        for _, turn, rows in self.sending.turns:
            self.assertEqual(rows, self.fleet.values(turn.numbers, turn.times).tolist())

    def test_many_at_once(self) -> None:
        """After so many rounds the reactor has a turn, and then the others follow at once."""
        self.start(agents=2000, interval=1.0)
        self.clock.advance(1.0)
        self.assertEqual(len(self.sending.turns[0][1]), MOST_AT_ONCE)
        for _ in range(4):
            self.clock.advance(0)
        self.assertEqual(self.tally.sampled + self.tally.left_out, 2001)

    def test_cannot_keep_up(self) -> None:
        """What is over an interval late is left out and counted, so a slow process catches up some time."""
        self.start(agents=100, interval=1.0)
        self.clock.advance(10.0)
        self.assertEqual((self.tally.sampled, self.tally.left_out), (100, 901))

    def test_nobody_acknowledges(self) -> None:
        """Above a limit of what waits further rounds are left out, until some of it is acknowledged."""
        self.patch(simulation, "MAX_WAITING", 12 * 150)
        self.start(agents=100, interval=1.0)
        self.advance(4)
        self.assertTrue(150 < self.tally.sampled < 160)
        self.assertTrue(240 < self.tally.left_out < 255)
        self.sending.acknowledge()
        self.advance(1)
        self.assertGreater(self.tally.sampled, 240)

    def test_failing_turn(self) -> None:
        """A turn that fails is told of; the next one takes place."""
        self.start()
        self.sending.problem = ZeroDivisionError()
        self.advance(1)
        failures = len(self.flushLoggedErrors(ZeroDivisionError))
        self.assertGreater(failures, 2)
        self.assertEqual(len(self.sending.turns), failures)

    def test_progress(self) -> None:
        """The log tells every so often how it goes, and at what rate."""
        self.start()
        with logged() as log:
            self.advance(5)
            self.sending.acknowledge()
            self.advance(5.1)
        (line,) = [text for text in log.infos if "connected" in text]
        self.assertRegex(
            line, r"^1 connected; rounds: 0 sent, \d+ acknowledged, 0 left out; (5|6)\d samples/s of 120 asked"
        )

    def test_end(self) -> None:
        """The end waits for what is not acknowledged, then says goodbye, and then tells what it came to."""
        self.start()
        self.advance(5)
        sampled = self.tally.sampled
        stopped = self.simulation.stopService()
        self.advance(3)
        self.assertNoResult(stopped)
        self.assertFalse(self.sending.stopped)
        self.assertEqual(self.tally.sampled, sampled, "no more sampling")
        self.sending.acknowledge()
        self.sending.stopping = Deferred()
        self.advance(0.1)
        self.assertTrue(self.sending.stopped)
        self.assertEqual(self.summaries, [])
        self.sending.stopping.callback(None)
        self.successResultOf(stopped)
        (summary,) = self.summaries
        self.assertIsNone(summary.problem)
        self.assertEqual((summary.agents, summary.metrics, summary.asked, summary.connected), (100, 12, 120.0, 1))
        self.assertApproximates(summary.seconds, 8.0, 0.1)

    def test_grace(self) -> None:
        """What is not acknowledged within the grace is told of as a problem."""
        self.start()
        self.advance(5)
        stopped = self.simulation.stopService()
        self.advance(GRACE - 0.1)
        self.assertNoResult(stopped)
        self.advance(0.2)
        self.successResultOf(stopped)
        self.assertIn("rounds were not acknowledged", str(self.summaries[0].problem))

    def test_hurry(self) -> None:
        """Who is in a hurry waits for nothing."""
        self.start()
        self.advance(5)
        stopped = self.simulation.stopService()
        self.simulation.hurry()
        self.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(len(self.summaries), 1)
