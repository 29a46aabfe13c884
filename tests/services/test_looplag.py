"""Tests for `perfmon.services.looplag`."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.looplag import LoopLag


class LoopLagTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.behind = 0.0  # s, how late the reactor is
        self.lag = LoopLag(self.clock, lambda: self.clock.seconds() + self.behind)
        self.lag.startService()

    def step(self, *held_up: float) -> None:
        """Measurements, each of which comes so many seconds later than it was due."""
        for seconds in held_up:
            self.behind += seconds
            self.clock.advance(0.25)

    def test_none(self) -> None:
        """A reactor that is in time has no lag; nor has one that was not measured yet."""
        self.assertEqual(self.lag.worst, 0.0)
        self.step(*[0.0] * 10)
        self.assertEqual(self.lag.worst, 0.0)

    def test_worst(self) -> None:
        """The lag is the largest of the last ten seconds."""
        self.step(0.5, 0.0, 0.125, 0.0)
        self.assertEqual(self.lag.worst, 0.5)
        self.step(*[0.0] * 36)
        self.assertEqual(self.lag.worst, 0.5)
        self.step(0.0)
        self.assertEqual(self.lag.worst, 0.125)
        self.step(*[0.0] * 2)
        self.assertEqual(self.lag.worst, 0.0)

    def test_stop(self) -> None:
        """Stopping ends the measurements."""
        self.lag.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
