"""What tests of `head_reader` share: heads as lists of frames, and what they mean, sample by sample."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, nan

import numpy as np
from hypothesis import strategies as st

from perfmon.core.columns import Column
from perfmon.core.frames import (
    RECORD,
    names_frame,
    rows_frame,
    samples_frame,
)

WINDOW = 7200
WHERE = "pm:{web1}:raw:7200:head"

Series = dict[str, dict[int, float]]  # name -> ms since the epoch -> value: what a head means, naively


@dataclass(frozen=True)
class Names:
    writer: int
    first: int
    names: list[str]


@dataclass(frozen=True)
class Samples:
    writer: int
    records: list[tuple[int, int, float]]  # (number, offset, value)


@dataclass(frozen=True)
class Rows:
    writer: int
    first: int
    columns: int
    rounds: list[tuple[int, list[float]]]  # (offset, values)


Frame = Names | Samples | Rows


def encoded(frame: Frame) -> bytes:
    match frame:
        case Names(writer, first, names):
            return names_frame(writer, first, names)
        case Samples(writer, records):
            return samples_frame(writer, np.array(records, RECORD).tobytes())
        case Rows(writer, first, columns, rounds):
            values = [value for _, row in rounds for value in row]
            return rows_frame(
                writer, first, columns, [offset for offset, _ in rounds], struct.pack(f"<{len(values)}d", *values)
            )


def head_of(frames: Sequence[Frame]) -> bytes:
    return b"".join(map(encoded, frames))


def meant(frames: Sequence[Frame]) -> Series:
    """The naive reading of a head: sample by sample into dictionaries, in the order of the log."""
    names = {
        (frame.writer, number): name
        for frame in frames
        if isinstance(frame, Names)
        for number, name in enumerate(frame.names, frame.first)
    }
    series: Series = {}
    for frame in frames:
        if isinstance(frame, Samples):
            records = frame.records
        elif isinstance(frame, Rows):
            records = [
                (number, offset, value)
                for offset, values in frame.rounds
                for number, value in enumerate(values, frame.first)
            ]
        else:
            continue
        for number, offset, value in records:
            if not isnan(value):
                series.setdefault(names[frame.writer, number], {})[WINDOW * 1000 + offset] = value
    return series


def as_series(columns: dict[str, Column]) -> Series:
    """Columns as dictionaries; proves on the way that times ascend without repetition."""
    series = {}
    for name, column in columns.items():
        times = column.times.tolist()
        assert times == sorted(set(times)), f"times of {name} do not ascend"
        series[name] = dict(zip(times, column.values.tolist(), strict=True))
    return series


METRICS = ("a", "b", "c.d", "c.d;tag=1", "c.d;tag=2", "ü", "name with = signs")

# Few different ones, so that samples meet each other; and the last an offset can be.
offsets = st.integers(0, 8) | st.sampled_from([3_599_999, 2**32 - 1])
values = st.floats(allow_nan=False) | st.integers(0, 3).map(float)
absent_or_values = values | st.just(nan)


@st.composite
def logs(draw: st.DrawFn) -> list[Frame]:
    """Heads written by up to three writers that know nothing of each other, names at any place."""
    frames: list[Frame] = []
    for writer in draw(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3, unique=True)):
        names = draw(st.lists(st.sampled_from(METRICS), min_size=1, max_size=len(METRICS), unique=True))
        cut = draw(st.integers(1, len(names)))
        frames += [Names(writer, first, part) for first, part in ((0, names[:cut]), (cut, names[cut:])) if part]
        numbers = st.integers(0, len(names) - 1)
        samples = st.builds(
            Samples, st.just(writer), st.lists(st.tuples(numbers, offsets, values), min_size=1, max_size=6)
        )

        @st.composite
        def rows(draw: st.DrawFn, writer: int = writer, known: int = len(names)) -> Rows:
            first = draw(st.integers(0, known - 1))
            columns = draw(st.integers(1, known - first))
            row = st.lists(absent_or_values, min_size=columns, max_size=columns)
            return Rows(writer, first, columns, draw(st.lists(st.tuples(offsets, row), min_size=1, max_size=4)))

        frames += draw(st.lists(samples | rows(), max_size=6))
    return draw(st.permutations(frames))


LOG: list[Frame] = [
    Names(1, 0, ["a", "b"]),
    Names(0xFFFFFFFF, 0, ["b", "c"]),
    Samples(1, [(0, 1000, 1.0), (1, 1000, 2.0)]),
    Rows(1, 0, 2, [(2000, [3.0, nan]), (3000, [4.0, 5.0])]),
    Rows(0xFFFFFFFF, 1, 1, [(2000, [6.0])]),
    Names(1, 2, ["d"]),
    Samples(1, [(2, 0, 7.0)]),
    Samples(0xFFFFFFFF, [(0, 1000, 8.0)]),
]
