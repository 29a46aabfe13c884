"""Tests for `perfmon.core.heads`: what is appended. What the store answers to it: `test_confirm`."""

from collections.abc import Sequence
from math import nan
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core import heads
from perfmon.core.frames import FRAME_HEADER, RECORD, ROWS_HEADER, names_frame
from perfmon.core.head_reader import read_head
from perfmon.core.heads import HeadWrite, encode
from perfmon.core.tiers import GRACE, LATE, RAW, STAGE, Tier, WindowName
from tests.core.writers import NOW, WINDOW, Commit, Model, Sample, Writer
from tests.memory_heads import MemoryHeads


class EncodeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.writer = Writer(1)
        self.store = MemoryHeads()

    def samples(self, *metrics: str, window: int = WINDOW) -> list[HeadWrite]:
        batch: list[Sample] = [("web1", metric, window * 1000 + 5, 1.0) for metric in metrics]
        return self.writer.encode(Commit(1, [batch], []))

    def test_nothing(self) -> None:
        """Where there are no samples, nothing is written."""
        self.assertEqual(encode([], [], NOW), [])
        self.assertEqual(encode([self.writer.columns([])], [], NOW), [])
        self.assertEqual(self.writer.encode(Commit(1, [[], []], [])), [])

    def test_write(self) -> None:
        """A write names its head, its expiry and when to seal it, and declares what it uses before it does."""
        [write] = self.samples("a", "b")
        self.assertEqual(write.name, WindowName("web1", "raw", WINDOW))
        self.assertEqual(write.expires_at, RAW.spared_until(WINDOW))
        self.assertEqual(write.seal_at, NOW + STAGE)
        self.assertIs(write.log, self.writer.numbering.host("web1"))
        self.assertEqual((write.declares, write.expects), (2, b""))
        self.assertTrue(write.data.startswith(names_frame(1000, 0, ["a", "b"])))

    def test_tier(self) -> None:
        """Windows are those of the tier."""
        tier = Tier("1m", window=86_400, retention=10)
        [write] = encode([self.writer.columns([("web1", "a", 86_400_007, 1.0)])], [], 90_000.0, tier)
        self.assertEqual(write.name, WindowName("web1", "1m", 86_400))
        self.assertEqual((write.expires_at, write.seal_at), (tier.spared_until(86_400), tier.seal_at(86_400, 90_000.0)))
        self.assertEqual(read_head(write.data, 86_400, "x")["a"].times.tolist(), [86_400_007])

    def test_one_write_for_each_head(self) -> None:
        """All that a batch, other batches and rows hold for one head is one append."""
        batches: list[list[Sample]] = [
            [("web1", "a", 7_200_000, 1.0), ("web2", "a", 7_200_000, 2.0), ("web1", "a", 10_800_000, 3.0)],
            [("web1", "b", 7_200_001, 4.0), ("web1", "b", 3_600_000, 5.0)],
        ]
        writes = self.writer.encode(Commit(1, batches, [("web1", 7_200_002, [6.0, nan, 7.0])]))
        expected = [("web1", 3600), ("web1", 7200), ("web1", 10_800), ("web2", 7200)]
        self.assertEqual(sorted((write.name.host, write.name.window) for write in writes), expected)
        self.store.confirmed(writes)
        self.assertEqual(
            self.store.read()[WindowName("web1", "raw", 7200)],
            {
                "a": {7_200_000: 1.0},
                "b": {7_200_001: 4.0},
                "s.a": {7_200_002: 6.0},
                "m0": {7_200_002: 7.0},
            },
        )

    def test_one_frame_for_a_batch(self) -> None:
        """The samples of a batch share one frame in each head, however its windows and hosts alternate."""
        places = [("web1", 7200), ("web2", 10_800), ("web1", 10_800), ("web2", 7200), ("web1", 7200)] * 2
        batch: list[Sample] = [(host, "a", window * 1000 + i, 1.0) for i, (host, window) in enumerate(places)]
        self.store.confirmed(self.writer.encode(Commit(1, [batch], [])))
        writes = self.writer.encode(Commit(1, [batch], []))
        self.assertEqual(
            {(write.name.host, write.name.window): len(write.data) - FRAME_HEADER.size for write in writes},
            {place: places.count(place) * RECORD.itemsize for place in places},
        )

    def test_rows_alike_share_a_frame(self) -> None:
        """Rows of one schema in one commit pay for one frame."""
        writer = self.writer
        one, two = [
            encode([], [writer.row("web1", 7_200_000 + i, [1.0, 2.0, 3.0]) for i in range(rows)], NOW)[0]
            for rows in (1, 2)
        ]
        self.assertEqual(len(two.data) - len(one.data), 4 + 3 * 8)

    def test_declared_once(self) -> None:
        """Once a head is told a name, further samples cost their record and a frame, no more."""
        self.store.confirmed(self.samples("a", "b"))
        [write] = self.samples("a", "b", "a")
        self.assertEqual(len(write.data), FRAME_HEADER.size + 3 * RECORD.itemsize)

    def test_declared_ahead(self) -> None:
        """A head that is told names is told all that the host has, and none of them again when it is used."""
        self.store.confirmed(self.samples("a", "b", window=WINDOW + 3600))
        self.store.confirmed(self.samples("a"))
        self.assertFalse(self.samples("b")[0].data.startswith(b"N"))

    def test_new_names(self) -> None:
        """A new metric is declared by itself; those declared before are not told again."""
        self.store.confirmed(self.samples("a", "b"))
        [write] = self.samples("a", "c")
        self.assertTrue(write.data.startswith(names_frame(1000, 2, ["c"])))
        self.store.confirmed([write])
        self.assertEqual(set(self.store.read()[write.name]), {"a", "b", "c"})

    def test_next_window(self) -> None:
        """A head that begins is told all names, though the one before it knows them."""
        self.store.confirmed(self.samples("a", "b"))
        [write] = self.samples("a", window=WINDOW + 3600)
        self.assertTrue(write.data.startswith(names_frame(1000, 0, ["a", "b"])))

    def test_seal_at(self) -> None:
        """An open window is due to be sealed in parts and when it is over; a late one as soon as its kind is there."""
        for window, now, due in (
            (7200, 7200.0, 7200.0 + STAGE),
            (7200, 10_700.0, 10_800.0 + GRACE),
            (7200, 10_800.0, 10_800.0 + GRACE),  # over, and its last round is under way
            (7200, 10_800.0 + GRACE, 10_800.0 + GRACE + LATE),
            (0, 8000.0, 8000.0 + LATE),
            (-36_000, 8000.0, 8000.0 + LATE),
            (10_800, 10_700.0, 10_700.0 + STAGE),
        ):
            writer = Writer(1)
            row = writer.row("web1", window * 1000, [1.0, 2.0, 3.0])
            for columns, rows in (([writer.columns([("web1", "a", window * 1000, 1.0)])], []), ([], [row])):
                [write] = encode(columns, rows, now)
                self.assertEqual(write.seal_at, due, (window, now))

    def test_expects(self) -> None:
        """What needs names that stand in a head goes to that one only; what brings all of them, to any."""
        self.store.confirmed(self.samples("a"))
        identity = self.store.heads[WindowName("web1", "raw", WINDOW)][12:20]
        for metrics in (["a"], ["b"], ["a", "b"]):
            self.assertEqual([write.expects for write in self.samples(*metrics)], [identity])
        self.assertEqual([write.expects for write in self.samples("a", window=WINDOW + 3600)], [b""])

    def test_late(self) -> None:
        """Late windows are told no name twice as long as they are among the last few; older ones all of them."""
        for window in (10_800, 7200, 3600):
            self.store.confirmed(self.samples("a", "b", window=window))
            [write] = self.samples("b", window=window)
            self.assertFalse(write.data.startswith(b"N"))
            self.assertEqual(read_head(write.data, window, "x"), {})
        for window in (0, -3600, 0):
            self.store.confirmed(self.samples("a", "b", window=window))
            [write] = self.samples("b", window=window)
            self.assertTrue(write.data.startswith(names_frame(1000, 0, ["a", "b"])))
            self.assertEqual((write.expects, set(read_head(write.data, window, "x"))), (b"", {"b"}))

    def test_late_does_not_push_out(self) -> None:
        """A spool from yesterday does not make the collector forget what the open heads were told."""
        self.store.confirmed(self.samples("a"))
        for window in range(-36_000, 3601, 3600):
            self.store.confirmed(self.samples("a", window=window))
        [write] = self.samples("a")
        self.assertFalse(write.data.startswith(b"N"))

    def test_last_of_a_batch_wins(self) -> None:
        """Of samples of one series and time in one batch, among those of other hosts, the last counts."""
        batch: list[Sample] = [(f"h{i % 7}", "a", 7_200_000 + i % 3, float(i)) for i in range(500)]
        self.store.confirmed(self.writer.encode(Commit(1, [batch], [])))
        model = Model()
        model.store(Commit(1, [batch], []))
        self.assertEqual(self.store.read(), model.heads)


class RoundsTests(SynchronousTestCase):
    """Rounds that come as single samples, as Graphite's do, are kept as rows: half of the bytes."""

    def setUp(self) -> None:
        self.writer = Writer(1)
        self.store = MemoryHeads()

    def rounds(self, hosts: int, metrics: int, times: Sequence[int]) -> list[Sample]:
        return [
            (f"web{host}", f"m{metric}", time, float(host * metric + time))
            for time in times
            for host in range(hosts)
            for metric in range(metrics)
        ]

    def sizes(self, batch: list[Sample]) -> set[int]:
        """Sizes of the appends of `batch`, which the heads know the names of."""
        self.store.confirmed(self.writer.encode(Commit(1, [batch], [])))
        writes = self.writer.encode(Commit(1, [batch], []))
        self.store.confirmed(writes)
        return {len(write.data) for write in writes}

    def test_rows(self) -> None:
        """Whole rounds of a host share one frame of rows."""
        times = [WINDOW * 1000 + 10_000 * number for number in range(3)]
        batch = self.rounds(5, 100, times)
        frame = FRAME_HEADER.size + ROWS_HEADER.size
        self.assertEqual(self.sizes(batch), {frame + 3 * (4 + 8 * 100)})
        model = Model()
        model.store(Commit(1, [batch], []))
        self.assertEqual(self.store.read(), model.heads)

    def test_single_samples(self) -> None:
        """A few of a round, or rounds in pieces, are records: to read each piece as rows would be slower."""
        few = self.rounds(5, 20, [WINDOW * 1000])
        self.assertEqual(self.sizes(few), {FRAME_HEADER.size + 20 * RECORD.itemsize})
        mixed = self.rounds(5, 100, [WINDOW * 1000 + 7])[::-1]
        self.assertEqual(self.sizes(mixed), {FRAME_HEADER.size + 100 * RECORD.itemsize})

    @settings(max_examples=200)
    @given(
        st.lists(
            st.tuples(st.integers(0, 2), st.integers(0, 8), st.integers(1, 6), st.integers(0, 3), st.booleans()),
            max_size=12,
        ),
        st.sampled_from([1, 2, 3]),
    )
    def test_any(self, pieces: list[tuple[int, int, int, int, bool]], least: int) -> None:
        """However rounds, parts of rounds, windows and hosts follow each other, the last of a time wins."""
        batch: list[Sample] = []
        for number, (host, first, count, time, next_window) in enumerate(pieces):
            moment = (WINDOW + RAW.window * next_window) * 1000 + time
            batch += [(f"web{host}", f"m{first + i}", moment, float(100 * number + i)) for i in range(count)]
        writer, store, model = Writer(1), MemoryHeads(), Model()
        with mock.patch.object(heads, "_ROUND", least):
            for part in (batch, batch[::-1]):
                commit = Commit(1, [part], [])
                store.confirmed(writer.encode(commit))
                model.store(commit)
                self.assertEqual(store.read(), model.heads)
