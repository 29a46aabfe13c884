"""The unit of a metric, by its name: those of OpenTelemetry's hostmetrics receiver and of perfmon's own.

Units are written as in UCUM, as OpenTelemetry does: ``s`` seconds, ``By`` bytes, ``1`` a fraction, ``{count}``.
"""

from collections.abc import Mapping
from typing import Final

UNITS: Final[Mapping[str, str]] = {
    "perfmon.agent.dropped": "{rounds}",
    "perfmon.agent.left_out": "{rounds}",
    "perfmon.agent.spooled": "{rounds}",
    "perfmon.collector.agents": "{agents}",
    "perfmon.collector.buffer.usage": "By",
    "perfmon.collector.commit.duration.max": "s",
    "perfmon.collector.commit.duration.mean": "s",
    "perfmon.collector.commit.size.max": "{samples}",
    "perfmon.collector.commit.size.mean": "{samples}",
    "perfmon.collector.commits": "{commits}",
    "perfmon.collector.connections": "{connections}",
    "perfmon.collector.loop.lag": "s",
    "perfmon.collector.paused": "1",
    "perfmon.collector.samples.received": "{samples}",
    "perfmon.collector.samples.rejected": "{samples}",
    "perfmon.collector.samples.stored": "{samples}",
    "perfmon.collector.store.memory.usage": "By",
    "perfmon.collector.windows.sealed": "{windows}",
    "perfmon.cpu.utilization": "1",
    "perfmon.memory.oom_kills": "{processes}",
    "perfmon.memory.utilization": "1",
    "perfmon.paging.io": "By",
    "perfmon.pressure.time": "s",
    "perfmon.pressure.utilization": "1",
    "perfmon.processes.count": "{processes}",
    "perfmon.sensors.fan.speed": "rpm",
    "perfmon.sensors.temperature": "Cel",
    "system.cpu.load_average.15m": "{thread}",
    "system.cpu.load_average.1m": "{thread}",
    "system.cpu.load_average.5m": "{thread}",
    "system.cpu.logical.count": "{cpu}",
    "system.cpu.time": "s",
    "system.cpu.utilization": "1",
    "system.disk.io": "By",
    "system.disk.io_time": "s",
    "system.disk.operation_time": "s",
    "system.disk.operations": "{operations}",
    "system.filesystem.inodes.usage": "{inodes}",
    "system.filesystem.usage": "By",
    "system.filesystem.utilization": "1",
    "system.linux.memory.available": "By",
    "system.memory.limit": "By",
    "system.memory.usage": "By",
    "system.memory.utilization": "1",
    "system.network.dropped": "{packets}",
    "system.network.errors": "{errors}",
    "system.network.io": "By",
    "system.network.packets": "{packets}",
    "system.paging.usage": "By",
    "system.paging.utilization": "1",
    "system.uptime": "s",
}
"""Exactly the metrics that `perfmon.probes` and the collector itself can emit, in alphabetical order."""


def unit_of(metric: str) -> str:
    """The unit of `metric` (with or without tags); empty for a name that is not ours."""
    return UNITS.get(metric.partition(";")[0], "")
