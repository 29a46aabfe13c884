"""Tests for `perfmon.services.ingest`, with appends that are answered when the test says so."""

import struct
from collections.abc import Callable

import numpy as np
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.heads import BATCH_SIZE
from perfmon.core.numbering import Columns, Numbering, Row
from perfmon.services import ingest as ingest_module
from perfmon.services.ingest import STOP_TIMEOUT, Ingest
from perfmon.storage.store import StoreUnavailable
from tests.logs import logged
from tests.services.recording import ControlledAppends, RecordingSender, RecordingSource

NOW = 1_800_000_000.0
Samples = list[tuple[str, str, float, float]]


class IngestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.store = ControlledAppends()
        self.begin()
        self.sender = RecordingSender()
        self.added: Samples = []

    def begin(self, batch_size: int = BATCH_SIZE, batch_time: float = 0.0) -> None:
        self.ingest = Ingest(
            self.store,
            self.clock,
            lambda: NOW + self.clock.seconds(),
            batch_size=batch_size,
            batch_time=batch_time,
        )
        self.ingest.startService()

    def row(self, seq: int, *values: float, host: str = "web1") -> None:
        """One round of the metrics m0, m1, ..., sent by `sender`."""
        names = [f"m{number}" for number in range(len(values))]
        log, first = self.ingest.numbering.schema(host, names)
        packed = struct.pack(f"<{len(values)}d", *values)
        self.ingest.add_row(Row(log, first, round((NOW + seq) * 1000), packed), self.sender, seq)
        self.added += [(host, name, NOW + seq, value) for name, value in zip(names, values, strict=True)]

    def column(self, seq: int, *values: float, host: str = "web2") -> None:
        """The same as columns, without a sender."""
        self.ingest.add_columns(self.columns(seq, *values, host=host))
        self.added += [(host, f"m{number}", NOW + seq, value) for number, value in enumerate(values)]

    def columns(self, seq: int, *values: float, host: str = "web2") -> Columns:
        numbering = self.ingest.numbering
        series = [numbering.series(host, f"m{number}") for number in range(len(values))]
        times = np.full(len(values), round((NOW + seq) * 1000), np.int64)
        return Columns(numbering, np.array(series, np.int64), times, np.array(values))

    def turn(self) -> None:
        """One turn of the reactor."""
        self.clock.advance(0)

    def assert_stored(self) -> None:
        """Everything that was added can be read, and counts as stored."""
        self.assertEqual(self.store.samples(), sorted(self.added))
        self.assertEqual((self.ingest.received, self.ingest.stored), (len(self.added), len(self.added)))
        self.assertEqual((self.ingest.buffered, self.store.waiting, self.clock.getDelayedCalls()), (0, False, []))


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


class WatermarkTests(IngestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(ingest_module, "HIGH_WATER", 1_000)
        self.patch(ingest_module, "LOW_WATER", 500)
        self.begin(batch_size=1)
        self.source = RecordingSource()
        self.ingest.attach(self.source)

    def test_pause_and_resume(self) -> None:
        """Above the high watermark the sources are paused, below the low one they go on, once each."""
        with logged() as log:
            for seq in range(3):
                self.row(seq, 1.0)
            self.assertEqual((self.source.heard, self.ingest.paused), ([], False))
            for seq in range(3, 6):
                self.row(seq, 1.0)
            self.assertEqual((self.source.heard, self.ingest.paused), (["pause"], True))
            while self.ingest.buffered:
                before = self.ingest.buffered
                self.turn()
                self.store.confirm()
                self.assertLess(self.ingest.buffered, before)
                self.assertEqual(self.ingest.paused, self.ingest.buffered >= 500)
        self.assertEqual(self.source.heard, ["pause", "resume"])
        self.assertEqual(len(log.infos), 2)
        self.assert_stored()

    def test_attach_while_paused(self) -> None:
        """A source that comes while it is too much is paused at once, and goes on with the others."""
        self.fill()
        late = RecordingSource()
        self.ingest.attach(late)
        self.assertEqual(late.heard, ["pause"])
        self.drain()
        self.assertEqual(late.heard, ["pause", "resume"])

    def test_many_go_on(self) -> None:
        """Of many sources some go on at once and others after them, as long as there is room, each of them once."""
        many = [RecordingSource() for _ in range(50)]
        for source in many:
            self.ingest.attach(source)
        self.fill()
        self.drain()
        resumed = [self.source, *many]
        for count in (16, 32, 48):
            self.assertEqual(sum(source.heard == ["pause", "resume"] for source in resumed), count)
            self.clock.advance(0.05)
        self.assertEqual([source.heard for source in resumed], [["pause", "resume"]] * 51)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_room_to_go_on(self) -> None:
        """Where those that went on have filled the buffer again, the others wait for longer, and are not told again."""
        many = [RecordingSource() for _ in range(50)]
        for source in many:
            self.ingest.attach(source)
        self.fill()
        self.drain()
        gone_on = [source for source in many if len(source.heard) == 2]
        self.fill()
        self.clock.advance(1)
        self.assertEqual({len(source.heard) for source in gone_on}, {3})
        self.assertEqual({tuple(source.heard) for source in many if source not in gone_on}, {("pause",)})
        self.drain()
        self.clock.pump([0.05] * 5)
        self.assertEqual({source.heard[-1] for source in many}, {"resume"})
        self.assertEqual({source.heard.count("resume") for source in many if source not in gone_on}, {1})

    def test_stopped_while_held(self) -> None:
        """Stopping leaves no timer behind, however many sources still wait."""
        for _ in range(50):
            self.ingest.attach(RecordingSource())
        self.fill()
        self.drain()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.ingest.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_detached(self) -> None:
        """A source that has gone is not told any more."""
        self.ingest.detach(self.source)
        self.fill()
        self.drain()
        self.assertEqual(self.source.heard, [])
        self.ingest.detach(self.source)

    def test_gone_while_told(self) -> None:
        """Sources may go while they are told: one that is resumed may end."""

        class Fragile(RecordingSource):
            def resume(this) -> None:  # noqa: N805 - `self` is the test
                super().resume()
                self.ingest.detach(this)

        sources = [Fragile(), Fragile()]
        for source in sources:
            self.ingest.attach(source)
        self.fill()
        self.drain()
        self.assertEqual([source.heard for source in sources], [["pause", "resume"]] * 2)

    def test_after_a_bug(self) -> None:
        """Commits that are lost to a bug are no longer buffered, so they cannot hold up the sources for ever."""
        self.fill()
        while self.ingest.buffered:
            self.turn()
            self.store.fail(ZeroDivisionError("bug"))
        self.assertEqual(self.source.heard, ["pause", "resume"])
        self.flushLoggedErrors(ZeroDivisionError)

    def fill(self) -> None:
        for seq in range(5):
            self.row(seq, 1.0)
        self.assertTrue(self.ingest.paused)

    def drain(self) -> None:
        while self.ingest.buffered:
            self.turn()
            self.store.confirm()


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
