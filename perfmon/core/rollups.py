"""Aggregates of one series by step: from samples, from finer aggregates, and as bytes.

Sums, counts, minima and maxima of steps combine to those of longer ones exactly, and so do averages (sum / count).
So that `last` and the rate of a counter do as well, each step also has its last sample with its time, and what
resets of a counter took away within it (`lost`): a counter rose by last - (last of the step before) + lost.

Steps stand in *parts*, one for each window of the finer tier that they came from. A part can be made anew without
the others; whether the counter was reset between two parts is seen when they are read, by the first sample of the
later one. A chunk of aggregates is one block (see `chunks`)::

    A   step u32 (s) | times | count | sum | min | max | last | end | lost | parts | first | first_end

`times` are the starts of the steps, in ms since the start of the window. `end` is the time of the last sample, in ms
since the start of its step. `parts` are the places of the first steps of the parts, `first` and `first_end` the first
sample of each. An array of no bytes: `min` and `last` are then the same as `max`. `lost` is then nowhere anything, or
the series no counter: it had more steps with a fall than one for eight samples.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from perfmon.core.arrays import pack, pack_rows
from perfmon.core.chunks import AGGREGATES, array_in, arrays_in, block, blocks, with_length
from perfmon.core.columns import Column
from perfmon.core.frames import FormatError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# What a step can have beside its time. Reading costs what is asked for.
FIELDS = ("count", "sum", "min", "max", "last", "end", "lost")
_ALL = frozenset(FIELDS)
_REDUCED: dict[str, np.ufunc] = {"sum": np.add, "min": np.minimum, "max": np.maximum}

_OMITTED = frozenset({"min", "last", "lost"})
_PLACES = {name: place for place, name in enumerate(FIELDS)}

_STEP = struct.Struct("<I")
_ARRAYS = 1 + len(FIELDS) + 3

# A counter is reset once in a while; a series that falls more often than at one of so many samples is none.
_FALLS = 8


@dataclass(frozen=True, slots=True)
class Parts:
    """Where the parts of a `Rollup` begin, and the first sample of each."""

    starts: Integers  # place of its first step; the first is 0
    times: Integers  # ms since the epoch
    values: Floats


@dataclass(frozen=True, slots=True)
class Rollup:
    """Aggregates of one series: a step for each time, ascending; steps without samples are absent."""

    times: Integers  # starts, ms since the epoch
    columns: Mapping[str, Floats]  # those of FIELDS that were asked for; `end` in ms since the epoch
    parts: Parts | None  # only with `lost`, and where they were asked for

    def __len__(self) -> int:
        return len(self.times)

    @property
    def known_parts(self) -> Parts:
        """The parts of a rollup that has them."""
        assert self.parts is not None, "a rollup was read without its parts"
        return self.parts


class Roller:
    """Rolls samples up by steps. What series with the same times have in common is worked out once."""

    def __init__(self, step: int, fields: frozenset[str] = _ALL, part: int = 0) -> None:
        """Steps of `step` ms, as one part, or as one for each window of `part` ms, a multiple of `step`."""
        self._step = step
        self._fields = fields
        self._part = part
        self._latest: _Grid | None = None

    def of(self, column: Column) -> Rollup:
        """`column`, which is not empty."""
        times, values, fields = column.times, column.values, self._fields
        grid = self._latest
        # most hosts are sampled at the same moments, and to compare them costs a tenth
        if grid is None or not (grid.times is times or np.array_equal(grid.times, times)):
            grid = self._latest = _Grid(times, self._step, self._part)
        found: dict[str, Floats] = {}
        for name in fields & _REDUCED.keys():
            found[name] = _REDUCED[name].reduceat(values, grid.starts)
        if "count" in fields:
            found["count"] = grid.count
        if "last" in fields:
            found["last"] = values[grid.lasts]
        if "end" in fields:
            found["end"] = grid.end
        if "lost" not in fields:
            return Rollup(grid.steps, found, None)
        before = values[:-1]
        lost = np.zeros(len(values))
        lost[1:] = np.where(values[1:] < before, before, 0.0)
        lost[grid.firsts] = 0.0
        found["lost"] = np.add.reduceat(lost, grid.starts)
        return Rollup(grid.steps, found, Parts(grid.places, times[grid.firsts], values[grid.firsts]))


class _Grid:
    """Where steps and parts begin and end among some times; worked out as far as it is asked for."""

    def __init__(self, times: Integers, step: int, part: int) -> None:
        self.times = times
        number = times // step
        self.starts = _starts(number)
        self.steps = number[self.starts] * step
        self._stops = _stops(self.starts, len(times))
        self._part = part

    @cached_property
    def count(self) -> Floats:
        return (self._stops - self.starts).astype(np.float64)

    @cached_property
    def lasts(self) -> NDArray[np.intp]:
        return self._stops - 1

    @cached_property
    def end(self) -> Floats:
        return self.times[self.lasts].astype(np.float64)

    @cached_property
    def firsts(self) -> NDArray[np.intp]:
        """Places of the first sample of each part."""
        return _starts(self.times // self._part) if self._part else self.starts[:1]

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """Places of the first step of each part."""
        return self.starts.searchsorted(self.firsts)


def rolled(column: Column, step: int, fields: frozenset[str] = _ALL, part: int = 0) -> Rollup:
    """One series that is not empty, as a `Roller` does it."""
    return Roller(step, fields, part).of(column)


def _starts(number: Integers) -> NDArray[np.intp]:
    """Places where a new number begins, in an array that is not empty."""
    new = np.empty(len(number), bool)
    new[0] = True
    np.not_equal(number[1:], number[:-1], out=new[1:])
    return new.nonzero()[0]


def _stops(starts: NDArray[np.intp], length: int) -> NDArray[np.intp]:
    """Places behind the runs that begin at `starts`, in an array of `length`."""
    stops = np.empty_like(starts)
    stops[:-1] = starts[1:]
    stops[-1] = length
    return stops


def regrouped(rollup: Rollup, step: int) -> Rollup:
    """`rollup`, which is not empty, by steps of `step` ms, a multiple of its own; as one part."""
    number = rollup.times // step
    starts = _starts(number)
    columns, parts = rollup.columns, rollup.parts
    if parts is None and len(starts) == len(number):
        return Rollup(number * step, columns, None)
    found: dict[str, Floats] = {}
    for name, ufunc in ({"count": np.add} | _REDUCED).items():
        if name in columns:
            found[name] = ufunc.reduceat(columns[name], starts)
    for name in ("last", "end"):
        if name in columns:
            found[name] = columns[name][_stops(starts, len(number)) - 1]
    if parts is not None:
        found["lost"] = np.add.reduceat(_all_lost(rollup), starts)
        parts = Parts(np.zeros(1, np.int64), parts.times[:1], parts.values[:1])
    return Rollup(number[starts] * step, found, parts)


def _all_lost(rollup: Rollup) -> Floats:
    """`lost` with what resets between the parts took away."""
    lost, parts = rollup.columns["lost"], rollup.known_parts
    places = parts.starts[1:]
    if len(places):
        before = rollup.columns["last"][places - 1]
        fell = parts.values[1:] < before
        if fell.any():
            lost = lost.copy()
            lost[places[fell]] += before[fell]
    return lost


def joined(rollups: Sequence[Rollup]) -> Rollup:
    """The steps of several rollups of one series, of the same fields and in the order of time, one after another.

    Where two have steps of the same time, both stand in the result.
    """
    if len(rollups) == 1:
        return rollups[0]
    parts = None
    if rollups[0].parts is not None:
        sizes = np.cumsum([0, *(len(rollup) for rollup in rollups)])
        all_parts = [rollup.known_parts for rollup in rollups]
        parts = Parts(
            np.concatenate([one.starts + size for one, size in zip(all_parts, sizes, strict=False)]),
            np.concatenate([one.times for one in all_parts]),
            np.concatenate([one.values for one in all_parts]),
        )
    return Rollup(
        np.concatenate([rollup.times for rollup in rollups]),
        {name: np.concatenate([rollup.columns[name] for rollup in rollups]) for name in rollups[0].columns},
        parts,
    )


def split(rollup: Rollup) -> list[Rollup]:
    """The parts, each by itself."""
    parts = rollup.known_parts
    edges = [*parts.starts.tolist(), len(rollup)]
    return [
        Rollup(
            rollup.times[low:high],
            {name: column[low:high] for name, column in rollup.columns.items()},
            Parts(np.zeros(1, np.int64), parts.times[at : at + 1], parts.values[at : at + 1])
            if "lost" in rollup.columns
            else None,
        )
        for at, (low, high) in enumerate(pairwise(edges))
    ]


def last_step(rollup: Rollup, end: int) -> Rollup:
    """The step before place `end`, by itself, as a part that begins with its last sample."""
    columns = {name: column[end - 1 : end] for name, column in rollup.columns.items()}
    parts = None
    if "lost" in columns:
        parts = Parts(np.zeros(1, np.int64), columns["end"].astype(np.int64), columns["last"])
        columns["lost"] = np.zeros(1)
    return Rollup(rollup.times[end - 1 : end], columns, parts)


def increases(rollup: Rollup) -> tuple[Floats, Floats]:
    """What a counter rose by in each step since the step before, and the seconds over which it did.

    Needs `last`, `end` and `lost`. For the first step it is what it rose by since its first sample. A step that ends
    lower than the one before, with nothing lost, began anew at 0 (as Prometheus' rate() takes it).
    """
    last, end, parts = rollup.columns["last"], rollup.columns["end"], rollup.known_parts
    rises = np.diff(last, prepend=parts.values[0]) + _all_lost(rollup)
    return np.where(rises < 0, last, rises), np.diff(end, prepend=float(parts.times[0])) / 1000


def encode_rollup(rollup: Rollup, step: int, window: int) -> bytes:
    """The chunk of a whole rollup, with steps of `step` s, in the window that starts at `window` (s)."""
    columns, parts = rollup.columns, rollup.known_parts
    lost, top = columns["lost"], columns["max"]
    floats = {"sum": columns["sum"], "max": top}
    floats |= {name: columns[name] for name in ("min", "last") if (columns[name] != top).any()}
    falls = np.count_nonzero(lost)
    if falls and falls * _FALLS <= columns["count"].sum():
        floats["lost"] = lost
    packed = dict(zip(floats, pack_rows(np.stack(list(floats.values()))), strict=True))
    packed["count"] = pack(columns["count"].astype(np.uint32))
    packed["end"] = pack((columns["end"] - rollup.times).astype(np.uint32))
    arrays = (
        pack((rollup.times - window * 1000).astype(np.uint32)),
        *(packed.get(name, b"") for name in FIELDS),
        pack(parts.starts.astype(np.uint32)),
        pack(parts.values),
        pack((parts.times - rollup.times[parts.starts]).astype(np.uint32)),
    )
    return block(AGGREGATES, _STEP.pack(step) + b"".join(map(with_length, arrays)))


def decode_rollup(chunk: bytes, window: int, fields: frozenset[str] = _ALL, parts: bool = True) -> Rollup:
    """A chunk's rollup with `fields` of FIELDS; with its parts if they are asked for, or needed for `lost`.

    Raises `FormatError`, without the key.
    """
    found = [(start, end) for kind, start, end in blocks(chunk) if kind == AGGREGATES]
    if len(found) != 1:
        raise FormatError(f"{len(found)} blocks of aggregates")
    ((start, end),) = found
    times, *columns = arrays_in(chunk, start + _STEP.size, end, _ARRAYS)
    steps = array_in(times, np.uint32) + np.int64(window * 1000)
    read: dict[str, Floats] = {}
    for name in fields:
        data = columns[_PLACES[name]]
        if name in ("count", "end"):
            read[name] = array_in(data, np.uint32).astype(np.float64)
        elif data or name not in _OMITTED:
            read[name] = array_in(data, np.float64)
        else:
            read[name] = np.zeros(len(steps)) if name == "lost" else array_in(columns[_PLACES["max"]], np.float64)
        if len(read[name]) != len(steps):
            raise FormatError(f"{len(read[name])} values of {name} for {len(steps)} steps")
    if "end" in read:
        read["end"] += steps
    if not (parts or "lost" in fields):
        return Rollup(steps, read, None)
    starts, firsts, ends = columns[len(FIELDS) :]
    places = array_in(starts, np.uint32).astype(np.int64)
    values, offsets = array_in(firsts, np.float64), array_in(ends, np.uint32)
    ascend = len(places) and not places[0] and (places[1:] > places[:-1]).all() and places[-1] < len(steps)
    if not ascend or not len(values) == len(offsets) == len(places):
        raise FormatError("its parts do not fit its steps")
    return Rollup(steps, read, Parts(places, steps[places] + offsets, values))
