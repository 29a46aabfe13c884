"""A load by fio, where it is installed: one job, whose JSON is taken for the figures.

https://fio.readthedocs.io/en/latest/fio_doc.html tells what its parameters and figures are. Only those of
`perfmon.core.loads.Fio` can be given; it is started without a shell.
"""

import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from perfmon.core.loads import Fio, most_bytes
from perfmon.core.messages import Figures, Peer
from perfmon.loads.running import PROGRESS, Clock, Outcome, Refused, check_room, rate_figures

# fio lays out its files before its time begins, and may take so long beyond that (s).
LAYOUT = 60.0

_NS = 1e9


class FioRunning:
    """The load in a folder of its own, which it makes and removes."""

    def __init__(self, load: Fio, folder: Path, clock: Clock) -> None:
        """`clock` is in s."""
        self._load = load
        self._folder = folder
        self._clock = clock
        self._process: subprocess.Popen[str] | None = None

    def prepare(self) -> Figures:
        program = shutil.which("fio")
        if program is None:
            raise Refused("fio is not installed on this machine")
        self._folder.mkdir(parents=True, exist_ok=False)
        check_room(self._folder, most_bytes(self._load))
        version = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout.strip()
        return {"program": version}

    def meet(self, peers: Sequence[Peer]) -> None:
        """Nobody."""

    def run(self, stopped: Callable[[], bool], tell: Callable[[float, Figures], None]) -> Outcome:
        load, begun = self._load, self._clock()
        # Jobs as threads: a job in a process makes a session of its own, and outlives whoever is killed.
        self._process = subprocess.Popen(
            [
                *("fio", "--name=perfmon", "--output-format=json", "--group_reporting", "--time_based", "--thread"),
                *(f"--directory={self._folder}", f"--rw={load.rw}", f"--bs={load.bs}", f"--size={load.size}"),
                *(f"--runtime={load.seconds:.0f}", f"--ioengine={load.ioengine}", f"--iodepth={load.iodepth}"),
                *(f"--numjobs={load.numjobs}", f"--direct={int(load.direct)}"),
                *(f"--fsync={load.fsync}", f"--fallocate={load.fallocate}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while True:
            try:
                out, errors = self._process.communicate(timeout=PROGRESS)
                break
            except subprocess.TimeoutExpired:
                passed = self._clock() - begun
                tell(min(1.0, passed / load.seconds), {})
                if stopped() or passed > load.seconds + LAYOUT:
                    self._process.terminate()  # it writes what it has
        found = out.find("{")  # warnings may come before
        if found < 0:
            last = errors.strip().rpartition("\n")[2]
            raise OSError(f"fio ended with {self._process.returncode}: {last[:200]}")
        told = json.loads(out[found:])
        figures = figures_of(told)
        if not figures["bytes"] and not stopped():
            raise OSError("fio has done nothing")
        return Outcome(figures, output=json.dumps(told))

    def clean(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        with suppress(FileNotFoundError):
            shutil.rmtree(self._folder)


def figures_of(told: Any) -> Figures:
    """What fio's JSON says of its job: bytes per second and operations per second in both directions together.

    The latencies (s) are those of completion, of the direction that has more operations.
    """
    (job,) = told["jobs"]
    ways = {way: job[way] for way in ("read", "write") if job[way]["total_ios"]}
    if not ways:
        return rate_figures(0, job["job_runtime"] / 1000, {})
    busiest = max(ways.values(), key=lambda way: way["total_ios"])
    shares = busiest["clat_ns"].get("percentile", {})
    latencies = {
        name: shares[key] / _NS
        for name, key in (("p50", "50.000000"), ("p95", "95.000000"), ("p99", "99.000000"))
        if key in shares
    }
    more: Figures = {
        "iops": sum(way["iops"] for way in ways.values()),
        **{f"{name}_rate": way["bw_bytes"] for name, way in ways.items()},
        **latencies,
        "longest": busiest["clat_ns"]["max"] / _NS,
    }
    figures = rate_figures(sum(way["io_bytes"] for way in ways.values()), job["job_runtime"] / 1000, more)
    return figures | {"rate": sum(way["bw_bytes"] for way in ways.values())}
