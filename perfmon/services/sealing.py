"""Sealing and rolling up: what is over becomes small, and is there in less detail for longer.

All that is to be done stands in the store (`scripts.CLAIM`), so any number of collectors share it, and one that dies
leaves nothing behind: what it had claimed is due again after the lease, and until the step that stores a window the
samples are where they were.
"""

import random
from collections.abc import Callable, Generator

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.frames import FormatError
from perfmon.core.sealed import LATE_FIELD, Sealed, fed, moved, rolled_up, sealed
from perfmon.core.tiers import GRACE, Tier, WindowName
from perfmon.services.turns import SLICE, Turns
from perfmon.storage import keys
from perfmon.storage.store import StoreUnavailable
from perfmon.storage.windows import REVISION_FIELD, Claim, Windows

# Between two looks at what is due.
POLL = 1.0  # s

# A window of 10,000 metrics takes half a minute at most; one whose collector died is done by another after this.
LEASE = 600.0  # s

# To hand the store thousands of metrics takes some 10 ms: who has worked for so long before it rests first.
_BEFORE_CALL = 0.001  # s

# A window that cannot be read is tried again so much later: by then a newer perfmon may run.
UNREADABLE = 3_600.0  # s


class Sealing(Service):
    """A service that seals what is due, in slices between the reactor's other work."""

    _log = Logger()

    def __init__(self, windows: Windows, clock: IReactorTime, wall: Callable[[], float]) -> None:
        """`wall` gives the time in s since the epoch."""
        self._windows = windows
        self._clock = clock
        self._wall = wall
        self._running: Deferred[None] | None = None
        self._looked: dict[Tier, float] = {}  # when nothing was found to do in a tier (s)
        self.sealed = 0  # windows since the start
        self.rolled_up = 0

    def startService(self) -> None:
        super().startService()
        self._running = ensureDeferred(self._run()).addErrback(self._ended)

    def stopService(self) -> None:
        super().stopService()
        if self._running is not None:
            self._running.cancel()

    def _ended(self, failure: Failure) -> None:
        failure.trap(CancelledError)

    async def _run(self) -> None:
        while True:
            try:
                worked = await self.work()
            except StoreUnavailable:
                worked = False  # the connection has logged it
            except CancelledError:
                raise
            except Exception:  # noqa: BLE001 - the boundary of a job; its claim ends by itself
                self._log.failure("a window could not be sealed")
                worked = False
            if not worked:
                await deferLater(self._clock, POLL)

    async def work(self) -> bool:
        """Does what has been due the longest in each tier; False where nothing was."""
        worked = False
        for tier in self._windows.tiers:
            now = self._wall()
            if 0 <= now - self._looked.get(tier, -POLL) < POLL:
                continue  # it had nothing a moment ago
            # a fraction that no other claim has: it is its proof
            claim = await self._windows.claim(tier, now, now + LEASE + random.random())
            if claim is None:
                self._looked[tier] = now
                continue
            worked = True
            try:
                await (self._roll_up(claim) if tier.step else self._seal(claim))
            except FormatError as problem:
                self._log.error("cannot be sealed: {problem}", problem=problem)
                await self._windows.postpone(claim, self._wall() + UNREADABLE)
        return worked

    async def due(self) -> tuple[int, float]:
        """How many windows are due to be sealed or rolled up, and for how long (s) the oldest of them has been."""
        now = self._wall()
        found = [await self._windows.due(tier, now) for tier in self._windows.tiers]
        return sum(count for count, _ in found), now - min(since for _, since in found)

    async def _seal(self, claim: Claim) -> None:
        """Moves the head of a window into its hash; compressed, and for good, if the window is over."""
        name, tier = claim.target, claim.tier
        turns = Turns(self._clock, pause=SLICE)
        over = name.window + tier.window + GRACE <= self._wall()
        head, fields = await self._windows.take(name, whole=over)
        expired = not fields and tier.expires_at(name.window) <= self._wall()
        if over:
            made = await self._done(sealed(Sealed(name.window, fields, keys.window(name)), head), turns)
        else:
            made = await self._done(moved(head or b"", name.window, keys.sealing(name)), turns)
        if made and (expired or LATE_FIELD in fields):
            made[LATE_FIELD] = b"1"
        now = self._wall()
        again = tier.seal_at(name.window, now)
        following = self._windows.tiers[1]
        self.sealed += await self._windows.sealed(
            claim,
            made,
            replace=over,
            again=again,
            next_at=None if over else again,
            roll_at=following.roll_at(name.window, now),
        )

    async def _roll_up(self, claim: Claim) -> None:
        """Brings the windows of the finer tier into that of the coarser one."""
        tiers, target = self._windows.tiers, claim.target
        turns = Turns(self._clock, pause=SLICE)
        finer = tiers[tiers.index(claim.tier) - 1]
        old, *found = [await self._read(name) for name in (target, *claim.parts)]
        parts = []
        for part in found:
            if LATE_FIELD in part.fields and fed(old, part.window, finer):
                # they must not take the place of what the window had before it expired
                self._log.warn("samples came too late to be rolled up: {key}", key=part.key)
            elif part.fields:
                parts.append(part)
        made = await self._done(rolled_up(old, parts, claim.tier, finer), turns) if parts else {}
        revision = old.fields.get(REVISION_FIELD, b"")
        self.rolled_up += await self._windows.rolled(claim, made, self._wall(), revision)

    async def _read(self, name: WindowName) -> Sealed:
        return Sealed(name.window, await self._windows.fields(name), keys.window(name))

    async def _done(self, work: Generator[None, None, dict[str, bytes]], turns: Turns) -> dict[str, bytes]:
        """The result of `work`, done in slices with rests as long, so that it takes half of the time at most."""
        while True:
            await turns.breathe()  # before the first slice too: to read an answer of thousands of metrics takes one
            try:
                next(work)
            except StopIteration as done:
                await turns.breathe(_BEFORE_CALL)
                result: dict[str, bytes] = done.value
                return result
