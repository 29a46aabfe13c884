"""All probes together: one round of sampling, which one failing probe does not stop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isfinite

from perfmon.probes.cpu import Cpu, load
from perfmon.probes.disks import disks
from perfmon.probes.filesystems import filesystems
from perfmon.probes.memory import memory, paging
from perfmon.probes.network import network
from perfmon.probes.pressure import pressure
from perfmon.probes.sensors import fans, temperatures
from perfmon.probes.system import processes, uptime

Probe = Callable[[], dict[str, float]]
"""Metric to value; what the platform cannot give is absent."""


@dataclass(frozen=True, slots=True)
class ProbeFailure:
    """A probe that worked, or was never tried, and now fails."""

    probe: str
    problem: str


class Sampler:
    """Runs `probes` (by name), and tells once of each that begins to fail."""

    def __init__(self, probes: Mapping[str, Probe]) -> None:
        self._probes = dict(probes)
        self._failing: set[str] = set()

    def sample(self) -> tuple[dict[str, float], list[ProbeFailure]]:
        """One round: all finite values, and the probes that failed now and not the last time."""
        values: dict[str, float] = {}
        failures: list[ProbeFailure] = []
        for name, probe in self._probes.items():
            try:
                found = {metric: float(value) for metric, value in probe().items()}
            except Exception as error:  # noqa: BLE001 - the boundary of a probe
                if name not in self._failing:
                    failures.append(ProbeFailure(name, f"cannot be read: {type(error).__name__}: {error}"))
                self._failing.add(name)
                continue
            self._failing.discard(name)
            values.update((metric, value) for metric, value in found.items() if isfinite(value))
        return values, failures


def all_probes() -> dict[str, Probe]:
    """Every probe by its name; each call gives them a memory of their own."""
    return {
        "cpu": Cpu(),
        "load": load,
        "memory": memory,
        "paging": paging,
        "filesystems": filesystems,
        "disks": disks,
        "network": network,
        "processes": processes,
        "uptime": uptime,
        "pressure": pressure,
        "temperatures": temperatures,
        "fans": fans,
    }
