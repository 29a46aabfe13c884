"""File descriptors: before the last are used up, ports take no new connections, so that those there are go on.

Without that Twisted, once it cannot accept any more, closes each newcomer with three lines in the log; and where the
descriptor that it keeps for this purpose is lost as well, it asks again and again without a pause, and logs that.
"""

import os
import resource
from collections.abc import Callable
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

# What the process may need at any moment and must get: the store's connections when they come back, the files of the
# probes, the log's next file; and what a port accepts in one go.
SPARE = 128

# Between two looks. Each costs 0.1 ms.
_LOOK = 0.25  # s

# So many connections that were accepted are worth a look of their own: a crowd is there within one turn of the reactor.
_CROWD = 16


def can_open(count: int) -> bool:
    """Whether this process could open so many files now. It tries: nothing tells how many are open, at that price."""
    opened: list[int] = []
    try:
        opened.append(os.open(os.devnull, os.O_RDONLY))
        while len(opened) < count:
            opened.append(os.dup(opened[0]))
    except OSError:
        return False
    finally:
        for one in opened:
            os.close(one)
    return True


class Port(Protocol):
    """What takes connections."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def bound(self) -> None:
        """Accepts no more in one go than it may."""


class Descriptors(Service):
    """A service that holds up its ports while descriptors are short. Who connects meanwhile waits in the backlog."""

    _log = Logger()

    def __init__(self, clock: IReactorTime, can_open: Callable[[int], bool] = can_open) -> None:
        self._can_open = can_open
        self._clock = clock
        self._ports: list[Port] = []
        self._bounding: IDelayedCall | None = None
        self._accepted = 0  # since the last look
        self._short = False
        self._spare = SPARE
        self._looks = LoopingCall(self._look)
        self._looks.clock = clock

    def guard(self, port: Port) -> None:
        """From now on `port` is held up while descriptors are short."""
        self._ports.append(port)

    def startService(self) -> None:
        super().startService()
        # a process that may have few to begin with must not be held up for ever
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._spare = SPARE if limit == resource.RLIM_INFINITY else min(SPARE, limit // 4)
        self._looks.start(_LOOK, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._looks.stop()
        if self._bounding is not None:
            self._bounding.cancel()
            self._bounding = None

    def accepted(self) -> None:
        """A port has taken a connection."""
        self._accepted += 1
        if self._bounding is None and self.running:
            self._bounding = self._clock.callLater(0, self._bound)
        if self._accepted >= _CROWD and self.running and not self._short:
            self._look()

    def _bound(self) -> None:
        """After each time that a port has accepted."""
        self._bounding = None
        for port in self._ports:
            port.bound()

    def _look(self) -> None:
        self._accepted = 0
        # to go on there must be some more than to begin with: else each connection that ends would turn it over
        short = not self._can_open(self._spare * 3 // 2 if self._short else self._spare)
        if short == self._short:
            return
        self._short = short
        if short:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            self._log.warn(
                "file descriptors run short (ulimit -n is {limit}): new connections wait, those there are go on",
                limit=limit,
            )
        else:
            self._log.info("there are file descriptors again: new connections are taken")
        for port in self._ports:
            if short:
                port.pause()
            else:
                port.resume()
