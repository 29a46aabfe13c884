"""One array as bytes: the smallest of a few encodings, told apart by their first byte.

All integers and floats are little-endian::

    C  count u32 | value           all values are the same one
    R  (start u32 | step u32 | count u32) ...   u32 only: runs of equal steps, as regular times are
    Z  a standalone pcodec file    everything else
    P  the values as they are      a few, or what is to be replaced soon and not worth compressing

pcodec (github.com/pcodec/pcodec) finds decimal fractions and multiples by itself. It would also find whether to
compress values or their steps, by trying; looking at the spread of both takes two thirds of the time, for one to two
percent more bytes on metrics of hosts at ten seconds. Level 4 is as good as its default, 8, and faster.
"""

import struct
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pcodec import ChunkConfig, DeltaSpec, standalone

Number = TypeVar("Number", np.uint32, np.float64)

_CONSTANT = struct.Struct("<cI")
_RUN = np.dtype([("start", "<u4"), ("step", "<u4"), ("count", "<u4")])

# Above so many runs the times are not regular, and pcodec does better.
_MAX_RUNS = 8

# A few bytes may claim any length. No window has so many samples, and pcodec's own chunks end here too.
_MOST = 1 << 24

# What pcodec makes of so few bytes is longer than they are.
_FEW = 128  # bytes

# For values, their steps, and the steps of these.
_LEVELS = [
    ChunkConfig(compression_level=4, delta_spec=delta)
    for delta in (DeltaSpec.no_op(), DeltaSpec.try_consecutive(1), DeltaSpec.try_consecutive(2))
]


class BadArray(ValueError):
    """Bytes that are no array of this format; `str()` says what was met."""


def pack(array: NDArray[Number]) -> bytes:
    """`array` (u32 or f64, one dimension) as few bytes."""
    if array.dtype == np.uint32:
        return _pack_integers(array.tobytes())
    return _packed(array[np.newaxis])[0]


def pack_rows(table: NDArray[np.float64]) -> list[bytes]:
    """Each row of `table` (f64, two dimensions) as `pack` gives it.

    What is to be found out of a row takes a dozen numpy calls, whose overhead is as much as the compression of an
    hour's values: one call does for all rows.
    """
    return _packed(table)


@lru_cache(maxsize=256)
def _pack_integers(data: bytes) -> bytes:
    """An array of u32. Times and counts are the same for most metrics of a host."""
    array = np.frombuffer(data, np.uint32)
    runs = None if len(array) and (array == array[0]).all() else _runs(array)
    return _packed(array[np.newaxis])[0] if runs is None else b"R" + runs.tobytes()


def _packed(table: NDArray[Any]) -> list[bytes]:
    # samples from a head may lie at any address, which pcodec does not take
    table = np.require(table, requirements=("C", "A"))
    length, each = table.shape[1], table.itemsize
    if not length:
        return [b"P"] * len(table)
    data, size = table.tobytes(), length * each
    packed = []
    for at in range(0, len(data), size):
        row, first = data[at : at + size], data[at : at + each]
        # the same to the bit: -0.0 is not 0.0
        packed.append(_CONSTANT.pack(b"C", length) + first if row == first * length else b"P" + row)
    if size > _FEW:
        varying = [place for place, one in enumerate(packed) if one.startswith(b"P")]
        for place, config in zip(varying, _configs_for(table[varying]), strict=True):
            packed[place] = b"Z" + standalone.simple_compress(table[place], config)
    return packed


def _configs_for(table: NDArray[Any]) -> list[ChunkConfig]:
    """Whether to compress the values of a row, their steps, or the steps of these: whichever spread the least."""
    values = table.astype(np.float64, copy=False)
    with np.errstate(all="ignore"):  # an overflow to infinity is an answer too
        spread = values - np.add.reduce(values, axis=1, keepdims=True) / values.shape[1]
        steps = values[:, 1:] - values[:, :-1]
        second = steps[:, 1:] - steps[:, :-1]
        least, squared, twice = (np.vecdot(one, one) for one in (spread, steps, second))
        # a little less spread is not worth what is lost by two levels
        levels = (squared < least) * (1 + (twice < 0.1 * squared))
    return [_LEVELS[level] for level in levels.tolist()]


def pack_plain(array: NDArray[Number]) -> bytes:
    """`array` without any compression, at a tenth of the cost."""
    return b"P" + array.tobytes()


def unpack(data: bytes, dtype: type[Number]) -> NDArray[Number]:
    """The array of `pack` or `pack_plain`; not to be written to. Raises `BadArray`."""
    kind, kept = data[:1], np.dtype(dtype)
    try:
        if kind == b"Z":
            array: Any = standalone.simple_decompress(data[1:])
        elif kind == b"R":
            array = _regular(data)
        elif kind == b"C":
            _, count = _CONSTANT.unpack_from(data)
            array = np.full(_believable(count), np.frombuffer(data, kept, 1, _CONSTANT.size)[0], kept)
        elif kind == b"P":
            array = np.frombuffer(data, kept, offset=1)
        else:
            raise BadArray(f"encoding {kind!r} is unknown")
    except BadArray:
        raise
    except (RuntimeError, ValueError, IndexError, struct.error, TypeError) as problem:
        raise BadArray(str(problem)) from None
    if array is None:
        array = np.zeros(0, kept)  # pcodec tells no type of nothing
    if array.dtype != kept:
        raise BadArray(f"{array.dtype} where {kept} belongs")
    found: NDArray[Number] = array
    return found


def _runs(array: NDArray[np.uint32]) -> NDArray[Any] | None:
    """Runs of equal steps; None where there are too many, or where the array does not ascend."""
    steps = np.diff(array.astype(np.int64))
    if (steps < 0).any():
        return None
    runs: list[tuple[int, int, int]] = []
    changes = (np.flatnonzero(np.diff(steps)) + 1).tolist()
    if len(changes) > 2 * _MAX_RUNS:
        return None
    at = 0
    while at < len(array):
        if len(runs) == _MAX_RUNS:
            return None
        step = int(steps[at]) if at < len(steps) else 0
        end = next((change for change in changes if change > at), len(steps))  # the last element of the run
        runs.append((int(array[at]), step, end - at + 1))
        at = end + 1
    return np.array(runs, _RUN)


@lru_cache(maxsize=1024)
def _regular(data: bytes) -> NDArray[np.uint32]:
    """The array of runs. The same few stand in nearly every window."""
    if (len(data) - 1) % _RUN.itemsize:
        raise BadArray(f"runs of {len(data) - 1} bytes")
    runs = np.frombuffer(data, _RUN, offset=1)
    _believable(int(runs["count"].sum(dtype=np.int64)))
    parts = [
        np.arange(count, dtype=np.uint32) * np.uint32(step) + np.uint32(start) for start, step, count in runs.tolist()
    ]
    array = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
    array.flags.writeable = False
    return array


def _believable(count: int) -> int:
    if count > _MOST:
        raise BadArray(f"{count:,} values are more than any window has")
    return count
