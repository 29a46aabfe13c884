"""What every load has: a preparation, a run that can be stopped, and figures."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from perfmon.core.messages import Figures, Peer

# Of a filesystem this stays free, whatever is asked for: a full one harms others.
SPARE = 0.05

# How often a load tells of its progress.
PROGRESS = 0.5  # s


# What is kept of another program's output at most (characters): more would not fit into a line of the protocol.
MAX_OUTPUT = 256 << 10


class Refused(Exception):
    """This machine cannot run it; `str()` says why."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a load."""

    figures: Figures
    pairs: dict[str, Figures] = field(default_factory=dict)  # by the other one, where it is between machines
    output: str = ""  # JSON that another program has written


class Running(Protocol):
    """A load on this machine."""

    def prepare(self) -> Figures:
        """Sees whether it can be run, and what is to be expected. Raises `Refused`."""

    def meet(self, peers: Sequence[Peer]) -> None:
        """These are to be met; it is called between `prepare` and `run`, for loads between machines."""

    def run(self, stopped: Callable[[], bool], tell: Callable[[float, Figures], None]) -> Outcome:
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
