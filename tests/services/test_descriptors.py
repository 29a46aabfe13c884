"""Tests for `perfmon.services.descriptors`."""

import os
import resource

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.services import descriptors
from perfmon.services.descriptors import SPARE, Descriptors, can_open
from tests.logs import logged
from tests.services.recording import RecordingSource


class DescriptorsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.free = 10_000
        self.looks = 0
        self.limits = (20_000, 20_000)
        self.patch(resource, "getrlimit", lambda which: self.limits)
        self.ports = [RecordingSource(), RecordingSource()]
        self.descriptors = Descriptors(self.clock, self.can_open)
        for port in self.ports:
            self.descriptors.guard(port)

    def can_open(self, count: int) -> bool:
        self.looks += 1
        return count <= self.free

    def start(self) -> None:
        self.descriptors.startService()
        self.addCleanup(self.descriptors.stopService)

    def heard(self) -> list[str]:
        """What the ports were told, all the same."""
        self.assertEqual(self.ports[0].heard, self.ports[1].heard)
        return self.ports[0].heard

    def test_short(self) -> None:
        """Ports wait while descriptors are short, and go on when there are clearly more; each is told of once."""
        self.start()
        with logged() as log:
            for free, heard in (
                (SPARE, []),
                (SPARE - 1, ["pause"]),
                (0, ["pause"]),
                (SPARE, ["pause"]),
                (SPARE * 3 // 2 - 1, ["pause"]),
                (SPARE * 3 // 2, ["pause", "resume"]),
                (SPARE, ["pause", "resume"]),
                (0, ["pause", "resume", "pause"]),
            ):
                self.free = free
                for _ in range(4):
                    self.clock.advance(0.25)
                self.assertEqual(self.heard(), heard, free)
        short = "file descriptors run short (ulimit -n is 20000): new connections wait, those there are go on"
        self.assertEqual(log.infos, [short, "there are file descriptors again: new connections are taken", short])

    def test_crowd(self) -> None:
        """Many connections in one turn of the reactor are looked at before the next one."""
        self.start()
        self.free = 0
        with logged():
            for number in range(1, descriptors._CROWD + 1):
                self.assertEqual(self.heard(), [], number)
                self.descriptors.accepted()
        self.assertEqual(self.heard(), ["pause"])
        for _ in range(1_000):
            self.descriptors.accepted()
        self.assertEqual(self.looks, 1)

    def test_bounded(self) -> None:
        """Once in each turn of the reactor in which connections were accepted, ports are bound anew."""
        self.start()
        for _ in range(3):
            self.descriptors.accepted()
        self.assertEqual([port.bounds for port in self.ports], [0, 0])
        self.clock.advance(0)
        self.assertEqual([port.bounds for port in self.ports], [1, 1])
        self.clock.advance(0)
        self.descriptors.accepted()
        self.clock.advance(0)
        self.assertEqual([port.bounds for port in self.ports], [2, 2])
        self.descriptors.accepted()  # in the last turn before the end

    def test_few_to_begin_with(self) -> None:
        """A process that may open few files keeps a quarter of them; one without a limit, as many as any other."""
        for limit, spare in ((100, 25), (resource.RLIM_INFINITY, SPARE)):
            self.limits = (limit, limit)
            self.free = spare
            self.descriptors.startService()
            self.clock.advance(0.25)
            self.assertEqual(self.heard(), [])
            self.free = spare - 1
            with logged():
                self.clock.advance(0.25)
                self.assertEqual(self.heard(), ["pause"])
                self.free = 10_000
                self.clock.advance(0.25)
            self.descriptors.stopService()
            for port in self.ports:
                port.heard.clear()

    def test_stop(self) -> None:
        """Stopping ends the looks; before the start and after it a crowd is not looked at."""
        for _ in range(100):
            self.descriptors.accepted()
        self.descriptors.startService()
        self.descriptors.stopService()
        self.assertEqual((self.looks, self.clock.getDelayedCalls()), (0, []))


class CanOpenTests(SynchronousTestCase):
    def test_real(self) -> None:
        """It says what this process can do, and leaves nothing open."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        opened = [os.dup(0) for _ in range(3)]
        for one in opened:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened) + 20, before[1]))
        for _ in range(50):  # what was left open would be missed at some time
            self.assertTrue(can_open(10))
            self.assertFalse(can_open(1_000))
            self.assertTrue(can_open(1))
