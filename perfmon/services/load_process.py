"""A load's process, as whoever has started it sees it: `perfmon.loads` is what runs there."""

import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall, IProcessTransport
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from perfmon.core.loads import Task
from perfmon.core.messages import Peer

_MAX_LINE = 1 << 20  # bytes of one line that it says


class Spawner(Protocol):
    """The part of the reactor that starts processes and keeps the time."""

    def spawnProcess(self, processProtocol: Any, executable: str, args: list[str], env: Any) -> Any: ...
    def callLater(self, delay: float, callable: Callable[..., Any], *args: Any) -> IDelayedCall: ...


class LoadProcess(ProcessProtocol):
    """A load's process. `said` gets each line, `ended` how it ended, after its last line."""

    transport: IProcessTransport  # set before any call

    def __init__(self, task: Task, said: Callable[[dict[str, Any]], None], ended: Callable[[str], None]) -> None:
        self._task = task
        self._said = said
        self._ended = ended
        self._rest = b""
        self._errors = b""
        self._group = 0  # id of its process group

    def start(self, reactor: Spawner) -> None:
        """May raise `OSError`."""
        command = [sys.executable, "-m", "perfmon.loads"]
        reactor.spawnProcess(self, command[0], command, env=os.environ)

    def connectionMade(self) -> None:
        assert self.transport.pid is not None
        self._group = self.transport.pid
        self._say(msgspec.json.encode(self._task))

    def _say(self, line: bytes) -> None:
        self.transport.write(line + b"\n")

    def meet(self, peers: Sequence[Peer]) -> None:
        """These are to be met."""
        self._say(msgspec.json.encode({"peers": peers}))

    def go(self) -> None:
        """It is to begin now."""
        self._say(b"go")

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
