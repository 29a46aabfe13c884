"""The metrics of a simulated host: those of `perfmon.probes`, and what drives each of them.

The first ones are those that a page and a rightsizing need; after a whole host's, devices are added without end.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice

# What of a busy CPU goes where; `user` gets the rest. `wait` comes on top, for it is a kind of idleness.
STATES = {"system": 0.24, "nice": 0.001, "interrupt": 0.0, "softirq": 0.04, "steal": 0.01}
WAIT = 0.06

PAGE = 4096.0  # bytes
_SECTOR = 512.0
_PACKET = 800.0  # bytes, on average

_SWAP = 2.0**32  # bytes, never used
_RESERVED = 5e9 // PAGE * PAGE  # bytes of each filesystem, for root


@dataclass(frozen=True, slots=True)
class SimulatedMetric:
    """A metric as `gain` times a signal of `perfmon.core.simulated_fleet`, made uneven, rounded as the probes do."""

    name: str
    signal: str
    gain: float = 1.0
    digits: int = 0
    quantum: float = 1.0  # it is a multiple of
    noise: float = 0.0  # how far it strays from its signal: a counter's rate, or a gauge, by half of this share
    spread: float = 0.0  # how far `gain` differs from host to host: by half of this share
    most: float = float("inf")


def simulated_metrics(number: int) -> list[SimulatedMetric]:
    """The first `number` of them."""
    rest = (metric for metric in chain(_host(), _devices()) if metric.name not in _FIRST_NAMES)
    return list(islice(chain(_FIRST, rest), number))


def filesystems(metrics: list[SimulatedMetric]) -> int:
    """How many filesystems `metrics` tell of, the half-told last one included."""
    return len({metric.signal.split(":")[1] for metric in metrics if metric.signal.startswith("filesystem:")})


def _share(name: str, signal: str, gain: float = 1.0, noise: float = 0.0, spread: float = 0.0) -> SimulatedMetric:
    return SimulatedMetric(name, signal, gain, digits=4, noise=noise, spread=spread, most=1.0)


def _counter(name: str, rate: float, digits: int = 0, quantum: float = 1.0) -> SimulatedMetric:
    """Rises by about `rate` a second on a machine that is wholly busy."""
    return SimulatedMetric(name, "work", rate, digits, quantum, noise=0.8, spread=1.0)


def _gauge(name: str, signal: str, gain: float = 1.0, digits: int = 0) -> SimulatedMetric:
    return SimulatedMetric(name, signal, gain, digits)


def _host() -> Iterator[SimulatedMetric]:
    """What there is once in a machine: 53 metrics. With two disks, two interfaces and two filesystems it has 95."""
    for state in ("user", *STATES, "wait", "idle"):
        yield _share(f"system.cpu.utilization;state={state}", f"cpu:{state}")
        yield _gauge(f"system.cpu.time;state={state}", f"cpu_time:{state}", digits=2)
    yield _share("perfmon.cpu.utilization", "busy")
    for span in ("1m", "5m", "15m"):
        yield _gauge(f"system.cpu.load_average.{span}", f"load:{span}", digits=2)
    yield _gauge("system.cpu.logical.count", "cores")
    yield _gauge("system.memory.limit", "limit")
    for state in ("used", "free", "buffered", "cached"):
        yield _gauge(f"system.memory.usage;state={state}", f"memory:{state}")
        yield _share(f"system.memory.utilization;state={state}", f"memory_share:{state}")
    yield _share("perfmon.memory.utilization", "memory_share:used")
    yield _gauge("perfmon.memory.oom_kills", "one", 0.0)
    yield _gauge("system.linux.memory.available", "available")
    for state, share in (("used", 0.0), ("free", 1.0)):
        yield _gauge(f"system.paging.usage;state={state}", "one", share * _SWAP)
        yield _share(f"system.paging.utilization;state={state}", "one", share)
    for direction in ("in", "out"):
        yield _gauge(f"perfmon.paging.io;direction={direction}", "one", 0.0)
    yield SimulatedMetric("perfmon.processes.count", "one", 240.0, noise=0.1, spread=0.6)
    yield _gauge("system.uptime", "age", digits=2)
    for kind, resource, gain in (
        ("some", "cpu", 0.3),
        ("some", "memory", 0.02),
        ("full", "memory", 0.01),
        ("some", "io", 0.1),
        ("full", "io", 0.06),
    ):
        tags = f"kind={kind};resource={resource}"
        yield _counter(f"perfmon.pressure.time;{tags}", gain, digits=6)
        yield _share(f"perfmon.pressure.utilization;{tags}", "busy", gain, noise=1.0, spread=1.0)
    yield SimulatedMetric("perfmon.sensors.temperature;chip=k10temp;sensor=Tctl", "heat", digits=3, quantum=0.125)
    yield SimulatedMetric("perfmon.sensors.fan.speed;chip=nct6775;sensor=fan1", "heat", 22.0, noise=0.05, spread=0.2)


def _devices() -> Iterator[SimulatedMetric]:
    """Disks, interfaces, filesystems and CPU cores in turn, without end."""
    for number in count():
        yield from _disk(number)
        yield from _interface(number)
        yield from _filesystem(number)
        if number:  # small machines have no sensor for each core
            yield from _core(number - 1)


def _disk(number: int) -> Iterator[SimulatedMetric]:
    device = f"sd{_letters(number)}"
    for direction in ("read", "write"):
        tags = f"device={device};direction={direction}"
        yield _counter(f"system.disk.io;{tags}", 1e6, quantum=_SECTOR)
        yield _counter(f"system.disk.operations;{tags}", 200.0)
        yield _counter(f"system.disk.operation_time;{tags}", 0.3, digits=3)
    yield _counter(f"system.disk.io_time;device={device}", 0.4, digits=3)


def _letters(number: int) -> str:
    """a to z, then aa, ab …: as Linux names its disks."""
    text = ""
    number += 1
    while number:
        number, letter = divmod(number - 1, 26)
        text = chr(ord("a") + letter) + text
    return text


def _interface(number: int) -> Iterator[SimulatedMetric]:
    device = {0: "eth0", 1: "lo"}.get(number, f"eth{number - 1}")
    for direction in ("receive", "transmit"):
        tags = f"device={device};direction={direction}"
        yield _counter(f"system.network.io;{tags}", 3000.0 * _PACKET)
        yield _counter(f"system.network.packets;{tags}", 3000.0)
        yield _gauge(f"system.network.errors;{tags}", "one", 0.0)
        yield SimulatedMetric(f"system.network.dropped;{tags}", "one", 12.0, spread=2.0)


def _filesystem(number: int) -> Iterator[SimulatedMetric]:
    mountpoint = {0: "/", 1: "/var", 2: "/home"}.get(number, f"/data{number - 2}")
    usage, inodes = (
        f"{name};mountpoint={mountpoint}" for name in ("system.filesystem.usage", "system.filesystem.inodes.usage")
    )
    yield _share(f"system.filesystem.utilization;mountpoint={mountpoint}", f"filesystem:{number}:share")
    for state in ("used", "free"):
        yield _gauge(f"{usage};state={state}", f"filesystem:{number}:{state}")
        yield _gauge(f"{inodes};state={state}", f"filesystem:{number}:inodes_{state}")
    yield _gauge(f"{usage};state=reserved", "one", _RESERVED)


def _core(number: int) -> Iterator[SimulatedMetric]:
    name = f"perfmon.sensors.temperature;chip=coretemp;sensor=Core_{number}"
    yield SimulatedMetric(name, "heat", noise=0.04, spread=0.1)


def _first() -> Iterator[SimulatedMetric]:
    """What is sent also by a host of few metrics."""
    first = (
        "perfmon.cpu.utilization",
        "perfmon.memory.utilization",
        "system.cpu.load_average.1m",
        "system.cpu.logical.count",
        "system.memory.limit",
        "system.memory.usage;state=used",
        "system.network.io;device=eth0;direction=receive",
        "system.network.io;device=eth0;direction=transmit",
        "system.disk.io;device=sda;direction=read",
        "system.disk.io;device=sda;direction=write",
        "system.filesystem.utilization;mountpoint=/",
        "system.uptime",
    )
    known = {metric.name: metric for metric in chain(_host(), islice(_devices(), 40))}
    return (known[name] for name in first)


_FIRST = list(_first())
_FIRST_NAMES = {metric.name for metric in _FIRST}
