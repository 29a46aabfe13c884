"""CPUs: time and share of each state, load, their number."""

from collections.abc import Mapping

import psutil

from perfmon.probes.digits import hundredths, ratio
from perfmon.probes.naming import tagged

_CONTAINED = ("guest", "guest_nice")  # the kernel counts them in user and nice as well
_IDLE = ("idle", "wait")
_NAMES = {"iowait": "wait", "irq": "interrupt"}  # as the hostmetrics receiver calls them


class Cpu:
    """A probe of all CPUs together; the shares are those of the time since its last call.

    So the first call gives the counters only.
    """

    def __init__(self) -> None:
        self._before: dict[str, float] = {}

    def __call__(self) -> dict[str, float]:
        times = psutil.cpu_times()._asdict()
        now = {_NAMES.get(state, state): time for state, time in times.items() if state not in _CONTAINED}
        found = {tagged("system.cpu.time", state=state): hundredths(time) for state, time in now.items()}
        found.update(utilization(self._before, now))
        self._before = now
        return found


def utilization(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """The share of each state between two readings of its counters (s); nothing if no time has passed.

    The shares add up to 1, but for what rounding makes of each.
    """
    # Linux lets wait and idle fall a little at times.
    spent = {state: max(0.0, time - before[state]) for state, time in after.items() if state in before}
    total = sum(spent.values())
    if not total:
        return {}
    found = {tagged("system.cpu.utilization", state=state): ratio(time, total) for state, time in spent.items()}
    busy = sum(time for state, time in spent.items() if state not in _IDLE)
    found["perfmon.cpu.utilization"] = ratio(busy, total)
    return found


def load() -> dict[str, float]:
    """Load averages, and the number of CPUs that they have to be seen against."""
    one, five, fifteen = psutil.getloadavg()
    found = {
        "system.cpu.load_average.1m": hundredths(one),
        "system.cpu.load_average.5m": hundredths(five),
        "system.cpu.load_average.15m": hundredths(fifteen),
    }
    count = psutil.cpu_count()
    if count is not None:
        found["system.cpu.logical.count"] = count
    return found
