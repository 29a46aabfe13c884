"""Tests for `perfmon.services.staged`."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.staged import StagedService
from tests.logs import logged


class Stage(Service):
    """Stops when it is told to."""

    def __init__(self, name: str, done: list[str]) -> None:
        self.setName(name)
        self.done = done
        self.stopping: Deferred[None] = Deferred()

    def startService(self) -> None:
        super().startService()
        self.done.append(f"start {self.name}")

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self.done.append(f"stop {self.name}")
        return self.stopping


class StagedServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.done: list[str] = []
        self.clock = Clock()
        self.staged = StagedService(self.clock, 5.0)
        self.stages = [Stage(name, self.done) for name in ("store", "ingest", "port")]
        for stage in self.stages:
            stage.setServiceParent(self.staged)

    def test_order(self) -> None:
        """Services start in their order and stop in the reverse one, each when the one before has stopped."""
        self.staged.startService()
        stopped = self.staged.stopService()
        self.assertEqual(self.staged.running, 0)
        for stage, expected in zip(reversed(self.stages), ("stop port", "stop ingest", "stop store"), strict=True):
            self.assertEqual(self.done[-1], expected)
            self.assertNoResult(stopped)
            stage.stopping.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.done[:3], ["start store", "start ingest", "start port"])

    def test_in_time(self) -> None:
        """All together have a time; who takes it up is left as it is, and the others have a moment each."""
        self.staged.startService()
        stopped = self.staged.stopService()
        self.clock.advance(3)
        self.stages[2].stopping.callback(None)
        with logged() as log:
            self.clock.advance(1.9)
            self.assertEqual(self.done[-1], "stop ingest")
            self.clock.advance(0.1)
            self.assertEqual(self.done[-1], "stop store")
            self.clock.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(len(log.warnings), 2)
        self.assertIn("did not stop in time", log.warnings[0])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_own_time(self) -> None:
        """A service that has a time of its own is waited for."""
        self.stages[0].stops_within = 8.0  # type: ignore[attr-defined]  # a stage may have one
        for stage in self.stages[1:]:
            stage.stopping.callback(None)
        self.staged.startService()
        stopped = self.staged.stopService()
        self.clock.advance(7)
        self.assertNoResult(stopped)
        self.stages[0].stopping.callback(None)
        self.successResultOf(stopped)

    def test_failing(self) -> None:
        """A service that cannot be stopped is logged, and keeps no other from it."""
        self.staged.startService()
        self.stages[2].stopping.errback(ZeroDivisionError("at last"))
        self.stages[0].stopping.callback(None)

        def raising() -> Deferred[None]:
            raise ZeroDivisionError("at once")

        self.patch(self.stages[1], "stopService", raising)
        self.successResultOf(self.staged.stopService())
        self.assertEqual(self.done[3:], ["stop port", "stop store"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_at_once(self) -> None:
        """Services that stop at once, as a plain Service does, need no Deferred."""
        plain = StagedService(self.clock, 5.0)
        Service().setServiceParent(plain)
        plain.startService()
        self.successResultOf(plain.stopService())
