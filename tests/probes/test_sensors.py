"""Sensors."""

from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes import sensors
from tests.probes.fakes import Reading, fake_psutil


class SensorsTests(SynchronousTestCase):
    def test_temperatures(self) -> None:
        """Each reading goes under its chip and its label."""
        chips = {"coretemp": [Reading("Package id 0", 45.0), Reading("Core 0", 43.5)]}
        self.patch(sensors, "psutil", fake_psutil(temperatures=chips))
        self.assertEqual(
            sensors.temperatures(),
            {
                "perfmon.sensors.temperature;chip=coretemp;sensor=Package_id_0": 45.0,
                "perfmon.sensors.temperature;chip=coretemp;sensor=Core_0": 43.5,
            },
        )

    def test_unlabelled(self) -> None:
        """A reading without a label goes under its place in the chip."""
        self.patch(sensors, "psutil", fake_psutil(fans={"it87": [Reading("", 0), Reading("cpu", 900), Reading("", 7)]}))
        self.assertEqual(
            sensors.fans(),
            {
                "perfmon.sensors.fan.speed;chip=it87;sensor=0": 0,
                "perfmon.sensors.fan.speed;chip=it87;sensor=cpu": 900,
                "perfmon.sensors.fan.speed;chip=it87;sensor=2": 7,
            },
        )

    def test_duplicates(self) -> None:
        """Two disks of the same kind, or chips that are spelled alike, stay apart."""
        chips = {
            "nvme": [Reading("Composite", 30.0), Reading("Composite", 40.0)],
            "my chip": [Reading("a", 1.0)],
            "my_chip": [Reading("a", 2.0)],
        }
        self.patch(sensors, "psutil", fake_psutil(temperatures=chips))
        self.assertEqual(
            sensors.temperatures(),
            {
                "perfmon.sensors.temperature;chip=nvme;sensor=Composite": 30.0,
                "perfmon.sensors.temperature;chip=nvme;sensor=Composite_2": 40.0,
                "perfmon.sensors.temperature;chip=my_chip;sensor=a": 1.0,
                "perfmon.sensors.temperature;chip=my_chip_2;sensor=a": 2.0,
            },
        )

    def test_none(self) -> None:
        """Where psutil knows no sensors, or finds none, there is nothing, and no error."""
        for fake in (SimpleNamespace(), fake_psutil(temperatures={}, fans={})):
            self.patch(sensors, "psutil", fake)
            self.assertEqual(sensors.temperatures(), {})
            self.assertEqual(sensors.fans(), {})
