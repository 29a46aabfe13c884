"""Reading heads: the samples of `frames` as tables, each a few numpy calls however many frames it was.

An hour of a host is hundreds of frames of rows, all alike: their bytes are taken as one table of bytes, so what a
reader pays for is the columns that it wants.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perfmon.core.columns import Column, tidy
from perfmon.core.frames import (
    FRAME_HEADER,
    HEAD,
    NAMES,
    NAMES_HEADER,
    RECORD,
    ROWS,
    ROWS_HEADER,
    SAMPLES,
    VERSION,
    FormatError,
)

# Bytes of samples frames that are read as one array: sorting so many records takes 5 ms.
_PORTION = 1 << 20

# Values in one table: turning so many round takes 1 ms.
_VALUES = 1 << 16

# Frames of rows are alike if these bytes of theirs are.
_ALIKE = FRAME_HEADER.size + ROWS_HEADER.size

Times = NDArray[np.int64]  # ms since the epoch
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Table:
    """Series with samples at the same times: each row of `values` is a `Column`."""

    metrics: Sequence[str]
    times: Times
    values: Values  # metrics x times


def read_head(head: bytes, window: int, where: str, wanted: Callable[[str], bool] | None = None) -> dict[str, Column]:
    """The series of a head by metric name, those for which `wanted` holds (by default all).

    `window` is the start of its window (s since the epoch), `where` names it in a `FormatError`.
    """
    return {
        metric: Column(table.times, values)
        for table in read_tables(head, window, where, wanted)
        if table is not None
        for metric, values in zip(table.metrics, table.values, strict=True)
    }


def read_tables(
    head: bytes, window: int, where: str, wanted: Callable[[str], bool] | None = None
) -> Iterator[Table | None]:
    """The same as tables, each metric in one of them; None between pieces of work of some milliseconds."""
    reader = _Scan(head, window, where, wanted)
    pieces: dict[str, list[tuple[_Rows | _Records, int]]] = {}
    for run in reader.runs:
        run.read()
        yield None
        for number, metric in reader.metrics.get(run.writer, {}).items():
            if run.has(number):
                pieces.setdefault(metric, []).append((run, number))

    whole: dict[int, tuple[_Rows, list[str], list[int]]] = {}  # what is in one run of rows only, by that run
    for metric, found in pieces.items():
        run, number = found[0]
        if len(found) == 1 and isinstance(run, _Rows) and run.ascending:
            _, metrics, numbers = whole.setdefault(id(run), (run, [], []))
            metrics.append(metric)
            numbers.append(number)
            continue
        column = tidy(
            np.concatenate([run.times_of(number) for run, number in found]),
            np.concatenate([run.values_of(number) for run, number in found]),
        )
        if len(column.times):
            yield Table((metric,), column.times, column.values[np.newaxis])
    for rows, metrics, numbers in whole.values():
        yield from _tables(rows, metrics, numbers)


def _tables(rows: "_Rows", metrics: list[str], numbers: list[int]) -> Iterator[Table | None]:
    """Metrics of which all samples are in `rows`: one table, and one for each that was absent at times."""
    most = max(1, _VALUES // len(rows.times))
    if len(metrics) > most:
        for low in range(0, len(metrics), most):
            yield from _tables(rows, metrics[low : low + most], numbers[low : low + most])
            yield None
        return
    values = rows.table(numbers)
    absent = np.isnan(values)
    if not absent.any():
        yield Table(metrics, rows.times, values)
        return
    sparse = absent.any(axis=1)
    present = np.flatnonzero(~sparse).tolist()
    if present:
        yield Table([metrics[place] for place in present], rows.times, values[present])
    for place in np.flatnonzero(sparse).tolist():
        column = tidy(rows.times, values[place])
        if len(column.times):
            yield Table((metrics[place],), column.times, column.values[np.newaxis])


@lru_cache(maxsize=128)
def _declared(body: bytes, wanted: Callable[[str], bool] | None) -> Mapping[int, str]:
    """What a names frame declares, of that what is wanted. The hosts of a fleet declare much the same."""
    (first,) = NAMES_HEADER.unpack_from(body)
    names = body[NAMES_HEADER.size :].decode().split("\n")
    return {number: name for number, name in enumerate(names, first) if wanted is None or wanted(name)}


class _Rows:
    """Frames of rows that follow each other and are alike: of one writer, of the same metrics and size."""

    def __init__(self, writer: int, first: int, columns: int, data: NDArray[np.uint8], start: np.int64) -> None:
        """`data` has a row for each frame."""
        self.writer = writer
        self._first = first
        self._columns = columns
        self._data = data
        self._rounds = (data.shape[1] - _ALIKE) // (4 + 8 * columns)  # in each frame
        self._values = _ALIKE + 4 * self._rounds  # where they begin
        offsets = np.ascontiguousarray(data[:, _ALIKE : self._values]).view("<u4").ravel()
        self.times: Times = offsets + start
        self.ascending = bool((self.times[1:] > self.times[:-1]).all())

    def read(self) -> None:
        """Nothing: its columns are there as they are wanted."""

    def has(self, number: int) -> bool:
        return self._first <= number < self._first + self._columns

    def times_of(self, number: int) -> Times:
        return self.times

    def values_of(self, number: int) -> Values:
        values: Values = self.table([number])[0]
        return values

    def table(self, numbers: list[int]) -> Values:
        """A row for each of `numbers`."""
        if self._rounds == 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers))):
            at = self._values + 8 * (numbers[0] - self._first)
            some = np.ascontiguousarray(self._data[:, at : at + 8 * len(numbers)]).view("<f8")
            return np.ascontiguousarray(some.T)
        values: Values = np.ascontiguousarray(self._data[:, self._values :]).view("<f8").reshape(-1, self._columns)
        return np.ascontiguousarray(values[:, np.array(numbers) - self._first].T)


class _Records:
    """Samples frames of one writer that follow each other."""

    def __init__(self, writer: int, bodies: list[bytes], start: np.int64) -> None:
        self.writer = writer
        self._bodies = bodies
        self._start = start

    def read(self) -> None:
        """Sorts them by metric, for all that follows."""
        records = np.frombuffer(b"".join(self._bodies), RECORD)
        records = records[np.argsort(records["number"], kind="stable")]
        numbers = records["number"]
        self._times: Times = records["offset"] + self._start
        self._values = np.ascontiguousarray(records["value"])
        edges = [0, *(np.flatnonzero(numbers[1:] != numbers[:-1]) + 1).tolist(), len(records)]
        self._places = {int(numbers[low]): slice(low, high) for low, high in pairwise(edges)}

    def has(self, number: int) -> bool:
        return number in self._places

    def times_of(self, number: int) -> Times:
        return self._times[self._places[number]]

    def values_of(self, number: int) -> Values:
        return self._values[self._places[number]]


class _Scan:
    """All frames of a head, in runs alike. Raises `FormatError`."""

    def __init__(self, head: bytes, window: int, where: str, wanted: Callable[[str], bool] | None) -> None:
        self.metrics: dict[int, dict[int, str]] = {}  # writer -> number -> metric, those that are wanted
        self.runs: list[_Rows | _Records] = []
        self._head = head
        self._start = np.int64(window * 1000)
        self._where = where
        self._wanted = wanted
        self._bodies: list[bytes] = []  # of samples frames of one writer
        self._size = 0
        self._writer = 0
        at = 0
        while at < len(head):
            at = self._frame(at)
        self._gathered()

    def _frame(self, at: int) -> int:
        """Takes in the frame at `at`, and those alike; returns where they end."""
        start = at + FRAME_HEADER.size
        if start > len(self._head):
            raise FormatError(f"{self._where}: cut off in a frame header at byte {at}")
        kind, version, _, writer, length = FRAME_HEADER.unpack_from(self._head, at)
        if version != VERSION:
            raise FormatError(
                f"{self._where}: frame version {version} at byte {at}, this perfmon reads version {VERSION}; "
                "was it written by a newer one?"
            )
        end: int = start + length
        if end > len(self._head):
            raise FormatError(f"{self._where}: cut off in a frame at byte {at}")
        if kind == SAMPLES and length and length % RECORD.itemsize == 0:
            self._add_samples(writer, self._head[start:end])
        elif kind == ROWS and length > ROWS_HEADER.size:
            return self._add_rows(at, writer, length)
        elif kind == NAMES:
            self._declare(writer, self._head[start:end])
        elif kind != HEAD:
            self._refuse(kind, length)
        return end

    def _refuse(self, kind: int, length: int) -> None:
        raise FormatError(f"{self._where}: a frame of kind {kind} and {length} bytes makes no sense")

    def _declare(self, writer: int, body: bytes) -> None:
        try:
            known = _declared(body, self._wanted)
        except (struct.error, UnicodeDecodeError) as problem:
            raise FormatError(f"{self._where}: a names frame of {len(body)} bytes makes no sense: {problem}") from None
        self.metrics.setdefault(writer, {}).update(known)

    def _add_rows(self, at: int, writer: int, length: int) -> int:
        self._gathered()
        first: int
        columns: int
        first, columns = ROWS_HEADER.unpack_from(self._head, at + FRAME_HEADER.size)
        if not columns or (length - ROWS_HEADER.size) % (4 + 8 * columns):
            self._refuse(ROWS, length)
        size = FRAME_HEADER.size + length
        count = 1
        if self._head[at : at + _ALIKE] == self._head[at + size : at + size + _ALIKE]:
            count = (len(self._head) - at) // size
        data = np.frombuffer(self._head, np.uint8, count * size, at).reshape(count, size)
        alike = (data[:, :_ALIKE] == data[0, :_ALIKE]).all(axis=1)
        if not alike.all():
            data = data[: int(alike.argmin())]
        self.runs.append(_Rows(writer, first, columns, data, self._start))
        return at + int(data.size)

    def _add_samples(self, writer: int, body: bytes) -> None:
        if writer != self._writer or self._size + len(body) > _PORTION:
            self._gathered()
        self._writer = writer
        self._bodies.append(body)
        self._size += len(body)

    def _gathered(self) -> None:
        if self._bodies:
            self.runs.append(_Records(self._writer, self._bodies, self._start))
            self._bodies, self._size = [], 0
