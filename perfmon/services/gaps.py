"""Rounds that agents had no room for: kept as events, each once."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perfmon.core.messages import Gap
from perfmon.storage.store import StoreUnavailable

# What the store did not take is tried again so often.
_AGAIN = 2.0  # s

# Longer ones are cut; this many characters have room for what our agent says.
MAX_REASON = 100


class GapStore(Protocol):
    """The part of the store that gaps need."""

    async def keep_gap(self, host: str, gap: int, at: float, reason: str) -> bool: ...


class Gaps(Service):
    """A service: writes down what agents say they have lost, and lets them know."""

    _log = Logger()

    def __init__(self, store: GapStore, clock: IReactorTime, wall: Callable[[], float]) -> None:
        """`wall` gives the time in s since the epoch."""
        self._store = store
        self._wall = wall
        self._waiting: dict[str, tuple[Gap, Callable[[], None]]] = {}  # an agent tells of one at a time
        self._again = LoopingCall(self._write_all)
        self._again.clock = clock

    def startService(self) -> None:
        super().startService()
        self._again.start(_AGAIN, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._again.stop()

    def note(self, host: str, gap: Gap, noted: Callable[[], None]) -> None:
        """`host` has lost rounds; `noted` is called once that is kept."""
        self._waiting[host] = (gap, noted)
        self._start(host)

    def _write_all(self) -> None:
        for host in list(self._waiting):
            self._start(host)

    def _start(self, host: str) -> None:
        ensureDeferred(self._write(host, *self._waiting[host])).addErrback(
            lambda failure: self._log.failure("a gap could not be written", failure)
        )

    async def _write(self, host: str, gap: Gap, noted: Callable[[], None]) -> None:
        try:
            new = await self._store.keep_gap(host, gap.id, self._wall(), told(gap))
        except StoreUnavailable:
            return  # the connection has logged it, and it is tried again
        if self._waiting.get(host) == (gap, noted):
            del self._waiting[host]
        if new:
            self._log.warn("{host} has lost {told}", host=host, told=told(gap))
        noted()


def told(gap: Gap) -> str:
    """The gap as a sentence's end."""
    reason = "".join(char for char in gap.reason[:MAX_REASON] if char.isprintable())
    return f"{gap.rounds} rounds of {_shown(gap.start)} to {_shown(gap.stop)}: {reason}"


def _shown(time: float) -> str:
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{time:g}"
