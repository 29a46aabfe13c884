"""The proof that samples are stored: each is read back from the store itself, and compared.

Imported by the others, not run by itself. An open head is decoded here, by what `perfmon.core.frames` says of its
format, into one table of the host; whatever else there is of a window (sealed chunks, a head that a sealer has taken,
frames that came later than this program) is read as the collector reads it.
"""

import numpy as np
from numpy.typing import NDArray
from store_client import StoreClient
from traffic import Traffic

from perfmon.core.frames import FRAME_HEADER, HEAD, NAMES, NAMES_HEADER, RECORD, ROWS, ROWS_HEADER, SAMPLES, VERSION
from perfmon.core.globs import pattern
from perfmon.core.series import Stored, series_in
from perfmon.core.tiers import MS, RAW, WindowName
from perfmon.storage import keys

# Hosts that are asked for at once.
_BATCH = 50

Table = NDArray[np.float64]  # metrics x rounds; NaN where nothing was found


class _Unknown(Exception):
    """A head has something in it that only perfmon itself can read."""


def prove(path: str, traffic: Traffic) -> int:
    """Reads everything that was sent from the store on a unix socket; returns how many samples were compared.

    Raises AssertionError that names the first that is missing, or is another than was sent.
    """
    store = StoreClient(path)
    try:
        return sum(_prove(store, traffic, first) for first in range(0, traffic.hosts, _BATCH))
    finally:
        store.close()


def _prove(store: StoreClient, traffic: Traffic, first: int) -> int:
    hosts = range(first, min(first + _BATCH, traffic.hosts))
    windows = RAW.windows(traffic.moments[0], traffic.moments[-1])
    names = [WindowName(traffic.host(host), RAW.name, window) for host in hosts for window in windows]
    logs = store("MGET", *[key for name in names for key in (keys.sealing(name), keys.head(name))])
    sealed = store.all([("HGETALL", keys.window(name)) for name in names])
    stored = [
        Stored(RAW, name.window, keys.window(name), fields, logs[2 * place], logs[2 * place + 1])
        for place, (name, fields) in enumerate(zip(names, sealed, strict=True))
    ]
    found = 0
    for place, host in enumerate(hosts):
        found += _compare(traffic, host, stored[place * len(windows) : (place + 1) * len(windows)])
    return found


def _compare(traffic: Traffic, host: int, stored: list[Stored]) -> int:
    """All values of a host."""
    reader = _Reader(traffic, host)
    try:
        for window in stored:
            if window.fields or window.sealing is not None:
                raise _Unknown
            reader.add(window.head or b"", window.window)
    except _Unknown:
        reader = _Reader(traffic, host)
        reader.add_series(stored)
    expected = traffic.expected(host)
    wrong = np.argwhere(reader.table != expected)  # NaN differs from everything
    if len(wrong):
        metric, moment = wrong[0].tolist()
        raise AssertionError(
            f"{len(wrong)} of {expected.size} samples of {traffic.host(host)} are not stored as they were sent; the "
            f"first is {traffic.names[metric]} of round {moment}: sent {expected[metric, moment]}, stored "
            f"{reader.table[metric, moment]}"
        )
    return expected.size


class _Reader:
    """Brings what was stored of a host to its place in a table."""

    def __init__(self, traffic: Traffic, host: int) -> None:
        self._host = traffic.host(host)
        self._places = {name: place for place, name in enumerate(traffic.names)}
        self._moments = np.array(traffic.moments, np.int64)
        self.table: Table = np.full((traffic.metrics, len(traffic.moments)), np.nan)

    def _metric(self, name: str) -> int:
        assert name in self._places, f"{self._host}: nobody sent {name}"
        return self._places[name]

    def _rounds(self, times: NDArray[np.int64]) -> NDArray[np.int64]:
        rounds = self._moments.searchsorted(times)
        there = self._moments[np.minimum(rounds, len(self._moments) - 1)]
        assert np.array_equal(there, times), f"{self._host}: a sample of a time at which none was sent"
        return rounds

    def add_series(self, stored: list[Stored]) -> None:
        """Takes what perfmon itself reads from these windows."""
        for name, pieces in series_in(stored, pattern("*"), frozenset()).items():
            for piece in pieces:
                self.table[self._metric(name), self._rounds(piece.times)] = piece.values  # type: ignore[union-attr]  # raw has samples only

    def add(self, head: bytes, window: int) -> None:
        """Takes a head. Raises `_Unknown`."""
        numbers: dict[int, dict[int, int]] = {}  # writer -> number -> metric
        frames: list[tuple[int, int, bytes]] = []  # kind, writer, body
        at = 0
        while at < len(head):
            kind, version, _, writer, length = FRAME_HEADER.unpack_from(head, at)
            at += FRAME_HEADER.size
            body = head[at : at + length]
            at += length
            if version != VERSION or kind not in (HEAD, NAMES, SAMPLES, ROWS):
                raise _Unknown
            if kind == NAMES:
                (first,) = NAMES_HEADER.unpack_from(body)
                names = body[NAMES_HEADER.size :].decode().split("\n")
                numbers.setdefault(writer, {}).update(enumerate(map(self._metric, names), first))
            elif kind != HEAD:
                frames.append((kind, writer, body))
        metrics = {writer: _lookup(known) for writer, known in numbers.items()}
        for kind, writer, body in _joined(frames):
            try:
                if kind == SAMPLES:
                    self._add_samples(metrics[writer], body, window)
                else:
                    self._add_rows(metrics[writer], body, window)
            except LookupError:  # a number that is declared nowhere
                raise _Unknown from None

    def _add_samples(self, metrics: NDArray[np.int64], body: bytes, window: int) -> None:
        records = np.frombuffer(body, RECORD)
        places = metrics[records["number"]]
        _check(places)
        rounds = self._rounds(records["offset"] + np.int64(window * MS))
        # of a repeated place numpy keeps what is assigned last, and so does perfmon
        self.table[places, rounds] = records["value"]

    def _add_rows(self, metrics: NDArray[np.int64], body: bytes, window: int) -> None:
        first, columns = ROWS_HEADER.unpack_from(body)
        count = (len(body) - ROWS_HEADER.size) // (4 + 8 * columns)
        offsets = np.frombuffer(body, "<u4", count, ROWS_HEADER.size)
        values = np.frombuffer(body, "<f8", count * columns, ROWS_HEADER.size + 4 * count).reshape(count, columns)
        rounds = self._rounds(offsets + np.int64(window * MS))
        places = metrics[np.arange(first, first + columns)]
        _check(places)
        self.table[places[:, np.newaxis], rounds] = values.T


def _check(places: NDArray[np.int64]) -> None:
    """Raises LookupError for numbers that are declared nowhere."""
    if len(places) and places.min() < 0:
        raise LookupError


def _lookup(known: dict[int, int]) -> NDArray[np.int64]:
    """Metric by number, -1 for one that has none."""
    found = np.full(max(known) + 1, -1, np.int64)
    found[list(known)] = list(known.values())
    return found


def _joined(frames: list[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """The same, samples frames of one writer that follow each other as one."""
    joined: list[tuple[int, int, list[bytes]]] = []
    for kind, writer, body in frames:
        if kind == SAMPLES and joined and joined[-1][:2] == (kind, writer):
            joined[-1][2].append(body)
        else:
            joined.append((kind, writer, [body]))
    return [(kind, writer, b"".join(bodies)) for kind, writer, bodies in joined]
