"""Tests for `perfmon.storage.connection`, with real servers that are killed, frozen, full and locked."""

import shutil
import signal
import tempfile
from typing import Any

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.endpoints import UNIXClientEndpoint, UNIXServerEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from perfmon.storage import connection as connection_module
from perfmon.storage.connection import Connection, StoreUnavailable
from tests.logs import Logged, logged
from tests.programs import STORE_SERVERS
from tests.valkey import Server, StoreCase
from tests.waiting import until


class ConnectionTests(StoreCase):
    def connection(self, server: Server | None = None, **settings: Any) -> Connection:
        """A connection that was started; stopped with the test."""
        from twisted.internet import reactor

        endpoint = UNIXClientEndpoint(reactor, (server or self.server).socket)
        connection = Connection("store", endpoint, reactor, **settings)
        connection.startService()
        self.addCleanup(connection.stopService)
        return connection

    async def ready(self, connection: Connection) -> Connection:
        await until(lambda: connection.problem is None, "the connection")
        return connection

    async def test_replies(self) -> None:
        """Replies are what the server sent: bytes, whatever they look like, integers, lists and None."""
        connection = await self.ready(self.connection())
        self.assertEqual(await connection.call("SET", "pm:a", b"007"), b"OK")
        self.assertEqual(await connection.call("GET", "pm:a"), b"007")
        everything = bytes(range(256)) * 300
        await connection.call("SET", "pm:b", everything)
        self.assertEqual(await connection.call("MGET", "pm:b", "pm:a", "pm:c"), [everything, b"007", None])
        self.assertEqual(await connection.call("STRLEN", "pm:b"), 256 * 300)
        self.assertEqual(await connection.call("EVAL", "return {1, {'1.50'}, false}", 0), [1, [b"1.50"], None])

    async def test_long_command(self) -> None:
        """A command of very many words arrives as shorter ones do, whatever kinds of words they are."""
        connection = await self.ready(self.connection())
        words: list[bytes | str | int | float] = [b"\r\n$3\r\n", "ü", 7, 1.5, b"", "plain"] * 1_500
        for sent in (words[:60], words):
            await connection.call("DEL", "pm:list")
            await connection.call("RPUSH", "pm:list", *sent)
            expected = [word if isinstance(word, bytes) else str(word).encode() for word in sent]
            self.assertEqual(await connection.call("LRANGE", "pm:list", 0, -1), expected)

    async def test_order(self) -> None:
        """Commands are answered in the order they were sent."""
        connection = await self.ready(self.connection())
        replies = [connection.call("ECHO", str(number)) for number in range(100)]
        self.assertEqual([await reply for reply in replies], [b"%d" % number for number in range(100)])

    async def test_transaction(self) -> None:
        """Commands of a transaction are answered together, between those before it and those after it."""
        connection = await self.ready(self.connection())
        before = connection.call("SET", "pm:a", "1")
        both = ensureDeferred(connection.transaction([("INCR", "pm:a"), ("MGET", "pm:a", "pm:b"), ("GET", "pm:c")]))
        nothing = ensureDeferred(connection.transaction([]))
        after = connection.call("GET", "pm:a")
        self.assertEqual(await before, b"OK")
        self.assertEqual(await both, [2, [b"2", None], None])
        self.assertEqual(await nothing, [])
        self.assertEqual(await after, b"2")

    async def test_refused_transaction(self) -> None:
        """A transaction of which a command is refused, before it or within it, fails; those after it are answered."""
        connection = await self.ready(self.connection())
        for command, problem in ((("NONSENSE",), "Transaction discarded"), (("INCR", "pm:a"), "not an integer")):
            await connection.call("SET", "pm:a", "text")
            work = ensureDeferred(connection.transaction([("SET", "pm:b", "1"), command, ("GET", "pm:a")]))
            after = connection.call("PING")
            self.assertIn(problem, await self.refusal(work))
            self.assertEqual(await after, b"PONG")

    async def test_refused_command(self) -> None:
        """A command that the server refuses fails with its words, and the connection stays."""
        connection = await self.ready(self.connection())
        self.assertIn("unknown command", await self.refusal(connection.call("NONSENSE")))
        self.assertEqual(await connection.call("PING"), b"PONG")

    async def test_before_connection(self) -> None:
        """A command without a connection fails at once, and is not sent later."""
        connection = self.connection()
        self.assertEqual(
            self.failureResultOf(connection.call("SET", "pm:a", "1"), StoreUnavailable).getErrorMessage(),
            "not connected yet",
        )
        await self.ready(connection)
        self.assertIsNone(await connection.call("GET", "pm:a"))

    async def test_after_stop(self) -> None:
        """Stopping closes the connection; a command after it fails at once."""
        connection = await self.ready(self.connection())
        await connection.stopService()
        self.failureResultOf(connection.call("PING"), StoreUnavailable)
        await until(lambda: self.server("CLIENT", "LIST").count(b"id=") == 1, "the server to see it closed")

    async def test_database(self) -> None:
        """A connection works in the database it was told."""
        connection = await self.ready(self.connection(database=3))
        await connection.call("SET", "pm:a", "1")
        self.assertEqual(self.server("KEYS", "*"), [])
        self.assertIn("db3:keys=1", self.server("INFO", "keyspace").decode())

    async def test_killed(self) -> None:
        """A server that was killed and comes back is used again by itself; the log has each problem once."""
        server = self.own_server()
        with logged() as log:
            connection = await self.ready(self.connection(server))
            waiting = connection.call("BLPOP", "pm:none", 0)
            server.kill()
            self.assertEqual(await self.refusal(waiting), "Lost connection")
            await until(lambda: connection.problem not in (None, "connection lost"), "an attempt to fail")
            self.assertEqual(await self.refusal(connection.call("PING")), connection.problem)
            server.start()
            await self.ready(connection)
            self.assertEqual(await connection.call("PING"), b"PONG")
        told = problems(log)
        self.assertEqual(told[0], "connection lost")
        self.assertEqual(len(set(told)), len(told))
        self.assertEqual(log.infos.count("store: connected"), 2)

    async def test_frozen(self) -> None:
        """A server that does not answer fails the commands under way in bounded time, and is used when it wakes."""
        self.patch(connection_module, "REPLY_TIMEOUT", 0.3)
        timeout = "Not received Redis response in 0.3 seconds"
        server = self.own_server()
        with logged() as log:
            connection = await self.ready(self.connection(server))
            server.signal(signal.SIGSTOP)
            replies = [connection.call("PING"), connection.call("PING")]
            self.assertEqual([await self.refusal(reply) for reply in replies], [timeout, timeout])
            await until(lambda: connection.problem == timeout, "the next attempt to fail")
            self.assertEqual(await self.refusal(connection.call("PING")), timeout)
            server.signal(signal.SIGCONT)
            await self.ready(connection)
            self.assertEqual(await connection.call("PING"), b"PONG")
        self.assertEqual(problems(log), ["connection lost", timeout])

    async def test_wrong_password(self) -> None:
        """With a wrong password the problem says so, once in the log, until the server takes that password."""
        server = self.own_server()
        server("CONFIG", "SET", "requirepass", "right")
        server.password = "right"
        with logged() as log:
            connection = self.connection(server, password="wrong")
            await until(lambda: "WRONGPASS" in str(connection.problem), "the refusal")
            self.assertIn("WRONGPASS", await self.refusal(connection.call("PING")))
            await until(lambda: refused_passwords(server) > 3, "more attempts")
            # that of the attempt, and that of the question itself
            self.assertLessEqual(server("CLIENT", "LIST").count(b"id="), 2)
            server("CONFIG", "SET", "requirepass", "wrong")
            await self.ready(connection)
            self.assertEqual(await connection.call("PING"), b"PONG")
        self.assertEqual(len(problems(log)), 1)

    async def test_password(self) -> None:
        """A connection sends the user and the password that it was told."""
        server = self.own_server()
        server("ACL", "SETUSER", "me", "on", ">secret", "+@all", "~*")
        server("CONFIG", "SET", "requirepass", "other")
        await self.ready(self.connection(server, password="other"))
        connection = await self.ready(self.connection(server, user="me", password="secret"))
        self.assertEqual(await connection.call("ACL", "WHOAMI"), b"me")

    async def test_out_of_memory(self) -> None:
        """What a full server refuses fails with its words, reads go on, and writes do when there is room."""
        connection = await self.ready(self.connection())
        await connection.call("SET", "pm:a", "1")
        self.server("CONFIG", "SET", "maxmemory", "1")
        self.assertIn("OOM command not allowed", await self.refusal(connection.call("SET", "pm:a", "2")))
        self.assertEqual(await connection.call("GET", "pm:a"), b"1")
        self.server("CONFIG", "SET", "maxmemory", "0")
        self.assertEqual(await connection.call("SET", "pm:a", "2"), b"OK")

    async def refusal(self, reply: Deferred[Any]) -> str:
        """Why the command was not done."""
        try:
            done = await reply
        except StoreUnavailable as problem:
            return str(problem)
        raise AssertionError(f"done: {done!r}")


class RedisConnectionTests(ConnectionTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"


class NoStoreTests(TestCase):
    """What answers at the store's address is none."""

    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix="pm-")
        self.addCleanup(shutil.rmtree, folder)
        self.path = f"{folder}/s"

    async def connection_to(self, serving: "_Serving") -> Connection:
        """A connection to what `serving` makes; both end with the test."""
        from twisted.internet import reactor

        port = await UNIXServerEndpoint(reactor, self.path).listen(serving)
        self.addCleanup(port.stopListening)
        connection = Connection("store", UNIXClientEndpoint(reactor, self.path), reactor)
        connection.startService()
        self.addCleanup(connection.stopService)
        return connection

    async def test_no_redis(self) -> None:
        """Of a server that speaks something else the problem says so, once in the log, and no attempt is left open."""
        serving = _Serving(_Greeter)
        with logged() as log:
            connection = await self.connection_to(serving)
            await until(lambda: len(serving.made) > 3, "several attempts")
            self.assertIn("no Redis or Valkey there?", str(connection.problem))
            self.assertEqual(len(problems(log)), 1)
        await until(lambda: all(one.lost for one in serving.made[:-1]), "the attempts to be closed")

    async def test_stop_while_connecting(self) -> None:
        """Stopping closes a connection, too, that the server has not answered on yet, and that is no problem to log."""
        serving = _Serving(_Greeter, mute=True)
        with logged() as log:
            connection = await self.connection_to(serving)
            await until(lambda: serving.made and serving.made[0].heard, "the first command")
            await connection.stopService()
            await until(lambda: serving.made[0].lost, "the end of the connection")
        self.assertEqual(problems(log), [])


class _Greeter(Protocol):
    """Answers with what is no reply of Redis; when mute, not at all."""

    def __init__(self, mute: bool) -> None:
        self._mute = mute
        self.heard = self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard = True
        if not self._mute:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")  # type: ignore[union-attr]  # set once it is connected

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


class _Serving(Factory):
    noisy = False

    def __init__(self, kind: type[_Greeter], mute: bool = False) -> None:
        self._kind = kind
        self._mute = mute
        self.made: list[_Greeter] = []

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.made.append(self._kind(self._mute))
        return self.made[-1]


def refused_passwords(server: Server) -> int:
    """How many attempts the server has refused."""
    text = server("INFO", "errorstats").decode()
    return int(text.partition("errorstat_WRONGPASS:count=")[2].splitlines()[0])


def problems(log: Logged) -> list[str]:
    """What was logged of the connection `store`."""
    return [text.partition("unavailable: ")[2] for text in log.warnings if text.startswith("store: ")]
