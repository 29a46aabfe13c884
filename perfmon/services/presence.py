"""Presence in the running collector: signs in, events out.

The keeper in `core` decides from what this collector hears of the hosts that it watches; the store decides between
collectors. Each change is one atomic step there, so it is told of once. `perfmon.services.lease` says which hosts of
other collectors are to be watched here.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
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
from perfmon.storage.store import Event, HostRecord, StoreUnavailable

# A departure is named at most this long after its timeout, plus one call to the store.
SWEEP = 0.25  # s

# What had arrived by the moment of a sweep is read in so many turns of the reactor: a connection is accepted, and what
# it brings is read, in two; one more for what a timer had put off.
_TURNS = 3

# How long stopping waits for the store to take the last changes.
STOP_TIMEOUT = 2.5  # s

# Changes alike within this time are one event, at the time of the last of them, also when they are written long after.
_TOGETHER = SWEEP

# Hosts of one event and one call; the store is busy for about 5 us a host.
_CHUNK = 1_000

# Events that are read at once, to hear of what other collectors have found.
_EVENTS = 1_000

ABSENCE_ENDED = "the planned absence has ended"


class Roster(Protocol):
    """The part of the store that presence needs."""

    collector: str  # the name of this one among all that use the store

    async def sign(self, signs: Mapping[str, float]) -> None: ...
    async def describe(self, metas: Mapping[str, dict[str, str]]) -> None: ...
    async def host_names(self) -> list[str]: ...
    async def hosts(self, names: list[str]) -> list[HostRecord]: ...
    async def events(self, since: str, limit: int, newest: bool = False) -> list[Event]: ...
    async def change(
        self, latest: Mapping[str, float], state: State, at: float, reason: str, boots: Mapping[str, str]
    ) -> list[str]: ...


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
        self._states: dict[str, State] = {}  # of all hosts, those of other collectors included
        self._last: dict[str, float] = {}  # host -> its last sign known here (s since the epoch)
        self._signed: dict[str, float] = {}  # signs the store has not been told of
        self._described: dict[str, dict[str, str]] = {}
        self._boots: dict[str, str] = {}  # host -> id of its boot
        self._renewed: dict[str, float] = {}  # when the record of each host was last written for its TTL's sake
        self._changes: list[tuple[Transition, float]] = []  # with the time (s since the epoch)
        self._listeners: list[Callable[[str, State], None]] = []
        self._lost: dict[str, str] = {}  # why the connections ended of those who gave no sign since
        self._news: set[str] = set()  # hosts of which something has become known
        self._planned: Mapping[str, str] = {}  # hosts that may be absent, and why
        self._heard: str | None = None  # id of the last event that is known here; None: the hosts are not known yet
        self._flushing: Deferred[None] | None = None
        self._clock = clock
        self._looking: IDelayedCall | None = None
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
        for call in (self._looking, self._soon):
            if call is not None:
                call.cancel()
        self._looking = self._soon = None
        end = self._clock.seconds() + STOP_TIMEOUT

        def flush(result: None) -> Deferred[None] | None:
            return ensureDeferred(self._flush()) if self._clock.seconds() < end else None

        last: Deferred[None] = (self._flushing or succeed(None)).addCallback(flush)
        return last.addTimeout(STOP_TIMEOUT, self._clock, lambda *_: None)

    # -- what is heard

    def arrived(self, host: str, boot: str) -> None:
        """The agent of `host` has introduced itself: the host is watched here now. `boot` identifies its boot."""
        self._boots[host] = boot
        self._sign(host, True, arrived=True)

    def sign(self, host: str, beating: bool = True) -> None:
        """`host` gave a sign of life; `beating` says whether heartbeats are to be expected from it."""
        self._sign(host, beating)

    def _sign(self, host: str, beating: bool, arrived: bool = False) -> None:
        now = self._wall()
        self._news.add(host)
        self._signed[host] = self._last[host] = now
        if now - self._renewed.get(host, 0.0) >= DAY:
            self._renewed[host] = now
            self.describe(host, {"renewed": repr(now)})  # its record's TTL begins anew, however long it stays up
        self._lost.pop(host, None)
        self._keeper.wake(self._monotonic())
        change = self._keeper.sign(host, beating)
        if change is not None or arrived:
            self._note(change or Transition(host, State.UP))
            self.describe(host, {"kind": "agent" if beating else "sender"})

    def describe(self, host: str, meta: dict[str, str]) -> None:
        """Something became known of `host`: fields of its record."""
        self._news.add(host)
        self._described.setdefault(host, {}).update(meta)

    def forget(self, host: str) -> None:
        """`host` is to be known no longer, until it gives another sign."""
        self._drop(host)
        self._changes = [one for one in self._changes if one[0].host != host]

    def _drop(self, host: str) -> None:
        """Nothing is known of `host`."""
        self._news.add(host)
        self._keeper.forget(host)
        self._states.pop(host, None)
        for known in (self._last, self._signed, self._described, self._boots, self._renewed, self._lost):
            known.pop(host, None)

    def lost(self, host: str, why: str) -> None:
        """The connection of `host` has ended without a goodbye; that is no departure yet, but the reason of one."""
        self._lost[host] = why

    def leave(self, host: str, reason: str) -> None:
        """`host` said goodbye."""
        change = self._keeper.leave(host, reason)
        if change is not None:
            self._note(change)

    def plan(self, absences: Mapping[str, str]) -> None:
        """These hosts, and no others, may be absent; each with the reason."""
        self._planned = absences
        if self._heard is not None:
            self._keep_plan()

    def _keep_plan(self) -> None:
        """Who is gone as planned is absent, and who is gone beyond the plan has departed."""
        for host, reason in self._planned.items():
            state = self._states.get(host)
            if state is not None and state.gone and state is not State.ABSENT:
                self._note(Transition(host, State.ABSENT, reason))
        beyond = [host for host, state in self._states.items() if state is State.ABSENT and host not in self._planned]
        for host in beyond:
            self._note(Transition(host, State.DEPARTED, ABSENCE_ENDED))

    def news(self) -> set[str]:
        """Hosts of which something has become known since the last time, by what was heard here or by an event."""
        news, self._news = self._news, set()
        return news

    def names(self) -> list[str]:
        """All hosts, those of other collectors included."""
        return list(self._states)

    def count(self) -> dict[str, int]:
        """Number of hosts in each state, those of other collectors included."""
        return {state.value: number for state, number in Counter(self._states.values()).items()}

    # -- what comes of it

    def _note(self, change: Transition) -> None:
        if change.state is State.DEPARTED:
            change = replace(change, reason=self._lost.pop(change.host, change.reason))
        if change.state.gone and change.host in self._planned:
            change = replace(change, state=State.ABSENT, reason=self._planned[change.host])
        self._news.add(change.host)
        self._states[change.host] = change.state
        self._changes.append((change, self._wall()))
        if self._soon is None and self.running:
            # who asks a moment later is to find it written
            self._soon = self._clock.callLater(0, self._write_soon)
        for listener in self._listeners:
            listener(change.host, change.state)

    def _write_soon(self) -> None:
        self._soon = None
        self._start_flush()

    def _sweep(self) -> None:
        awake = self._keeper.wake(self._monotonic())
        if self._looking is None:
            self._looking = self._clock.callLater(0, self._look, awake, _TURNS - 1)

    def _look(self, awake: float, turns: int) -> None:
        """Finds who had timed out at a moment, once all signs that had arrived by then are read."""
        if turns:
            self._looking = self._clock.callLater(0, self._look, awake, turns - 1)
            return
        self._looking = None
        for change in self._keeper.due(awake):
            self._note(change)
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
        with suppress(StoreUnavailable):  # the connection has logged it
            await self._write_signs()
            while self._changes:
                await self._write_changes()
                # what came meanwhile: who has come and gone must have been there, or it cannot have gone
                await self._write_signs()

    async def _write_signs(self) -> None:
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

    async def _write_changes(self) -> None:
        """Writes the oldest change, with all that are alike and came within a moment, as one event."""
        first, begin = self._changes[0]
        state, reason = first.state, first.reason
        noted: list[tuple[Transition, float]] = []
        seen: set[str] = set()  # the changes of one host keep their order
        for one in self._changes[:_CHUNK]:
            change, moment = one
            if moment - begin > _TOGETHER:
                break
            if change.host not in seen and (change.state, change.reason) == (state, reason):
                noted.append(one)
            seen.add(change.host)
        latest = {change.host: self._last.get(change.host, 0.0) for change, _ in noted}
        at = max(moment for _, moment in noted)  # nobody is named before the time
        changed = await self._roster.change(latest, state, at, reason, self._boots)
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
            await self._yield_to_others(latest, latest.keys() - set(changed))

    # -- between collectors

    async def _yield_to_others(self, latest: Mapping[str, float], unchanged: set[str]) -> None:
        """What the store has of these hosts counts, and not what was found here."""
        records = await self._roster.hosts(list(unchanged))
        waiting = {change.host for change, _ in self._changes}
        for record in records:
            host = record.host
            if host in waiting or self._last.get(host, 0.0) > latest[host]:
                continue  # more has become known of it here meanwhile
            if record.present and record.collector != self._roster.collector:
                self._keeper.forget(host)
            elif record.present and record.last_seen > latest[host]:
                self._watch(record)  # a sender that others hear, too
            self._states[host] = record.state

    def _watch(self, record: HostRecord, since_start: bool = False) -> None:
        beating, doubted = record.meta.get("kind") != "sender", record.state is not State.UP
        self._keeper.watch(record.host, beating, doubted, since_start)
        self._last[record.host] = max(record.last_seen, self._last.get(record.host, 0.0))

    async def records(self) -> list[HostRecord]:
        """All hosts as the store has them; their states are known here from now on. May raise `StoreUnavailable`."""
        last = await self._roster.events("0", 1, newest=True)
        records = await self._roster.hosts(await self._roster.host_names())
        for record in records:
            if not self._here(record.host):
                self._states[record.host] = record.state
        if self._heard is None:
            self._heard = last[0].id if last else "0"
            self._keep_plan()
        return records

    def watch(self, records: list[HostRecord], since_start: bool) -> None:
        """These hosts are watched here from now on. They count as seen now, or when this collector started.

        The store may have taken its time to answer: one that has come and gone here since then is gone.
        """
        for record in records:
            host = record.host
            heard_since = self._keeper.state(host) is not None and self._last.get(host, 0.0) >= record.last_seen
            if not heard_since and not self._here(host):
                self._watch(record, since_start)

    def claim(self) -> None:
        """The store has lost what it knew of this collector: all that are up here are told of once more."""
        for host in self._keeper:
            if self._keeper.state(host) is State.UP:
                self._note(Transition(host, State.UP))

    def start_anew(self) -> None:
        """The store has lost all it knew of hosts."""
        for host in [host for host in self._states if not self._here(host)]:
            self._drop(host)
        self._renewed.clear()
        self._signed = {host: self._last[host] for host in self._keeper}
        self._heard = "0"
        self.claim()

    async def follow(self) -> None:
        """Hears of what other collectors have found since the last time. May raise `StoreUnavailable`."""
        if self._heard is None:
            return
        while events := await self._roster.events(self._heard, _EVENTS):
            self._heard = events[-1].id
            for event in events:
                self._take(event)
            self._keep_plan()

    def _take(self, event: Event) -> None:
        others = [host for host in event.hosts if not self._here(host)]
        if event.kind == "removed":
            for host in others:
                self._drop(host)
        elif event.kind in {state.value for state in State}:
            self._states.update(dict.fromkeys(others, State(event.kind)))
            self._news.update(others)

    def _here(self, host: str) -> bool:
        """Whether the host is watched here, and is there."""
        state = self._keeper.state(host)
        return state is not None and not state.gone
