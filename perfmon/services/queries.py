"""Answers about hosts and their series, from the store and from what was last received."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import orjson
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater

from perfmon.core.globs import is_literal, matcher
from perfmon.core.numbering import Numbering
from perfmon.core.query import MAX_POINTS, BadQuery, Query
from perfmon.core.reject import MAX_AHEAD
from perfmon.core.tiers import RAW
from perfmon.core.units import unit_of
from perfmon.storage.history import History
from perfmon.storage.store import HostRecord, Store

Latest = dict[str, tuple[int, float]]  # metric -> (ms since the epoch, value)

# Hosts whose latest values were read from the store and are kept: departed ones do not change.
_KEPT = 10_000

# Hosts described in one turn of the reactor: about 10 ms.
_SLICE = 100


class Received(Protocol):
    """The part of ingest that answers need."""

    @property
    def numbering(self) -> Numbering: ...


class Queries:
    """Reads on behalf of the HTTP API. All may raise `StoreUnavailable`."""

    def __init__(self, store: Store, received: Received, clock: IReactorTime, wall: Callable[[], float]) -> None:
        self._store = store
        self._history = History(store)
        self._received = received
        self._clock = clock
        self._wall = wall
        self._read: dict[str, tuple[float, Latest]] = {}  # host -> (last seen, then latest)

    async def hosts(self, host: str, metric: str) -> list[dict[str, Any]]:
        """What is known of the hosts that match the glob `host`, with the latest values of the metrics `metric`."""
        wanted = matcher(metric)
        found = []
        for place, record in enumerate(await self._records(host)):
            if place % _SLICE == 0:
                await deferLater(self._clock, 0)
            latest = await self._latest(record)
            found.append(_described(record, {name: latest[name] for name in sorted(latest) if wanted(name)}))
        return found

    async def query(self, query: Query) -> dict[str, Any]:
        """The series that `query` asks for. Raises `BadQuery` where there would be too many points."""
        wanted = matcher(query.metric)
        series = []
        total = 0
        # Beyond these nothing can be stored; a question from 1970 on would ask for half a million windows.
        now = self._wall()
        start = max(query.reads_from, now - RAW.retention - RAW.window)
        stop = min(query.stop, now + MAX_AHEAD + RAW.window)
        for host in await self._names(query.host):
            columns = await self._history.columns(host, start, stop, wanted)
            for metric, column in sorted(columns.items()):
                points = query.points(column).table()
                if not len(points):
                    continue
                total += len(points)
                if total > MAX_POINTS:
                    raise BadQuery(
                        f"more than {MAX_POINTS:,} points: ask for fewer series, a shorter range or a larger step"
                    )
                series.append({"host": host, "metric": metric, "unit": unit_of(metric), "points": points})
            # One turn of the reactor between hosts: a question about a fleet must not hold up its samples.
            await deferLater(self._clock, 0)
        return {"from": query.start, "until": query.stop, "step": query.step, "series": series}

    async def _names(self, host: str) -> list[str]:
        """Hosts that may have samples, those that were stored a moment ago included."""
        if is_literal(host):
            return [host]
        known = set(await self._store.host_names()) | self._received.numbering.hosts.keys()
        return sorted(filter(matcher(host), known))

    async def _records(self, host: str) -> Sequence[HostRecord]:
        if is_literal(host):
            return await self._store.hosts([host])
        return await self._store.hosts(sorted(filter(matcher(host), await self._store.host_names())))

    async def _latest(self, record: HostRecord) -> Latest:
        """The newest sample of each metric: as received here, or else as stored."""
        latest = self._received.numbering.latest(record.host)
        if latest:
            return latest
        seen, latest = self._read.get(record.host, (None, {}))
        if seen != record.last_seen:
            columns = await self._history.columns(
                record.host, record.last_seen - RAW.window, record.last_seen + RAW.window
            )
            latest = {name: (int(column.times[-1]), float(column.values[-1])) for name, column in columns.items()}
            self._read[record.host] = record.last_seen, latest
            if len(self._read) > _KEPT:
                del self._read[next(iter(self._read))]
        return latest


def _described(record: HostRecord, latest: Latest) -> dict[str, Any]:
    meta = record.meta
    return {
        "host": record.host,
        "state": meta.get("state", "up"),
        "since": float(meta.get("since", record.last_seen)),
        "reason": meta.get("reason", ""),
        "last_seen": record.last_seen,
        "kind": meta.get("kind", "sender"),
        "labels": orjson.loads(meta.get("labels", "{}")),
        "platform": orjson.loads(meta.get("platform", "{}")),
        "agent": meta.get("agent", ""),
        "interval": float(meta.get("interval", 0.0)),
        "latest": {
            name: {"time": time / 1000, "value": value, "unit": unit_of(name)} for name, (time, value) in latest.items()
        },
    }
