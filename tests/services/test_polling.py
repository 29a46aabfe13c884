"""Tests for `perfmon.services.polling`."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.polling import Polling
from tests.logs import logged


class PollingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.begun: list[Deferred[None]] = []
        self.polling = Polling(self.work, 1.0, "the work has failed", self.clock)

    async def work(self) -> None:
        self.begun.append(Deferred())
        await self.begun[-1]

    def test_again(self) -> None:
        """It is done at once and every interval; while it goes on, not a second time."""
        self.polling.start()
        self.assertFalse(self.polling.idle)
        self.clock.pump([1.0] * 3)
        self.assertEqual(len(self.begun), 1)
        self.begun[0].callback(None)
        self.assertTrue(self.polling.idle)
        self.clock.advance(1.0)
        self.assertEqual(len(self.begun), 2)

    def test_failed(self) -> None:
        """What it raises is logged, and it is done again."""
        self.polling.start()
        with logged() as log:
            self.begun[0].errback(ValueError("no"))
        self.assertEqual(log.warnings, ["the work has failed"])
        self.flushLoggedErrors(ValueError)
        self.clock.advance(1.0)
        self.assertEqual(len(self.begun), 2)

    def test_stopped(self) -> None:
        """What is under way ends, silently, and nothing follows."""
        self.polling.start()
        with logged() as log:
            self.polling.stop()
        self.assertTrue(self.polling.idle)
        self.clock.advance(5.0)
        self.assertEqual((len(self.begun), log.warnings), (1, []))
