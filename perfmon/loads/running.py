"""What every load has: a preparation, a run that can be stopped, and figures."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

Figures = dict[str, float | int | bool | str]

# Of a filesystem this stays free, whatever is asked for: a full one harms others.
SPARE = 0.05

# How often a load tells of its progress.
PROGRESS = 0.5  # s


class Refused(Exception):
    """This machine cannot run it; `str()` says why."""


class Running(Protocol):
    """A load on this machine."""

    def prepare(self) -> Figures:
        """Sees whether it can be run, and what is to be expected. Raises `Refused`."""

    def run(self, stopped: Callable[[], bool], tell: Callable[[float, Figures], None]) -> Figures:
        """Runs it to its end, or until `stopped`; `tell` gets the share that is done, and figures so far."""

    def clean(self) -> None:
        """Removes what it has made. It may be called at any time, and more than once."""


Clock = Callable[[], float]


def check_room(folder: Path, needed: int) -> None:
    """Raises `Refused` where `needed` bytes more in `folder` would leave too little of its disk free."""
    usage = shutil.disk_usage(folder)
    if usage.free - needed < SPARE * usage.total:
        raise Refused(
            f"it needs {needed:,} bytes in {folder.parent}, where {usage.free:,} are free, and "
            f"{SPARE:.0%} of the disk is to stay so: smaller files take less"
        )


def rate_figures(size: int, seconds: float, more: Mapping[str, float | int | bool | str]) -> Figures:
    """Bytes, seconds and bytes per second, and `more`."""
    return {"bytes": size, "seconds": seconds, "rate": size / seconds if seconds > 0 else 0.0, **more}
