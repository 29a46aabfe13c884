"""Tests for `perfmon.core.latencies`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.latencies import Latencies


def latencies(*seconds: float) -> Latencies:
    found = Latencies()
    for one in seconds:
        found.add(one)
    return found


class LatenciesTests(SynchronousTestCase):
    def test_none(self) -> None:
        """Of nothing all is 0."""
        self.assertEqual((latencies().mean, latencies().quantile(0.5)), (0, 0))

    def test_quantiles(self) -> None:
        """The 99th percentile of a hundred is the last but one, and is not moved by the very last."""
        found = latencies(*[0.001] * 98, 0.5, 10.0)
        for share, expected in ((0.0, 0.001), (0.5, 0.001), (0.98, 0.001), (0.99, 0.5), (1.0, 10.0)):
            self.assertApproximates(found.quantile(share), expected, expected / 100)
        self.assertAlmostEqual(found.mean, (0.098 + 10.5) / 100)

    def test_tiny(self) -> None:
        """What took no time, or less by a clock that was set, is no error."""
        self.assertLess(latencies(0.0, -1.0).quantile(1.0), 1e-5)

    @given(st.lists(st.floats(1e-5, 1e4), min_size=1), st.floats(0, 1))
    def test_to_one_percent(self, seconds: list[float], share: float) -> None:
        """Any quantile is one of the durations, to 1 %."""
        found = latencies(*seconds).quantile(share)
        place = max(1, next(n for n in range(len(seconds) + 1) if n >= share * len(seconds)))
        self.assertApproximates(found, sorted(seconds)[place - 1], 0.0101 * found)
