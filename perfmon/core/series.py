"""From windows as they were read to series: what of them is where, joined in the order of time."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from perfmon.core.chunks import TIMES_FIELD, Joiner, Moments, Times, read_samples
from perfmon.core.columns import Column
from perfmon.core.frames import FormatError
from perfmon.core.globs import Pattern
from perfmon.core.head_reader import read_tables
from perfmon.core.rollups import Rollup, decode_rollup, split
from perfmon.core.tiers import Tier

Piece = Column | Rollup
"""A part of a series as it was read: samples, or aggregates by the step of a tier. Never empty."""

Series = dict[str, list[Piece]]
"""The pieces of each metric's series, in the order of time."""

_FIELD = b";"  # begins the name of a field that is no metric

# The pieces of one metric: times and values.
_Samples = tuple[list[Moments], list[NDArray[np.float64]]]


# Who looks at a chart looks at it again soon, and at the same windows: what a sealed one holds follows from its bytes.
# Kept are some 15 MB at the most of rounds each ten seconds, ten times as much of rounds each second.
_samples_in = lru_cache(maxsize=4_096)(read_samples)
_rollup_in = lru_cache(maxsize=1_024)(decode_rollup)


class Stored(NamedTuple):
    """One window as it was read. Of a coarser tier it has neither `sealing` nor `head`."""

    tier: Tier
    window: int  # s since the epoch
    key: str
    fields: Sequence[bytes]  # names and values in turn
    sealing: bytes | None = None
    head: bytes | None = None


def series_in(
    found: Sequence[Stored], pattern: Pattern, fields: frozenset[str], span: tuple[int, int] | None = None
) -> Series:
    """The series of one host in the windows that were `found`, in the order of time.

    `fields` are what is needed of aggregates; samples are those of `span` (ms, the end excluded), by default all.
    Raises `FormatError` for what this version cannot read.
    """
    series: Series = {}
    samples: dict[bytes, _Samples] = {}  # of windows that follow each other
    joiner = Joiner(span)
    end = None
    alternate = False
    for place, stored in enumerate(found):
        if stored.tier.step:
            _finish(series, samples, joiner)
            following = found[place + 1 : place + 2]
            mixed = bool(following) and following[0].window < stored.window + stored.tier.window
            alternate = alternate or mixed
            _add_aggregates(series, stored, pattern, fields, mixed)
            continue
        if stored.window != end:
            _finish(series, samples, joiner)
        end = stored.window + stored.tier.window
        _add_chunks(samples, stored, pattern)
        for log, kind in ((stored.sealing, "sealing"), (stored.head, "head")):
            if log is not None:
                _add_log(samples, log, stored.window, f"{stored.key}:{kind}", pattern)
    _finish(series, samples, joiner)
    if alternate:
        for pieces in series.values():
            pieces.sort(key=lambda piece: int(piece.times[0]))
    return series


def _finish(series: Series, samples: dict[bytes, _Samples], joiner: Joiner) -> None:
    for metric, (times, values) in samples.items():
        column = joiner.join(times, values)
        if len(column.times):
            series.setdefault(metric.decode(), []).append(column)
    samples.clear()


def _metrics(stored: Stored, pattern: Pattern) -> list[tuple[bytes, bytes]]:
    """Metric and chunk of those that are asked for. Those of a pattern of names were chosen by the store."""
    pairs = zip(stored.fields[0::2], stored.fields[1::2], strict=True)
    return [
        (metric, chunk)
        for metric, chunk in pairs
        if not metric.startswith(_FIELD) and (pattern.names or pattern.matches(metric.decode()))
    ]


def _add_aggregates(series: Series, stored: Stored, pattern: Pattern, fields: frozenset[str], mixed: bool) -> None:
    """Adds what a window of a coarser tier has, by its parts if other tiers have some in between (`mixed`)."""
    for metric, chunk in _metrics(stored, pattern):
        try:
            rollup = _rollup_in(chunk, stored.window, fields, mixed)
        except FormatError as problem:
            raise FormatError(f"{stored.key} {metric.decode()}: {problem}") from None
        series.setdefault(metric.decode(), []).extend(split(rollup) if mixed else [rollup])


def _add_chunks(samples: dict[bytes, _Samples], stored: Stored, pattern: Pattern) -> None:
    metric = TIMES_FIELD.encode()
    try:
        times = Times(stored.window, _field(stored, metric))
        for metric, chunk in _metrics(stored, pattern):
            known = samples.get(metric)
            if known is None:
                known = samples[metric] = [], []
            for block in _samples_in(chunk):
                known[0].append(times.of(block))
                known[1].append(block.values)
    except FormatError as problem:
        raise FormatError(f"{stored.key} {metric.decode()}: {problem}") from None


def _field(stored: Stored, name: bytes) -> bytes:
    # after the metrics, where it was asked for with them
    for place in range(len(stored.fields) - 2, -1, -2):
        if stored.fields[place] == name:
            return stored.fields[place + 1]
    return b""


def _add_log(samples: dict[bytes, _Samples], log: bytes, window: int, key: str, pattern: Pattern) -> None:
    for table in read_tables(log, window, key, pattern.matches):
        if table is not None:
            for metric, values in zip(table.metrics, table.values, strict=True):
                times, columns = samples.setdefault(metric.encode(), ([], []))
                times.append(table.times)
                columns.append(values)
