"""A load of the CPUs: SHA-256, in as many threads as are asked for. Python lets them compute side by side."""

import os
import threading
from collections.abc import Callable, Sequence
from hashlib import sha256

from perfmon.core.loads import Cpu
from perfmon.core.messages import Figures, Peer
from perfmon.loads.running import PROGRESS, Clock, Outcome, rate_figures

BLOCK = 1 << 20  # bytes; hashing one takes a millisecond, so a thread ends that soon


class CpuRunning:
    """The load on this machine."""

    def __init__(self, load: Cpu, clock: Clock) -> None:
        """`clock` is in s."""
        self._load = load
        self._clock = clock
        self._threads = load.threads or os.cpu_count() or 1
        self._blocks = [0] * self._threads
        self._end = threading.Event()

    def prepare(self) -> Figures:
        return {"threads": self._threads}

    def meet(self, peers: Sequence[Peer]) -> None:
        """Nobody."""

    def run(self, stopped: Callable[[], bool], tell: Callable[[float, Figures], None]) -> Outcome:
        begun = self._clock()
        workers = [
            threading.Thread(target=self._work, args=(number,), name=f"sha256-{number}")
            for number in range(self._threads)
        ]
        for worker in workers:
            worker.start()
        while (passed := self._clock() - begun) < self._load.seconds and not stopped():
            tell(passed / self._load.seconds, self._figures(passed))
            self._end.wait(min(PROGRESS, self._load.seconds - passed))
        self._end.set()
        for worker in workers:
            worker.join()
        return Outcome(self._figures(self._clock() - begun))

    def _work(self, number: int) -> None:
        block = bytes(BLOCK)
        while not self._end.is_set():
            sha256(block).digest()
            self._blocks[number] += 1

    def _figures(self, seconds: float) -> Figures:
        sizes = [blocks * BLOCK for blocks in self._blocks]
        slowest, fastest = (round(size / seconds) if seconds > 0 else 0 for size in (min(sizes), max(sizes)))
        more = {"threads": self._threads, "slowest_thread": slowest, "fastest_thread": fastest}
        return rate_figures(sum(sizes), seconds, more)

    def clean(self) -> None:
        self._end.set()
