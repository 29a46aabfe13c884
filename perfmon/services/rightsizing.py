"""The fleet's verdicts: what each host did is read, judged, and told with what people have noted of it."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from twisted.internet.interfaces import IReactorTime

from perfmon.core.benchmarks import QUEUED, SPEC, Spec
from perfmon.core.devices import is_outer_disk, is_outer_interface
from perfmon.core.globs import pattern
from perfmon.core.names import split_tags
from perfmon.core.notes import NO_NOTE, Note
from perfmon.core.prices import Prices
from perfmon.core.query import Plan, Query
from perfmon.core.rightsizing import Settings, evaluate
from perfmon.core.series import Piece
from perfmon.core.tiers import DAY, Tier
from perfmon.core.traces import Floats, Span, Trace, without
from perfmon.core.verdicts import Kind, Verdict
from perfmon.services.turns import Turns
from perfmon.storage.history import History

CPU = "perfmon.cpu.utilization"
STEAL = "system.cpu.utilization;state=steal"
MEMORY = "perfmon.memory.utilization"
CORES, MEMORY_LIMIT = "system.cpu.logical.count", "system.memory.limit"
OOM_KILLS = "perfmon.memory.oom_kills"
_NETWORK, _DISK, _PAGING = "system.network.io", "system.disk.io", "perfmon.paging.io"
_PRESSURE, _FILESYSTEM = "perfmon.pressure.time", "system.filesystem.utilization"

# What is read, by what is needed of each step: the CPU, states, and counters. A field that nobody wants costs nothing.
_FINE = pattern(CPU)
_GAUGES = pattern(",".join((STEAL, MEMORY, CORES, MEMORY_LIMIT, _FILESYSTEM)))
_COUNTERS = pattern(",".join((OOM_KILLS, _NETWORK, _DISK, _PAGING, _PRESSURE)))
_AVERAGES, _EXTREMES, _RISES = (
    frozenset({"count", "sum"}),
    frozenset({"count", "sum", "max"}),
    frozenset({"last", "end", "lost"}),
)

# Up to so long a window is looked at in steps of so many s, the CPU and all else; a longer one by minutes and by hours,
# in the tiers that have these as they are: to read hours out of minutes takes ten times as long.
_STEPS = ((3_600.0, 15.0, 15.0), (2.0 * DAY, 60.0, 60.0))
_LONG = (60.0, 3_600.0)

# Runs of benchmarks that are looked through for those in the window; around each so much is left out (s).
MAX_RUNS = 1_000
AROUND = 60.0

_GONE = frozenset({"departed", "left"})

# The order of a report: what is urgent, then what saves most.
_ORDER = [Kind.GROW, Kind.RECLAIM, Kind.SHRINK, Kind.KEEP, Kind.INSUFFICIENT]


class Hosts(Protocol):
    """Knows the hosts."""

    async def hosts(self, host: str, metric: str) -> list[dict[str, Any]]: ...


class RunStore(Protocol):
    """Knows the benchmarks."""

    async def runs(self, limit: int) -> list[dict[str, str]]: ...


class Notes(Protocol):
    """Keeps what people have noted."""

    async def all(self) -> dict[str, Note]: ...
    async def put(self, host: str, note: Note) -> None: ...


@dataclass(frozen=True, slots=True)
class _Window:
    """How it is read: a plan for the CPU, one for states, and one for counters."""

    fine: Plan
    gauges: Plan
    counters: Plan

    @classmethod
    def of(cls, length: float, tiers: Sequence[Tier], now: float) -> "_Window":
        """The last `length` s: whole steps, and of a long window what is in the tiers of minutes and hours by now."""
        step, coarse = next(((fine, rest) for most, fine, rest in _STEPS if length <= most), _LONG)
        stop, is_long = now - now % coarse, length > _STEPS[-1][0]
        if is_long:
            stop = float(tiers[1].fed_until(now))
        start = stop - max(coarse, round(length / coarse) * coarse)

        def plan(step: float, agg: str, fields: frozenset[str]) -> Plan:
            found = Plan.of(Query("*", "*", start, stop, step, agg), tiers, now)
            used = [tier for tier in found.tiers if not is_long or tier.step == found.step] or found.tiers
            return replace(found, tiers=tuple(used), fields=fields)

        return cls(plan(step, "avg", _AVERAGES), plan(coarse, "avg", _EXTREMES), plan(coarse, "rate", _RISES))


class Rightsizing:
    """Judges hosts. All may raise `StoreUnavailable` and `FormatError`."""

    def __init__(
        self,
        hosts: Hosts,
        history: History,
        runs: RunStore,
        notes: Notes,
        prices: Prices | None,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`wall` gives the time in s since the epoch."""
        self._hosts = hosts
        self._history = history
        self._runs = runs
        self._notes = notes
        self._prices = prices
        self._clock = clock
        self._wall = wall

    async def report(self, host: str, window: float, settings: Settings) -> dict[str, Any]:
        """The verdicts on the hosts that match the glob `host`, from the last `window` s. May raise `BadQuery`."""
        now = self._wall()
        looked = _Window.of(window, self._history.tiers, now)
        known = {one["host"]: one for one in await self._hosts.hosts(host, "-")}
        spans = await self._benchmarks(looked.fine.start)
        notes = await self._notes.all()
        verdicts = []
        async for trace in self._traces(looked, known):
            cut, left_out = without(trace, spans.get(trace.host, ()))
            verdict = evaluate(cut, settings, now, left_out)
            verdicts.append(self._told(verdict, known[trace.host], notes.get(trace.host, NO_NOTE), now))
        verdicts.sort(key=lambda told: (_ORDER.index(told["verdict"]), -(told["saving"] or 0.0), told["host"]))
        heard = [told for told in verdicts if told["dismissed"] is None]
        savings = [told["saving"] for told in heard if told["saving"] is not None]
        return {
            "from": looked.fine.start,
            "until": looked.fine.stop,
            "profile": settings.profile,
            "threshold": settings.threshold,
            "min_history": settings.min_history,
            "counts": {kind.value: sum(1 for told in heard if told["verdict"] == kind) for kind in _ORDER},
            "currency": None if self._prices is None else self._prices.currency,
            "saving": sum(savings) if savings else None,
            "hosts": verdicts,
        }

    async def note(self, host: str, text: str | None, dismissed: float | None, dismiss: bool) -> Note:
        """Notes a text, if there is one, and until when the verdict is dismissed, if that is to change."""
        note = (await self._notes.all()).get(host, NO_NOTE)
        if text is not None:
            note = replace(note, text=text)
        if dismiss:
            note = replace(note, dismissed=dismissed)
        await self._notes.put(host, note)
        return note

    async def forget(self, host: str) -> None:
        """The host is no more."""
        await self._notes.put(host, NO_NOTE)

    async def _benchmarks(self, start: float) -> dict[str, list[Span]]:
        """By host the times since `start` (s) in which benchmarks were run."""
        spans: dict[str, list[Span]] = {}
        for fields in await self._runs.runs(MAX_RUNS):
            spec = Spec.decode(fields[SPEC]) if SPEC in fields else None
            if spec is not None and spec.start != QUEUED and spec.start + spec.seconds > start:
                for host in spec.hosts:
                    spans.setdefault(host, []).append((spec.start - AROUND, spec.start + spec.seconds + AROUND))
        return spans

    async def _traces(self, window: _Window, known: Mapping[str, dict[str, Any]]) -> AsyncIterator[Trace]:
        """What each host did; a question about a fleet must not hold up its samples."""
        names, turns, now = list(known), Turns(self._clock), self._wall()
        gauges = self._history.read(names, _GAUGES, window.gauges, now)
        counters = self._history.read(names, _COUNTERS, window.counters, now)
        async for host, fine in self._history.read(names, _FINE, window.fine, now):
            (_, states), (_, counts) = await anext(gauges), await anext(counters)  # in the same order
            yield _Seen(window, fine, states, counts).trace(known[host])
            await turns.breathe()

    def _told(self, verdict: Verdict, known: Mapping[str, Any], note: Note, now: float) -> dict[str, Any]:
        saving = None
        if self._prices is not None and verdict.verdict is not Kind.INSUFFICIENT:
            saving = self._prices.saving(verdict.now, verdict.suggested)
        more = {name: known[name] for name in ("state", "labels")}
        dismissed = note.dismissed if note.is_dismissed(now) else None
        return {**asdict(verdict), **more, "saving": saving, "note": note.text, "dismissed": dismissed}


# A fleet has the same few hundred metrics again and again.
_split = lru_cache(maxsize=16_384)(split_tags)


class _Seen:
    """What was read of one host."""

    def __init__(
        self,
        window: _Window,
        fine: Mapping[str, list[Piece]],
        gauges: Mapping[str, list[Piece]],
        counters: Mapping[str, list[Piece]],
    ) -> None:
        self._window = window
        self._fine = fine
        self._gauges = gauges
        self._counters = counters
        self._peaks = replace(window.gauges, agg="max")

    def trace(self, known: Mapping[str, Any]) -> Trace:
        """As columns; `known` is what `Queries.hosts` told of the host."""
        window = self._window
        cpu = window.fine.points(self._fine.get(CPU, [])).values
        steal, kills = self._gauge(STEAL), self._rate(OOM_KILLS)
        step = window.gauges.step or 1.0
        return Trace(
            host=known["host"],
            start=window.fine.start,
            step=window.fine.step or 1.0,
            coarse=step,
            cpu=cpu,
            steal=np.zeros(len(cpu)) if steal is None else np.repeat(steal, len(cpu) // len(steal)),
            first_seen=known["first_seen"],
            last_seen=known["last_seen"],
            gone=known["state"] in _GONE and known["kind"] == "agent",  # a sender of lines may be no machine
            interval=known["interval"],
            cores=_last(self._peak(CORES)),
            memory_limit=_last(self._peak(MEMORY_LIMIT)),
            memory=self._gauge(MEMORY),
            memory_peak=self._peak(MEMORY),
            network=self._sum(_NETWORK),
            disk=self._sum(_DISK),
            paging=self._sum(_PAGING),
            kills=None if kills is None else kills * step,
            pressure={
                f"{tags['resource']} {tags['kind']}": window.counters.points(pieces).values
                for tags, pieces in _tagged(self._counters, _PRESSURE)
                if tags.keys() >= {"resource", "kind"}
            },
            filesystems={
                tags.get("mountpoint", ""): window.gauges.points(pieces).values
                for tags, pieces in _tagged(self._gauges, _FILESYSTEM)
            },
        )

    def _gauge(self, metric: str) -> Floats | None:
        return self._window.gauges.points(self._gauges[metric]).values if metric in self._gauges else None

    def _peak(self, metric: str) -> Floats | None:
        return self._peaks.points(self._gauges[metric]).values if metric in self._gauges else None

    def _rate(self, metric: str) -> Floats | None:
        return self._window.counters.points(self._counters[metric]).values if metric in self._counters else None

    def _sum(self, counter: str) -> Floats | None:
        """Per second, over all devices that count; None where it is not counted."""
        rates = [
            self._window.counters.points(pieces).values
            for tags, pieces in _tagged(self._counters, counter)
            if _counts(counter, tags.get("device", ""))
        ]
        if not rates:
            return None
        table: NDArray[np.float64] = np.array(rates)
        return np.where(np.isfinite(table).any(axis=0), np.nansum(table, axis=0), np.nan)


def _tagged(series: Mapping[str, list[Piece]], wanted: str) -> Iterator[tuple[Mapping[str, str], list[Piece]]]:
    """The series of this name, each with its tags."""
    for metric, pieces in series.items():
        name, tags = _split(metric)
        if name == wanted:
            yield tags, pieces


def _counts(counter: str, device: str) -> bool:
    if counter == _NETWORK:
        return is_outer_interface(device)
    return counter != _DISK or is_outer_disk(device)


def _last(column: Floats | None) -> float | None:
    if column is None or not np.isfinite(column).any():
        return None
    return float(column[np.isfinite(column)][-1])
