"""Which small number each series has, for as long as this process writes.

A `HostLog` numbers the metrics of one host densely from 0 and remembers how much of that numbering each open
head has been told. A `Numbering` finds the host and the number of a Graphite path with one dictionary look-up.
Neither is ever persisted: heads declare their names themselves (see `frames`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmon.core.growing import Growing
from perfmon.core.path_table import PathTable

# Above this many series a Numbering is thrown away and begun anew: a fleet that makes up new names for
# ever must not fill the memory. An entry costs about 300 bytes, so 300 MB at the most.
MAX_SERIES = 1_000_000

# Windows remembered for each host: the current one and one on either side (clocks differ).
_OPEN_HEADS = 3


@dataclass(slots=True)
class HeadState:
    """What this writer knows of one head in the store."""

    declared: int = 0  # names 0..declared-1 stand in it
    identity: bytes = b""  # what tells it from another of the same key


@dataclass(slots=True, eq=False)  # not frozen: that would take three times as long to make, for each line of an agent
class Row:
    """One sampling round of one host: values of the metrics first, first + 1, ... at one time."""

    log: "HostLog"
    first: int
    time_ms: int
    values: bytes  # f64 little-endian; NaN where absent
    absent: int = 0  # how many of them are

    @property
    def columns(self) -> int:
        return len(self.values) // 8

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.values) // 8 - self.absent


class HostLog:
    """One host as this writer numbers it: its metrics, its open heads, its latest rows."""

    __slots__ = ("_numbers", "_runs", "heads", "host", "latest_rows", "names", "series", "writer")

    def __init__(self, host: str, writer: int) -> None:
        self.host = host
        self.writer = writer  # u32, drawn at random: tells this numbering from those of other writers
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._runs: dict[tuple[str, ...], int] = {}  # first numbers of schemas
        self.heads: dict[int, HeadState] = {}  # by window start
        self.latest_rows: dict[int, Row] = {}  # by first number
        self.series: dict[int, int] = {}  # number -> series, of those that have one

    def number(self, metric: str) -> int:
        """The number of `metric`, a new one if it has none; always the same one (see `frames`)."""
        number = self._numbers.get(metric)
        if number is None:
            number = self._numbers[metric] = len(self.names)
            self.names.append(metric)
        return number

    def run(self, metrics: Sequence[str]) -> int:
        """First of consecutive numbers for `metrics`, the names of a schema; the same for the same schema."""
        schema = tuple(metrics)
        first = self._runs.get(schema, self._numbers.get(schema[0]))
        if first is None or self.names[first : first + len(schema)] != list(schema):
            first = self._runs[schema] = len(self.names)
            self.names.extend(schema)
            for number, name in enumerate(schema, first):
                self._numbers.setdefault(name, number)
        return first

    def head(self, window: int) -> HeadState:
        """State of the head of `window`, remembered from now on."""
        state = self.heads.get(window)
        if state is None:
            state = self.heads[window] = HeadState()
            if len(self.heads) > _OPEN_HEADS:
                del self.heads[min(self.heads)]
        return state

    def saw_row(self, row: Row) -> None:
        """Keeps `row` if it is the newest of its schema."""
        known = self.latest_rows.get(row.first)
        if known is None or known.time_ms <= row.time_ms:
            self.latest_rows[row.first] = row


@dataclass(frozen=True, slots=True)
class Columns:
    """Samples of any hosts as columns of one length, in the order of their arrival."""

    numbering: "Numbering"  # which `series` refers to
    series: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]  # finite

    def __len__(self) -> int:
        return len(self.series)

    @property
    def nbytes(self) -> int:
        return 24 * len(self.series)

    def logs(self) -> set["HostLog"]:
        """Those of the hosts that have samples here."""
        places = self.numbering.places()[0].take(self.series)
        others = places[np.concatenate(([True], places[1:] != places[:-1]))] if len(places) else places
        return {self.numbering.logs[place] for place in others.tolist()}

    @staticmethod
    def joined(batches: Sequence["Columns"]) -> list["Columns"]:
        """`batches` as few as can be, one for each numbering: what is done for each host is then done once."""
        by_numbering: dict[Numbering, list[Columns]] = {}
        for batch in batches:
            by_numbering.setdefault(batch.numbering, []).append(batch)
        return [
            same[0]
            if len(same) == 1
            else Columns(
                numbering,
                np.concatenate([batch.series for batch in same]),
                np.concatenate([batch.times_ms for batch in same]),
                np.concatenate([batch.values for batch in same]),
            )
            for numbering, same in by_numbering.items()
        ]


class Numbering:
    """All series that this process has met: host, metric and Graphite path as numbers."""

    def __init__(self, new_writer: Callable[[], int], max_series: int = MAX_SERIES) -> None:
        """`new_writer` draws a writer id (u32), one for each host."""
        self._new_writer = new_writer
        self._max_series = max_series
        self.hosts: dict[str, HostLog] = {}
        self.logs: list[HostLog] = []
        self.paths = PathTable()  # Graphite path -> series
        self._index: dict[str, int] = {}  # host -> place in logs
        self._log_of = Growing(np.int64)  # by series
        self._number_of = Growing(np.uint32)
        self._new: list[tuple[int, int]] = []  # of the latest series, not in these yet
        self._scheduled = 0  # names that schemas have added
        self._count = 0  # of series
        self._latest_times = Growing(np.int64)  # by series
        self._latest_values = Growing(np.float64)

    @property
    def full(self) -> bool:
        """Whether it is time to begin anew."""
        return max(self._count + self._scheduled, len(self.paths), len(self.hosts)) >= self._max_series

    def host(self, host: str) -> HostLog:
        """The log of `host`, a new one if it has none. `host` is a checked name."""
        log = self.hosts.get(host)
        if log is None:
            log = self.hosts[host] = HostLog(host, self._new_writer())
            self._index[host] = len(self.logs)
            self.logs.append(log)
        return log

    def schema(self, host: str, metrics: Sequence[str]) -> tuple[HostLog, int]:
        """The log of `host` and the first number of its schema `metrics`, for `Row`. All are checked names."""
        log = self.host(host)
        before = len(log.names)
        first = log.run(metrics)
        self._scheduled += len(log.names) - before
        return log, first

    def series(self, host: str, metric: str) -> int:
        """The series of `metric` at `host`, both checked names, for `Columns`."""
        log = self.host(host)
        number = log.number(metric)
        series = log.series.get(number)
        if series is None:
            series = log.series[number] = self._count
            self._count += 1
            self._new.append((self._index[host], number))
        return series

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """(place in `logs`, number in that log) of every series, to be indexed by `Columns.series`."""
        if self._new:
            logs, numbers = zip(*self._new, strict=True)
            self._new.clear()
            self._log_of.extend(logs)
            self._number_of.extend(numbers)
        return self._log_of.array, self._number_of.array

    def saw(self, columns: Columns) -> None:
        """Keeps the newest sample of each series."""
        if len(self._latest_times) < self._count:
            self._latest_times.grow(self._count)
            self._latest_values.grow(self._count)
        latest_times, latest_values = self._latest_times.array, self._latest_values.array
        series, times, values = columns.series, columns.times_ms, columns.values
        if not (times[1:] >= times[:-1]).all():
            order = np.argsort(times, kind="stable")  # of equal times the last to arrive stays last
            series, times, values = series.take(order), times.take(order), values.take(order)
        newer = times >= latest_times.take(series)
        if not newer.all():
            series, times, values = series[newer], times[newer], values[newer]
        # of a repeated index numpy keeps what is assigned last, here the newest
        latest_times[series] = times
        latest_values[series] = values

    def forget(self, host: str) -> None:
        """The newest samples of `host` are not to be told of any more."""
        log = self.hosts.get(host)
        if log is not None:
            log.latest_rows.clear()
            known = [series for series in log.series.values() if series < len(self._latest_times)]
            self._latest_times.array[known] = 0

    def latest(self, host: str) -> dict[str, tuple[int, float]]:
        """The newest sample of each metric of `host`: name -> (ms since the epoch, value)."""
        log = self.hosts.get(host)
        if log is None:
            return {}
        found: dict[str, tuple[int, float]] = {}
        times, values = self._latest_times.array, self._latest_values.array
        for number, series in log.series.items():
            if series < len(times) and times[series]:
                found[log.names[number]] = int(times[series]), float(values[series])
        for row in log.latest_rows.values():
            values = np.frombuffer(row.values, "<f8").tolist()
            for name, value in zip(log.names[row.first : row.first + row.columns], values, strict=True):
                if value == value and found.get(name, (0, 0.0))[0] <= row.time_ms:
                    found[name] = row.time_ms, value
        return found
