"""Benchmarks on this machine: each run is a process of its own, and how it ends is told until somebody has kept it.

A run that is ordered again is the same run: the collector repeats its orders on every connection. One that is ordered
when it should have begun long ago is refused; one that had begun here has failed, for another process had it.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall
from twisted.logger import Logger

from perfmon.core.loads import BadLoad, Limits, Load, Paired, Reach, Task, checked_load, most_bytes
from perfmon.core.messages import Cancel, Figures, Kept, OfRuns, Peers, Progress, Result, Run
from perfmon.services.load_process import LoadProcess, Spawner

# A run whose beginning is so long ago cannot be begun any more.
LATEST = 10.0  # s

# After its time a process has so long to end by itself.
GRACE = 30.0  # s

_LOOPBACK = "127.0.0.1"

# Ends that nobody has kept yet; the oldest go first. A collector keeps them within a second.
MAX_RESULTS = 100


@dataclass(slots=True, eq=False)
class _Run:
    """One run on this machine."""

    order: Run
    load: Load
    process: LoadProcess | None = None
    ready: bool = False
    met: bool = False  # it knows whom it is to meet, or meets nobody
    last: Progress | None = None
    cancelled: str = ""  # why
    outcome: Result | None = None  # as its process said
    timers: list[IDelayedCall] = field(default_factory=list)


class Loads(Service):
    """A service: runs what the collector orders, one run at a time."""

    _log = Logger()

    def __init__(
        self,
        host: str,
        folder: Path,
        limits: Limits | None,
        reach: Reach,
        ahead: Callable[[], float],
        reactor: Spawner,
        wall: Callable[[], float],
    ) -> None:
        """Files are written below `folder`; without `limits` nothing is run.

        `ahead` says by how many s the clock `wall` (s since the epoch) is ahead of the collector's.
        """
        self._host = host
        self._folder = folder
        self._limits = limits
        self._reach = reach
        self._here, self._there = _LOOPBACK, _LOOPBACK  # addresses of the connection to the collector
        self._ahead = ahead
        self._reactor = reactor
        self._wall = wall
        self._current: _Run | None = None
        self._results: dict[str, Result] = {}  # that nobody has kept yet
        self._kept: dict[str, None] = {}  # ids of those that somebody has
        self._send: Callable[[Progress | Result], None] = lambda message: None
        self._idle: Deferred[None] | None = None

    def listen(self, send: Callable[[Progress | Result], None]) -> None:
        """`send` takes a message to the collector, if there is one; what it does not take is told again later."""
        self._send = send

    def startService(self) -> None:
        super().startService()
        shutil.rmtree(self._folder, ignore_errors=True)  # of runs that were killed with the agent

    def stopService(self) -> Deferred[None] | None:
        super().stopService()
        if self._current is None:
            return None
        self._idle = Deferred()
        self._stop(self._current, "the agent stops")
        return self._idle

    # -- what the collector says

    def opened(self, here: str, there: str) -> list[Progress | Result]:
        """A connection stands, between these addresses: what its collector may not know."""
        self._here, self._there = here or _LOOPBACK, there or _LOOPBACK
        current = self._current
        return [*self._results.values(), *([current.last] if current is not None and current.last is not None else [])]

    def take(self, message: OfRuns) -> None:
        if isinstance(message, Run):
            self._order(message)
        elif isinstance(message, Kept):
            self._note_kept(message.run)
        elif self._current is not None and self._current.order.id == _run_of(message):
            if isinstance(message, Cancel):
                self._stop(self._current, message.reason)
            else:
                self._meet(self._current, message)

    def _order(self, run: Run) -> None:
        """The collector wants a run; perhaps not for the first time."""
        if run.id in self._results:
            self._send(self._results[run.id])
        elif run.id in self._kept:
            pass  # the order was on its way when its end was kept
        elif self._current is not None and self._current.order.id == run.id:
            if self._current.last is not None:
                self._send(self._current.last)
        else:
            self._begin(run)

    def _note_kept(self, id: str) -> None:
        """The end of a run is kept, and need not be told any more."""
        if self._results.pop(id, None) is not None:
            self._kept[id] = None
            if len(self._kept) > MAX_RESULTS:
                del self._kept[next(iter(self._kept))]

    # -- a run

    def _begin(self, order: Run) -> None:
        try:
            load = checked_load(order.kind, order.parameters)
        except BadLoad as problem:
            self._end(order, "refused", str(problem))
            return
        objection = self._objection(order, load)
        if objection:
            self._end(order, "failed" if order.begun else "refused", objection)
            return
        seconds = order.seconds or load.seconds
        run = _Run(order, load, met=not isinstance(load, Paired))
        task = Task(
            kind=order.kind,
            parameters=order.parameters,
            folder=str(self._folder / order.id),
            run=order.id,
            host=self._host,
            seconds=seconds,
            address=self._here,
            port=self._reach.port,
        )
        run.process = LoadProcess(task, lambda said: self._said(run, said), lambda why: self._ended(run, why))
        self._log.info("benchmark {id}: {kind}", id=order.id, kind=order.kind)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            run.process.start(self._reactor)
        except OSError as problem:
            self._end(order, "failed", f"it could not be started: {problem}")
            return
        self._current = run
        wait = max(0.0, self._begins(run) - self._wall())
        self._later(run, wait, self._go)
        self._later(run, wait + LATEST, self._alone)
        self._later(run, wait + seconds + GRACE, self._overdue)

    def _objection(self, order: Run, load: Load) -> str:
        """Why this machine does not run it, if it does not."""
        if order.begun:
            return "the agent was started anew in the middle"
        if self._limits is None:
            return "the agent was started with --no-benchmarks"
        seconds = max(order.seconds, load.seconds)
        if seconds > self._limits.seconds:
            return f"it takes {seconds:g} s, and --benchmark-limit allows {self._limits.seconds:g} s"
        if most_bytes(load) > self._limits.space:
            return f"it takes {most_bytes(load):,} bytes, and --benchmark-limit allows {self._limits.space:,}"
        if self._wall() - self._ahead() - order.start > LATEST:
            return "it should have begun already: the agent was away"
        if self._current is not None:
            return f"benchmark {self._current.order.id} is running"
        return "" if order.id.isalnum() else "a run's id is letters and digits"

    def _begins(self, run: _Run) -> float:
        """When it begins, by the clock here (s since the epoch)."""
        return run.order.start + self._ahead()

    def _later(self, run: _Run, delay: float, call: Callable[[_Run], None]) -> None:
        run.timers.append(self._reactor.callLater(delay, call, run))

    def _go(self, run: _Run) -> None:
        """Its time has come; one that is not ready yet, or does not know whom it meets, begins as soon as it is."""
        assert run.process is not None
        if run.ready and run.met and not run.cancelled:
            run.process.go()

    def _go_if_late(self, run: _Run) -> None:
        if self._wall() >= self._begins(run):
            self._go(run)

    def _meet(self, run: _Run, message: Peers) -> None:
        """The collector says whom the run is to meet here."""
        assert run.process is not None
        if not run.met:
            run.met = True
            run.process.meet(
                [msgspec.structs.replace(peer, address=peer.address or self._there) for peer in message.peers]
            )
            self._go_if_late(run)

    def _alone(self, run: _Run) -> None:
        if run.ready and not run.met:
            run.outcome = Result(run.order.id, "failed", "the collector has not said where the others answer")
            self._stop(run, run.outcome.reason)

    def _overdue(self, run: _Run) -> None:
        assert run.process is not None
        run.cancelled = run.cancelled or "it did not end by itself"
        run.process.kill()

    def _stop(self, run: _Run, why: str) -> None:
        assert run.process is not None
        if not run.cancelled:
            run.cancelled = why
            run.process.hang_up()

    def _said(self, run: _Run, said: dict[str, Any]) -> None:
        """A line of its process."""
        kind = said["type"]
        id, last = run.order.id, run.last
        if kind == "ready":
            run.ready = True
            self._tell(run, Progress(id, expected=self._reached(said["figures"])))
            self._go_if_late(run)
        elif kind == "begun":
            expected = last.expected if last is not None else {}
            self._tell(run, Progress(id, began=said["at"] - self._ahead(), expected=expected))
        elif kind == "progress" and last is not None:
            self._tell(run, Progress(id, last.began, last.expected, said["share"], said["figures"]))
        elif kind == "result" and last is not None:
            state = "cancelled" if said["early"] else "done"
            more = said["figures"], said["pairs"], said["output"]
            run.outcome = Result(id, state, run.cancelled, last.began, last.expected, *more)
        elif kind in ("refused", "failed"):
            run.outcome = Result(id, kind, said["reason"])

    def _tell(self, run: _Run, progress: Progress) -> None:
        run.last = progress
        self._send(progress)

    def _reached(self, figures: Figures) -> Figures:
        """What a load expects; one that answers others says where they reach it."""
        if "port" not in figures:
            return figures
        reach = self._reach
        return {**figures, "address": reach.address or self._here, "port": reach.outside or figures["port"]}

    def _end(self, order: Run, state: str, reason: str, last: Progress | None = None) -> None:
        """The run has come to its end, without its process having told of it."""
        last = last or Progress(order.id)
        self._keep(Result(order.id, state, reason, last.began, last.expected, last.figures))

    def _keep(self, result: Result) -> None:
        """This is told until it is kept."""
        if result.run not in self._results:
            self._log.info("benchmark {id}: {state} {reason}", id=result.run, state=result.state, reason=result.reason)
        self._results[result.run] = result
        if len(self._results) > MAX_RESULTS:
            del self._results[next(iter(self._results))]
        self._send(result)

    def _ended(self, run: _Run, why: str) -> None:
        """Its process has ended."""
        for timer in run.timers:
            if timer.active():
                timer.cancel()
        shutil.rmtree(self._folder / run.order.id, ignore_errors=True)  # two files, if it was killed
        self._current = None  # only now there is room for the next one
        outcome, last = run.outcome, run.last or Progress(run.order.id)
        if outcome is None:
            state, reason = ("cancelled", run.cancelled) if run.cancelled else ("failed", f"its process ended: {why}")
            self._end(run.order, state, reason, run.last)
        elif outcome.began is None:
            self._keep(msgspec.structs.replace(outcome, began=last.began, expected=last.expected, figures=last.figures))
        else:
            self._keep(outcome)
        if self._idle is not None:
            self._idle.callback(None)


def _run_of(message: Cancel | Peers) -> str:
    return message.id if isinstance(message, Cancel) else message.run
