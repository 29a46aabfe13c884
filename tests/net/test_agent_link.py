"""Tests for `perfmon.net.agent_link`, with a collector in memory."""

from perfmon.net.agent_link import WELCOME_TIMEOUT
from tests.logs import logged
from tests.net.link_case import HELLO, NOW, WELCOME, LinkCase, ack, metrics, samples


class AgentLinkTests(LinkCase):
    def test_hello_first(self) -> None:
        """The first line says who the agent is; nothing follows before the welcome."""
        self.add({"cpu": 1.0})
        self.start()
        self.assertEqual(self.peer.received(), [HELLO])
        self.add({"cpu": 2.0})
        self.assertEqual(self.peer.received(), [])
        self.welcome()
        self.assertEqual(self.peer.received(), [metrics(1, "cpu"), samples(1, [1.0])])
        self.peer.send(ack(1))
        self.assertEqual(self.peer.received(), [samples(2, [2.0])])

    def test_welcome_in_pieces(self) -> None:
        """A welcome may arrive in any pieces."""
        self.add({"cpu": 1.0})
        self.start()
        line = b'{"type":"welcome","protocol":1,"heartbeat":5,"timeout":15}\n'
        for byte in line:
            self.peer.send(bytes([byte]))
        self.assertEqual(
            [message["type"] for message in self.peer.received()], ["hello", "heartbeat", "metrics", "samples"]
        )

    def test_declared_once(self) -> None:
        """A schema is declared once on a connection, before its first round, and a new one when a metric appears."""
        self.start()
        peer = self.welcomed()
        self.add({"cpu": 1.0}, {"cpu": 2.0})
        self.add({"cpu": 3.0, "fan": 4.0})
        self.add({"cpu": 5.0, "fan": 6.0})
        self.assertEqual(
            peer.received(),
            [
                metrics(1, "cpu"),
                samples(1, [1.0]),
                samples(2, [2.0]),
                metrics(2, "cpu", "fan"),
                samples(3, [3.0, 4.0], id=2),
                samples(4, [5.0, 6.0], id=2),
            ],
        )

    def test_unconfirmed_again(self) -> None:
        """After a reconnect the rounds that were not confirmed are sent again, with their schema, and no others."""
        self.start()
        peer = self.welcomed()
        self.add({"cpu": 1.0}, {"cpu": 2.0}, {"cpu": 3.0})
        peer.received()
        peer.send({"type": "ack", "seq": 1})
        peer.drop()
        self.add({"cpu": 4.0})
        peer = self.reconnected()
        self.assertEqual(peer.received(), [metrics(1, "cpu"), samples(1, [2.0], sampled=2)])
        peer.send(ack(1))
        self.assertEqual(peer.received(), [samples(2, [3.0], sampled=3), samples(3, [4.0], sampled=4)])
        peer.send(ack(3))
        self.assertEqual(self.outbox.waiting, 0)

    def test_nothing_twice(self) -> None:
        """On one connection a round is sent once, confirmed or not."""
        self.start()
        peer = self.welcomed()
        self.add({"cpu": 1.0})
        peer.received()
        self.link.send()
        self.clock.advance(4)
        self.link.send()
        self.assertEqual(peer.received(), [])

    def test_refused_round(self) -> None:
        """A round that the collector refuses is forgotten, with a line in the log; the others are kept."""
        self.start()
        peer = self.welcomed()
        self.add({"cpu": 1.0}, {"cpu": 2.0})
        with logged() as log:
            peer.send({"type": "refused", "seq": 1, "reason": "time too old"})
        self.assertEqual(log.warnings, ["samples refused: time too old (1 rounds so far)"])
        peer.drop()
        self.assertEqual(self.reconnected().received(), [metrics(1, "cpu"), samples(1, [2.0], sampled=2)])

    def test_heartbeat(self) -> None:
        """Heartbeats carry the agent's clock, as often as the welcome said."""
        self.start()
        self.peer.received()
        self.peer.send(WELCOME | {"heartbeat": 2.0})
        self.assertEqual(self.peer.received(), [{"type": "heartbeat", "time": NOW}])
        self.clock.pump([1.0] * 5)
        self.assertEqual(
            self.peer.received(), [{"type": "heartbeat", "time": NOW + 2}, {"type": "heartbeat", "time": NOW + 4}]
        )

    def test_no_heartbeat_needed(self) -> None:
        """A round that is acknowledged at once is as good as a heartbeat; one that waits for its ack is not."""
        self.start()
        self.peer.received()
        self.welcome(heartbeat=2.0).send({"type": "echo", "time": NOW, "at": NOW})
        self.peer.received(1)
        beats = []
        for seq, acknowledged in enumerate((0.25, 0.25, 0.25, 0.75, 1.75), 1):
            self.add({"cpu": 1.0})
            for quarter in range(1, 7):
                self.clock.advance(0.25)
                if quarter == 4 * acknowledged:
                    self.peer.send({"type": "ack", "seq": seq})
            beats += [message["time"] - NOW for message in self.peer.received() if message["type"] == "heartbeat"]
        # the rounds were at 0, 1.5, 3, 4.5 and 6; the third was acknowledged at 3.25
        self.assertEqual(beats, [5.25, 7.25])

    def test_error(self) -> None:
        """A collector that refuses the agent is tried again, more and more rarely; the log has the reason once."""
        with logged() as log:
            self.start()
            for _ in range(300):
                if not self.peer.closed:
                    self.peer.send({"type": "error", "reason": "wrong token"})
                    self.assertTrue(self.peer.closed)
                self.clock.advance(0.1)
        self.assertEqual(log.warnings, ["no connection to monitor:9000: wrong token"])
        self.assertIn(self.endpoint.attempts, range(8, 20))
        self.assertTrue(all(peer.ended for peer in self.endpoint.peers[:-1]))

    def test_error_goes_away(self) -> None:
        """Once the reason is gone the agent is connected, and the next trouble is logged again."""
        with logged() as log:
            self.start()
            for _ in range(2):
                self.peer.send({"type": "error", "reason": "wrong token"})
                self.reconnected().drop()
                self.next()
        self.assertEqual(log.warnings, ["no connection to monitor:9000: wrong token"] * 2)
        self.assertEqual(log.infos.count("connected to monitor:9000"), 2)

    def test_error_later(self) -> None:
        """An error after the welcome ends the connection, with the reason in the log."""
        self.start()
        peer = self.welcomed()
        with logged() as log:
            peer.send({"type": "error", "reason": "line over 1048576 bytes"})
        self.assertTrue(peer.aborted)
        self.assertEqual(log.warnings, ["leaving the collector: line over 1048576 bytes"])

    def test_errors_again_and_again(self) -> None:
        """A collector that welcomes the agent and throws it out at once is not tried in a tight loop."""
        self.start()
        for _ in range(300):
            if not self.peer.closed:
                self.peer.send(WELCOME, {"type": "error", "reason": "no"})
            self.clock.advance(0.1)
        self.assertIn(self.endpoint.attempts, range(8, 20))

    def test_unreachable(self) -> None:
        """A collector that cannot be reached is tried again; the log has each reason once."""
        self.endpoint.problem = OSError("connection refused")
        with logged() as log:
            self.start()
            self.clock.pump([0.1] * 100)
            self.endpoint.problem = OSError("no route to host")
            self.clock.pump([0.1] * 200)
        self.assertEqual(
            log.warnings,
            [
                "no connection to monitor:9000: connection refused",
                "no connection to monitor:9000: no route to host",
            ],
        )

    def test_pauses(self) -> None:
        """Attempts begin 50 ms apart, and are never more than 5 s apart."""
        self.endpoint.problem = OSError("connection refused")
        self.start()
        self.clock.pump([0.01] * 10)
        self.assertGreaterEqual(self.endpoint.attempts, 2)
        self.clock.pump([1.0] * 120)
        before = self.endpoint.attempts
        self.clock.pump([1.0] * 60)
        self.assertIn(self.endpoint.attempts - before, range(12, 25))

    def test_short_timeout(self) -> None:
        """A collector that soon takes an agent for departed is tried three times within that."""
        self.start()
        self.peer.send(WELCOME | {"heartbeat": 1.0, "timeout": 3.0})
        self.endpoint.problem = OSError("connection refused")
        self.peer.drop()
        self.clock.pump([0.1] * 200)
        before = self.endpoint.attempts
        self.clock.pump([0.1] * 120)
        self.assertGreaterEqual(self.endpoint.attempts - before, 11)

    def test_no_collector(self) -> None:
        """Who answers with something else is no collector; the log says so, once."""
        with logged() as log:
            self.start()
            self.peer.send(b"HTTP/1.1 400 Bad Request\r\n")
            self.assertTrue(self.peer.aborted)
            self.next().send(b"HTTP/1.1 400 Bad Request\r\n")
            self.clock.advance(0)
        (warning,) = log.warnings
        self.assertIn("no connection to monitor:9000: no perfmon collector there?", warning)

    def test_welcome_out_of_place(self) -> None:
        """A welcome that makes no sense, or comes twice, is the word of no collector."""
        self.start()
        for messages in ([WELCOME, WELCOME], [WELCOME | {"heartbeat": 0.0}], [WELCOME | {"heartbeat": -1.0}]):
            self.peer.send(*messages)
            self.assertTrue(self.peer.aborted, messages)
            self.clock.pump([0.1] * 20)

    def test_words_after_the_end(self) -> None:
        """What a collector says behind its error is not listened to."""
        self.start()
        self.peer.send({"type": "error", "reason": "no"}, WELCOME, {"type": "ack", "seq": 1})
        self.assertTrue(self.peer.aborted)

    def test_closed_before_welcome(self) -> None:
        """A connection that ends before the welcome is no connection; it is tried again."""
        with logged() as log:
            self.start()
            self.peer.drop()
            self.reconnected()
        self.assertEqual(
            log.warnings,
            ["no connection to monitor:9000: closed before the collector said welcome: Connection was closed cleanly."],
        )

    def test_no_welcome(self) -> None:
        """A collector that does not answer the hello is left."""
        with logged() as log:
            self.start()
            self.clock.advance(WELCOME_TIMEOUT)
            self.assertTrue(self.peer.aborted)
            self.clock.advance(0)
        self.assertEqual(log.warnings, ["no connection to monitor:9000: the collector did not answer"])

    def test_silent_collector(self) -> None:
        """A collector that says nothing any more is left after its own timeout; one that echoes is not."""
        self.start()
        peer = self.welcomed()
        for _ in range(10):
            self.clock.advance(5)
            self.assertFalse(peer.closed)
            for beat in peer.received():
                peer.send({"type": "echo", "time": beat["time"], "at": self.clock.seconds()})
        with logged() as log:
            self.clock.pump([5.0] * 3)
            self.assertFalse(peer.closed)
            self.clock.advance(5)
        self.assertTrue(peer.aborted)
        self.assertEqual(log.warnings, ["leaving the collector: the collector gave no sign for 15 s"])

    def test_clock(self) -> None:
        """Echoes tell how far the agent's clock is ahead; it is reported at once, and in each heartbeat."""
        self.start()
        self.peer.received()
        self.peer.send(WELCOME)
        self.clock.advance(0.25)
        self.peer.send({"type": "echo", "time": NOW, "at": NOW - 2})
        _, beat = self.peer.received()
        self.assertEqual(beat, {"type": "heartbeat", "time": NOW + 0.25, "offset": 2.125, "round_trip": 0.25})
        self.peer.send({"type": "echo", "time": NOW + 0.25, "at": NOW})
        self.assertEqual(self.peer.received(), [])

    def test_strange_echo(self) -> None:
        """An echo of what was not the last heartbeat measures nothing."""
        self.start()
        self.welcomed().send({"type": "echo", "time": NOW - 1, "at": NOW - 2})
        self.clock.advance(5)
        self.assertEqual(self.peer.received(), [{"type": "heartbeat", "time": NOW + 5}])

    def test_clock_is_measured_again(self) -> None:
        """Where acknowledgements stand in for heartbeats one is sent every half minute or so, for the clock."""
        self.start()
        self.welcomed().send({"type": "echo", "time": NOW, "at": NOW})
        self.peer.received(1)
        beats = []
        for seq in range(1, 101):
            self.add({"cpu": 1.0})
            self.peer.send(ack(seq))
            self.clock.advance(1)
            for message in self.peer.received():
                if message["type"] == "heartbeat":
                    beats.append(message["time"] - NOW)
                    self.peer.send({"type": "echo", "time": message["time"], "at": message["time"]})
        self.assertEqual(beats, [34, 68])

    def test_orders(self) -> None:
        """What the collector orders is done and answered, and the next hello says so."""
        self.start()
        peer = self.welcomed()
        for order, stopped, interval in (
            ({"type": "stop"}, True, 10.0),
            ({"type": "stop"}, True, 10.0),
            ({"type": "interval", "interval": 2.5}, True, 2.5),
            ({"type": "start"}, False, 2.5),
        ):
            peer.send(order)
            self.assertEqual((self.controls.stopped, self.controls.interval), (stopped, interval))
            self.assertEqual(peer.received(), [{"type": "sampling", "stopped": stopped, "interval": interval}])
        peer.send({"type": "stop"})
        peer.drop()
        self.assertEqual(self.next().received(), [HELLO | {"interval": 2.5, "stopped": True}])

    def test_bad_interval(self) -> None:
        """An interval that makes no sense is not taken."""
        for interval in (0.0, -1.0, 1e9):
            self.start() if not self.endpoint.peers else None
            peer = self.welcomed()
            peer.send({"type": "interval", "interval": interval})
            self.assertTrue(peer.aborted)
            self.assertEqual(self.controls.interval, 10.0)
            self.next()

    def test_resend(self) -> None:
        """What the collector had no room for is sent again under the same seqs, and nothing else."""
        self.start()
        peer = self.welcomed()
        self.add({"cpu": 1.0}, {"cpu": 2.0}, {"cpu": 3.0})
        peer.received()
        peer.send(ack(1), {"type": "resend", "seq": 2})
        self.assertEqual(peer.received(), [samples(2, [2.0]), samples(3, [3.0])])
        peer.send(ack(3))
        self.assertEqual(self.outbox.waiting, 0)

    def test_reconnect(self) -> None:
        """A collector that asks for it is left within the time that it names, and the agent comes back."""
        self.start()
        peer = self.welcomed()
        with logged() as log:
            peer.send({"type": "reconnect", "reason": "it stops", "within": 2.0})
            peer.send({"type": "reconnect", "reason": "it stops", "within": 2.0})
            self.assertFalse(peer.closed)
            self.clock.advance(2)
            self.assertTrue(peer.aborted)
            self.reconnected()
        self.assertEqual(log.warnings, ["leaving the collector: it asks for that: it stops"])

    def test_reconnect_overtaken(self) -> None:
        """A connection that ends before the agent has left by itself leaves no timer behind."""
        self.start()
        peer = self.welcomed()
        peer.send({"type": "reconnect", "reason": "it stops", "within": 2.0})
        peer.drop()

    def test_goodbye(self) -> None:
        """Stopping says goodbye, lets it be sent, and waits for the end of the connection."""
        self.link.startService()
        peer = self.welcomed()
        stopped = self.link.stopService()
        self.assertEqual(peer.received(), [{"type": "goodbye"}])
        self.assertEqual((peer.closed, peer.aborted), (True, False))
        self.assertNoResult(stopped)
        self.clock.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_before_welcome(self) -> None:
        """Stopping ends a connection that has not been welcomed yet, without a word in the log."""
        with logged() as log:
            self.link.startService()
            self.assertEqual(self.peer.received(), [HELLO])
            self.stop()
        self.assertEqual((self.peer.received(), log.warnings), ([], []))

    def test_stop_between_attempts(self) -> None:
        """Stopping while the collector is away ends the attempts."""
        self.endpoint.problem = OSError("connection refused")
        self.link.startService()
        self.clock.advance(1)
        self.stop()
        before = self.endpoint.attempts
        self.clock.advance(60)
        self.assertEqual(self.endpoint.attempts, before)

    def test_after_the_stop(self) -> None:
        """A round that is sampled after the stop goes nowhere."""
        self.link.startService()
        self.welcomed()
        self.stop()
        self.add({"cpu": 1.0})
        self.assertEqual(self.peer.received(), [{"type": "goodbye"}])
