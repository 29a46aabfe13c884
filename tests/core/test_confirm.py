"""Tests for `perfmon.core.heads`: what must follow what the store answers."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.frames import names_frame
from perfmon.core.head_reader import read_head
from perfmon.core.heads import HeadWrite, confirm, forget
from perfmon.core.tiers import WindowName
from tests.core.writers import WINDOW, Commit, Model, Sample, Writer, commits
from tests.memory_heads import MemoryHeads

NAME = WindowName("web1", "raw", WINDOW)


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
        """To a head that was lost between two appends nothing is appended; the same comes again behind all names."""
        self.store.confirmed(self.samples(0, "a", "b"))
        self.store.heads.clear()
        writes = self.samples(0, "b")
        self.assertEqual(self.store.write(writes), [b""])
        self.assertEqual(self.store.heads, {})
        [write] = again = confirm(writes, [b""])
        self.assertEqual(writes[0].state.declared, 0)
        self.assertEqual(
            (write.name, write.expires_at, write.seal_at),
            (writes[0].name, writes[0].expires_at, writes[0].seal_at),
        )
        self.assertEqual(write.data, names_frame(1000, 0, ["a", "b"]) + writes[0].data)
        self.assertEqual((write.expects, write.declares), (b"", 2))
        self.assertEqual(confirm(again, self.store.write(again)), [])
        self.assertEqual(self.store.read(), {write.name: {"b": {7_200_000: 1.0}}})
        [following] = self.samples(0, "a")
        self.assertEqual((following.expects, following.data[:1]), (self.store.heads[write.name][12:20], b"S"))

    def test_replaced_with_new_names(self) -> None:
        """A head that was lost just when it was told of further names is told all of them."""
        self.store.confirmed(self.samples(0, "a", "b"))
        self.store.heads.clear()
        self.store.confirmed(self.samples(0, "a", "c"))
        self.assertEqual(set(self.store.read()[NAME]), {"a", "c"})
        self.assertFalse(self.samples(0, "a", "b", "c")[0].data.startswith(b"N"))

    def test_replaced_by_another(self) -> None:
        """A head that another writer began anew is told all names, too."""
        for writer in (0, 1):
            self.store.confirmed(self.samples(writer, "a", "b"))
        self.store.heads.clear()
        self.store.confirmed(self.samples(1, "a"))
        writes = self.samples(0, "b")
        self.assertEqual(self.store.write(writes), [b""])
        self.store.confirmed(confirm(writes, [b""]))
        self.assertEqual(set(self.store.read()[NAME]), {"a", "b"})

    def test_lost_again(self) -> None:
        """What comes again needs no head: it is there once, whatever became of the head meanwhile."""
        for taken in (True, False):
            self.setUp()
            self.store.confirmed(self.samples(0, "a"))
            self.store.heads.clear()
            again = confirm(self.samples(0, "a"), [b""])
            if taken:
                self.store.confirmed(self.samples(1, "x"))
            identities = self.store.write(again)
            self.store.take(NAME)
            self.assertEqual(confirm(again, identities), [])
            self.assertEqual(self.store.read_all()[NAME]["a"], {7_200_000: 1.0})

    def test_failed_again(self) -> None:
        """After a failure of what came again everything is declared again, to any head."""
        self.store.confirmed(self.samples(0, "a", "b"))
        self.store.heads.clear()
        writes = self.samples(0, "a")
        confirm(writes, self.store.write(writes))
        forget(writes)
        [write] = self.samples(0, "b")
        self.assertEqual((write.expects, write.data.startswith(names_frame(1000, 0, ["a", "b"]))), (b"", True))

    def test_only_the_lost_one(self) -> None:
        """One key lost of many: only that head is told again."""
        batch: list[Sample] = [(f"h{i}", "a", 7_200_000, 1.0) for i in range(5)]
        commit = Commit(0, [batch], [])
        self.store.confirmed(self.writers[0].encode(commit))
        lost = WindowName("h3", "raw", WINDOW)
        del self.store.heads[lost]
        writes = self.writers[0].encode(commit)
        again = confirm(writes, self.store.write(writes))
        self.assertEqual([write.name for write in again], [lost])
        self.store.confirmed(again)
        self.assertEqual({name.host for name in self.store.read()}, {"h0", "h1", "h2", "h3", "h4"})

    def test_replaced_under_several_writers(self) -> None:
        """Each of several writers of a lost head declares again, also where the new one is longer than it knew."""
        for writer in (0, 1):
            self.store.confirmed(self.samples(writer, "a", "b"))
        self.store.heads.clear()
        self.store.confirmed(self.samples(1, "a", repeat=100))
        self.store.confirmed(self.samples(0, "b"))
        self.assertEqual(set(self.store.read()[NAME]), {"a", "b"})

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


class TakenTests(SynchronousTestCase):
    """Heads that are taken to be sealed, at any moment."""

    def test_between_append_and_answer(self) -> None:
        """A head taken after each append, before its answer is known: every sample is in some head, with its name."""
        store, writer = MemoryHeads(), Writer(1)
        for at in range(4):
            writes = writer.encode(Commit(1, [[("web1", metric, 7_200_000 + at, 1.0) for metric in "ab"]], []))
            rounds = 0
            while writes:
                identities = store.write(writes)
                if NAME in store.heads:
                    store.take(NAME)
                writes = confirm(writes, identities)
                rounds += 1
            self.assertLessEqual(rounds, 2)
            expected = {7_200_000 + each: 1.0 for each in range(at + 1)}
            self.assertEqual(store.read_all(), {NAME: {"a": expected, "b": expected}})
        self.assertEqual(len(store.taken), 4)

    def test_nothing_without_names(self) -> None:
        """No head that is taken has a sample that cannot be read: each is complete by itself."""
        store, writers = MemoryHeads(), [Writer(1), Writer(2)]
        for at in range(6):
            for writer in writers:
                store.confirmed(writer.encode(Commit(1, [[("web1", "a", 7_200_000 + at, 1.0)]], [])))
                if at % 2:
                    store.take(NAME)
        for name, head in store.taken:
            self.assertTrue(read_head(head, name.window, str(name))["a"].times.tolist())

    @settings(max_examples=60)
    @given(
        st.lists(
            st.tuples(commits([1, 2, 3]), st.lists(st.integers(0, 15), min_size=4, max_size=4)), min_size=1, max_size=6
        )
    )
    def test_any(self, steps: list[tuple[Commit, list[int]]]) -> None:
        """Whichever heads are taken before an append or before its answer: what was confirmed is there, no more."""
        store, model, writers = MemoryHeads(), Model(), {number: Writer(number) for number in (1, 2, 3)}

        def take(places: int) -> None:
            for at, name in enumerate(sorted(store.heads)):
                if places >> at & 1:
                    store.take(name)

        for commit, taken in steps:
            writes = writers[commit.writer].encode(commit)
            for turn in (0, 2):
                take(taken[turn])
                identities = store.write(writes)
                take(taken[turn + 1])
                writes = confirm(writes, identities)
            self.assertEqual(writes, [])
            model.store(commit)
            self.assertEqual(store.read_all(), model.heads)
