"""Tests for `perfmon.services.sources`, as the ingest uses it."""

from perfmon.services import ingest as ingest_module
from tests.logs import logged
from tests.services.ingest_case import IngestCase
from tests.services.recording import RecordingSource


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
