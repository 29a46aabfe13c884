"""One group commit as bytes: what is appended to which head, and what the store's answer means."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perfmon.core.frames import RECORD, names_frame, rows_frame, samples_frame
from perfmon.core.numbering import Columns, HeadState, HostLog, Row
from perfmon.core.tiers import RAW, Tier, WindowName


@dataclass(frozen=True, slots=True)
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
        for log, window, records, upto in _by_head(batch, tier):
            head = opened(log, window)
            head.upto = max(head.upto, upto)
            head.frames.append(samples_frame(log.writer, records))
    for row in rows:
        head = opened(row.log, tier.window_of(row.time_ms))
        head.upto = max(head.upto, row.first + row.columns)
        head.rows.setdefault((row.first, row.columns), []).append(row)

    writes = []
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
                tier.spared_until(window),
                tier.seal_at(window, now),
                log,
                head.state,
                declared,
                head.state.identity if head.state.declared else b"",
            )
        )
    return writes


def _by_head(batch: Columns, tier: Tier) -> Iterator[tuple[HostLog, int, bytes, int]]:
    """(log, window, records, all numbers below) for each head that `batch` has samples for."""
    if not len(batch):
        return
    log_of, number_of = batch.numbering.places()
    places = log_of[batch.series]
    window_ms = tier.window * 1000
    window_no = batch.times_ms // window_ms
    # Stable, so that of two samples of one series and time the one that came last stays last.
    one_window = window_no[0] == window_no[-1] and (window_no == window_no[0]).all()
    order = np.argsort(places, kind="stable") if one_window else np.lexsort((window_no, places))
    places, window_no = places[order], window_no[order]
    numbers = number_of[batch.series[order]]
    records = np.empty(len(batch), RECORD)
    records["number"] = numbers
    records["offset"] = batch.times_ms[order] - window_no * window_ms
    records["value"] = batch.values[order]
    data = records.tobytes()
    starts = np.append(0, np.flatnonzero((np.diff(places) != 0) | (np.diff(window_no) != 0)) + 1)
    uptos = (np.maximum.reduceat(numbers, starts) + 1).tolist()
    logs, windows = places[starts].tolist(), (window_no[starts] * tier.window).tolist()
    edges = [*(starts * RECORD.itemsize).tolist(), len(data)]
    for place, window, upto, start, stop in zip(logs, windows, uptos, edges, edges[1:], strict=False):
        yield batch.numbering.logs[place], window, data[start:stop], upto


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
