"""The fleet as it changes, for the pages that are open: two looks a second, however many of them there are.

Each reader gets all there is at first, and then what has changed. What is sent is made once, as server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html), and shared by all readers. One that takes it too
slowly is let go; it comes again, and begins with all there is.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Protocol

import orjson
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.storage.store import StoreUnavailable

TICK = 0.5  # s

# The collector's own figures come every so many ticks. That they come also says that the stream is alive.
_STATUS_EVERY = 4

# Every host is looked at once in so many ticks, whether it is known to have changed or not: another collector may hear
# it. All at once would hold up what is more urgent.
_ALL_IN = 60

# Messages that a reader may be behind: half a minute or so.
MOST_WAITING = 60

# Events that a reader begins with.
FIRST_EVENTS = 100

_DAY = 86_400  # s


class Fleet(Protocol):
    """The hosts as the API describes them."""

    async def hosts(self, host: str, metric: str) -> list[dict[str, Any]]: ...
    async def of(self, hosts: Iterable[str], metric: str) -> list[dict[str, Any]]: ...


class Watched(Protocol):
    """The part of presence that this needs."""

    def news(self) -> set[str]:
        """Hosts of which something has become known since the last time."""

    def names(self) -> list[str]:
        """All hosts."""


Events = Callable[[str, int, bool], Awaitable[list[dict[str, Any]]]]


class _Reader:
    """One page."""

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.ended = False
        self._ready: Deferred[None] | None = None

    def put(self, message: bytes) -> None:
        self.waiting.append(message)
        if len(self.waiting) > MOST_WAITING:
            self.end()
        self._wake()

    def end(self) -> None:
        self.ended = True
        self.waiting.clear()
        self._wake()

    def _wake(self) -> None:
        if self._ready is not None:
            ready, self._ready = self._ready, None
            ready.callback(None)

    async def more(self) -> None:
        """Waits until there is a message, or the end."""
        if not self.waiting and not self.ended:
            self._ready = Deferred()
            await self._ready


class Live(Service):
    """A service: looks at the fleet while somebody reads."""

    _log = Logger()

    def __init__(
        self,
        fleet: Fleet,
        watched: Watched,
        events: Events,
        report: Callable[[], Awaitable[dict[str, Any]]],
        metrics: str,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`metrics` is a pattern: of these the newest samples are told. `wall` is in s since the epoch."""
        self._fleet = fleet
        self._watched = watched
        self._events = events
        self._report = report
        self._metrics = metrics
        self._wall = wall
        self._readers: set[_Reader] = set()
        self._told: dict[str, bytes] = {}  # each host as it was sent last
        self._again: set[str] = set()  # hosts whose newest samples may not have been stored at the last tick
        self._round: deque[str] = deque()  # hosts that are still to be looked at in this round of all
        self._last_event = ""
        self._ticks = 0
        self._looking: Deferred[None] | None = None
        self._reporting: Deferred[None] | None = None
        self._timer = LoopingCall(self._tick)
        self._timer.clock = clock

    def startService(self) -> None:
        super().startService()
        self._timer.start(TICK, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._timer.stop()
        for work in (self._looking, self._reporting):
            if work is not None:
                work.cancel()
        for reader in list(self._readers):
            reader.end()

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """How the collector is, all hosts, the last events, and what changes, until the reader is too slow.

        While the store is away there is only the first.
        """
        reader = _Reader()
        if not self._readers:
            self._told.clear()
            self._last_event = ""
        self._readers.add(reader)
        try:
            yield _message("status", orjson.dumps(await self._report()))
            begun = False
            while not reader.ended:
                if not begun:
                    with suppress(StoreUnavailable):
                        for message in await self._all():
                            yield message
                        begun = True
                await reader.more()
                if reader.waiting:
                    yield reader.waiting.popleft()
        finally:
            self._readers.discard(reader)

    async def _all(self) -> list[bytes]:
        """What a reader begins with."""
        hosts = await self._fleet.hosts("*", self._metrics)
        for host in hosts:
            self._told.setdefault(host["host"], orjson.dumps(host))
        since = str(max(0, round((self._wall() - _DAY) * 1000)))
        events = (await self._events(since, FIRST_EVENTS, True))[::-1]
        self._last_event = self._last_event or (events[-1]["id"] if events else "0")
        return [
            _message("fleet", orjson.dumps({"hosts": hosts})),
            _message("past", orjson.dumps({"events": events})),
        ]

    def _tick(self) -> None:
        if not self._readers:
            return
        self._ticks += 1
        if self._looking is None:
            self._looking = ensureDeferred(self._look()).addErrback(self._failed)
            self._looking.addCallback(self._looked)
        if self._reporting is None and self._ticks % _STATUS_EVERY == 0:
            # not after the look: that may wait for the store for long
            self._reporting = ensureDeferred(self._tell_status()).addErrback(self._failed)
            self._reporting.addCallback(self._reported)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the fleet could not be looked at", failure)

    def _looked(self, result: None) -> None:
        self._looking = None

    def _reported(self, result: None) -> None:
        self._reporting = None

    async def _tell_status(self) -> None:
        self._send("status", orjson.dumps(await self._report()))

    async def _look(self) -> None:
        with suppress(StoreUnavailable):  # the status says so
            await self._look_at_hosts()
            await self._look_at_events()

    async def _look_at_hosts(self) -> None:
        news = self._watched.news()
        names = news | self._again | self._next_of_all()
        self._again |= news  # until the look has succeeded
        changed: list[bytes] = []
        found: set[str] = set()
        for host in await self._fleet.of(sorted(names), self._metrics):
            name, now = host["host"], orjson.dumps(host)
            found.add(name)
            if self._told.get(name) != now:
                self._told[name] = now
                changed.append(now)
        gone = [name for name in names - found if self._told.pop(name, None) is not None]
        if changed or gone:
            self._send("hosts", b'{"hosts":[%b],"gone":%b}' % (b",".join(changed), orjson.dumps(gone)))
        self._again = news

    def _next_of_all(self) -> set[str]:
        if not self._round:
            self._round.extend({*self._watched.names(), *self._told})
        size = -(-len(self._told) // _ALL_IN)
        return {self._round.popleft() for _ in range(min(size, len(self._round)))}

    async def _look_at_events(self) -> None:
        if not self._last_event:
            return  # nobody has got that far
        events = await self._events(self._last_event, 1_000, False)
        if events:
            self._last_event = events[-1]["id"]
            self._send("events", orjson.dumps({"events": events}))

    def _send(self, kind: str, data: bytes) -> None:
        message = _message(kind, data)
        for reader in list(self._readers):
            reader.put(message)


def _message(kind: str, data: bytes) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), data)
