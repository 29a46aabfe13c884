"""Tests for `perfmon.core.heads`."""

import struct
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import count
from math import isnan, nan

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.frames import FRAME_OVERHEAD, RECORD, names_frame, read_head
from perfmon.core.heads import HeadWrite, confirm, encode, forget
from perfmon.core.numbering import Columns, Numbering, Row
from perfmon.core.tiers import RAW, HeadName, Tier
from tests.memory_heads import MemoryHeads

# Of the windows 0, 3600, 7200 and 10800 the first two are over.
NOW = 8000.0
WINDOW = 7200

# host, metric, ms since the epoch, value
Sample = tuple[str, str, int, float]

# host, ms since the epoch, value of each metric of the schema of that host
Round = tuple[str, int, list[float]]

SCHEMA = ["s.a", "s.b", "m0"]


@dataclass(frozen=True)
class Commit:
    """What one writer stores at once."""

    writer: int
    batches: list[list[Sample]]
    rounds: list[Round]


class Writer:
    """One collector: it numbers hosts and metrics in its own order."""

    def __init__(self, number: int) -> None:
        self.numbering = Numbering(count(number * 1000).__next__)

    def columns(self, samples: Sequence[Sample]) -> Columns:
        return Columns(
            self.numbering,
            np.array([self.numbering.series(host, metric) for host, metric, _, _ in samples], np.int64),
            np.array([time for _, _, time, _ in samples], np.int64),
            np.array([value for _, _, _, value in samples], np.float64),
        )

    def row(self, host: str, time_ms: int, values: Sequence[float], schema: Sequence[str] = SCHEMA) -> Row:
        log, first = self.numbering.schema(host, schema)
        return Row(log, first, time_ms, struct.pack(f"<{len(values)}d", *values))

    def encode(self, commit: Commit, now: float = NOW) -> list[HeadWrite]:
        return encode(map(self.columns, commit.batches), [self.row(*each) for each in commit.rounds], now)


class Model:
    """The same in dictionaries."""

    def __init__(self) -> None:
        self.heads: dict[HeadName, dict[str, dict[int, float]]] = {}

    def store(self, commit: Commit, only: Callable[[HeadName], bool] = lambda name: True) -> None:
        samples = [sample for batch in commit.batches for sample in batch]
        samples += [
            (host, metric, time, value)
            for host, time, values in commit.rounds
            for metric, value in zip(SCHEMA, values, strict=True)
        ]
        for host, metric, time, value in samples:
            name = HeadName(host, "raw", time // 3_600_000 * 3600)
            if only(name):
                series = self.heads.setdefault(name, {})
                if not isnan(value):
                    series.setdefault(metric, {})[time] = value


times = st.builds(
    lambda window, offset: window * 1000 + offset,
    st.sampled_from([0, 3600, 7200, 10_800]),
    st.sampled_from([0, 1, 2, 3_599_999]),
)
hosts = st.sampled_from(["web1", "web2"])
values = st.integers(0, 99).map(float)
samples = st.tuples(hosts, st.sampled_from([f"m{i}" for i in range(6)]), times, values)
rounds = st.tuples(hosts, times, st.lists(values | st.just(nan), min_size=len(SCHEMA), max_size=len(SCHEMA)))


def commits(writers: Collection[int]) -> st.SearchStrategy[Commit]:
    return st.builds(
        Commit,
        st.sampled_from(list(writers)),
        st.lists(st.lists(samples, max_size=5), max_size=3),
        st.lists(rounds, max_size=4),
    )


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
        """A write names its head and its expiry, and declares what it uses before it does."""
        [write] = self.samples("a", "b")
        self.assertEqual(write.name, HeadName("web1", "raw", WINDOW))
        self.assertEqual(write.expires_at, RAW.expires_at(WINDOW))
        self.assertIs(write.log, self.writer.numbering.host("web1"))
        self.assertEqual(write.declares, 2)
        self.assertTrue(write.data.startswith(names_frame(1000, 0, ["a", "b"])))

    def test_tier(self) -> None:
        """Windows are those of the tier."""
        tier = Tier("1m", window=86_400, retention=10)
        [write] = encode([self.writer.columns([("web1", "a", 86_400_007, 1.0)])], [], 90_000.0, tier)
        self.assertEqual(write.name, HeadName("web1", "1m", 86_400))
        self.assertEqual(write.expires_at, tier.expires_at(86_400))
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
            self.store.read()[HeadName("web1", "raw", 7200)],
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
            {(write.name.host, write.name.window): len(write.data) - FRAME_OVERHEAD for write in writes},
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
        self.assertEqual(len(write.data), FRAME_OVERHEAD + 3 * RECORD.itemsize)

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

    def test_late(self) -> None:
        """In a window that is over every append declares everything: each can be read by itself."""
        for window, over in ((0, True), (3600, True), (7200, False), (10_800, False)):
            self.store.confirmed(self.samples("a", "b", window=window))
            [write] = self.samples("b", window=window)
            self.assertEqual(write.data.startswith(names_frame(1000, 0, ["a", "b"])), over, window)
            if over:
                self.assertEqual(set(read_head(write.data, window, "x")), {"b"})
            else:
                self.assertEqual(read_head(write.data, window, "x"), {})

    def test_border_of_late(self) -> None:
        """A window is over from the first moment of the next one."""
        sample: Sample = ("web1", "a", 7_200_000, 1.0)
        for now, declares in ((10_799.9, False), (10_800.0, True), (10_900.0, True)):
            writer = Writer(1)
            for _ in range(2):
                writes = writer.encode(Commit(1, [[sample]], []), now)
                confirm(writes, [b"identity"])
            self.assertEqual(writes[0].data.startswith(b"N"), declares, now)

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


class ConfirmTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.store = MemoryHeads()
        self.writers = [Writer(1), Writer(2)]

    def samples(self, writer: int, *metrics: str, repeat: int = 1) -> list[HeadWrite]:
        batch: list[Sample] = [("web1", metric, 7_200_000 + i, 1.0) for i in range(repeat) for metric in metrics]
        return self.writers[writer].encode(Commit(writer, [batch], []))

    def test_the_same(self) -> None:
        """While a head stays the same one, nothing must follow."""
        for metrics in (["a"], ["a", "b"], ["b"], ["c"]):
            writes = self.samples(0, *metrics)
            self.assertEqual(confirm(writes, self.store.write(writes)), [])

    def test_another_writer(self) -> None:
        """What another writer appends is no reason to declare again."""
        for _ in range(3):
            for writer in (0, 1):
                writes = self.samples(writer, "a", "b")
                self.assertEqual(confirm(writes, self.store.write(writes)), [])
        self.assertFalse(self.samples(0, "b")[0].data.startswith(b"N"))

    def test_replaced(self) -> None:
        """A head that was lost between two appends is told all names at once, in the same head."""
        self.store.confirmed(self.samples(0, "a", "b"))
        self.store.heads.clear()
        writes = self.samples(0, "b")
        again = confirm(writes, self.store.write(writes))
        [write] = again
        self.assertEqual((write.name, write.expires_at), (writes[0].name, writes[0].expires_at))
        self.assertEqual(write.data, names_frame(1000, 0, ["a", "b"]))
        self.assertEqual(self.store.read()[write.name], {})
        self.assertEqual(confirm(again, self.store.write(again)), [])
        self.assertEqual(self.store.read()[write.name], {"b": {7_200_000: 1.0}})

    def test_replaced_with_new_names(self) -> None:
        """A head that was lost just when it was told of further names is told all of them."""
        self.store.confirmed(self.samples(0, "a", "b"))
        self.store.heads.clear()
        self.store.confirmed(self.samples(0, "a", "c"))
        self.assertEqual(set(self.store.read()[HeadName("web1", "raw", WINDOW)]), {"a", "c"})

    def test_lost_again(self) -> None:
        """A head that is lost once more while its names are told is told them once more."""
        self.store.confirmed(self.samples(0, "a"))
        self.store.heads.clear()
        writes = self.samples(0, "a")
        again = confirm(writes, self.store.write(writes))
        self.store.heads.clear()
        self.assertEqual(len(confirm(again, self.store.write(again))), 1)

    def test_only_the_lost_one(self) -> None:
        """One key lost of many: only that head is told again."""
        batch: list[Sample] = [(f"h{i}", "a", 7_200_000, 1.0) for i in range(5)]
        commit = Commit(0, [batch], [])
        self.store.confirmed(self.writers[0].encode(commit))
        lost = HeadName("h3", "raw", WINDOW)
        del self.store.heads[lost]
        writes = self.writers[0].encode(commit)
        self.assertEqual([write.name for write in confirm(writes, self.store.write(writes))], [lost])

    def test_replaced_under_several_writers(self) -> None:
        """Each of several writers of a lost head declares again, also where the new one is longer than it knew."""
        for writer in (0, 1):
            self.store.confirmed(self.samples(writer, "a", "b"))
        self.store.heads.clear()
        self.store.confirmed(self.samples(1, "a", repeat=100))
        self.store.confirmed(self.samples(0, "b"))
        self.assertEqual(set(self.store.read()[HeadName("web1", "raw", WINDOW)]), {"a", "b"})

    def test_forget(self) -> None:
        """After a failure the next append declares everything, whether the one before was stored or not."""
        for stored in (True, False):
            self.setUp()
            self.store.confirmed(self.samples(0, "a", "b"))
            writes = self.samples(0, "c")
            if stored:
                self.store.write(writes)
            forget(writes)
            [write] = self.samples(0, "a")
            self.assertTrue(write.data.startswith(names_frame(1000, 0, ["a", "b", "c"])))
            self.assertEqual(confirm([write], self.store.write([write])), [])
            self.assertEqual(set(self.store.read()[write.name]), {"a", "b", "c"} if stored else {"a", "b"})


class ModelTests(SynchronousTestCase):
    """Any commits, against dictionaries."""

    @settings(max_examples=60)
    @given(st.lists(commits([1, 2, 3]), max_size=6))
    def test_several_writers(self, steps: list[Commit]) -> None:
        """What several writers store on the same hosts, in open and late windows, is read as one log."""
        store, model, writers = MemoryHeads(), Model(), {number: Writer(number) for number in (1, 2, 3)}
        for commit in steps:
            store.confirmed(writers[commit.writer].encode(commit))
            model.store(commit)
            self.assertEqual(store.read(), model.heads)

    @settings(max_examples=60)
    @given(st.lists(commits([1, 2, 3]) | st.integers(0, 7), max_size=10))
    def test_losses(self, steps: list[Commit | int]) -> None:
        """Whichever keys the store loses between commits, what anybody stores after is readable, and nothing else."""
        store, model, writers = MemoryHeads(), Model(), {number: Writer(number) for number in (1, 2, 3)}
        for step in steps:
            if isinstance(step, Commit):
                store.confirmed(writers[step.writer].encode(step))
                model.store(step)
                self.assertEqual(store.read(), model.heads)
            elif store.heads:
                name = sorted(store.heads)[step % len(store.heads)]
                del store.heads[name], model.heads[name]

    @settings(max_examples=60)
    @given(st.lists(st.tuples(commits([1, 2]), st.none() | st.integers(0, 255)), max_size=6))
    def test_failures(self, steps: list[tuple[Commit, int | None]]) -> None:
        """Commits that fail, with some of their appends stored: every head stays readable, and holds just those."""
        store, model, writers = MemoryHeads(), Model(), {number: Writer(number) for number in (1, 2)}
        for commit, stored in steps:
            writes = writers[commit.writer].encode(commit)
            if stored is None:
                store.confirmed(writes)
                model.store(commit)
            else:
                kept = [write for place, write in enumerate(writes) if stored >> place & 1]
                store.write(kept)
                forget(writes)
                model.store(commit, {write.name for write in kept}.__contains__)
            self.assertEqual(store.read(), model.heads)
