"""Thousands of agents in one process: each has the real agent's link, and what it is answered is checked."""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import takewhile
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from perfmon.core.messages import Cancel, Hello, Kept, Metrics, OfRuns, Progress, Result, Run, Samples, encode
from perfmon.core.rota import Turn
from perfmon.core.tally import Account, Tally
from perfmon.net.agent_link import AgentLink, Beats, LinkProtocol
from perfmon.net.servers import Servers

# Connections under way at once, from the attempt to the welcome. A collector welcomes some thousands a second; were all
# of ten thousand to wait for it, some would lose their patience.
MAX_CONNECTING = 500

_SCHEMA = 1

# Rounds that one agent keeps, in memory; further ones it does not sample. A real agent has them on disk.
MAX_ROUNDS = 4_096

# Rounds of one agent that may be under way at once.
MAX_UNDER_WAY = 64

MakeBeats = Callable[[Callable[[], None], IReactorTime], Beats]


class CheckedOutbox:
    """The rounds of one agent, all of the same metrics. What was sent, and how it was answered, goes to its account."""

    def __init__(self, declaration: bytes, account: Account, clock: IReactorTime) -> None:
        """`declaration` is the line that declares the metrics; all agents share it."""
        self._declaration = declaration
        self._account = account
        self._clock = clock
        self._seq = 0
        self._confirmed = 0  # seq
        self._sent = 0  # seq of the last round sent on this connection
        self._declared = False  # on this connection
        self._rounds: deque[tuple[int, bytes]] = deque()  # seq and line, until they are confirmed

    def put(self, time: float, values: list[float | None]) -> bool:
        """Takes in the round of `time` (s since the epoch). False where there is no room for it."""
        if len(self._rounds) >= MAX_ROUNDS:
            return False
        self._seq += 1
        self._rounds.append((self._seq, encode(Samples(self._seq, _SCHEMA, time, values))))
        return True

    def opened(self) -> None:
        self._sent, self._declared = self._confirmed, False

    def closed(self) -> None:
        pass

    def due(self) -> bytes:
        """What was not sent yet on this connection, as far as it may be under way."""
        lines = self._after(self._sent)
        if not lines or self._declared:
            return lines
        self._declared = True
        return self._declaration + lines

    def _after(self, seq: int) -> bytes:
        """The lines of the rounds above `seq`; they count as sent."""
        newer = list(takewhile(lambda kept: kept[0] > seq, reversed(self._rounds)))  # mostly the last one only
        now, lines = self._clock.seconds(), []
        for number, line in reversed(newer):
            if number > self._confirmed + MAX_UNDER_WAY:
                break
            self._account.sent(number, now)
            lines.append(line)
            self._sent = number
        return b"".join(lines)

    def confirm(self, seq: int) -> None:
        """Does nothing if it cannot be so: the rounds are sent again, and the account tells."""
        if self._account.acknowledge(seq, self._clock.seconds()):
            self._confirmed = seq
            while self._rounds and self._rounds[0][0] <= seq:
                self._rounds.popleft()

    def refuse(self, seq: int, reason: str) -> None:
        if self._account.refuse(seq):
            self._rounds = deque(kept for kept in self._rounds if kept[0] != seq)

    def resend(self, seq: int) -> bytes:
        return self._after(seq - 1)

    def noted(self, gap: int) -> None:
        """Never comes: it tells of no gap, for what it has no room for it does not sample."""


class _Controls:
    """One agent that can be stopped. All of a fleet sample in the same interval: another one it does not take."""

    __slots__ = ("interval", "stopped")

    def __init__(self, interval: float) -> None:
        self.stopped = False
        self.interval = interval

    def order_stopped(self, stopped: bool) -> None:
        self.stopped = stopped

    def order_interval(self, interval: float) -> None:
        pass  # and the answer says so


class _Benchmarks:
    """One agent that keeps the times of benchmarks, and loads nothing."""

    def __init__(
        self, say: Callable[[Progress | Result], None], clock: IReactorTime, wall: Callable[[], float]
    ) -> None:
        self._say = say
        self._clock = clock
        self._wall = wall
        self._told: dict[str, Progress | Result] = {}  # by run, until it is kept
        self._timers: dict[str, IDelayedCall] = {}

    def opened(self, here: str, there: str) -> Iterable[Progress | Result]:
        return list(self._told.values())

    def take(self, message: OfRuns) -> None:
        if isinstance(message, Run):
            self._order(message)
        elif isinstance(message, Cancel):
            self._cancel(message)
        elif isinstance(message, Kept):
            self._told.pop(message.run, None)

    def _order(self, run: Run) -> None:
        if run.id in self._told:
            self._say(self._told[run.id])
            return
        self._tell(Progress(run.id))
        self._timers[run.id] = self._clock.callLater(max(0.0, run.start - self._wall()), self._begin, run)

    def _begin(self, run: Run) -> None:
        began = self._wall()
        self._tell(Progress(run.id, began))
        self._timers[run.id] = self._clock.callLater(run.seconds, self._end, run.id, began, "done", "")

    def _end(self, id: str, began: float | None, state: str, reason: str) -> None:
        del self._timers[id]
        self._tell(Result(id, state, reason, began, figures={"simulated": True, "rate": 0.0}))

    def _tell(self, message: Progress | Result) -> None:
        self._told[message.run] = message
        self._say(message)

    def _cancel(self, cancel: Cancel) -> None:
        timer = self._timers.get(cancel.id)
        if timer is not None:
            timer.cancel()
            self._end(cancel.id, self._told[cancel.id].began, "cancelled", cancel.reason)

    def stop(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()


class _Link(AgentLink):
    """The link of one agent among many: one timer and one voice in the log for all of them."""

    def __init__(self, fleet: "SimulatedAgents", hello: Hello, outbox: CheckedOutbox) -> None:
        self.controls = _Controls(hello.interval)
        self.benchmarks = _Benchmarks(self.say, fleet.clock, fleet.wall)
        super().__init__(
            Servers(fleet.endpoints), hello, outbox, self.controls, self.benchmarks, fleet.clock, fleet.wall
        )
        self._fleet = fleet
        self._log = fleet.log

    def _protocol(self) -> LinkProtocol:
        protocol = LinkProtocol(
            *(self._hello, self._outbox, self._controls, self.benchmarks, self._clock, self._wall),
            self._fleet.beats,
        )
        protocol._log = self._log
        return protocol

    def stopService(self) -> Deferred[None]:
        self.benchmarks.stop()
        return super().stopService()

    async def _prepare(self, protocol: LinkProtocol) -> None:
        await super()._prepare(protocol)
        self._fleet.tally.connect()
        protocol.whenDisconnected().addCallback(lambda _: self._fleet.tally.disconnect(bool(self.running)))


class SimulatedAgents(MultiService):
    """A service: all agents of a fleet, connected while it runs. The order of `hellos` is that of their numbers."""

    def __init__(
        self,
        servers: Sequence[tuple[str, IStreamClientEndpoint]],
        hellos: Sequence[Hello],
        metrics: list[str],
        tally: Tally,
        beats: MakeBeats,
        log: Logger,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`servers` have their names for people, as of `Servers`; `beats` makes what calls for signs of life."""
        super().__init__()
        places = DeferredSemaphore(MAX_CONNECTING)
        self.endpoints = [(shown, Paced(endpoint, places)) for shown, endpoint in servers]
        self.tally = tally
        self.beats = beats
        self.log = log
        self.clock = clock
        self.wall = wall
        declaration = encode(Metrics(_SCHEMA, metrics))
        self._accounts = [Account(tally) for _ in hellos]
        self._outboxes = [CheckedOutbox(declaration, account, clock) for account in self._accounts]
        self._links = [_Link(self, hello, outbox) for hello, outbox in zip(hellos, self._outboxes, strict=True)]
        for link in self._links:
            link.setServiceParent(self)

    def send(self, turn: Turn, rows: list[Any]) -> None:
        """Each agent of `turn` has sampled its row."""
        for number, time, row in zip(turn.numbers.tolist(), turn.times.tolist(), rows, strict=True):
            if self._links[number].controls.stopped:
                continue
            if self._outboxes[number].put(time, row):
                self.tally.sampled += 1
                self._links[number].send()
            else:
                self.tally.left_out += 1

    @property
    def settled(self) -> bool:
        """Whether all that was sampled is answered."""
        return not self.tally.unacknowledged

    @property
    def acknowledged(self) -> list[int]:
        """Rounds of each agent."""
        return [account.acknowledged for account in self._accounts]


@implementer(IStreamClientEndpoint)
class Paced:
    """An endpoint whose connections wait for one of the places, which they hold until they are welcomed."""

    def __init__(self, endpoint: IStreamClientEndpoint, places: DeferredSemaphore) -> None:
        self._endpoint = endpoint
        self._places = places

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """The factory makes a `LinkProtocol`."""
        return self._places.acquire().addCallback(lambda _: self._attempt(protocolFactory))

    def _attempt(self, factory: IProtocolFactory) -> Deferred[Any]:
        attempt: Deferred[Any] = self._endpoint.connect(factory)
        return attempt.addCallbacks(self._connected, self._failed)

    def _connected(self, protocol: LinkProtocol) -> LinkProtocol:
        protocol.ready.addBoth(self._ready)
        return protocol

    def _ready(self, result: Any) -> Any:
        self._places.release()
        return result

    def _failed(self, failure: Failure) -> Failure:
        self._places.release()
        return failure
