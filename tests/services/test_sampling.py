"""Tests for `perfmon.services.sampling`."""

from collections.abc import Mapping

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes.sampler import ProbeFailure
from perfmon.services.sampling import Reading, Sampling
from tests.logs import logged

NOW = 1_800_000_003.25  # between two rounds


class SamplingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(NOW)
        self.taken: list[tuple[float, Mapping[str, float]]] = []
        self.asked: list[float] = []
        self.answer: Deferred[Reading] | None = None  # None: at once

    def sampling(self, interval: float = 10.0) -> Sampling:
        """A service that was started."""
        self.service = Sampling(interval, self.sample, self.take, self.clock, self.clock.seconds)
        self.service.startService()
        return self.service

    def sample(self) -> Deferred[Reading]:
        self.asked.append(self.clock.seconds())
        return self.answer if self.answer is not None else succeed(({"cpu": 0.5}, []))

    def take(self, time: float, values: Mapping[str, float]) -> None:
        self.taken.append((time, values))

    @property
    def times(self) -> list[float]:
        """When rounds were taken, in s after `NOW`."""
        return [time - NOW for time, _ in self.taken]

    def test_aligned(self) -> None:
        """The first round is taken at once, the others on multiples of the interval, without drift."""
        self.sampling()
        self.clock.pump([0.25] * 200)
        self.assertEqual(self.times, [0.0, 6.75, 16.75, 26.75, 36.75, 46.75])
        self.assertEqual([time % 10 for time, _ in self.taken[1:]], [0.0] * 5)
        self.assertEqual(self.taken[0][1], {"cpu": 0.5})

    def test_late_reactor(self) -> None:
        """A round that begins late has the time at which it was due; what was missed meanwhile is left out."""
        self.sampling()
        self.clock.advance(8.0)
        self.assertEqual(self.times, [0.0, 6.75])
        self.clock.advance(38.0)
        self.assertEqual(self.times, [0.0, 6.75, 16.75])
        self.clock.advance(0.75)
        self.assertEqual(self.times, [0.0, 6.75, 16.75, 46.75])
        self.assertEqual(self.service.left_out, 2)

    def test_every_interval(self) -> None:
        """Whatever the interval, and though timers fire a little early, no round is taken twice."""
        for interval in (0.1, 0.3, 0.7, 1.1, 2.3, 60.0):
            self.taken.clear()
            service = self.sampling(interval)
            for _ in range(50):
                (call,) = self.clock.getDelayedCalls()
                self.clock.advance(call.getTime() - self.clock.seconds() - 1e-7 * interval)
                self.clock.advance(2e-7 * interval)
            service.stopService()
            self.assertEqual(len(set(self.times)), len(self.times))
            steps = [later - earlier for earlier, later in zip(self.times[1:], self.times[2:], strict=False)]
            self.assertEqual({round(step / interval, 3) for step in steps}, {1.0}, interval)

    def test_stopped(self) -> None:
        """While it is stopped no round begins; then they fall on multiples of the interval as before."""
        service = self.sampling()
        service.order_stopped(True)
        service.order_stopped(True)
        self.clock.pump([0.25] * 100)
        self.assertEqual(self.times, [0.0])
        service.order_stopped(False)
        service.order_stopped(False)
        self.clock.pump([0.25] * 50)
        self.assertEqual(self.times, [0.0, 26.75, 36.75])

    def test_interval_changed(self) -> None:
        """Another interval holds at once, also for one that is stopped."""
        service = self.sampling(60.0)
        service.order_interval(5.0)
        self.clock.pump([0.25] * 50)
        self.assertEqual(self.times, [0.0, 1.75, 6.75, 11.75])
        service.order_stopped(True)
        service.order_interval(2.0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        service.order_stopped(False)
        self.clock.pump([0.25] * 16)
        self.assertEqual(self.times[4:], [12.75, 14.75])

    def test_stopped_in_a_round(self) -> None:
        """A round under way when it is stopped is not taken, and one that hangs keeps it not from going on."""
        self.answer = Deferred()
        service = self.sampling()
        service.order_stopped(True)
        self.answer.callback(({"cpu": 0.5}, []))
        self.assertEqual(self.times, [])
        self.answer = Deferred()
        service.order_stopped(False)
        self.clock.pump([0.25] * 30)
        service.order_stopped(True)
        service.order_stopped(False)
        self.answer.callback(({"cpu": 0.5}, []))
        self.answer = None
        self.clock.pump([0.25] * 40)
        self.assertEqual(self.times, [6.75, 16.75])

    def test_ordered_before_the_start(self) -> None:
        """What was ordered before it starts, or after it has ended, holds and starts nothing."""
        service = Sampling(10.0, self.sample, self.take, self.clock, self.clock.seconds)
        service.order_stopped(True)
        service.order_interval(5.0)
        service.startService()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        service.stopService()
        service.order_stopped(False)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_hanging(self) -> None:
        """While a probe hangs no other round begins, the log says so once, and the next round is on time."""
        self.answer = Deferred()
        self.sampling()
        with logged() as log:
            self.clock.pump([0.25] * 120)
        self.assertEqual((len(self.asked), self.times), (1, []))
        self.assertEqual(log.warnings, ["a probe has not returned for 7 s; rounds are left out"])
        hanging, self.answer = self.answer, None
        hanging.callback(({"cpu": 1.0}, []))
        self.assertEqual(self.taken, [(NOW, {"cpu": 1.0})])
        self.clock.pump([0.25] * 40)
        self.assertEqual(self.times, [0.0, 36.75])
        self.assertEqual(self.service.left_out, 3)

    def test_hanging_again(self) -> None:
        """A probe that hangs a second time is logged a second time, also when the first time ended in a failure."""
        with logged() as log:
            first: Deferred[Reading] = Deferred()
            self.answer = first
            self.sampling()
            self.clock.advance(10)
            self.answer = Deferred()
            first.errback(ZeroDivisionError("bug"))
            self.clock.pump([10.0] * 3)
        self.assertEqual(len([text for text in log.warnings if "not returned" in text]), 2)
        self.flushLoggedErrors(ZeroDivisionError)

    def test_failing(self) -> None:
        """A round that fails is logged, and the next one is taken."""
        self.answer = fail(ZeroDivisionError("bug"))
        self.sampling()
        self.answer = None
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.clock.advance(7)
        self.assertEqual(self.times, [6.75])

    def test_take_fails(self) -> None:
        """A round that cannot be taken in is logged, and the next one is taken."""

        def broken(time: float, values: Mapping[str, float]) -> None:
            self.taken.append((time, values))
            raise ZeroDivisionError

        self.patch(self, "take", broken)
        self.sampling()
        self.clock.advance(7)
        self.assertEqual((len(self.flushLoggedErrors(ZeroDivisionError)), len(self.taken)), (2, 2))

    def test_probe_failures(self) -> None:
        """What the other probes have read is taken; the one that failed is in the log."""
        self.answer = succeed(({"cpu": 0.5}, [ProbeFailure("disks", "cannot be read: OSError: no")]))
        with logged() as log:
            self.sampling()
        self.assertEqual(self.taken, [(NOW, {"cpu": 0.5})])
        self.assertEqual(log.warnings, ["probe disks failed: cannot be read: OSError: no"])

    def test_nothing_read(self) -> None:
        """A round without a single value is none."""
        self.answer = succeed(({}, []))
        self.sampling()
        self.assertEqual(self.taken, [])

    def test_stop(self) -> None:
        """After the stop no round begins, and one that was under way goes nowhere."""
        self.answer = Deferred()
        self.sampling().stopService()
        self.answer.callback(({"cpu": 0.5}, []))
        self.clock.advance(60)
        self.assertEqual((self.taken, len(self.asked), self.clock.getDelayedCalls()), ([], 1, []))
