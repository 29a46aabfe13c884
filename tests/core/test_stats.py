"""Tests for `perfmon.core.stats`."""

from statistics import fmean, pstdev

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.stats import Rate, mean_and_deviation

SPAN = 10.0


class RateTests(SynchronousTestCase):
    def test_no_rate_yet(self) -> None:
        """There is no rate before two marks at two times."""
        rate = Rate()
        self.assertEqual(rate.per_second(), 0.0)
        rate.mark(5.0, 100)
        self.assertEqual(rate.per_second(), 0.0)
        rate.mark(5.0, 200)
        self.assertEqual(rate.per_second(), 0.0)
        rate.mark(6.0, 300)
        self.assertEqual(rate.per_second(), 200.0)

    def test_total_before_the_first_mark(self) -> None:
        """What had been counted before the first mark does not count."""
        rate = Rate()
        rate.mark(1000.0, 1_000_000)
        rate.mark(1002.0, 1_000_010)
        self.assertEqual(rate.per_second(), 5.0)

    def test_slides(self) -> None:
        """What is older than the span is forgotten."""
        rate = Rate(SPAN)
        for second in range(31):
            rate.mark(float(second), 100 * second if second < 10 else 1000)
            if second == 10:
                self.assertEqual(rate.per_second(), 100.0)
            elif second == 15:
                self.assertEqual(rate.per_second(), 50.0)
            elif second >= 20:
                self.assertEqual(rate.per_second(), 0.0)

    def test_marks_far_apart(self) -> None:
        """Two marks further apart than the span still give the rate between them."""
        rate = Rate(SPAN)
        for now, total in ((0.0, 0), (100.0, 500), (300.0, 500)):
            rate.mark(now, total)
        self.assertEqual(rate.per_second(), 0.0)
        rate.mark(400.0, 1500)
        self.assertEqual(rate.per_second(), 10.0)

    def test_bounded(self) -> None:
        """Only the marks of one span are kept."""
        rate = Rate(SPAN)
        for second in range(1000):
            rate.mark(float(second), second)
            self.assertLessEqual(len(rate._marks), SPAN + 1)

    @given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 50)), min_size=2, max_size=30))
    def test_against_all_marks(self, steps: list[tuple[int, int]]) -> None:
        """The rate is the one since the last mark that is at least a span old, else since the first."""
        rate = Rate(SPAN)
        marks: list[tuple[float, int]] = []
        now, total = 0.0, 0
        for seconds, rise in steps:
            now, total = now + seconds, total + rise
            rate.mark(now, total)
            marks.append((now, total))
        old = [mark for mark in marks[:-1] if mark[0] <= now - SPAN]
        start, low = old[-1] if old else marks[0]
        self.assertEqual(rate.per_second(), (total - low) / (now - start) if now > start else 0.0)


class MeanAndDeviationTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Mean and deviation of the whole; zeros for nothing."""
        for values, expected in (
            ([], (0.0, 0.0)),
            ([3.0], (3.0, 0.0)),
            ([1.0, 3.0], (2.0, 1.0)),
            ([2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0], (5.0, 2.0)),
        ):
            self.assertEqual(mean_and_deviation(values), expected)
            self.assertEqual(mean_and_deviation(iter(values)), expected)

    @given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30))
    def test_as_statistics(self, values: list[float]) -> None:
        """They are what the standard library gives."""
        mean, deviation = mean_and_deviation(values)
        self.assertAlmostEqual(mean, fmean(values), places=6)
        self.assertAlmostEqual(deviation, pstdev(values), places=6)
