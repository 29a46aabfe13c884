"""The agent's connection to its collector: comes back by itself, and forgets nothing that was not confirmed."""

from collections.abc import Callable
from typing import Any
from typing import Protocol as Seam

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.messages import (
    Ack,
    Error,
    FromCollector,
    Goodbye,
    Heartbeat,
    Hello,
    LineBuffer,
    ProtocolError,
    Refused,
    Welcome,
    encode,
    from_collector,
)
from perfmon.core.outbox import Outbox
from perfmon.net.wire import Wire
from perfmon.reconnecting import Reconnecting

# The collector answers a hello at once; one that does not is stuck.
WELCOME_TIMEOUT = 10.0  # s


class LinkError(Exception):
    """The collector cannot be used; `str()` says why."""


class Beats(Seam):
    """Calls something again and again: a LoopingCall, or what does so for many."""

    running: Any  # bool, which a LoopingCall has without a type

    def start(self, interval: float, now: bool) -> Any: ...
    def reset(self) -> None:
        """The next call comes an interval from now."""

    def stop(self) -> None: ...


def own_timer(call: Callable[[], None], clock: IReactorTime) -> Beats:
    """Beats of their own."""
    beats = LoopingCall(call)
    beats.clock = clock
    return beats


class LinkProtocol(Protocol):
    """One connection. `ready` fires when the collector has said welcome, or fails with `LinkError`."""

    _log = Logger()
    transport: Wire  # type: ignore[assignment]  # narrower than ITransport | None: set before any call

    def __init__(
        self,
        hello: Hello,
        outbox: Outbox,
        clock: IReactorTime,
        wall: Callable[[], float],
        beats: Callable[[Callable[[], None], IReactorTime], Beats] = own_timer,
    ) -> None:
        """`beats` makes what calls for a sign of life every so often."""
        self._hello = hello
        self._outbox = outbox
        self._clock = clock
        self._wall = wall
        self._lines = LineBuffer()
        self._sent = 0  # seq of the last round sent
        self._sent_at = 0.0
        self._heartbeat = 0.0  # s
        self._declared: set[int] = set()
        self._heard = 0.0
        self._timeout = WELCOME_TIMEOUT
        self._beats = beats(self._beat, clock)
        self.ready: Deferred[None] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self.welcomed = False

    def connectionMade(self) -> None:
        self._heard = self._clock.seconds()
        for option in ("setTcpKeepAlive", "setTcpNoDelay"):  # not on a unix socket
            getattr(self.transport, option, lambda on: None)(True)
        self.transport.write(encode(self._hello))
        self._beats.start(WELCOME_TIMEOUT, now=False)

    def dataReceived(self, data: bytes) -> None:
        self._heard = self._clock.seconds()
        try:
            for line in self._lines.feed(data):
                self._take(from_collector(line))
        except ProtocolError as problem:
            self._end(f"no perfmon collector there? {problem}")
        except LinkError as problem:
            self._end(str(problem))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._beats.running:
            self._beats.stop()
        if not self.ready.called:
            self.ready.errback(LinkError(f"closed before the collector said welcome: {reason.getErrorMessage()}"))
        self.welcomed = False
        self._ended.callback(None)

    def whenDisconnected(self) -> Deferred[None]:
        return self._ended

    def _take(self, message: FromCollector) -> None:
        if isinstance(message, Welcome):
            if self.welcomed or not message.heartbeat > 0:
                raise ProtocolError(f"a welcome out of place: {message}")
            self._timeout = message.timeout
            self.welcomed = True
            self._heartbeat = message.heartbeat
            self._beats.stop()
            self._beats.start(message.heartbeat, now=False)
            self.ready.callback(None)
            self.send()
        elif isinstance(message, Ack):
            self._outbox.confirm(message.seq)
            if self._clock.seconds() - self._sent_at < self._heartbeat / 4:
                self._beats.reset()  # both have just given a sign of life
        elif isinstance(message, Refused):
            self._outbox.refuse(message.seq)
            self._log.warn("samples refused: {reason}", reason=message.reason)
        elif isinstance(message, Error):
            raise LinkError(message.reason)

    def send(self) -> None:
        """Sends every round that this connection has not carried yet."""
        if not self.welcomed:
            return
        lines = []
        for kept in self._outbox.after(self._sent):
            if kept.schema not in self._declared:
                self._declared.add(kept.schema)
                lines.append(self._outbox.schema(kept.schema))
            lines.append(kept.line)
            self._sent = kept.seq
        self._sent_at = self._clock.seconds()
        self.transport.write(b"".join(lines))

    def _beat(self) -> None:
        if not self.welcomed:
            self._end("the collector did not answer")
        elif self._clock.seconds() - self._heard > self._timeout:
            self._end(f"the collector gave no sign for {self._timeout:g} s")
        else:
            self.transport.write(encode(Heartbeat(self._wall())))

    def _end(self, why: str) -> None:
        if not self.ready.called:
            self.ready.errback(LinkError(why))
        else:
            self._log.warn("leaving the collector: {why}", why=why)
        self.transport.abortConnection()

    def goodbye(self, reason: str) -> None:
        """Leaves on purpose."""
        if self.welcomed:
            self.transport.write(encode(Goodbye(reason)))
        self.transport.loseConnection()


class AgentLink(Service):
    """A service: connected to the collector while it runs."""

    _log = Logger()

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        shown: str,
        hello: Hello,
        outbox: Outbox,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`shown` names the collector in the log; `wall` gives the time in s since the epoch."""
        self._shown = shown
        self._hello = hello
        self._outbox = outbox
        self._clock = clock
        self._wall = wall
        self._dropped = 0  # rounds that the log was told of
        self._current: LinkProtocol | None = None
        self._problem = ""
        self._client = Reconnecting(endpoint, self._protocol, self._prepare, self._note, clock, longest=15.0)

    def _protocol(self) -> LinkProtocol:
        """What the next connection speaks."""
        return LinkProtocol(self._hello, self._outbox, self._clock, self._wall)

    def startService(self) -> None:
        super().startService()
        self._client.startService()

    def _note(self, problem: str) -> None:
        """Logs a problem once, not at every attempt."""
        if self.running and problem != self._problem:
            self._problem = problem
            self._log.warn("no connection to {server}: {problem}", server=self._shown, problem=problem)

    async def _prepare(self, protocol: LinkProtocol) -> None:
        await protocol.ready
        self._current = protocol
        self._problem = ""
        self._log.info("connected to {server}", server=self._shown)

    def send(self) -> None:
        """There is something new in the outbox."""
        if self._outbox.dropped > 2 * self._dropped:  # told of the first, and of each doubling
            self._dropped = self._outbox.dropped
            self._log.warn(
                "no room for more unconfirmed rounds: {count} of the oldest were dropped so far", count=self._dropped
            )
        if self._current is not None:
            self._current.send()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._current is not None:
            self._current.goodbye("stopped")
        return self._client.stopService()
