"""What ingest.py prints: figures in a table, beside them the target, and who used the core meanwhile.

Imported by the others, not run by itself.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from common import SERVER_CORE, Collector, busy_of, cpu_of


@dataclass(frozen=True, slots=True)
class Load:
    """What a stretch of work took."""

    seconds: float
    collector: float  # share of the server's core
    store: float
    others: float  # the same core, used by neither
    sender: float  # share of its own core


class Watch:
    """From its making on, the CPU time of a collector, of its store and of this process."""

    def __init__(self, pids: Sequence[int]) -> None:
        """`pids` are one or two processes: the collector, and its store if it has one."""
        self._pids = pids
        self._cpu = [cpu_of(pid) for pid in pids]
        self._busy = busy_of(SERVER_CORE)
        self._own = time.process_time()
        self._started = time.perf_counter()

    @classmethod
    def over(cls, collector: Collector) -> "Watch":
        return cls(collector.pids)

    def load(self, seconds: float | None = None) -> Load:
        """Since the making; `seconds` is how long the work took, by default until now."""
        taken = time.perf_counter() - self._started if seconds is None else seconds
        cpu = [cpu_of(pid) - before for pid, before in zip(self._pids, self._cpu, strict=True)]
        others = max(0.0, busy_of(SERVER_CORE) - self._busy - sum(cpu))
        own = time.process_time() - self._own
        return Load(taken, cpu[0] / taken, sum(cpu[1:]) / taken, others / taken, own / taken)


@dataclass(frozen=True, slots=True)
class Figure:
    """A row of the table."""

    what: str
    value: str
    target: str = ""
    spread: str = ""
    load: Load | None = None
    more: str = ""
    rate: float = 0.0  # samples per second, where that is the figure

    @property
    def efficiency(self) -> float:
        """Samples for each second of CPU that collector and store used; 0 where the figure is no rate."""
        return self.rate / (self.load.collector + self.load.store) if self.load is not None else 0.0


def header() -> str:
    return (
        f"{'':<50} {'median':>10} {'target':>8} {'min - max':>15} {'M/CPU s':>7} "
        f"{'collector':>9} {'store':>6} {'others':>6} {'sender':>6}"
    )


def row(figure: Figure) -> str:
    load = figure.load
    shares = (
        " " * 30 if load is None else f"{load.collector:9.0%} {load.store:6.0%} {load.others:6.0%} {load.sender:6.0%}"
    )
    efficiency = f"{figure.efficiency / 1e6:.3f}" if figure.efficiency else ""
    values = f"{figure.what:<50} {figure.value:>10} {figure.target:>8} {figure.spread:>15} {efficiency:>7}"
    return f"{values} {shares}  {figure.more}".rstrip()


def rate(what: str, target: float | None, passes: Sequence[tuple[float, Load]], more: str = "") -> Figure:
    """The median of (samples per second, load) of some passes, in millions; the load is that of the median one."""
    rates = [found for found, _ in passes]
    middle = statistics.median_low(rates)
    load = next(load for found, load in passes if found == middle)
    return Figure(
        what,
        f"{middle / 1e6:.3f} M/s",
        "" if target is None else f"{target / 1e6:g} M/s",
        f"{min(rates) / 1e6:.3f} - {max(rates) / 1e6:.3f}",
        load,
        more,
        middle,
    )
