"""Whether `disk-write` and fio tell the same of one disk: the same pattern by both, in turn.

Chunks of 1 MiB one after the other into a file that grows, each of which the disk is to have before the next one. fio
has to be installed.

python benchmarks/fio_agreement.py [--seconds 5] [--repeat 5] [--folder /tmp]
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from common import machine, versions

from perfmon.core.loads import Task

ALLOWED = 0.15

MIB = 1 << 20

# More than is written in the time: neither rolls, nor begins anew.
FILE = 8 << 30

KINDS: dict[str, dict[str, Any]] = {
    "disk-write": {"chunk": MIB, "roll": FILE, "fsync": "chunk"},
    "fio": {"rw": "write", "bs": MIB, "size": FILE, "fsync": 1, "fallocate": "none"},
}


def rate(kind: str, seconds: float, folder: Path) -> float:
    """Bytes per second of one run, as an agent would start it."""
    parameters = {**KINDS[kind], "seconds": seconds}
    task = Task(kind=kind, parameters=parameters, folder=str(folder / kind), run="7", host="here", seconds=seconds)
    with subprocess.Popen(
        [sys.executable, "-m", "perfmon.loads"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(task).decode() + "\ngo\n")
        process.stdin.flush()
        for line in process.stdout:
            said = json.loads(line)
            if said["type"] == "result":
                return float(said["figures"]["rate"])
            assert said["type"] in ("ready", "begun", "progress"), said
    raise AssertionError(f"{kind} told of no result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=5.0, help="of each run (default 5)")
    parser.add_argument("--repeat", type=int, default=5, help="runs of each (default 5)")
    parser.add_argument("--folder", default=tempfile.gettempdir(), help="on the disk to be measured")
    given = parser.parse_args()
    print(f"machine   {machine()}\nversions  {versions()}\ncommand   {shlex.join(sys.argv)}")
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        rates = [{kind: rate(kind, given.seconds, Path(name)) for kind in KINDS} for _ in range(given.repeat)]
    for kind in KINDS:
        figures = [one[kind] / 1e6 for one in rates]
        print(f"{kind:11}{statistics.median(figures):8.1f} MB/s median, {min(figures):.1f} to {max(figures):.1f}")
    ratios = [one["disk-write"] / one["fio"] for one in rates]
    ends = f"{min(ratios):.2f} to {max(ratios):.2f}"
    print(f"ratio      {statistics.median(ratios):8.2f} median, {ends} (1 ± {ALLOWED:g} allowed)")


if __name__ == "__main__":
    main()
