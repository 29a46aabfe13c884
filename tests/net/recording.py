"""Small stand-ins for what sessions talk to: a peer, and the seams of `perfmon.net.seams`."""

from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any

import orjson
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import ILogObserver, LogEvent
from twisted.python.failure import Failure
from zope.interface import implementer

from perfmon.core.messages import Gap, OfRuns, Progress, Result
from perfmon.core.numbering import Columns, Numbering, Row
from perfmon.core.reject import Rejected
from perfmon.net.seams import Controlled, Runner, Sender, Source

LOOPBACK = IPv4Address("TCP", "127.0.0.1", 50_000)
ELSEWHERE = IPv4Address("TCP", "192.0.2.7", 50_000)


class RecordingIntake:
    """Takes everything in; stores nothing until it is told to."""

    def __init__(self, max_series: int = 1_000_000) -> None:
        self._writers = count(1)
        self._max_series = max_series
        self._numbering = self._new_numbering()
        self.paused = False
        self.numberings = 1
        self.sources: set[Source] = set()
        self.paused = False
        self.rows: list[Row] = []
        self.columns: list[Columns] = []
        self.senders: list[tuple[Sender | None, int]] = []

    def _new_numbering(self) -> Numbering:
        return Numbering(lambda: next(self._writers), self._max_series)

    @property
    def numbering(self) -> Numbering:
        if self._numbering.full:
            self._numbering = self._new_numbering()
            self.numberings += 1
        return self._numbering

    def attach(self, source: Source) -> None:
        self.sources.add(source)
        if self.paused:
            source.pause()

    def detach(self, source: Source) -> None:
        self.sources.discard(source)

    def add_columns(self, columns: Columns) -> None:
        self.columns.append(columns)

    def add_row(self, row: Row, sender: Sender | None = None, seq: int = 0) -> None:
        self.rows.append(row)
        self.senders.append((sender, seq))

    def pause(self) -> None:
        self.paused = True
        for source in list(self.sources):
            source.pause()

    def resume(self) -> None:
        self.paused = False
        for source in list(self.sources):
            source.resume()

    def store(self) -> None:
        """Everything taken in so far is stored: its senders are told."""
        senders, self.senders = self.senders, []
        for sender, seq in senders:
            if sender is not None:
                sender.stored(seq)

    def samples(self) -> list[tuple[str, str, float, float]]:
        """(host, metric, time in s, value) of everything taken in, absent values left out."""
        found = []
        for row in self.rows:
            names = row.log.names[row.first : row.first + row.columns]
            for name, value in zip(names, memoryview(row.values).cast("d"), strict=True):
                if value == value:
                    found.append((row.log.host, name, row.time_ms / 1000, value))
        for columns in self.columns:
            places, numbers = columns.numbering.places()
            for series, time, value in zip(columns.series, columns.times_ms, columns.values, strict=True):
                log = columns.numbering.logs[places[series]]
                found.append((log.host, log.names[numbers[series]], int(time) / 1000, float(value)))
        return found


class RecordingPresence:
    """Notes who gave signs of life."""

    def __init__(self) -> None:
        self.signs: list[tuple[str, bool]] = []  # host, beating
        self.boots: dict[str, str] = {}
        self.planned: dict[str, str] = {}
        self.described: dict[str, dict[str, str]] = {}
        self.left: list[tuple[str, str]] = []  # host, reason
        self.broken: list[tuple[str, str]] = []  # host, why its connection has ended

    def arrived(self, host: str, boot: str) -> None:
        self.boots[host] = boot
        self.sign(host)

    def plan(self, absences: Mapping[str, str]) -> None:
        self.planned = dict(absences)

    def sign(self, host: str, beating: bool = True) -> None:
        self.signs.append((host, beating))

    def describe(self, host: str, meta: dict[str, str]) -> None:
        self.described[host] = meta

    def leave(self, host: str, reason: str) -> None:
        self.left.append((host, reason))

    def lost(self, host: str, why: str) -> None:
        self.broken.append((host, why))


class RecordingRefusals:
    """Notes what was refused."""

    def __init__(self) -> None:
        self.noted: list[tuple[Rejected, object]] = []  # with the peer

    def note(self, rejected: Iterable[Rejected], peer: object) -> None:
        self.noted += [(one, peer) for one in rejected]

    @property
    def reasons(self) -> list[str]:
        return [one.reason for one, _ in self.noted]


class RecordingGaps:
    """Notes what agents have lost; nothing is kept until it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[str, Gap, Callable[[], None]]] = []

    def note(self, host: str, gap: Gap, noted: Callable[[], None]) -> None:
        self.waiting.append((host, gap, noted))


class RecordingControl:
    """Notes who is here, and how it samples."""

    def __init__(self) -> None:
        self.here: dict[str, Controlled] = {}
        self.sampling: dict[str, tuple[bool, float]] = {}  # host -> stopped, interval (s)

    def arrived(self, host: str, agent: Controlled, stopped: bool, interval: float) -> None:
        self.here[host] = agent
        self.said(host, stopped, interval)

    def said(self, host: str, stopped: bool, interval: float) -> None:
        self.sampling[host] = (stopped, interval)

    def gone(self, host: str, agent: Controlled) -> None:
        if self.here.get(host) is agent:
            del self.here[host], self.sampling[host]


class RecordingRuns:
    """Notes who is here, and what agents tell of benchmarks."""

    def __init__(self) -> None:
        self.here: dict[str, Runner] = {}
        self.told: list[tuple[str, Progress | Result]] = []

    def arrived(self, host: str, agent: Runner) -> None:
        self.here[host] = agent

    def said(self, host: str, message: Progress | Result, agent: Runner) -> None:
        assert self.here[host] is agent
        self.told.append((host, message))

    def gone(self, host: str, agent: Runner) -> None:
        if self.here.get(host) is agent:
            del self.here[host]


class RecordingBenchmarks:
    """Notes what is ordered of an agent; `running` is what its next collector may not know."""

    def __init__(self) -> None:
        self.heard: list[OfRuns] = []
        self.running: list[Progress | Result] = []

    def opened(self, here: str, there: str) -> list[Progress | Result]:
        return self.running

    def take(self, message: OfRuns) -> None:
        self.heard.append(message)


class RecordingControls:
    """What samples, and does as it is told."""

    def __init__(self, interval: float = 0.0) -> None:
        self.stopped = False
        self.interval = interval

    def order_stopped(self, stopped: bool) -> None:
        self.stopped = stopped

    def order_interval(self, interval: float) -> None:
        self.interval = interval


class Peer(StringTransport):
    """A connection in memory, from the side of who has connected.

    A connection that was closed ends with the next turn of the clock, as it does in a reactor.
    """

    def __init__(self, protocol: IProtocol, clock: Clock, address: IAddress = LOOPBACK) -> None:
        super().__init__(peerAddress=address, lenient=True)
        self._protocol = protocol
        self._clock = clock
        self.aborted = False
        self.ended = False
        protocol.makeConnection(self)

    def send(self, *messages: bytes | dict[str, Any]) -> None:
        """Bytes as they are, messages as lines, all in one read."""
        self._protocol.dataReceived(
            b"".join(one if isinstance(one, bytes) else orjson.dumps(one) + b"\n" for one in messages)
        )

    def received(self, most: int | None = None) -> list[dict[str, Any]]:
        """The messages that have come since the last time, or the first of them."""
        lines = self.value().splitlines(keepends=True)
        self.clear()
        if most is not None:
            self.write(b"".join(lines[most:]))
        return [orjson.loads(line) for line in lines[:most]]

    def drop(self, reason: Exception | None = None) -> None:
        """The connection ends."""
        if not self.ended:
            self.ended = True
            self._protocol.connectionLost(Failure(reason or ConnectionDone()))

    @property
    def closed(self) -> bool:
        """Whether the other side has closed the connection, or is about to."""
        return self.disconnecting or self.ended

    # -- the transport

    def loseConnection(self) -> None:
        if not self.disconnecting:
            self._clock.callLater(0, self.drop)
        super().loseConnection()

    def abortConnection(self) -> None:
        self.aborted = True
        self.loseConnection()

    def unregisterProducer(self) -> None:
        if self.producer is not None:  # real transports do not mind
            super().unregisterProducer()


@implementer(ILogObserver)
def quiet(event: LogEvent) -> None:
    """Where a log goes that nobody looks at."""


@implementer(IStreamClientEndpoint)
class MemoryEndpoint:
    """Where a client connects to: every connection is a `Peer`, seen from the server's side."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.attempts = 0
        self.peers: list[Peer] = []
        self.problem: Exception | None = None  # why attempts fail, None while they do not
        self.hanging: Deferred[IProtocol] | None = None  # set: what attempts give

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        self.attempts += 1
        if self.hanging is not None:
            return self.hanging
        if self.problem is not None:
            return fail(self.problem)
        protocol = protocolFactory.buildProtocol(LOOPBACK)
        assert protocol is not None
        self.peers.append(Peer(protocol, self._clock))
        return succeed(protocol)
