"""Tests for `perfmon.core.query`."""

from collections.abc import Callable
from itertools import pairwise
from math import fsum, isnan, nan

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.frames import Column
from perfmon.core.query import AGGREGATES, AGGS, Points, between, bucketed, increases, merged, raw

Samples = list[tuple[int, float]]  # (ms, value)


def column(samples: Samples) -> Column:
    return Column(
        np.array([time for time, _ in samples], np.int64), np.array([value for _, value in samples], np.float64)
    )


def pairs(found: Column | Points) -> list[tuple[float, float]]:
    return list(zip(found.times.tolist(), found.values.tolist(), strict=True))


AGGREGATED: dict[str, Callable[[list[float]], float]] = {
    "avg": lambda values: fsum(values) / len(values),
    "min": min,
    "max": max,
    "sum": fsum,
    "count": len,
    "last": lambda values: values[-1],
}


def naive_buckets(samples: Samples, start_ms: int, stop_ms: int, step_ms: int, agg: str) -> dict[float, float]:
    """Start of each bucket (s) -> value, sample by sample."""
    found = {}
    for number in range(start_ms // step_ms, -(-stop_ms // step_ms)):

        def inside(time: int, number: int = number) -> bool:
            return start_ms <= time < stop_ms and time // step_ms == number

        value = nan
        if agg == "rate":
            steps = [(one, two) for one, two in pairwise(samples) if inside(two[0])]
            if steps:
                rises = [two[1] - one[1] if two[1] >= one[1] else two[1] for one, two in steps]
                value = sum(rises) / (sum(two[0] - one[0] for one, two in steps) / 1000)
        else:
            values = [value for time, value in samples if inside(time)]
            if values:
                value = AGGREGATED[agg](values)
        found[number * step_ms / 1000] = value
    return found


# Whole numbers, so that sums are exact in any order.
sample_lists = st.dictionaries(st.integers(0, 20_000), st.integers(-1000, 1000).map(float), max_size=30).map(
    lambda samples: sorted(samples.items())
)
counters = st.dictionaries(st.integers(0, 20_000), st.integers(0, 50).map(float), max_size=30).map(
    lambda samples: sorted(samples.items())
)


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

    @given(sample_lists, st.integers(-1000, 21_000), st.integers(-1000, 21_000))
    def test_any(self, samples: Samples, start: int, stop: int) -> None:
        """It is what a filter gives."""
        expected = [sample for sample in samples if start <= sample[0] < stop]
        self.assertEqual(pairs(between(column(samples), start / 1000, max(start, stop) / 1000)), expected)


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

    @given(st.lists(sample_lists, max_size=4))
    def test_any(self, parts: list[Samples]) -> None:
        """Columns merge as dictionaries do: of a repeated time the last one wins."""
        model: dict[int, float] = {}
        for part in parts:
            model.update(part)
        self.assertEqual(pairs(merged([column(part) for part in parts])), sorted(model.items()))


class IncreasesTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A counter that falls began at 0 anew."""
        for values, rises in (
            ([], []),
            ([5.0], []),
            ([5.0, 5.0], [0.0]),
            ([5.0, 8.0], [3.0]),
            ([5.0, 2.0], [2.0]),
            ([5.0, 0.0, 4.0], [0.0, 4.0]),
            ([100.0, 110.0, 5.0, 7.0, 1.0], [10.0, 5.0, 2.0, 1.0]),
        ):
            found, seconds = increases(column([(2500 * i, value) for i, value in enumerate(values)]))
            self.assertEqual(found.values.tolist(), rises)
            self.assertEqual(found.times.tolist(), [2500 * i for i in range(1, len(values))])
            self.assertEqual(seconds.tolist(), [2.5] * len(rises))


class RawTests(SynchronousTestCase):
    SAMPLES = column([(1000, 10.0), (3000, 14.0), (3500, 14.5), (7500, 2.0)])

    def test_samples(self) -> None:
        """The samples of a range are given as they are, times in seconds."""
        self.assertEqual(pairs(raw(self.SAMPLES, 1.0, 3.5)), [(1.0, 10.0), (3.0, 14.0)])
        for agg in AGGREGATES:
            self.assertEqual(len(raw(self.SAMPLES, 0.0, 9.0, agg).times), 4)

    def test_rate(self) -> None:
        """A rate stands at the later of its two samples, also when the earlier is before the range."""
        self.assertEqual(pairs(raw(self.SAMPLES, 0.0, 9.0, "rate")), [(3.0, 2.0), (3.5, 1.0), (7.5, 0.5)])
        self.assertEqual(pairs(raw(self.SAMPLES, 3.0, 3.5, "rate")), [(3.0, 2.0)])

    def test_empty(self) -> None:
        """Of nothing comes nothing."""
        for agg in AGGS:
            self.assertEqual(pairs(raw(column([]), 0.0, 9.0, agg)), [])
        self.assertEqual(pairs(raw(column([(1, 1.0)]), 0.0, 9.0, "rate")), [])

    def test_table(self) -> None:
        """The table has a row of time and value for each point, and is floats throughout."""
        table = raw(self.SAMPLES, 1.0, 3.5).table()
        self.assertEqual(table.tolist(), [[1.0, 10.0], [3.0, 14.0]])
        self.assertEqual(table.dtype, np.float64)
        self.assertEqual(raw(column([]), 0.0, 1.0).table().shape, (0, 2))


class BucketedTests(SynchronousTestCase):
    def test_alignment(self) -> None:
        """Buckets are aligned to multiples of the step, whatever the range, and named by their start."""
        samples = column([(61_000, 1.0), (119_999, 2.0), (120_000, 4.0), (185_000, 8.0)])
        for start, stop, expected in (
            (60.0, 240.0, [(60.0, 3.0), (120.0, 4.0), (180.0, 8.0)]),
            (61.0, 186.0, [(60.0, 3.0), (120.0, 4.0), (180.0, 8.0)]),
            (62.0, 180.0, [(60.0, 2.0), (120.0, 4.0)]),
            (62.0, 180.001, [(60.0, 2.0), (120.0, 4.0), (180.0, nan)]),
            (0.0, 61.001, [(0.0, nan), (60.0, 1.0)]),
            (60.0, 60.0, []),
        ):
            found = bucketed(samples, start, stop, 60.0, "sum")
            np.testing.assert_equal(pairs(found), expected)

    def test_empty_buckets(self) -> None:
        """A bucket without samples is NaN, for counts and sums, too; one between two others as well."""
        samples = column([(500, 1.0), (2500, 3.0)])
        for agg in AGGREGATES:
            values = bucketed(samples, 0.0, 4.0, 1.0, agg).values.tolist()
            self.assertEqual([isnan(value) for value in values], [False, True, False, True], agg)
        for agg in AGGS:
            found = bucketed(column([]), 0.0, 3.0, 1.0, agg)
            np.testing.assert_equal(pairs(found), [(0.0, nan), (1.0, nan), (2.0, nan)])

    def test_times_are_exact(self) -> None:
        """The start of a bucket is the float next to it, for steps below a second, too."""
        found = bucketed(column([]), 1_792_310_400.0, 1_792_310_420.0, 0.1, "avg")
        self.assertEqual(found.times.tolist(), [(17_923_104_000 + i) / 10 for i in range(200)])

    def test_rate(self) -> None:
        """A rate is all that was counted in a bucket by the seconds it was counted over, resets included."""
        samples = column(
            [(0, 100.0), (30_000, 160.0), (90_000, 220.0), (100_000, 5.0), (110_000, 25.0), (300_000, 25.0)]
        )
        found = bucketed(samples, 0.0, 360.0, 60.0, "rate")
        expected = [(0.0, 2.0), (60.0, (60 + 5 + 20) / 80), (120.0, nan), (180.0, nan), (240.0, nan), (300.0, 0.0)]
        np.testing.assert_equal(pairs(found), expected)

    def test_rate_looks_back(self) -> None:
        """The first rate of a range counts from the sample before it."""
        samples = column([(50_000, 10.0), (70_000, 30.0)])
        self.assertEqual(pairs(bucketed(samples, 60.0, 120.0, 60.0, "rate")), [(60.0, 1.0)])

    def test_every_agg_is_tried(self) -> None:
        """The comparison below leaves out no aggregate."""
        self.assertEqual({*AGGREGATED, "rate"}, set(AGGS))

    @settings(max_examples=150)
    @given(
        sample_lists | counters,
        st.integers(-2000, 22_000),
        st.integers(0, 22_000),
        st.sampled_from([1, 250, 500, 1000, 1500, 7000, 60_000]) | st.integers(1, 30_000),
    )
    def test_any(self, samples: Samples, start_ms: int, span_ms: int, step_ms: int) -> None:
        """Buckets hold what a reading sample by sample gives, for every aggregate."""
        stop_ms = start_ms + min(span_ms, 200 * step_ms)
        for agg in AGGS:
            found = bucketed(column(samples), start_ms / 1000, stop_ms / 1000, step_ms / 1000, agg)
            expected = naive_buckets(samples, start_ms, stop_ms, step_ms, agg)
            self.assertEqual(found.times.tolist(), list(expected))
            np.testing.assert_allclose(found.values, list(expected.values()), rtol=1e-12, err_msg=agg)

    @given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40))
    def test_any_values(self, values: list[float]) -> None:
        """One bucket over everything gives the aggregates of the standard library."""
        samples = column([(i, value) for i, value in enumerate(values)])
        for agg, aggregate in AGGREGATED.items():
            [found] = bucketed(samples, 0.0, 1.0, 1.0, agg).values.tolist()
            self.assertAlmostEqual(found, aggregate(values), places=4)
