"""One round of sampling, and what all probes together emit."""

import os
from math import inf, nan
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.names import checked_metric
from perfmon.core.units import UNITS
from perfmon.probes import cpu, disks, filesystems, memory, network, sensors, system
from perfmon.probes.pressure import RESOURCES, pressure
from perfmon.probes.sampler import Probe, ProbeFailure, Sampler, all_probes
from tests.probes.fakes import CpuTimes, fake_psutil

PROBED = {metric for metric in UNITS if not metric.startswith(("perfmon.collector.", "perfmon.agent."))}


def _names(values: dict[str, float]) -> set[str]:
    return {metric.partition(";")[0] for metric in values}


class SamplerTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.error: Exception | None = None

    def _shaky(self) -> dict[str, float]:
        if self.error is not None:
            raise self.error
        return {"shaky": 1.0}

    def test_merged(self) -> None:
        """A round is what all probes found, as floats."""
        sampler = Sampler({"one": lambda: {"a": 1}, "two": lambda: {"b": 2.5}})
        values, failures = sampler.sample()
        self.assertEqual((values, failures), ({"a": 1.0, "b": 2.5}, []))
        self.assertIsInstance(values["a"], float)

    def test_not_finite(self) -> None:
        """What is no number is dropped, and what is beside it stays."""
        sampler = Sampler({"one": lambda: {"a": nan, "b": inf, "c": -inf, "d": 0.0}})
        self.assertEqual(sampler.sample(), ({"d": 0.0}, []))

    def test_failing_probe(self) -> None:
        """A probe that fails stops no other, and is told of once, until it has worked in between."""
        sampler = Sampler({"shaky": self._shaky, "good": lambda: {"good": 2.0}})
        self.error = PermissionError(13, "Permission denied", "/proc/diskstats")
        problem = "cannot be read: PermissionError: [Errno 13] Permission denied: '/proc/diskstats'"
        self.assertEqual(sampler.sample(), ({"good": 2.0}, [ProbeFailure("shaky", problem)]))
        self.assertEqual(sampler.sample(), ({"good": 2.0}, []))
        self.error = ValueError("another reason is no news")
        self.assertEqual(sampler.sample(), ({"good": 2.0}, []))
        self.error = None
        self.assertEqual(sampler.sample(), ({"shaky": 1.0, "good": 2.0}, []))
        self.error = ValueError("again")
        self.assertEqual(
            sampler.sample(), ({"good": 2.0}, [ProbeFailure("shaky", "cannot be read: ValueError: again")])
        )

    def test_two_samplers(self) -> None:
        """Each sampler tells for itself."""
        self.error = ValueError("no")
        probes: dict[str, Probe] = {"shaky": self._shaky}
        self.assertEqual(Sampler(probes).sample(), Sampler(probes).sample())

    def test_this_machine(self) -> None:
        """On a real machine no probe fails, and every metric is spelled as the collector stores it."""
        sampler = Sampler(all_probes())
        sampler.sample()
        values, failures = sampler.sample()
        self.assertEqual(failures, [])
        self.assertEqual([checked_metric(metric) for metric in values], list(values))
        self.assertLessEqual(_names(values), PROBED)
        self.assertLessEqual({"system.cpu.time", "system.memory.usage", "system.uptime"}, _names(values))


class UnitsTests(SynchronousTestCase):
    def _pressure_files(self) -> Path:
        directory = Path(self.enterContext(TemporaryDirectory()))
        for resource in RESOURCES:
            (directory / resource).write_text("some avg10=1.00 total=1\nfull avg10=1.00 total=1\n")
        return directory

    def test_exactly_ours(self) -> None:
        """On a machine that has everything, every metric emitted has a unit, and every unit its metric."""
        for module in (cpu, disks, filesystems, memory, network, sensors, system):
            self.patch(module, "psutil", fake_psutil())
        self.patch(os, "statvfs", lambda path: SimpleNamespace(f_files=100, f_ffree=60))
        vmstat = Path(self.enterContext(TemporaryDirectory())) / "vmstat"
        vmstat.write_text("oom_kill 3\n")
        self.patch(memory, "_VMSTAT", str(vmstat))
        directory = self._pressure_files()
        probes = {**all_probes(), "pressure": lambda: pressure(directory)}
        self.assertEqual(set(probes), set(all_probes()))
        sampler = Sampler(probes)
        sampler.sample()
        self.patch(cpu, "psutil", fake_psutil(cpu_times=CpuTimes(user=61.0)))
        values, failures = sampler.sample()
        self.assertEqual(failures, [])
        self.assertEqual(_names(values), PROBED)
        self.assertEqual([checked_metric(metric) for metric in values], list(values))

    def test_no_metric_twice(self) -> None:
        """No two probes emit the same metric."""
        seen: set[str] = set()
        for probe in all_probes().values():
            found = _names(probe())
            self.assertEqual(seen & found, set())
            seen |= found

    def test_in_order(self) -> None:
        """The table of units is in alphabetical order."""
        self.assertEqual(list(UNITS), sorted(UNITS))
