"""Real processes for integration tests: started on free ports in a folder of the test's own, ended with the test."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

import hiredis
import orjson
import psutil
from twisted.trial.unittest import SynchronousTestCase

_T = TypeVar("_T")

TWISTD = Path(sys.executable).parent / "twistd"
PERFMON = Path(sys.executable).parent / "perfmon"

# Far more than anything here takes, also on a machine that is busy with something else.
PATIENCE = 30.0  # s

_POLL = 0.02  # s between two looks at a condition


def eventually(condition: Callable[[], _T | None], what: str, patience: float = PATIENCE) -> _T:
    """The first true value of `condition`; fails after `patience` s, naming `what` was waited for."""
    deadline = time.monotonic() + patience
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {patience} s for {what}; last: {found!r}")
        time.sleep(_POLL)  # between two looks at the condition, not in place of one


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has reaped yet has."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


class Running:
    """A process of the test, with its output in a file."""

    def __init__(self, arguments: list[str], folder: Path, environment: dict[str, str] | None = None) -> None:
        self.log_path = Path(tempfile.mkstemp(suffix=".log", dir=folder)[1])
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                arguments, cwd=folder, stdout=log, stderr=subprocess.STDOUT, env=os.environ | (environment or {})
            )

    @property
    def log(self) -> str:
        return self.log_path.read_text(errors="replace")

    def says(self, pattern: str) -> re.Match[str]:
        """Waits for `pattern` in the output."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.log)
            if found is None and self.process.poll() is not None:
                raise AssertionError(f"ended with {self.process.returncode} before {pattern!r}:\n{self.log}")
            return found

        return eventually(look, f"{pattern!r} in the output")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """Waits for the end; returns the exit code."""
        return self.process.wait(PATIENCE)

    def stop(self) -> None:
        """Ends it, however it is."""
        if self.process.poll() is None:
            self.signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


class Store:
    """A plain client of a store server, to look at it from outside."""

    def __init__(self, address: str | tuple[str, int]) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self._socket = socket.socket(family)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(address)
        self._reader = hiredis.Reader()

    def __call__(self, *command: Any) -> Any:
        self._socket.sendall(hiredis.pack_command(command))
        while (reply := self._reader.gets()) is False:
            data = self._socket.recv(65_536)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._reader.feed(data)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        self._socket.close()


class Collector(Running):
    """`twistd -n perfmon` on free ports."""

    def __init__(self, folder: Path, *options: str, store: str | None = None, files: int | None = None) -> None:
        """`files`: how many it may have open, by default as many as the test itself."""
        self.store_folder = folder / "store"
        ports = [
            word
            for option in ("--port", "--http-port")
            if not any(given.partition("=")[0] == option for given in options)
            for word in (option, "0")
        ]
        limited = ["sh", "-c", f'ulimit -n {files} && exec "$@"', "sh"] if files is not None else []
        super().__init__(
            [
                *limited,
                *(str(TWISTD), "--nodaemon", "--pidfile=", "perfmon", *ports),
                *("--store", store or f"embedded:{self.store_folder}"),
                *options,
            ],
            folder,
        )
        self.port = int(self.says(r"agents and Graphite senders on \S+:(\d+)")[1])
        self.http_port = int(self.says(r"page and API on \S+:(\d+)")[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def ask(self, path: str, body: bytes | None = None, kind: str = "", **query: str) -> Any:
        """(status, JSON) of the API's answer; `from_` stands for ``from``."""
        parameters = urlencode({name.rstrip("_"): value for name, value in query.items()})
        request = urllib.request.Request(f"{self.url}{path}?{parameters}", body, {"Content-Type": kind} if kind else {})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, orjson.loads(answer.read())
        except urllib.error.HTTPError as problem:
            return problem.code, orjson.loads(problem.read())

    def get(self, path: str, **query: str) -> Any:
        """The API's answer, which must be a good one."""
        status, answer = self.ask(path, None, "", **query)
        assert status == 200, answer
        return answer

    def points(self, host: str, metric: str, **query: str) -> list[list[float]]:
        """Points of one series, empty where it is not known."""
        series = self.get("/api/v1/query", host=host, metric=metric, **query)["series"]
        return [
            [time, value]
            for one in series
            if one["metric"] == metric
            for time, value in zip(one["times"], one["values"], strict=True)
        ]

    def newest(self, host: str, metric: str) -> float:
        """Time of the newest point of one series, 0 where there is none."""
        return max((point[0] for point in self.points(host, metric)), default=0.0)

    def left_out(self, host: str) -> int:
        """Rounds that the agent of `host` was too late for since its start, as it says: its machine was too busy."""
        return int(max((value for _, value in self.points(host, "perfmon.agent.left_out")), default=0))

    def state(self, host: str) -> str | None:
        """State of `host`, None where it is not known."""
        status, answer = self.ask(f"/api/v1/hosts/{host}", metric="-")
        return answer["state"] if status == 200 else None

    def events(self, host: str) -> list[dict[str, Any]]:
        """All events of `host`, oldest first."""
        return [event for event in self.get("/api/v1/events", limit="1000")["events"] if host in event["hosts"]]

    def ready(self) -> "Collector":
        """Waits for the store."""
        eventually(lambda: self.ask("/readyz")[0] == 200, "the store to be ready")
        return self

    def send(self, lines: str | bytes) -> None:
        """Sends Graphite lines on a connection of their own."""
        data = lines.encode() if isinstance(lines, str) else lines
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE) as connection:
            connection.sendall(data)

    def store(self) -> Store:
        """A client of the embedded store."""
        return Store(str(self.store_folder / "valkey.sock"))

    def store_pid(self) -> int:
        """The embedded server's process."""
        return int((self.store_folder / "valkey.pid").read_text())


class Agent(Running):
    """`twistd -n perfmon-agent`."""

    def __init__(self, folder: Path, port: int, name: str, *options: str) -> None:
        """`port` is where its collector listens."""
        self.spool = folder / "spool" / f"{name}.spool"
        super().__init__(
            [
                *(str(TWISTD), "--nodaemon", "--pidfile=", "perfmon-agent"),
                *("--server", f"127.0.0.1:{port}", "--name", name, "--interval", "1s"),
                *("--spool", str(self.spool.parent), *options),
            ],
            folder,
        )

    def spooled(self) -> set[float]:
        """Times of the rounds in its spool, read from a copy: the agent has the file for itself."""
        with tempfile.TemporaryDirectory(prefix="pm-") as folder:
            copy = Path(folder) / "copy"
            for end in ("-wal", ""):  # a checkpoint in between leaves everything in either
                shutil.copyfile(f"{self.spool}{end}", f"{copy}{end}")
            database = sqlite3.connect(copy)
            try:
                return {round(time, 3) for (time,) in database.execute("SELECT time FROM rounds")}  # as it is stored
            finally:
                database.close()


class IntegrationTestCase(SynchronousTestCase):
    """Has a folder, and ends every process that it started."""

    def setUp(self) -> None:
        # short, so that a unix socket in it fits its address
        temporary = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)

    def collector(self, *options: str, store: str | None = None, files: int | None = None) -> Collector:
        """A collector that is ready; by default with an embedded store and without its own host."""
        collector = Collector(self.folder, *(options or ("--no-self",)), store=store, files=files)
        self.addCleanup(collector.stop)
        return collector

    def agent(self, collector: Collector, name: str, *options: str) -> Agent:
        agent = Agent(self.folder, collector.port, name, *options)
        self.addCleanup(agent.stop)
        return agent

    def assert_every_round(
        self, times: Callable[[], list[float]], interval: float, left_out: Callable[[], int]
    ) -> None:
        """Each round from the first to the last of `times` (s) comes, once, but for those that the agent left out."""

        def complete() -> bool:
            rounds = {round(time / interval) for time in times()}
            missing = set(range(min(rounds, default=0), max(rounds, default=0))) - rounds
            return len(missing) <= left_out()

        eventually(complete, "every round")  # the newest come first, and those that waited after them
        found = times()
        self.assertEqual(len(found), len({round(time / interval) for time in found}), "none is there twice")

    def running(self, *arguments: str) -> Running:
        running = Running(list(arguments), self.folder)
        self.addCleanup(running.stop)
        return running

    def store(self, collector: Collector) -> Store:
        store = collector.store()
        self.addCleanup(store.close)
        return store
