"""Tests for `perfmon.net.collector`: who may connect, and which protocol a connection speaks."""

from ipaddress import ip_network

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress

from perfmon.core import graphite, messages
from perfmon.core.messages import MAX_HELLO
from perfmon.core.presence import State
from perfmon.core.reject import BAD_LINE, LONG_LINE, NOT_ALLOWED
from perfmon.net.collector import FAREWELL, MAX_FAREWELLS, MUTE_TIMEOUT
from tests.net.case import HELLO, NOW, WELCOME, PortCase
from tests.net.recording import ELSEWHERE, LOOPBACK, Peer

LINE = b"web1.cpu 1 -1\n"
HEARTBEAT = {"type": "heartbeat", "time": NOW}


def v6(host: str) -> IPv6Address:
    return IPv6Address("TCP", host, 50_000)


class FirstByteTests(PortCase):
    def test_message(self) -> None:
        """A first byte of { means perfmon's own protocol, even if it comes alone."""
        peer = self.connect()
        peer.send(b"{")
        peer.send(b'"type":"hello","protocol":1,"host":"web1"}\n')
        self.assertEqual(peer.received(), [WELCOME])

    def test_line(self) -> None:
        """Any other first byte means Graphite, even if it comes alone."""
        for first in range(len(LINE)):
            peer = self.connect()
            peer.send(LINE[: first + 1])
            peer.send(LINE[first + 1 :] or LINE)
            peer.drop()
            self.assertIn(("web1", "cpu", NOW, 1.0), self.intake.samples())
            self.intake.columns.clear()

    def test_decided_once(self) -> None:
        """What a connection speaks stays decided: neither may come in the other's stream."""
        peer = self.connect()
        peer.send(LINE)
        peer.send(HELLO)
        self.assertEqual((peer.value(), self.refusals.reasons, peer.closed), (b"", [BAD_LINE], False))
        agent = self.agent()
        agent.send(LINE)
        self.assert_refused(agent, "bad message")

    def test_nothing(self) -> None:
        """A connection that says nothing has no session, and ends without a trace."""
        peer = self.connect()
        self.assertEqual(len(self.factory.connections), 1)
        peer.drop()
        self.assertEqual((self.factory.connections, self.refusals.noted, self.clock.getDelayedCalls()), (set(), [], []))


class GraphiteFromTests(PortCase):
    def taken(self, address: IAddress) -> bool:
        """Whether Graphite lines from `address` are taken; where not, the connection is closed and that is noted."""
        peer = self.connect(address)
        peer.send(LINE)
        taken = bool(self.intake.columns)
        self.intake.columns.clear()
        self.assertEqual(peer in [one.transport for one in self.factory.connections], taken)
        self.assertEqual(
            [(one.reason, to) for one, to in self.refusals.noted], [] if taken else [(NOT_ALLOWED, address)]
        )
        if not taken:
            self.assertIn("--graphite-from", self.refusals.noted[0][0].detail)
            self.assert_turned_away(
                peer, "Graphite lines are taken from this machine and the networks of --graphite-from"
            )
        self.assertEqual(peer.value(), b"")
        self.refusals.noted.clear()
        peer.drop()
        return taken

    def test_this_machine(self) -> None:
        """Without being told otherwise Graphite lines are taken from this machine only."""
        for address, taken in (
            (LOOPBACK, True),
            (IPv4Address("TCP", "127.8.8.8", 1), True),
            (v6("::1"), True),
            (v6("::ffff:127.0.0.1"), True),
            (UNIXAddress("/run/other"), True),
            (UNIXAddress(None), True),
            (ELSEWHERE, False),
            (IPv4Address("TCP", "10.0.0.1", 1), False),
            (v6("2001:db8::1"), False),
            (v6("fe80::1%eth0"), False),
            (v6("::ffff:10.0.0.1"), False),
        ):
            self.assertEqual(self.taken(address), taken, address)

    def test_networks(self) -> None:
        """The networks of --graphite-from may send, also where their IPv4 addresses come as IPv6 ones."""
        networks = [ip_network(text) for text in ("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32", "fe80::/10")]
        self.port(graphite_from=networks)
        for address, taken in (
            (LOOPBACK, True),
            (IPv4Address("TCP", "10.1.2.3", 1), True),
            (v6("::ffff:10.1.2.3"), True),
            (ELSEWHERE, True),
            (IPv4Address("TCP", "192.0.2.8", 1), False),
            (v6("::ffff:192.0.2.8"), False),
            (v6("2001:db8:1::1"), True),
            (v6("2001:db9::1"), False),
            (v6("fe80::1%eth0"), True),
        ):
            self.assertEqual(self.taken(address), taken, address)

    def test_agents_from_everywhere(self) -> None:
        """Agents have a token: they may come from everywhere."""
        peer = self.connect(ELSEWHERE)
        peer.send(HELLO)
        self.assertEqual(peer.received(), [WELCOME])


class ConnectionTests(PortCase):
    def test_mute(self) -> None:
        """A connection that never sends a byte is closed after a while; one that has spoken may be quiet."""
        mute, quiet = self.connect(), self.connect()
        quiet.send(LINE)
        self.clock.advance(MUTE_TIMEOUT - 0.1)
        self.assertEqual((mute.closed, quiet.closed), (False, False))
        self.clock.advance(0.2)
        self.assertEqual((mute.closed, quiet.closed), (True, False))

    def test_most(self) -> None:
        """One connection more than there may be is told so and refused; there is room again when one has ended."""
        self.port(max_connections=2)
        first, _, third = self.connect(), self.connect(), self.connect()
        self.assertEqual((len(self.factory.connections), self.refusals.reasons), (2, [NOT_ALLOWED]))
        self.assertIn("all 2 connections are taken (--max-connections)", self.refusals.noted[0][0].detail)
        self.assert_turned_away(third, "all 2 connections are taken (--max-connections)")
        self.assert_turned_away(self.connect(), "all 2 connections are taken (--max-connections)")
        first.drop()
        fourth = self.connect()
        fourth.send(HELLO)
        self.assertEqual(fourth.received(), [WELCOME])

    def test_turned_away(self) -> None:
        """A peer that was turned away is not listened to any more, and may go before it is cut off."""
        self.port(max_connections=0)
        stubborn, sensible = self.connect(), self.connect()
        stubborn.send(HELLO, LINE)
        sensible.drop()
        self.assertEqual(len(self.factory.leaving), 1)
        self.clock.advance(FAREWELL - 0.1)
        stubborn.send(b"x" * 100_000)
        self.assertFalse(stubborn.closed)
        self.clock.advance(0.2)
        self.assertEqual((stubborn.aborted, sensible.aborted), (True, False))
        self.assertEqual(
            (self.intake.samples(), self.presence.signs, self.refusals.reasons), ([], [], [NOT_ALLOWED] * 2)
        )

    def test_turned_away_in_crowds(self) -> None:
        """More than so many have no time to go: they are closed when they were told, and hold nothing."""
        self.port(max_connections=0)
        peers = [self.connect() for _ in range(MAX_FAREWELLS + 2)]
        self.assertEqual([peer.closed for peer in peers], [False] * MAX_FAREWELLS + [True] * 2)
        self.assertEqual(len({peer.value() for peer in peers}), 1)
        self.clock.advance(0)
        peers[0].drop()
        self.assertFalse(self.connect().closed, "there is time again")
        self.assertEqual(len(self.factory.leaving), MAX_FAREWELLS)

    def test_stop_while_leaving(self) -> None:
        """When the port closes, those that were turned away go as well."""
        self.port(max_connections=0)
        peer = self.connect()
        self.factory.stopFactory()
        self.assertTrue(peer.closed)

    def test_unfinished(self) -> None:
        """Of what has no end yet a connection keeps no more than a line may have, whatever it speaks, and says why."""
        stranger, known, sender = self.connect(), self.agent(host="web2"), self.connect()
        stranger.send(b'{"type":"hello",' + b" " * (MAX_HELLO - 16))
        self.assertFalse(stranger.closed)
        stranger.send(b" ")
        self.assert_refused(stranger, f"line over {MAX_HELLO} bytes")
        known.send(b"{" + b" " * MAX_HELLO)
        known.send(b" " * (messages.MAX_LINE - MAX_HELLO - 1))
        self.assertFalse(known.closed)
        known.send(b" ")
        self.assert_refused(known, f"line over {messages.MAX_LINE} bytes")
        for _ in range(3):
            sender.send(b"x" * graphite.MAX_LINE)
        self.assertEqual(self.refusals.reasons, [BAD_LINE, BAD_LINE, LONG_LINE])
        sender.send(b"\n" + LINE)
        self.assertEqual((len(self.intake.samples()), sender.closed), (1, False))

    def test_options_of_sockets(self) -> None:
        """A TCP connection is told to notice a dead peer and to send acks at once."""
        told = []

        class Socket(Peer):
            def setTcpKeepAlive(self, on: bool) -> None:
                told.append(("keepalive", on))

            def setTcpNoDelay(self, on: bool) -> None:
                told.append(("nodelay", on))

        Socket(self.factory.buildProtocol(LOOPBACK), self.clock)
        self.assertEqual(told, [("keepalive", True), ("nodelay", True)])

    def test_pause(self) -> None:
        """Graphite senders, which have no acks, are paused with the intake and go on with it."""
        peer = self.connect()
        peer.send(LINE)
        self.intake.pause()
        self.assertEqual(peer.producerState, "paused")
        self.intake.resume()
        self.assertEqual(peer.producerState, "producing")
        peer.drop()
        self.intake.pause()

    def test_new_while_paused(self) -> None:
        """A Graphite sender that comes while the intake is paused waits after its first read."""
        self.intake.pause()
        peer = self.connect()
        self.assertEqual(peer.producerState, "producing")
        peer.send(LINE)
        self.assertEqual(peer.producerState, "paused")
        self.assertEqual(len(self.intake.samples()), 1)

    def test_stop(self) -> None:
        """When the port closes so do its connections, those over TLS included, which wait for their producers."""
        peers = [self.connect(), self.agent()]
        silent = self.connect()
        peers[0].send(LINE)
        self.factory.stopFactory()
        self.assertEqual([peer.closed for peer in (*peers, silent)], [True] * 3)
        self.assertEqual([peer.producer for peer in (*peers, silent)], [None] * 3)

    def test_departed(self) -> None:
        """The connection of a host that has departed is dead, and is ended; other changes leave it alone."""
        peer, other = self.agent(), self.agent(host="web2")
        for state in (State.UP, State.LATE, State.LEFT, State.SILENT):
            self.factory.hostChanged("web1", state)
        self.factory.hostChanged("web3", State.DEPARTED)
        self.assertFalse(peer.closed)
        self.factory.hostChanged("web1", State.DEPARTED)
        self.assertEqual((peer.aborted, other.closed), (True, False))

    def test_apart(self) -> None:
        """What one peer does wrong is not felt by another."""
        good, bad = self.agent(), self.agent(host="web2")
        bad.send(b"nonsense\n")
        self.clock.advance(0)
        good.send(HEARTBEAT)
        self.assertEqual([message["type"] for message in good.received()], ["echo"])
        self.assertEqual(list(self.factory.agents), ["web1"])
