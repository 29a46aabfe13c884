"""Tests for `perfmon.core.timespec`."""

from datetime import UTC, datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.timespec import parse_time

NOW = 1_792_310_400.25


class ParseTimeTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Now, before now, seconds since the epoch and ISO 8601 are understood."""
        for text, time in (
            ("now", NOW),
            (" now ", NOW),
            ("-0", NOW),
            ("-90", NOW - 90),
            ("-90m", NOW - 5400),
            ("-1.5h", NOW - 5400),
            ("-250ms", NOW - 0.25),
            ("-60d", NOW - 60 * 86_400),
            ("0", 0.0),
            ("1792310400", 1_792_310_400.0),
            ("1792310400.5", 1_792_310_400.5),
            ("253402300799", 253_402_300_799.0),
            ("1970-01-02", 86_400.0),
            ("1970-01-01T00:01", 60.0),
            ("1970-01-01T00:01:00Z", 60.0),
            ("1970-01-01 00:01:00.5", 60.5),
            ("1970-01-01T02:01:00+02:00", 60.0),
            ("1969-12-31T23:59:00-00:01", 0.0),
            ("9999-12-31T23:59:59Z", 253_402_300_799.0),
        ):
            self.assertEqual(parse_time(text, NOW), time, text)

    def test_bad(self) -> None:
        """What is no time is refused with a sentence that shows it and says what to write."""
        for text in (
            "",
            ".",
            "-",
            "--1h",
            "+1h",
            "-1x",
            "1.2.3",
            "1e9",
            "nan",
            "inf",
            "-inf",
            "yesterday",
            "now-1h",
            "12:00",
            "2026-13-01",
            "2026-01-31T25:00",
            "31.1.2026",
            "Now",
        ):
            with self.assertRaises(ValueError, msg=text) as caught:
                parse_time(text, NOW)
            self.assertIn(f"{text!r} is no time: write now, -1h,", str(caught.exception))

    def test_too_far(self) -> None:
        """A time beyond the year 9999 is refused: milliseconds given for seconds, or a number without end."""
        for text in ("253402300800", "1792310400500", "9" * 400, "-" + "9" * 30, "-" + "9" * 400):
            with self.assertRaises(ValueError, msg=text):
                parse_time(text, NOW)

    @given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439))  # noqa: DTZ001 - the bounds of naive times
    def test_round_trip(self, moment: datetime, minutes: int) -> None:
        """Every moment in ISO 8601 is found, in any zone, and without one in UTC."""
        utc = moment.replace(tzinfo=UTC)
        elsewhere = utc.astimezone(timezone(timedelta(minutes=minutes)))
        for text in (moment.isoformat(), utc.isoformat(), elsewhere.isoformat()):
            self.assertEqual(parse_time(text, NOW), utc.timestamp())

    @given(st.text(max_size=20) | st.text("0123456789-+:.TZWnow smhdwy", max_size=20))
    def test_any(self, text: str) -> None:
        """Whatever the text: a time that fits the store's milliseconds, or ValueError."""
        try:
            time = parse_time(text, NOW)
        except ValueError:
            return
        self.assertLess(abs(time * 1000), 2**63)
