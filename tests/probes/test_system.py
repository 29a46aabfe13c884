"""The machine as a whole."""

import time
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes import system
from tests.probes.fakes import fake_psutil


class SystemTests(SynchronousTestCase):
    def test_processes(self) -> None:
        """The processes are counted."""
        self.patch(system, "psutil", fake_psutil())
        self.assertEqual(system.processes(), {"perfmon.processes.count": 3})

    def test_processes_here(self) -> None:
        """A real machine has at least the process of this test."""
        self.assertGreaterEqual(system.processes()["perfmon.processes.count"], 1)

    def test_uptime_here(self) -> None:
        """A real machine's uptime does not fall, and is no less than its monotonic clock, which stops in sleep."""
        floor = time.monotonic()
        first = system.uptime()["system.uptime"]
        self.assertGreater(first, floor - 1.0)
        self.assertGreaterEqual(system.uptime()["system.uptime"], first)

    def test_uptime_without_its_clock(self) -> None:
        """Where no clock runs since boot, the uptime is the time since psutil's time of boot."""
        fake = fake_psutil()
        fake.boot_time = lambda: 1000.0
        self.patch(system, "psutil", fake)
        self.patch(system, "time", SimpleNamespace(time=lambda: 1060.1))
        self.assertEqual(system.uptime(), {"system.uptime": 60.1})  # 60.09999999999991 before it is rounded
