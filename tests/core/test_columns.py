"""Tests for `perfmon.core.columns`."""

from math import inf, isnan, nan
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.columns import between, merged, tidy
from tests.core.models import Samples, column, gauges, pairs

samples_of_any_order = st.lists(st.tuples(st.integers(-3, 6), st.floats(allow_nan=True)), max_size=12)
maybe_gauges = st.just(Samples()) | gauges(max_size=12)


def as_written(samples: Samples) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The arrays of samples in any order."""
    written = column(samples)
    return written.times, written.values


class TidyTests(SynchronousTestCase):
    @given(samples_of_any_order)
    def test_against_a_dictionary(self, samples: Samples) -> None:
        """Samples in the order of writing become a column: sorted, the last of a time, no absent ones."""
        found = tidy(*as_written(samples))
        self.assertEqual(pairs(found), sorted({time: value for time, value in samples if not isnan(value)}.items()))
        self.assertEqual((found.times.dtype, found.values.dtype), (np.int64, np.float64))

    def test_table(self) -> None:
        """An absence takes nothing away, infinity is a value, and so is a zero of either sign."""
        for samples, expected in (
            ([], []),
            ([(1, nan)], []),
            ([(1, 5.0), (1, nan)], [(1, 5.0)]),
            ([(1, nan), (1, 5.0)], [(1, 5.0)]),
            ([(2, 5.0), (1, nan), (1, inf)], [(1, inf), (2, 5.0)]),
            ([(2, 1.0), (1, 2.0), (2, 3.0)], [(1, 2.0), (2, 3.0)]),
            ([(1, 1.0), (1, 2.0), (1, 3.0)], [(1, 3.0)]),
            ([(1, 0.0), (2, -0.0)], [(1, 0.0), (2, -0.0)]),
        ):
            self.assertEqual(pairs(tidy(*as_written(samples))), expected, samples)

    def test_many(self) -> None:
        """The order of writing counts among many samples, too (a sort that is not stable shows only then)."""
        random = Random(1)
        samples = [(random.randrange(500), float(i)) for i in range(5000)]
        self.assertEqual(dict(pairs(tidy(*as_written(samples)))), dict(samples))

    @given(samples_of_any_order)
    def test_again(self, samples: Samples) -> None:
        """What is tidy stays as it is, without a copy."""
        once = tidy(*as_written(samples))
        again = tidy(once.times, once.values)
        self.assertIs(again.times, once.times)
        self.assertIs(again.values, once.values)


class MergedTests(SynchronousTestCase):
    def test_none(self) -> None:
        """Nothing merged is an empty column of the same types."""
        nothing = merged([])
        self.assertEqual((len(nothing.times), len(nothing.values)), (0, 0))
        self.assertEqual((nothing.times.dtype, nothing.values.dtype), (np.int64, np.float64))

    def test_one(self) -> None:
        """One column is itself, without a copy."""
        one = column([(1, 1.0)])
        self.assertIs(merged([one]), one)

    @given(st.lists(maybe_gauges, max_size=4))
    def test_any(self, parts: list[Samples]) -> None:
        """Columns merge as dictionaries do: of a repeated time the last one wins."""
        model: dict[int, float] = {}
        for part in parts:
            model.update(part)
        found = merged([column(part) for part in parts])
        self.assertEqual(pairs(found), sorted(model.items()))
        self.assertEqual((found.times.dtype, found.values.dtype), (np.int64, np.float64))

    @given(st.lists(maybe_gauges, max_size=4), st.integers(0, 4))
    def test_in_two_steps(self, parts: list[Samples], cut: int) -> None:
        """Some merged first, and the rest after, is the same as all at once."""
        columns = [column(part) for part in parts]
        self.assertEqual(pairs(merged([merged(columns[:cut]), *columns[cut:]])), pairs(merged(columns)))

    def test_leaves_what_it_got(self) -> None:
        """The columns that were merged are what they were."""
        one, two = column([(1, 1.0), (3, 3.0)]), column([(1, 2.0), (2, 2.0)])
        merged([one, two])
        self.assertEqual((pairs(one), pairs(two)), ([(1, 1.0), (3, 3.0)], [(1, 2.0), (2, 2.0)]))


class BetweenTests(SynchronousTestCase):
    def test_borders(self) -> None:
        """The start is included, the stop is not, to the millisecond."""
        samples = column([(999, 1.0), (1000, 2.0), (1999, 3.0), (2000, 4.0)])
        for start, stop, values in (
            (1.0, 2.0, [2.0, 3.0]),
            (0.999, 2.001, [1.0, 2.0, 3.0, 4.0]),
            (1.001, 1.999, []),
            (0.0, 1.0, [1.0]),
            (2.0, 9.0, [4.0]),
            (2.001, 9.0, []),
            (5.0, 5.0, []),
            (-5.0, 0.0, []),
        ):
            self.assertEqual(between(samples, start, stop).values.tolist(), values, (start, stop))

    def test_today(self) -> None:
        """Seconds as floats hit the millisecond that is meant, at today's times, too."""
        times = range(1_792_310_400_000, 1_792_310_400_400)
        samples = column([(time, float(time)) for time in times])
        for time in times:
            self.assertEqual(between(samples, time / 1000, (time + 1) / 1000).times.tolist(), [time])

    @given(maybe_gauges, st.integers(-1000, 21_000), st.integers(-1000, 21_000))
    def test_any(self, samples: Samples, start: int, stop: int) -> None:
        """It is what a filter gives."""
        expected = [sample for sample in samples if start <= sample[0] < stop]
        self.assertEqual(pairs(between(column(samples), start / 1000, max(start, stop) / 1000)), expected)

    def test_all(self) -> None:
        """Where everything lies between, it is the column itself, without a copy."""
        samples = column([(1000, 1.0), (2000, 2.0)])
        self.assertIs(between(samples, 1.0, 2.001), samples)
        self.assertIsNot(between(samples, 1.0, 2.0), samples)
