"""From samples and aggregates to answers: which tiers to read, bucketing, rates and percentiles.

All of it by column, never point by point in Python.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from perfmon.core.columns import Column, between, merged
from perfmon.core.rollups import Roller, Rollup, increases, joined, last_step, regrouped
from perfmon.core.series import Piece
from perfmon.core.tiers import DAY, MS, Tier

Floats = NDArray[np.float64]

# What each aggregation needs of a step (see `rollups.FIELDS`).
_NEEDS = {
    "avg": frozenset({"count", "sum"}),
    "min": frozenset({"min"}),
    "max": frozenset({"max"}),
    "sum": frozenset({"sum"}),
    "count": frozenset({"count"}),
    "last": frozenset({"last", "end"}),
    "rate": frozenset({"last", "end", "lost"}),
}

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}

AGGS = (*_NEEDS, *PERCENTILES)

# An answer of a million points is 20 MB of JSON, and no screen shows as many.
MAX_POINTS = 1_000_000

# Finer than the store's own unit of time makes no sense.
MIN_STEP = 0.001  # s

# Nothing is kept longer by default.
MAX_STEP = 400 * DAY  # s

# A rate at the first point needs the sample before it, and looks for it so many steps back, or so long.
_BACK_STEPS, _BACK = 2, 120.0  # s


class BadQuery(ValueError):
    """A question that cannot be answered; `str()` says how to ask it instead."""


@dataclass(frozen=True, slots=True)
class Points:
    """What is drawn or printed: one value for each time; NaN where there is none."""

    times_ms: NDArray[np.int64]  # since the epoch
    values: Floats

    @property
    def times(self) -> Floats:
        """The times in s since the epoch."""
        seconds: Floats = self.times_ms / MS
        return seconds


@dataclass(frozen=True, slots=True)
class Query:
    """What is asked of the history. Raises `BadQuery`."""

    host: str  # glob
    metric: str  # glob
    start: float  # s since the epoch, included
    stop: float  # s since the epoch, excluded
    step: float | None  # s; None: the samples as they are
    agg: str = "avg"

    def __post_init__(self) -> None:
        if self.agg not in AGGS:
            raise BadQuery(f"agg {self.agg!r} is unknown: use one of {', '.join(AGGS)}")
        if not self.start < self.stop:
            raise BadQuery("from must be before until")
        if self.step is None:
            if self.agg in PERCENTILES:
                raise BadQuery(f"{self.agg} is that of a step: give one, such as step=5m")
        elif not MIN_STEP <= self.step <= MAX_STEP:
            raise BadQuery(f"step must be {MIN_STEP} s to {MAX_STEP // DAY} days")


@dataclass(frozen=True)  # no slots: it keeps what all series of an answer have in common
class Plan:
    """How a query is answered: what to read, and what becomes of it."""

    agg: str
    tiers: tuple[Tier, ...]  # finest first, from raw on: those whose steps make up the query's
    start: float  # s since the epoch; with a step a multiple of it
    stop: float  # s since the epoch, excluded
    reads_from: float  # s; a rate needs what was before the first point
    step: float | None  # s; longer than was asked for where the range begins before a finer tier does
    fields: frozenset[str]  # what is needed of each step of a coarser tier

    @classmethod
    def of(cls, query: Query, tiers: Sequence[Tier], now: float) -> "Plan":
        """The plan at `now` (s since the epoch); `tiers` are all, finest first. Raises `BadQuery`."""
        fields = _NEEDS.get(query.agg, _NEEDS["avg"])
        if query.step is None:
            back = _BACK_STEPS * _BACK if query.agg == "rate" else 0.0
            return cls(query.agg, tuple(tiers[:1]), query.start, query.stop, query.start - back, None, fields)
        place = next((at for at, tier in enumerate(tiers) if query.start >= now - tier.retention), len(tiers) - 1)
        step_ms = round(query.step * MS)
        resolution = tiers[place].step * MS
        if resolution:
            step_ms = -(-step_ms // resolution) * resolution
        first = round(query.start * MS) // step_ms
        last = -(-round(query.stop * MS) // step_ms)
        if last - first > MAX_POINTS:
            raise BadQuery(f"more than {MAX_POINTS:,} points a series: ask for a larger step or a shorter range")
        if query.agg in PERCENTILES:
            # aggregates have none, so they are no better than the samples: read them only where these are gone
            used = tiers[: place + 1]
        else:
            used = [tier for tier in tiers if not (tier.step and step_ms % (tier.step * MS))]
        step, start = step_ms / MS, first * step_ms / MS
        back = step * max(_BACK_STEPS, -(-_BACK // step)) if query.agg == "rate" else 0.0
        return cls(query.agg, tuple(used), start, last * step_ms / MS, start - back, step, fields)

    @cached_property
    def _step_ms(self) -> int:
        return round((self.step or 0.0) * MS)

    @cached_property
    def _first(self) -> int:
        return round(self.start * MS) // self._step_ms

    @cached_property
    def _times(self) -> NDArray[np.int64]:
        """Starts of all steps (ms)."""
        return np.arange(self._first, round(self.stop * MS) // self._step_ms) * self._step_ms

    @cached_property
    def _roller(self) -> Roller:
        return Roller(self._step_ms, self.fields)

    def points(self, pieces: Sequence[Piece]) -> Points:
        """The answer for one series."""
        if self.step is None:
            return self._samples(merged([piece for piece in pieces if isinstance(piece, Column)]))
        values = np.full(len(self._times), np.nan)
        if self.agg in PERCENTILES:
            number, found = _percentiles(pieces, self._step_ms, PERCENTILES[self.agg])
        else:
            steps = self.steps(pieces)
            if steps is None:
                return Points(self._times, values)
            number, found = steps.times // self._step_ms, _VALUES[self.agg](steps)
        low, high = number.searchsorted((self._first, self._first + len(values))).tolist()
        values[number[low:high] - self._first] = found[low:high]
        return Points(self._times, values)

    def points_of(self, series: Sequence[Sequence[Piece]]) -> list[Points]:
        """The answers for several series, as `points` gives each.

        Those of samples only are worked out together: of a fleet's hour by minute, most of the time of each would be
        the overhead of a dozen numpy calls.
        """
        together = {
            place: between(pieces[0], self.start, self.stop)
            for place, pieces in enumerate(series)
            if self.step is not None and self.agg in _TOGETHER and len(pieces) == 1 and isinstance(pieces[0], Column)
        }
        together = {place: column for place, column in together.items() if len(column.times)}
        if len(together) < 2:
            return [self.points(pieces) for pieces in series]
        columns, length = list(together.values()), len(self._times)
        # every step of every series has a number of its own, in the order of the series
        offsets = np.repeat(np.arange(len(columns)) * length, [len(column.times) for column in columns])
        numbers = np.concatenate([column.times for column in columns]) // self._step_ms - self._first + offsets
        steps = Roller(1, self.fields).of(Column(numbers, np.concatenate([column.values for column in columns])))
        table = np.full(len(columns) * length, np.nan)
        table[steps.times] = _VALUES[self.agg](steps)
        rows = dict(zip(together, table.reshape(-1, length), strict=True))
        return [
            Points(self._times, rows[place]) if place in rows else self.points(pieces)
            for place, pieces in enumerate(series)
        ]

    def _samples(self, column: Column) -> Points:
        """The samples as they are (for ``rate``: the rate from each sample to the next, per second)."""
        if self.agg == "rate":
            column = between(column, self.reads_from, self.stop)
            steps = np.diff(column.values)
            rises = np.where(steps >= 0, steps, column.values[1:])
            column = Column(column.times[1:], rises * MS / np.diff(column.times))
        column = between(column, self.start, self.stop)
        return Points(column.times, column.values)

    def steps(self, pieces: Sequence[Piece]) -> Rollup | None:
        """One series by the steps of the plan, with its fields, those around the range included; None for nothing."""
        rollups = []
        for piece in pieces:
            if isinstance(piece, Rollup):
                rollups.append(piece)
            else:
                column = between(piece, self.reads_from, self.stop)  # nothing is cut of what was read for this plan
                if len(column.times):
                    rollups.append(self._roller.of(column))
        if len(pieces) == len(rollups) == 1 and isinstance(pieces[0], Column):
            return rollups[0]
        return regrouped(joined(rollups), self._step_ms) if rollups else None


def _rate(steps: Rollup) -> Floats:
    rises, seconds = increases(steps)
    # a step of nothing but a first sample has risen in no time
    rates: Floats = np.divide(rises, seconds, out=np.full(len(rises), np.nan), where=seconds > 0)
    return rates


_VALUES: dict[str, Callable[[Rollup], Floats]] = {
    "avg": lambda steps: steps.columns["sum"] / steps.columns["count"],
    "min": lambda steps: steps.columns["min"],
    "max": lambda steps: steps.columns["max"],
    "sum": lambda steps: steps.columns["sum"],
    "count": lambda steps: steps.columns["count"],
    "last": lambda steps: steps.columns["last"],
    "rate": _rate,
}


# Of which each step stands by itself.
_TOGETHER = frozenset(_VALUES) - {"rate"}


@dataclass(frozen=True, slots=True)
class Extent:
    """A series over a whole range."""

    min: float
    max: float
    avg: float
    count: int  # of samples


EXTENT_FIELDS = frozenset({"count", "sum", "min", "max"})


def extent(plan: Plan, pieces: Sequence[Piece]) -> Extent | None:
    """The extent of a series over the range of `plan`, which needs `EXTENT_FIELDS`; None where it has no samples."""
    steps = plan.steps(pieces)
    if steps is None:
        return None
    low, high = steps.times.searchsorted((round(plan.start * MS), round(plan.stop * MS))).tolist()
    if low == high:
        return None
    columns = {name: column[low:high] for name, column in steps.columns.items()}
    count = columns["count"].sum()
    return Extent(
        float(columns["min"].min()), float(columns["max"].max()), float(columns["sum"].sum() / count), int(count)
    )


def tail(pieces: Sequence[Piece], stop: float) -> list[Piece]:
    """The last sample, or step, of a series before `stop` (s): what a rate after it counts from."""
    for piece in reversed(pieces):
        end = int(piece.times.searchsorted(round(stop * MS)))
        if not end:
            continue
        if isinstance(piece, Rollup):
            return [last_step(piece, end)]
        return [Column(piece.times[end - 1 : end], piece.values[end - 1 : end])]
    return []


def newest(pieces: Sequence[Piece]) -> tuple[int, float]:
    """(ms since the epoch, value) of the last sample of a series, read for `last`."""
    last = pieces[-1]
    if isinstance(last, Rollup):
        return int(last.columns["end"][-1]), float(last.columns["last"][-1])
    return int(last.times[-1]), float(last.values[-1])


def _percentiles(pieces: Sequence[Piece], step_ms: int, share: float) -> tuple[NDArray[np.int64], Floats]:
    """(number of each step that has something, its percentile), interpolated as numpy's default.

    Of aggregates it is the percentile of the averages.
    """
    column = merged(
        [
            piece if isinstance(piece, Column) else Column(piece.times, piece.columns["sum"] / piece.columns["count"])
            for piece in pieces
        ]
    )
    number = column.times // step_ms
    values = column.values[np.lexsort((column.values, number))]
    starts = np.flatnonzero(np.diff(number, prepend=number[:1] - 1))
    places = starts + (np.diff(starts, append=len(values)) - 1) * share
    low = np.floor(places).astype(np.int64)
    high = np.ceil(places).astype(np.int64)
    return number[starts], values[low] + (values[high] - values[low]) * (places - low)
