"""Benchmarks on real agents, by the command line and by the API, with what may go wrong in the middle."""

import contextlib
import csv
import os
import re
import shutil
import signal
import subprocess
import unittest
from itertools import pairwise
from typing import Any

import orjson

from tests.integration.benchmark_case import DISK, HOSTS, BenchmarkCase
from tests.integration.harness import eventually, gone

LONG = {"seconds": 600.0}
PLAN = """
[[run]]
kind = "cpu"
on = "web[12]"
repeat = 2
seconds = 1
threads = 1

[[run]]
kind = "cpu"
on = "nobody"

[[run]]
kind = "disk-write"
on = "web2"
seconds = 1
chunk = "64KiB"
roll = "1MiB"
"""


class BenchmarkTests(BenchmarkCase):
    def test_disk_write(self) -> None:
        """All begin together, roll, and tell what the kernel tells; nothing is left, nobody departed."""
        id = self.begin("disk-write", DISK, lead=5.0)  # enough for all to be ready, on a busy machine too
        self.begun(id, *HOSTS)
        self.assertGreater(len(self.files()), 0)
        written = {host: self.child(host).io_counters().write_chars for host in HOSTS}
        run = self.over(id, "done")
        self.assertLess(run["skew"], 1.0)
        for host in HOSTS:
            figures = run["hosts"][host]["figures"]
            # the disk was measured before, with a file at most, and some lines were said
            self.assertGreater(figures["bytes"] + (1 << 20) + (1 << 17), written[host])
            self.assertEqual(figures["files"], -(-figures["bytes"] // (1 << 20)))
            self.assertEqual(figures["two_rolls"], figures["rolls"] >= 2)
            newest = self.monitor.newest(host, "system.uptime")
            eventually(lambda host=host, newest=newest: self.monitor.newest(host, "system.uptime") > newest, "samples")  # type: ignore[misc]  # mypy infers no lambda with defaults
            self.assertNotIn("departed", [event["kind"] for event in self.monitor.events(host)])
        self.assertEqual(run["totals"]["hosts"], 4)
        self.assertEqual(self.files(), [])

    def test_command_line(self) -> None:
        """Runs are begun, one after the other, followed to their end, listed, shown and cancelled."""
        for seconds in ("1", "2"):
            shown = self.perfmon("bench", "cpu", "--on", "web[12]", "--seconds", seconds, "--threads", "1")
            self.assertRegex(shown, r"web1 +done")
            self.assertRegex(shown, r"all 2: .*/s")
        disk = self.perfmon(
            "bench", "disk-write", "--on", "web1", "--seconds", "1", "--roll", "1MiB", "--chunk", "64KiB"
        )
        self.assertRegex(disk, r"disk-write, seconds 1.0, chunk 65536, roll 1048576")
        self.assertEqual(len(re.findall(r"done", self.perfmon("bench", "list"))), 6)
        runs = self.monitor.get("/api/v1/benchmarks")["benchmarks"]
        disk_run, second, first = [run["id"] for run in runs]
        lines = list(csv.reader(self.perfmon("bench", "show", first, "--csv").splitlines()))
        self.assertEqual(lines[0], ["host", "peer", "state", "figure", "value"])
        told = self.told(first)["hosts"]["web2"]["figures"]
        self.assertEqual({name: float(value) for host, _, _, name, value in lines[1:] if host == "web2"}, told)
        self.assertRegex(self.perfmon("bench", "compare", first, second), r"web1 +\S+ \S+B/s +\S+ \S+B/s +\d+\.\d\d")
        self.assertIn("nothing in common", self.perfmon("bench", "compare", first, disk_run, ends=1))
        begun = self.perfmon("bench", "cpu", "--on", "web1", "--seconds", "600", "--detach")
        id = begun.strip().rpartition("\n")[2].partition(":")[0]
        self.assertIn(id, self.perfmon("bench", "cancel", id))
        self.over(id, "cancelled")
        self.assertIn("somebody has cancelled it", self.perfmon("bench", "show", id))
        self.assertIn("no host with an agent", self.perfmon("bench", "cpu", "--on", "nobody", ends=1))
        self.assertIn("$.seconds", self.perfmon("bench", "cpu", "--on", "web1", "--seconds", "0", ends=1))

    def test_cpu_on_all(self) -> None:
        """Under a load of all CPUs nobody departs, and samples come on time."""
        id = self.begin("cpu", {"seconds": 5.0})
        self.over(id, "done")
        for host in HOSTS:
            self.assertEqual([event["kind"] for event in self.monitor.events(host)], ["up"])
            times = [time for time, _ in self.monitor.points(host, "system.uptime")]
            self.assertLessEqual(max(b - a for a, b in pairwise(times)), 2.0)

    def test_killed(self) -> None:
        """A child, an agent and the collector are killed in the middle: each host is told of, and none is missing."""
        id = self.begin("disk-write", {**DISK, "seconds": 8.0})
        self.begun(id, *HOSTS)
        self.child("web1").kill()
        agent = self.agents["web2"]
        child = self.child("web2")
        agent.signal(signal.SIGKILL)
        agent.ended()
        eventually(lambda: not child.is_running(), "its load to end with it")
        store = self.store(self.monitor)
        eventually(lambda: b'"running"' in store("HGET", f"pm:run:{id}", "host web2"), "its beginning to be kept")
        self.monitor.signal(signal.SIGKILL)
        self.monitor.ended()
        again = self.collector("--no-self", "--heartbeat-timeout", "3s", "--port", str(self.monitor.port)).ready()
        self.monitor = again
        self.agents["web2"] = self.start("web2")
        run = self.over(id, "partial")
        self.assertEqual(run["counts"], {"done": 2, "failed": 2})
        self.assertIn("its process ended", run["hosts"]["web1"]["reason"])
        self.assertIn("started anew in the middle", run["hosts"]["web2"]["reason"])
        self.assertEqual(self.files(), [])

    @unittest.skipUnless(shutil.which("fio") or os.environ.get("CI"), "fio is not installed")
    def test_fio_killed(self) -> None:
        """Where the process that has started fio is killed, fio ends too."""
        id = self.begin("fio", {"seconds": 600.0, "rw": "write", "size": 1 << 20}, "web1")
        self.begun(id, "web1")
        child = self.child("web1")
        fio = eventually(lambda: child.children(recursive=True), "fio")
        child.kill()
        self.assertIn("its process ended", self.over(id, "failed")["hosts"]["web1"]["reason"])
        eventually(lambda: all(gone(one.pid) for one in fio), "fio to end")
        eventually(lambda: not self.files(), "its files to be removed")

    def test_refused(self) -> None:
        """What an agent does not allow it refuses; the others run it."""
        self.again("web1", "--no-benchmarks")
        self.again("web2", "--benchmark-limit", "1s,1GiB")
        run = self.over(self.begin("cpu", {"seconds": 2.0, "threads": 1}), "partial")
        self.assertEqual(run["counts"], {"done": 2, "refused": 2})
        self.assertIn("--no-benchmarks", run["hosts"]["web1"]["reason"])
        self.assertIn("--benchmark-limit allows 1 s", run["hosts"]["web2"]["reason"])
        busy = self.begin("cpu", LONG, "web3")
        body = orjson.dumps({"kind": "cpu", "hosts": "web*"})
        status, answer = self.monitor.ask("/api/v1/benchmarks", body, "application/json")
        self.assertEqual((status, "such as web3" in answer["error"]), (409, True))
        self.begun(busy, "web3")
        self.agents["web3"].stop()
        self.assertEqual(self.files(), [])

    @unittest.skipUnless(os.geteuid() == 0 or os.environ.get("CI"), "only root mounts")
    def test_full_disk(self) -> None:
        """On a disk that is too small it is refused; on one that others fill in the middle it fails, and cleans up."""
        disk = self.folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(disk)], check=True)
        self.addCleanup(subprocess.run, ["umount", "--lazy", str(disk)], check=True)
        self.again("web1", "--benchmark-folder", str(disk))
        at = self.over(self.begin("disk-write", {**DISK, "roll": 4 << 20}, "web1"), "failed")["hosts"]["web1"]
        self.assertEqual(at["state"], "refused")
        self.assertRegex(at["reason"], r"it needs [\d,]+ bytes in .*: smaller files take less")
        id = self.begin("disk-write", {**DISK, "seconds": 60.0}, "web1")
        self.begun(id, "web1")
        with (disk / "another").open("wb", buffering=0) as other:

            def failed() -> Any:
                # again and again: the load has room once more where it removes a file just after the disk was full
                with contextlib.suppress(OSError):
                    while True:
                        other.write(bytes(1 << 16))
                return (run := self.told(id))["state"] == "failed" and run

            at = eventually(failed, "it to be failed")["hosts"]["web1"]
        self.assertEqual((at["state"], "No space left on device" in at["reason"]), ("failed", True), at)
        self.assertEqual([path.name for path in disk.rglob("*") if path.is_file()], ["another"])
        (disk / "another").unlink()
        self.over(self.begin("disk-write", DISK, "web1"), "done")

    def test_plan(self) -> None:
        """The runs of a file are run one after the other; those that are not done are named, and the others are run."""
        plan = self.folder / "plan.toml"
        plan.write_text(PLAN)
        busy = self.begin("cpu", {"seconds": 2.0, "threads": 1}, "web1")
        shown = self.perfmon("bench", "run", str(plan), ends=1)
        self.assertIn("perfmon: run 3, cpu: no host with an agent that is there matches", shown)
        runs = self.monitor.get("/api/v1/benchmarks")["benchmarks"]
        expected = [("disk-write", "done"), ("cpu", "done"), ("cpu", "done"), ("cpu", "done")]
        self.assertEqual([(run["kind"], run["state"]) for run in runs], expected)
        self.assertEqual((runs[-1]["id"], runs[0]["parameters"]["chunk"]), (busy, 1 << 16))
        starts = [run["start"] for run in runs]
        self.assertEqual(starts, sorted(starts, reverse=True))
        self.assertGreaterEqual(starts[2], starts[3] + 2.0)  # it had waited
