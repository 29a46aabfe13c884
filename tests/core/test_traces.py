"""Tests for `perfmon.core.traces`."""

from dataclasses import replace
from math import isnan
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.traces import Trace, above, below, fills_in, highest_mean, peak, share, without

NAN = float("nan")
columns = st.lists(st.floats(0, 1) | st.just(NAN), max_size=60).map(np.array)


class ColumnTests(SynchronousTestCase):
    @given(columns, st.floats(0.01, 1.0))
    def test_share(self, column: "np.ndarray[tuple[int], np.dtype[np.float64]]", at: float) -> None:
        """A percentile is a value that was there: numpy's ``inverted_cdf`` of what is known."""
        column = column.astype(float)
        known = column[np.isfinite(column)]
        if len(known):
            expected = np.percentile(known, at * 100, method="inverted_cdf")
            place = int(np.searchsorted(np.sort(known), share(column, at)))
            self.assertLessEqual(abs(place - int(np.searchsorted(np.sort(known), expected))), 1)  # of rounding
        else:
            self.assertTrue(isnan(share(column, at)))

    @given(columns, st.integers(1, 10))
    def test_highest_mean(self, column: "np.ndarray[tuple[int], np.dtype[np.float64]]", width: int) -> None:
        """The same as all means one by one; where a value is not known there is none."""
        column = column.astype(float)
        means = [column[at : at + width].mean() for at in range(len(column) - width + 1)]
        known = [mean for mean in means if mean == mean]
        found = highest_mean(column, width)
        if known:
            self.assertLess(abs(found - max(known)), 1e-9)
        else:
            self.assertTrue(isnan(found))

    def test_below(self) -> None:
        """Of what is known; of nothing, nothing, neither below nor above."""
        self.assertEqual(below(np.array([1.0, NAN, 3.0, 4.0]), 3.5), 2 / 3)
        self.assertEqual(round(above(np.array([1.0, NAN, 3.0, 4.0]), 3.0), 9), round(2 / 3, 9))
        for share_of in (below, above):
            self.assertEqual((share_of(None, 1.0), share_of(np.array([NAN]), 1.0)), (0.0, 0.0))

    def test_peak(self) -> None:
        """The largest; of nothing, nothing."""
        self.assertEqual(peak(np.array([1.0, NAN, 3.0])), 3.0)
        self.assertTrue(isnan(peak(None)) and isnan(peak(np.array([NAN]))))

    def test_fills_in(self) -> None:
        """When a line reaches 1, also over gaps; what does not rise never does."""
        line = np.linspace(0.1, 0.5, 41)
        line[5:20] = NAN
        found = fills_in(line, 60.0, 40 * 60.0)
        assert found is not None
        self.assertLess(abs(found[0] - 50 * 60), 1e-6)
        self.assertLess(abs(found[1] - 1), 1e-9)
        for column in (line[::-1], np.full(10, 0.5), np.array([0.1, NAN, 0.2])):
            self.assertIsNone(fills_in(column, 60.0, 600.0))
        full = fills_in(np.array([0.5, 0.9, 1.0]), 1.0, 2.0)
        assert full is not None
        self.assertEqual(full[0], 0.0)


class TraceTests(SynchronousTestCase):
    def trace(self, cpu: list[float], **more: float) -> Trace:
        columns: Any = {"cpu": np.array(cpu), "steal": np.full(len(cpu), 0.1), "memory": np.zeros(len(cpu) // 2)}
        given: Any = {"start": 1_000.0, "step": 60.0, "coarse": 120.0, "first_seen": 0.0, "last_seen": 1e6}
        return Trace("web1", **columns, **given | more)

    def test_known(self) -> None:
        """A sample stands for a step, or for its interval where that is longer."""
        self.assertEqual(self.trace([0.5, NAN, 0.5, 0.5], interval=10.0).known, 180)
        self.assertEqual(self.trace([0.5, NAN, NAN, NAN, NAN, 0.5], interval=300.0).known, 600)

    def test_coverage(self) -> None:
        """Of the time since the host is, and until it was gone."""
        self.assertEqual(self.trace([NAN, NAN, 0.5, 0.5], first_seen=1_120.0).coverage(0.0), 1.0)
        self.assertEqual(self.trace([NAN, NAN, 0.5, 0.5]).coverage(0.0), 0.5)
        self.assertEqual(self.trace([NAN, NAN, 0.5, 0.5]).coverage(120.0), 1.0)
        gone = self.trace([0.5, 0.5, NAN, NAN], last_seen=1_120.0)
        self.assertEqual((gone.coverage(0.0), replace(gone, gone=True).coverage(0.0)), (0.5, 1.0))

    def test_own(self) -> None:
        """What others were given is not its own."""
        np.testing.assert_allclose(self.trace([0.5, 0.05, NAN, 0.1]).own, [0.4, 0.0, NAN, 0.0])

    def test_without(self) -> None:
        """Every step that a span touches is left out, of all columns."""
        trace = self.trace([0.5] * 6)
        cut, seconds = without(trace, [(1_059.0, 1_061.0), (0.0, 900.0), (5_000.0, 6_000.0)])
        self.assertEqual(np.isfinite(cut.cpu).tolist(), [False, False, True, True, True, True])
        assert cut.memory is not None
        self.assertEqual(np.isfinite(cut.memory).tolist(), [False, True, True])
        self.assertEqual(seconds, 120.0)
        self.assertIs(without(trace, [(0.0, 900.0)])[0], trace)
