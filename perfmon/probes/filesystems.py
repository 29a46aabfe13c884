"""Filesystems on devices: space and inodes."""

import os
from collections.abc import Iterable
from typing import Protocol

import psutil

from perfmon.probes.digits import ratio
from perfmon.probes.naming import distinct, tagged

# Images, full by nature: 100 % of them says nothing.
_IMAGES = frozenset({"cd9660", "cramfs", "erofs", "iso9660", "squashfs"})


class Partition(Protocol):
    """What is read of psutil's `sdiskpart`."""

    @property
    def device(self) -> str: ...
    @property
    def mountpoint(self) -> str: ...
    @property
    def fstype(self) -> str: ...


def filesystems() -> dict[str, float]:
    """Space and inodes of each mounted device; one that cannot be asked is left out."""
    found: dict[str, float] = {}
    mountpoints = chosen_mountpoints(psutil.disk_partitions(all=False))
    for mountpoint, tag in zip(mountpoints, distinct(mountpoints), strict=True):
        try:
            found.update(_space(mountpoint, tag))
            found.update(_inodes(mountpoint, tag))
        except OSError:  # unmounted meanwhile, or not ours to enter
            continue
    return found


def chosen_mountpoints(partitions: Iterable[Partition]) -> list[str]:
    """One mountpoint for each device, the shortest: bind mounts and subvolumes share the device's space."""
    visible = {partition.mountpoint: partition for partition in partitions}  # the last one mounted hides others
    chosen: dict[str, str] = {}
    for mountpoint, partition in visible.items():
        if partition.fstype in _IMAGES:
            continue
        other = chosen.get(partition.device, mountpoint)
        chosen[partition.device] = min(other, mountpoint, key=lambda path: (len(path), path))
    return sorted(chosen.values())


def _space(mountpoint: str, tag: str) -> dict[str, float]:
    now = psutil.disk_usage(mountpoint)
    if not now.total:
        return {}
    found: dict[str, float] = {
        tagged("system.filesystem.usage", mountpoint=tag, state="used"): now.used,
        tagged("system.filesystem.usage", mountpoint=tag, state="free"): now.free,
    }
    reserved = now.total - now.used - now.free
    if reserved >= 0:
        found[tagged("system.filesystem.usage", mountpoint=tag, state="reserved")] = reserved
    if now.used + now.free:  # as df does: full is when users find it full
        found[tagged("system.filesystem.utilization", mountpoint=tag)] = ratio(now.used, now.used + now.free)
    return found


def _inodes(mountpoint: str, tag: str) -> dict[str, float]:
    now = os.statvfs(mountpoint)
    if not now.f_files:  # btrfs, FAT: made as needed
        return {}
    return {
        tagged("system.filesystem.inodes.usage", mountpoint=tag, state="used"): now.f_files - now.f_ffree,
        tagged("system.filesystem.inodes.usage", mountpoint=tag, state="free"): now.f_ffree,
    }
