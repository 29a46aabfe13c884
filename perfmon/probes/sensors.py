"""Temperatures and fans, where psutil has them (Linux, in part FreeBSD)."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import psutil

from perfmon.probes.naming import distinct, tagged


class Reading(Protocol):
    """What is read of psutil's `shwtemp` and `sfan`."""

    @property
    def label(self) -> str: ...
    @property
    def current(self) -> float: ...


def temperatures() -> dict[str, float]:
    """Degrees Celsius of each sensor."""
    read = getattr(psutil, "sensors_temperatures", None)
    return _named("perfmon.sensors.temperature", read()) if read else {}


def fans() -> dict[str, float]:
    """Revolutions per minute of each fan."""
    read = getattr(psutil, "sensors_fans", None)
    return _named("perfmon.sensors.fan.speed", read()) if read else {}


def _named(metric: str, chips: Mapping[str, Sequence[Reading]]) -> dict[str, float]:
    """Each reading under its chip and its label, or its place in the chip where it has none.

    psutil puts chips of the same name together, so two disks give the same label twice.
    """
    found: dict[str, float] = {}
    for chip, readings in zip(distinct(chips), chips.values(), strict=True):
        labels = distinct(reading.label or str(place) for place, reading in enumerate(readings))
        for label, reading in zip(labels, readings, strict=True):
            found[tagged(metric, chip=chip, sensor=label)] = reading.current
    return found
