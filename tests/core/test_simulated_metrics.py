"""Tests for `perfmon.core.simulated_metrics`."""

from itertools import islice

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.names import checked_metric, split_tags
from perfmon.core.simulated_metrics import filesystems, simulated_metrics
from perfmon.core.units import UNITS
from perfmon.probes.sampler import Sampler, all_probes


class SimulatedMetricsTests(SynchronousTestCase):
    def test_as_many_as_asked_for(self) -> None:
        """Any number can be had, none twice; fewer are the first ones of more."""
        many = simulated_metrics(3_000)
        self.assertEqual(len({metric.name for metric in many}), 3_000)
        for number in (1, 2, 11, 12, 13, 94, 100, 999):
            self.assertEqual(simulated_metrics(number), many[:number])

    def test_names(self) -> None:
        """They have names of the agent's, written as the agent writes them; a host of a hundred has all of them."""
        names = [metric.name for metric in simulated_metrics(1_000)]
        self.assertEqual([checked_metric(name) for name in names], names)
        of_programs = ("perfmon.collector.", "perfmon.agent.")  # not of what they measure
        agents = {name for name in UNITS if not name.startswith(of_programs)}
        self.assertEqual({name.partition(";")[0] for name in names[:100]}, agents)

    def test_tags(self) -> None:
        """Each has the tags that the real one has on this machine."""
        sampler = Sampler(all_probes())
        sampler.sample()
        real: dict[str, set[tuple[str, ...]]] = {}
        for metric in sampler.sample()[0]:
            name, tags = split_tags(metric)
            real.setdefault(name, set()).add(tuple(sorted(tags)))
        self.assertGreater(len(real), 10)
        for simulated in simulated_metrics(300):
            name, tags = split_tags(simulated.name)
            self.assertIn(tuple(sorted(tags)), real.get(name, {tuple(sorted(tags))}), simulated.name)

    def test_first_ones(self) -> None:
        """The first twelve are what a page and a rightsizing need: CPU, memory, load, network, disk, filesystem."""
        names = {metric.name.partition(";")[0] for metric in simulated_metrics(12)}
        self.assertLess(
            {
                *("perfmon.cpu.utilization", "perfmon.memory.utilization", "system.cpu.load_average.1m"),
                *("system.cpu.logical.count", "system.memory.limit", "system.network.io", "system.disk.io"),
                "system.filesystem.utilization",
            },
            names | {"more"},
        )

    def test_devices(self) -> None:
        """More disks, interfaces, filesystems and cores have names that go on."""
        names = " ".join(metric.name for metric in simulated_metrics(1_500))
        for device in ("sda", "sdz", "sdaa", "sdab", "eth0", "lo", "eth1", "eth2"):
            self.assertIn(f"device={device};", names)
        for mountpoint in ("/;", "/var;", "/home;", "/data1;", "/data9;"):
            self.assertIn(f"mountpoint={mountpoint}", names)
        self.assertIn("sensor=Core_0 ", names)

    def test_filesystems(self) -> None:
        """Filesystems are counted as far as they are told of."""
        found = [filesystems(simulated_metrics(number)) for number in (1, 12, 94, 200)]
        self.assertEqual(found[:3], [0, 1, 2])
        self.assertGreater(found[3], 3)

    def test_rounded(self) -> None:
        """Shares of 1 have four digits and end at 1, as those of the probes; what has no share may have any size."""
        for metric in islice(simulated_metrics(100), 100):
            if UNITS[metric.name.partition(";")[0]] == "1":
                self.assertEqual((metric.digits, metric.most), (4, 1.0), metric.name)
            else:
                self.assertEqual(metric.most, float("inf"), metric.name)
