"""A line of statistics in the log, every so often."""

from collections.abc import Callable
from dataclasses import dataclass

from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from perfmon.core.stats import mean_and_deviation
from perfmon.services.commits import Commits
from perfmon.services.ingest import Ingest
from perfmon.services.refusals import Refusals
from perfmon.services.status import Connected, Connections

# What waits is worth a word from here on: less than that is a commit that is just under way.
_MUCH = 1 << 20  # bytes
_LONG = 1.0  # s

_LINE = (
    "{received:,.1f} samples/s received, {stored:,.1f} stored, {rejected:,.1f} rejected; "
    "{agents:,} agents, {connections:,} connections"
)
_EACH = "; {mean:,.2f} ± {deviation:,.2f} samples/s each agent"
_COMMITS = "; {commits:,} commits of {size:,.0f} samples in {took_ms:,.1f} ms, the longest {longest_ms:,.1f} ms"
_BUFFER = "; {buffered_kib:,.0f} KiB wait to be stored"
_UNDER_WAY = ", a commit for {under_way:,.1f} s"
_PAUSED = ", senders are paused"


@dataclass(frozen=True, slots=True)
class _Mark:
    """Where the counters stood at a time."""

    at: float  # s, monotonic
    received: int
    stored: int
    rejected: int
    agents: dict[Connected, int]  # samples of each


class StatsLog(Service):
    """A service that logs one line every `interval` s, also when nothing happens: the log shows that it lives.

    The first line comes after the first interval, so each is about a whole one.
    """

    _log = Logger()

    def __init__(
        self,
        interval: float,
        ingest: Ingest,
        commits: Commits,
        refusals: Refusals,
        port: Connections,
        clock: IReactorTime,
        monotonic: Callable[[], float],
    ) -> None:
        self._interval = interval
        self._ingest = ingest
        self._commits = commits
        self._figures = commits.figures()
        self._refusals = refusals
        self._port = port
        self._monotonic = monotonic
        self._since = self._mark()
        self._lines = LoopingCall(self._tell)
        self._lines.clock = clock

    def startService(self) -> None:
        super().startService()
        self._since = self._mark()
        self._figures.clear()
        self._lines.start(self._interval, now=False)

    def stopService(self) -> None:
        super().stopService()
        self._lines.stop()

    def _mark(self) -> _Mark:
        return _Mark(
            self._monotonic(),
            self._ingest.received,
            self._ingest.stored,
            self._refusals.counts.total(),
            {agent: agent.samples for agent in self._port.agents.values()},
        )

    def _tell(self) -> None:
        since, now = self._since, self._mark()
        self._since = now
        seconds = now.at - since.at
        if seconds <= 0:
            return
        # one that came meanwhile has no rate of the whole interval
        rates = [
            (count - since.agents[agent]) / seconds for agent, count in now.agents.items() if agent in since.agents
        ]
        mean, deviation = mean_and_deviation(rates)
        figures, buffered, under_way = self._figures, self._ingest.buffered, self._commits.under_way or 0.0
        text = _LINE
        if rates:
            text += _EACH
        if figures.seconds.count:
            text += _COMMITS
        if buffered >= _MUCH or under_way >= _LONG or self._ingest.paused:
            text += _BUFFER
            text += _UNDER_WAY if under_way >= _LONG else ""
            text += _PAUSED if self._ingest.paused else ""
        self._log.info(
            text,
            received=(now.received - since.received) / seconds,
            stored=(now.stored - since.stored) / seconds,
            rejected=(now.rejected - since.rejected) / seconds,
            agents=len(now.agents),
            connections=len(self._port.connections),
            mean=mean,
            deviation=deviation,
            commits=figures.seconds.count,
            size=figures.samples.mean or 0.0,
            took_ms=(figures.seconds.mean or 0.0) * 1000,
            longest_ms=(figures.longest or 0.0) * 1000,
            buffered_kib=buffered / 1024,
            under_way=under_way,
        )
        figures.clear()
