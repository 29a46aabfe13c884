"""The collector's own figures as samples of its host: what it takes in, stores and refuses, and how it feels."""

from typing import Protocol

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.reject import REASONS
from perfmon.core.stats import Spread
from perfmon.services.commits import Commits
from perfmon.services.ingest import Ingest
from perfmon.services.looplag import LoopLag
from perfmon.services.refusals import Refusals
from perfmon.services.sampling import Reading
from perfmon.services.status import Connections
from perfmon.storage.store import StoreUnavailable

_PREFIX = "perfmon.collector."

# The store is asked between two rounds. One that has not answered by then is not waited for.
_STORE_PATIENCE = 2.0  # s


class StoreInformation(Protocol):
    """The part of the store that is asked."""

    @property
    def problem(self) -> str | None: ...
    async def information(self) -> dict[str, str]: ...


class SealedCount(Protocol):
    """Who seals windows."""

    sealed: int  # so far


class OwnMetrics:
    """What `Sampling` samples beside the machine.

    Means and extremes are of the time since the last round. Of commits these are mean and maximum, not percentiles:
    the mean of means and the maximum of maxima still say something once the samples are rolled up into minutes, a
    percentile of percentiles does not. What is not known is absent.
    """

    _log = Logger()

    def __init__(
        self,
        store: StoreInformation,
        ingest: Ingest,
        commits: Commits,
        sealing: SealedCount,
        refusals: Refusals,
        port: Connections,
        lag: LoopLag,
        clock: IReactorTime,
    ) -> None:
        self._store = store
        self._ingest = ingest
        self._commits = commits.figures()
        self._sealing = sealing
        self._refusals = refusals
        self._port = port
        self._clock = clock
        self._lags = Spread()
        lag.listen(self._lags.add)
        self._memory: float | None = None  # bytes, as the store has told since the last round
        self._asking: Deferred[None] | None = None

    def sample(self) -> Deferred[Reading]:
        """One round, at once."""
        values = {_PREFIX + name: float(value) for name, value in self._figures().items() if value is not None}
        self._commits.clear()
        self._lags.clear()
        self._memory = None
        if self._asking is None and self._store.problem is None:
            self._asking = ensureDeferred(self._ask()).addTimeout(_STORE_PATIENCE, self._clock)
            self._asking.addErrback(self._unanswered).addCallback(self._asked)
        return succeed((values, []))

    def _figures(self) -> dict[str, float | None]:
        ingest, commits, refused = self._ingest, self._commits, self._refusals.counts
        return {
            "samples.received": ingest.received,
            "samples.stored": ingest.stored,
            **{f"samples.rejected;reason={reason}": refused[reason] for reason in REASONS},
            "commits": ingest.commits,
            "commit.size.mean": commits.samples.mean,
            "commit.size.max": commits.samples.largest,
            "commit.duration.mean": commits.seconds.mean,
            "commit.duration.max": commits.longest,
            "buffer.usage": ingest.buffered,
            "paused": ingest.paused,
            "loop.lag": self._lags.largest,
            "connections": len(self._port.connections),
            "agents": len(self._port.agents),
            "windows.sealed": self._sealing.sealed,
            "store.memory.usage": self._memory,
        }

    async def _ask(self) -> None:
        told = (await self._store.information()).get("used_memory")
        self._memory = None if told is None else float(told)

    def _unanswered(self, failure: Failure) -> None:
        if failure.check(StoreUnavailable, TimeoutError, CancelledError) is None:
            self._log.failure("the store's memory is not known", failure)

    def _asked(self, result: None) -> None:
        self._asking = None
