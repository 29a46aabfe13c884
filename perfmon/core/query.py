"""From columns to answers: cutting, bucketing and rates, never point by point in Python."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmon.core.frames import Column, tidy
from perfmon.core.tiers import DAY

Floats = NDArray[np.float64]
Starts = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Points:
    """What is drawn or printed: one value for each time; NaN where there is none."""

    times: Floats  # s since the epoch
    values: Floats

    def table(self) -> Floats:
        """An array of (time, value) rows, for JSON."""
        return np.column_stack((self.times, self.values))


def merged(columns: Sequence[Column]) -> Column:
    """One column of several of the same series, given oldest write first: of a repeated time the last one wins."""
    if len(columns) == 1:
        return columns[0]
    if not columns:
        return Column(np.zeros(0, np.int64), np.zeros(0))
    return tidy(np.concatenate([c.times for c in columns]), np.concatenate([c.values for c in columns]))


def between(column: Column, start: float, stop: float) -> Column:
    """The samples with start <= time < stop (s since the epoch)."""
    low, high = np.searchsorted(column.times, [round(start * 1000), round(stop * 1000)])
    return Column(column.times[low:high], column.values[low:high])


def increases(column: Column) -> tuple[Column, Floats]:
    """What a counter rose by from each sample to the next, at the time of the later one; and the seconds between.

    A counter that falls was reset: it began at 0 anew, so its new value is what it rose by
    (as Prometheus' rate() does).
    """
    steps = np.diff(column.values)
    rises = np.where(steps >= 0, steps, column.values[1:])
    return Column(column.times[1:], rises), np.diff(column.times) / 1000


def raw(column: Column, start: float, stop: float, agg: str = "avg") -> Points:
    """The samples as they are (for `agg` ``rate``: the rate from each sample to the next, per second)."""
    if agg == "rate":
        rises, seconds = increases(column)
        column = Column(rises.times, rises.values / seconds)
    column = between(column, start, stop)
    times: Floats = column.times / 1000
    return Points(times, column.values)


def bucketed(column: Column, start: float, stop: float, step: float, agg: str) -> Points:
    """One value for each step s: buckets are aligned to multiples of `step`, named by their start, empty ones NaN.

    `agg` is a key of `AGGREGATES` or ``rate``.
    """
    step_ms = round(step * 1000)
    first = round(start * 1000) // step_ms
    last = -(-round(stop * 1000) // step_ms)  # exclusive
    values = np.full(last - first, np.nan)
    times: Floats = np.arange(first, last) * step_ms / 1000
    if agg == "rate":
        # Weighted by time: all that was counted in the bucket, by the seconds it was counted over.
        rises, seconds = increases(column)
        seconds_of = Column(rises.times, seconds)
        rises, seconds_of = between(rises, start, stop), between(seconds_of, start, stop)
        buckets, starts = _buckets(rises, step_ms)
        if len(buckets):
            values[buckets - first] = np.add.reduceat(rises.values, starts) / np.add.reduceat(seconds_of.values, starts)
        return Points(times, values)
    column = between(column, start, stop)
    buckets, starts = _buckets(column, step_ms)
    if len(buckets):
        values[buckets - first] = AGGREGATES[agg](column.values, starts)
    return Points(times, values)


def _buckets(column: Column, step_ms: int) -> tuple[NDArray[np.int64], Starts]:
    """(number of each bucket that is not empty, place of its first sample)."""
    number = column.times // step_ms
    starts = np.flatnonzero(np.diff(number, prepend=number[0] - 1)) if len(number) else np.zeros(0, np.intp)
    return number[starts], starts


def _counts(values: Floats, starts: Starts) -> Floats:
    return np.diff(np.append(starts, len(values))).astype(np.float64)


def _average(values: Floats, starts: Starts) -> Floats:
    return np.add.reduceat(values, starts) / _counts(values, starts)


def _last(values: Floats, starts: Starts) -> Floats:
    last: Floats = values[np.append(starts[1:], len(values)) - 1]
    return last


AGGREGATES: dict[str, Callable[[Floats, Starts], Floats]] = {
    "avg": _average,
    "min": lambda values, starts: np.minimum.reduceat(values, starts),
    "max": lambda values, starts: np.maximum.reduceat(values, starts),
    "sum": lambda values, starts: np.add.reduceat(values, starts),
    "count": _counts,
    "last": _last,
}

AGGS = (*AGGREGATES, "rate")


# An answer of a million points is 20 MB of JSON, and no screen shows as many.
MAX_POINTS = 1_000_000

# Finer than the store's own unit of time makes no sense.
MIN_STEP = 0.001  # s

# Nothing is kept longer.
MAX_STEP = 400 * DAY  # s


class BadQuery(ValueError):
    """A question that cannot be answered; `str()` says how to ask it instead."""


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
        if self.step is not None:
            if not MIN_STEP <= self.step <= MAX_STEP:
                raise BadQuery(f"step must be {MIN_STEP} s to {MAX_STEP // DAY} days")
            if (self.stop - self.start) / self.step > MAX_POINTS:
                raise BadQuery(f"more than {MAX_POINTS:,} points a series: ask for a larger step or a shorter range")

    def points(self, column: Column) -> Points:
        """The answer for one series. `column` may begin before `start`, for the rate at the first point."""
        if self.step is None:
            return raw(column, self.start, self.stop, self.agg)
        return bucketed(column, self.start, self.stop, self.step, self.agg)

    @property
    def reads_from(self) -> float:
        """Where reading must begin (s): a rate needs the sample before the first."""
        return self.start - 2 * max(self.step or 0, 60) if self.agg == "rate" else self.start
