"""Real store servers for tests: on a unix socket in a folder of their own, never faked."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import hiredis
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.trial.unittest import TestCase

from perfmon.storage.store import Store
from tests.programs import STORE_SERVERS
from tests.waiting import PATIENCE, until

_POLL = 0.005  # s between two looks at a condition


class Server:
    """A server of one of `STORE_SERVERS`; it keeps its data over `kill` and `start`."""

    def __init__(self, kind: str = "valkey", appendfsync: str = "no") -> None:
        self._program = STORE_SERVERS[kind]
        self._appendfsync = appendfsync
        self._folder = Path(tempfile.mkdtemp(prefix="pm-"))  # short: a socket's address is
        self.socket = str(self._folder / "s")
        self.password = ""  # for `__call__`
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when it answers."""
        settings = {
            "port": "0",
            "unixsocket": self.socket,
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": self._appendfsync,
            "save": "",
        }
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen([self._program, *words], stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self("PING")
                return
            except (OSError, hiredis.ReplyError):  # not listening yet, or reading its files
                time.sleep(_POLL)  # between two looks at the condition, not in place of one
        raise AssertionError(f"{self._program} does not answer")

    def __call__(self, *command: bytes | str | int) -> Any:
        """The reply to one command, on a connection of its own."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(PATIENCE)
            client.connect(self.socket)
            reader = hiredis.Reader()
            if self.password:
                _ask(client, reader, "AUTH", self.password)
            return _ask(client, reader, *command)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def kill(self) -> None:
        """Ends it at once, as a crash would."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """Ends it, however it is, and removes its folder."""
        if self._process is not None:
            self.kill()
        shutil.rmtree(self._folder)

    def reset(self) -> None:
        """As if it had just been started for the first time."""
        self("CONFIG", "SET", "maxmemory", "0")
        self("FLUSHALL")


def _ask(client: socket.socket, reader: hiredis.Reader, *command: bytes | str | int) -> Any:
    client.sendall(hiredis.pack_command(command))  # type: ignore[arg-type]  # its stub allows one word
    while (reply := reader.gets()) is False:
        data = client.recv(1 << 16)
        if not data:
            raise ConnectionResetError("closed by the server")
        reader.feed(data)
    if isinstance(reply, Exception):
        raise reply
    return reply


class StoreCase(TestCase):
    """Has a server, one for all tests of a class, empty at the start of each."""

    kind = "valkey"
    server: Server

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.server = Server(cls.kind)
        cls.addClassCleanup(cls.server.stop)
        cls.server.start()

    def setUp(self) -> None:
        self.server.reset()

    async def connected(self, collector: str = "collector") -> Store:
        """A store that is connected to the server; stopped with the test."""
        store = self.new_store(collector=collector)
        await until(lambda: store.problem is None, "the store")
        return store

    def new_store(
        self, server: Server | None = None, password: str = "", database: int = 0, collector: str = "collector"
    ) -> Store:
        """A store that was started and may be connected yet or not; stopped with the test."""
        from twisted.internet import reactor

        endpoint = UNIXClientEndpoint(reactor, (server or self.server).socket)
        store = Store(endpoint, reactor, password=password, database=database, collector=collector)
        store.startService()
        self.addCleanup(store.stopService)
        return store

    def own_server(self) -> Server:
        """A server that the test may kill; running. What it has confirmed is on the disk."""
        server = Server(self.kind, appendfsync="always")
        self.addCleanup(server.stop)
        server.start()
        return server
