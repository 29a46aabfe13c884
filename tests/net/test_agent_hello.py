"""Tests for how `perfmon.net.agent_session` greets an agent, over the collector's port."""

from typing import Any

from perfmon.core.messages import MAX_LABEL, MAX_LABELS
from perfmon.core.reject import BAD_LINE, BAD_NAME, NOT_ALLOWED
from perfmon.net.agent_session import HELLO_TIMEOUT
from tests.net.case import CPU, HELLO, NOW, WELCOME, PortCase, hello, samples

TOKEN = "correct horse battery"


class HelloTests(PortCase):
    def test_welcome(self) -> None:
        """A good hello is answered with how often to show life; the host is present, and what it said is kept."""
        self.port(heartbeat=2.0, timeout=6.0)
        peer = self.connect()
        peer.send(
            hello(
                agent="1.2",
                boot="b1",
                interval=10.0,
                labels={"rack": "7"},
                platform={"system": "Linux"},
            )
        )
        self.assertEqual(peer.received(), [{"type": "welcome", "protocol": 1, "heartbeat": 2.0, "timeout": 6.0}])
        self.assertFalse(peer.closed)
        self.assertEqual((self.presence.signs, self.presence.boots), ([("web1", True)], {"web1": "b1"}))
        self.assertEqual(
            self.presence.described,
            {
                "web1": {
                    "kind": "agent",
                    "labels": '{"rack":"7"}',
                    "platform": '{"system":"Linux"}',
                    "agent": "1.2",
                    "interval": "10.0",
                }
            },
        )
        self.assertEqual(list(self.factory.agents), ["web1"])
        self.assertEqual(self.refusals.noted, [])

    def test_cut(self) -> None:
        """A hello may arrive in any pieces, its first byte alone included."""
        line = b'{"type":"hello","protocol":1,"host":"web1"}\n'
        for cut in range(1, len(line)):
            peer = self.connect()
            peer.send(line[:cut])
            self.assertEqual(peer.received(), [])
            peer.send(line[cut:])
            self.assertEqual(peer.received(), [WELCOME])
            peer.drop()
        peer = self.connect()
        for byte in line:
            peer.send(bytes([byte]))
        self.assertEqual(peer.received(), [WELCOME])

    def refused(self, message: dict[str, Any] | bytes, reason: str, kind: str) -> None:
        """`message` is refused: the agent is told, it is counted, and the host has given no sign."""
        peer = self.connect()
        peer.send(message)
        self.assert_refused(peer, reason)
        ((rejected, _),) = self.refusals.noted
        self.assertEqual(rejected.reason, kind)
        self.assertIn(reason, rejected.detail)
        self.assertEqual((self.presence.signs, self.presence.described, self.factory.agents), ([], {}, {}))
        self.refusals.noted.clear()

    def test_wrong_token(self) -> None:
        """An agent without the collector's token is refused, whatever else it says, and is told of the option."""
        self.port(token=TOKEN)
        for other in ({}, {"token": ""}, {"token": TOKEN[:-1]}, {"token": TOKEN + "e"}, {"token": "é"}):
            self.refused(hello(**other), "--token-file", NOT_ALLOWED)
        self.refused(hello(protocol=7, host="no host"), "--token-file", NOT_ALLOWED)

    def test_right_token(self) -> None:
        """An agent with the collector's token is welcome; where none is asked for, so is one with any."""
        self.agent(host="open", token="whatever")
        self.port(token=TOKEN)
        peer = self.connect()
        peer.send(hello(token=TOKEN))
        self.assertEqual(peer.received(), [WELCOME])
        peer.drop()
        self.intake.sources.clear()  # those of the port before
        self.control.here.clear()
        self.runs.here.clear()
        self.clock.advance(0)

    def test_other_protocol(self) -> None:
        """An agent of another protocol is told which one is spoken."""
        self.refused(hello(protocol=2), "protocol 2 is not spoken here, only 1", BAD_LINE)

    def test_bad_host(self) -> None:
        """A host's name that cannot be stored is refused, with the option that sets another."""
        for name in ("", "a b", "{a}", "-a", "x" * 254, "ü"):
            self.refused(hello(host=name), "--name", BAD_NAME)

    def test_bad_labels(self) -> None:
        """Labels, and what is said of the platform, are bounded and printable."""
        for labels in (
            {"": "x"},
            {"a": "x\n"},
            {"a" * (MAX_LABEL + 1): "x"},
            {"a": "x" * (MAX_LABEL + 1)},
        ):
            for field in ("labels", "platform"):
                self.refused(hello(**{field: labels}), "printable characters", BAD_NAME)
        self.refused(hello(labels={str(n): "" for n in range(MAX_LABELS + 1)}), "more than 64 labels", BAD_NAME)

    def test_malformed(self) -> None:
        """A first line that is no message is refused, and so is one that is no hello."""
        for line in (b"{}\n", b"{\n", b'{"type":"hullo"}\n', b'{"type":"hello"}\n', b'{"\xff":1}\n'):
            self.refused(line, "bad message", BAD_LINE)
        for message in (CPU, samples(1, [1.0]), {"type": "heartbeat", "time": NOW}, {"type": "goodbye"}):
            self.refused(message, "the first message must be hello", BAD_LINE)
        self.assertEqual(self.presence.left, [])

    def test_twice(self) -> None:
        """A second hello on a connection ends it."""
        peer = self.agent()
        peer.send(HELLO)
        self.assert_refused(peer, "hello was sent twice")
        self.assertEqual(self.refusals.reasons, [BAD_LINE])

    def test_missing(self) -> None:
        """Who has begun and sends no hello in time is told, and closed."""
        peer = self.connect()
        peer.send(b"{")
        self.clock.advance(HELLO_TIMEOUT - 0.1)
        self.assertFalse(peer.closed)
        self.clock.advance(0.1)
        self.assert_refused(peer, "no hello within 10 s")

    def test_in_time(self) -> None:
        """After its hello an agent may be as quiet as presence allows."""
        peer = self.agent()
        self.clock.advance(10 * HELLO_TIMEOUT)
        self.assertFalse(peer.closed)

    def test_same_agent_again(self) -> None:
        """An agent that reconnects takes the place of its old connection, which is ended."""
        old = self.agent()
        new = self.agent()
        self.assertTrue(old.closed)
        self.clock.advance(0)
        self.assertFalse(new.closed)
        new.send({"type": "heartbeat", "time": NOW})
        self.assertEqual([message["type"] for message in new.received()], ["echo"])
        self.assertEqual(len(self.factory.agents), 1)

    def test_another_agent(self) -> None:
        """A second agent of the same name is refused as long as the first one shows life."""
        first = self.agent()
        for instance in ("two", ""):
            self.clock.advance(7)
            second = self.connect()
            second.send(hello(instance=instance))
            self.assert_refused(second, "another agent is connected as web1")
            first.send({"type": "heartbeat", "time": NOW})
        self.assertFalse(first.closed)
        self.assertEqual(self.refusals.reasons, [NOT_ALLOWED, NOT_ALLOWED])
        self.assertEqual(len(self.presence.signs), 3)

    def test_agents_without_instance(self) -> None:
        """Two agents that do not say which run they are count as two."""
        self.agent(instance="")
        second = self.connect()
        second.send(hello(instance=""))
        self.assert_refused(second, "another agent is connected as web1")

    def test_another_agent_of_a_silent_one(self) -> None:
        """A second agent of the same name takes over once the first one has missed its heartbeat."""
        first = self.agent()
        self.clock.advance(7.6)
        second = self.agent(instance="two")
        self.assertTrue(first.closed)
        self.clock.advance(0)
        self.assertFalse(second.closed)
        self.assertEqual(self.factory.agents.keys(), {"web1"})
