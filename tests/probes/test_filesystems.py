"""Filesystems."""

import os
from collections.abc import Callable
from types import SimpleNamespace

from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes import filesystems
from perfmon.probes.filesystems import chosen_mountpoints
from tests.probes.fakes import Partition, Usage, fake_psutil

SDA, SDB = "/dev/sda1", "/dev/sdb1"


def _statvfs(files: int, free: int) -> Callable[[str], SimpleNamespace]:
    return lambda path: SimpleNamespace(f_files=files, f_ffree=free)


class ChosenMountpointsTests(SynchronousTestCase):
    def test_one_per_device(self) -> None:
        """A device that is mounted more than once counts once, under its shortest mountpoint."""
        partitions = [
            Partition(SDA, "/var/lib/volume"),
            Partition(SDA, "/home"),
            Partition(SDB, "/srv/b"),
            Partition(SDB, "/srv/a"),
        ]
        self.assertEqual(chosen_mountpoints(partitions), ["/home", "/srv/a"])
        self.assertEqual(chosen_mountpoints(reversed(partitions)), ["/home", "/srv/a"])

    def test_hidden(self) -> None:
        """A mountpoint shows what was mounted on it last; what it hides is seen elsewhere or not at all."""
        partitions = [Partition(SDA, "/a"), Partition(SDA, "/mnt/long"), Partition(SDB, "/a")]
        self.assertEqual(chosen_mountpoints(partitions), ["/a", "/mnt/long"])
        self.assertEqual(chosen_mountpoints([Partition(SDA, "/a"), Partition(SDB, "/a")]), ["/a"])

    def test_images(self) -> None:
        """Read-only images, always full, are left out."""
        partitions = [Partition("/dev/loop0", "/snap/core", "squashfs"), Partition("/dev/sr0", "/cd", "iso9660")]
        self.assertEqual(chosen_mountpoints(partitions), [])


class FilesystemsTests(SynchronousTestCase):
    def test_values(self) -> None:
        """Space, with what is reserved for root; utilization as df shows it; inodes."""
        self.patch(filesystems, "psutil", fake_psutil())
        self.patch(os, "statvfs", _statvfs(100, 60))
        self.assertEqual(
            filesystems.filesystems(),
            {
                "system.filesystem.usage;mountpoint=/;state=used": 450,
                "system.filesystem.usage;mountpoint=/;state=free": 450,
                "system.filesystem.usage;mountpoint=/;state=reserved": 100,
                "system.filesystem.utilization;mountpoint=/": 0.5,
                "system.filesystem.inodes.usage;mountpoint=/;state=used": 40,
                "system.filesystem.inodes.usage;mountpoint=/;state=free": 60,
            },
        )

    def test_rounded(self) -> None:
        """Utilization has 4 digits."""
        self.patch(filesystems, "psutil", fake_psutil(usage=Usage(total=1000, used=300, free=600)))
        self.patch(os, "statvfs", _statvfs(0, 0))
        self.assertEqual(filesystems.filesystems()["system.filesystem.utilization;mountpoint=/"], 0.3333)

    def test_no_inodes(self) -> None:
        """A filesystem that makes inodes as needed has no number of them."""
        self.patch(filesystems, "psutil", fake_psutil())
        self.patch(os, "statvfs", _statvfs(0, 0))
        self.assertEqual([metric for metric in filesystems.filesystems() if "inodes" in metric], [])

    def test_no_space(self) -> None:
        """A filesystem of size 0 has no usage; one without a block for users has no utilization."""
        self.patch(os, "statvfs", _statvfs(0, 0))
        self.patch(filesystems, "psutil", fake_psutil(usage=Usage(0, 0, 0, 0.0)))
        self.assertEqual(filesystems.filesystems(), {})
        self.patch(filesystems, "psutil", fake_psutil(usage=Usage(10, 0, 0, 0.0)))
        self.assertNotIn("system.filesystem.utilization;mountpoint=/", filesystems.filesystems())

    def test_failing_mount(self) -> None:
        """A filesystem that cannot be asked is absent, and hides no other."""
        fake = fake_psutil(partitions=(Partition(SDA, "/"), Partition(SDB, "/bad"), Partition("/dev/sdc1", "/srv")))

        def disk_usage(path: str) -> Usage:
            if path == "/bad":
                raise PermissionError(13, "Permission denied", path)
            return Usage()

        fake.disk_usage = disk_usage
        self.patch(filesystems, "psutil", fake)
        self.patch(os, "statvfs", _statvfs(0, 0))
        found = filesystems.filesystems()
        self.assertEqual(
            [metric for metric in found if metric.startswith("system.filesystem.utilization")],
            ["system.filesystem.utilization;mountpoint=/", "system.filesystem.utilization;mountpoint=/srv"],
        )

    def test_odd_mountpoints(self) -> None:
        """Mountpoints that a tag cannot hold are respelled, and stay apart."""
        fake = fake_psutil(partitions=(Partition(SDA, "/my disk"), Partition(SDB, "/my;disk")))
        self.patch(filesystems, "psutil", fake)
        self.patch(os, "statvfs", _statvfs(0, 0))
        found = filesystems.filesystems()
        self.assertIn("system.filesystem.utilization;mountpoint=/my_disk", found)
        self.assertIn("system.filesystem.utilization;mountpoint=/my_disk_2", found)

    def test_this_machine(self) -> None:
        """Whatever a real machine has mounted, a utilization is a fraction."""
        for metric, value in filesystems.filesystems().items():
            self.assertGreaterEqual(value, 0.0, metric)
            if metric.startswith("system.filesystem.utilization"):
                self.assertLessEqual(value, 1.0, metric)
