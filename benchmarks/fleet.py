"""A fleet of the past: what its agents would have sent, and what the collector would have made of it in the store.

Imported by the others, not run by itself. The values are made to look like those of `perfmon.probes`: under the same
names, with as many digits, steady where hosts are steady. How well samples are packed depends on nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perfmon.core.heads import confirm, encode
from perfmon.core.numbering import Numbering, Row
from perfmon.core.tiers import DAY, MS
from perfmon.services.sealing import Sealing
from perfmon.storage.store import Store

HOUR = 3600

STEP = 10  # s, between two rounds of an agent; they fall on multiples of it

# Share of the rounds that are missing: an agent that was restarted, a probe that hung.
MISSING = 0.002

PAGE = 4096.0  # bytes
SECTOR = 512.0

Floats = NDArray[np.float64]
Random = np.random.Generator


@dataclass(frozen=True, slots=True)
class Host:
    """What one host sends: a row for each round, a column for each metric."""

    name: str
    metrics: list[str]
    times: NDArray[np.int64]  # ms since the epoch
    table: Floats

    @classmethod
    def of(cls, number: int, start: int, stop: int, step: int = STEP) -> "Host":
        """The host of that number with its rounds in start <= time < stop (s); always the same ones."""
        random = np.random.default_rng([number, start, stop, step])
        times = np.arange(start, stop, step, dtype=np.int64)
        columns = metrics(random, times, step)
        there = random.random(len(times)) >= MISSING
        table = np.column_stack(list(columns.values()))
        return cls(f"host{number:04}", list(columns), times[there] * MS, table[there])

    def column(self, metric: str) -> Floats:
        return self.table[:, self.metrics.index(metric)]

    def between(self, start: float, stop: float) -> slice:
        """The rounds in start <= time < stop (s)."""
        low, high = self.times.searchsorted((round(start * MS), round(stop * MS))).tolist()
        return slice(low, high)


def metrics(random: Random, times: NDArray[np.int64], step: int) -> dict[str, Floats]:
    """A hundred metrics of a host at `times` (s), `step` s from each other."""
    n = len(times)
    cores = int(random.choice([2, 4, 8, 16]))
    day = 0.15 * np.sin(2 * np.pi * times / DAY + random.uniform(0, 6))
    bursts = (random.random(n) < 0.01) * 0.5
    busy = np.clip(0.2 + day + 0.05 * random.standard_normal(n) + bursts, 0.005, 0.99)
    found: dict[str, Floats] = {}
    found |= _cpu(random, busy, step, cores)
    found |= _memory(random, day)
    found |= _filesystems(random, n)
    found |= _disks(random, busy, step)
    found |= _network(random, busy, step)
    found |= _pressure(random, busy, step)
    heat: Floats = np.round(8 * (45 + 20 * busy + random.standard_normal(n))) / 8
    found["perfmon.sensors.temperature;chip=k10temp;sensor=Tctl"] = heat
    found["perfmon.sensors.fan.speed;chip=nct6775;sensor=fan1"] = np.round(900 + 800 * busy + random.normal(0, 8, n))
    found["perfmon.processes.count"] = np.round(200 + 10 * busy + np.cumsum(random.integers(-1, 2, n)) * 0.2)
    found["system.uptime"] = np.round(1e5 + times - times[0] + random.uniform(0, 0.003, n), 2)
    return found


_CPU_STATES = {"user": 0.6, "system": 0.25, "nice": 0.001, "wait": 0.05, "interrupt": 0, "softirq": 0.04, "steal": 0.01}


def _cpu(random: Random, busy: Floats, step: int, cores: int) -> dict[str, Floats]:
    n = len(busy)
    found: dict[str, Floats] = {}
    rest: Floats = np.ones(n)
    for state, weight in _CPU_STATES.items():
        share: Floats = np.round(busy * weight * np.clip(1 + 0.2 * random.standard_normal(n), 0, 3), 4)
        rest -= share
        found[f"system.cpu.utilization;state={state}"] = share
        found[f"system.cpu.time;state={state}"] = _counter(12_345.67, np.round(share * step * cores, 2), 2)
    idle: Floats = rest.clip(0, 1).round(4)
    found["system.cpu.utilization;state=idle"] = idle
    found["system.cpu.time;state=idle"] = _counter(1e6, np.round(idle * step * cores, 2), 2)
    found["perfmon.cpu.utilization"] = np.round(busy, 4)
    for name, span in (("1m", 60), ("5m", 300), ("15m", 900)):
        rounds = max(1, span // step)
        smooth: Floats = np.convolve(busy * cores, np.full(rounds, 1 / rounds))[:n]
        found[f"system.cpu.load_average.{name}"] = np.round(smooth, 2)
    found["system.cpu.logical.count"] = np.full(n, float(cores))
    return found


def _memory(random: Random, day: Floats) -> dict[str, Floats]:
    n = len(day)
    total = float(random.choice([4, 16, 64])) * 2**30 - 1e9 // PAGE * PAGE
    used = total * (0.4 + 0.5 * day) + np.cumsum(random.standard_normal(n)) * total / 8000
    used = np.clip(used, 0.1 * total, 0.6 * total) // PAGE * PAGE
    cached = np.minimum(total * 0.3, total * 0.2 + np.cumsum(np.abs(random.standard_normal(n))) * 1e5) // PAGE * PAGE
    buffered = np.minimum(total * 0.05, 1e8 + np.cumsum(random.integers(0, 3, n)) * PAGE) // PAGE * PAGE
    found: dict[str, Floats] = {"system.memory.limit": np.full(n, total)}
    states = {"used": used, "free": total - used - cached - buffered, "buffered": buffered, "cached": cached}
    for state, size in states.items():
        found[f"system.memory.usage;state={state}"] = size
        found[f"system.memory.utilization;state={state}"] = np.round(size / total, 4)
    found["perfmon.memory.utilization"] = np.round(used / total, 4)
    found["system.linux.memory.available"] = total - used
    for state, share in (("used", 0.0), ("free", 1.0)):
        found[f"system.paging.usage;state={state}"] = np.full(n, share * 2**32)
        found[f"system.paging.utilization;state={state}"] = np.full(n, share)
    for direction in ("in", "out"):
        found[f"perfmon.paging.io;direction={direction}"] = np.zeros(n)
    return found


def _filesystems(random: Random, n: int) -> dict[str, Floats]:
    found: dict[str, Floats] = {}
    total, reserved, inodes = 1e11 // PAGE * PAGE, 5e9 // PAGE * PAGE, 6_553_600.0
    for mountpoint in ("/", "/var", "/home"):
        written = (random.random(n) < 0.3) * random.integers(0, 500, n) * PAGE
        used = (random.uniform(0.2, 0.8) * total) // PAGE * PAGE + np.cumsum(written)
        used = np.minimum(used, total - reserved)
        usage = f"system.filesystem.usage;mountpoint={mountpoint};state"
        found[f"{usage}=used"] = used
        found[f"{usage}=free"] = total - reserved - used
        found[f"{usage}=reserved"] = np.full(n, reserved)
        found[f"system.filesystem.utilization;mountpoint={mountpoint}"] = np.round(used / (total - reserved), 4)
        files = np.minimum(1e6 + np.cumsum((random.random(n) < 0.1) * random.integers(0, 20, n)), inodes)
        found[f"system.filesystem.inodes.usage;mountpoint={mountpoint};state=used"] = files
        found[f"system.filesystem.inodes.usage;mountpoint={mountpoint};state=free"] = inodes - files
    return found


def _disks(random: Random, busy: Floats, step: int) -> dict[str, Floats]:
    n = len(busy)
    found: dict[str, Floats] = {}
    for device in ("sda", "sdb"):
        for direction in ("read", "write"):
            tags = f"device={device};direction={direction}"
            operations = random.poisson(20 * busy * step)
            found[f"system.disk.operations;{tags}"] = _counter(1e6, operations)
            found[f"system.disk.io;{tags}"] = _counter(1e10, operations * random.integers(8, 64, n) * SECTOR)
            took = np.round(operations * random.uniform(0.5, 2, n)) / 1000
            found[f"system.disk.operation_time;{tags}"] = _counter(1e3, took, 3)
        took = np.round(busy * random.uniform(0, 1, n) * step * 1000) / 1000
        found[f"system.disk.io_time;device={device}"] = _counter(1e3, took, 3)
    return found


def _network(random: Random, busy: Floats, step: int) -> dict[str, Floats]:
    n = len(busy)
    found: dict[str, Floats] = {}
    for device in ("eth0", "lo"):
        for direction in ("receive", "transmit"):
            tags = f"device={device};direction={direction}"
            packets = random.poisson(300 * busy * step)
            found[f"system.network.packets;{tags}"] = _counter(1e7, packets)
            found[f"system.network.io;{tags}"] = _counter(1e9, packets * random.integers(60, 1400, n))
            found[f"system.network.errors;{tags}"] = np.zeros(n)
            found[f"system.network.dropped;{tags}"] = np.full(n, 12.0)
    return found


def _pressure(random: Random, busy: Floats, step: int) -> dict[str, Floats]:
    n = len(busy)
    found: dict[str, Floats] = {}
    for kind, resource in (("some", "cpu"), ("some", "memory"), ("full", "memory"), ("some", "io"), ("full", "io")):
        tags = f"kind={kind};resource={resource}"
        share = np.clip(busy * 0.3 * random.random(n) - (0 if resource == "cpu" else 0.05), 0, 1)
        found[f"perfmon.pressure.utilization;{tags}"] = np.round(share, 4)
        found[f"perfmon.pressure.time;{tags}"] = _counter(100, np.round(share * step, 6), 6)
    return found


def _counter(start: float, rises: NDArray[Any], digits: int = 0) -> Floats:
    found: Floats = np.round(start + np.cumsum(rises.astype(np.float64)), digits)
    return found


class Past:
    """The collector's way from rounds to windows, at any moment: its own code, with a clock that is set by hand."""

    def __init__(self, store: Store, sealing: Sealing | None = None) -> None:
        """`sealing` reads `now` as its wall clock; by default one that never rests."""
        from twisted.internet.task import Clock

        self.now = 0.0  # s since the epoch
        self._store = store
        # its slices end by a clock, and this one stands still
        self.sealing = sealing or Sealing(store.windows, Clock(), lambda: self.now)
        writers = count(1)
        self._numbering = Numbering(lambda: next(writers))

    async def send(self, hosts: Sequence[Host], start: int, stop: int, at_once: bool = False) -> int:
        """Stores the rounds in start <= time < stop (s) as they come, each by itself; returns how many samples.

        With `at_once` all of a host as one: less work, and the same once it is sealed.
        """
        rows: dict[int, list[Row]] = {}
        for host in hosts:
            log, first = self._numbering.schema(host.name, host.metrics)
            span = host.between(start, stop)
            for time, values in zip(host.times[span].tolist(), host.table[span], strict=True):
                row = Row(log, first, time, values.tobytes())
                rows.setdefault(start if at_once else time // MS, []).append(row)
        for moment in sorted(rows):
            left = encode([], rows[moment], moment)
            while left:
                left = confirm(left, await self._store.append(left))
        return sum(map(len, (row for same in rows.values() for row in same)))

    async def work(self, now: float) -> None:
        """Seals and rolls up all that is due at `now` (s since the epoch)."""
        self.now = now
        while await self.sealing.work():
            pass
