"""What the tests of port 9000 have in common: a collector's port in memory, and peers that connect to it."""

from typing import Any

from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.tiers import RAW
from perfmon.net.agent_session import AgentSession
from perfmon.net.collector import FAREWELL, CollectorFactory, PortSettings
from perfmon.net.seams import Surroundings
from tests.net.recording import (
    LOOPBACK,
    Peer,
    RecordingControl,
    RecordingGaps,
    RecordingIntake,
    RecordingPresence,
    RecordingRefusals,
    RecordingRuns,
)

NOW = 1_800_000_000.0
HELLO = {"type": "hello", "protocol": 1, "host": "web1", "instance": "one"}
WELCOME = {"type": "welcome", "protocol": 1, "heartbeat": 5.0, "timeout": 15.0}
CPU = {"type": "metrics", "id": 1, "names": ["cpu", "load"]}


def hello(**others: Any) -> dict[str, Any]:
    return HELLO | others


def samples(seq: int, values: list[float | None], time: float = NOW, id: int = 1) -> dict[str, Any]:
    return {"type": "samples", "seq": seq, "id": id, "time": time, "values": values}


def ack(seq: int) -> dict[str, Any]:
    return {"type": "ack", "seq": seq}


class PortCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = RecordingIntake()
        self.presence = RecordingPresence()
        self.refusals = RecordingRefusals()
        self.gaps = RecordingGaps()
        self.control = RecordingControl()
        self.runs = RecordingRuns()
        self.factory = self.port()
        self.addCleanup(self.assert_nothing_due)

    def assert_nothing_due(self) -> None:
        """A test that drops its peers leaves no timer behind."""
        self.clock.advance(0)
        for connection in [*self.factory.connections, *self.factory.leaving]:
            connection.transport.drop()  # type: ignore[attr-defined]  # a Peer
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual((self.factory.connections, self.factory.leaving), (set(), set()))
        self.assertEqual((self.factory.agents, self.intake.sources), ({}, set()))
        self.assertEqual((self.control.here, self.runs.here), ({}, {}))

    def port(self, **settings: Any) -> CollectorFactory:
        self.factory = CollectorFactory(
            PortSettings(**settings),
            Surroundings(
                *(self.intake, self.presence, self.refusals, self.gaps, self.control, self.runs),
                *(self.clock, self.wall, RAW.retention),
            ),
        )
        return self.factory

    def wall(self) -> float:
        return NOW + self.clock.seconds()

    def connect(self, address: IAddress = LOOPBACK) -> Peer:
        return Peer(self.factory.buildProtocol(address), self.clock, address)

    def agent(self, **others: Any) -> Peer:
        """An agent that has been welcomed."""
        peer = self.connect()
        peer.send(hello(**others))
        self.assertEqual(peer.received(), [WELCOME])
        return peer

    def session(self, host: str = "web1") -> AgentSession:
        return self.factory.agents[host]

    def assert_turned_away(self, peer: Peer, reason: str) -> None:
        """The peer was told why, in an error, has a moment to go, and is then cut off."""
        (message,) = peer.received()
        self.assertEqual(message["type"], "error")
        self.assertIn(reason, message["reason"])
        self.assertEqual((peer.closed, len(self.factory.leaving)), (False, 1))
        self.clock.advance(FAREWELL)
        self.clock.advance(0)
        self.assertEqual((peer.aborted, peer.ended, self.factory.leaving), (True, True, set()))

    def assert_refused(self, peer: Peer, reason: str) -> None:
        """The agent was told why, in an error, and nothing else; the connection was closed."""
        (message,) = peer.received()
        self.assertEqual(message["type"], "error")
        self.assertIn(reason, message["reason"])
        self.assertTrue(peer.closed)
