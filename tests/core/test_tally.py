"""Tests for `perfmon.core.tally`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.tally import Account, Tally


class TallyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tally = Tally()
        self.account = Account(self.tally)

    def sample(self, *seqs: int, now: float = 0.0) -> None:
        """Rounds that are sampled, and sent at once."""
        self.tally.sampled += len(seqs)
        for seq in seqs:
            self.account.sent(seq, now)

    def test_acknowledged(self) -> None:
        """An acknowledgement is of every round up to it, and each takes the time since it was sent."""
        self.sample(1, 2, now=10.0)
        self.sample(3, now=11.0)
        self.assertTrue(self.account.acknowledge(2, 10.5))
        self.assertEqual((self.tally.acknowledged, self.tally.unacknowledged, self.account.acknowledged), (2, 1, 2))
        self.assertTrue(self.account.acknowledge(3, 11.5))
        self.assertEqual((self.tally.unacknowledged, self.tally.wrong_acks), (0, 0))
        self.assertAlmostEqual(self.tally.latencies.mean, 0.5)

    def test_wrong(self) -> None:
        """One for what was not sent, or said before, is wrong, is counted, and acknowledges nothing."""
        self.assertFalse(self.account.acknowledge(1, 0.0), "nothing was sent")
        self.sample(1, 2, 3)
        self.assertFalse(self.account.acknowledge(4, 0.0), "was not sent")
        self.assertEqual(self.tally.acknowledged, 0)
        self.assertTrue(self.account.acknowledge(2, 0.0))
        for seq in (2, 1, 0, -1):
            self.assertFalse(self.account.acknowledge(seq, 0.0), "was said before")
        self.assertEqual((self.tally.acknowledged, self.tally.wrong_acks), (2, 6))

    def test_repeated(self) -> None:
        """A round that is sent again counts once, and waits since the first time."""
        self.sample(1, now=10.0)
        self.account.sent(1, 20.0)
        self.account.acknowledge(1, 21.0)
        self.assertEqual((self.tally.sent, self.tally.repeated, self.tally.acknowledged), (1, 1, 1))
        self.assertAlmostEqual(self.tally.latencies.mean, 11.0)

    def test_refused(self) -> None:
        """A refused round is answered, and not acknowledged by a later acknowledgement."""
        self.sample(1, 2, 3)
        self.assertTrue(self.account.refuse(2))
        self.account.acknowledge(3, 0.0)
        self.assertEqual((self.tally.acknowledged, self.tally.refused, self.tally.unacknowledged), (2, 1, 0))
        for seq in (2, 1, 7):
            self.assertFalse(self.account.refuse(seq), "does not wait")
        self.assertEqual((self.tally.refused, self.tally.wrong_acks), (1, 3))

    def test_connections(self) -> None:
        """The most that were connected at once stay known, and which ends were no intention."""
        for _ in range(3):
            self.tally.connect()
        self.tally.disconnect(lost=True)
        self.tally.disconnect(lost=False)
        self.assertEqual((self.tally.connected, self.tally.most_connected, self.tally.lost), (1, 3, 1))

    @given(st.lists(st.tuples(st.sampled_from(["send", "again", "ack", "refuse"]), st.integers(0, 12))))
    def test_adds_up(self, steps: list[tuple[str, int]]) -> None:
        """Whatever happens, every round that was sent is acknowledged, refused or waits; each only once."""
        tally = Tally()
        account, sent, answered = Account(tally), 0, set[int]()
        highest = 0
        for step, number in steps:
            if step == "send":
                sent += 1
                tally.sampled += 1
                account.sent(sent, 0.0)
            elif step == "again" and 0 < number <= sent:
                account.sent(number, 0.0)
            elif step == "ack":
                good = account.acknowledge(number, 0.0)
                self.assertEqual(good, highest < number <= sent)
                if good:
                    highest = number
                    answered |= set(range(1, number + 1))
            elif step == "refuse":
                self.assertEqual(account.refuse(number), 0 < number <= sent and number not in answered)
                answered |= {number} if 0 < number <= sent else set()
        self.assertEqual(tally.sent, sent)
        self.assertEqual(tally.acknowledged + tally.refused, len(answered))
        self.assertEqual(tally.unacknowledged, sent - len(answered))
        self.assertEqual(account.acknowledged, tally.acknowledged)
