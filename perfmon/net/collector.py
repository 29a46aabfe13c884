"""Port 9000 from the collector's side: one connection, whose first byte tells which line protocol it speaks."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Protocol as Seam

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.messages import Error, encode
from perfmon.core.presence import State
from perfmon.core.reject import NOT_ALLOWED, Rejected
from perfmon.core.templates import DEFAULT_TEMPLATES, PathReader, Template
from perfmon.net.agent_session import AgentSession
from perfmon.net.graphite_session import GraphiteSession
from perfmon.net.seams import Surroundings
from perfmon.net.wire import Wire

Network = IPv4Network | IPv6Network

# A process gets 1,024 file descriptors by default on Linux; the collector raises that where it may.
# 20,000 agents are twice what one collector is measured with; each connection costs a few kilobytes.
MAX_CONNECTIONS = 20_000

# A connection that has never sent a byte is closed: it would hold its place for ever. Graphite senders may
# connect well before their first line, which comes within their interval, a minute or so.
MUTE_TIMEOUT = 300.0  # s

# A peer that is turned away has so long to read why, and to go. Were it closed at once, what it has sent and nobody has
# read would make the system reset the connection, and the reason could be lost on its way.
FAREWELL = 1.0  # s

# So many at once are given that time, for each holds a descriptor; more are closed as soon as the reason is sent.
MAX_FAREWELLS = 64

# Within so long all agents have introduced themselves once more to a store that was emptied: 20,000, 1,300 a second.
REINTRODUCED = 15.0  # s

# Most that is read of a Graphite sender at once. What waits of a busy one is many times Twisted's 64 KiB, and a line
# costs half as much in so large a piece.
GRAPHITE_READ = 512 << 10  # bytes


@dataclass(frozen=True, slots=True)
class PortSettings:
    """What the collector's port is told by the options."""

    token: str = ""  # agents must send it; empty: none is asked for
    heartbeat: float = 5.0  # s between an agent's signs of life
    timeout: float = 15.0  # s without one until it counts as departed
    templates: Sequence[Template] = DEFAULT_TEMPLATES
    graphite_from: Sequence[Network] = ()  # who may send Graphite, which has no token, beside this machine
    max_connections: int = MAX_CONNECTIONS


class Session(Seam):
    """What a connection hands its bytes to, once it is known what they are."""

    def feed(self, data: bytes) -> None: ...
    def hand_over(self) -> None:
        """Tells at once of whom it has heard, for nobody will listen any more."""

    def lost(self, why: str) -> None: ...


class _Deaf:
    """The session of a peer that was turned away: what it still sends is not kept."""

    def feed(self, data: bytes) -> None:
        pass

    def hand_over(self) -> None:
        pass

    def lost(self, why: str) -> None:
        pass


class CollectorConnection(Protocol):
    """One peer. It harms nobody else whatever it sends."""

    factory: "CollectorFactory"
    transport: Wire  # type: ignore[assignment]  # narrower than ITransport | None: set before any call

    def __init__(self) -> None:
        self._session: Session | None = None
        self._ending: IDelayedCall | None = None  # what ends a mute connection, or one that was turned away

    def connectionMade(self) -> None:
        problem = self.factory.admit(self)
        if problem is not None:
            self._turn_away(problem)
            return
        self._ending = self.factory.around.clock.callLater(MUTE_TIMEOUT, self.transport.loseConnection)
        for option in ("setTcpKeepAlive", "setTcpNoDelay"):  # not on a unix socket
            getattr(self.transport, option, lambda on: None)(True)

    def dataReceived(self, data: bytes) -> None:
        if self._session is None:
            self._stays()
            session = self.factory.session(self, data)
            if isinstance(session, str):
                self._turn_away(session)
                return
            self._session = session
        self._session.feed(data)

    def _turn_away(self, why: str) -> None:
        """Tells the peer, in a line that agents understand and others ignore, and ends the connection."""
        self._session = _Deaf()
        self.factory.refused(self, why)
        self.transport.write(encode(Error(why)))
        if self.factory.leaves(self):
            self._ending = self.factory.around.clock.callLater(FAREWELL, self.transport.abortConnection)
        else:
            self.transport.loseConnection()

    def _stays(self) -> None:
        if self._ending is not None and self._ending.active():
            self._ending.cancel()
        self._ending = None

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._stays()
        self.factory.around.intake.detach(self)
        self.factory.connections.discard(self)
        self.factory.leaving.discard(self)
        if self._session is not None:
            self._session.lost("connection closed" if reason.check(ConnectionDone) else "connection reset")

    def pause(self) -> None:
        self.transport.pauseProducing()

    def resume(self) -> None:
        self.transport.resumeProducing()

    def close(self) -> None:
        """Ends the connection when what was written to it has been sent."""
        if self._session is not None:
            self._session.hand_over()  # before it has ended, who is to be told may have stopped
        # TLS does not close a connection before its producer has finished
        self.transport.unregisterProducer()
        self.transport.loseConnection()


class CollectorFactory(Factory):
    """All connections of the collector."""

    noisy = False
    _log = Logger()

    def __init__(self, settings: PortSettings, around: Surroundings) -> None:
        self.settings = settings
        self.around = around
        self.connections: set[CollectorConnection] = set()
        self.leaving: set[CollectorConnection] = set()  # turned away, and not gone yet
        self.agents: dict[str, AgentSession] = {}
        self._paths = PathReader(settings.templates)

    def buildProtocol(self, addr: IAddress | None) -> CollectorConnection:  # type: ignore[override]  # see transport
        connection = CollectorConnection()
        connection.factory = self
        return connection

    def admit(self, connection: CollectorConnection) -> str | None:
        """Takes one more connection, or says why not."""
        if len(self.connections) >= self.settings.max_connections:
            return f"all {self.settings.max_connections} connections are taken (--max-connections)"
        self.connections.add(connection)
        return None

    def leaves(self, connection: CollectorConnection) -> bool:
        """A connection that was turned away is none any more; whether it may take its time to go."""
        self.connections.discard(connection)
        if len(self.leaving) >= MAX_FAREWELLS:
            return False
        self.leaving.add(connection)
        return True

    def refused(self, connection: CollectorConnection, why: str) -> None:
        self.around.refusals.note([Rejected(NOT_ALLOWED, why)], connection.transport.getPeer())

    def session(self, connection: CollectorConnection, data: bytes) -> Session | str:
        """The session for a connection whose first bytes are `data`, or why it gets none.

        A message of perfmon's own begins with ``{``.
        """
        transport = connection.transport
        if data.startswith(b"{"):
            return AgentSession(
                transport,
                self.settings.token,
                (self.settings.heartbeat, self.settings.timeout),
                self.agents,
                self.around,
            )
        if not self._may_send_graphite(transport.getPeer()):
            return "Graphite lines are taken from this machine and the networks of --graphite-from only"
        transport.bufferSize = GRAPHITE_READ  # type: ignore[attr-defined]  # TCP and unix sockets have it; TLS makes no use
        self.around.intake.attach(connection)  # has no acks, so what it sends waits in the socket
        return GraphiteSession(str(transport.getPeer()), self._paths, self.around)

    def _may_send_graphite(self, peer: IAddress) -> bool:
        host = getattr(peer, "host", None)
        if host is None:  # a unix socket: its file mode has decided
            return True
        address = ip_address(host.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        return mapped.is_loopback or any(mapped in network for network in self.settings.graphite_from)

    def stopFactory(self) -> None:
        """The port has closed: so do the connections. Agents are asked to look for a collector anew."""
        for agent in list(self.agents.values()):
            agent.dismiss("it stops")
        for connection in [*self.connections, *self.leaving]:
            connection.close()

    def storeEmptied(self) -> None:
        """What agents have said of themselves is lost: they are to say it once more, not all at once."""
        for agent in list(self.agents.values()):
            agent.invite("the store has lost its data", REINTRODUCED)

    def hostChanged(self, host: str, state: State) -> None:
        """A host that has departed while its connection stands: the connection is dead too."""
        agent = self.agents.get(host)
        if agent is not None and state in (State.DEPARTED, State.ABSENT):
            agent.abort()
