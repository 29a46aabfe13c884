"""The fleet as it changes, for the pages that are open: two looks a second, however many of them there are.

Each reader gets all there is at first, and then what has changed. What is sent is made once, as server-sent events
(https://html.spec.whatwg.org/multipage/server-sent-events.html), packed once, and shared by all readers. One that takes
it too slowly is let go; it comes again, and begins with all there is.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import suppress
from functools import cached_property
from typing import Any, Protocol

import orjson
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from perfmon.core.events import EventQuery
from perfmon.core.fleet import METRICS, FleetTable
from perfmon.core.packing import GZIP_HEADER, packed
from perfmon.services.polling import Single
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


Events = Callable[[EventQuery], Awaitable[list[dict[str, Any]]]]


class _Message:
    """A server-sent event."""

    def __init__(self, kind: str, data: Any) -> None:
        self.text = b"event: %b\ndata: %b\n\n" % (kind.encode(), orjson.dumps(data))

    @cached_property
    def packed(self) -> bytes:
        return packed(self.text)


class _Reader:
    """One page."""

    def __init__(self) -> None:
        self.begun = False  # it knows all hosts
        self.waiting: deque[_Message] = deque()
        self.ended = False
        self._ready: Deferred[None] | None = None

    def put(self, message: _Message) -> None:
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

    def __init__(
        self,
        fleet: Fleet,
        watched: Watched,
        events: Events,
        report: Callable[[], Awaitable[dict[str, Any]]],
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """`wall` is in s since the epoch."""
        self._fleet = fleet
        self._watched = watched
        self._events = events
        self._report = report
        self._wall = wall
        self._readers: set[_Reader] = set()
        self._whole = False  # whether the table has all hosts
        self._table = FleetTable()
        self._past: deque[dict[str, Any]] = deque(maxlen=FIRST_EVENTS)  # events
        self._last_event = "0"
        self._again: set[str] = set()  # hosts that were heard, and whose sample was not there yet at the last tick
        self._round: deque[str] = deque()  # hosts that are still to be looked at in this round of all
        self._ticks = 0
        self._looks = Single(self._look, "the fleet could not be looked at")
        self._reports = Single(self._tell_status, "the collector's own figures could not be told")
        self._timer = LoopingCall(self._tick)
        self._timer.clock = clock

    def startService(self) -> None:
        super().startService()
        self._timer.start(TICK, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._timer.stop()
        for work in (self._looks, self._reports):
            work.cancel()
        for reader in list(self._readers):
            reader.end()

    async def stream(self, pack: bool) -> AsyncGenerator[bytes, None]:
        """How the collector is, all hosts, the last events, and what changes, until the reader is too slow.

        While the store is away there is only the first. With `pack` it is a gzip stream without an end.
        """
        reader = _Reader()
        if not self._readers:
            self._whole = False  # nobody has looked since the last reader went
        self._readers.add(reader)
        try:
            reader.put(_Message("status", await self._report()))
            if pack:
                yield GZIP_HEADER
            if self._whole:
                self._begin([reader])
            else:
                self._looks.begin()
            while not reader.ended:
                await reader.more()
                if reader.waiting:
                    message = reader.waiting.popleft()
                    yield message.packed if pack else message.text
        finally:
            self._readers.discard(reader)
            if not self._readers:
                self._table.clear()  # of ten thousand hosts it is some tens of MB

    def _begin(self, readers: Iterable[_Reader]) -> None:
        """Tells readers all there is."""
        messages = (
            _Message("fleet", self._table.whole()),
            _Message("past", {"events": list(self._past)}),
        )
        for reader in readers:
            reader.begun = True
            for message in messages:
                reader.put(message)

    def _tick(self) -> None:
        if not self._readers:
            return
        self._ticks += 1
        self._looks.begin()
        if self._ticks % _STATUS_EVERY == 0:
            self._reports.begin()  # not after the look: that may wait for the store for long

    async def _tell_status(self) -> None:
        message = _Message("status", await self._report())
        for reader in list(self._readers):
            reader.put(message)

    async def _look(self) -> None:
        with suppress(StoreUnavailable):  # the status says so
            if self._whole:
                await self._look_at_hosts()
                await self._look_at_events()
            else:
                await self._look_at_all()
        if self._whole and (new := [reader for reader in self._readers if not reader.begun]):
            self._begin(new)

    async def _look_at_all(self) -> None:
        self._watched.news()  # since the last reader went, perhaps of all: what they sent is read here
        hosts = await self._fleet.hosts("*", METRICS)
        since = str(max(0, round((self._wall() - _DAY) * 1000)))
        events = (await self._events(EventQuery(since, FIRST_EVENTS, newest=True)))[::-1]
        self._table.clear()
        for host in hosts:
            self._table.take(host)
        self._past.clear()
        self._past.extend(events)
        self._last_event = events[-1]["id"] if events else since
        self._whole = True

    async def _look_at_hosts(self) -> None:
        news = self._watched.news()
        names = news | self._again | self._next_of_all()
        self._again |= news  # until the look has succeeded
        facts, figures, found = [], [], set()
        again = set(news)
        for host in await self._fleet.of(sorted(names), METRICS) if names else ():
            name = host["host"]
            found.add(name)
            change = self._table.take(host)
            if change.facts:
                facts.append(name)
            if change.figures:
                figures.append(name)
            if change.sampled:
                again.discard(name)
        gone = [name for name in names - found if self._table.drop(name)]
        if facts or figures or gone:
            self._send("hosts", {**self._table.part(facts, figures), "gone": gone})
        self._again = again

    def _next_of_all(self) -> set[str]:
        if not self._round:
            self._round.extend({*self._watched.names(), *self._table.names})
        size = -(-len(self._table) // _ALL_IN)
        return {self._round.popleft() for _ in range(min(size, len(self._round)))}

    async def _look_at_events(self) -> None:
        events = await self._events(EventQuery(self._last_event, 1_000))
        if events:
            self._last_event = events[-1]["id"]
            self._past.extend(events)
            self._send("events", {"events": events})

    def _send(self, kind: str, data: Any) -> None:
        """Tells of a change to all who know what was before."""
        message = _Message(kind, data)
        for reader in list(self._readers):
            if reader.begun:
                reader.put(message)
