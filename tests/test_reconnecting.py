"""Tests for `perfmon.reconnecting`."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from perfmon.reconnecting import Reconnecting
from tests.net.recording import MemoryEndpoint

LONGEST = 10.0  # s


class Client(Protocol):
    """Tells of its end."""

    def __init__(self) -> None:
        self._ended: Deferred[None] = Deferred()
        self.prepared: Deferred[None] = Deferred()

    def whenDisconnected(self) -> Deferred[None]:
        return self._ended

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._ended.callback(None)


class ReconnectingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.endpoint = MemoryEndpoint(self.clock)
        self.clients: list[Client] = []
        self.notes: list[str] = []
        self.service: Reconnecting[Client] = Reconnecting(
            self.endpoint, self.build, self.prepare, self.notes.append, self.clock, LONGEST
        )

    def build(self) -> Client:
        self.clients.append(Client())
        return self.clients[-1]

    async def prepare(self, client: Client) -> None:
        self.assertIs(client, self.clients[-1])
        await client.prepared

    def start(self) -> None:
        self.service.startService()
        self.addCleanup(self.stop)

    def stop(self) -> None:
        """Ends it; no timer and no connection is left."""
        stopped = self.service.stopService()
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual([peer for peer in self.endpoint.peers if not peer.ended], [])

    def next(self) -> float:
        """Waits for the next attempt; returns how long that took (s)."""
        before, since = self.endpoint.attempts, self.clock.seconds()
        while self.endpoint.attempts == before:
            self.clock.advance(0.001)
            self.assertLess(self.clock.seconds() - since, 2 * LONGEST)
        return self.clock.seconds() - since

    def test_stays(self) -> None:
        """A good connection is kept, and no other is made."""
        self.start()
        self.clients[0].prepared.callback(None)
        self.clock.pump([LONGEST] * 10)
        self.assertEqual((self.endpoint.attempts, self.notes), (1, []))

    def test_comes_back(self) -> None:
        """A connection that was lost is made again within 50 ms."""
        self.start()
        self.clients[0].prepared.callback(None)
        self.clock.advance(LONGEST)
        self.endpoint.peers[0].drop()
        self.assertLess(self.next(), 0.06)
        self.assertEqual((len(self.clients), self.notes), (2, []))

    def test_failing_attempts(self) -> None:
        """Each failure of an attempt is told; the pauses grow up to the longest and differ from each other."""
        self.endpoint.problem = OSError("refused")
        self.start()
        pauses = [self.next() for _ in range(40)]
        self.assertEqual(set(self.notes), {"refused"})
        self.assertEqual(len(self.notes), 41)
        self.assertLess(pauses[0], 0.1)
        for pause in pauses[-20:]:
            self.assertTrue(LONGEST / 2 <= pause <= LONGEST + 0.01, pause)
        self.assertGreater(len({round(pause, 2) for pause in pauses[-20:]}), 10)

    def test_failing_preparation(self) -> None:
        """A connection whose preparation fails is closed and told of; another is tried."""
        self.start()
        for number in range(5):
            self.clients[-1].prepared.errback(ValueError(f"no {number}"))
            self.assertTrue(self.endpoint.peers[-1].aborted)
            self.next()
            self.assertTrue(self.endpoint.peers[number].ended)
        self.assertEqual(self.notes, [f"no {number}" for number in range(5)])
        self.clients[-1].prepared.callback(None)
        self.clock.pump([LONGEST] * 10)
        self.assertEqual(self.endpoint.attempts, 6)

    def test_lost_while_preparing(self) -> None:
        """A connection that ends before it is prepared is tried again, once."""
        self.start()
        client = self.clients[0]
        client.whenDisconnected().addCallback(lambda _: client.prepared.errback(OSError("lost")))
        self.endpoint.peers[0].drop()
        self.assertEqual(self.notes, ["lost"])
        self.next()
        self.clients[-1].prepared.callback(None)
        self.clock.pump([LONGEST] * 10)
        self.assertEqual(self.endpoint.attempts, 2)

    def test_short_connections(self) -> None:
        """Connections that end as soon as they are made are made more and more rarely."""
        self.start()
        pauses = []
        for _ in range(30):
            self.clients[-1].prepared.callback(None)
            self.endpoint.peers[-1].drop()
            pauses.append(self.next())
        self.assertLess(pauses[0], 0.1)
        self.assertGreater(pauses[-1], LONGEST / 2)

    def test_stop_connected(self) -> None:
        """Stopping closes the connection after what was written to it, and waits for its end."""
        self.service.startService()
        self.clients[0].prepared.callback(None)
        stopped = self.service.stopService()
        self.assertNoResult(stopped)
        self.assertEqual((self.endpoint.peers[0].closed, self.endpoint.peers[0].aborted), (True, False))
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_while_preparing(self) -> None:
        """Stopping ends a connection that is not prepared yet, and that is nothing to tell."""
        self.service.startService()
        self.stop()
        self.assertTrue(self.clients[0].prepared.called)
        self.assertEqual(self.notes, [])

    def test_stop_while_connecting(self) -> None:
        """Stopping ends an attempt under way, whatever its end is, and that is nothing to tell."""
        for canceller in (None, lambda attempt: attempt.errback(OSError("user aborted"))):
            self.endpoint.hanging = Deferred(canceller)
            self.service.startService()
            self.stop()
        self.assertEqual((self.notes, self.endpoint.attempts), ([], 2))

    def test_stop_between_attempts(self) -> None:
        """Stopping ends the pause between attempts."""
        self.endpoint.problem = OSError("refused")
        self.service.startService()
        self.stop()
        self.clock.advance(10 * LONGEST)
        self.assertEqual(self.endpoint.attempts, 1)

    def test_stop_unstarted(self) -> None:
        """What was never started is stopped at once."""
        self.successResultOf(self.service.stopService())

    def test_start_again(self) -> None:
        """After a stop it can be started again."""
        for _ in range(3):
            self.service.startService()
            self.clients[-1].prepared.callback(None)
            self.stop()
        self.assertEqual(self.endpoint.attempts, 3)

    def test_build_fails(self) -> None:
        """An attempt that fails in our own code is told, too, and tried again."""

        def broken() -> Any:
            raise RuntimeError("bug")

        service: Reconnecting[Any] = Reconnecting(
            self.endpoint, broken, self.prepare, self.notes.append, self.clock, LONGEST
        )
        service.startService()
        self.clock.advance(1)
        self.successResultOf(service.stopService())
        self.assertGreater(self.endpoint.attempts, 1)
        self.assertEqual(set(self.notes), {"bug"})
