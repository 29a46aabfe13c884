"""Tests for what the command line reads and writes; tests/integration runs it for real."""

import os
import time

from twisted.trial.unittest import SynchronousTestCase

from perfmon.cli import parser, written, zoned


class ReadTests(SynchronousTestCase):
    def test_times(self) -> None:
        """A time without a zone is in the local zone, as times are shown; everything else goes to the API as it is."""
        self.patch(os, "environ", {**os.environ, "TZ": "Asia/Kolkata"})
        os.putenv("TZ", "Asia/Kolkata")
        time.tzset()
        self.addCleanup(time.tzset)
        self.addCleanup(os.unsetenv, "TZ")
        self.assertEqual(zoned("2026-01-31T12:00"), "2026-01-31T12:00:00+05:30")
        self.assertEqual(zoned("2026-01-31T12:00+01:00"), "2026-01-31T16:30:00+05:30")
        for text in ("now", "-1h", "1792310400.5", "-90m", "yesterday-ish", "1792310399000-0"):
            self.assertEqual(zoned(text), text)

    def test_commands(self) -> None:
        """Every command knows where the collector is by default."""
        for words in (["status"], ["hosts"], ["query", "x"], ["events"]):
            self.assertEqual(parser().parse_args(words).url, os.environ.get("PERFMON_URL", "http://127.0.0.1:9001"))


class WrittenTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Values are written with their units as people read them."""
        for value, unit, expected in (
            (0.4256, "1", "42.6 %"),
            (0, "By", "0 B"),
            (1536, "By", "1.5 KiB"),
            (3 * 1024**5, "By", "3072.0 TiB"),
            (90.5, "s", "90.5 s"),
            (7_325, "s", "2 h 2 min"),
            (200_000, "s", "2 d 7 h 33 min"),
            (1_234_567.5, "", "1,234,567.5"),
            (3, "{thread}", "3"),
            (41.25, "Cel", "41.25 Cel"),
        ):
            self.assertEqual(written(value, unit), expected)
