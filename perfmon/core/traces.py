"""What a host did in a window of time, as columns: what rightsizing judges.

A column has one value for each step of the window, NaN where nothing is known. Those of the CPU may have a finer step
than the others: its percentiles are what a size hangs on.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

Span = tuple[float, float]  # s since the epoch; the end is excluded


@dataclass(frozen=True, slots=True)
class Trace:
    """A host in a window. Shares are of 1."""

    host: str
    start: float  # s since the epoch
    step: float  # s, of `cpu` and `steal`
    coarse: float  # s, of the others; the same, or a multiple
    cpu: Floats  # share of the CPUs' time that was not idle, what was stolen included
    steal: Floats  # share that the hypervisor gave to others
    first_seen: float  # s since the epoch
    last_seen: float
    gone: bool = False  # it has departed or left
    interval: float = 0.0  # s between its samples; 0: not known
    cores: float | None = None
    memory_limit: float | None = None  # bytes
    memory: Floats | None = None  # share that programs could not get any more, on average
    memory_peak: Floats | None = None  # the same, at most
    network: Floats | None = None  # bytes a second in and out, but for the loopback
    disk: Floats | None = None  # bytes a second read and written
    paging: Floats | None = None  # bytes a second in and out of the swap
    kills: Floats | None = None  # processes that were killed for want of memory
    pressure: Mapping[str, Floats] = field(default_factory=dict)  # by ``RESOURCE KIND``: share of the time
    filesystems: Mapping[str, Floats] = field(default_factory=dict)  # share that is used, by mountpoint

    @property
    def stop(self) -> float:
        return self.start + self.step * len(self.cpu)

    @property
    def own(self) -> Floats:
        """Share of the CPUs' time that the host itself used."""
        own: Floats = np.maximum(self.cpu - np.nan_to_num(self.steal), 0.0)
        return own

    @property
    def oom_kills(self) -> int:
        """How many processes were killed for want of memory."""
        return 0 if self.kills is None else round(float(np.nansum(self.kills)))

    @property
    def known(self) -> float:
        """For how many s of the window the CPU is known."""
        return self._weight * self.step * int(np.isfinite(self.cpu).sum())

    @property
    def _weight(self) -> float:
        """A sample stands for its interval, where that is longer than a step."""
        return max(1.0, self.interval / self.step)

    def coverage(self, left_out: float) -> float:
        """The share that is known of the time since the host is (0 to 1), but for `left_out` s of it."""
        expected = min(self.stop, self.last_seen if self.gone else self.stop) - max(self.start, self.first_seen)
        return float(np.clip(self.known / max(expected - left_out, self.step), 0.0, 1.0))


def without(trace: Trace, spans: Iterable[Span]) -> tuple[Trace, float]:
    """`trace` with nothing known in `spans`, and how many s of known time that took."""
    fine = _outside(spans := list(spans), trace.start, trace.step, len(trace.cpu))
    if fine.all():
        return trace, 0.0
    number = next((len(column) for column in _coarse_columns(trace)), 0)
    coarse = _outside(spans, trace.start, trace.coarse, number)

    def cut(column: Floats | None) -> Floats | None:
        return None if column is None else np.where(coarse, column, np.nan)

    found = replace(
        trace,
        cpu=np.where(fine, trace.cpu, np.nan),
        steal=np.where(fine, trace.steal, np.nan),
        memory=cut(trace.memory),
        memory_peak=cut(trace.memory_peak),
        network=cut(trace.network),
        disk=cut(trace.disk),
        paging=cut(trace.paging),
        kills=cut(trace.kills),
        pressure={name: np.where(coarse, column, np.nan) for name, column in trace.pressure.items()},
    )
    return found, trace.known - found.known


def _coarse_columns(trace: Trace) -> Iterable[Floats]:
    columns = (trace.memory, trace.memory_peak, trace.network, trace.disk, trace.paging, trace.kills)
    return [column for column in (*columns, *trace.pressure.values()) if column is not None]


def _outside(spans: Iterable[Span], start: float, step: float, number: int) -> NDArray[np.bool_]:
    """Which steps have no part of any span."""
    outside = np.ones(number, bool)
    for begin, end in spans:
        low = max(0, int((begin - start) // step))
        high = max(0, int(-((start - end) // step)))
        outside[low:high] = False
    return outside


def share(column: Floats, at: float) -> float:
    """The value that the share `at` (0 to 1) of what is known does not exceed, of those that were: as numpy's
    ``inverted_cdf``. NaN for nothing."""
    values = column[np.isfinite(column)]
    if not len(values):
        return float("nan")
    place = max(0, int(np.ceil(at * len(values))) - 1)
    return float(np.partition(values, place)[place])


def below(column: Floats | None, limit: float) -> float:
    """Which share of what is known is below `limit`; 0.0 where nothing is known."""
    if column is None:
        return 0.0
    values = column[np.isfinite(column)]
    return float((values < limit).mean()) if len(values) else 0.0


def above(column: Floats | None, limit: float) -> float:
    """Which share of what is known is `limit` or more; 0.0 where nothing is known."""
    return 1 - below(column, limit) if column is not None and np.isfinite(column).any() else 0.0


def peak(column: Floats | None) -> float:
    """The largest of what is known; NaN for nothing."""
    if column is None or not np.isfinite(column).any():
        return float("nan")
    return float(np.nanmax(column))


def highest_mean(column: Floats, width: int) -> float:
    """The largest mean of `width` values in a row that are all known; NaN where there are none."""
    if len(column) < width:
        return float("nan")
    known = np.isfinite(column)
    sums = np.cumsum(np.concatenate(([0.0], np.where(known, column, 0.0))))
    counts = np.cumsum(np.concatenate(([0], known)))
    whole = counts[width:] - counts[:-width] == width
    means = (sums[width:] - sums[:-width]) / width
    return float(means[whole].max()) if whole.any() else float("nan")


def fills_in(column: Floats, step: float, now: float) -> tuple[float, float] | None:
    """In how many s a share that rises reaches 1, and how well a straight line fits it (R², 0 to 1).

    By least squares over what is known; from the line's end at `now` (s after the first step). None where it does not
    rise, or less than three steps are known.
    """
    known = np.isfinite(column)
    if known.sum() < 3:
        return None
    times, values = np.flatnonzero(known) * step, column[known]
    middle = times.mean()
    spread = float(((times - middle) ** 2).sum())
    slope = float(((times - middle) * (values - values.mean())).sum()) / spread
    if slope <= 0:
        return None
    line = values.mean() + slope * (times - middle)
    total = float(((values - values.mean()) ** 2).sum())
    fit = 1 - float(((values - line) ** 2).sum()) / total if total > 0 else 0.0
    at_end = float(values.mean() + slope * (now - middle))
    return max(0.0, (1 - at_end) / slope), fit
