"""The ledger reads the wire, and the proof finds what is not stored as it was sent."""

import time

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.faults.ledger import Ledger
from tests.integration.faults.proof import prove
from tests.integration.harness import IntegrationTestCase, eventually

HELLO = b'{"type":"hello","protocol":1,"host":"web1","instance":"1"}\n'
METRICS = b'{"type":"metrics","id":1,"names":["a","b"]}\n'
WELCOME = b'{"type":"welcome","protocol":1,"heartbeat":1,"timeout":3}\n'


def samples(seq: int, time: float, values: str) -> bytes:
    return f'{{"type":"samples","seq":{seq},"id":1,"time":{time!r},"values":[{values}]}}\n'.encode()


class LedgerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.ledger = Ledger()

    def up(self, data: bytes, heard: bool = True) -> None:
        self.ledger.said(1, True, data, 5.0)
        if heard:
            self.ledger.heard(1, True, len(data), 6.0)

    def test_rounds(self) -> None:
        """What was said counts as sent, whole lines only, whether or not anybody has heard it; acks are cumulative."""
        self.up(HELLO + METRICS + samples(1, 1.0, "1,2.5") + samples(2, 2.0, "3,null"))
        self.up(samples(3, 3.0, "4,5"), heard=False)
        self.up(samples(4, 4.0, "4,5")[:-1])
        self.ledger.said(1, False, WELCOME + b'{"type":"ack","seq":2}\n{"type":"ack",', 7.0)
        host = self.ledger.copy()["web1"]
        self.assertEqual(host.rounds, {1000: {"a": 1.0, "b": 2.5}, 2000: {"a": 3.0}, 3000: {"a": 4.0, "b": 5.0}})
        self.assertEqual(host.acknowledged, {1000, 2000})
        self.assertEqual(host.seen, 3)

    def test_again(self) -> None:
        """A round may come again, with the same values."""
        self.up(HELLO + METRICS + samples(1, 1.0, "1,2") + samples(2, 1.0, "1,2"))
        self.assertEqual(self.ledger.contradictions, [])
        self.up(samples(3, 1.0, "1,3"))
        self.assertEqual(len(self.ledger.contradictions), 1)

    def test_refused(self) -> None:
        self.up(HELLO + METRICS + samples(1, 1.0, "1,2"))
        self.ledger.said(1, False, b'{"type":"refused","seq":1,"reason":"too old"}\n', 7.0)
        self.assertEqual(self.ledger.copy()["web1"].refused, {1000: "too old"})

    def test_signs(self) -> None:
        """What reaches a collector counts once it has taken the hello; of one that it has not answered nobody knows."""
        self.up(HELLO)
        self.assertEqual(self.ledger.copy(), {})
        self.ledger.said(1, False, WELCOME, 7.0)
        self.up(b'{"type":"goodbye"}\n')
        host = self.ledger.copy()["web1"]
        self.assertEqual((host.signs, host.goodbyes, host.perhaps), ([6.0, 6.0], [6.0], []))
        self.ledger.ended(1, 8.0)
        self.up(HELLO)
        self.ledger.ended(1, 8.0)
        self.assertEqual(self.ledger.copy()["web1"].perhaps, [8.0, 6.0, 8.0])
        self.up(HELLO)
        self.ledger.said(1, False, b'{"type":"error","reason":"another agent is connected"}\n', 7.0)
        self.ledger.ended(1, 8.0)
        self.assertEqual(self.ledger.copy()["web1"].perhaps, [8.0, 6.0, 8.0])


class ProofTests(IntegrationTestCase):
    def test_everything_is_found(self) -> None:
        """Lost, altered and never sent: each is counted, against a real collector that has other samples."""
        collector = self.collector().ready()
        now = int(time.time())
        collector.send(f"a;host=web1 1 {now}\nb;host=web1 2 {now}\na;host=web1 9 {now + 1}\na;host=web1 7 {now + 3}\n")
        eventually(lambda: collector.get("/status")["samples"]["stored"] == 4, "the samples")
        ledger = Ledger()
        rounds = samples(1, now, "1,2") + samples(2, now + 1, "3,null") + samples(3, now + 2, "5,6")
        ledger.said(1, True, HELLO + METRICS + rounds, 5.0)
        ledger.said(1, False, WELCOME + b'{"type":"ack","seq":3}\n', 6.0)
        ledger.expect("web1", {(now + 2) * 1000, (now + 4) * 1000})
        proof = prove(collector, ledger, now - 10, now + 10)
        self.assertEqual((proof.sent, proof.stored, proof.acknowledged), (3, 2, 3))
        self.assertEqual((proof.lost, proof.altered, proof.foreign, proof.doubled), (2, 1, 1, 0))
        self.assertEqual(len(proof.wrong), 4, "the one that was acknowledged has a sentence more")
