"""How long sealing holds up the reactor: its single steps, and what somebody else would wait for.

Imported by store.py, not run by itself. Times are those of the CPU, so that nothing else on the machine counts.
"""

import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import numpy as np
from common import Valkey
from fleet import HOUR, Floats, Host, Past
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from perfmon.core.tiers import GRACE, HOURS, LATE, MINUTES, ROLL_GRACE, STAGE
from perfmon.services.sealing import Sealing
from perfmon.services.turns import Turns as SliceTurns
from perfmon.storage.store import Store
from perfmon.storage.windows import Windows

Work = Generator[None, None, dict[str, bytes]]


class WatchedSealing(Sealing):
    """The service, with a watch on each piece of its work."""

    def __init__(self, windows: Windows, clock: IReactorTime, wall: Callable[[], float]) -> None:
        super().__init__(windows, clock, wall)
        self.steps: list[float] = []  # s

    async def _done(self, work: Work, turns: SliceTurns) -> dict[str, bytes]:
        return await super()._done(self._watched(work), turns)

    def _watched(self, work: Work) -> Work:
        while True:
            started = time.thread_time()
            try:
                next(work)
            except StopIteration as done:
                result: dict[str, bytes] = done.value
                return result
            finally:
                self.steps.append(time.thread_time() - started)
            yield


class Turns:
    """The time between two turns of the reactor, as long as it runs: nothing else is done meanwhile."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._call: IDelayedCall | None = None
        self._since = 0.0
        self.lengths: list[float] = []  # s

    def start(self) -> None:
        self.lengths = []
        self._since = time.thread_time()
        self._call = self._clock.callLater(0, self._turn)

    def _turn(self) -> None:
        now = time.thread_time()
        self.lengths.append(now - self._since)
        self._since = now
        self._call = self._clock.callLater(0, self._turn)

    def stop(self) -> None:
        if self._call is not None:
            self._call.cancel()

    def wait(self, share: float) -> float:
        """What falls due at a random moment is done after so long (s), but for `share` of such moments."""
        lengths: Floats = np.array(self.lengths)
        low, high = 0.0, float(lengths.max())
        for _ in range(40):
            middle = (low + high) / 2
            late = np.maximum(lengths - middle, 0).sum() / lengths.sum()
            low, high = (middle, high) if late > share else (low, middle)
        return high


async def hold_up(store: Store, server: Valkey, hosts: Sequence[Host], day: int, wide: int) -> None:
    """Seals an hour of `hosts`, and one of a host with `wide` metrics, as the service does; prints what it held up."""
    from twisted.internet import reactor

    loop: Any = reactor
    print("ms for which the reactor is held: a step of the work; what falls due meanwhile waits")
    for what, those in ((f"{len(hosts)} hosts of 100 metrics", hosts), (f"one of {wide:,}", [_wide(day, wide)])):
        server("FLUSHALL")
        past = Past(store, WatchedSealing(store.windows, loop, lambda: past.now))  # noqa: B023 - used in this turn only
        turns = Turns(loop)
        end = day + HOUR
        await past.send(those, day, day + STAGE)
        await _watch(f"{what}, {STAGE // 60} minutes put aside", past, turns, day + STAGE + 1)
        for moment in range(day + STAGE, end, STAGE):
            await past.send(those, moment, moment + STAGE)
            await past.work(moment + STAGE + 1)
        await _watch(f"{what}, the hour sealed", past, turns, end + GRACE + 1)
        await _watch(f"{what}, rolled up to minutes", past, turns, day + MINUTES.feed + ROLL_GRACE + 1)
        await _watch(f"{what}, rolled up to hours", past, turns, day + HOURS.feed + ROLL_GRACE + LATE + 2)


async def _watch(what: str, past: Past, turns: Turns, now: float) -> None:
    sealing = past.sealing
    assert isinstance(sealing, WatchedSealing)
    sealing.steps = []
    turns.start()
    started = time.perf_counter()
    await past.work(now)
    seconds = time.perf_counter() - started
    turns.stop()
    steps = 1e3 * np.array(sealing.steps)
    print(
        f"  {what:<48} step p99 {np.percentile(steps, 99):6.2f} max {steps.max():6.2f}; "
        f"wait p99 {1e3 * turns.wait(0.01):6.2f} max {1e3 * max(turns.lengths):6.2f}  ({seconds:.1f} s)"
    )


def _wide(day: int, width: int) -> Host:
    """An hour of a host with many metrics: those of many hosts under one name."""
    hosts = [Host.of(number, day, day + HOUR) for number in range(-(-width // 100))]
    times = min((host.times for host in hosts), key=len)
    metrics = [
        f"{metric.partition(';')[0]};part={place}" for place, host in enumerate(hosts) for metric in host.metrics
    ]
    names = [f"{number:05}.{metric}" for number, metric in enumerate(metrics)]
    table = np.column_stack([host.table[: len(times)] for host in hosts])
    return Host("wide", names[:width], times, np.ascontiguousarray(table[:, :width]))
