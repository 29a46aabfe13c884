"""What simulated machines would have sent before they were started."""

import numpy as np
from numpy.typing import NDArray

from perfmon.core.simulated_fleet import SimulatedFleet


def simulated_past(fleet: SimulatedFleet, prefix: str, hosts: int, times: NDArray[np.float64]) -> bytes:
    """As Graphite lines, with a round at each of `times` (s since the epoch); a simulator goes on where they end."""
    lines = []
    for moment in times:
        rounds = fleet.values(np.arange(hosts), np.full(hosts, moment))
        for host, values in enumerate(rounds.tolist(), 1):
            for metric, value in zip(fleet.names, values, strict=True):
                if value == value:
                    name, _, tags = metric.partition(";")
                    tail = f";{tags}" if tags else ""
                    lines.append(f"hosts.{prefix}{host:05}.{name}{tail} {value!r} {int(moment)}\n")
    return "".join(lines).encode()
