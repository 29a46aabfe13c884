"""Tests for `perfmon.storage.keys`."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.tiers import HeadName
from perfmon.storage import keys


class KeyTests(SynchronousTestCase):
    def test_names(self) -> None:
        """Keys are those of the design: all begin with pm:, and a host's stand with it in braces."""
        self.assertEqual(keys.head(HeadName("web1.example", "raw", 3600)), "pm:{web1.example}:raw:3600:head")
        self.assertEqual(keys.meta("web1.example"), "pm:{web1.example}:meta")
        self.assertEqual((keys.HOSTS, keys.PRESENT, keys.EVENTS), ("pm:hosts", "pm:present", "pm:events"))
