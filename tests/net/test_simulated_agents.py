"""Tests for `perfmon.net.simulated_agents`, with a collector in memory."""

from typing import Any

import numpy as np
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.messages import Hello
from perfmon.core.rota import Turn
from perfmon.core.tally import Tally
from perfmon.net import simulated_agents
from perfmon.net.agent_link import WELCOME_TIMEOUT, own_timer
from perfmon.net.simulated_agents import MAX_ROUNDS, MAX_UNDER_WAY, SimulatedAgents
from tests.net.recording import MemoryEndpoint, Peer, quiet

NOW = 1_800_000_000.0
MOST = 5  # connections under way at once
WELCOME = {"type": "welcome", "protocol": 1, "heartbeat": 5.0, "timeout": 15.0}
METRICS = {"type": "metrics", "id": 1, "names": ["cpu", "load"]}


def ack(seq: int) -> dict[str, Any]:
    return {"type": "ack", "seq": seq}


class AgentsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint(self.clock)
        self.tally = Tally()
        self.patch(simulated_agents, "MAX_CONNECTING", MOST)

    def start(self, agents: int = 2) -> None:
        self.agents = SimulatedAgents(
            [("monitor:9000", self.endpoint)],
            [Hello(1, f"sim{number}") for number in range(agents)],
            ["cpu", "load"],
            self.tally,
            own_timer,
            Logger(observer=quiet),
            self.clock,
            lambda: NOW + self.clock.seconds(),
        )
        self.agents.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Leaves no timer and no connection behind."""
        if self.agents.running:
            stopped = self.agents.stopService()
            self.clock.advance(0)
            self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([peer for peer in self.endpoint.peers if not peer.ended], [])
        self.assertEqual(self.tally.connected, 0)

    def welcomed(self) -> list[Peer]:
        """All open connections, the newest of each; their hellos were read."""
        peers = [peer for peer in self.endpoint.peers if not peer.ended]
        for peer in peers:
            (hello,) = peer.received()
            self.assertEqual(hello["type"], "hello")
            peer.send(WELCOME)
            self.assertEqual([message["type"] for message in peer.received(1)], ["heartbeat"])
        return peers

    def sample(self, *numbers: int) -> None:
        """A round of each agent; the values are its number and the time."""
        now = self.clock.seconds()
        turn = Turn(np.array(numbers, np.int64), np.full(len(numbers), NOW + now), 0)
        self.agents.send(turn, [[float(number), now] for number in numbers])

    def seqs(self, peer: Peer) -> list[int]:
        return [message["seq"] for message in peer.received() if message["type"] == "samples"]


class SimulatedAgentsTests(AgentsCase):
    def test_conversation(self) -> None:
        """Each agent says who it is, declares its metrics once, and sends its own rounds."""
        self.start()
        hosts = [message["host"] for peer in self.endpoint.peers for message in peer.received()]
        self.assertEqual(hosts, ["sim0", "sim1"])
        for peer in self.endpoint.peers:
            peer.send(WELCOME)
            peer.received()
        self.sample(1, 0)
        self.sample(1)
        sample = {"type": "samples", "id": 1, "time": int(NOW)}
        first, second = (peer.received() for peer in self.endpoint.peers)
        self.assertEqual(first, [METRICS, sample | {"seq": 1, "values": [0.0, 0.0]}])
        self.assertEqual(
            second, [METRICS, sample | {"seq": 1, "values": [1.0, 0.0]}, sample | {"seq": 2, "values": [1.0, 0.0]}]
        )
        self.assertEqual((self.tally.sampled, self.tally.sent, self.tally.connected), (3, 3, 2))

    def test_acknowledged(self) -> None:
        """What is acknowledged counts for its agent, with the time it took, and settles the matter."""
        self.start()
        one, other = self.welcomed()
        self.sample(0, 1)
        self.sample(1)
        self.assertFalse(self.agents.settled)
        self.clock.advance(0.25)
        one.send(ack(1))
        other.send(ack(2))
        self.assertEqual(self.agents.acknowledged, [1, 2])
        self.assertTrue(self.agents.settled)
        self.assertAlmostEqual(self.tally.latencies.mean, 0.25)

    def test_wrong_acks(self) -> None:
        """Acknowledgements of what was not sent, or once more, are counted, and the rounds stay where they are."""
        self.start(1)
        (peer,) = self.welcomed()
        self.sample(0)
        self.sample(0)
        for seq in (3, 1, 1, 0):
            peer.send(ack(seq))
        self.assertEqual((self.tally.wrong_acks, self.tally.acknowledged, self.tally.unacknowledged), (3, 1, 1))
        peer.drop()
        self.clock.advance(0.1)
        (again,) = self.welcomed()
        self.assertEqual(self.seqs(again), [2], "it was never acknowledged")

    def test_refused(self) -> None:
        """A refused round is not sent again; a refusal of something else is wrong."""
        self.start(1)
        (peer,) = self.welcomed()
        self.sample(0)
        self.sample(0)
        peer.send({"type": "refused", "seq": 1, "reason": "no"}, {"type": "refused", "seq": 9, "reason": "no"})
        self.assertEqual((self.tally.refused, self.tally.wrong_acks, self.tally.unacknowledged), (1, 1, 1))
        peer.drop()
        self.clock.advance(0.1)
        (again,) = self.welcomed()
        self.assertEqual(self.seqs(again), [2])

    def test_reconnect(self) -> None:
        """After a reconnect what was not acknowledged is repeated, in order, and counted as that."""
        self.start(1)
        (peer,) = self.welcomed()
        for _ in range(3):
            self.sample(0)
        peer.send(ack(1))
        peer.drop()
        self.sample(0)
        self.assertEqual((self.tally.connected, self.tally.most_connected, self.tally.lost), (0, 1, 1))
        self.clock.advance(0.1)
        (again,) = self.welcomed()
        self.assertEqual(self.seqs(again), [2, 3, 4])
        again.send(ack(4))
        self.assertEqual((self.tally.sent, self.tally.repeated, self.tally.acknowledged), (4, 2, 4))
        self.assertEqual(self.tally.wrong_acks, 0)

    def test_collector_away(self) -> None:
        """While no collector is there attempts go on ever more rarely, and rounds wait."""
        self.endpoint.problem = ConnectionRefusedError("no")
        self.start(1)
        self.sample(0)
        for _ in range(600):
            self.clock.advance(0.1)
        self.assertIn(self.endpoint.attempts, range(8, 26))
        self.assertEqual((self.tally.sent, self.tally.unacknowledged, self.tally.most_connected), (0, 1, 0))
        self.endpoint.problem = None
        for _ in range(160):
            if not self.endpoint.peers:
                self.clock.advance(0.1)
        (peer,) = self.welcomed()
        self.assertEqual(self.seqs(peer), [1])

    def test_no_room(self) -> None:
        """An agent keeps as many rounds as a real one; further ones are left out, and none is lost."""
        self.start(1)
        for _ in range(MAX_ROUNDS + 3):
            self.sample(0)
        self.assertEqual((self.tally.sampled, self.tally.left_out), (MAX_ROUNDS, 3))
        (peer,) = self.welcomed()
        for first in range(1, MAX_ROUNDS, MAX_UNDER_WAY):
            self.assertEqual(self.seqs(peer), list(range(first, first + MAX_UNDER_WAY)))
            peer.send(ack(first + MAX_UNDER_WAY - 1))
        self.assertTrue(self.agents.settled)

    def test_sent_again(self) -> None:
        """What the collector had no room for is sent again when it asks for that, and counted as repeated."""
        self.start(1)
        (peer,) = self.welcomed()
        for _ in range(3):
            self.sample(0)
        peer.received()
        peer.send(ack(1), {"type": "resend", "seq": 2})
        self.assertEqual(self.seqs(peer), [2, 3])
        peer.send(ack(3))
        self.assertEqual((self.tally.sent, self.tally.repeated, self.tally.wrong_acks), (3, 2, 0))
        self.assertTrue(self.agents.settled)

    def test_stopped(self) -> None:
        """An agent that is stopped samples no more, until it is told to begin again; the others do."""
        self.start()
        one, other = self.welcomed()
        one.send({"type": "stop"}, {"type": "interval", "interval": 5.0})
        self.sample(0, 1)
        stopped = {"type": "sampling", "stopped": True, "interval": 0.0}
        self.assertEqual((one.received(), self.seqs(other)), ([stopped, stopped], [1]))
        one.send({"type": "start"})
        one.received()
        self.sample(0, 1)
        self.assertEqual((self.seqs(one), self.seqs(other)), ([1], [2]))
        self.assertEqual((self.tally.sampled, self.tally.left_out), (3, 0))

    def test_signs_of_life(self) -> None:
        """Heartbeats come as often as the collector has asked for; one that is silent is left."""
        self.start(1)
        (peer,) = self.welcomed()
        for _ in range(3):
            self.clock.advance(5)
        self.assertEqual([message["type"] for message in peer.received()], ["heartbeat"] * 3)
        self.clock.advance(5)
        self.assertTrue(peer.aborted)

    def test_goodbye(self) -> None:
        """At the end each agent says goodbye, which is no lost connection."""
        self.start()
        peers = self.welcomed()
        stopped = self.agents.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)
        for peer in peers:
            self.assertEqual(peer.received(), [{"type": "goodbye"}])
        self.assertEqual(self.tally.lost, 0)


class PacedTests(AgentsCase):
    def test_some_at_once(self) -> None:
        """Only so many connect at once; each that is welcomed lets the next one begin."""
        self.start(MOST + 3)
        self.assertEqual(len(self.endpoint.peers), MOST)
        self.endpoint.peers[2].send(WELCOME)
        self.assertEqual(len(self.endpoint.peers), MOST + 1)
        self.endpoint.peers[0].drop()
        self.assertEqual(len(self.endpoint.peers), MOST + 2, "a lost one too")
        for peer in self.endpoint.peers:
            peer.send(WELCOME) if not (peer.ended or peer is self.endpoint.peers[2]) else None
        self.clock.advance(0.1)
        self.assertEqual(len(self.endpoint.peers), MOST + 4, "all, and the lost one again")

    def test_failed(self) -> None:
        """Attempts that fail, or are never answered, leave their place to others."""
        self.endpoint.problem = ConnectionRefusedError("no")
        self.start(2 * MOST)
        self.assertEqual(self.endpoint.attempts, 2 * MOST)
        self.endpoint.problem = None
        self.clock.advance(0.1)
        self.assertEqual(len(self.endpoint.peers), MOST)
        self.clock.advance(WELCOME_TIMEOUT)
        self.clock.advance(0)
        self.assertEqual(len(self.endpoint.peers), 2 * MOST)

    def test_stopped_while_waiting(self) -> None:
        """The end does not wait for attempts, under way or not begun."""
        self.endpoint.hanging = Deferred()
        self.start(MOST + 5)
        self.successResultOf(self.agents.stopService())
