"""Samples that are put into a real store as a collector does it, and read as the API does it."""

import random
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from perfmon.core.columns import Column
from perfmon.core.globs import pattern
from perfmon.core.heads import HeadWrite, confirm, encode
from perfmon.core.numbering import Columns, HeadState, HostLog, Numbering, Row
from perfmon.core.query import Plan, Query
from perfmon.core.tiers import RAW, WindowName
from perfmon.storage.history import History
from perfmon.storage.store import Store
from perfmon.storage.windows import Windows

Round = tuple[str, int, Mapping[str, float]]
"""What one host has at one time: its name, ms since the epoch, a value for each metric."""

Samples = dict[tuple[str, str], dict[int, float]]
"""(host, metric) -> ms since the epoch -> value."""


def head_write(name: WindowName, data: bytes, now: float, expects: bytes = b"") -> HeadWrite:
    """An append of any bytes to a head of the raw tier."""
    expires_at, seal_at = RAW.spared_until(name.window), RAW.seal_at(name.window, now)
    return HeadWrite(name, data, expires_at, seal_at, HostLog(name.host, 1), HeadState(), 0, expects)


class Writer:
    """One of the collectors that write to a store: with a numbering of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._numbering = Numbering(lambda: random.getrandbits(32))

    async def rows(self, rounds: Iterable[Round], now: float) -> None:
        """Stores `rounds` as agents send them, in one commit."""
        rows = []
        for host, time, values in rounds:
            log, first = self._numbering.schema(host, list(values))
            rows.append(Row(log, first, time, np.array(list(values.values()), "<f8").tobytes()))
        await self._commit(encode([], rows, now))

    async def columns(self, rounds: Iterable[Round], now: float) -> None:
        """Stores `rounds` as Graphite senders send them, in one commit."""
        series, times, values = zip(
            *[
                (self._numbering.series(host, metric), time, value)
                for host, time, given in rounds
                for metric, value in given.items()
            ],
            strict=True,
        )
        batch = Columns(self._numbering, np.array(series, np.int64), np.array(times, np.int64), np.array(values, float))
        await self._commit(encode([batch], [], now))

    async def _commit(self, writes: Sequence[HeadWrite]) -> None:
        while writes:
            writes = confirm(writes, await self._store.append(writes))


def as_samples(rounds: Iterable[Round]) -> Samples:
    """`rounds`, each written later than the one before."""
    found: Samples = {}
    for host, time, values in rounds:
        for metric, value in values.items():
            found.setdefault((host, metric), {})[time] = value
    return found


async def stored(
    windows: Windows, hosts: Sequence[str], start: float, stop: float, now: float, metric: str = "*"
) -> Samples:
    """The samples of `hosts` in start <= time < stop (s), as they are in the store at `now` (s)."""
    found: Samples = {}
    plan = Plan.of(Query("*", metric, start, stop, None), windows.tiers, now)
    async for host, series in History(windows).read(hosts, pattern(metric), plan, now):
        for name, pieces in series.items():
            # of a piece as it was read: all of it is right, also what `points` would cut away
            for piece in pieces:
                assert isinstance(piece, Column)
            points = plan.points(pieces)
            times = np.round(points.times * 1000).astype(np.int64).tolist()
            if times:
                found[host, name] = dict(zip(times, points.values.tolist(), strict=True))
    return found
