"""Tests for `perfmon.core.path_table`."""

from collections.abc import Sequence
from itertools import accumulate
from unittest import mock

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core import path_table
from perfmon.core.path_table import New, PathTable
from perfmon.core.words import MAX_STRETCH, Text, Words


def looked_up(table: PathTable, paths: Sequence[bytes], new: New) -> list[int]:
    """What `table` gives for `paths`, which stand in a text one directly behind the other."""
    ends = np.array(list(accumulate(map(len, paths))), np.int64)
    starts = ends - np.array([len(path) for path in paths], np.int64)
    numbers: list[int] = table.find(Text(b"".join(paths)), starts, ends, new).tolist()
    return numbers


def added(table: PathTable, model: dict[bytes, int]) -> None:
    looked_up(table, list(model), lambda paths: [model[path] for path in paths])


def found(table: PathTable, paths: Sequence[bytes]) -> list[int]:
    return looked_up(table, paths, lambda paths: [-1] * len(paths))


paths = st.binary(min_size=1, max_size=40).filter(lambda path: min(path) > 0x20) | st.integers(1, 300).map(
    lambda length: b"long." * (length // 5) + b"x" * (length % 5 + 1)
)


class PathTableTests(SynchronousTestCase):
    @settings(max_examples=200)
    @given(st.lists(st.lists(paths, max_size=20), max_size=6), st.lists(paths, max_size=10))
    def test_as_a_dict(self, batches: list[list[bytes]], others: list[bytes]) -> None:
        """It finds what was there before, asks once for what was not, in its order, and finds nothing else."""
        table, model = PathTable(), dict[bytes, int]()
        for batch in batches:
            expected = dict(model)
            for path in batch:
                expected.setdefault(path, len(expected))

            def new(paths: Sequence[bytes]) -> list[int]:
                self.assertEqual(len(set(paths) - model.keys()), len(paths))
                return [model.setdefault(path, len(model)) for path in paths]

            self.assertEqual(looked_up(table, batch, new), [expected[path] for path in batch])
            self.assertEqual((model, len(table)), (expected, len(expected)))
            asked = [*others, *model, *batch]
            self.assertEqual(found(table, asked), [model.get(path, -1) for path in asked])

    def test_refused(self) -> None:
        """A path that can have no number is asked for each time, and leaves no trace."""
        table = PathTable()
        asked: list[bytes] = []

        def new(paths: Sequence[bytes]) -> list[int]:
            asked.extend(paths)
            return [-1] * len(paths)

        for _ in range(2):
            self.assertEqual(looked_up(table, [b"bad", b"x" * 200, b"bad"], new), [-1, -1, -1])
        self.assertEqual((asked, len(table)), ([b"bad", b"x" * 200] * 2, 0))

    def test_many(self) -> None:
        """So many that it grows several times, in pieces of any size; of each length some, also beyond words."""
        names = [b"servers.host%d.%s" % (number, b"m" * (number % 150)) for number in range(20_000)]
        model = {name: 3 * number for number, name in enumerate(names)}
        table = PathTable()
        start, size = 0, 1
        while start < len(names):
            added(table, {name: model[name] for name in names[start : start + size]})
            start, size = start + size, size * 3
        self.assertEqual(found(table, names), list(model.values()))
        self.assertEqual(found(table, [name + b"!" for name in names]), [-1] * len(names))
        short = [name for name in names if len(name) <= MAX_STRETCH]
        self.assertLess(len(table._others) - (len(names) - len(short)), len(short) * 0.02)

    def test_same_hash(self) -> None:
        """Paths whose hashes are all the same are told apart: the hash only says where to look."""

        def same(rows: Words) -> Words:
            return np.full(len(rows), 77, np.uint64)

        with mock.patch.object(path_table, "_hashes", same):
            table = PathTable()
            model = {b"path%d" % number: number for number in range(500)}
            added(table, model)
            asked = [b"path%d" % number for number in range(600)]
            self.assertEqual(found(table, asked), [*range(500), *[-1] * 100])

    def test_prefixes(self) -> None:
        """A path is not taken for one that begins with it, nor for one with other bytes behind the last word."""
        table = PathTable()
        added(table, {b"a" * length: length for length in range(1, 64, 2)})
        self.assertEqual(
            found(table, [b"a" * length for length in range(1, 64)]),
            [length if length % 2 else -1 for length in range(1, 64)],
        )
