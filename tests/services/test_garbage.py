"""Tests for `perfmon.services.garbage`."""

import gc
import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services.garbage import PERIOD, Garbage


class Knot:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.itself = self


class GarbageTests(SynchronousTestCase):
    def setUp(self) -> None:
        before = gc.get_threshold()
        self.addCleanup(gc.set_threshold, *before)
        self.before = before
        self.clock = Clock()
        self.garbage = Garbage(self.clock)

    def full_looks(self) -> int:
        return int(gc.get_stats()[2]["collections"])

    def test_by_the_clock(self) -> None:
        """What has grown old and is held by nobody goes with the period, and by then only."""
        self.garbage.startService()
        self.addCleanup(self.garbage.stopService)
        knot = Knot()
        gc.collect()  # it is among the oldest now
        gone = weakref.ref(knot)
        del knot
        self.clock.advance(PERIOD - 1)
        self.assertIsNotNone(gone())
        self.clock.advance(1)
        self.assertIsNone(gone())

    def test_no_full_look_between(self) -> None:
        """However many objects come to stay, no full look is taken for their sake; young cycles go all the same."""
        self.garbage.startService()
        self.addCleanup(self.garbage.stopService)
        gc.collect()
        before, gone = self.full_looks(), weakref.ref(Knot())
        kept = [[number] for number in range(1_000_000)]
        self.assertEqual((self.full_looks(), gone(), len(kept)), (before, None, 1_000_000))

    def test_stop(self) -> None:
        """Stopped, it leaves Python as it was."""
        self.garbage.startService()
        self.assertNotEqual(gc.get_threshold(), self.before)
        self.garbage.stopService()
        self.assertEqual(gc.get_threshold(), self.before)
        self.assertEqual(self.clock.getDelayedCalls(), [])
