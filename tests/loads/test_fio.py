"""Tests for `perfmon.loads.fio`: what it makes of fio's words, and the real fio where it is installed."""

import json
import os
import shutil
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.loads import Fio
from perfmon.loads.fio import FioRunning, figures_of
from perfmon.loads.running import Refused


def way(ios: int, **others: Any) -> dict[str, Any]:
    """One direction as fio tells of it."""
    shares = {"50.000000": 1_000_000, "95.000000": 2_000_000, "99.000000": 3_000_000}
    latency = {"max": 4_000_000, "percentile": shares} if ios else {"max": 0}
    return {
        "total_ios": ios,
        "iops": ios / 2,
        "io_bytes": 100 * ios,
        "bw_bytes": 50 * ios,
        "clat_ns": latency,
        **others,
    }


class FiguresTests(SynchronousTestCase):
    def test_one_way(self) -> None:
        """Of one direction, its own figures."""
        told = {"jobs": [{"read": way(10), "write": way(0), "job_runtime": 2_000}]}
        self.assertEqual(
            figures_of(told),
            {
                "bytes": 1_000,
                "seconds": 2.0,
                "rate": 500,
                "iops": 5.0,
                "read_rate": 500,
                "p50": 0.001,
                "p95": 0.002,
                "p99": 0.003,
                "longest": 0.004,
            },
        )

    def test_both_ways(self) -> None:
        """Of both, the sums; latencies of the busier."""
        told = {"jobs": [{"read": way(10, clat_ns={"max": 9}), "write": way(30), "job_runtime": 2_000}]}
        found = figures_of(told)
        self.assertEqual((found["rate"], found["iops"], found["bytes"]), (2_000, 20.0, 4_000))
        self.assertEqual((found["read_rate"], found["write_rate"], found["longest"]), (500, 1_500, 0.004))

    def test_nothing(self) -> None:
        """Of a job that was ended before it had done anything there is nothing."""
        found = figures_of({"jobs": [{"read": way(0), "write": way(0), "job_runtime": 0}]})
        self.assertEqual(found, {"bytes": 0, "seconds": 0.0, "rate": 0.0})


class FioTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "load"

    def running(self, **parameters: Any) -> FioRunning:
        return FioRunning(Fio(**{"seconds": 1.0, "size": 1 << 20, **parameters}), self.folder, time.perf_counter)

    def test_not_installed(self) -> None:
        """A machine without fio refuses."""
        self.patch(os, "environ", {"PATH": str(self.folder)})
        with self.assertRaisesRegex(Refused, "not installed"):
            self.running().prepare()

    @unittest.skipUnless(shutil.which("fio") or os.environ.get("CI"), "fio is not installed")
    def test_real(self) -> None:
        """fio runs the pattern that was asked for, tells its figures, and leaves nothing behind."""
        for rw, there, absent in (("write", "write_rate", "read_rate"), ("randread", "read_rate", "write_rate")):
            running = self.running(rw=rw, numjobs=2)
            self.assertIn("fio-", str(running.prepare()["program"]))
            outcome = running.run(lambda: False, lambda share, figures: None)
            figures = outcome.figures
            self.assertEqual(figures_of(json.loads(outcome.output)), figures)
            self.assertGreater(float(figures["rate"]), 0)
            self.assertIn(there, figures)
            self.assertNotIn(absent, figures)
            running.clean()
            self.assertFalse(self.folder.exists())

    @unittest.skipUnless(shutil.which("fio") or os.environ.get("CI"), "fio is not installed")
    def test_stopped(self) -> None:
        """It ends early with what it has."""
        running = self.running(rw="write", seconds=600.0)
        running.prepare()
        figures = running.run(lambda: True, lambda share, figures: None).figures
        self.assertLess(float(figures["seconds"]), 60.0)
        running.clean()
