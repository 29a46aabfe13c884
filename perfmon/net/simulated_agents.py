"""Thousands of agents in one process: each has the real agent's link, and what it is answered is checked."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from perfmon.core.messages import Hello, Metrics, encode
from perfmon.core.outbox import MAX_ROUNDS, Outbox, Round
from perfmon.core.rota import Turn
from perfmon.core.tally import Account, Tally
from perfmon.net.agent_link import AgentLink, Beats, LinkProtocol

# Connections under way at once, from the attempt to the welcome. A collector welcomes some thousands a second; were all
# of ten thousand to wait for it, some would lose their patience.
MAX_CONNECTING = 500

_SCHEMA = 1

MakeBeats = Callable[[Callable[[], None], IReactorTime], Beats]


class CheckedOutbox(Outbox):
    """The rounds of one agent, all of the same metrics. What was sent, and how it was answered, goes to its account."""

    def __init__(self, declaration: bytes, account: Account, clock: IReactorTime) -> None:
        """`declaration` is the line that declares the metrics; all agents share it."""
        super().__init__()
        self._schema = _SCHEMA
        self._schemas = {_SCHEMA: declaration}
        self._account = account
        self._clock = clock

    def put(self, time: float, values: list[float | None]) -> bool:
        """Takes in the round of `time` (s since the epoch). False where there is no room for it."""
        if len(self) >= MAX_ROUNDS:
            return False
        self._keep(time, values)
        return True

    def after(self, seq: int) -> Iterator[Round]:
        """As of any outbox; what is handed out counts as sent."""
        newer: list[Round] = []
        for kept in reversed(self._rounds):  # mostly the last one only
            if kept.seq <= seq:
                break
            newer.append(kept)
        now = self._clock.seconds()
        for kept in reversed(newer):
            self._account.sent(kept.seq, now)
            yield kept

    def confirm(self, seq: int) -> None:
        """Does nothing if it cannot be so: the rounds are sent again, and the account tells."""
        if self._account.acknowledge(seq, self._clock.seconds()):
            super().confirm(seq)

    def refuse(self, seq: int) -> None:
        if self._account.refuse(seq):
            super().refuse(seq)


class _Link(AgentLink):
    """The link of one agent among many: one timer and one voice in the log for all of them."""

    def __init__(self, fleet: "SimulatedAgents", hello: Hello, outbox: CheckedOutbox) -> None:
        super().__init__(fleet.endpoint, fleet.shown, hello, outbox, fleet.clock, fleet.wall)
        self._fleet = fleet
        self._log = fleet.log

    def _protocol(self) -> LinkProtocol:
        protocol = LinkProtocol(self._hello, self._outbox, self._clock, self._wall, self._fleet.beats)
        protocol._log = self._log
        return protocol

    async def _prepare(self, protocol: LinkProtocol) -> None:
        await super()._prepare(protocol)
        self._fleet.tally.connect()
        protocol.whenDisconnected().addCallback(lambda _: self._fleet.tally.disconnect(bool(self.running)))


class SimulatedAgents(MultiService):
    """A service: all agents of a fleet, connected while it runs. The order of `hellos` is that of their numbers."""

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        shown: str,
        hellos: Sequence[Hello],
        metrics: list[str],
        tally: Tally,
        beats: MakeBeats,
        log: Logger,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`shown` names the collector in `log`; `beats` makes what calls for signs of life."""
        super().__init__()
        self.endpoint = Paced(endpoint, MAX_CONNECTING)
        self.shown = shown
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
    """An endpoint that makes some connections at once, and lets the others wait for their turn."""

    def __init__(self, endpoint: IStreamClientEndpoint, most: int) -> None:
        self._endpoint = endpoint
        self._places = DeferredSemaphore(most)

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
