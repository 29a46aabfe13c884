"""Tests for `perfmon.services.spool` and `perfmon.services.spool_file`."""

import os
import resource
import sqlite3
from pathlib import Path
from unittest.mock import patch

import orjson
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.flight import Round
from perfmon.core.messages import Gap
from perfmon.services import spool as spool_module
from perfmon.services.spool import MAX_IN_MEMORY, Spool
from perfmon.services.spool_file import Row, SpoolFile
from tests.services.spools import NOW, folder

DAY = 86_400.0


class SpoolCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = folder(self) / "spool" / "web1.spool"
        self.now = NOW
        self.told: list[str] = []

    def opened(self, max_size: int = 64 << 20, max_age: float = DAY) -> Spool:
        spool = Spool(self.path, max_size, max_age, self.told.append, lambda: self.now)
        spool.open()
        self.addCleanup(spool.close)
        return spool

    def fill(self, spool: Spool, count: int, **values: float) -> list[Round]:
        """Rounds, a second after each other."""
        rounds = []
        for _ in range(count):
            self.now += 1
            rounds.append(spool.put(self.now, values or {"cpu": self.now - NOW}, (), ()))
        return rounds

    def kept(self, spool: Spool, after: int = 0) -> list[float]:
        """Times of the rounds, counted from `NOW`."""
        return [time(round) - NOW for round in spool.page(after, 1_000_000, ())]


def time(round: Round) -> float:
    found: float = orjson.loads(b"{" + round.body)["time"]
    return found


def values(round: Round) -> dict[str, float | None]:
    return dict(zip(orjson.loads(round.names), orjson.loads(b"{" + round.body)["values"], strict=True))


class KeptTests(SpoolCase):
    def test_order(self) -> None:
        """Rounds come back in the order of their sampling, with their times and values, from wherever one begins."""
        spool = self.opened()
        rounds = self.fill(spool, 5)
        self.assertEqual(spool.page(0, 10, ()), rounds)
        self.assertEqual(spool.page(rounds[1].key, 2, ()), rounds[2:4])
        self.assertEqual(values(rounds[2]), {"cpu": 3.0})
        self.assertEqual(spool.rounds, 5)

    def test_clock_set_back(self) -> None:
        """The order is that of sampling also where the clock was set back meanwhile, or stands still."""
        spool = self.opened()
        rounds = [spool.put(NOW + at, {"cpu": 1.0}, (), ()) for at in (0, 10, 5, 5, 11)]
        self.assertEqual(spool.page(0, 10, ()), rounds)

    def test_forgotten(self) -> None:
        """What is confirmed goes, by whatever call it is told."""
        spool = self.opened()
        one, two, three, _ = self.fill(spool, 4)
        spool.forget([two.key])
        self.assertEqual(self.kept(spool), [1, 3, 4])
        spool.page(0, 1, [three.key, three.key])
        self.now += 1
        spool.put(self.now, {"cpu": 1.0}, [one.key], ())
        self.assertEqual((self.kept(spool), spool.rounds), ([4, 5], 2))

    def test_outlives(self) -> None:
        """What was put is there after the process has gone without a word, and keys go on rising."""
        (before,) = self.fill(self.opened(), 1, cpu=0.25, load=2.0)
        copies = [self.path.with_name(self.path.name + end) for end in ("", "-wal")]
        contents = [path.read_bytes() for path in copies]  # as a kill would leave them
        self.doCleanups()
        self.path.parent.mkdir(parents=True)
        for path, content in zip(copies, contents, strict=True):
            path.write_bytes(content)
        spool = self.opened()
        (after,) = spool.page(0, 10, ())
        self.assertEqual((after, values(after)), (before, {"cpu": 0.25, "load": 2.0}))
        self.assertGreater(self.fill(spool, 1)[0].key, before.key)
        self.assertEqual(self.kept(spool), [1, 2])
        self.path.unlink()

    def test_schemas(self) -> None:
        """Each round keeps the metrics that it was sampled with."""
        spool = self.opened()
        sampled: list[dict[str, float]] = [{"cpu": 1.0}, {"cpu": 2.0, "fan": 3.0}, {"fan": 4.0}]
        rounds = [spool.put(NOW + number, each, (), ()) for number, each in enumerate(sampled)]
        self.assertEqual([values(each) for each in rounds], [*sampled[:2], {"cpu": None, "fan": 4.0}])
        self.assertEqual(rounds[1].schema, rounds[2].schema)
        spool.close()
        self.assertEqual(self.opened().page(0, 10, ()), rounds)

    def test_metrics_that_come_and_go(self) -> None:
        """A host that makes up new metrics for ever fills neither memory nor disk with their names."""
        spool = self.opened()
        for number in range(1_000):
            self.now += 1
            spool.put(self.now, {"cpu": 1.0, f"device{number}": 2.0}, [spool.last_key - 10], ())
            spool.forget([each.key for each in spool.page(0, 1_000, ())[:-10]])
        self.assertLess(len(spool._schemas), 300)
        file = SpoolFile(self.copied())
        self.addCleanup(file.close)
        self.assertLess(len(file.schemas()), 300)
        self.assertEqual([values(each)["cpu"] for each in spool.page(0, 20, ())], [1.0] * 10)

    def copied(self) -> Path:
        """The file as it is."""
        copy = self.path.with_name("copy")
        for end in ("", "-wal"):
            copy.with_name(copy.name + end).write_bytes(self.path.with_name(self.path.name + end).read_bytes())
        return copy

    def test_private(self) -> None:
        """Nobody else may read it."""
        self.opened()
        self.assertEqual([path.stat().st_mode & 0o077 for path in (self.path, self.path.parent)], [0, 0])


class BoundTests(SpoolCase):
    def test_size(self) -> None:
        """The file grows no further than it may; the oldest rounds go, and are told of as one gap."""
        spool = self.opened(max_size=1 << 20)
        many = {f"metric{number}": float(number) for number in range(200)}
        self.fill(spool, 1_000, **many)
        size = self.path.stat().st_size + self.path.with_name(self.path.name + "-wal").stat().st_size
        self.assertLess(size, 2 << 20)
        kept = self.kept(spool)
        self.assertEqual(kept, list(range(int(kept[0]), 1_001)))
        self.assertGreater(len(kept), 200)
        self.assertEqual((spool.dropped, spool.rounds), (1_000 - len(kept), len(kept)))
        gap = spool.gap()
        assert gap is not None
        self.assertEqual((gap.rounds, gap.start, gap.stop), (spool.dropped, NOW + 1, NOW + spool.dropped))
        self.assertIn("--spool-size 1048576 bytes is full", gap.reason)

    def test_size_given_back(self) -> None:
        """After a long outage the file gets small again."""
        spool = self.opened()
        many = {f"metric{number}": float(number) for number in range(200)}
        rounds = self.fill(spool, 3_000, **many)
        before = self.path.stat().st_size
        for first in range(0, 3_000, 64):
            spool.forget([each.key for each in rounds[first : first + 64]])
        spool.close()
        self.assertGreater(before, 3 << 20)
        self.assertLess(self.path.stat().st_size, 2 << 20)

    def test_sent_are_kept(self) -> None:
        """Rounds that are under way are not dropped: they would be told of as lost, and then be confirmed."""
        spool = self.opened(max_size=1)
        rounds = self.fill(spool, 3)
        self.assertEqual(self.kept(spool), [3])
        self.now += 1
        spool.put(self.now, {"cpu": 1.0}, (), {rounds[2].key})
        self.assertEqual(self.kept(spool), [3, 4])

    def test_age(self) -> None:
        """What is older than it may be goes, all at once after a long rest, and is told of."""
        spool = self.opened(max_age=10.0)
        self.fill(spool, 600)
        self.assertEqual(self.kept(spool), list(range(590, 601)))
        self.now += 1_000
        self.fill(spool, 1)
        self.assertEqual(self.kept(spool), [1_601])
        gap = spool.gap()
        assert gap is not None
        self.assertEqual((gap.rounds, gap.start, gap.stop), (600, NOW + 1, NOW + 600))
        self.assertIn("older than --spool-age 10 s", gap.reason)
        self.assertEqual(spool.dropped, 600)


class GapTests(SpoolCase):
    def lose(self, spool: Spool, count: int) -> None:
        """`count` rounds go, for they are too old."""
        self.fill(spool, count)
        self.now += 100
        self.fill(spool, 1)
        spool.forget([round.key for round in spool.page(0, 1_000, ())])

    def test_none(self) -> None:
        spool = self.opened()
        self.fill(spool, 3)
        self.assertEqual((spool.has_gap, spool.gap()), (False, None))

    def test_told_until_noted(self) -> None:
        """A gap is told of until it is noted, also by the next run of the agent."""
        spool = self.opened(max_age=50)
        self.lose(spool, 3)
        gap = spool.gap()
        self.assertEqual(spool.gap(), gap)
        spool.close()
        spool = self.opened()
        self.assertEqual(spool.gap(), gap)
        assert gap is not None
        spool.noted(gap.id + 1)
        self.assertTrue(spool.has_gap)
        spool.noted(gap.id)
        self.assertFalse(spool.has_gap)
        spool.close()
        self.assertFalse(self.opened().has_gap)

    def test_grows(self) -> None:
        """A gap takes in what goes as well until it is told; then it stays as it is, and the rest is another."""
        spool = self.opened(max_age=50)
        self.lose(spool, 3)
        self.lose(spool, 2)
        first = spool.gap()
        self.lose(spool, 4)
        self.lose(spool, 1)
        self.assertEqual(spool.gap(), first)
        assert first is not None
        self.assertEqual((first.rounds, first.start), (5, NOW + 1))
        spool.noted(first.id)
        second = spool.gap()
        assert second is not None
        self.assertEqual(second.rounds, 5)
        self.assertNotEqual(first.id, second.id)
        self.assertGreater(second.start, first.stop)


class DiskTests(SpoolCase):
    def test_unusable_folder(self) -> None:
        """Where no file can be made rounds wait in memory, with one line in the log, until one can be made."""
        self.path.parent.write_text("a file in place of the folder")
        spool = self.opened()
        rounds = self.fill(spool, 3)
        self.assertEqual((spool.page(0, 10, ()), spool.rounds), (rounds, 3))
        (sentence,) = self.told
        self.assertIn(f"the spool {self.path} takes nothing", sentence)
        self.assertIn("give another folder with --spool", sentence)
        self.path.parent.unlink()
        self.now += 60
        rounds += self.fill(spool, 1)
        self.assertEqual(self.told[1:], [f"the spool {self.path} takes rounds again"])
        spool.close()
        self.assertEqual(self.opened().page(0, 10, ()), rounds)

    def test_memory_is_bounded(self) -> None:
        """In memory there is room for so many; the oldest go, and are told of."""
        self.path.parent.write_text("a file in place of the folder")
        spool = self.opened()
        with patch.object(spool_module, "_OPEN_AGAIN", 1e9):
            self.fill(spool, MAX_IN_MEMORY + 1)
        self.assertLessEqual(spool.rounds, MAX_IN_MEMORY)
        self.assertEqual(spool.rounds + spool.dropped, MAX_IN_MEMORY + 1)
        gap = spool.gap()
        assert gap is not None
        self.assertEqual((gap.rounds, gap.start), (spool.dropped, NOW + 1))

    def test_full_disk(self) -> None:
        """While the disk is full rounds wait in memory, in order with those before; then they are all on disk."""
        spool = self.opened()
        rounds = self.fill(spool, 3)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
        try:
            rounds += self.fill(spool, 3)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        self.assertEqual(len(self.told), 1, self.told)
        self.assertEqual((spool.page(0, 10, ()), spool.rounds), (rounds, 6))
        rounds += self.fill(spool, 1)
        self.assertEqual(self.told[1:], [f"the spool {self.path} takes rounds again"])
        spool.close()
        self.assertEqual(self.opened().page(0, 10, ()), rounds)

    def test_used_by_another(self) -> None:
        """A second agent of the same name is told, keeps its own in memory, and spoils nothing."""
        one = self.opened()
        rounds = self.fill(one, 2)
        self.fill(self.opened(), 2)
        self.assertIn("database is locked", self.told[0])
        self.assertEqual(one.page(0, 10, ()), rounds)

    def test_no_database(self) -> None:
        """A file that is none of ours is put aside, and a new one is made."""
        self.path.parent.mkdir()
        self.path.write_bytes(b"something else" * 1_000)
        spool = self.opened()
        rounds = self.fill(spool, 1)
        aside = self.path.with_name("web1.spool.broken")
        self.assertEqual(aside.read_bytes(), b"something else" * 1_000)
        self.assertIn(f"it is put aside as {aside}", self.told[0])
        spool.close()
        self.assertEqual(self.opened().page(0, 10, ()), rounds)

    def test_another_format(self) -> None:
        """So is one that a later version has made."""
        self.opened().close()
        database = sqlite3.connect(self.path)
        database.execute("PRAGMA user_version=99")
        database.close()
        self.opened()
        self.assertIn("it has format 99, not 1", self.told[0])

    def test_damaged(self) -> None:
        """One that is found damaged in use is put aside; what comes then is kept in the new one."""
        spool = self.opened()
        many = {f"metric{number}": float(number) for number in range(200)}
        self.fill(spool, 500, **many)
        spool.close()
        with self.path.open("r+b") as file:
            file.seek(4096 * 4)
            file.write(os.urandom(4096 * 100))
        spool = self.opened()
        spool.page(0, 1_000, ())
        rounds = self.fill(spool, 2)
        self.assertIn("cannot be read", self.told[0])
        self.assertEqual(spool.page(0, 10, ()), rounds)

    def test_found_later(self) -> None:
        """A file that can be opened only later has rounds of an earlier run; they come first."""
        spool = self.opened()
        rounds = self.fill(spool, 2)
        spool.close()
        hidden = self.path.parent.rename(self.path.parent.with_name("hidden"))
        self.path.parent.write_text("in the way")
        spool = self.opened()
        rounds += self.fill(spool, 2)
        self.assertEqual(spool.opened, 0)
        self.path.parent.unlink()
        hidden.rename(self.path.parent)
        self.now += 60
        rounds += self.fill(spool, 1)
        self.assertEqual((spool.opened, spool.page(0, 10, ())), (1, rounds))


class FileTests(SpoolCase):
    def test_whole_or_not_at_all(self) -> None:
        """A change that fails in the middle has changed nothing."""
        file = SpoolFile()
        self.addCleanup(file.close)
        file.change([Row(1, NOW, 1, b"one")], {1: b"[]"}, ())
        self.assertRaises(KeyError, file.change, [Row(2, NOW, 2, b"two")], {}, [1])
        self.assertRaises(sqlite3.Error, file.change, [Row(2, NOW, 1, b"two"), Row("x", NOW, 1, b"")], {}, [1])  # type: ignore[arg-type]  # wrong on purpose
        self.assertEqual(file.oldest(0, 10), [Row(1, NOW, 1, b"one")])
        self.assertEqual(file.rounds, 1)

    def test_gaps(self) -> None:
        """Gaps are kept as they are."""
        file = SpoolFile()
        self.addCleanup(file.close)
        gaps = [Gap(1, 2, 3.5, 4.5, "no room"), Gap(5, 6, 7.0, 8.0, "")]
        file.keep_gaps(gaps)
        self.assertEqual(file.gaps(), gaps)
        file.keep_gaps([])
        self.assertEqual(file.gaps(), [])
