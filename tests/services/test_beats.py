"""Tests for `perfmon.services.beats`."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.beats import TICK, SharedBeats


class SharedBeatsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1000.03)
        self.service = SharedBeats(self.clock)
        self.service.startService()
        self.called: list[tuple[str, float]] = []
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Leaves no timer behind."""
        self.service.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def advance(self, seconds: float) -> None:
        self.clock.pump([0.02] * round(seconds / 0.02))

    def test_in_turn(self) -> None:
        """Each is called in its own interval, at most a tick too late, and never too early."""
        since = self.clock.seconds()
        for name, interval in (("slow", 5.0), ("fast", 1.0)):
            self.service.beats(lambda name=name: self.called.append((name, self.clock.seconds())), self.clock).start(  # type: ignore[misc]  # mypy infers no lambda with defaults
                interval, now=False
            )
        self.advance(21)
        for name, interval in (("slow", 5.0), ("fast", 1.0)):
            times = [time for called, time in self.called if called == name]
            gaps = [after - before for before, after in zip([since, *times], times, strict=False)]
            self.assertGreater(len(times), 18 / interval)
            self.assertGreaterEqual(min(gaps), interval - 0.001)
            self.assertLessEqual(max(gaps), interval + TICK + 0.021)

    def test_now(self) -> None:
        """With `now` the first call is at once."""
        self.service.beats(lambda: self.called.append(("a", 0)), self.clock).start(5.0, now=True)
        self.assertEqual(len(self.called), 1)

    def test_reset(self) -> None:
        """One that is reset is next called an interval later, and then in its interval, once each time."""
        beat = self.service.beats(lambda: self.called.append(("a", self.clock.seconds())), self.clock)
        beat.start(1.0, now=False)
        for _ in range(5):
            self.advance(0.8)
            beat.reset()
        self.assertEqual(self.called, [])
        self.advance(3.5)
        self.assertEqual(len(self.called), 3)

    def test_stopped(self) -> None:
        """What has stopped is not called; started again, it counts from then, once."""
        beat = self.service.beats(lambda: self.called.append(("a", self.clock.seconds())), self.clock)
        beat.start(1.0, now=False)
        self.advance(0.5)
        beat.stop()
        self.assertFalse(beat.running)
        self.advance(2)
        self.assertEqual(self.called, [])
        beat.start(1.0, now=False)
        beat.stop()
        beat.start(3.0, now=False)
        self.advance(2.9)
        self.assertEqual(self.called, [])
        self.advance(0.4)
        self.assertEqual(len(self.called), 1)

    def test_stops_itself(self) -> None:
        """One may stop, or start anew with another interval, from its own call."""
        calls: list[float] = []

        def call() -> None:
            calls.append(self.clock.seconds())
            beat.stop()
            if len(calls) == 1:
                beat.start(2.0, now=False)

        beat = self.service.beats(call, self.clock)
        beat.start(1.0, now=False)
        self.advance(10)
        self.assertEqual(len(calls), 2)
        self.assertGreaterEqual(calls[1] - calls[0], 2.0)

    def test_failing(self) -> None:
        """One that fails is told of, called again, and keeps no other from its call."""
        for name in ("bad", "good"):

            def call(name: str = name) -> None:
                self.called.append((name, 0))
                if name == "bad":
                    raise ZeroDivisionError

            self.service.beats(call, self.clock).start(1.0, now=False)
        self.advance(2.4)
        self.assertEqual([name for name, _ in self.called], ["bad", "good"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_late(self) -> None:
        """A process that was held up calls each once, not once for every interval that it has missed."""
        self.service.beats(lambda: self.called.append(("a", 0)), self.clock).start(1.0, now=False)
        self.clock.advance(30)
        self.assertEqual(len(self.called), 1)
        self.advance(1.2)
        self.assertEqual(len(self.called), 2)
