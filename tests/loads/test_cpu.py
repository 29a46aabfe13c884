"""Tests for `perfmon.loads.cpu`."""

import os
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.loads import Cpu
from perfmon.loads.cpu import BLOCK, CpuRunning


class CpuRunningTests(SynchronousTestCase):
    def test_figures(self) -> None:
        """All that its threads have hashed counts; without a number there are as many as CPUs."""
        for threads, expected in ((0, os.cpu_count()), (3, 3)):
            running = CpuRunning(Cpu(seconds=1.0, threads=threads), time.perf_counter)
            self.assertEqual(running.prepare(), {"threads": expected})
            figures = running.run(lambda: False, lambda share, figures: None).figures
            self.assertGreaterEqual(float(figures["seconds"]), 1.0)
            self.assertEqual(int(figures["bytes"]) % BLOCK, 0)
            self.assertGreater(int(figures["bytes"]), 0)
            self.assertLessEqual(int(figures["slowest_thread"]), int(figures["fastest_thread"]))

    def test_stopped(self) -> None:
        """It ends when it is told to, and leaves no thread behind."""
        before = threading.active_count()
        running = CpuRunning(Cpu(seconds=1_000.0, threads=2), time.perf_counter)
        stop = threading.Event()
        figures = running.run(stop.is_set, lambda share, figures: stop.set()).figures
        self.assertLess(float(figures["seconds"]), 900)
        self.assertEqual(threading.active_count(), before)
