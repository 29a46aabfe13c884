"""Tests for a load in a process of its own, as an agent starts it."""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.harness import PATIENCE, eventually

DISK = {"chunk": 1 << 16, "roll": 1 << 20, "seconds": 1.0, "fsync": "never"}


class ProcessTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "load"

    def start(self, kind: str, parameters: Any) -> "subprocess.Popen[str]":
        task = {"kind": kind, "parameters": parameters, "folder": str(self.folder)}
        task |= {"run": "7", "host": "web1", "seconds": parameters.get("seconds", 60.0)}
        process = subprocess.Popen(
            [sys.executable, "-m", "perfmon.loads"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)  # type: ignore[union-attr]  # it was asked for
        self.say(process, json.dumps(task))
        return process

    def say(self, process: "subprocess.Popen[str]", line: str) -> None:
        assert process.stdin is not None
        process.stdin.write(line + "\n")
        process.stdin.flush()

    def next(self, process: "subprocess.Popen[str]", type: str) -> Any:
        """The next line of this type."""
        assert process.stdout is not None
        for line in process.stdout:
            said = json.loads(line)
            if said["type"] == type:
                return said
        raise AssertionError(f"ended without {type}")

    def hang_up(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin is not None
        process.stdin.close()

    def test_whole(self) -> None:
        """It gets ready, waits, begins when it is told to, and ends with figures; what it wrote is gone."""
        process = self.start("disk-write", DISK)
        self.assertIn("expected_rate", self.next(process, "ready")["figures"])
        self.say(process, "go")
        self.next(process, "begun")
        self.next(process, "progress")
        written = self.written(process)
        result = self.next(process, "result")
        self.assertFalse(result["early"])
        self.assertGreaterEqual(result["figures"]["bytes"], written)
        self.hang_up(process)
        self.assertEqual(process.wait(PATIENCE), 0)
        self.assertFalse(self.folder.exists())

    def written(self, process: "subprocess.Popen[str]") -> int:
        """Bytes that the kernel says it has written since the disk was measured, at most: 0 where it does not say."""
        try:
            fields = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
        except OSError:
            return 0
        return max(0, int(fields["wchar"]) - 2 * (1 << 20) - (1 << 16))

    def test_ended_early(self) -> None:
        """When whoever started it hangs up it ends, and says that it is early; before it has begun it just ends."""
        process = self.start("disk-write", {**DISK, "seconds": 1_000.0})
        self.next(process, "ready")
        self.say(process, "go")
        self.next(process, "begun")
        self.hang_up(process)
        self.assertTrue(self.next(process, "result")["early"])
        process.wait(PATIENCE)
        self.assertFalse(self.folder.exists())
        waiting = self.start("disk-write", DISK)
        self.next(waiting, "ready")
        self.hang_up(waiting)
        self.assertEqual(waiting.wait(PATIENCE), 0)
        self.assertFalse(self.folder.exists())

    def test_terminated(self) -> None:
        """A SIGTERM leaves no file either."""
        process = self.start("disk-write", {**DISK, "seconds": 1_000.0})
        self.next(process, "ready")
        self.say(process, "go")
        self.next(process, "progress")
        self.assertTrue(self.folder.exists())
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        eventually(lambda: not self.folder.exists(), "the files to be removed")

    def test_refused(self) -> None:
        """A load that this machine has no room for is refused."""
        process = self.start("disk-write", {"roll": 1 << 40})
        self.assertIn("bytes in", self.next(process, "refused")["reason"])
        self.assertEqual(process.wait(PATIENCE), 0)
