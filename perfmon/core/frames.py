"""The format of a head: an append-only log of self-describing frames.

A head may be appended to by several writers that know nothing of each other. Each gives the metrics of the
host small numbers of its own, declares them in the head itself, and marks its frames with its writer id, so
nothing but the head is needed to read it. All integers and floats are little-endian::

    frame    kind u8 | version u8 | 0 u16 | writer u32 | length u32 | body (length bytes)

    head     identity (8 bytes)
    names    first u32 | names, UTF-8, separated by newlines: they get the numbers first, first + 1, ...
    samples  records (number u32 | offset u32 | value f64)
    rows     first u32 | columns u32 | records (offset u32) | records (value f64 x columns)

An offset is in milliseconds since the start of the window. A row is one sampling round: its values belong to
the numbers first, first + 1, ...; NaN means absent, and is never stored as a value. Names may follow the
samples that use them; samples whose number is declared nowhere are skipped: such an append was never confirmed
(see `heads.confirm`). The head frame comes first; it tells a head from a later one of the same key, which has
lost what the first was told. A sample repeated (same metric, same time) counts once: the last one in the log wins
(so a writer keeps to one number for a metric in its samples frames, and names no metric twice in one row).
"""

import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

VERSION = 1

HEAD = ord("H")
NAMES = ord("N")
SAMPLES = ord("S")
ROWS = ord("R")

RECORD = np.dtype([("number", "<u4"), ("offset", "<u4"), ("value", "<f8")])

_FRAME = struct.Struct("<BBHII")
_ROWS = struct.Struct("<II")
_FIRST = struct.Struct("<I")

FRAME_OVERHEAD = _FRAME.size


class FormatError(Exception):
    """A stored value that this version of perfmon cannot read; says where and what it met."""


def _frame(kind: int, writer: int, body: bytes) -> bytes:
    return _FRAME.pack(kind, VERSION, 0, writer, len(body)) + body


def head_frame(identity: bytes) -> bytes:
    """The first frame of a head; `identity` is 8 bytes that no other head has (drawn at random)."""
    return _frame(HEAD, 0, identity)


def names_frame(writer: int, first: int, names: Iterable[str]) -> bytes:
    """Declares `names` as the numbers first, first + 1, ... of `writer`."""
    return _frame(NAMES, writer, _FIRST.pack(first) + "\n".join(names).encode())


def samples_frame(writer: int, records: bytes) -> bytes:
    """Samples in any order; `records` is an array of `RECORD` as bytes."""
    return _frame(SAMPLES, writer, records)


def rows_frame(writer: int, first: int, columns: int, offsets: Sequence[int], values: bytes) -> bytes:
    """Sampling rounds: `offsets` (ms) of each, and `values` (f64, one row after another) as bytes."""
    return _frame(
        ROWS, writer, b"".join((_ROWS.pack(first, columns), struct.pack(f"<{len(offsets)}I", *offsets), values))
    )


@dataclass(frozen=True, slots=True)
class Column:
    """All samples of one series in some span: times ascending, without repetition."""

    times: NDArray[np.int64]  # ms since the epoch
    values: NDArray[np.float64]


def _split(head: bytes, where: str) -> Iterator[tuple[int, int, memoryview]]:
    """(kind, writer, body) of each frame."""
    view = memoryview(head)
    at = 0
    while at < len(view):
        if at + _FRAME.size > len(view):
            raise FormatError(f"{where}: cut off in a frame header at byte {at}")
        kind, version, _, writer, length = _FRAME.unpack_from(view, at)
        if version != VERSION:
            raise FormatError(
                f"{where}: frame version {version} at byte {at}, this perfmon reads version {VERSION}; "
                "was it written by a newer one?"
            )
        body = view[at + _FRAME.size : at + _FRAME.size + length]
        if len(body) < length:
            raise FormatError(f"{where}: cut off in a frame at byte {at}")
        yield kind, writer, body
        at += _FRAME.size + length


class _Gather:
    """The samples of one metric, piece by piece, in the order of the log."""

    __slots__ = ("offsets", "values")

    def __init__(self) -> None:
        self.offsets: list[NDArray[np.uint32]] = []
        self.values: list[NDArray[np.float64]] = []

    def add(self, offsets: NDArray[np.uint32], values: NDArray[np.float64]) -> None:
        self.offsets.append(offsets)
        self.values.append(values)

    def column(self, window: int) -> Column:
        offsets = self.offsets[0] if len(self.offsets) == 1 else np.concatenate(self.offsets)
        values = self.values[0] if len(self.values) == 1 else np.concatenate(self.values)
        times = offsets.astype(np.int64)
        times += window * 1000
        return tidy(times, values)


def tidy(times: NDArray[np.int64], values: NDArray[np.float64]) -> Column:
    """A `Column` from samples in the order they were written: absent ones dropped, sorted, the last of a time wins."""
    present = ~np.isnan(values)
    if not present.all():
        times, values = times[present], values[present]
    steps = np.diff(times)
    if not (steps > 0).all():
        order = np.argsort(times, kind="stable")
        times, values = times[order], values[order]
        last = np.append(np.diff(times) != 0, True) if len(times) else np.zeros(0, bool)
        times, values = times[last], values[last]
    return Column(times, values)


def read_head(head: bytes, window: int, where: str, wanted: Callable[[str], bool] | None = None) -> dict[str, Column]:
    """The series of a head by metric name, those for which `wanted` holds (by default all).

    `window` is the start of its window (s since the epoch), `where` names it in a `FormatError`.
    """
    frames = list(_split(head, where))
    gathers: dict[tuple[int, int], _Gather] = {}  # by (writer, number), those that are wanted
    by_name: dict[str, _Gather] = {}
    for kind, writer, body in frames:
        if kind == NAMES:
            for number, name in _declared(body, where):
                if wanted is None or wanted(name):
                    gathers[writer, number] = by_name.setdefault(name, _Gather())

    # Frames alike that follow each other are read as one array: the order of the log is kept,
    # and a head of a thousand sampling rounds costs a few numpy calls a column, not a thousand.
    data = (frame for frame in frames if frame[0] not in (HEAD, NAMES))
    for (kind, writer, first, columns), run in groupby(data, key=lambda frame: _like(frame, where)):
        bodies = [body for _, _, body in run]
        if kind == ROWS:
            offsets, table = _rows(bodies, columns)
            for column in range(columns):
                piece = gathers.get((writer, first + column))
                if piece is not None:
                    piece.add(offsets, table[:, column])
        else:
            records = np.frombuffer(b"".join(bodies), RECORD)
            records = records[np.argsort(records["number"], kind="stable")]
            for part in np.split(records, np.flatnonzero(np.diff(records["number"])) + 1):
                piece = gathers.get((writer, int(part["number"][0])))
                if piece is not None:
                    piece.add(part["offset"], part["value"])

    found = ((name, piece.column(window)) for name, piece in by_name.items() if piece.offsets)
    return {name: column for name, column in found if len(column.times)}


def _declared(body: memoryview, where: str) -> Iterator[tuple[int, str]]:
    """(number, name) of each metric that a names frame declares."""
    try:
        (first,) = _FIRST.unpack_from(body)
        names = bytes(body[_FIRST.size :]).decode()
    except (struct.error, UnicodeDecodeError) as problem:
        raise FormatError(f"{where}: a names frame of {len(body)} bytes makes no sense: {problem}") from None
    return enumerate(names.split("\n"), first)


def _like(frame: tuple[int, int, memoryview], where: str) -> tuple[int, int, int, int]:
    """What frames must have in common to be read as one: (kind, writer, first, columns)."""
    kind, writer, body = frame
    if kind == ROWS and len(body) > _ROWS.size:
        first, columns = _ROWS.unpack_from(body)
        if columns and (len(body) - _ROWS.size) % (4 + 8 * columns) == 0:
            return kind, writer, first, columns
    elif kind == SAMPLES and body and len(body) % RECORD.itemsize == 0:
        return kind, writer, 0, 0
    raise FormatError(f"{where}: a frame of kind {kind} and {len(body)} bytes makes no sense")


def _rows(bodies: list[memoryview], columns: int) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """Offsets and the table (rounds x columns) of row frames alike."""
    offsets: list[NDArray[np.uint32]] = []
    values: list[NDArray[np.float64]] = []
    for body in bodies:
        rounds = (len(body) - _ROWS.size) // (4 + 8 * columns)
        offsets.append(np.frombuffer(body, "<u4", rounds, _ROWS.size))
        values.append(np.frombuffer(body, "<f8", rounds * columns, _ROWS.size + 4 * rounds))
    return np.concatenate(offsets), np.concatenate(values).reshape(-1, columns)
