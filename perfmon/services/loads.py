"""Benchmarks on this machine: each run is a process of its own, and how it ends is told until somebody has kept it.

A run that is ordered again is the same run: the collector repeats its orders on every connection. One that is ordered
when it should have begun long ago is refused; one that had begun here has failed, for another process had it.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.core.loads import BadLoad, Limits, Load, checked_load, most_bytes
from perfmon.core.messages import Cancel, Kept, Progress, Result, Run

# A run whose beginning is so long ago cannot be begun any more.
LATEST = 10.0  # s

# After its time a process has so long to end by itself.
GRACE = 30.0  # s

# Ends that nobody has kept yet; the oldest go first. A collector keeps them within a second.
MAX_RESULTS = 100

_MAX_LINE = 1 << 16  # bytes of one line of a load's process


class Spawner(Protocol):
    """The part of the reactor that starts processes and keeps the time."""

    def spawnProcess(self, processProtocol: Any, executable: str, args: list[str], env: Any) -> Any: ...
    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> IDelayedCall: ...


class _Process(ProcessProtocol):
    """A load's process. `said` gets each line, `ended` how it ended, after its last line."""

    transport: IProcessTransport  # set before any call

    def __init__(self, order: bytes, said: Callable[[dict[str, Any]], None], ended: Callable[[str], None]) -> None:
        self._order = order
        self._said = said
        self._ended = ended
        self._rest = b""
        self._errors = b""
        self._group = 0  # id of its process group

    def connectionMade(self) -> None:
        assert self.transport.pid is not None
        self._group = self.transport.pid
        self.say(self._order)

    def say(self, line: bytes) -> None:
        self.transport.write(line + b"\n")

    def hang_up(self) -> None:
        """It is to end now, and tells with what."""
        self.transport.closeStdin()

    def kill(self) -> None:
        with suppress(ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[:_MAX_LINE]
        for line in lines:
            self._said(json.loads(line))

    def errReceived(self, data: bytes) -> None:
        self._errors = (self._errors + data)[-1_000:]

    def processEnded(self, reason: Failure) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._group, signal.SIGKILL)  # fio goes on where its parent was killed
        last = self._errors.decode(errors="replace").strip().rpartition("\n")[2]
        self._ended(last or reason.getErrorMessage())


@dataclass(slots=True, eq=False)
class _Run:
    """One run on this machine."""

    order: Run
    load: Load
    process: _Process | None = None
    ready: bool = False
    last: Progress | None = None
    cancelled: str = ""  # why
    outcome: tuple[str, str, dict[str, Any]] | None = None  # state, reason and figures: as its process said
    timers: list[IDelayedCall] = field(default_factory=list)


class Loads(Service):
    """A service: runs what the collector orders, one run at a time."""

    _log = Logger()

    def __init__(
        self,
        folder: Path,
        limits: Limits | None,
        ahead: Callable[[], float],
        reactor: Spawner,
        wall: Callable[[], float],
    ) -> None:
        """Files are written below `folder`; without `limits` nothing is run.

        `ahead` says by how many s the clock `wall` (s since the epoch) is ahead of the collector's.
        """
        self._folder = folder
        self._limits = limits
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

    def opened(self) -> list[Progress | Result]:
        """A connection stands: what its collector may not know."""
        current = self._current
        return [*self._results.values(), *([current.last] if current is not None and current.last is not None else [])]

    def order(self, run: Run) -> None:
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

    def cancel(self, cancel: Cancel) -> None:
        if self._current is not None and self._current.order.id == cancel.id:
            self._stop(self._current, cancel.reason)

    def kept(self, kept: Kept) -> None:
        """The end of a run is kept, and need not be told any more."""
        if self._results.pop(kept.run, None) is not None:
            self._kept[kept.run] = None
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
        run = _Run(order, load)
        folder = str(self._folder / order.id)
        asked = json.dumps({"kind": order.kind, "parameters": order.parameters, "folder": folder}).encode()
        run.process = _Process(asked, lambda said: self._said(run, said), lambda why: self._ended(run, why))
        self._log.info("benchmark {id}: {kind}", id=order.id, kind=order.kind)
        command = [sys.executable, "-m", "perfmon.loads"]
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._reactor.spawnProcess(run.process, command[0], command, env=os.environ)
        except OSError as problem:
            self._end(order, "failed", f"it could not be started: {problem}")
            return
        self._current = run
        wait = max(0.0, self._begins(run) - self._wall())
        self._later(run, wait, self._go)
        self._later(run, wait + load.seconds + GRACE, self._overdue)

    def _objection(self, order: Run, load: Load) -> str:
        """Why this machine does not run it, if it does not."""
        if order.begun:
            return "the agent was started anew in the middle"
        if self._limits is None:
            return "the agent was started with --no-benchmarks"
        if load.seconds > self._limits.seconds:
            return f"it takes {load.seconds:g} s, and --benchmark-limit allows {self._limits.seconds:g} s"
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
        """Its time has come; one that is not ready yet begins as soon as it is."""
        assert run.process is not None
        if run.ready and not run.cancelled:
            run.process.say(b"go")

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
            self._tell(run, Progress(id, expected=said["figures"]))
            if self._wall() >= self._begins(run):
                self._go(run)
        elif kind == "begun":
            expected = last.expected if last is not None else {}
            self._tell(run, Progress(id, began=said["at"] - self._ahead(), expected=expected))
        elif kind == "progress" and last is not None:
            self._tell(run, Progress(id, last.began, last.expected, said["share"], said["figures"]))
        elif kind == "result" and last is not None:
            run.outcome = "cancelled" if said["early"] else "done", run.cancelled, said["figures"]
        elif kind in ("refused", "failed"):
            run.outcome = kind, said["reason"], {}

    def _tell(self, run: _Run, progress: Progress) -> None:
        run.last = progress
        self._send(progress)

    def _end(
        self, order: Run, state: str, reason: str, last: Progress | None = None, figures: dict[str, Any] | None = None
    ) -> None:
        """The run has come to its end, which is told until it is kept."""
        last = last or Progress(order.id)
        result = Result(order.id, state, reason, last.began, last.expected, figures or last.figures)
        if order.id not in self._results:
            self._log.info("benchmark {id}: {state} {reason}", id=order.id, state=state, reason=reason)
        self._results[order.id] = result
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
        state, reason, figures = run.outcome or (
            ("cancelled", run.cancelled, {}) if run.cancelled else ("failed", f"its process ended: {why}", {})
        )
        self._end(run.order, state, reason, run.last, figures)
        if self._idle is not None:
            self._idle.callback(None)
