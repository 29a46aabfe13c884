"""Tests for `perfmon.net.agent_session`: what agents tell beside their samples, and what they are told."""

from typing import Any

from twisted.internet.error import ConnectionDone, ConnectionLost

from perfmon.core.messages import Cancel, Gap, Kept, Progress, Result, Run
from tests.net.case import PortCase
from tests.net.recording import Peer


class ClockTests(PortCase):
    def beat(self, peer: Peer, **fields: Any) -> None:
        peer.send({"type": "heartbeat", "time": 1, **fields})
        self.assertEqual([message["type"] for message in peer.received()], ["echo"])

    def test_told(self) -> None:
        """What an agent has found out of its clock goes to its record."""
        peer = self.agent()
        self.presence.described.clear()
        self.beat(peer)
        self.assertEqual(self.presence.described, {})
        self.beat(peer, offset=-1.5, round_trip=0.25)
        self.assertEqual(self.presence.described, {"web1": {"offset": "-1.5", "round_trip": "0.25"}})

    def test_told_when_it_changes(self) -> None:
        """A change within what the measurement can tell, or of a few milliseconds, is not written down anew."""
        peer = self.agent()
        for offset, round_trip, written in (
            (1.0, 0.001, True),
            (1.004, 0.001, False),
            (1.2, 0.5, False),
            (1.3, 0.5, True),
            (1.294, 0.001, True),
        ):
            self.presence.described.clear()
            self.beat(peer, offset=offset, round_trip=round_trip)
            self.assertEqual(bool(self.presence.described), written, (offset, round_trip))

    def test_nonsense(self) -> None:
        """Numbers beyond all clocks are not kept."""
        peer = self.agent()
        self.presence.described.clear()
        self.beat(peer, offset=1e308, round_trip=1e308)
        self.assertEqual(self.presence.described, {})


class ControlTests(PortCase):
    def test_orders(self) -> None:
        """Who has arrived can be told how to sample, and its answer is passed on."""
        peer = self.agent(interval=10.0, stopped=True)
        self.assertEqual(self.control.sampling, {"web1": (True, 10.0)})
        self.control.here["web1"].order_stopped(False)
        self.control.here["web1"].order_interval(2.5)
        self.control.here["web1"].order_stopped(True)
        self.assertEqual(peer.received(), [{"type": "start"}, {"type": "interval", "interval": 2.5}, {"type": "stop"}])
        peer.send({"type": "sampling", "stopped": True, "interval": 2.5})
        self.assertEqual(self.control.sampling, {"web1": (True, 2.5)})
        peer.drop()
        self.assertEqual(self.control.here, {})

    def test_taken_over(self) -> None:
        """When the agent comes back before its old connection has ended, the new one is told."""
        old = self.agent()
        self.agent()
        self.clock.advance(0)
        self.assertTrue(old.ended)
        self.assertIs(self.control.here["web1"], self.session())


class RunsTests(PortCase):
    def test_told(self) -> None:
        """Who has arrived can be ordered to run benchmarks, and what it tells of them is passed on."""
        peer = self.agent()
        for message in (Run("7", "cpu", {"seconds": 5}, 12.5), Cancel("7", "enough"), Kept("7")):
            self.runs.here["web1"].tell(message)
        run, cancel, kept = peer.received()
        self.assertEqual(run, {"type": "run", "id": "7", "kind": "cpu", "parameters": {"seconds": 5}, "start": 12.5})
        self.assertEqual(cancel, {"type": "cancel", "id": "7", "reason": "enough"})
        self.assertEqual(kept, {"type": "kept", "run": "7"})
        peer.send({"type": "progress", "run": "7", "began": 12.5, "share": 0.5})
        peer.send({"type": "result", "run": "7", "state": "done", "figures": {"rate": 2.5}})
        progress, result = Progress("7", 12.5, share=0.5), Result("7", "done", figures={"rate": 2.5})
        self.assertEqual(self.runs.told, [("web1", progress), ("web1", result)])
        peer.drop()
        self.assertEqual(self.runs.here, {})


class LostTests(PortCase):
    def test_without_a_goodbye(self) -> None:
        """A connection that ends without a goodbye is told of, with what it ended by."""
        for reason, why in ((ConnectionDone(), "connection closed"), (ConnectionLost(), "connection reset")):
            self.presence.broken.clear()
            self.agent().drop(reason)
            self.assertEqual(self.presence.broken, [("web1", why)])

    def test_by_the_collector(self) -> None:
        """One that said goodbye, that was closed here, or that another has taken the place of, is not."""
        peer = self.agent()
        peer.send({"type": "goodbye"})
        peer.drop()
        self.agent().send(b"nonsense\n")
        self.clock.advance(0)
        old = self.agent()
        self.agent()
        old.drop()
        self.connect().drop()
        self.assertEqual(self.presence.broken, [])


class DismissTests(PortCase):
    def test_port_stops(self) -> None:
        """When the port has closed agents are asked to connect anew, and their connections end."""
        peer, other = self.agent(), self.agent(host="web2")
        self.factory.stopFactory()
        for each in (peer, other):
            self.assertEqual(each.received(), [{"type": "reconnect", "reason": "it stops"}])
            self.assertTrue(each.closed)


class GapTests(PortCase):
    def test_noted(self) -> None:
        """A gap is confirmed once it is kept, and not before."""
        peer = self.agent()
        peer.send({"type": "gap", "id": 7, "rounds": 3, "start": 1.0, "stop": 2.0, "reason": "no room"})
        ((host, gap, noted),) = self.gaps.waiting
        self.assertEqual((host, gap), ("web1", Gap(7, 3, 1.0, 2.0, "no room")))
        self.assertEqual(peer.received(), [])
        noted()
        self.assertEqual(peer.received(), [{"type": "noted", "id": 7}])

    def test_gone(self) -> None:
        """An agent that has gone meanwhile is told nothing; it will tell of the gap again."""
        peer = self.agent()
        peer.send({"type": "gap", "id": 7, "rounds": 3, "start": 1.0, "stop": 2.0, "reason": "no room"})
        peer.drop()
        self.gaps.waiting[0][2]()
        self.assertEqual(peer.received(), [])
