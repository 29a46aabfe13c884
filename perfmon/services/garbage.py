"""When Python looks for reference cycles that nobody uses any more.

A full look visits every object: a quarter of a second with ten thousand agents, in which nobody is served. By default
one follows when a quarter more objects have come to stay, so a fleet that connects meets a dozen of them. Here they
come by the clock. What dies young, which is nearly all there is, is found by the small looks as before.
"""

import gc

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

# Objects made and still there until the youngest are looked at (some ms), and how many such looks until the middle
# ones are too (tens of ms); the oldest never by these numbers.
_YOUNG, _MIDDLE, _OLD = 20_000, 10, 1_000_000

# Connections that have ended leave cycles: of a fleet of ten thousand that all reconnect once an hour, some megabytes.
PERIOD = 3_600.0  # s


class Garbage(Service):
    """A service: while it runs, full collections are made every `PERIOD` s, and not in between."""

    def __init__(self, clock: IReactorTime) -> None:
        self._before = gc.get_threshold()
        self._full = LoopingCall(gc.collect)
        self._full.clock = clock

    def startService(self) -> None:
        super().startService()
        self._before = gc.get_threshold()
        gc.set_threshold(_YOUNG, _MIDDLE, _OLD)
        self._full.start(PERIOD, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._full.stop()
        gc.set_threshold(*self._before)
