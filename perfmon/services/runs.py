"""Benchmark runs: what was asked for stands in the store, and so does how it ends, whoever hears of it.

Each collector knows the runs that are not over, and orders them of its own agents: when they come, and when a run is
new. An agent's result is kept before it is told so; until then it tells it on every connection. So nothing is lost with
a connection, with a collector, or with an agent's collector being another one than yesterday.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.benchmarks import CANCELLED, LEAD, SPEC, HostRun, Spec, described, host_field, hosts_of, summary
from perfmon.core.loads import checked_load
from perfmon.core.messages import Cancel, Figures, Kept, Progress, Result, Run
from perfmon.net.seams import Runner
from perfmon.storage.store import StoreUnavailable

POLL = 1.0  # s

# Figures that are kept of one host; ours tell a dozen.
MAX_FIGURES = 100

# A run that was cancelled is over so long after, also where hosts say nothing.
_CANCEL_GRACE = 15.0  # s


class RunStore(Protocol):
    """The part of the store that runs need."""

    async def add_run(self, id: str, spec: str, created: float, due: float, ttl: float) -> None: ...
    async def open_runs(self) -> dict[str, float]: ...
    async def run(self, id: str) -> dict[str, str]: ...
    async def runs(self, limit: int) -> list[dict[str, str]]: ...
    async def note_run(self, id: str, host: str, value: str) -> None: ...
    async def cancel_run(self, id: str, reason: str, due: float) -> None: ...
    async def close_run(self, id: str) -> None: ...


def _bounded(figures: Figures) -> Figures:
    """What is kept of an agent's figures: it may be any, and send any."""
    some = list(figures.items())[:MAX_FIGURES]
    return {name[:100]: value[:100] if isinstance(value, str) else value for name, value in some}


class Busy(Exception):
    """Hosts run another benchmark; `str()` says which."""


@dataclass(slots=True)
class _Open:
    """A run that is not over."""

    spec: Spec
    due: float  # s since the epoch
    hosts: dict[str, HostRun] = field(default_factory=dict)  # that have told of it
    left: set[str] = field(default_factory=set)  # hosts that have not ended
    cancelled: str | None = None

    def __post_init__(self) -> None:
        self.left.update(self.spec.hosts)

    def take(self, told: Mapping[str, HostRun]) -> None:
        """How it is on some hosts."""
        self.hosts.update(told)
        self.left.difference_update(host for host, at in told.items() if at.ended)


class Runs(Service):
    """A service: sees to it that runs are begun, told of, and come to their end."""

    _log = Logger()

    def __init__(self, store: RunStore, retention: float, clock: IReactorTime, wall: Callable[[], float]) -> None:
        """Runs are kept for `retention` s; `wall` gives the time in s since the epoch."""
        self._store = store
        self._retention = retention
        self._wall = wall
        self._here: dict[str, Runner] = {}
        self._open: dict[str, _Open] = {}
        self._changed: set[tuple[str, str]] = set()  # (run, host) whose progress is not in the store
        self._unkept: dict[tuple[str, str], tuple[Result, Runner]] = {}  # what the store did not take
        self._looking: Deferred[None] | None = None
        self._polls = LoopingCall(self._poll)
        self._polls.clock = clock

    def startService(self) -> None:
        super().startService()
        self._polls.start(POLL)

    def stopService(self) -> None:
        super().stopService()
        self._polls.stop()
        if self._looking is not None:
            self._looking.cancel()

    # -- what sessions call

    def arrived(self, host: str, agent: Runner) -> None:
        self._here[host] = agent
        for run in self._open.values():
            self._order(run, host)

    def gone(self, host: str, agent: Runner) -> None:
        if self._here.get(host) is agent:
            del self._here[host]

    def said(self, host: str, message: Progress | Result, agent: Runner) -> None:
        """An agent tells of a run, or of its end."""
        if isinstance(message, Result):
            ensureDeferred(self._keep(host, message, agent)).addErrback(self._failed)
            return
        run = self._open.get(message.run)
        if run is not None and host in run.left:
            state = "ready" if message.began is None else "running"
            expected, figures = _bounded(message.expected), _bounded(message.figures)
            run.take({host: HostRun(state, "", message.began, message.share, expected, figures)})
            self._changed.add((message.run, host))

    async def _keep(self, host: str, result: Result, agent: Runner) -> None:
        share = 1.0 if result.state == "done" else 0.0
        expected, figures = _bounded(result.expected), _bounded(result.figures)
        ended = HostRun(result.state, result.reason[:500], result.began, share, expected, figures)
        try:
            if ended.ended and await self._takes_part(result.run, host):
                await self._end(result.run, host, ended)
        except StoreUnavailable:
            self._unkept[result.run, host] = result, agent  # the connection has logged it; it is tried again
            return
        self._unkept.pop((result.run, host), None)
        agent.tell(Kept(result.run))

    async def _takes_part(self, id: str, host: str) -> bool:
        """Whether a run is on `host`, also one that is over."""
        run = self._open.get(id)
        if run is not None and host in run.left:
            return True
        fields = await self._store.run(id)
        return SPEC in fields and host in Spec.decode(fields[SPEC]).hosts

    async def _end(self, id: str, host: str, ended: HostRun) -> None:
        await self._store.note_run(id, host, ended.encode())
        self._changed.discard((id, host))
        run = self._open.get(id)
        if run is not None:
            run.take({host: ended})
            await self._close_if_over(run)

    async def _close_if_over(self, run: _Open) -> None:
        if run.left and not any(host in self._here for host in run.left):
            await self._refresh(run)
        if not run.left:
            await self._store.close_run(run.spec.id)
            self._open.pop(run.spec.id, None)
            self._log.info("benchmark {id} is over", id=run.spec.id)

    async def _refresh(self, run: _Open) -> None:
        """Takes in what other collectors have heard of it."""
        theirs = hosts_of(await self._store.run(run.spec.id))
        run.take({host: at for host, at in theirs.items() if host not in self._here or at.ended})

    # -- what people call

    async def begin(self, kind: str, parameters: dict[str, Any], hosts: Sequence[str], lead: float = LEAD) -> Spec:
        """Begins a run on `hosts` in `lead` s. Raises `BadLoad`, `Busy` and `StoreUnavailable`."""
        load = checked_load(kind, parameters)
        await self._look()
        wanted = set(hosts)
        for run in [run for run in self._open.values() if wanted & run.left]:
            await self._refresh(run)
        busy = sorted({host for run in self._open.values() for host in wanted & run.left})
        if busy:
            raise Busy(
                f"{len(busy)} of these hosts run another benchmark, such as {busy[0]}; wait for it, or cancel it"
            )
        now = self._wall()
        spec = Spec(os.urandom(6).hex(), kind, parameters, list(hosts), now, now + lead, load.seconds)
        await self._store.add_run(spec.id, spec.encode(), now, spec.due, self._retention)
        self._add(spec, {}, spec.due)
        return spec

    async def cancel(self, id: str, reason: str) -> bool:
        """Ends a run early; False where there is none that goes on."""
        await self._look()
        run = self._open.get(id)
        if run is None:
            return False
        run.due = min(run.due, self._wall() + _CANCEL_GRACE)
        await self._store.cancel_run(id, reason, run.due)
        self._cancel(run, reason)
        return True

    async def one(self, id: str) -> dict[str, Any] | None:
        """A run as it is, None where there is none of this id."""
        fields = await self._store.run(id)
        return described(self._newest(id, fields)) if SPEC in fields else None

    async def newest(self, limit: int, host: str = "") -> list[dict[str, Any]]:
        """The newest runs, in a few words each; with a `host` those of them that it takes part in."""
        found = [fields for fields in await self._store.runs(limit) if SPEC in fields]
        return [summary(fields) for fields in found if not host or host in Spec.decode(fields[SPEC]).hosts]

    def _newest(self, id: str, fields: Mapping[str, str]) -> Mapping[str, str]:
        """With the progress that is known here, and not in the store yet."""
        run = self._open.get(id)
        if run is None:
            return fields
        return {
            **fields,
            **{host_field(host): at.encode() for host, at in run.hosts.items() if (id, host) in self._changed},
        }

    # -- the runs that are not over

    def _poll(self) -> Deferred[None] | None:
        if self._looking is None:
            self._looking = ensureDeferred(self._turn()).addErrback(self._failed)
            self._looking.addCallback(self._looked)
        return None

    def _looked(self, result: None) -> None:
        self._looking = None

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("a benchmark run could not be looked after", failure)

    async def _turn(self) -> None:
        try:
            await self._look()
            for (_, host), (result, agent) in list(self._unkept.items()):
                await self._keep(host, result, agent)
            await self._write_progress()
            await self._settle()
        except StoreUnavailable:
            pass  # the connection has logged it

    async def _look(self) -> None:
        """Takes in what other collectors have begun, cancelled and ended."""
        due = await self._store.open_runs()
        for id in self._open.keys() - due.keys():
            del self._open[id]
        for id, moment in due.items():
            known = self._open.get(id)
            if known is not None and known.due == moment:
                continue
            fields = await self._store.run(id)
            if SPEC not in fields:
                await self._store.close_run(id)
                continue
            run = known or self._add(Spec.decode(fields[SPEC]), hosts_of(fields), moment)
            run.due = moment
            if CANCELLED in fields:
                self._cancel(run, fields[CANCELLED])

    def _add(self, spec: Spec, hosts: dict[str, HostRun], due: float) -> _Open:
        run = self._open[spec.id] = _Open(spec, due)
        run.take(hosts)
        for host in spec.hosts:
            self._order(run, host)
        return run

    def _order(self, run: _Open, host: str) -> None:
        agent = self._here.get(host)
        if agent is None or host not in run.left:
            return
        if run.cancelled is None:
            spec, at = run.spec, run.hosts.get(host, HostRun())
            agent.tell(Run(spec.id, spec.kind, spec.parameters, spec.start, begun=at.began is not None))
        else:
            agent.tell(Cancel(run.spec.id, run.cancelled))

    def _cancel(self, run: _Open, reason: str) -> None:
        if run.cancelled is None:
            run.cancelled = reason
            for host in run.spec.hosts:
                self._order(run, host)

    async def _write_progress(self) -> None:
        changed, self._changed = self._changed, set()
        for id, host in changed:
            run = self._open.get(id)
            if run is not None:
                await self._store.note_run(id, host, run.hosts[host].encode())

    async def _settle(self) -> None:
        """Ends what will not end any more: the run is then over, and says which hosts are missing."""
        now = self._wall()
        for run in [run for run in self._open.values() if run.due < now]:
            await self._refresh(run)
            for host in sorted(run.left):
                at = run.hosts.get(host, HostRun())
                missing = "it was not connected" if host not in self._here else "it said nothing of its end"
                state = "cancelled" if run.cancelled is not None and at.state == "waiting" else "lost"
                await self._end(run.spec.id, host, replace(at, state=state, reason=run.cancelled or missing))
            await self._close_if_over(run)
