"""Tests for `perfmon.core.chunks`: blocks that are joined to series."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.chunks import Joiner
from perfmon.core.columns import Column, between, merged
from tests.core.models import pairs


class JoinerTests(SynchronousTestCase):
    spans = st.none() | st.tuples(st.integers(-2, 30), st.integers(0, 30)).map(lambda span: (span[0], sum(span)))

    @given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6), spans, st.data())
    def test_any(self, series: list[list[int]], span: tuple[int, int] | None, data: st.DataObject) -> None:
        """Series of pieces of the same few times, in any order, join as they merge, and are cut to the span."""
        offsets = st.sets(st.integers(0, 9), min_size=1).map(sorted)
        times = [np.array(data.draw(offsets), np.int64) + 5 * at for at in range(4)]
        joiner = Joiner(span)
        for at, order in enumerate(series):
            if order:
                values = [np.array([100.0 * at + 10 * which + i for i in range(len(times[which]))]) for which in order]
                found = joiner.join([times[which] for which in order], values)
                expected = merged([Column(times[which], one) for which, one in zip(order, values, strict=True)])
                if span is not None:
                    expected = between(expected, span[0] / 1000, span[1] / 1000)
                self.assertEqual(pairs(found), pairs(expected))

    def test_span(self) -> None:
        """The start of a span is included, its end is not, whether the pieces follow each other or not."""
        one, two = np.array([1, 2, 3], np.int64), np.array([4, 5], np.int64)
        values = {1: [np.array([1.0, 2.0, 3.0])], 2: [np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0])]}
        for span, expected in (
            ((1, 6), [1, 2, 3, 4, 5]),
            ((2, 5), [2, 3, 4]),
            ((3, 4), [3]),
            ((0, 1), []),
            ((6, 9), []),
            ((4, 4), []),
        ):
            joiner = Joiner(span)
            for _ in range(2):
                for times, each in (([one, two], values[2]), ([two, one], values[2][::-1]), ([one], values[1])):
                    found = joiner.join(times, each)
                    self.assertEqual(pairs(found), [(at, float(at)) for at in expected if at < 4 or len(times) > 1])

    def test_once(self) -> None:
        """Times that follow each other are joined once for all series that have them; one piece is not copied."""
        joiner = Joiner()
        times = [np.array([1, 2], np.int64), np.array([3], np.int64)]
        one, two = (joiner.join(times, [np.full(2, value), np.full(1, value)]) for value in (1.0, 2.0))
        self.assertIs(one.times, two.times)
        self.assertEqual((pairs(one), pairs(two)), ([(1, 1.0), (2, 1.0), (3, 1.0)], [(1, 2.0), (2, 2.0), (3, 2.0)]))
        alone = joiner.join(times[1:], [np.full(1, 3.0)])
        self.assertIs(alone.times, times[1])

    def test_forgotten(self) -> None:
        """Times that are there no more are not taken for others that lie where they lay."""
        joiner = Joiner()
        for at in range(100):
            times = [np.array([at, at + 1], np.int64), np.array([at + (2 if at % 2 else 0)], np.int64)]
            found = joiner.join(times, [np.full(2, 1.0), np.full(1, 2.0)])
            self.assertEqual(found.times.tolist(), [at, at + 1, at + 2] if at % 2 else [at, at + 1])
