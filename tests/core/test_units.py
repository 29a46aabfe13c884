"""Tests for `perfmon.core.units`."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.names import checked_metric
from perfmon.core.units import UNITS, unit_of


class UnitTests(SynchronousTestCase):
    def test_known(self) -> None:
        """The unit belongs to the name; tags do not matter."""
        for metric, unit in (
            ("system.cpu.utilization", "1"),
            ("system.cpu.utilization;state=user", "1"),
            ("system.cpu.utilization;cpu=0;state=user", "1"),
            ("system.network.io;device=eth0;direction=receive", "By"),
            ("system.cpu.time", "s"),
            ("system.cpu.load_average.1m", "{thread}"),
            ("perfmon.sensors.temperature;sensor=a", "Cel"),
        ):
            self.assertEqual(unit_of(metric), unit, metric)

    def test_unknown(self) -> None:
        """A metric that is not ours has no unit, however close its name."""
        for metric in ("", "cpu", "system.cpu", "system.cpu.utilization.x", "System.cpu.utilization", ";state=user"):
            self.assertEqual(unit_of(metric), "", metric)

    def test_names(self) -> None:
        """Every name in the table is one that can be stored, of the two families that are ours, with a unit."""
        for metric, unit in UNITS.items():
            self.assertEqual(checked_metric(metric), metric)
            self.assertNotIn(";", metric)
            self.assertRegex(metric, r"\A(system|perfmon)\.[a-z0-9_.]+\Z")
            self.assertRegex(unit, r"\A(1|s|By|Cel|rpm|\{[a-z]+\})\Z")
