"""Pressure stall information of Linux (docs.kernel.org/accounting/psi.html).

The time in which some, or all, tasks waited for a resource.
"""

from pathlib import Path

from perfmon.probes.digits import ratio
from perfmon.probes.naming import tagged

DIRECTORY = Path("/proc/pressure")
RESOURCES = ("cpu", "memory", "io")


def pressure(directory: Path = DIRECTORY) -> dict[str, float]:
    """Pressure on each resource; nothing where the kernel does not tell."""
    found: dict[str, float] = {}
    for resource in RESOURCES:
        try:
            text = (directory / resource).read_text("ascii")
        except OSError:  # no such file, or one that refuses to be read (booted with psi=0)
            continue
        found.update(parse_pressure(resource, text))
    return found


def parse_pressure(resource: str, text: str) -> dict[str, float]:
    """Pressure on `resource` from its file, a line for each kind: ``some avg10=0.12 … total=3456``.

    Raises ValueError for a line of another form.
    """
    found: dict[str, float] = {}
    for line in text.splitlines():
        kind, *fields = line.split()
        if (kind, resource) == ("full", "cpu"):  # undefined for a whole machine; a 0 for compatibility
            continue
        values = dict(field.split("=") for field in fields)
        tags = {"kind": kind, "resource": resource}
        if "total" in values:
            found[tagged("perfmon.pressure.time", **tags)] = int(values["total"]) / 1e6  # from us
        if "avg10" in values:
            found[tagged("perfmon.pressure.utilization", **tags)] = ratio(float(values["avg10"]), 100)  # from %
    return found
