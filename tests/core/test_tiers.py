"""Tests for `perfmon.core.tiers`."""

from dataclasses import replace
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.tiers import (
    DAY,
    GRACE,
    HOURS,
    LATE,
    MAX_RETENTION,
    MINUTES,
    RAW,
    ROLL_GRACE,
    SPARE,
    STAGE,
    TIERS,
    Tier,
    parse_duration,
    parse_retention,
)

tiers = st.builds(Tier, st.just("t"), st.integers(1, 3 * DAY), st.integers(0, 400 * DAY))
times_ms = st.integers(-(10**12), 10**14)
nows = st.floats(1e9, 4e9)


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

    def test_spared_until(self) -> None:
        """A window that is not rolled up yet is kept for a week more."""
        self.assertEqual(Tier("t", window=60, retention=100).spared_until(120), 280 + 7 * DAY)

    def test_seal_at(self) -> None:
        """An open head is sealed a part at a time, then a little after its end; a late one as soon as it may be."""
        over = 7200 + 3600 + GRACE
        for now, due in (
            (7200.0, 7200.0 + STAGE),
            (7199.5, 7199.5 + STAGE),
            (6700.0, 6700.0 + STAGE),  # of a host whose clock is ahead
            (over - 1.5 * STAGE - 0.5, over - 0.5 * STAGE - 0.5),
            (over - 1.5 * STAGE, over),  # rather than a part, and the rest a little later
            (over - STAGE, over),
            (over - 0.5, over),
            (over, over + LATE),
            (over + 86_400.0, over + 86_400.0 + LATE),
        ):
            self.assertEqual(RAW.seal_at(7200, now), due, now)

    @given(st.sampled_from(TIERS), nows, st.floats(-1e6, 600.0))
    def test_seal_at_any(self, tier: Tier, now: float, ahead: float) -> None:
        """Sealing is always in the future and never far; the last time that is told before the end is after it."""
        window = tier.window_of(round((now + ahead) * 1000))
        due = tier.seal_at(window, now)
        self.assertGreater(due, now)
        self.assertLessEqual(due, now + 1.5 * STAGE)
        over = window + tier.window + GRACE
        self.assertTrue(due >= over or over - due > 0.5 * STAGE)

    def test_roll_at(self) -> None:
        """Windows of the finer tier are taken in together, some time after the span that they belong to is over."""
        tier = Tier("t", window=4 * DAY, retention=0, step=60, feed=DAY)
        day = 20_000 * DAY
        over = day + DAY + ROLL_GRACE
        for window, now, due in (
            (day, day + 3700.0, over),
            (day + 23 * 3600, day + DAY + 60.0, over),
            (day + DAY, day + DAY + 3700.0, over + DAY),
            (day - 3600, day + 60.0, day + ROLL_GRACE),
            (day, over - LATE, over),
            (day, over - LATE + 1.0, over + 1.0),
            (day, over + 1e6, over + 1e6 + LATE),  # sealed once more, for what came late
        ):
            self.assertEqual(tier.roll_at(window, now), due, (window - day, now - day))

    def test_rolled_up_after_the_last_seal(self) -> None:
        """A span is rolled up only after the regular seal of the last window in it, and of those before."""
        for tier in (MINUTES, HOURS):
            last = tier.feed - RAW.window
            sealed = RAW.seal_at(last, last + RAW.window)
            for window in (0, last):
                self.assertGreater(tier.roll_at(window, sealed), sealed)

    @given(nows, st.integers(-20 * DAY, 20 * DAY))
    def test_fed_until(self, now: float, away: int) -> None:
        """No finer window from there on is to be rolled up by now; each one before it was, unless it came late."""
        for finer, tier in pairwise(TIERS):
            until = tier.fed_until(now)
            window = finer.window_of((until + away) * 1000)
            due = tier.roll_at(window, now - 10 * LATE) <= now
            self.assertEqual(due, window < until)

    @given(tiers, nows, st.integers(0, 5), st.floats(-1.0, 1.0))
    def test_oldest(self, tier: Tier, now: float, back: int, jitter: float) -> None:
        """No window that the store may still have is older than the oldest, and nearly none of it is of those."""
        oldest = tier.oldest(now)
        self.assertEqual(oldest % tier.window, 0)
        expired = tier.window_of(round((now - tier.retention - SPARE - tier.window + jitter) * 1000))
        window = expired + (back - 2) * tier.window
        if tier.spared_until(window) > now:
            self.assertGreaterEqual(window, oldest)
        self.assertLessEqual(tier.spared_until(oldest - tier.window), now)

    def test_tiers(self) -> None:
        """Windows and steps of the tiers fit into each other, so that no step lies in two windows of the finer tier."""
        self.assertEqual([tier.name for tier in TIERS], ["raw", "1m", "1h"])
        self.assertEqual(RAW.step, 0)
        for finer, tier in pairwise(TIERS):
            self.assertEqual(tier.window % finer.window, 0)
            self.assertEqual(tier.window % tier.feed, 0)
            self.assertEqual(tier.feed % finer.window, 0)
            self.assertEqual(finer.window % tier.step, 0)
            self.assertEqual(tier.step % (finer.step or 1), 0)
            self.assertGreaterEqual(tier.retention, finer.retention)
            # times are kept in ms since the start of the window, in 32 bits
            self.assertLess(tier.window * 1000, 2**32)


class RetentionTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Tiers get the retentions given; one that is not named keeps its own."""
        for text, kept in (
            ("raw:2d,1m:30d,1h:400d", (2 * DAY, 30 * DAY, 400 * DAY)),
            ("raw:1d", (DAY, 30 * DAY, 400 * DAY)),
            ("1m:60d", (2 * DAY, 60 * DAY, 400 * DAY)),
            ("1h:2y", (2 * DAY, 30 * DAY, 730 * DAY)),
            ("1h:2y,raw:1.5d", (DAY * 3 // 2, 30 * DAY, 730 * DAY)),
            (" raw: 3d , 1m: 5w ", (3 * DAY, 35 * DAY, 400 * DAY)),
            ("raw:1h", (3600, 30 * DAY, 400 * DAY)),
            ("raw:7200", (7200, 30 * DAY, 400 * DAY)),
            ("raw:3d,1m:3d,1h:3d", (3 * DAY, 3 * DAY, 3 * DAY)),
            ("1h:3650d", (2 * DAY, 30 * DAY, MAX_RETENTION)),
            ("1h:10y", (2 * DAY, 30 * DAY, MAX_RETENTION)),
        ):
            found = parse_retention(text)
            self.assertEqual(tuple(tier.retention for tier in found), kept, text)
            for tier, own in zip(found, TIERS, strict=True):
                self.assertEqual(replace(tier, retention=own.retention), own)

    def test_bad(self) -> None:
        """What makes no sense is refused with a sentence that shows it."""
        for text, *shown in (
            ("", "''", "TIER:DURATION", "raw, 1m, 1h"),
            ("raw", "'raw'", "TIER:DURATION"),
            ("2d", "'2d'", "TIER:DURATION"),
            ("raw:2d,", "''", "TIER:DURATION"),
            ("raw:2d,5m:30d", "'5m:30d'", "raw, 1m, 1h"),
            ("RAW:2d", "'RAW:2d'", "raw, 1m, 1h"),
            ("raw :2d", "'raw :2d'", "raw, 1m, 1h"),
            ("raw=2d", "'raw=2d'", "TIER:DURATION"),
            ("raw:", "''", "for example"),
            ("raw:soon", "'soon'", "for example"),
            ("raw:-2d", "'-2d'", "for example"),
            ("raw:2d:3d", "'2d:3d'", "for example"),
            ("raw:2d,1m:30d,raw:3d", "raw is given twice"),
            ("raw:3599", "raw", "an hour at least"),
            ("raw:0", "raw", "an hour at least"),
            ("1h:3651d", "1h", "3650 d at the most"),
            ("1m:1d", "1m (1 d)", "raw (2 d)", "at least as long"),
            ("raw:31d", "1m (30 d)", "raw (31 d)", "at least as long"),
            ("1m:500d", "1h (400 d)", "1m (500 d)", "at least as long"),
            ("1h:29.5d", "1h (29.5 d)", "1m (30 d)", "at least as long"),
            ("raw:4000d", "1m (30 d)", "raw (4000 d)"),
        ):
            with self.assertRaises(ValueError, msg=text) as caught:
                parse_retention(text)
            for part in shown:
                self.assertIn(part, str(caught.exception), text)

    @given(st.lists(st.integers(1, 4000), min_size=3, max_size=3), st.permutations(range(3)))
    def test_any(self, days: list[int], order: list[int]) -> None:
        """Any retentions that grow with the step, and are not too long, are taken, in any order; no others are."""
        text = ",".join(f"{TIERS[place].name}:{days[place]}d" for place in order)
        if days == sorted(days) and days[-1] <= 3650:
            self.assertEqual([tier.retention for tier in parse_retention(text)], [DAY * each for each in days])
        else:
            with self.assertRaises(ValueError):
                parse_retention(text)

    @given(st.lists(st.sampled_from([*"raw1mh:,.d 09", "raw:", ",1m:", ",1h:"]), max_size=12).map("".join))
    def test_any_text(self, text: str) -> None:
        """Whatever the text: all tiers, or ValueError."""
        try:
            self.assertEqual(len(parse_retention(text)), 3)
        except ValueError:
            return


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
