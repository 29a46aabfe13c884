"""One group commit as bytes: what is appended to which head, and what the store's answer means."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from operator import itemgetter

import numpy as np

from perfmon.core.frames import RECORD, names_frame, rows_frame, samples_frame
from perfmon.core.numbering import Columns, HeadState, HostLog, Row
from perfmon.core.tiers import RAW, Tier, WindowName

# Most samples in one commit. Its encoding holds the reactor (0.05 to 0.1 us a sample), its write the store.
BATCH_SIZE = 200_000

# Samples of a round from which on a frame of rows, which takes half of the bytes, is worth being read by itself.
_ROUND = 64

_FIRST = np.zeros(1, np.int64)


@dataclass(slots=True)  # not frozen: that would take three times as long to make, for each head of a commit
class HeadWrite:
    """Bytes for one head, and the writer's state that they bring about."""

    name: WindowName
    data: bytes
    expires_at: int  # s since the epoch
    seal_at: float  # s since the epoch: when it is due to be sealed, should it be new
    log: HostLog
    state: HeadState  # of the head, as it was when `data` was made
    declares: int  # names 0..declares-1 stand in the head once `data` is there
    expects: bytes  # identity of the head that has the names which `data` lacks; empty: it lacks none


class _Open:
    """What gathers for one head during an encoding."""

    __slots__ = ("frames", "rows", "state", "upto")

    def __init__(self, state: HeadState) -> None:
        self.state = state
        self.upto = 0  # numbers below this are used
        self.frames: list[bytes] = []
        self.rows: dict[tuple[int, int], list[Row]] = {}


def encode(columns: Iterable[Columns], rows: Iterable[Row], now: float, tier: Tier = RAW) -> list[HeadWrite]:
    """The appends that store `columns` and `rows`, one for each head.

    A head gets the names that it lacks before the samples that use them. `now` is in s since the epoch.
    """
    heads: dict[tuple[HostLog, int], _Open] = {}

    def opened(log: HostLog, window: int) -> _Open:
        head = heads.get((log, window))
        if head is None:
            head = heads[log, window] = _Open(log.head(window))
        return head

    for batch in columns:
        for log, window, frames, upto in _by_head(batch, tier):
            head = opened(log, window)
            head.upto = max(head.upto, upto)
            head.frames += frames
    for row in rows:
        head = opened(row.log, tier.window_of(row.time_ms))
        head.upto = max(head.upto, row.first + row.columns)
        head.rows.setdefault((row.first, row.columns), []).append(row)

    writes = []
    ends = {window: (tier.spared_until(window), tier.seal_at(window, now)) for window in {key[1] for key in heads}}
    for (log, window), head in heads.items():
        for (first, width), same in head.rows.items():
            offsets = [row.time_ms - window * 1000 for row in same]
            head.frames.append(rows_frame(log.writer, first, width, offsets, b"".join([row.values for row in same])))
        declared = head.state.declared
        if head.upto > declared:
            head.frames.insert(0, names_frame(log.writer, declared, log.names[declared:]))
            declared = len(log.names)
        writes.append(
            HeadWrite(
                WindowName(log.host, tier.name, window),
                b"".join(head.frames),
                *ends[window],
                log,
                head.state,
                declared,
                head.state.identity if head.state.declared else b"",
            )
        )
    return writes


def _by_head(batch: Columns, tier: Tier) -> Iterator[tuple[HostLog, int, list[bytes], int]]:
    """(log, window, frames, all numbers below) for each head that `batch` has samples for.

    Of two samples of one series and time the one that came last is the last.
    """
    if not len(batch):
        return
    log_of, number_of = batch.numbering.places()
    series, times, values = batch.series, batch.times_ms, batch.values
    places = log_of.take(series)
    window_ms = tier.window * 1000
    window_no = times // window_ms
    one_window = window_no[0] == window_no[-1] and (window_no == window_no[0]).all()
    if not one_window or (places[1:] < places[:-1]).any():
        if not one_window:
            order = np.lexsort((window_no, places))
        else:
            # of numbers of 16 bits numpy's stable sort is a radix sort
            small = len(batch.numbering.logs) <= 1 << 16
            order = np.argsort(places.astype(np.uint16) if small else places, kind="stable")
        series, times, values = series.take(order), times.take(order), values.take(order)
        places, window_no = places.take(order), window_no.take(order)
    numbers = number_of.take(series)
    offsets = times - window_no * window_ms
    news = (places[1:] != places[:-1]) | (window_no[1:] != window_no[:-1])
    heads = np.concatenate((_FIRST, np.flatnonzero(news) + 1))
    # a run is a round of a host, or a part of one: consecutive numbers at one time
    runs = np.flatnonzero(news | (numbers[1:] != numbers[:-1] + 1) | (offsets[1:] != offsets[:-1])) + 1
    runs = np.concatenate((_FIRST, runs))
    run_counts = np.diff(runs.searchsorted(heads), append=len(runs))
    counts = np.diff(heads, append=len(batch))
    regular = run_counts * _ROUND <= counts
    data = b""
    rounds: Iterator[tuple[int, int, int]] = iter(())
    if regular.any():
        chosen = np.repeat(regular, run_counts)
        firsts = runs[chosen]
        data = values.tobytes()
        lengths = np.diff(runs, append=len(batch))[chosen]
        rounds = zip(numbers[firsts].tolist(), lengths.tolist(), offsets[firsts].tolist(), strict=True)
    records = np.empty(0 if regular.all() else len(batch), RECORD)
    if len(records):
        records["number"], records["offset"], records["value"] = numbers, offsets, values
    logs = batch.numbering.logs
    for place, window_number, upto, start, count, run_count in zip(
        places[heads].tolist(),
        window_no[heads].tolist(),
        (np.maximum.reduceat(numbers, heads) + 1).tolist(),
        heads.tolist(),
        counts.tolist(),
        run_counts.tolist(),
        strict=True,
    ):
        log = logs[place]
        if run_count * _ROUND <= count:
            frames = _rows(log.writer, islice(rounds, run_count), data[8 * start : 8 * (start + count)])
        else:
            frames = [samples_frame(log.writer, records[start : start + count].tobytes())]
        yield log, window_number * tier.window, frames, upto


def _rows(writer: int, rounds: Iterable[tuple[int, int, int]], data: bytes) -> list[bytes]:
    """Frames of rows for `rounds`, (first number, metrics, offset) each, whose values are `data` one after another."""
    frames = []
    at = 0
    for (first, columns), same in groupby(rounds, key=itemgetter(0, 1)):
        offsets = [offset for _, _, offset in same]
        size = 8 * columns * len(offsets)
        frames.append(rows_frame(writer, first, columns, offsets, data[at : at + size]))
        at += size
    return frames


def confirm(writes: Sequence[HeadWrite], identities: Sequence[bytes]) -> list[HeadWrite]:
    """Takes the identity of each head that was appended to; returns the writes that must be made again.

    An empty one says that the head is another than this writer knew (the one before has expired, or was taken to be
    sealed), and that nothing was appended: it lacks the names, so they are declared again, with the samples behind.
    """
    again = []
    for write, identity in zip(writes, identities, strict=True):
        log, state = write.log, write.state
        if identity:
            state.declared, state.identity = write.declares, identity
        else:
            state.declared = 0
            data = names_frame(log.writer, 0, log.names) + write.data
            again.append(replace(write, data=data, declares=len(log.names), expects=b""))
    return again


def forget(writes: Iterable[HeadWrite]) -> None:
    """After a failure, when nobody knows what was stored: the next append to these heads declares everything."""
    for write in writes:
        write.state.declared = 0
