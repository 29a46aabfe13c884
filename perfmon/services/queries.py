"""Answers about hosts and their series, from the store and from what was last received."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import orjson
from numpy.typing import NDArray
from twisted.internet.interfaces import IReactorTime

from perfmon.core.control import Absence, Order
from perfmon.core.globs import Pattern, pattern
from perfmon.core.numbering import Numbering
from perfmon.core.query import MAX_POINTS, BadQuery, Plan, Query, newest
from perfmon.core.series import Piece
from perfmon.core.tiers import MS
from perfmon.core.units import unit_of
from perfmon.services.turns import Turns
from perfmon.storage.history import History
from perfmon.storage.store import HostRecord, Store

Latest = dict[str, tuple[int, float]]  # metric -> (ms since the epoch, value)

HOUR = 3600.0  # s

# Samples of series that are worked out together: some milliseconds.
_TOGETHER = 50_000

# Hosts whose latest values were read from the store and are kept: departed ones do not change.
_KEPT = 10_000


class Received(Protocol):
    """The part of ingest that answers need."""

    @property
    def numbering(self) -> Numbering: ...


class Queries:
    """Reads on behalf of the HTTP API. All may raise `StoreUnavailable`."""

    def __init__(
        self,
        store: Store,
        history: History,
        received: Received,
        wanted: Callable[[str], Order],
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`wanted` tells what people want of a host."""
        self._store = store
        self._wanted = wanted
        self._history = history
        self._received = received
        self._clock = clock
        self._wall = wall
        self._read: dict[str, tuple[float, Latest]] = {}  # host -> (last seen, then latest)

    async def hosts(self, host: str, metric: str) -> list[dict[str, Any]]:
        """What is known of the hosts that match the glob `host`, with the latest values of the metrics `metric`."""
        return await self._describe(await self._records(pattern(host)), metric)

    async def of(self, hosts: Iterable[str], metric: str) -> list[dict[str, Any]]:
        """The same of the hosts of these names."""
        return await self._describe(await self._store.hosts(list(hosts)), metric)

    async def _describe(self, records: Iterable[HostRecord], metric: str) -> list[dict[str, Any]]:
        wanted = pattern(metric)
        found = []
        turns = Turns(self._clock)
        for record in records:
            latest = await self._latest(record, wanted)
            shown = {name: latest[name] for name in sorted(latest)}
            found.append(_described(record, self._wanted(record.host).absence, shown))
            await turns.breathe()
        return found

    async def query(self, query: Query) -> dict[str, Any]:
        """The series that `query` asks for. Raises `BadQuery` where there would be too many points."""
        wanted = pattern(query.metric)
        now = self._wall()
        plan = Plan.of(query, self._history.tiers, now)
        answer = _Answer(plan)
        turns = Turns(self._clock)
        async for host, found in self._history.read(await self._names(pattern(query.host)), wanted, plan, now):
            for metric in sorted(found):
                answer.add(host, metric, found[metric])
            # a question about a fleet must not hold up its samples
            await turns.breathe()
        answer.finish()
        return {"from": query.start, "until": query.stop, "step": plan.step, "series": answer.series}

    async def _names(self, host: Pattern) -> list[str]:
        """Hosts that may have samples, those that were stored a moment ago included."""
        if host.names:
            return sorted(host.names)
        known = set(await self._store.host_names()) | self._received.numbering.hosts.keys()
        return sorted(filter(host.matches, known))

    async def _records(self, host: Pattern) -> Sequence[HostRecord]:
        names = host.names or filter(host.matches, await self._store.host_names())
        return await self._store.hosts(sorted(names))

    async def _latest(self, record: HostRecord, wanted: Pattern) -> Latest:
        """The newest sample of each metric that is wanted: as received here, or else as stored."""
        received = self._received.numbering.latest(record.host, wanted)
        if received is not None:
            return received
        seen, latest = self._read.get(record.host, (None, {}))
        if seen != record.last_seen:
            now = self._wall()
            around = Query(record.host, "*", record.last_seen - HOUR, record.last_seen + HOUR, HOUR, "last")
            plan = Plan.of(around, self._history.tiers, now)
            async for _, found in self._history.read([record.host], pattern("*"), plan, now):
                latest = {metric: newest(pieces) for metric, pieces in found.items()}
            self._read[record.host] = record.last_seen, latest
            if len(self._read) > _KEPT:
                del self._read[next(iter(self._read))]
        return {name: sample for name, sample in latest.items() if wanted.matches(name)}


class _Answer:
    """The series of an answer, which are worked out some at a time. Raises `BadQuery` for too many points."""

    def __init__(self, plan: Plan) -> None:
        self.series: list[dict[str, Any]] = []
        self._plan = plan
        self._waiting: list[tuple[str, str, list[Piece]]] = []
        self._size = 0  # of what waits: its samples, or the points that it becomes, whichever are more
        self._steps = round((plan.stop - plan.start) / plan.step) if plan.step else 0
        self._total = 0  # points
        self._times_ms = np.zeros(0, np.int64)
        self._times: NDArray[Any] = self._times_ms

    def add(self, host: str, metric: str, pieces: list[Piece]) -> None:
        self._waiting.append((host, metric, pieces))
        self._size += max(self._steps, sum(len(piece.times) for piece in pieces))
        if self._size >= _TOGETHER:
            self.finish()

    def finish(self) -> None:
        """Works out what waits."""
        waiting, self._waiting, self._size = self._waiting, [], 0
        found = self._plan.points_of([pieces for _, _, pieces in waiting])
        for (host, metric, _), points in zip(waiting, found, strict=True):
            if not len(points.values) or (self._plan.step and np.isnan(points.values).all()):
                continue
            self._total += len(points.values)
            if self._total > MAX_POINTS:
                raise BadQuery(
                    f"more than {MAX_POINTS:,} points: ask for fewer series, a shorter range or a larger step"
                )
            if self._times_ms is not points.times_ms:  # of many series they are the same
                self._times_ms, self._times = points.times_ms, _seconds(points.times_ms)
            self.series.append(
                {
                    "host": host,
                    "metric": metric,
                    "unit": unit_of(metric),
                    "times": self._times,
                    "values": points.values,
                }
            )


def _seconds(times_ms: NDArray[np.int64]) -> NDArray[Any]:
    """Times as they take the least of JSON, and of the time to write it: whole seconds without a fraction."""
    return times_ms / MS if (times_ms % MS).any() else times_ms // MS


def _described(record: HostRecord, absence: Absence | None, latest: Latest) -> dict[str, Any]:
    meta = record.meta
    return {
        "host": record.host,
        "state": record.state.value,
        "first_seen": float(meta.get("first", record.last_seen)),
        "since": float(meta.get("since", record.last_seen)),
        "reason": meta.get("reason", ""),
        "last_seen": record.last_seen,
        "kind": meta.get("kind", "sender"),
        "absence": None if absence is None else asdict(absence),
        "collector": record.collector,
        "clock": _clock(meta),
        "labels": orjson.loads(meta.get("labels", "{}")),
        "platform": orjson.loads(meta.get("platform", "{}")),
        "agent": meta.get("agent", ""),
        "interval": float(meta.get("interval", 0.0)),
        "stopped": bool(meta.get("stopped")),
        "latest": {
            name: {"time": time / 1000, "value": value, "unit": unit_of(name)} for name, (time, value) in latest.items()
        },
    }


def _clock(meta: Mapping[str, str]) -> dict[str, float] | None:
    """How the host's clock differs, None while nobody has measured it."""
    if "offset" not in meta:
        return None
    return {"offset": float(meta["offset"]), "round_trip": float(meta["round_trip"])}
