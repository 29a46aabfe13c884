"""Group commit: while one write to the store is under way everything that arrives gathers, and goes out as the next.

Low load gives low latency, high load gives large writes, with nothing to tune: whoever comes after a pause is written
at once, and only what follows a write sooner than `batch_time` waits for the rest of it. What arrives is acknowledged
only when the store has confirmed it. Above a high watermark of bytes not yet stored the sources are paused,
below a low one they go on: memory stays bounded while the store is away.
"""

import random
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.heads import BATCH_SIZE, HeadWrite, confirm, encode, forget
from perfmon.core.numbering import Columns, Numbering, Row
from perfmon.core.tiers import RAW, Tier
from perfmon.net.seams import Sender, Source
from perfmon.services.sources import Sources
from perfmon.storage.store import StoreUnavailable

# Bytes in columns that are not stored yet. At 24 bytes a sample that is 2.8 million samples: two seconds of
# the fastest senders. What is paused waits in the sockets and in the agents.
HIGH_WATER = 64 << 20
LOW_WATER = HIGH_WATER // 2

# A Row's own weight beside its values.
_ROW_OVERHEAD = 250  # bytes

# A commit that failed is tried again after this long, doubled up to the most.
_RETRY_FIRST, _RETRY_MOST = 0.1, 2.0  # s

# The failure of a commit that is worth a line in the log: nearly a second after the first, for a store that was
# just started is there before.
_TOLD_AT = 4

# How long stopping waits for the store to take what has gathered.
STOP_TIMEOUT = 3.0  # s


class Appends(Protocol):
    """The part of the store that ingest needs."""

    async def append(self, writes: list[HeadWrite]) -> list[bytes]: ...


class CommitListener(Protocol):
    """Is told of every commit; there is one at a time."""

    def begun(self) -> None: ...
    def ended(self, samples: int | None) -> None:
        """So many were stored by it; None: it was given up."""


class Ingest(Service):
    """A service between the network and the store."""

    _log = Logger()

    def __init__(
        self,
        store: Appends,
        clock: IReactorTime,
        wall: Callable[[], float],
        tier: Tier = RAW,
        batch_size: int = BATCH_SIZE,
        batch_time: float = 0.0,
    ) -> None:
        """`wall` gives the time in s since the epoch; `tier` is the one that takes what is sent.

        A commit has `batch_size` samples at the most, or one sampling round, and begins `batch_time` (s) after the one
        before it at the earliest.
        """
        self.tier = tier
        self._batch_size = batch_size
        self._batch_time = batch_time
        self._began = -batch_time  # the last commit, by the clock
        self._store = store
        self._clock = clock
        self._wall = wall
        self._numbering = self._new_numbering()
        self._waiting: deque[tuple[Columns | Row, int, Sender | None, int]] = deque()
        self._sources = Sources(lambda: self.buffered < LOW_WATER, clock)
        self._listeners: list[CommitListener] = []
        self._draining: Deferred[None] | None = None
        self.problem: str | None = None  # why the last commit is not stored yet, for people
        self.buffered = 0  # bytes not yet stored
        self.received = 0  # samples
        self.stored = 0
        self.commits = 0

    @staticmethod
    def _new_numbering() -> Numbering:
        return Numbering(lambda: random.getrandbits(32))

    @property
    def numbering(self) -> Numbering:
        """The numbering to use for what comes in now."""
        if self._numbering.full:
            self._numbering = self._new_numbering()
        return self._numbering

    def listen(self, listener: CommitListener) -> None:
        self._listeners.append(listener)

    def attach(self, source: Source) -> None:
        """From now on `source` is paused and resumed with the buffer."""
        self._sources.attach(source)

    def detach(self, source: Source) -> None:
        self._sources.detach(source)

    def store_replaced(self) -> None:
        """What the store has may be older than what it had: names that were declared in it may be gone from it."""
        logs = set(self._numbering.logs)
        for item, *_ in self._waiting:  # of an earlier numbering, perhaps
            logs |= {item.log} if isinstance(item, Row) else item.logs()
        for log in logs:
            log.undeclare()

    @property
    def paused(self) -> bool:
        """Whether the sources are held up, for too much waits to be stored."""
        return self._sources.paused

    def add_columns(self, columns: Columns, sender: Sender | None = None, seq: int = 0) -> None:
        """Takes in samples; `sender` is told of `seq` once they are stored."""
        if len(columns):
            self.received += len(columns)
            self._add(columns, columns.nbytes, sender, seq)
        elif sender is not None:
            sender.stored(seq)

    def add_row(self, row: Row, sender: Sender | None = None, seq: int = 0) -> None:
        """Takes in one sampling round; `sender` is told of `seq` once it is stored."""
        self.received += len(row)
        self._add(row, len(row.values) + _ROW_OVERHEAD, sender, seq)

    def _add(self, item: Columns | Row, size: int, sender: Sender | None, seq: int) -> None:
        self._waiting.append((item, size, sender, seq))
        self.buffered += size
        if self.buffered > HIGH_WATER and not self.paused:
            self._log.warn("store is behind: {size} bytes wait, senders are paused", size=self.buffered)
            self._sources.pause()
        if self._draining is None:
            self._draining = ensureDeferred(self._drain()).addErrback(self._cancelled)

    async def _drain(self) -> None:
        """Commits until nothing waits."""
        while self._waiting:
            # One turn of the reactor at least: what other connections have brought joins this commit.
            await deferLater(self._clock, max(0.0, self._began + self._batch_time - self._clock.seconds()))
            self._began = self._clock.seconds()
            columns, rows, told, size = self._next()
            try:
                columns = Columns.joined(columns)
                for batch in columns:
                    batch.numbering.saw(batch)
                for row in rows:
                    row.log.saw_row(row)
                for listener in self._listeners:
                    listener.begun()
                await self._commit(columns, rows)
                self.commits += 1
                samples = sum(map(len, columns)) + sum(map(len, rows))
                self.stored += samples
                for listener in self._listeners:
                    listener.ended(samples)
                for sender, seq in told.items():
                    sender.stored(seq)
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - the boundary of a commit
                # A bug, not a fault of the store: say so, and go on with what comes next.
                self._log.failure("commit lost")
                for listener in self._listeners:
                    listener.ended(None)
            self._release(size)
        self._draining = None

    def _next(self) -> tuple[list[Columns], list[Row], dict[Sender, int], int]:
        """Takes from what waits: (columns, rows, what each sender is to be told, bytes)."""
        columns: list[Columns] = []
        rows: list[Row] = []
        told: dict[Sender, int] = {}
        size, room = 0, self._batch_size
        while self._waiting and room > 0:
            item, item_size, sender, seq = self._waiting.popleft()
            if len(item) > room:
                if isinstance(item, Columns):
                    item, rest = item.cut(room)
                    self._waiting.appendleft((rest, rest.nbytes, sender, seq))
                    item_size, sender = item.nbytes, None  # who is told with the rest
                elif columns or rows:
                    self._waiting.appendleft((item, item_size, sender, seq))
                    break
            room -= len(item)
            size += item_size
            if isinstance(item, Row):
                rows.append(item)
            else:
                columns.append(item)
            if sender is not None:
                told[sender] = seq
        return columns, rows, told, size

    async def _commit(self, columns: list[Columns], rows: list[Row]) -> None:
        """Returns when the store has confirmed all of it, however long that takes."""
        delay = _RETRY_FIRST
        for attempt in count(1):
            writes = encode(columns, rows, self._wall(), self.tier)
            try:
                left = writes
                while left:
                    left = confirm(left, await self._store.append(left))
                self.problem = None
                if attempt > _TOLD_AT:
                    self._log.info("samples are stored again")
                return
            except StoreUnavailable as problem:
                # Nobody knows what of it was stored. Storing it again changes nothing.
                forget(writes)
                self.problem = str(problem)
                if attempt == _TOLD_AT:
                    self._log.warn("samples wait to be stored: {problem}", problem=problem)
            await deferLater(self._clock, delay)
            delay = min(delay * 2, _RETRY_MOST)

    def _release(self, size: int) -> None:
        self.buffered -= size
        if self.paused and self.buffered < LOW_WATER:
            self._log.info("store has caught up, senders go on")
            self._sources.go_on()

    def _cancelled(self, failure: Failure) -> None:
        self._draining = None
        failure.trap(CancelledError)

    async def flush(self) -> None:
        """Waits until all that was taken in is stored, `STOP_TIMEOUT` s at the most; says what was not."""
        waited, poll = 0.0, 0.01
        while self._draining is not None and waited < STOP_TIMEOUT:
            await deferLater(self._clock, poll)
            waited += poll
        if self._draining is not None:
            self._draining.cancel()
            self._log.error(
                "stopping with {count} samples not stored: agents keep theirs, senders without acks have lost theirs",
                count=self.received - self.stored,
            )

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._sources.stop()
        return ensureDeferred(self.flush())
