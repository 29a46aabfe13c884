"""A simulated fleet that sends Graphite lines: all hosts over a handful of connections, as through a relay."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from twisted.application.service import MultiService, Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from perfmon.core.graphite import encode_lines
from perfmon.core.rota import Turn
from perfmon.core.tally import Tally
from perfmon.net.wire import Wire
from perfmon.reconnecting import Reconnecting

# One would do. Some more show a collector with several senders, and use their buffers.
CONNECTIONS = 4

# Rounds that wait while a connection is away or does not take them; further ones are left out.
MAX_WAITING = 20_000

# How long a connection may take to hand over what was written to it, once it is to be closed.
CLOSE_TIMEOUT = 5.0  # s


@implementer(IPushProducer)
class LineProtocol(Protocol):
    """One connection, which lines are written to as fast as it takes them."""

    transport: Wire  # type: ignore[assignment]  # narrower than ITransport | None: set before any call

    def __init__(self, sender: "LineSender") -> None:
        self._sender = sender
        self._ended: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended.callback(None)

    def whenDisconnected(self) -> Deferred[None]:
        return self._ended

    def pauseProducing(self) -> None:
        self._sender.paused = True

    def resumeProducing(self) -> None:
        self._sender.paused = False
        self._sender.flush()

    def stopProducing(self) -> None:
        pass


class LineSender(Service):
    """A service: one connection while it runs, and the rounds that wait for it."""

    def __init__(
        self, endpoint: IStreamClientEndpoint, shown: str, tally: Tally, log: Logger, clock: IReactorTime
    ) -> None:
        """`shown` names the collector in `log`."""
        self.paused = False
        self._shown = shown
        self._tally = tally
        self._log = log
        self._clock = clock
        self._waiting: deque[bytes] = deque()
        self._current: LineProtocol | None = None
        self._client = Reconnecting(
            endpoint, lambda: LineProtocol(self), self._prepare, self._note, clock, longest=15.0
        )

    def startService(self) -> None:
        super().startService()
        self._client.startService()

    def stopService(self) -> Deferred[None]:
        """What was handed to the connection is sent before it ends, within `CLOSE_TIMEOUT`."""
        super().stopService()
        current = self._current
        if current is None:
            return self._client.stopService()
        current.transport.unregisterProducer()  # TLS does not close before its producer has finished
        limit = self._clock.callLater(CLOSE_TIMEOUT, self._give_up, current)

        def closed(result: Any) -> None:
            if limit.active():
                limit.cancel()

        return self._client.stopService().addBoth(closed)

    def _give_up(self, protocol: LineProtocol) -> None:
        self._tally.lost += 1
        self._log.warn("{server} did not take all lines before the end", server=self._shown)
        protocol.transport.abortConnection()

    def _note(self, problem: str) -> None:
        self._log.warn("no connection to {server}: {problem}", server=self._shown, problem=problem)

    async def _prepare(self, protocol: LineProtocol) -> None:
        self._current = protocol
        self.paused = False
        self._tally.connect()
        protocol.whenDisconnected().addCallback(self._ended)
        self.flush()

    def _ended(self, result: object) -> None:
        self._current = None
        self._tally.disconnect(bool(self.running))
        if self.running:
            self._log.warn("connection to {server} lost: lines that were under way may be", server=self._shown)

    def put(self, lines: bytes) -> bool:
        """Takes in a round. False where there is no room for it."""
        if len(self._waiting) >= MAX_WAITING:
            return False
        self._waiting.append(lines)
        return True

    def flush(self) -> None:
        """Hands to the connection what it takes."""
        while self._current is not None and self._waiting and not self.paused:
            pieces = [self._waiting.popleft() for _ in range(min(len(self._waiting), 100))]
            self._tally.sent += len(pieces)
            self._current.transport.write(b"".join(pieces))


class SimulatedGraphite(MultiService):
    """A service: all hosts of a fleet. The order of `hosts` is that of their numbers."""

    acknowledged: Sequence[int] = ()  # Graphite knows no such thing

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        shown: str,
        hosts: Sequence[str],
        metrics: Sequence[str],
        tally: Tally,
        log: Logger,
        clock: IReactorTime,
    ) -> None:
        """`shown` names the collector in `log`."""
        super().__init__()
        self._hosts = hosts
        self._metrics = metrics
        self._tally = tally
        self._senders = [LineSender(endpoint, shown, tally, log, clock) for _ in range(min(CONNECTIONS, len(hosts)))]
        for sender in self._senders:
            sender.setServiceParent(self)

    def send(self, turn: Turn, rows: list[Any]) -> None:
        """Each host of `turn` has sampled its row."""
        for number, time, row in zip(turn.numbers.tolist(), turn.times.tolist(), rows, strict=True):
            sender = self._senders[number % len(self._senders)]
            if sender.put(encode_lines(self._metrics, self._hosts[number], row, time)):
                self._tally.sampled += 1
            else:
                self._tally.left_out += 1
        for sender in self._senders:
            sender.flush()

    @property
    def settled(self) -> bool:
        """Whether all that was sampled was handed to a connection."""
        return self._tally.sent == self._tally.sampled
