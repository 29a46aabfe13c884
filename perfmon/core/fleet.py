"""The fleet as the page shows it: for each host a line of facts, which seldom change, and one of figures, which do.

Lines are sent as columns: names and states of thousands of hosts stand side by side, and pack to a few bytes each.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

from perfmon.core.devices import is_outer_disk, is_outer_interface

FACTS = (
    "host",
    "state",
    "since",  # s since the epoch
    "reason",
    "kind",
    "labels",
    "system",
    "cpus",
    "memory_size",  # bytes
    "interval",  # s
    "stopped",
    "absence",
)

FIGURES = (
    "host",
    "seen",  # s since the epoch, to a tenth
    "time",  # of the newest of these samples, s since the epoch; None without any
    "cpu",  # share of all CPUs
    "memory",  # share
    "load",  # load average of a minute
    "disk",  # share of the fullest filesystem
    "mountpoint",  # of that
    "io",  # bytes per second, read and written
    "receive",  # bytes per second
    "transmit",  # bytes per second
)

# What the figures are made of: a pattern.
METRICS = (
    "perfmon.cpu.utilization,perfmon.memory.utilization,system.cpu.load_average.1m,"
    "system.filesystem.utilization,system.disk.io,system.network.io"
)

_GAUGES = {
    "perfmon.cpu.utilization": "cpu",
    "perfmon.memory.utilization": "memory",
    "system.cpu.load_average.1m": "load",
    "system.filesystem.utilization": "disk",
}
_RATES = ("io", "receive", "transmit")


@lru_cache(maxsize=65_536)
def _part(metric: str) -> tuple[str, str]:
    """Which figure `metric` is a part of, and the mountpoint it speaks of; empty where there is none."""
    name, _, tail = metric.partition(";")
    tags = dict(tag.partition("=")[::2] for tag in tail.split(";") if tag)
    if name in _GAUGES:
        return _GAUGES[name], tags.get("mountpoint", "")
    device, direction = tags.get("device", ""), tags.get("direction", "")
    if name == "system.disk.io" and is_outer_disk(device):
        return "io", ""
    if name == "system.network.io" and is_outer_interface(device) and direction in _RATES:
        return direction, ""
    return "", ""


@dataclass(slots=True)
class _Line:
    """What is known of one host."""

    facts: list[Any] = field(default_factory=list)
    figures: list[Any] = field(default_factory=list)
    counters: dict[str, float] = field(default_factory=dict)
    counted: float = 0.0  # s since the epoch: when the counters stood so
    rates: Mapping[str, int] = field(default_factory=dict)


class Change(NamedTuple):
    """What became of a host's line."""

    facts: bool  # they are others
    figures: bool  # they are others
    sampled: bool  # there is a newer sample


_TIME = FIGURES.index("time")


class FleetTable:
    """All hosts, each as it was last told of."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    @property
    def names(self) -> Iterable[str]:
        return self._lines.keys()

    def __len__(self) -> int:
        return len(self._lines)

    def take(self, host: Mapping[str, Any]) -> Change:
        """Takes in a host as the API describes it."""
        line = self._lines.setdefault(host["host"], _Line())
        facts, figures, before = _facts(host), _figures(host, line), line.figures
        sampled = not before or figures[_TIME] != before[_TIME]
        change = Change(facts != line.facts, figures != before, sampled)
        line.facts, line.figures = facts, figures
        return change

    def drop(self, name: str) -> bool:
        """Forgets a host; whether it was there."""
        return self._lines.pop(name, None) is not None

    def clear(self) -> None:
        self._lines.clear()

    def whole(self) -> dict[str, Sequence[Any]]:
        """The lines of all hosts, by column: facts and figures."""
        return _columns((*FACTS, *FIGURES[1:]), [line.facts + line.figures[1:] for line in self._lines.values()])

    def part(self, facts: Iterable[str], figures: Iterable[str]) -> dict[str, dict[str, Sequence[Any]]]:
        """Facts of some hosts, and figures of some, by column."""
        return {
            "facts": _columns(FACTS, [self._lines[name].facts for name in facts]),
            "figures": _columns(FIGURES, [self._lines[name].figures for name in figures]),
        }


def _columns(names: Sequence[str], lines: Sequence[list[Any]]) -> dict[str, Sequence[Any]]:
    if not lines:
        return {name: [] for name in names}
    return dict(zip(names, zip(*lines, strict=True), strict=True))


def _facts(host: Mapping[str, Any]) -> list[Any]:
    platform = host["platform"]
    return [
        host["host"],
        host["state"],
        host["since"],
        host["reason"],
        host["kind"],
        host["labels"],
        platform.get("system", ""),
        _count(platform.get("cpus", "")),
        _count(platform.get("memory", "")),
        host["interval"],
        host["stopped"],
        host["absence"],
    ]


def _count(text: str) -> int | None:
    """What an agent says of its platform is its own."""
    return int(text) if text.isascii() and text.isdecimal() else None


def _figures(host: Mapping[str, Any], line: _Line) -> list[Any]:
    gauges: dict[str, float] = {}
    counters: dict[str, float] = {}
    mountpoint, newest, counted = "", None, 0.0
    for metric, sample in host["latest"].items():
        part, at = _part(metric)
        if not part:
            continue
        time, value = sample["time"], sample["value"]
        newest = time if newest is None else max(newest, time)
        if part in _RATES:
            counters[metric] = value
            counted = max(counted, time)
        elif part != "disk" or not gauges.get("disk", -1.0) >= value:
            gauges[part] = value
            mountpoint = at or mountpoint
    _count_on(line, counters, counted)
    return [
        host["host"],
        round(host["last_seen"], 1),
        newest,
        _share(gauges.get("cpu")),
        _share(gauges.get("memory")),
        gauges.get("load"),
        _share(gauges.get("disk")),
        mountpoint,
        *(line.rates.get(part) for part in _RATES),
    ]


def _share(value: float | None) -> float | None:
    """To a tenth of a percent: the page shows no more, and digits are most of what is sent."""
    return None if value is None else round(value, 3)


def _count_on(line: _Line, counters: Mapping[str, float], counted: float) -> None:
    """Rates from the counters of the last round to those of this one; a counter that fell began anew at 0."""
    seconds = counted - line.counted
    if seconds <= 0:
        return
    if line.counters:
        sums: dict[str, float] = {}
        for metric, value in counters.items():
            before = line.counters.get(metric)
            if before is not None:
                part = _part(metric)[0]
                sums[part] = sums.get(part, 0.0) + (value - before if value >= before else value)
        line.rates = {part: round(total / seconds) for part, total in sums.items()}
    line.counters, line.counted = dict(counters), counted
