"""What every load has: a preparation, a run that can be stopped, and figures."""

from collections.abc import Callable, Mapping
from typing import Protocol

Figures = dict[str, float | int | bool | str]

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


def rate_figures(size: int, seconds: float, more: Mapping[str, float | int | bool | str]) -> Figures:
    """Bytes, seconds and bytes per second, and `more`."""
    return {"bytes": size, "seconds": seconds, "rate": size / seconds if seconds > 0 else 0.0, **more}
