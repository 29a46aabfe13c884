"""Disks."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes import disks
from perfmon.probes.disks import whole_disks
from tests.probes.fakes import fake_psutil


class _CountersWithoutTimes(NamedTuple):
    read_count: int = 1
    write_count: int = 2
    read_bytes: int = 512
    write_bytes: int = 1024


class WholeDisksTests(SynchronousTestCase):
    def test_linux(self) -> None:
        """Partitions of a disk that is counted itself, loop and RAM devices are left out."""
        for names, block_devices, expected in (
            ("sda sda1 sda12 sdb", "sda sdb", "sda sdb"),
            (
                "nvme0n1 nvme0n1p1 mmcblk0 mmcblk0p2 mmcblk0boot0",
                "nvme0n1 mmcblk0 mmcblk0boot0",
                "nvme0n1 mmcblk0 mmcblk0boot0",
            ),
            (
                "loop0 loop11 loop0p1 ram0 zram0 dm-0 md127 sr0",
                "loop0 loop11 ram0 zram0 dm-0 md127 sr0",
                "dm-0 md127 sr0",
            ),
            ("cciss/c0d0 cciss/c0d0p1", "cciss/c0d0", "cciss/c0d0"),
            ("xvda1 xvda2", "xvda1 xvda2", "xvda1 xvda2"),  # Xen: disks that look like partitions
            ("sda1 sdb", "sdb", "sda1 sdb"),  # its disk is not counted
        ):
            self.assertEqual(whole_disks(names.split(), block_devices.split()), expected.split())

    def test_unknown(self) -> None:
        """Where the kernel does not tell its disks, all are kept."""
        self.assertEqual(whole_disks(["disk0", "ada0p1", "ada0", "loop3p1"], ()), ["disk0", "ada0p1", "ada0"])


class DisksTests(SynchronousTestCase):
    def test_values(self) -> None:
        """Bytes and operations as they are, times in seconds, for whole disks only."""
        blocks = Path(self.enterContext(TemporaryDirectory()))
        (blocks / "cciss!c0d0").mkdir()
        self.patch(disks, "_SYS_BLOCK", str(blocks))
        self.patch(disks, "psutil", fake_psutil(disks=("cciss/c0d0", "cciss/c0d0p1")))
        self.assertEqual(
            disks.disks(),
            {
                "system.disk.io;device=cciss/c0d0;direction=read": 512,
                "system.disk.io;device=cciss/c0d0;direction=write": 1024,
                "system.disk.operations;device=cciss/c0d0;direction=read": 1,
                "system.disk.operations;device=cciss/c0d0;direction=write": 2,
                "system.disk.operation_time;device=cciss/c0d0;direction=read": 1.5,
                "system.disk.operation_time;device=cciss/c0d0;direction=write": 2.5,
                "system.disk.io_time;device=cciss/c0d0": 3.0,
            },
        )

    def test_without_sysfs(self) -> None:
        """Without sysfs all disks are kept."""
        self.patch(disks, "_SYS_BLOCK", f"{__file__}/none")
        self.patch(disks, "psutil", fake_psutil(disks=("ada0", "ada0p1")))
        self.assertIn("system.disk.io_time;device=ada0p1", disks.disks())

    def test_without_times(self) -> None:
        """A platform that counts no times has none."""
        fake = fake_psutil()
        fake.disk_io_counters = lambda perdisk, nowrap: {"wd0": _CountersWithoutTimes()}
        self.patch(disks, "psutil", fake)
        self.assertEqual(
            {metric.partition(";")[0] for metric in disks.disks()}, {"system.disk.io", "system.disk.operations"}
        )

    def test_no_disks(self) -> None:
        """No disks, no metrics."""
        self.patch(disks, "psutil", fake_psutil(disks=()))
        self.assertEqual(disks.disks(), {})

    def test_this_machine(self) -> None:
        """A real machine's counters are not negative."""
        for metric, value in disks.disks().items():
            self.assertGreaterEqual(value, 0, metric)
