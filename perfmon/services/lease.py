"""The collector's lease in the store: who watches which hosts, and whether the store takes what is written to it.

Each collector renews a lease, several times within a heartbeat timeout. Each host that is there is watched by one
collector, the one that heard it last, and only that one finds that it is late or has departed: another would take a
host that it does not hear for one that is gone. When a lease has lapsed the others share out the hosts behind it.

The renewal is a write, small and regular, so it is also what finds out that a store takes none: a full disk, no memory,
a replica. And it finds out that the store has lost its data behind our back, for then the lease is gone.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Protocol, TypeVar

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.storage.store import HostRecord, Leases, StoreUnavailable

_T = TypeVar("_T")

# Between renewals; shorter where the heartbeat timeout is.
RENEWAL = 1.0  # s

# Renewals that may be missed: enough for a collector that is busy for once, or whose connection was lost.
MISSES = 4

# A store that does not answer so small a question by then is stuck, and people should be told.
PATIENCE = 2.0  # s

# How long stopping waits for the store.
STOP_TIMEOUT = 1.0  # s


class LeaseStore(Protocol):
    """The part of the store that this needs."""

    collector: str

    async def renew(self) -> Leases: ...
    async def release(self, time: float) -> None: ...
    async def take_over(self, watched: Mapping[str, str], before: float) -> list[str]: ...
    async def drop_leases(self, collectors: Collection[str]) -> None: ...


class Watcher(Protocol):
    """The part of presence that this needs."""

    async def records(self) -> list[HostRecord]: ...
    async def follow(self) -> None: ...
    def watch(self, records: list[HostRecord], since_start: bool) -> None: ...
    def claim(self) -> None: ...
    def start_anew(self) -> None: ...


class Lease(Service):
    """A service: renews the lease. `problem` says, for people, why that does not go; None while it does."""

    _log = Logger()

    def __init__(
        self,
        store: LeaseStore,
        presence: Watcher,
        timeout: float,
        clock: IReactorTime,
        monotonic: Callable[[], float],
    ) -> None:
        """`timeout` is that of heartbeats (s)."""
        self.problem: str | None = None
        self._store = store
        self._presence = presence
        self._timeout = timeout
        self._renewal = min(RENEWAL, timeout / MISSES)
        self._lapse = MISSES * self._renewal
        self._monotonic = monotonic
        self._started = monotonic()
        self._asked: float | None = None  # when the question under way was asked
        self._renewed: float | None = None  # when the lease was renewed, by the store's clock
        self._epoch = ""
        self._loaded = False
        self._listeners: list[Callable[[], None]] = []
        self._working: Deferred[None] | None = None
        self._clock = clock
        self._renewals = LoopingCall(self._tick)
        self._renewals.clock = clock

    def listen(self, emptied: Callable[[], None]) -> None:
        """`emptied` is called when the store has lost its data while this collector was running."""
        self._listeners.append(emptied)

    def startService(self) -> None:
        super().startService()
        self._started = self._monotonic()
        self._renewals.start(self._renewal)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._renewals.stop()
        if self._working is not None:
            self._working.cancel()
        return ensureDeferred(self._release()).addTimeout(STOP_TIMEOUT, self._clock, lambda *_: None)

    async def _release(self) -> None:
        """Whoever comes next need not wait for the lease to lapse."""
        if self._renewed is not None:
            with suppress(StoreUnavailable):  # then it lapses
                await self._store.release(self._renewed - self._lapse)

    def _tick(self) -> None:
        if self._working is None:
            self._working = ensureDeferred(self._work()).addErrback(self._failed)
            self._working.addCallback(self._worked)
        elif self._asked is not None and self._monotonic() - self._asked > PATIENCE:
            self.problem = f"no answer for more than {PATIENCE:g} s"

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("the lease could not be renewed", failure)

    def _worked(self, result: None) -> None:
        self._working = None

    async def _work(self) -> None:
        try:
            leases = await self._answered(self._store.renew())
            self.problem = None
            self._compare(leases)
            await self._share_out(leases)
            await self._answered(self._presence.follow())
        except StoreUnavailable as problem:
            self.problem = str(problem)

    async def _answered(self, question: Awaitable[_T]) -> _T:
        """The answer to a small question, which `_tick` watches over."""
        self._asked = self._monotonic()
        try:
            return await question
        finally:
            self._asked = None

    def _compare(self, leases: Leases) -> None:
        """Whether the store is as this collector left it."""
        if self._renewed is not None and leases.epoch != self._epoch:
            self._log.warn(
                "the store has lost its data: it was emptied, or another one has taken its place; "
                "agents are asked to introduce themselves once more"
            )
            self._presence.start_anew()
            for listener in self._listeners:
                listener()
        elif self._renewed is not None and leases.before != self._renewed:
            # another collector found it lapsed and has taken hosts over, or the store came back with an older state
            self._presence.claim()
        self._renewed, self._epoch = leases.now, leases.epoch

    async def _share_out(self, leases: Leases) -> None:
        """Takes over the hosts that nobody watches any more."""
        up = self._monotonic() - self._started
        ages = {collector: leases.now - renewed for collector, renewed in leases.others.items()}
        # Its agents are given the time to find another one, unless this collector came after it, maybe in its place.
        gone = {
            collector: age > up
            for collector, age in ages.items()
            if age > self._lapse and (age > up or age > self._lapse + self._timeout)
        }
        if self._loaded and not gone:
            return
        there = [record for record in await self._presence.records() if record.present]
        watched = (ages.keys() - gone.keys()) | {self._store.collector}
        stray = {record.host: record.collector for record in there if record.collector not in watched}
        taken = set(await self._store.take_over(stray, leases.now - self._lapse))
        if not self._loaded:  # those of an earlier run under the same name
            taken |= {record.host for record in there if record.collector == self._store.collector}
        for since_start in (True, False):
            self._presence.watch(
                [
                    record
                    for record in there
                    if record.host in taken and gone.get(record.collector, not self._loaded) is since_start
                ],
                since_start,
            )
        await self._store.drop_leases(gone.keys())
        if gone:
            self._log.info(
                "{collectors} gone: {count} of the hosts watched there are watched here now",
                collectors=", ".join(sorted(gone)),
                count=len(taken),
            )
        self._loaded = True
