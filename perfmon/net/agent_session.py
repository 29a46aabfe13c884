"""A perfmon agent, from the collector's side: protocol 1 after the first line has told so."""

import hmac
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite

import msgspec
from twisted.internet.interfaces import IDelayedCall, IPushProducer
from zope.interface import implementer

from perfmon.core.messages import (
    MAX_HELLO,
    MAX_LINE,
    MAX_SCHEMA,
    PROTOCOL,
    Ack,
    Echo,
    Error,
    FromAgent,
    FromCollector,
    Gap,
    Goodbye,
    Heartbeat,
    Hello,
    Interval,
    LineBuffer,
    Metrics,
    Noted,
    OfRuns,
    Progress,
    ProtocolError,
    Reconnect,
    Refused,
    Resend,
    Result,
    Samples,
    Sampling,
    Start,
    Stop,
    Welcome,
    encode,
    from_agent,
    label_problem,
)
from perfmon.core.names import BadName, checked_host, checked_metric
from perfmon.core.numbering import HostLog, Numbering, Row
from perfmon.core.reject import BAD_LINE, BAD_NAME, NOT_ALLOWED, SCHEMA, Rejected, TimeBounds
from perfmon.net.seams import Surroundings
from perfmon.net.wire import Wire

# The hello is the first thing an agent sends; who has not sent it by then is no agent.
HELLO_TIMEOUT = 10.0  # s

# Schemas of one connection. An agent makes a new one when a metric appears, and has a handful.
MAX_SCHEMAS = 1_000

# A clock that has moved by less against ours is not written down anew.
_CLOCK_CHANGE = 0.005  # s

_NAN = float("nan")


@dataclass(slots=True)
class _Schema:
    """Metrics declared by the agent, and where they stand in the numbering in use."""

    metrics: Sequence[str]
    pack: Callable[..., bytes]
    numbering: Numbering
    log: HostLog
    first: int


# Agents of a fleet have much the same metrics: most of their schemas are checked, and kept, once.
@lru_cache(maxsize=1_000)
def _checked(names: tuple[str, ...]) -> tuple[tuple[str, ...], Callable[..., bytes]]:
    """A schema's metrics, and what packs a value of each. Raises `ProtocolError`."""
    try:
        metrics = tuple(map(checked_metric, names))
    except BadName as problem:
        raise ProtocolError(str(problem)) from None
    if len(set(metrics)) < len(metrics):
        raise ProtocolError("a metric stands twice in one schema")
    return metrics, struct.Struct(f"<{len(metrics)}d").pack


@implementer(IPushProducer)
class AgentSession:
    """One agent's connection. A line that breaks the protocol is answered with `error`, and the connection ends."""

    def __init__(
        self,
        transport: Wire,
        token: str,
        beat: tuple[float, float],
        agents: dict[str, "AgentSession"],
        around: Surroundings,
    ) -> None:
        """`beat` is the heartbeat's interval and timeout (s); `agents` holds the session of each host."""
        self._transport = transport
        self._token = token
        self._beat = beat
        self._agents = agents
        self._intake = around.intake
        self._presence = around.presence
        self._refusals = around.refusals
        self._clock = around.clock
        self._wall = around.wall
        self._gaps = around.gaps
        self._control = around.control
        self._runs = around.runs
        self._kept = around.kept
        self._lines = LineBuffer(MAX_HELLO)
        self._hello: Hello | None = None
        self._schemas: dict[int, _Schema] = {}
        self._closed = False
        self._deaf = False  # the intake takes no more
        # The first seq that was not taken while deaf. No later one is taken before it, for an ack covers all up to it.
        self._left_out: int | None = None
        self._resending: IDelayedCall | None = None  # what ends the wait for that one
        self._acked: int | None = None  # highest seq
        self._clock_told: tuple[float, float] | None = None  # offset and round trip (s) that the record has
        self._last = around.clock.seconds()
        self._bounds = TimeBounds(0.0, 0.0)  # as of what is being read
        self._hello_due = around.clock.callLater(HELLO_TIMEOUT, self._fail, f"no hello within {HELLO_TIMEOUT:.0f} s")
        self.samples = 0  # received, for the statistics
        # The transport pauses us once 64 KiB of answers wait unread.
        transport.registerProducer(self, True)

    # -- what the connection calls

    def feed(self, data: bytes) -> None:
        if self._closed:
            return  # TLS goes on reading while it closes
        self._last = self._clock.seconds()
        self._bounds = TimeBounds.at(self._wall(), self._kept)
        known = self._hello
        try:
            for line in self._lines.feed(data):
                self._take(from_agent(line))
                if self._closed:
                    return
        except ProtocolError as problem:
            self._refusals.note([Rejected(BAD_LINE, str(problem))], self._peer)
            self._fail(str(problem))
        if known is not None:
            self._presence.sign(known.host)

    def hand_over(self) -> None:
        """Nothing: whatever its agent says is passed on at once."""

    def lost(self, why: str) -> None:
        by_the_agent, self._closed = not self._closed, True
        self._transport.unregisterProducer()
        if self._hello_due.active():
            self._hello_due.cancel()
        self._wait_no_more()
        self._intake.detach(self)
        if self._hello is not None:
            if self._agents.get(self._hello.host) is self:
                del self._agents[self._hello.host]
                if by_the_agent:
                    self._presence.lost(self._hello.host, why)
            self._control.gone(self._hello.host, self)
            self._runs.gone(self._hello.host, self)

    # -- what the transport calls

    def pauseProducing(self) -> None:
        self.abort()  # an agent that does not read its answers is stuck; it will reconnect

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass

    # -- what the intake calls

    def pause(self) -> None:
        self._deaf = True  # signs of life go on: a fleet does not depart because the store is away
        self._wait_no_more()

    def resume(self) -> None:
        self._deaf = False
        if self._left_out is not None:
            self._send(Resend(self._left_out))
            self._resending = self._clock.callLater(self._beat[1], self.abort)

    def stored(self, seq: int) -> None:
        """The intake has stored everything of this agent up to `seq`."""
        if self._acked is None or seq > self._acked:  # not what was sent again, and had been taken before
            self._acked = seq
            self._send(Ack(seq))

    def _wait_no_more(self) -> None:
        if self._resending is not None and self._resending.active():
            self._resending.cancel()
        self._resending = None

    # -- what control calls

    def order_stopped(self, stopped: bool) -> None:
        self._send(Stop() if stopped else Start())

    def order_interval(self, interval: float) -> None:
        self._send(Interval(interval))

    # -- what runs call

    def tell(self, message: OfRuns) -> None:
        """Sends what belongs to a benchmark."""
        self._send(message)

    # -- what others call

    def dismiss(self, why: str) -> None:
        """Asks the agent to connect anew, to another collector where it knows one, and closes."""
        self._send(Reconnect(why))
        self._close()

    def invite(self, why: str, within: float) -> None:
        """Asks the agent to connect anew within so many seconds, and so to introduce itself once more."""
        self._send(Reconnect(why, within))

    def abort(self) -> None:
        """Ends the connection at once."""
        self._closed = True
        self._transport.abortConnection()

    @property
    def _peer(self) -> str:
        return self._hello.host if self._hello is not None else str(self._transport.getPeer())

    def _send(self, message: FromCollector) -> None:
        if not self._closed:
            self._transport.write(encode(message))

    def _fail(self, why: str) -> None:
        """Tells the agent why, and closes."""
        self._send(Error(why))
        self._close()

    def _close(self) -> None:
        self._closed = True
        # TLS does not close a connection before its producer has finished
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def _take(self, message: FromAgent) -> None:
        hello = self._hello
        if isinstance(message, Samples) and hello is not None:
            self._samples(message)
        elif isinstance(message, Hello):
            self._greet(message)
            return
        elif hello is None:
            raise ProtocolError("the first message must be hello")
        elif isinstance(message, Metrics):
            self._declare(message, hello.host)
        elif isinstance(message, Heartbeat):
            self._send(Echo(message.time, self._wall()))
            self._note_clock(message, hello.host)
        elif isinstance(message, Sampling):
            self._control.said(hello.host, message.stopped, message.interval)
        elif isinstance(message, Progress | Result):
            self._runs.said(hello.host, message, self)
        elif isinstance(message, Gap):
            self._gaps.note(hello.host, message, lambda: self._send(Noted(message.id)))
        elif isinstance(message, Goodbye):
            self._presence.leave(hello.host, "".join(char for char in message.reason[:100] if char.isprintable()))
            self._close()

    def _note_clock(self, beat: Heartbeat, host: str) -> None:
        """What the agent found out of its clock goes to its record, if that has changed by more than it is exact."""
        if beat.offset is None or beat.round_trip is None or not isfinite(beat.offset + beat.round_trip):
            return
        told = self._clock_told
        if told is None or abs(beat.offset - told[0]) > max(_CLOCK_CHANGE, beat.round_trip / 2):
            self._clock_told = (beat.offset, beat.round_trip)
            self._presence.describe(host, {"offset": repr(beat.offset), "round_trip": repr(beat.round_trip)})

    def _greet(self, hello: Hello) -> None:
        problem = self._objection(hello)
        if problem is not None:
            self._refusals.note([problem], self._peer)
            self._fail(problem.detail)
            return
        older = self._agents.get(hello.host)
        self._agents[hello.host] = self
        if older is not None:
            older.abort()  # the same agent has reconnected, or the older one is late
        self._hello = msgspec.structs.replace(hello, labels={}, platform={}, token="")  # these are the store's to keep
        self._lines.max_line = MAX_LINE
        self._hello_due.cancel()
        interval, timeout = self._beat
        self._send(Welcome(PROTOCOL, interval, timeout))
        self._intake.attach(self)
        self._presence.arrived(hello.host, hello.boot[:100])
        self._presence.describe(hello.host, hello.record())
        self._control.arrived(hello.host, self, hello.stopped, hello.interval)
        self._runs.arrived(hello.host, self)

    def _objection(self, hello: Hello) -> Rejected | None:
        """Why this agent cannot be taken, if it cannot."""
        if self._hello is not None:
            return Rejected(BAD_LINE, "hello was sent twice")
        if not hmac.compare_digest(hello.token.encode(), self._token.encode()) and self._token:
            return Rejected(NOT_ALLOWED, "wrong token: start the agent with the collector's --token-file")
        if hello.protocol != PROTOCOL:
            return Rejected(
                BAD_LINE, f"protocol {hello.protocol} is not spoken here, only {PROTOCOL}: upgrade the older of the two"
            )
        try:
            checked_host(hello.host)
        except BadName as problem:
            return Rejected(BAD_NAME, f"{problem}; set another with --name")
        labels = label_problem(hello.labels) or label_problem(hello.platform)
        if labels is not None:
            return Rejected(BAD_NAME, labels)
        older = self._agents.get(hello.host)
        if older is not None and not older.gives_way_to(hello):
            return Rejected(
                NOT_ALLOWED, f"another agent is connected as {hello.host}: give this one another name with --name"
            )
        return None

    def gives_way_to(self, hello: Hello) -> bool:
        """Whether a newcomer of the same name is the same agent come back, or this one shows no life."""
        mine = self._hello
        late = self._clock.seconds() - self._last > 1.5 * self._beat[0]
        return late or (mine is not None and bool(mine.instance) and mine.instance == hello.instance)

    def _declare(self, message: Metrics, host: str) -> None:
        if not 0 < len(message.names) <= MAX_SCHEMA:
            raise ProtocolError(f"a schema has 1 to {MAX_SCHEMA} metrics, this one {len(message.names)}")
        if len(self._schemas) >= MAX_SCHEMAS and message.id not in self._schemas:
            raise ProtocolError(f"more than {MAX_SCHEMAS} schemas on one connection")
        metrics, pack = _checked(tuple(message.names))
        numbering = self._intake.numbering
        log, first = numbering.schema(host, metrics)
        self._schemas[message.id] = _Schema(metrics, pack, numbering, log, first)

    def _samples(self, message: Samples) -> None:
        if self._deaf:
            if self._left_out is None:
                self._left_out = message.seq
            return
        if self._left_out is not None:
            if message.seq != self._left_out:
                return
            self._left_out = None
            self._wait_no_more()
        schema = self._schemas.get(message.id)
        if schema is None:
            self._refuse(message, Rejected(SCHEMA, f"samples for metrics {message.id}, which were not declared"))
            return
        problem = self._bounds.problem(message.time)
        if problem is not None:
            self._refuse(message, problem)
            return
        absent = 0
        try:
            packed = schema.pack(*message.values)
        except struct.error:  # not all of them are there
            values = message.values
            if len(values) != len(schema.metrics):
                detail = f"{len(values)} values for metrics {message.id}, which are {len(schema.metrics)}"
                self._refuse(message, Rejected(SCHEMA, detail))
                return
            absent = values.count(None)
            packed = schema.pack(*[_NAN if value is None else value for value in values])
        if schema.numbering is not (numbering := self._intake.numbering):
            schema.numbering = numbering
            schema.log, schema.first = numbering.schema(schema.log.host, schema.metrics)
        row = Row(schema.log, schema.first, round(message.time * 1000), packed, absent)
        self.samples += len(row)
        self._intake.add_row(row, self, message.seq)

    def _refuse(self, message: Samples, rejected: Rejected) -> None:
        self._refusals.note([rejected], self._peer)
        self._send(Refused(message.seq, rejected.detail))
