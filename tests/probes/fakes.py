"""What psutil answers on a Linux that has everything, for what the machine of the tests lacks."""

from types import SimpleNamespace
from typing import NamedTuple


class CpuTimes(NamedTuple):
    user: float = 60.0
    nice: float = 1.0
    system: float = 20.0
    idle: float = 100.0
    iowait: float = 5.0
    irq: float = 0.5
    softirq: float = 0.5
    steal: float = 2.0
    guest: float = 30.0
    guest_nice: float = 0.5


class Memory(NamedTuple):
    total: int = 1000
    available: int = 700
    percent: float = 30.0
    used: int = 300
    free: int = 400
    buffers: int = 50
    cached: int = 350


class Swap(NamedTuple):
    total: int = 200
    used: int = 50
    free: int = 150
    percent: float = 25.0
    sin: int = 4096
    sout: int = 8192


class Partition(NamedTuple):
    device: str
    mountpoint: str
    fstype: str = "ext4"
    opts: str = "rw"


class Usage(NamedTuple):
    total: int = 1000
    used: int = 450
    free: int = 450
    percent: float = 50.0


class DiskCounters(NamedTuple):
    read_count: int = 1
    write_count: int = 2
    read_bytes: int = 512
    write_bytes: int = 1024
    read_time: int = 1500
    write_time: int = 2500
    busy_time: int = 3000


class NetworkCounters(NamedTuple):
    bytes_sent: int = 1
    bytes_recv: int = 2
    packets_sent: int = 3
    packets_recv: int = 4
    errin: int = 5
    errout: int = 6
    dropin: int = 7
    dropout: int = 8


class Reading(NamedTuple):
    label: str
    current: float


_CPU_TIMES, _MEMORY, _SWAP, _USAGE = CpuTimes(), Memory(), Swap(), Usage()


def fake_psutil(
    *,
    linux: bool = True,
    cpu_times: CpuTimes = _CPU_TIMES,
    cpu_count: int | None = 4,
    memory: NamedTuple = _MEMORY,
    swap: Swap = _SWAP,
    partitions: tuple[Partition, ...] = (Partition("/dev/sda1", "/"),),
    usage: Usage = _USAGE,
    disks: tuple[str, ...] = ("sda",),
    networks: dict[str, NetworkCounters] | None = None,
    temperatures: dict[str, list[Reading]] | None = None,
    fans: dict[str, list[Reading]] | None = None,
) -> SimpleNamespace:
    """A stand-in for the module psutil."""
    networks = {"eth0": NetworkCounters()} if networks is None else networks
    temperatures = {"coretemp": [Reading("Package id 0", 45.0)]} if temperatures is None else temperatures
    fans = {"it87": [Reading("", 1200.0)]} if fans is None else fans
    return SimpleNamespace(
        LINUX=linux,
        WINDOWS=False,
        cpu_times=lambda: cpu_times,
        cpu_count=lambda: cpu_count,
        getloadavg=lambda: (1.0, 5.0, 15.0),
        virtual_memory=lambda: memory,
        swap_memory=lambda: swap,
        disk_partitions=lambda all: list(partitions),
        disk_usage=lambda path: usage,
        disk_io_counters=lambda perdisk, nowrap: {name: DiskCounters() for name in disks},
        net_io_counters=lambda pernic, nowrap: networks,
        pids=lambda: [1, 2, 3],
        boot_time=lambda: 0.0,
        sensors_temperatures=lambda: temperatures,
        sensors_fans=lambda: fans,
    )
