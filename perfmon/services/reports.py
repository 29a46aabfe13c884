"""What a person asks of one host first: how it is, how it was in the last hour and day, and since it is known."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from math import floor
from typing import Any

from perfmon.core.globs import pattern
from perfmon.core.names import split_tags
from perfmon.core.query import EXTENT_FIELDS, Plan, Query, extent
from perfmon.services.queries import Queries
from perfmon.storage.history import History

MINUTE, HOUR, DAY = 60.0, 3_600.0, 86_400.0  # s

CPU = "perfmon.cpu.utilization"
MEMORY = "perfmon.memory.utilization"
SWAP = "system.paging.utilization;state=used"
FILESYSTEM = "system.filesystem.utilization"

# Metrics of which the totals over all devices are told, by direction.
_TOTALS = {"disk": "system.disk.io", "network": "system.network.io"}

# A range longer than this is looked at by hours, a shorter one by minutes.
_BY_MINUTES = 2 * DAY


class Reports:
    """Summaries and statistics of one host for the HTTP API. All may raise `StoreUnavailable` and `FormatError`."""

    def __init__(self, queries: Queries, history: History, wall: Callable[[], float]) -> None:
        self._queries = queries
        self._history = history
        self._wall = wall

    async def summary(self, host: str, metric: str, agg: str) -> dict[str, Any]:
        """The last 60 minutes by minute and the last 24 hours by hour, those under way included."""
        now = self._wall()
        answer: dict[str, Any] = {"host": host}
        for name, step, count in (("minutes", MINUTE, 60), ("hours", HOUR, 24)):
            stop = (floor(now / step) + 1) * step
            answer[name] = await self._queries.query(Query(host, metric, stop - count * step, stop, step, agg))
        return answer

    async def stats(self, known: Mapping[str, Any], start: float, stop: float) -> dict[str, Any]:
        """How a host is now, and the extent of its CPU, memory and disk in start..stop (s) and since it is known.

        `known` is what `Queries.hosts` told of it, with all metrics.
        """
        host, now = known["host"], self._wall()
        return {
            **{name: known[name] for name in ("host", "state", "first_seen", "last_seen")},
            "current": _current({metric: latest["value"] for metric, latest in known["latest"].items()}),
            "range": await self._past(host, start, stop),
            "since_first_seen": await self._past(host, min(known["first_seen"], now - MINUTE), now),
        }

    async def _past(self, host: str, start: float, stop: float) -> dict[str, Any]:
        now = self._wall()
        if start < now + DAY:
            stop = min(stop, now + DAY)  # further ahead there is nothing
        step = MINUTE if stop - start <= _BY_MINUTES else HOUR
        plan = Plan.of(Query(host, "*", start, stop, step), self._history.tiers, now)
        plan = replace(plan, fields=EXTENT_FIELDS)
        wanted = pattern(",".join((CPU, MEMORY, FILESYSTEM)))
        answer: dict[str, Any] = {"from": plan.start, "until": plan.stop, "cpu": None, "memory": None, "disk": {}}
        async for _, found in self._history.read([host], wanted, plan, now):
            for metric, pieces in sorted(found.items()):
                one = extent(plan, pieces)
                if one is None:
                    continue
                name, tags = split_tags(metric)
                if name == FILESYSTEM:
                    answer["disk"][tags.get("mountpoint", "")] = asdict(one)
                else:
                    answer["cpu" if name == CPU else "memory"] = asdict(one)
        return answer


def _current(latest: Mapping[str, float]) -> dict[str, Any]:
    """The newest values of a host in the shape of a report; what it does not send is null, or not in the list."""
    filesystems: dict[str, dict[str, float]] = {}
    totals: dict[str, dict[str, float]] = {name: {} for name in _TOTALS}
    for metric, value in sorted(latest.items()):
        name, tags = split_tags(metric)
        mountpoint = tags.get("mountpoint")
        if mountpoint is not None and name == FILESYSTEM:
            filesystems.setdefault(mountpoint, {})["utilization"] = value
        elif mountpoint is not None and name == "system.filesystem.usage":
            filesystems.setdefault(mountpoint, {})[tags.get("state", "")] = value
        for total, counted in _TOTALS.items():
            if name == counted:
                direction = tags.get("direction", "")
                totals[total][direction] = totals[total].get(direction, 0.0) + value
    return {
        "cpu": {"utilization": latest.get(CPU), "load": latest.get("system.cpu.load_average.1m")},
        "memory": {
            "utilization": latest.get(MEMORY),
            "limit": latest.get("system.memory.limit"),
            "used": latest.get("system.memory.usage;state=used"),
        },
        "swap": {"utilization": latest.get(SWAP), "used": latest.get("system.paging.usage;state=used")},
        "filesystems": [{"mountpoint": mountpoint, **values} for mountpoint, values in filesystems.items()],
        **totals,
    }
