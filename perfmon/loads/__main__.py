"""One load in a process of its own, told what to do on standard input, and telling of it on standard output.

    python -m perfmon.loads

The first line in is ``{"kind": ..., "parameters": {...}, "folder": ...}``; ``go`` on the next begins, at once. Out come
lines of JSON, each with its ``type``: ``ready`` or ``refused``, ``begun`` (with the time, s since the epoch),
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

from perfmon.core.loads import Cpu, DiskWrite, Fio, Load, checked_load
from perfmon.loads.cpu import CpuRunning
from perfmon.loads.disk import DiskRunning
from perfmon.loads.fio import FioRunning
from perfmon.loads.running import Figures, Refused, Running


def running(load: Load, folder: Path) -> Running:
    """The load on this machine; `folder` is its own, and not there yet."""
    if isinstance(load, DiskWrite):
        return DiskRunning(load, folder, time.perf_counter)
    if isinstance(load, Fio):
        return FioRunning(load, folder, time.perf_counter)
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
    asked = json.loads(sys.stdin.readline())
    load = running(checked_load(asked["kind"], asked["parameters"]), Path(asked["folder"]))
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what it wrote is removed
    try:
        tell("ready", figures=load.prepare())
        if sys.stdin.readline().strip() != "go":
            return
        tell("begun", at=time.time())
        threading.Thread(target=_watch, args=(ended,), daemon=True).start()
        figures: Figures = load.run(ended.is_set, lambda share, figures: tell("progress", share=share, figures=figures))
        tell("result", figures=figures, early=ended.is_set())
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
