"""Tests for `perfmon.core.tiers`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.tiers import DAY, RAW, Tier, parse_duration

tiers = st.builds(Tier, st.just("t"), st.integers(1, 3 * DAY), st.integers(0, 400 * DAY))
times_ms = st.integers(-(10**12), 10**14)


class TierTests(SynchronousTestCase):
    def test_window_of(self) -> None:
        """A window begins at a multiple of its length and does not hold its end."""
        tier = Tier("t", window=60, retention=0)
        for time_ms, window in (
            (0, 0),
            (1, 0),
            (59_999, 0),
            (60_000, 60),
            (60_001, 60),
            (119_999, 60),
            (-1, -60),
            (-60_000, -60),
            (-60_001, -120),
        ):
            self.assertEqual(tier.window_of(time_ms), window, time_ms)

    @given(tiers, times_ms)
    def test_window_holds_its_time(self, tier: Tier, time_ms: int) -> None:
        """Every time lies in its window, and windows are aligned."""
        window = tier.window_of(time_ms)
        self.assertEqual(window % tier.window, 0)
        self.assertLessEqual(window * 1000, time_ms)
        self.assertLess(time_ms, (window + tier.window) * 1000)

    @given(st.integers(1, 50), st.integers(-300_000, 300_000), st.integers(0, 200_000))
    def test_windows(self, length: int, first_ms: int, span_ms: int) -> None:
        """The windows of a span are those of its milliseconds, no more and no less."""
        tier = Tier("t", length, 0)
        last_ms = first_ms + span_ms
        ends = (first_ms, last_ms, *range(first_ms, last_ms, 1000))
        self.assertEqual(list(tier.windows(first_ms, last_ms)), sorted({tier.window_of(time) for time in ends}))

    def test_windows_at_a_border(self) -> None:
        """Both ends of a span are included, to the millisecond."""
        tier = Tier("t", window=60, retention=0)
        self.assertEqual(list(tier.windows(0, 59_999)), [0])
        self.assertEqual(list(tier.windows(0, 60_000)), [0, 60])
        self.assertEqual(list(tier.windows(59_999, 60_000)), [0, 60])
        self.assertEqual(list(tier.windows(60_000, 60_000)), [60])

    def test_expires_at(self) -> None:
        """A window is kept for its retention after its end."""
        self.assertEqual(Tier("t", window=60, retention=100).expires_at(120), 280)
        self.assertEqual(RAW.expires_at(0), 3600 + 2 * DAY)


class DurationTests(SynchronousTestCase):
    def test_good(self) -> None:
        """A duration is a number with a unit, or seconds."""
        for text, seconds in (
            ("90", 90.0),
            ("0", 0.0),
            ("1.5h", 5400.0),
            ("500ms", 0.5),
            ("90s", 90.0),
            ("3m", 180.0),
            ("2d", 172_800.0),
            ("1w", 604_800.0),
            ("1y", 31_536_000.0),
            (" 10s ", 10.0),
        ):
            self.assertEqual(parse_duration(text), seconds, text)

    def test_bad(self) -> None:
        """What is no duration is refused with a sentence that shows it."""
        for text in ("", " ", "s", "-1s", "+1s", "1 h", "1h30m", "1e3", ".5h", "5.h", "1,5h", "1M", "1H", "nan", "inf"):
            with self.assertRaises(ValueError, msg=text) as caught:
                parse_duration(text)
            self.assertIn(repr(text), str(caught.exception))
            self.assertIn("for example", str(caught.exception))

    @given(st.text("0123456789.smhdwy- ", max_size=8))
    def test_any(self, text: str) -> None:
        """Whatever the text: a duration that is not negative, or ValueError."""
        try:
            self.assertGreaterEqual(parse_duration(text), 0.0)
        except ValueError:
            return
