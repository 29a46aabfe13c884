"""The agent's connection to its collector: comes back by itself, and forgets nothing that was not confirmed."""

import random
from collections.abc import Callable, Iterable
from typing import Any
from typing import Protocol as Seam

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.clock import ClockFilter
from perfmon.core.control import MAX_INTERVAL, MIN_INTERVAL
from perfmon.core.messages import (
    Ack,
    Echo,
    Error,
    FromCollector,
    Goodbye,
    Heartbeat,
    Hello,
    Interval,
    LineBuffer,
    Noted,
    OfRuns,
    Progress,
    ProtocolError,
    Reconnect,
    Refused,
    Resend,
    Result,
    Sampling,
    Start,
    Stop,
    Welcome,
    encode,
    from_collector,
)
from perfmon.net.servers import Servers
from perfmon.net.wire import Wire
from perfmon.reconnecting import Reconnecting

# The collector answers a hello at once; one that does not is stuck.
WELCOME_TIMEOUT = 10.0  # s

# The longest pause between attempts to connect; shorter where the heartbeat timeout is. A collector that starts anew is
# to hear of each agent before it takes it for departed.
_LONGEST_PAUSE = 5.0  # s
_ATTEMPTS = 3  # within a timeout

# A heartbeat is sent so often at least, also where acknowledgements stand in for it: it measures the clocks.
CLOCK_INTERVAL = 30.0  # s


class LinkError(Exception):
    """The collector cannot be used; `str()` says why."""


class Outbox(Seam):
    """What is to be sent, and learns how it was answered."""

    def opened(self) -> None:
        """A connection stands; nothing is under way on it."""

    def closed(self) -> None:
        """The connection has ended."""

    def due(self) -> bytes:
        """What is to be sent now."""

    def confirm(self, seq: int) -> None:
        """All up to `seq` is stored."""

    def refuse(self, seq: int, reason: str) -> None:
        """`seq` will never be stored."""

    def resend(self, seq: int) -> bytes:
        """What is to be sent once more: all that was sent from `seq` on."""

    def noted(self, gap: int) -> None:
        """The collector keeps the gap of this id."""


class Controls(Seam):
    """What samples, and obeys the collector."""

    stopped: bool
    interval: float  # s

    def order_stopped(self, stopped: bool) -> None: ...
    def order_interval(self, interval: float) -> None: ...


class Benchmarks(Seam):
    """Runs benchmarks on this host, and tells how they go."""

    def opened(self, here: str, there: str) -> Iterable[Progress | Result]:
        """A connection stands, between these addresses: what its collector may not know."""

    def take(self, message: OfRuns) -> None: ...


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
        controls: Controls,
        benchmarks: Benchmarks,
        clock: IReactorTime,
        wall: Callable[[], float],
        beats: Callable[[Callable[[], None], IReactorTime], Beats] = own_timer,
    ) -> None:
        """`beats` makes what calls for a sign of life every so often."""
        self._hello = hello
        self._outbox = outbox
        self._controls = controls
        self._benchmarks = benchmarks
        self._clock = clock
        self._wall = wall
        self._lines = LineBuffer()
        self._sent_at = 0.0
        self._heartbeat = 0.0  # s
        self._heard = 0.0
        self.timeout = WELCOME_TIMEOUT
        self._beats = beats(self._beat, clock)
        self._difference = ClockFilter()
        self._beaten = (0.0, 0.0)  # the last heartbeat, by the wall and by the clock
        self._measured = 0.0
        self._leaving: IDelayedCall | None = None
        self.ready: Deferred[None] = Deferred()
        self._ended: Deferred[None] = Deferred()
        self.welcomed = False
        self.left = False  # by this side, for what the collector said or did not say

    def connectionMade(self) -> None:
        self._heard = self._clock.seconds()
        for option in ("setTcpKeepAlive", "setTcpNoDelay"):  # not on a unix socket
            getattr(self.transport, option, lambda on: None)(True)
        stopped, interval = self._controls.stopped, self._controls.interval
        self.transport.write(encode(msgspec.structs.replace(self._hello, stopped=stopped, interval=interval)))
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
        if self._leaving is not None and self._leaving.active():
            self._leaving.cancel()
        if not self.ready.called:
            self.ready.errback(LinkError(f"closed before the collector said welcome: {reason.getErrorMessage()}"))
        if self.welcomed:
            self.welcomed = False
            self._outbox.closed()
        self._ended.callback(None)

    def whenDisconnected(self) -> Deferred[None]:
        return self._ended

    def _take(self, message: FromCollector) -> None:
        if isinstance(message, Ack):
            self._outbox.confirm(message.seq)
            now = self._clock.seconds()
            if now - self._sent_at < self._heartbeat / 4 and now - self._measured < CLOCK_INTERVAL:
                self._beats.reset()  # both have just given a sign of life
            self.send()
        elif isinstance(message, Welcome):
            self._begin(message)
        elif isinstance(message, Echo):
            sent, since = self._beaten
            if message.time == sent:
                first, self._measured = self._difference.best is None, self._clock.seconds()
                self._difference.measure(sent, message.at, self._measured - since)
                if first:
                    self._send_heartbeat()  # so that the collector knows at once
        elif isinstance(message, Refused):
            self._outbox.refuse(message.seq, message.reason)
            self.send()
        elif isinstance(message, Resend):
            self._write(self._outbox.resend(message.seq))
        elif isinstance(message, Noted):
            self._outbox.noted(message.id)
        elif isinstance(message, Stop | Start):
            self._controls.order_stopped(isinstance(message, Stop))
            self._answer_order()
        elif isinstance(message, Interval):
            if not MIN_INTERVAL <= message.interval <= MAX_INTERVAL:
                raise ProtocolError(f"an interval of {message.interval} s")
            self._controls.order_interval(message.interval)
            self._answer_order()
        elif isinstance(message, OfRuns):
            self._benchmarks.take(message)
        elif isinstance(message, Reconnect):
            self._leave_within(message.within, message.reason)
        elif isinstance(message, Error):
            raise LinkError(message.reason)

    def _begin(self, welcome: Welcome) -> None:
        if self.welcomed or not welcome.heartbeat > 0:
            raise ProtocolError(f"a welcome out of place: {welcome}")
        self.timeout = welcome.timeout
        self.welcomed = True
        self._heartbeat = welcome.heartbeat
        self._beats.stop()
        self._beats.start(welcome.heartbeat, now=False)
        self._outbox.opened()
        self.ready.callback(None)
        self._send_heartbeat()
        here, there = (getattr(end, "host", "") for end in (self.transport.getHost(), self.transport.getPeer()))
        for told in self._benchmarks.opened(here, there):
            self.say(told)
        self.send()

    def say(self, message: Progress | Result) -> None:
        """Sends it, if there is a collector; who says it says it again on the next connection."""
        if self.welcomed:
            self.transport.write(encode(message))

    @property
    def ahead(self) -> float | None:
        """By how many s the clock here is ahead of the collector's, as far as it is known."""
        best = self._difference.best
        return None if best is None else best.offset

    def _answer_order(self) -> None:
        """Says how it samples now."""
        now = Sampling(self._controls.stopped, self._controls.interval)
        self._log.info(
            "as the collector asks for it: {order}",
            order="no samples any more" if now.stopped else f"samples every {now.interval:g} s",
        )
        self.transport.write(encode(now))

    def send(self) -> None:
        """Sends what is due."""
        if self.welcomed:
            self._write(self._outbox.due())

    def _write(self, lines: bytes) -> None:
        if lines:
            self._sent_at = self._clock.seconds()
            self.transport.write(lines)

    def _beat(self) -> None:
        if not self.welcomed:
            self._end("the collector did not answer")
        elif self._clock.seconds() - self._heard > self.timeout:
            self._end(f"the collector gave no sign for {self.timeout:g} s")
        else:
            self._send_heartbeat()

    def _send_heartbeat(self) -> None:
        found = self._difference.best
        self._beaten = (self._wall(), self._clock.seconds())
        beat = (
            Heartbeat(self._beaten[0]) if found is None else Heartbeat(self._beaten[0], found.offset, found.round_trip)
        )
        self.transport.write(encode(beat))

    def _leave_within(self, seconds: float, why: str) -> None:
        """The collector asks for it; not all agents are to come to another one in the same moment."""
        if self._leaving is None:
            pause = random.uniform(0.0, max(0.0, min(seconds, self.timeout)))
            self._leaving = self._clock.callLater(pause, self._end, f"it asks for that: {why}")

    def _end(self, why: str) -> None:
        if not self.ready.called:
            self.ready.errback(LinkError(why))
        else:
            self._log.warn("leaving the collector: {why}", why=why)
        self.left = True
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
        servers: Servers,
        hello: Hello,
        outbox: Outbox,
        controls: Controls,
        benchmarks: Benchmarks,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`wall` gives the time in s since the epoch."""
        self._servers = servers
        self._hello = hello
        self._outbox = outbox
        self._controls = controls
        self._benchmarks = benchmarks
        self._clock = clock
        self._wall = wall
        self._ahead = 0.0
        self._current: LinkProtocol | None = None
        self._problems: dict[str, str] = {}  # server -> what the log was told of it
        self._client = Reconnecting(servers, self._protocol, self._prepare, self._failed, clock, longest=_LONGEST_PAUSE)

    def _protocol(self) -> LinkProtocol:
        """What the next connection speaks."""
        return LinkProtocol(self._hello, self._outbox, self._controls, self._benchmarks, self._clock, self._wall)

    def startService(self) -> None:
        super().startService()
        self._client.startService()

    def _failed(self, problem: str) -> None:
        """An attempt has failed: the next one goes to the next server. Logs a problem once, not at every attempt."""
        server = self._servers.shown
        if self.running and self._problems.get(server) != problem:
            self._problems[server] = problem
            self._log.warn("no connection to {server}: {problem}", server=server, problem=problem)
        self._servers.leave()

    async def _prepare(self, protocol: LinkProtocol) -> None:
        await protocol.ready
        self._current = protocol
        self._client.longest = min(_LONGEST_PAUSE, protocol.timeout / _ATTEMPTS)
        self._problems.clear()
        self._log.info("connected to {server}", server=self._servers.shown)
        protocol.whenDisconnected().addCallback(lambda _: self._servers.leave() if protocol.left else None)

    def send(self) -> None:
        """There is something new in the outbox."""
        if self._current is not None:
            self._current.send()

    def say(self, message: Progress | Result) -> None:
        """Tells the collector, if there is one."""
        if self._current is not None:
            self._current.say(message)

    def ahead(self) -> float:
        """By how many s the clock here is ahead of the collector's, as it was measured last; 0 while nobody has."""
        if self._current is not None and self._current.ahead is not None:
            self._ahead = self._current.ahead
        return self._ahead

    def stopService(self) -> Deferred[None]:
        super().stopService()
        if self._current is not None:
            self._current.goodbye("stopped")
        return self._client.stopService()
