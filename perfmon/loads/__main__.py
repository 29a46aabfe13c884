"""One load in a process of its own, told what to do on standard input, and telling of it on standard output.

    python -m perfmon.loads

The first line in is a `Task` as JSON; between it and ``go``, on which it begins at once, may come ``{"peers": [...]}``.
Out come lines of JSON, each with its ``type``: ``ready`` or ``refused``, ``begun`` (with the time, s since the epoch),
``progress``, and ``result`` or ``failed``. When standard input ends, because whoever started it has gone or wants no
more of it, the load ends early. What it wrote is removed in any case but that of a SIGKILL.
"""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from perfmon.core.loads import Cpu, DiskWrite, Echo, Fio, Iperf3, Load, Task, checked_load
from perfmon.core.messages import Peer
from perfmon.loads.cpu import CpuRunning
from perfmon.loads.disk import DiskRunning
from perfmon.loads.echo import EchoRunning
from perfmon.loads.fio import FioRunning
from perfmon.loads.iperf3 import Iperf3Running
from perfmon.loads.running import MAX_OUTPUT, Refused, Running


class _Met(msgspec.Struct):
    peers: list[Peer]


def running(load: Load, task: Task) -> Running:
    """The load on this machine."""
    if isinstance(load, DiskWrite):
        return DiskRunning(load, Path(task.folder), time.perf_counter)
    if isinstance(load, Fio):
        return FioRunning(load, Path(task.folder), time.perf_counter)
    if isinstance(load, Echo):
        return EchoRunning(load, task.run, task.host, (task.address, task.port), time.perf_counter)
    if isinstance(load, Iperf3):
        return Iperf3Running(load, task.seconds, (task.address, task.port), time.perf_counter)
    assert isinstance(load, Cpu)
    return CpuRunning(load, time.perf_counter)


def tell(type: str, **more: Any) -> None:
    """One line out; nobody who reads it is no reason to stop: the end of the input is."""
    try:
        sys.stdout.write(json.dumps({"type": type, **more}) + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        pass


def main() -> None:
    os.setpgid(0, 0)  # with what it starts it can be killed as a whole
    task = msgspec.json.decode(sys.stdin.readline(), type=Task)
    load = running(checked_load(task.kind, task.parameters), task)
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it wrote is removed
    try:
        tell("ready", figures=load.prepare())
        while (line := sys.stdin.readline().strip()) != "go":
            if not line:
                return
            load.meet(msgspec.json.decode(line, type=_Met).peers)
        tell("begun", at=time.time())
        threading.Thread(target=_watch, args=(ended,), daemon=True).start()
        outcome = load.run(ended.is_set, lambda share, figures: tell("progress", share=share, figures=figures))
        output = outcome.output if len(outcome.output) <= MAX_OUTPUT else ""
        tell("result", figures=outcome.figures, pairs=outcome.pairs, output=output, early=ended.is_set())
    except Refused as problem:
        tell("refused", reason=str(problem))
    except (OSError, ValueError) as problem:  # the system, or a program that says what cannot be read
        tell("failed", reason=str(problem))
    finally:
        load.clean()


def _watch(ended: threading.Event) -> None:
    """Sets `ended` at the end of the input."""
    while sys.stdin.readline():
        pass
    ended.set()


if __name__ == "__main__":
    main()
