"""Tests for `perfmon.loads.disk`: real files, and a clock of the test's own."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.loads import DiskWrite
from perfmon.core.messages import Figures
from perfmon.loads.disk import DiskRunning
from perfmon.loads.running import Refused

KB = 1_000


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class DiskRunningTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "load"

    def running(self, step: float = 0.01, **parameters: float | str) -> DiskRunning:
        """A load whose clock goes on by `step` (s) each time that it is looked at."""
        ticks: Iterator[int] = count()
        load = DiskWrite(**{"chunk": 10 * KB, "roll": 50 * KB, "seconds": 2.0, **parameters})  # type: ignore[arg-type]  # a field of each has its own type
        return DiskRunning(load, self.folder, lambda: next(ticks) * step)

    def sizes(self) -> dict[str, int]:
        return {path.name: path.stat().st_size for path in sorted(self.folder.iterdir())}

    def run_(self, running: DiskRunning, stopped: Callable[[], bool] = lambda: False) -> Figures:
        return running.run(stopped, lambda share, figures: None).figures

    def test_rolls(self) -> None:
        """Files are filled to their size, one after the other, and the last two are there at the end."""
        running = self.running()
        running.prepare()
        self.assertEqual(self.sizes(), {})
        seen = []
        figures = running.run(lambda: False, lambda share, figures: seen.append(self.sizes())).figures
        files, rest = divmod(int(figures["bytes"]), 50 * KB)
        self.assertEqual((figures["files"], figures["rolls"]), (files + bool(rest), files + bool(rest) - 1))
        self.assertEqual(sorted(self.sizes().values()), sorted([50 * KB, rest or 50 * KB]))
        self.assertLessEqual(max(map(len, seen)), 2)
        self.assertTrue(figures["two_rolls"])
        running.clean()
        self.assertFalse(self.folder.exists())
        running.clean()

    def test_figures(self) -> None:
        """Rate and latencies are as the clock had them."""
        running = self.running()
        running.prepare()
        figures = self.run_(running)
        chunks = int(figures["bytes"]) // (10 * KB)
        self.assertAlmostEqual(float(figures["rate"]), float(figures["bytes"]) / float(figures["seconds"]))
        self.assertLess(abs(float(figures["p50"]) - 0.01), 0.0002)
        self.assertLess(abs(float(figures["seconds"]) - 2.0), 0.05)
        self.assertLessEqual(abs(chunks - 100), 2)  # one look before a chunk, one after it

    def test_expected(self) -> None:
        """Before it starts it says whether two rolls fit into the time, as it has measured the disk."""
        expected = self.running(step=0.1).prepare()
        self.assertEqual(expected["two_rolls_expected"], float(str(expected["expected_rolls"])) >= 2)
        self.folder.rmdir()
        slow = self.running(step=0.6, roll=10_000 * KB).prepare()
        self.assertFalse(slow["two_rolls_expected"])

    def test_fsync(self) -> None:
        """What is written is had on the disk as often as it was asked for."""
        for fsync, expected in (("never", 0), ("roll", "files"), ("chunk", "chunks")):
            running = self.running(fsync=fsync)
            running.prepare()
            synced: list[int] = []
            self.patch(os, "fsync", synced.append)
            figures = self.run_(running)
            counts = {"files": figures["files"], "chunks": int(figures["bytes"]) // (10 * KB)}
            self.assertEqual(len(synced), counts.get(str(expected), expected), fsync)
            running.clean()

    def test_no_room(self) -> None:
        """Where there is too little room nothing is written, and the refusal says how much it takes."""
        self.patch(shutil, "disk_usage", lambda folder: Usage(1_000 * KB, 850 * KB, 150 * KB))
        with self.assertRaises(Refused) as refused:
            self.running().prepare()
        self.assertIn("120,000 bytes", str(refused.exception))
        self.assertEqual(self.sizes(), {})

    def test_full(self) -> None:
        """A disk that is full in the middle ends the run with the system's words, and what was written goes."""
        running = self.running()
        running.prepare()
        room, write = [300 * KB], os.write

        def limited(file: int, data: memoryview) -> int:
            if room[0] <= 0:
                raise OSError(28, "No space left on device")
            room[0] -= len(data)
            return write(file, data)

        self.patch(os, "write", limited)
        with self.assertRaisesRegex(OSError, "No space left"):
            self.run_(running)
        running.clean()
        self.assertFalse(self.folder.exists())

    def test_stopped(self) -> None:
        """It ends when it is told to, with what it has."""
        running = self.running(seconds=1_000.0)
        running.prepare()
        looks = count()
        figures = self.run_(running, lambda: next(looks) >= 7)
        self.assertEqual(figures["bytes"], 70 * KB)

    def test_progress(self) -> None:
        """It tells of its progress twice a second, in rising shares."""
        running = self.running()
        running.prepare()
        shares: list[float] = []
        running.run(lambda: False, lambda share, figures: shares.append(share))
        self.assertEqual(len(shares), 3)
        self.assertEqual(shares, sorted(shares))
        self.assertLess(shares[-1], 1.0)
