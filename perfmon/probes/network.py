"""Network interfaces: bytes, packets, errors and drops, as counters."""

import psutil

from perfmon.probes.naming import distinct, tagged

_COUNTERS = (  # metric, direction, psutil's field
    ("system.network.io", "receive", "bytes_recv"),
    ("system.network.io", "transmit", "bytes_sent"),
    ("system.network.packets", "receive", "packets_recv"),
    ("system.network.packets", "transmit", "packets_sent"),
    ("system.network.errors", "receive", "errin"),
    ("system.network.errors", "transmit", "errout"),
    ("system.network.dropped", "receive", "dropin"),
    ("system.network.dropped", "transmit", "dropout"),
)


def network() -> dict[str, float]:
    """The counters of each interface that ever carried a byte."""
    # nowrap=False: see perfmon.probes.disks.
    readings = psutil.net_io_counters(pernic=True, nowrap=False)
    names = [name for name, reading in readings.items() if reading.bytes_recv or reading.bytes_sent]
    return {
        tagged(metric, device=tag, direction=direction): getattr(readings[name], field)
        for name, tag in zip(names, distinct(names), strict=True)
        for metric, direction, field in _COUNTERS
    }
