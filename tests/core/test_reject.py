"""Tests for `perfmon.core.reject`."""

from math import inf, nan, nextafter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core import reject
from perfmon.core.reject import FUTURE, MAX_AHEAD, REASONS, TOO_OLD, TimeBounds
from perfmon.core.tiers import RAW

NOW = 1_792_310_400.0


class ReasonTests(SynchronousTestCase):
    def test_listed(self) -> None:
        """`REASONS` lists every reason there is, once."""
        constants = {value for name, value in vars(reject).items() if name.isupper() and isinstance(value, str)}
        self.assertEqual(constants, set(REASONS))
        self.assertEqual(len(REASONS), len(constants))


class TimeBoundsTests(SynchronousTestCase):
    def test_borders(self) -> None:
        """The newest time can be stored, the oldest cannot."""
        bounds = TimeBounds(oldest=100.0, newest=200.0)
        for time, reason in (
            (100.0, TOO_OLD),
            (nextafter(100.0, inf), None),
            (150.0, None),
            (200.0, None),
            (nextafter(200.0, inf), FUTURE),
            (-inf, TOO_OLD),
            (inf, FUTURE),
            (nan, FUTURE),
        ):
            problem = bounds.problem(time)
            self.assertEqual(problem and problem.reason, reason, time)

    def test_detail(self) -> None:
        """The detail says which rule was broken, and by which time."""
        bounds = TimeBounds.at(NOW)
        for time, rule in ((NOW + 601, bounds.future_rule), (0.0, bounds.old_rule)):
            problem = bounds.problem(time)
            assert problem is not None
            self.assertEqual(problem.detail, f"{rule}: {time:.0f}")

    def test_at(self) -> None:
        """Ten minutes ahead and the retention of the raw tier back can be stored."""
        bounds = TimeBounds.at(NOW)
        self.assertIsNone(bounds.problem(NOW + MAX_AHEAD))
        self.assertIsNotNone(bounds.problem(NOW + MAX_AHEAD + 1))
        self.assertIsNone(bounds.problem(NOW - RAW.retention + 1))
        self.assertIsNotNone(bounds.problem(NOW - RAW.retention))

    def test_kept(self) -> None:
        """What can be stored goes back as far as samples are kept as they are."""
        bounds = TimeBounds.at(NOW, kept=3600.0)
        self.assertEqual((bounds.oldest, bounds.newest), (NOW - 3600, NOW + MAX_AHEAD))

    @given(st.floats(0, 4e9), st.floats(-1e6, 1e6))
    def test_what_is_taken_is_kept(self, now: float, ahead: float) -> None:
        """A time within the bounds lies in a window that has not expired."""
        if TimeBounds.at(now).problem(now + ahead) is None:
            self.assertGreater(RAW.expires_at(RAW.window_of(round((now + ahead) * 1000))), now)
