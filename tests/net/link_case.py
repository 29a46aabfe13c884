"""What the tests of `perfmon.net.agent_link` have in common: a link to a collector in memory."""

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.messages import Hello
from perfmon.net.agent_link import AgentLink
from perfmon.net.servers import Servers
from tests.net.recording import MemoryEndpoint, Peer, RecordingBenchmarks, RecordingControls
from tests.services.spools import make_outbox

NOW = 1_800_000_000.0
HELLO = {"type": "hello", "protocol": 1, "host": "web1", "instance": "one", "interval": 10.0, "token": "secret"}
WELCOME = {"type": "welcome", "protocol": 1, "heartbeat": 5.0, "timeout": 15.0}


def metrics(id: int, *names: str) -> dict[str, Any]:
    return {"type": "metrics", "id": id, "names": list(names)}


def samples(seq: int, values: list[float], id: int = 1, sampled: int = 0) -> dict[str, Any]:
    """The round that was sampled as the first, second ...; by default that is also its seq."""
    return {"type": "samples", "seq": seq, "id": id, "time": NOW + (sampled or seq), "values": values}


def ack(seq: int) -> dict[str, Any]:
    return {"type": "ack", "seq": seq}


class LinkCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint(self.clock)
        self.outbox = make_outbox(self, self.clock)
        self.sampled = 0
        self.link = self.make_link(("monitor:9000", self.endpoint))

    def make_link(self, *servers: tuple[str, MemoryEndpoint]) -> AgentLink:
        hello = Hello(1, "web1", instance="one", token="secret")
        self.controls = RecordingControls(10.0)
        self.benchmarks = RecordingBenchmarks()
        link = AgentLink(
            *(Servers(servers), hello, self.outbox, self.controls, self.benchmarks, self.clock),
            lambda: NOW + self.clock.seconds(),
        )
        self.outbox.listen(link.send)
        return link

    def start(self) -> None:
        self.link.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Leaves no timer and no connection behind."""
        stopped = self.link.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([peer for peer in self.endpoint.peers if not peer.ended], [])

    @property
    def peer(self) -> Peer:
        """The newest connection, from the collector's side."""
        return self.endpoint.peers[-1]

    def welcomed(self) -> Peer:
        """The newest connection after its welcome; the hello was read."""
        self.peer.received()
        return self.welcome()

    def welcome(self, **others: Any) -> Peer:
        """Welcomes the newest connection; what it says then, but for its first heartbeat, is to be read."""
        self.peer.send(WELCOME | others)
        self.assertEqual([message["type"] for message in self.peer.received(1)], ["heartbeat"])
        return self.peer

    def next(self) -> Peer:
        """The next connection, after the pause."""
        before = len(self.endpoint.peers)
        for _ in range(200):
            self.clock.advance(0.1)
            if len(self.endpoint.peers) > before:
                return self.peer
        raise AssertionError("no attempt within 20 s")

    def reconnected(self) -> Peer:
        """The next connection after its welcome; the hello was read."""
        self.next()
        return self.welcomed()

    def add(self, *rounds: dict[str, float]) -> None:
        """Samples rounds, a second after each other."""
        for values in rounds:
            self.sampled += 1
            self.outbox.add(NOW + self.sampled, values)
