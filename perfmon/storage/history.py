"""Reading the past: the windows of a span of time, of whichever tiers have it, host by host."""

import math
from collections.abc import AsyncIterator, Sequence

from twisted.internet.defer import CancelledError, Deferred, ensureDeferred

from perfmon.core.globs import Pattern
from perfmon.core.query import Plan
from perfmon.core.reject import MAX_AHEAD
from perfmon.core.series import Series, Stored, series_in
from perfmon.core.tiers import MS, Tier
from perfmon.storage.connection import StoreUnavailable
from perfmon.storage.windows import MAX_HOSTS, Windows

# Windows of hosts in one call: so many of one metric, or of all metrics, are some megabytes.
_WINDOWS_OF_SOME, _WINDOWS_OF_ALL = 2_000, 50


class History:
    """What was stored, as columns. May raise `StoreUnavailable`, and `FormatError` for what it cannot read."""

    def __init__(self, windows: Windows) -> None:
        self._windows = windows

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """All tiers, finest first."""
        return self._windows.tiers

    async def read(
        self, hosts: Sequence[str], pattern: Pattern, plan: Plan, now: float
    ) -> AsyncIterator[tuple[str, Series]]:
        """Each of `hosts` with what it has of the metrics `pattern` and `plan` needs.

        The next hosts are asked for while the caller works with those before them.
        """
        # further ahead nothing can have been stored
        start, stop = math.floor(plan.reads_from), math.ceil(min(plan.stop, now + MAX_AHEAD + 1))
        each = sum(1 + max(0, stop - max(start, tier.oldest(now))) // tier.window for tier in plan.tiers)
        most = max(1, min(MAX_HOSTS, (_WINDOWS_OF_SOME if pattern.names else _WINDOWS_OF_ALL) // each))
        span = round(plan.reads_from * MS), round(plan.stop * MS)
        parts = [hosts[at : at + most] for at in range(0, len(hosts), most)]

        def ask(part: Sequence[str]) -> Deferred[list[list[Stored]]]:
            return ensureDeferred(self._windows.read(part, plan.tiers, start, stop, now, pattern.names))

        asked = ask(parts[0]) if parts else None
        try:
            for place, part in enumerate(parts):
                assert asked is not None
                found, asked = await asked, (ask(parts[place + 1]) if place + 1 < len(parts) else None)
                for host, stored in zip(part, found, strict=True):
                    yield host, series_in(stored, pattern, plan.fields, span)
        finally:
            if asked is not None:
                asked.addErrback(lambda failure: failure.trap(StoreUnavailable, CancelledError))
