"""Tests for `perfmon.net.agent_link` and `perfmon.net.servers`: the way from one collector to another."""

from perfmon.net.agent_link import WELCOME_TIMEOUT
from tests.logs import logged
from tests.net.link_case import NOW, WELCOME, LinkCase
from tests.net.recording import MemoryEndpoint


class SeveralServersTests(LinkCase):
    def setUp(self) -> None:
        super().setUp()
        self.other = MemoryEndpoint(self.clock)

    def start_both(self) -> None:
        self.link = self.make_link(("one:9000", self.endpoint), ("two:9000", self.other))
        self.start()

    def wait_for(self, endpoint: MemoryEndpoint, peers: int) -> None:
        for _ in range(200):
            if len(endpoint.peers) == peers:
                return
            self.clock.advance(0.1)
        raise AssertionError("no attempt within 20 s")

    def stop(self) -> None:
        super().stop()
        self.assertEqual([peer for peer in self.other.peers if not peer.ended], [])

    def test_first(self) -> None:
        """The first that is named is the first that is tried, and the only one as long as it serves."""
        self.start_both()
        peer = self.welcomed()
        for _ in range(20):
            self.clock.advance(5)
            for beat in peer.received():
                peer.send({"type": "echo", "time": beat["time"], "at": NOW})
        self.assertEqual((self.endpoint.attempts, self.other.attempts), (1, 0))

    def test_unreachable_first(self) -> None:
        """One that cannot be reached is left for the next within a moment, with what waits for it."""
        self.endpoint.problem = OSError("connection refused")
        self.add({"cpu": 1.0})
        with logged() as log:
            self.start_both()
            self.clock.advance(0.1)
            (peer,) = self.other.peers
            peer.received()
            peer.send(WELCOME)
        self.assertEqual([message["type"] for message in peer.received()], ["heartbeat", "metrics", "samples"])
        self.assertEqual(log.warnings, ["no connection to one:9000: connection refused"])
        self.assertEqual(log.infos[-1], "connected to two:9000")

    def test_sticks(self) -> None:
        """The one that works is kept: after a lost connection it is the first to be tried."""
        self.endpoint.problem = OSError("connection refused")
        self.start_both()
        self.wait_for(self.other, 1)
        self.other.peers[0].send(WELCOME)
        self.endpoint.problem = None
        self.clock.advance(10)
        self.other.peers[0].drop()
        self.wait_for(self.other, 2)
        self.assertEqual(self.endpoint.peers, [])

    def test_not_welcome(self) -> None:
        """One that refuses the agent, or does not answer it, is left for the next."""
        self.start_both()
        self.peer.send({"type": "error", "reason": "wrong token"})
        self.wait_for(self.other, 1)
        self.clock.advance(WELCOME_TIMEOUT)
        self.assertTrue(self.other.peers[0].aborted)
        self.wait_for(self.endpoint, 2)

    def test_left(self) -> None:
        """One that gives no sign any more, or asks the agent to go, is left for the next."""
        self.start_both()
        self.welcomed()
        self.clock.pump([5.0] * 4)
        self.wait_for(self.other, 1)
        self.other.peers[0].send(WELCOME, {"type": "reconnect", "reason": "it stops"})
        self.wait_for(self.endpoint, 2)

    def test_all_away(self) -> None:
        """All are tried in turn, ever more rarely; the log has what is wrong with each once."""
        self.endpoint.problem, self.other.problem = OSError("connection refused"), OSError("no route to host")
        with logged() as log:
            self.start_both()
            self.clock.pump([0.1] * 300)
        self.assertEqual(
            log.warnings,
            ["no connection to one:9000: connection refused", "no connection to two:9000: no route to host"],
        )
        self.assertLess(self.endpoint.attempts + self.other.attempts, 20)
        self.assertLessEqual(abs(self.endpoint.attempts - self.other.attempts), 1)
