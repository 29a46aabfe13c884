"""The format of a sealed window: a hash of metric names to chunks, and a few fields beside them.

A chunk is one metric in one window: one or more blocks, one after another, of which a later one counts where both
have the same time. Integers and floats are little-endian; an array is as in `arrays`, with its length (u32) before it::

    block    version u8 | kind u8 | 0 u16 | length u32 | body (length bytes)

    S        times | values          samples
    I        id u64 | values         samples at times that stand in the field ``;times``
    T        id u64 | times          in the field ``;times``
    A        see `rollups`           aggregates

Times are milliseconds since the start of the window. Most metrics of a host are sampled at the same moments: where
such times are not regular they stand once in ``;times``, under an id made from their bytes.
Fields that begin with ``;``, which no metric does, are not metrics. ``;tagged`` has the names of which the window
has metrics with tags, each on a line of its own, so that a reader who was given a bare name knows whether to look.
"""

import struct
from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from perfmon.core.arrays import BadArray, Number, pack, pack_plain, pack_rows, unpack
from perfmon.core.columns import Column, merged
from perfmon.core.frames import FormatError
from perfmon.core.head_reader import Table
from perfmon.core.tiers import MS

VERSION = 1

SAMPLES = ord("S")
SAMPLES_BY_ID = ord("I")
TIMES = ord("T")
AGGREGATES = ord("A")

TIMES_FIELD = ";times"
TAGGED_FIELD = ";tagged"

_BLOCK = struct.Struct("<BBHI")
_LENGTH = struct.Struct("<I")
_ID = 8  # bytes: no two times of a window have the same by chance

# Blocks made between two yields: about a millisecond.
_SLICE = 500

# Values that are packed together: about a millisecond.
_TOGETHER = 8192

# Times in fewer bytes are not worth a place of their own.
_MIN_SHARED = 32

Moments = NDArray[np.int64]  # ms since the epoch


def block(kind: int, body: bytes) -> bytes:
    return _BLOCK.pack(VERSION, kind, 0, len(body)) + body


def with_length(array: bytes) -> bytes:
    """An encoded array as it stands in a block."""
    return _LENGTH.pack(len(array)) + array


def blocks(chunk: bytes) -> Iterator[tuple[int, int, int]]:
    """(kind, start and end of the body) of each block. Raises `FormatError`, as all here do, without the key."""
    at = 0
    while at < len(chunk):
        if at + _BLOCK.size > len(chunk):
            raise FormatError(f"cut off in the header of a block at byte {at}")
        version, kind, _, length = _BLOCK.unpack_from(chunk, at)
        if version != VERSION:
            raise FormatError(
                f"chunk version {version} at byte {at}, this perfmon reads version {VERSION}; "
                "was it written by a newer one?"
            )
        start = at + _BLOCK.size
        at = start + length
        if at > len(chunk):
            raise FormatError(f"cut off in a block at byte {start - _BLOCK.size}")
        yield kind, start, at


def arrays_in(chunk: bytes, start: int, end: int, count: int) -> list[bytes]:
    """The `count` encoded arrays that fill `chunk` from `start` to `end`."""
    found = []
    at = start
    while at + 4 <= end:
        (length,) = _LENGTH.unpack_from(chunk, at)
        at += 4 + length
        found.append(chunk[at - length : at])
    if at != end or len(found) != count:
        raise FormatError(f"{end - start} bytes do not hold {count} arrays")
    return found


def array_in(data: bytes, dtype: type[Number]) -> NDArray[Number]:
    """An encoded array, decoded."""
    try:
        return unpack(data, dtype)
    except BadArray as problem:
        raise FormatError(str(problem)) from None


@dataclass(frozen=True, slots=True)
class Block:
    """Some samples of one metric: the key of their times (see `Times`), and their values."""

    times: bytes
    values: NDArray[np.float64]


def read_samples(chunk: bytes) -> list[Block]:
    """The blocks of a chunk of samples, at least one, in the order they were written."""
    found = []
    for kind, start, end in blocks(chunk):
        if kind == SAMPLES:
            times, values = arrays_in(chunk, start, end, 2)
        elif kind == SAMPLES_BY_ID:
            times = chunk[start : start + _ID]
            (values,) = arrays_in(chunk, start + _ID, end, 1)
        else:
            raise FormatError(f"a block of kind {kind} among samples")
        found.append(Block(times, array_in(values, np.float64)))
    if not found:
        raise FormatError("a chunk without a block")
    return found


class Times:
    """The times of one window, by id where they stand in ``;times``, otherwise by what they are encoded as.

    Most metrics of a host have the same; they are decoded once.
    """

    def __init__(self, window: int, field: bytes) -> None:
        """`window` is its start (s), `field` what its ``;times`` holds."""
        self._start = np.int64(window * MS)
        self._known: dict[bytes, Moments] = {}
        for kind, start, end in blocks(field):
            if kind != TIMES:
                raise FormatError(f"a block of kind {kind} in {TIMES_FIELD}")
            (times,) = arrays_in(field, start + _ID, end, 1)
            self._known[field[start : start + _ID]] = array_in(times, np.uint32) + self._start

    def of(self, block: Block) -> Moments:
        """The times of `block`, as many as it has values."""
        found = self._known.get(block.times)
        if found is None:
            if len(block.times) == _ID:
                raise FormatError(f"its times are not in {TIMES_FIELD}")
            found = self._known[block.times] = array_in(block.times, np.uint32) + self._start
        if len(found) != len(block.values):
            raise FormatError(f"{len(block.values)} values for {len(found)} times")
        return found


class Joiner:
    """Joins the blocks of series; what many of them have in common, the same times, is joined and cut once."""

    def __init__(self, span: tuple[int, int] | None = None) -> None:
        """Of `span` (ms since the epoch, the end excluded) by default all."""
        self._span = span
        self._joined: dict[tuple[int, ...], _Joined | None] = {}

    def join(self, times: list[Moments], values: list[NDArray[np.float64]]) -> Column:
        """One column of the pieces of a series, oldest write first: of a repeated time the last one wins."""
        key = tuple(map(id, times))
        if key not in self._joined:
            joined = times[0] if len(times) == 1 else np.concatenate(times)
            ascending = len(times) == 1 or (joined[1:] > joined[:-1]).all()
            part = self._part(joined)
            cut = joined if part == slice(0, len(joined)) else joined[part]
            self._joined[key] = _Joined(times, cut, part) if ascending else None
        found = self._joined[key]
        if found is None:
            column = merged([Column(*piece) for piece in zip(times, values, strict=True)])
            part = self._part(column.times)
            return Column(column.times[part], column.values[part])
        return Column(found.times, (values[0] if len(values) == 1 else np.concatenate(values))[found.part])

    def _part(self, times: Moments) -> slice:
        if self._span is None:
            return slice(0, len(times))
        return slice(*times.searchsorted(self._span).tolist())


@dataclass(frozen=True, slots=True)
class _Joined:
    pieces: list[Moments]  # kept, for an id is that of an object only while this lives
    times: Moments
    part: slice


class Sealer:
    """Makes the fields of a sealed window of samples."""

    def __init__(self, window: int) -> None:
        """`window` is its start (s since the epoch)."""
        self._window_ms = window * MS
        self._entries: dict[str, tuple[bytes, bytes]] = {}  # metric -> times and values, encoded
        self._encoded: dict[bytes, bytes] = {}  # times as they are -> encoded
        self._latest: tuple[Moments, bytes] | None = None  # times, encoded: of most metrics they are the same array
        self._waiting: dict[str, Column] = {}  # to be packed together, for they have the same times

    def add(self, metric: str, column: Column) -> None:
        """`column`, which is not empty, is all that the window has of `metric`."""
        if self._waiting:
            times = next(iter(self._waiting.values())).times
            if column.times is not times or len(times) * len(self._waiting) >= _TOGETHER:
                self._pack_waiting()
        self._waiting[metric] = column

    def _pack_waiting(self) -> None:
        waiting, self._waiting = self._waiting, {}
        if waiting:
            columns = list(waiting.values())
            times = self._times(columns[0].times)
            packed = pack_rows(np.stack([column.values for column in columns]))
            self._entries |= {metric: (times, values) for metric, values in zip(waiting, packed, strict=True)}

    def add_plain(self, table: Table) -> None:
        """What there is of some metrics, not compressed, for it is soon replaced: this costs a tenth."""
        times = self._times(table.times)
        data = pack_plain(table.values)
        size = 8 * len(table.times)
        kind, values = data[:1], data[1:]
        for place, metric in enumerate(table.metrics):
            self._entries[metric] = times, kind + values[place * size : (place + 1) * size]

    def _times(self, times: Moments) -> bytes:
        if self._latest is None or self._latest[0] is not times:
            offsets = (times - self._window_ms).astype(np.uint32)
            plain = offsets.tobytes()
            encoded = self._encoded.get(plain)
            if encoded is None:
                encoded = self._encoded[plain] = pack(offsets)
            self._latest = times, encoded
        return self._latest[1]

    def work(self) -> Generator[None, None, dict[str, bytes]]:
        """Returns the fields of the hash, with a yield after some hundreds of them."""
        self._pack_waiting()
        uses = Counter(times for times, _ in self._entries.values())
        kinds: dict[bytes, tuple[int, bytes]] = {}  # by times: kind of the block, and how its body begins
        shared = []
        for times, count in uses.items():
            kinds[times] = SAMPLES, with_length(times)
            if count > 1 and len(times) >= _MIN_SHARED:
                number = blake2b(times, digest_size=_ID).digest()
                shared.append(block(TIMES, number + with_length(times)))
                kinds[times] = SAMPLES_BY_ID, number
        found = {}
        for place, (metric, (times, values)) in enumerate(self._entries.items()):
            kind, beginning = kinds[times]
            found[metric] = block(kind, beginning + with_length(values))
            if place % _SLICE == 0:
                yield
        if shared:
            found[TIMES_FIELD] = b"".join(shared)
        return found | tagged_field(self._entries)


def tagged_field(metrics: Iterable[str]) -> dict[str, bytes]:
    """The field ``;tagged`` for a window of `metrics`, none where no metric has tags."""
    names = sorted({metric.partition(";")[0] for metric in metrics if ";" in metric})
    return {TAGGED_FIELD: "".join(f"\n{name}" for name in names).encode() + b"\n"} if names else {}
