"""Presence in the running collector: signs in, events out.

The keeper in `core` decides from what this collector hears; the store decides between collectors. Each change
is one atomic step there, so it is told of once, and a host that another collector still hears is left alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.presence import Presence, State, Timeouts, Transition
from perfmon.core.tiers import DAY
from perfmon.storage.store import HostRecord, StoreUnavailable

# A departure is named at most this long after its timeout, plus one call to the store.
SWEEP = 0.25  # s

# How long stopping waits for the store to take the last changes.
STOP_TIMEOUT = 2.5  # s

# Changes alike within this time are one event, also when they are written long after.
_TOGETHER = 1.0  # s

# Hosts of one event and one call; the store is busy for about 5 us a host.
_CHUNK = 1_000


class Roster(Protocol):
    """The part of the store that presence needs."""

    async def sign(self, signs: Mapping[str, float]) -> None: ...
    async def describe(self, metas: Mapping[str, dict[str, str]]) -> None: ...
    async def host_names(self) -> list[str]: ...
    async def hosts(self, names: list[str]) -> list[HostRecord]: ...
    async def change(self, latest: Mapping[str, float], state: State, at: float, reason: str = "") -> list[str]: ...


class PresenceService(Service):
    """A service: watches who gives signs of life, and writes down who comes and goes."""

    _log = Logger()

    def __init__(
        self,
        roster: Roster,
        timeouts: Timeouts,
        clock: IReactorTime,
        monotonic: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        """`monotonic` drives the timeouts, `wall` (s since the epoch) stamps events."""
        self._roster = roster
        self._monotonic = monotonic
        self._wall = wall
        self._keeper = Presence(timeouts, monotonic())
        self._last: dict[str, float] = {}  # host -> its last sign known here (s since the epoch)
        self._signed: dict[str, float] = {}  # signs the store has not been told of
        self._described: dict[str, dict[str, str]] = {}
        self._renewed: dict[str, float] = {}  # when the record of each host was last written for its TTL's sake
        self._changes: list[tuple[Transition, float]] = []  # with the time (s since the epoch)
        self._listeners: list[Callable[[str, State], None]] = []
        self._lost: dict[str, str] = {}  # why the connections ended of those who gave no sign since
        self._loaded = False
        self._flushing: Deferred[None] | None = None
        self._clock = clock
        self._soon: IDelayedCall | None = None
        self._sweeps = LoopingCall(self._sweep)
        self._sweeps.clock = clock

    def listen(self, listener: Callable[[str, State], None]) -> None:
        """`listener` is called with each host and the state that it came into."""
        self._listeners.append(listener)

    def startService(self) -> None:
        super().startService()
        self._sweeps.start(SWEEP, now=False)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        self._sweeps.stop()
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        end = self._clock.seconds() + STOP_TIMEOUT

        def flush(result: None) -> Deferred[None] | None:
            return ensureDeferred(self._flush()) if self._clock.seconds() < end else None

        last: Deferred[None] = (self._flushing or succeed(None)).addCallback(flush)
        return last.addTimeout(STOP_TIMEOUT, self._clock, lambda *_: None)

    def sign(self, host: str, beating: bool = True) -> None:
        """`host` gave a sign of life; `beating` says whether heartbeats are to be expected from it."""
        now = self._wall()
        self._signed[host] = self._last[host] = now
        if now - self._renewed.get(host, 0.0) >= DAY:
            self._renewed[host] = now
            self.describe(host, {"renewed": repr(now)})  # its record's TTL begins anew, however long it stays up
        self._lost.pop(host, None)
        self._advance()  # a sign counts from its own moment, not from that of the last sweep
        change = self._keeper.sign(host, beating)
        if change is not None:
            self._note(change)
            self.describe(host, {"kind": "agent" if beating else "sender"})

    def describe(self, host: str, meta: dict[str, str]) -> None:
        """Something became known of `host`: fields of its record."""
        self._described.setdefault(host, {}).update(meta)

    def forget(self, host: str) -> None:
        """`host` is to be known no longer, until it gives another sign."""
        self._keeper.forget(host)
        for known in (self._last, self._signed, self._described, self._renewed, self._lost):
            known.pop(host, None)
        self._changes = [one for one in self._changes if one[0].host != host]

    def lost(self, host: str, why: str) -> None:
        """The connection of `host` has ended without a goodbye; that is no departure yet, but the reason of one."""
        self._lost[host] = why

    def leave(self, host: str, reason: str) -> None:
        """`host` said goodbye."""
        change = self._keeper.leave(host, reason)
        if change is not None:
            self._note(change)

    def count(self) -> dict[str, int]:
        """Number of hosts in each state."""
        return {state.value: number for state, number in self._keeper.count().items()}

    def _note(self, change: Transition) -> None:
        if change.state is State.DEPARTED:
            change = replace(change, reason=self._lost.pop(change.host, change.reason))
        self._changes.append((change, self._wall()))
        if self._soon is None and self.running:
            # who asks a moment later is to find it written
            self._soon = self._clock.callLater(0, self._write_soon)
        for listener in self._listeners:
            listener(change.host, change.state)

    def _write_soon(self) -> None:
        self._soon = None
        self._start_flush()

    def _advance(self) -> None:
        for change in self._keeper.advance(self._monotonic()):
            self._note(change)

    def _sweep(self) -> None:
        self._advance()
        self._start_flush()

    def _start_flush(self) -> None:
        if self._flushing is None:
            self._flushing = ensureDeferred(self._flush()).addErrback(self._failed)
            self._flushing.addCallback(self._flushed)

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):  # stopping has waited for long enough
            self._log.failure("presence could not be written", failure)

    def _flushed(self, result: None) -> None:
        self._flushing = None

    async def _flush(self) -> None:
        """Brings the store up to date. What it cannot take now stays for the next sweep."""
        try:
            if not self._loaded:
                await self._load()
            described, self._described = self._described, {}
            signs, self._signed = self._signed, {}
            try:
                await self._roster.describe(described)
                await self._roster.sign(signs)
            except StoreUnavailable:
                for host, meta in described.items():
                    self._described[host] = meta | self._described.get(host, {})
                self._signed = signs | self._signed
                raise
            while self._changes:
                await self._write_changes()
        except StoreUnavailable:
            return  # the connection has logged it

    async def _load(self) -> None:
        """Takes over the hosts that the store knows: those of an earlier run, or of another collector."""
        for record in await self._roster.hosts(await self._roster.host_names()):
            if self._keeper.state(record.host) is None:
                self._settle(record)
        self._loaded = True

    def _settle(self, record: HostRecord) -> None:
        self._keeper.settle(record.host, State(record.meta.get("state", State.UP)), record.meta.get("kind") != "sender")
        self._last[record.host] = record.last_seen

    async def _write_changes(self) -> None:
        """Writes the oldest change, with all that are alike and came within a moment, as one event."""
        first, at = self._changes[0]
        state, reason = first.state, first.reason
        noted: list[tuple[Transition, float]] = []
        seen: set[str] = set()  # the changes of one host keep their order
        for one in self._changes[:_CHUNK]:
            change, moment = one
            if moment - at >= _TOGETHER:
                break
            if change.host not in seen and (change.state, change.reason) == (state, reason):
                noted.append(one)
            seen.add(change.host)
        latest = {change.host: self._last.get(change.host, 0.0) for change, _ in noted}
        changed = await self._roster.change(latest, state, at, reason)
        written = {id(one) for one in noted}  # not the first so many: some may have been forgotten meanwhile
        self._changes = [one for one in self._changes if id(one) not in written]
        if changed:
            self._log.info(
                "{state}: {hosts}{reason}",
                state=state.value,
                hosts=", ".join(changed[:20]) + (f" and {len(changed) - 20} more" if len(changed) > 20 else ""),
                reason=f" ({reason})" if reason else "",
            )
        if state is not State.UP:
            # Another collector hears them, or has told of it already: its word counts.
            for record in await self._roster.hosts(list(latest.keys() - set(changed))):
                if record.present and record.last_seen > latest[record.host]:
                    self._settle(record)
