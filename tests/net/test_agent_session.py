"""Tests for `perfmon.net.agent_session`, over the collector's port."""

from typing import Any

from perfmon.core.messages import MAX_LINE, MAX_SCHEMA
from perfmon.core.reject import BAD_LINE, FUTURE, SCHEMA, TOO_OLD
from perfmon.core.tiers import RAW
from perfmon.net import agent_session
from tests.net.case import CPU, NOW, PortCase, ack, samples
from tests.net.recording import Peer, RecordingIntake


class SampleTests(PortCase):
    def test_flow(self) -> None:
        """Samples of declared metrics are taken in, and acknowledged when they are stored, not before."""
        peer = self.agent()
        peer.send(CPU, samples(1, [0.5, 3.0]), samples(2, [0.25, 2.0], NOW + 10.5))
        self.assertEqual(peer.received(), [])
        self.assertEqual(
            self.intake.samples(),
            [
                ("web1", "cpu", NOW, 0.5),
                ("web1", "load", NOW, 3.0),
                ("web1", "cpu", NOW + 10.5, 0.25),
                ("web1", "load", NOW + 10.5, 2.0),
            ],
        )
        self.assertEqual(self.session().samples, 4)
        self.intake.store()
        self.assertEqual(peer.received(), [ack(1), ack(2)])

    def test_every_cut(self) -> None:
        """Wherever the network cuts the stream, the samples are the same."""
        stream = (
            b'{"type":"metrics","id":1,"names":["cpu"]}\n\n  \r\n'
            b'{"type":"samples","seq":1,"id":1,"time":1800000000,"values":[1]}\n'
            b'{"type":"heartbeat","time":5}\n'
        )
        for cut in range(len(stream)):
            peer = self.agent()
            peer.send(stream[:cut])
            peer.send(stream[cut:])
            self.assertEqual(self.intake.samples(), [("web1", "cpu", NOW, 1.0)])
            self.assertEqual(peer.received(), [{"type": "echo", "time": 5.0, "at": NOW}])
            self.intake.rows.clear()
            peer.drop()

    def test_absent(self) -> None:
        """A value of null is absent: it is no sample."""
        peer = self.agent()
        peer.send(CPU, samples(1, [None, 3]), samples(2, [None, None], NOW + 1))
        self.assertEqual(self.intake.samples(), [("web1", "load", NOW, 3.0)])
        self.intake.store()
        self.assertEqual(peer.received(), [ack(1), ack(2)])

    def test_tags(self) -> None:
        """Metrics are stored in the one spelling of their tags."""
        peer = self.agent()
        peer.send({"type": "metrics", "id": 1, "names": ["cpu;state=user;cpu=0"]}, samples(1, [1]))
        self.assertEqual(self.intake.samples(), [("web1", "cpu;cpu=0;state=user", NOW, 1.0)])

    def test_names_of_a_fleet(self) -> None:
        """Agents with the same metrics share their names; what they said of their hosts is not kept with them."""
        for host in ("web1", "web2"):
            self.agent(host=host, labels={"rack": "7"}, platform={"system": "Linux"}, token="x" * 20).send(
                CPU, samples(1, [1.0, 2.0])
            )
        first, second = (row.log for row in self.intake.rows)
        self.assertEqual(first.names, ["cpu", "load"])
        for one, other in zip(first.names, second.names, strict=True):
            self.assertIs(one, other)
        kept = self.session()._hello
        assert kept is not None
        self.assertEqual(
            (kept.host, kept.instance, kept.labels, kept.platform, kept.token), ("web1", "one", {}, {}, "")
        )

    def test_several_schemas(self) -> None:
        """A connection may declare several schemas, and declare one anew."""
        peer = self.agent()
        peer.send(CPU, {"type": "metrics", "id": 2, "names": ["disk"]}, samples(1, [1, 2]), samples(2, [3], id=2))
        peer.send({"type": "metrics", "id": 1, "names": ["fan"]}, samples(3, [4]))
        self.assertEqual(
            [(metric, value) for _, metric, _, value in self.intake.samples()],
            [("cpu", 1.0), ("load", 2.0), ("disk", 3.0), ("fan", 4.0)],
        )

    def refused(self, message: dict[str, Any], reason: str, kind: str) -> None:
        """The one round is refused, the connection and all else go on."""
        peer = self.agent()
        peer.send(CPU, samples(1, [1, 2]), message, samples(3, [3, 4], NOW + 1))
        (answer,) = peer.received()
        self.assertEqual((answer["type"], answer["seq"]), ("refused", 2))
        self.assertIn(reason, answer["reason"])
        self.assertEqual(self.refusals.reasons, [kind])
        self.assertEqual(self.refusals.noted[0][1], "web1")
        self.assertEqual(len(self.intake.rows), 2)
        self.intake.store()
        self.assertEqual(peer.received(), [ack(1), ack(3)])

    def test_count(self) -> None:
        """A round that has fewer or more values than its schema has metrics is refused."""
        self.refused(samples(2, [1.0]), "1 values for metrics 1, which are 2", SCHEMA)

    def test_count_more(self) -> None:
        """A round that has more values than its schema has metrics is refused."""
        self.refused(samples(2, [1.0, 2.0, 3.0]), "3 values for metrics 1, which are 2", SCHEMA)

    def test_unknown_schema(self) -> None:
        """A round of a schema that this connection has not declared is refused."""
        self.refused(samples(2, [1.0, 2.0], id=7), "metrics 7, which were not declared", SCHEMA)

    def test_future(self) -> None:
        """A round that is too far ahead of the collector's clock is refused."""
        self.refused(samples(2, [1.0, 2.0], NOW + 601), "ahead of the collector's clock", FUTURE)

    def test_too_old(self) -> None:
        """A round that is older than anything kept is refused."""
        self.refused(samples(2, [1.0, 2.0], NOW - RAW.retention), "older than the raw tier is kept", TOO_OLD)

    def test_bounds(self) -> None:
        """What an agent kept for two days, or sent from a clock ten minutes ahead, is taken in."""
        peer = self.agent()
        peer.send(CPU, samples(1, [1, 2], NOW - RAW.retention + 1), samples(2, [1, 2], NOW + 600))
        self.assertEqual((peer.received(), len(self.intake.rows)), ([], 2))

    def test_numbers_run_out(self) -> None:
        """When the numbering is full and begins anew, the connection goes on with the schemas that it has declared."""
        self.intake = RecordingIntake(max_series=3)
        self.port()
        peer, other = self.agent(), self.agent(host="web2")
        peer.send(CPU, samples(1, [1, 2]))
        other.send(CPU, samples(1, [3, 4]))  # full now
        peer.send(samples(2, [5, 6]), samples(3, [7, 8]))
        other.send(samples(2, [9, 10]))
        self.assertEqual(self.intake.numberings, 3)
        self.assertEqual(
            [(host, metric, value) for host, metric, _, value in self.intake.samples()],
            [
                ("web1", "cpu", 1.0),
                ("web1", "load", 2.0),
                ("web2", "cpu", 3.0),
                ("web2", "load", 4.0),
                ("web1", "cpu", 5.0),
                ("web1", "load", 6.0),
                ("web1", "cpu", 7.0),
                ("web1", "load", 8.0),
                ("web2", "cpu", 9.0),
                ("web2", "load", 10.0),
            ],
        )


class EndTests(PortCase):
    def broken(self, message: dict[str, Any] | bytes, reason: str) -> Peer:
        """`message` breaks the protocol: the agent is told, and the connection is closed."""
        peer = self.agent()
        peer.send(message)
        self.assert_refused(peer, reason)
        self.assertEqual(self.refusals.reasons, [BAD_LINE])
        self.assertEqual(self.refusals.noted[0][1], "web1")
        return peer

    def test_bad_line(self) -> None:
        """A line that is no message ends the connection, and what follows it is not looked at."""
        peer = self.broken(b'nonsense\n{"type":"heartbeat","time":1}\n', "bad message")
        peer.send(CPU, samples(1, [1, 2]))
        self.assertEqual((peer.received(), self.intake.rows), ([], []))

    def test_long_line(self) -> None:
        """A line over the limit ends the connection, whether it has an end or not."""
        self.broken(b"{" + b" " * MAX_LINE, f"line over {MAX_LINE} bytes")

    def test_long_line_in_pieces(self) -> None:
        """A line over the limit ends the connection as soon as it is over it."""
        peer = self.agent()
        for _ in range(MAX_LINE // 65_536):
            peer.send(b"x" * 65_536)
        self.assertFalse(peer.closed)
        peer.send(b"x")
        self.assert_refused(peer, f"line over {MAX_LINE} bytes")

    def test_metric_twice(self) -> None:
        """A schema that has a metric twice, whatever the order of its tags, ends the connection."""
        self.broken({"type": "metrics", "id": 1, "names": ["a;b=1;c=2", "a;c=2;b=1"]}, "a metric stands twice")

    def test_no_metric(self) -> None:
        """A schema without metrics ends the connection."""
        self.broken({"type": "metrics", "id": 1, "names": []}, "a schema has 1 to 10000 metrics, this one 0")

    def test_too_many_metrics(self) -> None:
        """A schema with more metrics than any host has ends the connection."""
        names = [f"m{number}" for number in range(MAX_SCHEMA + 1)]
        self.broken({"type": "metrics", "id": 1, "names": names}, "1 to 10000 metrics, this one 10001")

    def test_bad_metric(self) -> None:
        """A metric that cannot be stored ends the connection."""
        self.broken({"type": "metrics", "id": 1, "names": ["a b"]}, "white space")

    def test_too_many_schemas(self) -> None:
        """A connection that declares schemas without end is ended; one that declares the same anew is not."""
        self.patch(agent_session, "MAX_SCHEMAS", 2)
        peer = self.agent()
        peer.send(CPU, CPU | {"id": 2}, CPU, CPU | {"id": 2})
        self.assertFalse(peer.closed)
        peer.send(CPU | {"id": 3})
        self.assert_refused(peer, "more than 2 schemas")

    def test_heartbeat(self) -> None:
        """A heartbeat is answered with its time and the collector's, and is a sign of life."""
        peer = self.agent()
        self.presence.signs.clear()
        peer.send({"type": "heartbeat", "time": 1234.5})
        self.assertEqual(peer.received(), [{"type": "echo", "time": 1234.5, "at": NOW}])
        self.assertEqual(self.presence.signs, [("web1", True)])

    def test_signs(self) -> None:
        """Whatever an agent says is a sign of life, also what cannot be stored; several messages at once are one."""
        peer = self.agent()
        self.assertEqual(self.presence.signs, [("web1", True)])
        for messages in ([CPU], [samples(1, [1, 2])], [samples(2, [1])], [{"type": "heartbeat", "time": 1}] * 3):
            self.presence.signs.clear()
            peer.send(*messages)
            self.assertEqual(self.presence.signs, [("web1", True)])

    def test_goodbye(self) -> None:
        """A goodbye is told with its reason, is the last thing heard, and closes the connection."""
        peer = self.agent()
        self.presence.signs.clear()
        peer.send(CPU, {"type": "goodbye", "reason": "upgrade"}, samples(1, [1, 2]))
        peer.send(samples(2, [1, 2]), {"type": "heartbeat", "time": 1})
        self.assertEqual(self.presence.left, [("web1", "upgrade")])
        self.assertTrue(peer.closed)
        self.assertEqual((peer.received(), self.intake.rows, self.presence.signs), ([], [], []))

    def test_long_goodbye(self) -> None:
        """A reason is kept in reasonable length."""
        self.agent().send({"type": "goodbye", "reason": "x" * 5_000})
        self.assertEqual(self.presence.left, [("web1", "x" * 100)])

    def test_lost(self) -> None:
        """A connection that breaks is no goodbye: the host may come back in time."""
        self.agent().drop()
        self.assertEqual((self.presence.left, self.factory.agents), ([], {}))

    def test_ack_after_the_end(self) -> None:
        """What is stored after the connection has ended is acknowledged to nobody."""
        peer = self.agent()
        peer.send(CPU, samples(1, [1, 2]))
        peer.drop()
        self.intake.store()
        self.assertEqual(peer.received(), [])

    def test_unread_answers(self) -> None:
        """An agent that does not read its answers is cut off."""
        peer = self.agent()
        assert peer.producer is not None
        peer.producer.pauseProducing()
        self.assertTrue(peer.aborted)

    def test_closes_over_tls(self) -> None:
        """A connection that is to be closed has no producer left, which TLS would wait for."""
        for last in ({"type": "goodbye"}, b"nonsense\n"):
            peer = self.agent()
            peer.send(last)
            self.assertIsNone(peer.producer)
            self.clock.advance(0)
