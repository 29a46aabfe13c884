"""Benchmark runs: what was asked for stands in the store, and so does how it ends, whoever hears of it.

Each collector knows the runs that are not over, and orders them of its own agents: when they come, and when a run is
new. An agent's result is kept before it is told so; until then it tells it on every connection. So nothing is lost with
a connection, with a collector, or with an agent's collector being another one than yesterday.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from perfmon.core.benchmarks import (
    CANCELLED,
    LEAD,
    QUEUED,
    SPEC,
    HostRun,
    Spec,
    described,
    host_field,
    hosts_of,
    summary,
)
from perfmon.core.loads import checked_load
from perfmon.core.messages import Kept, Progress, Result
from perfmon.core.pairs import duration, participants
from perfmon.net.seams import Runner
from perfmon.services.open_run import OpenRun, end_of, progress_of
from perfmon.services.polling import Polling
from perfmon.storage.store import StoreUnavailable

POLL = 1.0  # s

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
    async def start_run(self, id: str, before: str, spec: str, due: float) -> bool: ...
    async def keep_output(self, id: str, host: str, output: str, ttl: float) -> None: ...
    async def output(self, id: str, host: str) -> str | None: ...


class Busy(Exception):
    """Hosts run another benchmark; `str()` says which."""


class Answers(Protocol):
    """Answers hosts that send to this collector."""

    def open(self, spec: Spec, ready: Callable[[int], None]) -> None: ...
    def close(self, id: str) -> None: ...


class Runs(Service):
    """A service: sees to it that runs are begun, told of, and come to their end."""

    _log = Logger()

    def __init__(
        self, store: RunStore, answers: Answers, retention: float, clock: IReactorTime, wall: Callable[[], float]
    ) -> None:
        """Runs are kept for `retention` s; `wall` gives the time in s since the epoch."""
        self._store = store
        self._answers = answers
        self._retention = retention
        self._wall = wall
        self._here: dict[str, Runner] = {}
        self._open: dict[str, OpenRun] = {}
        self._changed: set[tuple[str, str]] = set()  # (run, host) whose progress is not in the store
        self._unkept: dict[tuple[str, str], tuple[Result, Runner]] = {}  # what the store did not take
        self._polls = Polling(self._turn, POLL, "benchmark runs could not be looked after", clock)

    def startService(self) -> None:
        super().startService()
        self._polls.start()

    def stopService(self) -> None:
        super().stopService()
        self._polls.stop()

    # -- what sessions call

    def arrived(self, host: str, agent: Runner) -> None:
        self._here[host] = agent
        for run in self._open.values():
            for message in run.orders(host):
                agent.tell(message)

    def gone(self, host: str, agent: Runner) -> None:
        if self._here.get(host) is agent:
            del self._here[host]

    def said(self, host: str, message: Progress | Result, agent: Runner) -> None:
        """An agent tells of a run, or of its end."""
        if isinstance(message, Result):
            ensureDeferred(self._keep(host, message, agent)).addErrback(
                lambda failure: self._log.failure("a benchmark's result could not be kept", failure)
            )
            return
        run = self._open.get(message.run)
        if run is not None and host in run.left:
            run.take({host: progress_of(message)})
            self._changed.add((message.run, host))
            self._part(run)

    async def _keep(self, host: str, result: Result, agent: Runner) -> None:
        try:
            spec = await self._spec(result.run, host)
            if spec is not None:
                ended = end_of(result, len(spec.hosts))
                if ended.output:
                    await self._store.keep_output(result.run, host, result.output, self._retention)
                if ended.ended:
                    await self._end(result.run, host, ended)
        except StoreUnavailable:
            self._unkept[result.run, host] = result, agent  # the connection has logged it; it is tried again
            return
        self._unkept.pop((result.run, host), None)
        agent.tell(Kept(result.run))

    async def _spec(self, id: str, host: str) -> Spec | None:
        """A run, also one that is over, if it is on `host`."""
        run = self._open.get(id)
        if run is not None and host in run.left:
            return run.spec
        fields = await self._store.run(id)
        spec = Spec.decode(fields[SPEC]) if SPEC in fields else None
        return spec if spec is not None and host in spec.hosts else None

    async def _end(self, id: str, host: str, ended: HostRun) -> None:
        await self._store.note_run(id, host, ended.encode())
        self._changed.discard((id, host))
        run = self._open.get(id)
        if run is not None:
            run.take({host: ended})
            await self._close_if_over(run)

    async def _close_if_over(self, run: OpenRun) -> None:
        if run.left and not any(host in self._here for host in run.left):
            await self._refresh(run)
        if not run.left:
            await self._store.close_run(run.spec.id)
            self._forget(run.spec.id)
            self._log.info("benchmark {id} is over", id=run.spec.id)

    def _forget(self, id: str) -> None:
        self._answers.close(id)
        self._open.pop(id, None)

    async def _refresh(self, run: OpenRun) -> None:
        """Takes in what other collectors have heard of it."""
        theirs = hosts_of(await self._store.run(run.spec.id))
        run.take({host: at for host, at in theirs.items() if host not in self._here or at.ended})

    # -- what people call

    async def begin(
        self, kind: str, parameters: dict[str, Any], hosts: Sequence[str], lead: float = LEAD, queue: bool = False
    ) -> Spec:
        """Begins a run on `hosts` in `lead` s. Where they are busy it waits for them, if it is to `queue`.

        Raises `BadLoad`, `Busy` and `StoreUnavailable`.
        """
        load = checked_load(kind, parameters)
        names = participants(load, hosts)
        await self._look()
        busy = await self._busy(names, self._open.values())
        if busy and not queue:
            raise Busy(
                f"{len(busy)} of these hosts run another benchmark, such as {min(busy)}; "
                "wait for it, cancel it, or queue this one"
            )
        now = self._wall()
        spec = Spec(os.urandom(6).hex(), kind, parameters, names, now, now + lead, duration(load, names))
        if busy:
            spec = replace(spec, start=QUEUED)
        due = inf if busy else spec.due
        await self._store.add_run(spec.id, spec.encode(), now, due, self._retention)
        self._add(spec, {}, due)
        return spec

    async def _busy(self, hosts: Sequence[str], runs: Iterable[OpenRun]) -> set[str]:
        """Those of `hosts` that have not ended one of these runs."""
        wanted = set(hosts)
        for run in [run for run in runs if wanted & run.left and not run.queued]:
            await self._refresh(run)
        return {host for run in runs for host in wanted & run.left}

    async def cancel(self, id: str, reason: str) -> bool:
        """Ends a run early; False where there is none that goes on."""
        await self._look()
        run = self._open.get(id)
        if run is None:
            return False
        run.due = min(run.due, self._wall() + (0.0 if run.queued else _CANCEL_GRACE))
        await self._store.cancel_run(id, reason, run.due)
        self._cancel(run, reason)
        return True

    async def output(self, id: str, host: str) -> str | None:
        """What the program wrote that was run on a host: JSON; None where there is nothing."""
        return await self._store.output(id, host)

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

    async def _turn(self) -> None:
        try:
            await self._look()
            for (_, host), (result, agent) in list(self._unkept.items()):
                await self._keep(host, result, agent)
            await self._write_progress()
            await self._part_all()
            await self._start_queued()
            await self._settle()
        except StoreUnavailable:
            pass  # the connection has logged it

    async def _look(self) -> None:
        """Takes in what other collectors have begun, cancelled and ended."""
        due = await self._store.open_runs()
        for id in self._open.keys() - due.keys():
            self._forget(id)
        for id, moment in due.items():
            known = self._open.get(id)
            if known is not None and known.due == moment:
                continue
            fields = await self._store.run(id)
            if SPEC not in fields:
                await self._store.close_run(id)
                continue
            spec = Spec.decode(fields[SPEC])
            if known is None or known.spec != spec:  # it is new, or has waited until now
                known = self._add(spec, hosts_of(fields), moment)
            known.due = moment
            if CANCELLED in fields:
                self._cancel(known, fields[CANCELLED])

    def _add(self, spec: Spec, hosts: dict[str, HostRun], due: float) -> OpenRun:
        run = self._open[spec.id] = OpenRun(spec, due)
        run.take(hosts)
        if run.with_collector and not run.queued:
            self._answers.open(spec, partial(self._answered, run))
        self._order(run)
        return run

    def _order(self, run: OpenRun) -> None:
        for host in run.left & self._here.keys():
            for message in run.orders(host):
                self._here[host].tell(message)

    def _answered(self, run: OpenRun, port: int) -> None:
        """The collector answers on this port."""
        run.answering = port
        self._part(run)

    def _part(self, run: OpenRun) -> None:
        """Tells the hosts whom they meet, if it is time to."""
        if run.part(self._wall()):
            for host, peers in run.peers().items():
                if host in self._here:
                    self._here[host].tell(peers)

    async def _part_all(self) -> None:
        for run in list(self._open.values()):
            if run.meetings and not run.parted and not run.left <= self._here.keys():
                await self._refresh(run)  # others know where some of them answer
            self._part(run)

    async def _start_queued(self) -> None:
        """Begins what has waited for its hosts, the oldest first; none before an older one that wants one of them."""
        runs = sorted(self._open.values(), key=lambda run: (run.queued, run.spec.created))
        for place, run in enumerate(runs):
            if run.queued and run.cancelled is None and not await self._busy(run.spec.hosts, runs[:place]):
                spec = replace(run.spec, start=self._wall() + LEAD)
                if await self._store.start_run(spec.id, run.spec.encode(), spec.encode(), spec.due):
                    self._add(spec, {}, spec.due)

    def _cancel(self, run: OpenRun, reason: str) -> None:
        if run.cancelled is None:
            run.cancelled = reason
            self._order(run)

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
