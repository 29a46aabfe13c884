"""Tests for `perfmon.services.staged`."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.staged import StagedService


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
        self.staged = StagedService()
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
        plain = StagedService()
        Service().setServiceParent(plain)
        plain.startService()
        self.successResultOf(plain.stopService())
