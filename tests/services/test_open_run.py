"""Tests for `perfmon.services.open_run`."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.benchmarks import QUEUED, HostRun, Spec
from perfmon.core.messages import Cancel, Figures, Peer, Peers, Result, Run
from perfmon.core.pairs import COLLECTOR
from perfmon.services.open_run import PATIENCE, OpenRun, end_of

START = 1_800_000_000.0


def opened(kind: str, hosts: str = "ab", start: float = START, **parameters: Any) -> OpenRun:
    return OpenRun(Spec("7", kind, parameters, list(hosts), START - 3, start, 5.0), START + 50)


def ready(port: int) -> HostRun:
    return HostRun("ready", expected={"address": f"192.0.2.{port}", "port": port})


class OrdersTests(SynchronousTestCase):
    def test_plain(self) -> None:
        """A host hears of the run until it has ended there; of one that waits nothing, of a cancelled one that."""
        run = opened("cpu")
        self.assertEqual(run.orders("a"), [Run("7", "cpu", {}, START, 5.0)])
        run.take({"a": HostRun("done")})
        self.assertEqual(run.orders("a"), [])
        self.assertEqual(opened("cpu", start=QUEUED).orders("a"), [])
        run.cancelled = "enough"
        self.assertEqual(run.orders("b"), [Cancel("7", "enough")])

    def test_come_later(self) -> None:
        """One that connects after the others were told whom they meet is told, too; not if it has begun."""
        run = opened("echo", pairs="ring")
        run.take({"a": ready(1), "b": ready(2)})
        self.assertTrue(run.part(START - 2))
        self.assertEqual(run.orders("a")[1:], [Peers("7", [Peer("b", "192.0.2.2", 2)])])
        run.take({"a": HostRun("running", began=START, expected=ready(1).expected)})
        self.assertEqual(run.orders("a"), [Run("7", "echo", {"pairs": "ring"}, START, 5.0, begun=True)])


class PartingTests(SynchronousTestCase):
    def test_all_ready(self) -> None:
        """Once all are ready they are told, each whom it meets, and not twice."""
        run = opened("echo", hosts="abc", pairs="all")
        run.take({"a": ready(1), "b": ready(2)})
        self.assertFalse(run.part(START - 2))
        run.take({"c": ready(3)})
        self.assertTrue(run.part(START - 2))
        self.assertFalse(run.part(START - 2))
        expected = Peers("7", [Peer("b", "192.0.2.2", 2), Peer("c", "192.0.2.3", 3)])
        self.assertEqual(run.peers()["a"], expected)
        self.assertEqual(run.peers().keys(), {"a", "b", "c"})

    def test_not_ready(self) -> None:
        """After a while hosts are told of those that are ready; who is not has no port."""
        run = opened("iperf3", hosts="abc", pairs="all", seconds=5)
        run.take({"a": ready(1), "b": ready(2)})
        self.assertFalse(run.part(START + PATIENCE))
        self.assertTrue(run.part(START + PATIENCE + 0.1))
        self.assertEqual(run.peers()["a"], Peers("7", [Peer("b", "192.0.2.2", 2), Peer("c", "", 0, 8.0)]))

    def test_refused(self) -> None:
        """One that has ended already is not waited for."""
        run = opened("echo", hosts="abc", pairs="ring")
        run.take({"a": ready(1), "b": ready(2), "c": HostRun("refused")})
        self.assertTrue(run.part(START - 2))
        self.assertEqual(run.peers()["b"], Peers("7", [Peer("c", "", 0)]))

    def test_collector(self) -> None:
        """Where all send to the collector its own end is waited for."""
        run = opened("echo")
        run.take({"a": ready(1), "b": ready(2)})
        self.assertFalse(run.part(START - 2))
        run.answering = 5_300
        self.assertTrue(run.part(START - 2))
        self.assertEqual(run.peers()["b"], Peers("7", [Peer(COLLECTOR, "", 5_300)]))

    def test_nobody_to_meet(self) -> None:
        """A run on each host by itself, one that waits, and one of a later version, have nothing to be told."""
        for run in (opened("cpu"), opened("echo", start=QUEUED, pairs="ring"), opened("gpu"), opened("echo", what=1)):
            self.assertFalse(run.part(START + 2 * PATIENCE))

    def test_nonsense(self) -> None:
        """What an agent says of where it answers may be anything."""
        run = opened("echo", pairs="ring")
        run.take({"a": HostRun("ready", expected={"port": "many", "address": 7}), "b": ready(2)})
        self.assertTrue(run.part(START - 2))
        self.assertEqual(run.peers()["b"], Peers("7", [Peer("a", "7", 0)]))


class EndTests(SynchronousTestCase):
    def test_pairs(self) -> None:
        """Of its pairs as many are kept as there are others; whether there is output is noted."""
        many: dict[str, Figures] = {f"web{number}": {"rate": 1.0} for number in range(50)}
        self.assertEqual(len(end_of(Result("7", "done", pairs=many, output="{}"), 3).pairs), 3)
        self.assertTrue(end_of(Result("7", "done", output="{}"), 3).output)
        self.assertFalse(end_of(Result("7", "done"), 3).output)
