"""Disks: bytes, operations and time, as counters since boot."""

import os
import re
from collections.abc import Collection

import psutil

from perfmon.probes.naming import distinct, tagged

_SYS_BLOCK = "/sys/block"
_IN_MEMORY_OR_FILE = re.compile(r"(loop|ram|zram)\d+(p\d+)?")

_COUNTERS = (  # metric, direction, psutil's field, how many of its units make one of ours
    ("system.disk.io", "read", "read_bytes", 1),
    ("system.disk.io", "write", "write_bytes", 1),
    ("system.disk.operations", "read", "read_count", 1),
    ("system.disk.operations", "write", "write_count", 1),
    ("system.disk.operation_time", "read", "read_time", 1000),
    ("system.disk.operation_time", "write", "write_time", 1000),
)


def disks() -> dict[str, float]:
    """The counters of each whole disk."""
    # nowrap would let a counter go on after a disk was replaced; a reset is for the reader of counters to see.
    readings = psutil.disk_io_counters(perdisk=True, nowrap=False)
    found: dict[str, float] = {}
    names = whole_disks(readings, _block_devices())
    for name, tag in zip(names, distinct(names), strict=True):
        reading = readings[name]
        for metric, direction, field, divisor in _COUNTERS:
            value = getattr(reading, field, None)  # some BSDs have no times
            if value is not None:
                found[tagged(metric, device=tag, direction=direction)] = value / divisor
        busy = getattr(reading, "busy_time", None)  # Linux, FreeBSD
        if busy is not None:
            found[tagged("system.disk.io_time", device=tag)] = busy / 1000
    return found


def whole_disks(names: Collection[str], block_devices: Collection[str]) -> list[str]:
    """`names` without loop and RAM devices, and without partitions of a disk among them.

    `block_devices`: the whole disks the kernel knows; where there are none, it is not known what a partition is.
    """
    return [
        name
        for name in names
        if _IN_MEMORY_OR_FILE.fullmatch(name) is None
        and (name in block_devices or not any(disk in names and disk in block_devices for disk in _disks_of(name)))
    ]


def _disks_of(name: str) -> tuple[str, str]:
    """Names that the disk may have of which `name` is a partition: sda1 of sda, nvme0n1p1 of nvme0n1."""
    disk = name.rstrip("0123456789")
    return disk, disk.removesuffix("p")


def _block_devices() -> set[str]:
    try:
        return {name.replace("!", "/") for name in os.listdir(_SYS_BLOCK)}  # sysfs writes cciss/c0d0 so
    except OSError:
        return set()
