"""Tests for `perfmon.services.ingest`, with appends that are answered when the test says so."""

from collections.abc import Callable

from twisted.internet.defer import Deferred

from perfmon.core.numbering import Numbering
from perfmon.services import ingest as ingest_module
from perfmon.services.ingest import STOP_TIMEOUT, Ingest
from perfmon.storage.store import StoreUnavailable
from tests.logs import logged
from tests.services.ingest_case import NOW, IngestCase
from tests.services.recording import RecordingSender


class CommitTests(IngestCase):
    def test_one(self) -> None:
        """What comes in is written with the next turn of the reactor, and acknowledged when that is confirmed."""
        self.row(1, 1.0, 2.0)
        self.assertEqual(self.store.asked, [])
        self.turn()
        self.assertEqual((len(self.store.asked), self.sender.seqs), (1, []))
        self.store.confirm()
        self.assertEqual(self.sender.seqs, [1])
        self.assertEqual(self.ingest.commits, 1)
        self.assert_stored()

    def test_together(self) -> None:
        """What comes in the same turn goes out in one write, and each sender is told once, of its last."""
        other = RecordingSender()
        self.row(1, 1.0)
        self.column(1, 2.0, 3.0)
        self.row(2, 4.0)
        self.ingest.add_columns(self.columns(5, 6.0, host="web3"), other, 7)
        self.added.append(("web3", "m0", NOW + 5, 6.0))
        self.turn()
        self.store.confirm()
        self.assertEqual((len(self.store.asked), self.ingest.commits), (1, 1))
        self.assertEqual((self.sender.seqs, other.seqs), ([2], [7]))
        self.assert_stored()

    def test_gathers(self) -> None:
        """What comes in during a write goes out as the next one, and is acknowledged with that."""
        self.row(1, 1.0)
        self.turn()
        self.row(2, 2.0)
        self.column(2, 3.0)
        self.row(3, 4.0)
        self.turn()
        self.assertEqual(len(self.store.asked), 1)
        self.store.confirm()
        self.assertEqual(self.sender.seqs, [1])
        self.turn()
        self.assertEqual(len(self.store.asked), 2)
        self.assertEqual(self.sender.seqs, [1])
        self.store.confirm()
        self.assertEqual(self.sender.seqs, [1, 3])
        self.assertEqual(self.ingest.commits, 2)
        self.assert_stored()

    def test_bounded(self) -> None:
        """A write is bounded: more than fits goes out as several, in their order."""
        self.begin(batch_size=4)
        for seq in range(10):
            self.row(seq, 1.0)
        for acknowledged in ([3], [3, 7], [3, 7, 9]):
            self.turn()
            self.store.confirm()
            self.assertEqual(self.sender.seqs, acknowledged)
        self.assert_stored()

    def test_cut(self) -> None:
        """Columns that do not fit are cut, and acknowledged with their last part; a round never is."""
        self.begin(batch_size=4)
        other = RecordingSender()
        self.column(0, 1.0, 2.0, 3.0)
        self.ingest.add_columns(self.columns(5, *range(7), host="web3"), other, 7)
        self.added += [("web3", f"m{number}", NOW + 5, float(number)) for number in range(7)]
        self.row(8, *range(9))
        self.row(9, 1.0)
        for told, seqs in (([], []), ([], []), ([7], []), ([7], [8]), ([7], [8, 9])):
            self.turn()
            self.store.confirm()
            self.assertEqual((other.seqs, self.sender.seqs), (told, seqs))
        self.assert_stored()

    def test_time_between(self) -> None:
        """A commit begins at the earliest so long after the one before; after a pause nobody waits."""
        self.begin(batch_time=0.5)
        for seq in (1, 2):
            self.row(seq, 1.0)
            self.turn()
            self.assertTrue(self.store.waiting, "at once")
            self.clock.advance(0.1)
            self.store.confirm()
            self.assertEqual(self.sender.seqs[-1], seq)
            self.clock.advance(2)
        self.row(3, 1.0)
        self.turn()
        self.clock.advance(0.1)
        self.row(4, 1.0)
        self.store.confirm()
        self.clock.advance(0.375)
        self.row(5, 1.0)
        self.assertFalse(self.store.waiting)
        self.clock.advance(0.125)
        self.store.confirm()
        self.assertEqual((self.sender.seqs, self.ingest.commits), ([1, 2, 3, 5], 4))
        self.assert_stored()

    def test_slow_store(self) -> None:
        """Where a commit takes longer than that, the next one follows at once."""
        self.begin(batch_time=0.5)
        self.row(1, 1.0)
        self.turn()
        self.row(2, 1.0)
        self.clock.advance(0.75)
        self.store.confirm()
        self.turn()
        self.assertTrue(self.store.waiting)
        self.store.confirm()
        self.assert_stored()

    def test_nothing(self) -> None:
        """Columns without samples are acknowledged at once, and write nothing."""
        self.ingest.add_columns(self.columns(1), self.sender, 4)
        self.assertEqual((self.sender.seqs, self.ingest.received), ([4], 0))
        self.turn()
        self.assertEqual(self.store.asked, [])

    def test_latest(self) -> None:
        """The newest values are known before they are stored."""
        self.row(1, 1.0)
        self.column(2, 2.0)
        self.turn()
        self.assertEqual(self.ingest.numbering.latest("web1"), {"m0": (round(NOW + 1) * 1000, 1.0)})
        self.assertEqual(self.ingest.numbering.latest("web2"), {"m0": (round(NOW + 2) * 1000, 2.0)})
        self.store.confirm()

    def test_names_once(self) -> None:
        """The names of metrics are declared in a head once."""
        sizes = []
        for seq in range(3):
            self.row(seq, 1.0, 2.0)
            self.turn()
            sizes.append(sum(len(write.data) for write in self.store.asked[-1]))
            self.store.confirm()
        self.assertLess(sizes[1], sizes[0])
        self.assertEqual(sizes[1], sizes[2])
        self.assert_stored()

    def test_numbers_run_out(self) -> None:
        """When the numbering is full a new one is begun, and what was taken in with the old one is stored with it."""
        self.patch(ingest_module, "Numbering", lambda new_writer: Numbering(new_writer, max_series=2))
        self.ingest = Ingest(self.store, self.clock, lambda: NOW)
        self.row(1, 1.0)
        before = self.ingest.numbering
        self.row(2, 2.0, host="web4")
        self.row(3, 3.0, host="web5")
        self.assertIsNot(self.ingest.numbering, before)
        self.turn()
        self.store.confirm()
        self.assert_stored()


class FailingStoreTests(IngestCase):
    def failing(self) -> None:
        self.store.fail(StoreUnavailable("connection lost"))

    def test_again(self) -> None:
        """A write that failed is tried again until it is confirmed; nothing is acknowledged before that."""
        self.row(1, 1.0)
        self.turn()
        with logged() as log:
            for number in range(5):
                self.failing()
                self.assertEqual(self.ingest.problem, "connection lost")
                self.assertEqual(len(log.warnings), int(number >= 3))
                self.clock.advance(2)
            self.assertEqual((len(self.store.asked), self.sender.seqs), (6, []))
            self.store.confirm()
        self.assertEqual((self.sender.seqs, self.ingest.problem), ([1], None))
        self.assertEqual(log.infos, ["samples wait to be stored: connection lost", "samples are stored again"])
        self.assert_stored()

    def test_short_failure(self) -> None:
        """A failure that is over at once is not worth a line in the log."""
        self.row(1, 1.0)
        self.turn()
        with logged() as log:
            self.failing()
            self.clock.advance(0.1)
            self.store.confirm()
        self.assertEqual((log.infos, self.ingest.problem), ([], None))

    def test_pauses(self) -> None:
        """The pauses between the attempts grow, up to two seconds."""
        self.row(1, 1.0)
        self.turn()
        pauses = []
        for _ in range(7):
            self.failing()
            (call,) = self.clock.getDelayedCalls()
            pauses.append(round(call.getTime() - self.clock.seconds(), 3))
            self.clock.advance(pauses[-1])
        self.assertEqual(pauses, [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0])
        self.store.confirm()

    def test_declares_again(self) -> None:
        """After a failure nobody knows what was stored, so the names are declared again; a repetition does no harm."""
        self.row(1, 1.0)
        self.turn()
        self.store.confirm()
        self.row(2, 2.0)
        self.turn()
        self.store.done()  # done, but the answer gets lost
        self.failing()
        self.store.heads.clear()  # and then the store is emptied
        self.clock.advance(1)
        self.store.confirm()
        self.assertEqual(self.store.samples(), [("web1", "m0", NOW + 2, 2.0)])
        self.row(3, 3.0)
        self.turn()
        self.store.done()
        self.failing()
        self.clock.advance(1)
        self.store.confirm()
        self.assertEqual(self.store.samples(), [("web1", "m0", NOW + 2, 2.0), ("web1", "m0", NOW + 3, 3.0)])
        self.assertEqual(self.sender.seqs, [1, 2, 3])

    def test_replaced(self) -> None:
        """A head that turns out to be new gets its names declared before anything is acknowledged."""
        self.row(1, 1.0, 2.0)
        self.turn()
        self.store.confirm()
        self.store.heads.clear()
        self.row(2, 3.0, 4.0)
        self.turn()
        self.store.confirm()
        self.assertEqual(self.sender.seqs, [1])
        self.assertTrue(self.store.waiting)
        self.store.confirm()
        self.assertEqual(self.sender.seqs, [1, 2])
        self.assertEqual(self.store.samples(), [("web1", "m0", NOW + 2, 3.0), ("web1", "m1", NOW + 2, 4.0)])
        self.assertEqual(len(self.store.asked), 3)

    def test_replaced_and_failing(self) -> None:
        """If the declaration fails, all of it is written again."""
        self.row(1, 1.0)
        self.turn()
        self.store.confirm()
        self.store.heads.clear()
        self.row(2, 2.0)
        self.turn()
        self.store.confirm()
        self.failing()
        self.clock.advance(1)
        self.store.confirm()
        self.assertEqual(self.sender.seqs, [1, 2])
        self.assertEqual(self.store.samples(), [("web1", "m0", NOW + 2, 2.0)])

    def test_bug(self) -> None:
        """A commit that fails for a reason of our own is logged and lost; those after it are stored."""
        self.row(1, 1.0)
        self.turn()
        self.row(2, 2.0)
        self.store.fail(ZeroDivisionError("bug"))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.turn()
        self.store.confirm()
        self.assertEqual((self.sender.seqs, self.ingest.buffered), ([2], 0))
        self.row(3, 3.0)
        self.turn()
        self.store.confirm()
        self.assertEqual(self.sender.seqs, [2, 3])
        self.assertEqual((self.ingest.received, self.ingest.stored), (3, 2))

    def test_sender_fails(self) -> None:
        """A sender that fails when it is told keeps nobody else from being stored."""

        class Broken:
            def stored(self, seq: int) -> None:
                raise ZeroDivisionError

        self.ingest.add_columns(self.columns(1, 1.0), Broken(), 1)
        self.turn()
        self.store.confirm()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.row(2, 1.0)
        self.turn()
        self.store.confirm()
        self.assertEqual((self.sender.seqs, self.ingest.buffered), ([2], 0))


class StopTests(IngestCase):
    def stopping(self) -> Deferred[None]:
        stopped = self.ingest.stopService()
        self.turn()
        return stopped

    def until(self, condition: Callable[[], bool]) -> None:
        for _ in range(1_000):
            if condition():
                return
            self.clock.advance(0.01)
        self.fail("not within 10 s")

    def test_nothing(self) -> None:
        """With nothing to store stopping takes no time."""
        self.successResultOf(self.ingest.stopService())

    def test_flushes(self) -> None:
        """Stopping waits until all that was taken in is stored."""
        self.row(1, 1.0)
        self.turn()
        self.row(2, 2.0)
        with logged() as log:
            stopped = self.stopping()
            self.store.confirm()
            self.clock.advance(0.01)
            self.assertNoResult(stopped)
            self.store.confirm()
            self.until(lambda: stopped.called)
            self.successResultOf(stopped)
        self.assertEqual((self.sender.seqs, log.warnings), ([1, 2], []))
        self.assert_stored()

    def test_store_away(self) -> None:
        """With the store away stopping ends in bounded time, and says how many samples were not stored."""
        self.row(1, 1.0)
        self.turn()
        self.store.confirm()
        self.row(2, 2.0)
        self.column(2, 3.0, 4.0)
        self.turn()
        with logged() as log:
            self.store.fail(StoreUnavailable("gone"))
            stopped = self.stopping()
            while not stopped.called:
                self.clock.advance(0.01)
                if self.store.waiting:
                    self.store.fail(StoreUnavailable("gone"))
                self.assertLess(self.clock.seconds(), STOP_TIMEOUT + 1)
            self.successResultOf(stopped)
        self.assertGreaterEqual(self.clock.seconds(), STOP_TIMEOUT - 0.1)
        self.assertIn("stopping with 3 samples not stored", log.warnings[-1])
        self.assertEqual((self.sender.seqs, self.clock.getDelayedCalls()), ([1], []))

    def test_store_hangs(self) -> None:
        """A write that hangs is given up in the end."""
        self.row(1, 1.0)
        self.turn()
        with logged() as log:
            stopped = self.stopping()
            self.clock.pump([0.01] * round(100 * (STOP_TIMEOUT + 1)))
            self.successResultOf(stopped)
        self.assertIn("stopping with 1 samples not stored", log.warnings[-1])
        self.assertEqual(self.clock.getDelayedCalls(), [])
