"""Tests for `perfmon.storage.keys`."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.tiers import WindowName
from perfmon.storage import keys


class KeyTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Keys are those of the design: all begin with pm:, and a host's stand with it in braces."""
        name = WindowName("web1.example", "raw", 3600)
        self.assertEqual(keys.window(name), "pm:{web1.example}:raw:3600")
        self.assertEqual(keys.head(name), "pm:{web1.example}:raw:3600:head")
        self.assertEqual(keys.sealing(name), "pm:{web1.example}:raw:3600:sealing")
        self.assertEqual(keys.open_windows("1m"), "pm:open:1m")
        self.assertEqual(keys.meta("web1.example"), "pm:{web1.example}:meta")
        self.assertEqual((keys.HOSTS, keys.PRESENT, keys.EVENTS), ("pm:hosts", "pm:present", "pm:events"))
        self.assertEqual(keys.CONTROL, "pm:control")
