"""The machine as a whole: its processes, its uptime."""

import time

import psutil

from perfmon.probes.digits import hundredths


def processes() -> dict[str, float]:
    """The number of processes."""
    return {"perfmon.processes.count": len(psutil.pids())}


def uptime() -> dict[str, float]:
    """Seconds since boot, sleep included."""
    if hasattr(time, "CLOCK_BOOTTIME"):  # Linux: whatever is done to the wall clock
        return {"system.uptime": hundredths(time.clock_gettime(time.CLOCK_BOOTTIME))}
    return {"system.uptime": hundredths(time.time() - psutil.boot_time())}
