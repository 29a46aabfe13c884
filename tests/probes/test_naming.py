"""The spelling of metrics."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.names import MAX_METRIC, checked_metric, split_tags
from perfmon.probes.naming import distinct, safe, tagged

_TEXT = st.text(st.characters(exclude_categories=()), max_size=600)  # surrogates too: psutil's undecodable bytes


class NamingTests(SynchronousTestCase):
    def test_tags_in_order(self) -> None:
        """Tags are sorted by name, however they were given."""
        self.assertEqual(tagged("a.b", state="used", mountpoint="/"), "a.b;mountpoint=/;state=used")
        self.assertEqual(tagged("a.b"), "a.b")

    def test_safe(self) -> None:
        """Each character a tag cannot hold becomes an underscore, and nothing else changes."""
        for value, expected in (
            ("/var/lib", "/var/lib"),
            ("/mnt/my disk;1", "/mnt/my_disk_1"),
            ("a\tb\nc\x7f", "a_b_c_"),
            ("a\u00a0b\udcff", "a_b_"),
            ("~home", "_home"),
            ("a~b=c", "a~b=c"),
            ("Gehäuse", "Gehäuse"),
            ("", "_"),
        ):
            self.assertEqual(safe(value), expected)

    @given(_TEXT, _TEXT)
    def test_always_valid(self, chip: str, sensor: str) -> None:
        """Whatever a machine calls its parts, the metric is one that the collector takes, spelled as it stores it."""
        metric = tagged("perfmon.sensors.temperature", chip=safe(chip), sensor=safe(sensor))
        self.assertEqual(checked_metric(metric), metric)
        self.assertLess(len(metric.encode()), MAX_METRIC)
        self.assertEqual(split_tags(metric)[1], {"chip": safe(chip), "sensor": safe(sensor)})

    def test_distinct(self) -> None:
        """Values that are equal, or become so, get a number; the first keeps its name."""
        self.assertEqual(distinct(["a b", "a_b", "c", "a;b"]), ["a_b", "a_b_2", "c", "a_b_3"])
        self.assertEqual(distinct(["x_2", "x", "x"]), ["x_2", "x", "x_3"])

    @given(st.lists(st.sampled_from(["", "a", "a_2", "a 2", "_"])))
    def test_distinct_always(self, values: list[str]) -> None:
        """There are as many results as values, and no two are equal."""
        self.assertEqual(len(set(distinct(values))), len(values))
