"""Which small number each series has, for as long as this process writes.

A `HostLog` numbers the metrics of one host densely from 0 and remembers how much of that numbering each open
head has been told. A `Numbering` finds the host and the number of a Graphite path with one dictionary look-up.
Neither is ever persisted: heads declare their names themselves (see `frames`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from perfmon.core.globs import ALL, Pattern
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


Choice = tuple[NDArray[np.int64], list[str]]


class HostLog:
    """One host as this writer numbers it: its metrics, its open heads, its latest rows."""

    __slots__ = ("_chosen", "_numbers", "_runs", "heads", "host", "latest_rows", "names", "place", "series", "writer")

    def __init__(self, host: str, writer: int, place: int = 0) -> None:
        """`place` is that in the logs of a numbering."""
        self.host = host
        self.place = place
        self.writer = writer  # u32, drawn at random: tells this numbering from those of other writers
        self.names: list[str] = []
        # Made when it is needed: for a host that only an agent sends, or only others, it never is, and would be most of
        # what the host takes.
        self._numbers: dict[str, int] | None = None
        self._runs: dict[tuple[str, ...], int] = {}  # first numbers of schemas
        self.heads: dict[int, HeadState] = {}  # by window start
        self.latest_rows: dict[int, Row] = {}  # by first number
        self.series: dict[str, int] = {}  # metric -> series, of those that have one
        self._chosen: tuple[Pattern, dict[tuple[int, int], Choice]] = ALL, {}  # of the last pattern, by run

    def chosen(self, row: Row, wanted: Pattern) -> "Choice":
        """Which values of `row` are `wanted`, and their names: found once, as long as the same pattern is asked for."""
        if self._chosen[0] is not wanted:
            self._chosen = wanted, {}
        choices, run = self._chosen[1], (row.first, row.columns)
        choice = choices.get(run)
        if choice is None:
            names = self.names[row.first : row.first + row.columns]
            places = [place for place, name in enumerate(names) if wanted.matches(name)]
            choice = choices[run] = np.array(places, np.int64), [names[place] for place in places]
        return choice

    def number(self, metric: str) -> int:
        """The number of `metric`, a new one if it has none; always the same one (see `frames`)."""
        numbers = self._known()
        number = numbers.get(metric)
        if number is None:
            number = numbers[metric] = len(self.names)
            self.names.append(metric)
        return number

    def first_number(self, metric: str) -> int:
        """The same for a metric that has no series."""
        if not self._plain:
            return self.number(metric)
        self.names.append(metric)
        return len(self.names) - 1

    @property
    def _plain(self) -> bool:
        """Whether every name has a series, so that a metric without one has no number either."""
        return self._numbers is None and not self._runs

    def takes_only_new(self, metrics: Sequence[str]) -> bool:
        """Whether `metrics` are all different ones, none of which has a number."""
        return self._plain and self.series.keys().isdisjoint(metrics) and len(set(metrics)) == len(metrics)

    def _known(self) -> dict[str, int]:
        """Number by metric; of one that has several the first."""
        if self._numbers is None:
            self._numbers = {}
            for number, name in enumerate(self.names):
                self._numbers.setdefault(name, number)
        return self._numbers

    def run(self, metrics: Sequence[str]) -> int:
        """First of consecutive numbers for `metrics`, the names of a schema; the same for the same schema."""
        schema = tuple(metrics)
        first = self._runs.get(schema)
        if first is None and self.names:
            first = self._known().get(schema[0])
        if first is None or self.names[first : first + len(schema)] != list(schema):
            first = len(self.names)
            self.names.extend(schema)
            if self._numbers is not None:
                for number, name in enumerate(schema, first):
                    self._numbers.setdefault(name, number)
        self._runs[schema] = first
        return first

    def head(self, window: int) -> HeadState:
        """State of the head of `window`, remembered from now on."""
        state = self.heads.get(window)
        if state is None:
            state = self.heads[window] = HeadState()
            if len(self.heads) > _OPEN_HEADS:
                del self.heads[min(self.heads)]
        return state

    def undeclare(self) -> None:
        """Names may have gone from any head: the next append to each declares them again."""
        for state in self.heads.values():
            state.declared = 0

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

    def cut(self, count: int) -> tuple["Columns", "Columns"]:
        """The first `count` samples, and the rest."""
        first, rest = (
            Columns(self.numbering, self.series[part], self.times_ms[part], self.values[part])
            for part in (slice(count), slice(count, None))
        )
        return first, rest

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
        self._log_of = Growing(np.int64)  # by series
        self._number_of = Growing(np.uint32)
        self._new_logs: list[int] = []  # of the latest series, not in these yet
        self._new_numbers: list[int] = []
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
            log = self.hosts[host] = HostLog(host, self._new_writer(), len(self.logs))
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
        return self.series_of(self.host(host), metric)

    def series_of(self, log: HostLog, metric: str) -> int:
        """The same for a host's log."""
        series = log.series.get(metric)
        if series is None:
            self._new_logs.append(log.place)
            self._new_numbers.append(log.first_number(metric))
            series = log.series[metric] = self._count
            self._count += 1
        return series

    def series_of_each(self, log: HostLog, metrics: Sequence[str]) -> Sequence[int]:
        """The series of several metrics; of many that are all new at a third of the price."""
        if not log.takes_only_new(metrics):
            return [self.series_of(log, metric) for metric in metrics]
        numbers = range(len(log.names), len(log.names) + len(metrics))
        series = range(self._count, self._count + len(metrics))
        log.names += metrics
        log.series.update(zip(metrics, series, strict=True))
        self._new_logs += [log.place] * len(metrics)
        self._new_numbers += numbers
        self._count += len(metrics)
        return series

    def places(self) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """(place in `logs`, number in that log) of every series, to be indexed by `Columns.series`."""
        if self._new_logs:
            self._log_of.extend(self._new_logs)
            self._number_of.extend(self._new_numbers)
            self._new_logs, self._new_numbers = [], []
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

    def latest(self, host: str, wanted: Pattern = ALL) -> dict[str, tuple[int, float]] | None:
        """The newest sample of each metric of `host` that is wanted: name -> (ms since the epoch, value).

        None where there is none of any metric.
        """
        log = self.hosts.get(host)
        if log is None:
            return None
        found: dict[str, tuple[int, float]] = {}
        times, values = self._latest_times.array, self._latest_values.array
        known = bool(log.latest_rows)
        for metric, series in log.series.items():
            if series < len(times) and times[series]:
                known = True
                if wanted.matches(metric):
                    found[metric] = int(times[series]), float(values[series])
        for row in log.latest_rows.values():
            places, names = log.chosen(row, wanted)
            values = np.frombuffer(row.values, "<f8")[places].tolist()
            for name, value in zip(names, values, strict=True):
                if value == value and found.get(name, (0, 0.0))[0] <= row.time_ms:
                    found[name] = row.time_ms, value
        return found if known else None
