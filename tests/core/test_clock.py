"""Tests for `perfmon.core.clock`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.clock import ClockFilter, Difference


class ClockFilterTests(SynchronousTestCase):
    def test_nothing_known(self) -> None:
        self.assertIsNone(ClockFilter().best)

    def test_offset(self) -> None:
        """The other clock is taken to have been read in the middle of the round trip."""
        clocks = ClockFilter()
        clocks.measure(sent=100.0, at=90.25, round_trip=0.5)
        self.assertEqual(clocks.best, Difference(round_trip=0.5, offset=10.0))

    def test_shortest_counts(self) -> None:
        """A message that was held up spoils nothing; the shortest round trip counts as long as it is recent."""
        clocks = ClockFilter()
        clocks.measure(0.0, 0.0, 0.25)
        clocks.measure(0.0, 2.0, 4.0)
        self.assertEqual(clocks.best, Difference(0.25, 0.125))
        for _ in range(6):
            clocks.measure(0.0, 0.0, 0.5)
        self.assertEqual(clocks.best, Difference(0.25, 0.125))
        clocks.measure(0.0, 0.0, 0.5)
        self.assertEqual(clocks.best, Difference(0.5, 0.25))

    def test_impossible(self) -> None:
        """A round trip cannot have been negative."""
        clocks = ClockFilter()
        clocks.measure(0.0, 0.0, -1.0)
        self.assertIsNone(clocks.best)

    @given(
        st.floats(-1e6, 1e6),
        st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=1, max_size=20),
    )
    def test_bound(self, ahead: float, ways: list[tuple[float, float]]) -> None:
        """However the ways there and back differ, the offset is right to half of the round trip."""
        clocks, now = ClockFilter(), 1_800_000_000.0
        for there, back in ways:
            clocks.measure(now, now + there - ahead, there + back)
        best = clocks.best
        assert best is not None
        self.assertLessEqual(abs(best.offset - ahead), best.round_trip / 2 + 1e-5)
