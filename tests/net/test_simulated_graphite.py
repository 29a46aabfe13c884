"""Tests for `perfmon.net.simulated_graphite`, with a collector in memory."""

import numpy as np
from twisted.internet.task import Clock
from twisted.logger import Logger
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.rota import Turn
from perfmon.core.tally import Tally
from perfmon.net.simulated_graphite import CLOSE_TIMEOUT, CONNECTIONS, MAX_WAITING, SimulatedGraphite
from tests.net.recording import MemoryEndpoint, quiet

NOW = 1_800_000_000.0


class SimulatedGraphiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint(self.clock)
        self.tally = Tally()

    def start(self, hosts: int = 6) -> None:
        log = Logger(observer=quiet)
        names = [f"sim{number}" for number in range(hosts)]
        self.fleet = SimulatedGraphite(
            self.endpoint, "monitor:9000", names, ["cpu;state=user", "load"], self.tally, log, self.clock
        )
        self.fleet.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Leaves no timer and no connection behind."""
        if self.fleet.running:
            stopped = self.fleet.stopService()
            self.clock.advance(0)
            self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([peer for peer in self.endpoint.peers if not peer.ended], [])

    def sample(self, *numbers: int) -> None:
        turn = Turn(np.array(numbers, np.int64), np.full(len(numbers), NOW + 0.5), 0)
        self.fleet.send(turn, [[float(number), 0.25] for number in numbers])

    def test_lines(self) -> None:
        """A round is a line for each metric, with its host as a tag; hosts share a few connections."""
        self.start()
        self.assertEqual(len(self.endpoint.peers), CONNECTIONS)
        self.sample(0, 1, CONNECTIONS)
        self.assertEqual(
            self.endpoint.peers[0].value().decode().splitlines(),
            [
                "cpu;state=user;host=sim0 0.0 1800000000.500",
                "load;host=sim0 0.25 1800000000.500",
                f"cpu;state=user;host=sim{CONNECTIONS} {CONNECTIONS}.0 1800000000.500",
                f"load;host=sim{CONNECTIONS} 0.25 1800000000.500",
            ],
        )
        self.assertEqual(len(self.endpoint.peers[1].value().splitlines()), 2)
        self.assertEqual((self.tally.sampled, self.tally.sent), (3, 3))
        self.assertTrue(self.fleet.settled)

    def test_few_hosts(self) -> None:
        """There are no more connections than hosts."""
        self.start(hosts=2)
        self.assertEqual(len(self.endpoint.peers), 2)

    def test_collector_away(self) -> None:
        """While nobody is there rounds wait, and are sent when somebody is."""
        self.endpoint.problem = ConnectionRefusedError("no")
        self.start(hosts=1)
        self.sample(0, 0)
        self.assertEqual((self.tally.sampled, self.tally.sent), (2, 0))
        self.assertFalse(self.fleet.settled)
        self.endpoint.problem = None
        self.clock.advance(0.1)
        self.assertEqual(len(self.endpoint.peers[0].value().splitlines()), 4)
        self.assertTrue(self.fleet.settled)

    def test_slow_collector(self) -> None:
        """What a connection does not take waits, as much as there is room for; the rest is left out."""
        self.start(hosts=1)
        (peer,) = self.endpoint.peers
        assert peer.producer is not None
        peer.producer.pauseProducing()
        self.sample(*[0] * (MAX_WAITING + 2))
        self.assertEqual((peer.value(), self.tally.sent, self.tally.left_out), (b"", 0, 2))
        peer.producer.resumeProducing()
        self.assertEqual(len(peer.value().splitlines()), 2 * MAX_WAITING)
        self.assertEqual(self.tally.sent, MAX_WAITING)

    def test_lost(self) -> None:
        """A connection that is lost is made again, and counted: what was under way may be lost with it."""
        self.start(hosts=1)
        (peer,) = self.endpoint.peers
        assert peer.producer is not None
        peer.producer.pauseProducing()
        peer.drop()
        self.sample(0)
        self.assertEqual((self.tally.lost, self.tally.connected), (1, 0))
        self.clock.advance(0.1)
        self.assertEqual(len(self.endpoint.peers[1].value().splitlines()), 2)
        self.assertEqual((self.tally.connected, self.tally.most_connected), (1, 1))

    def test_end(self) -> None:
        """At the end connections are closed, not cut; that is no lost one."""
        self.start(hosts=1)
        stopped = self.fleet.stopService()
        self.assertNoResult(stopped)
        self.clock.advance(0)
        self.successResultOf(stopped)
        (peer,) = self.endpoint.peers
        self.assertFalse(peer.aborted)
        self.assertIsNone(peer.producer)
        self.assertEqual((self.tally.lost, self.tally.connected), (0, 0))

    def test_stuck_at_the_end(self) -> None:
        """One that does not take what was written to it is cut off after a while, and that is a loss."""
        self.start(hosts=1)
        (peer,) = self.endpoint.peers
        self.patch(peer, "loseConnection", lambda: None)
        stopped = self.fleet.stopService()
        self.clock.advance(CLOSE_TIMEOUT - 0.1)
        self.assertNoResult(stopped)
        self.patch(peer, "abortConnection", peer.drop)
        self.clock.advance(0.1)
        self.successResultOf(stopped)
        self.assertEqual(self.tally.lost, 1)
