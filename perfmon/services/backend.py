"""What the HTTP API asks of the collector, brought together."""

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.interfaces import IReactorTime

from perfmon.core.events import EventQuery
from perfmon.core.posted import parse_posted
from perfmon.core.reject import Rejected, TimeBounds
from perfmon.services.control import Control
from perfmon.services.event_search import found_events
from perfmon.services.exports import Exports
from perfmon.services.ingest import Ingest
from perfmon.services.live import Live
from perfmon.services.presence import PresenceService
from perfmon.services.queries import Queries
from perfmon.services.refusals import Refusals
from perfmon.services.reports import Reports
from perfmon.services.rightsizing import Rightsizing
from perfmon.services.runs import Busy, Runs
from perfmon.services.status import Status
from perfmon.storage.store import Store, StoreUnavailable

# How long a POST waits for the store's confirmation.
POST_TIMEOUT = 10.0  # s


class _Confirmation:
    """Told once by the intake."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def stored(self, seq: int) -> None:
        if not self.done.called:
            self.done.callback(None)


class CollectorBackend:
    """The collector as the API sees it."""

    unavailable = StoreUnavailable
    busy = Busy

    def __init__(
        self,
        store: Store,
        queries: Queries,
        reports: Reports,
        exports: Exports,
        status: Status,
        ingest: Ingest,
        presence: PresenceService,
        control: Control,
        live: Live,
        runs: Runs,
        rightsizing: Rightsizing,
        refusals: Refusals,
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        self._store = store
        self._status = status
        self._ingest = ingest
        self._presence = presence
        self._refusals = refusals
        self._clock = clock
        self._wall = wall
        self.order = control.order
        self.hosts = queries.hosts
        self.query = queries.query
        self.summary = reports.summary
        self.stats = reports.stats
        self.export = exports.export
        self.report = status.report
        self.live = live.stream
        self.begin_benchmark = runs.begin
        self.benchmarks = runs.newest
        self.benchmark = runs.one
        self.benchmark_output = runs.output
        self.rightsizing = rightsizing.report
        self.note = rightsizing.note
        self._rightsizing = rightsizing
        self._runs = runs

    @property
    def problem(self) -> str | None:
        """Why samples cannot be stored now, None while they can."""
        return self._status.problem

    async def events(self, query: EventQuery) -> list[dict[str, Any]]:
        """The events that are asked for."""
        return await found_events(self._store, query)

    async def cancel_benchmark(self, id: str) -> bool:
        """Ends a run early; False where there is none that goes on."""
        return await self._runs.cancel(id, "somebody has cancelled it")

    async def remove(self, host: str) -> int | None:
        """Removes `host` with all of its keys; returns how many there were, None for a host that is there."""
        for record in await self._store.hosts([host]):
            if record.present:
                return None
        self._presence.forget(host)
        self._ingest.numbering.forget(host)
        await self._rightsizing.forget(host)
        return await self._store.remove(host, self._wall())

    async def post(self, body: bytes) -> tuple[int, Mapping[int, Rejected]]:
        """Stores posted samples; returns when the store has confirmed them. May raise `BadBody`."""
        if self._ingest.paused:
            raise StoreUnavailable("too much waits for it already; send again later")
        now = self._wall()
        columns, refused = parse_posted(
            body, self._ingest.numbering, now, TimeBounds.at(now, self._ingest.tier.retention)
        )
        self._refusals.note(refused.values(), "POST /api/v1/samples")
        confirmation = _Confirmation()
        self._ingest.add_columns(columns, confirmation)
        try:
            await confirmation.done.addTimeout(POST_TIMEOUT, self._clock)
        except TimeoutError:
            raise StoreUnavailable(
                "the samples wait for it and are not confirmed; sending them again later does no harm"
            ) from None
        for log in columns.logs():
            self._presence.sign(log.host, beating=False)
        return len(columns), refused
