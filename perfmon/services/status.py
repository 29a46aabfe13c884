"""The collector's own figures."""

from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import TimeoutError, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from perfmon import __version__
from perfmon.core.stats import Rate, mean_and_deviation
from perfmon.services.ingest import Ingest
from perfmon.services.looplag import LoopLag
from perfmon.services.presence import PresenceService
from perfmon.services.refusals import Refusals
from perfmon.services.sealing import Sealing
from perfmon.storage.store import Store, StoreUnavailable

_TICK = 1.0  # s

# Whoever asks how the collector is must hear that the store hangs, and not hang with it.
_STORE_PATIENCE = 2.0  # s

# Per agent rates are taken over a span of one to two of these: agents send every ten seconds or so.
_AGENT_SPAN = 30.0  # s


class Connected(Protocol):
    """An agent's session."""

    samples: int  # received so far


class Connections(Protocol):
    """The collector's port."""

    @property
    def agents(self) -> Mapping[str, Connected]: ...
    @property
    def connections(self) -> Collection[object]: ...


class Status(Service):
    """A service that keeps rates, and tells how the collector is."""

    def __init__(
        self,
        store: Store,
        store_shown: str,
        store_problem: Callable[[], str | None],
        ingest: Ingest,
        sealing: Sealing,
        presence: PresenceService,
        refusals: Refusals,
        port: Connections,
        lag: LoopLag,
        clock: IReactorTime,
        monotonic: Callable[[], float],
    ) -> None:
        """`store_shown` names the store for people; `store_problem` says why it is away, None while it is not."""
        self._store = store
        self._store_shown = store_shown
        self._store_problem = store_problem
        self._ingest = ingest
        self._sealing = sealing
        self._presence = presence
        self._refusals = refusals
        self._port = port
        self._lag = lag
        self._clock = clock
        self._monotonic = monotonic
        self._started = monotonic()
        self._received, self._stored = Rate(), Rate()
        self._marks: list[tuple[float, dict[Connected, int]]] = []  # samples of each agent, at most two
        self._ticks = LoopingCall(self._tick)
        self._ticks.clock = clock

    def startService(self) -> None:
        super().startService()
        self._started = self._monotonic()
        self._ticks.start(_TICK)

    def stopService(self) -> None:
        super().stopService()
        self._ticks.stop()

    def _tick(self) -> None:
        now = self._monotonic()
        self._received.mark(now, self._ingest.received)
        self._stored.mark(now, self._ingest.stored)
        if not self._marks or now - self._marks[-1][0] >= _AGENT_SPAN:
            self._marks = [*self._marks[-1:], (now, {agent: agent.samples for agent in self._port.agents.values()})]

    def _agent_rates(self) -> list[float]:
        """Samples per second of each connected agent."""
        since, counts = self._marks[0] if self._marks else (self._started, {})
        span = max(self._monotonic() - since, _TICK)
        return [(agent.samples - counts.get(agent, 0)) / span for agent in self._port.agents.values()]

    async def report(self) -> dict[str, Any]:
        """All of it, for /status. Times are in s, sizes in bytes."""
        mean, deviation = mean_and_deviation(self._agent_rates())
        ingest, refused = self._ingest, dict(self._refusals.counts)
        return {
            "version": __version__,
            "collector": self._store.collector,
            "uptime": self._monotonic() - self._started,
            "hosts": self._presence.count(),
            "samples": {
                "received": ingest.received,
                "stored": ingest.stored,
                "rejected": sum(refused.values()),
                "rejected_by_reason": refused,
                "received_per_second": self._received.per_second(),
                "stored_per_second": self._stored.per_second(),
            },
            "agents": {
                "connected": len(self._port.agents),
                "samples_per_second": {"mean": mean, "deviation": deviation},
            },
            "connections": len(self._port.connections),
            **await self._store_reports(),
            "ingest": {"buffered_bytes": ingest.buffered, "paused": ingest.paused, "commits": ingest.commits},
            "loop_lag": self._lag.worst,
        }

    async def _store_reports(self) -> dict[str, Any]:
        """What only the store knows; without it, why it is away."""
        store: dict[str, Any] = {"address": self._store_shown, "problem": self.problem}
        sealing: dict[str, Any] = {"sealed": self._sealing.sealed, "rolled_up": self._sealing.rolled_up}
        if store["problem"] is None:
            try:
                info, (due, behind) = await ensureDeferred(self._ask_store()).addTimeout(_STORE_PATIENCE, self._clock)
            except StoreUnavailable as problem:
                store["problem"] = str(problem)
            except TimeoutError:
                store["problem"] = f"no answer within {_STORE_PATIENCE:g} s: it is stuck, or very busy"
            else:
                store["server"] = info.get("server_name", "redis")
                store["version"] = info.get("valkey_version") or info.get("redis_version", "")
                store["memory_bytes"] = int(info.get("used_memory", 0))
                store["append_only"] = info.get("aof_enabled") == "1"
                sealing |= {"due": due, "behind": behind}
        return {"store": store, "sealing": sealing}

    async def _ask_store(self) -> tuple[dict[str, str], tuple[int, float]]:
        return await self._store.information(), await self._sealing.due()

    @property
    def problem(self) -> str | None:
        """Why samples cannot be stored now, None while they can."""
        return self._store_problem()
