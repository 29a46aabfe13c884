"""Memory and swap."""

import os
from pathlib import Path
from typing import Any

import psutil

from perfmon.probes.digits import ratio
from perfmon.probes.naming import tagged

_VMSTAT = "/proc/vmstat"


def memory() -> dict[str, float]:
    """Main memory by state, and what programs could still get of it."""
    now = psutil.virtual_memory()
    found: dict[str, float] = {"system.memory.limit": now.total}
    for state, size in _states(now).items():
        found[tagged("system.memory.usage", state=state)] = size
        if now.total:
            found[tagged("system.memory.utilization", state=state)] = ratio(size, now.total)
    if now.total:
        found["perfmon.memory.utilization"] = ratio(now.total - now.available, now.total)
    if psutil.LINUX:
        found["system.linux.memory.available"] = now.available
    kills = _oom_kills()
    if kills is not None:
        found["perfmon.memory.oom_kills"] = kills
    return found


def _oom_kills() -> float | None:
    """How many processes Linux has killed for want of memory since boot; psutil does not tell."""
    if not psutil.LINUX:
        return None
    try:
        lines = Path(_VMSTAT).read_text().splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) for line in lines if line.startswith("oom_kill ")), None)


def _states(now: Any) -> dict[str, float]:
    """Bytes in each state; on Linux they add up to the total.

    psutil's own `used` does not fit there: since 7.2 it is total - available, which overlaps with the caches.
    """
    if psutil.LINUX:
        used = now.total - now.free - now.buffers - now.cached
        if used < 0:  # a container may see caches of its host; free(1) does the same
            used = now.total - now.free
        return {"used": used, "free": now.free, "buffered": now.buffers, "cached": now.cached}
    states: dict[str, float] = {"used": now.used, "free": now.free}
    if hasattr(now, "inactive"):
        states["inactive"] = now.inactive
    return states


def paging() -> dict[str, float]:
    """Swap space, where there is any, and the bytes that went in and out since boot."""
    now = psutil.swap_memory()
    found: dict[str, float] = {}
    if now.total:
        for state, size in (("used", now.used), ("free", now.free)):
            found[tagged("system.paging.usage", state=state)] = size
            found[tagged("system.paging.utilization", state=state)] = ratio(size, now.total)
    if _counts_paging():
        found[tagged("perfmon.paging.io", direction="in")] = now.sin
        found[tagged("perfmon.paging.io", direction="out")] = now.sout
    return found


def _counts_paging() -> bool:
    """Whether psutil's counters of paging are counted: where it cannot tell, it says 0."""
    return os.access(_VMSTAT, os.R_OK) if psutil.LINUX else not psutil.WINDOWS
