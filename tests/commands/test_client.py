"""Tests for `perfmon.commands.client`, against small servers that answer byte by byte what a test says."""

from collections.abc import Callable
from typing import Any, cast

import treq.api
import treq.client
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.trial.unittest import TestCase
from twisted.web.client import HTTPConnectionPool

from perfmon.commands import client as client_module
from perfmon.commands.client import Client, ClientError
from perfmon.core.exporting import FORMATS
from tests.waiting import until

CSV = FORMATS["csv"].media_type.encode()
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n" % CSV


def answer(body: bytes, status: bytes = b"200 OK", kind: bytes = b"application/json", size: int | None = None) -> bytes:
    """A response, whose head may tell of another `size`."""
    head = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return head % (status, kind, len(body) if size is None else size) + body


class _Answering(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert isinstance(self.factory, AnsweringFactory)
        self.factory.heard += data
        if self.factory.whole:
            assert self.transport is not None
            self.transport.write(self.factory.answer)
            self.factory.then(self.transport)


class AnsweringFactory(ServerFactory):
    """Answers every request with `answer`, and does `then` with the transport."""

    protocol = _Answering
    noisy = False

    def __init__(self) -> None:
        self.heard = b""
        self.answer = b""
        self.then: Callable[[Any], object] = lambda transport: None

    @property
    def body(self) -> bytes:
        """Of the request."""
        return self.heard.partition(b"\r\n\r\n")[2]

    @property
    def whole(self) -> bool:
        """Whether all of the request has come."""
        if b"\r\n\r\n" not in self.heard:
            return False
        return len(self.body) >= int(self.request()[1].get("content-length", "0"))

    def request(self) -> tuple[str, dict[str, str]]:
        """The first line of the request, and its headers by their names in lower case."""
        first, *lines = self.heard.partition(b"\r\n\r\n")[0].decode().split("\r\n")
        return first, {name.lower(): value for name, value in (line.split(": ") for line in lines)}


def lose(transport: Any) -> None:
    transport.loseConnection()


def abort(transport: Any) -> None:
    transport.abortConnection()


class AnsweringCase(TestCase):
    """Has a server on a port of this machine, and no connection that outlives a test."""

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.server = AnsweringFactory()
        self.port = reactor.listenTCP(0, self.server, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.url = f"http://127.0.0.1:{cast(IPv4Address, self.port.getHost()).port}"
        before = treq.api.get_global_pool()
        treq.api.set_global_pool(HTTPConnectionPool(reactor, persistent=False))
        self.addCleanup(treq.api.set_global_pool, before)
        self.written: list[bytes] = []

    def answers(self, answer: bytes, then: Callable[[Any], object] = lose) -> None:
        self.server.heard = b""
        self.server.answer, self.server.then = answer, then

    def client(self, token: str = "") -> Client:
        return Client(self.url, token)

    async def save(self) -> None:
        await self.client().save("/api/v1/hosts/web1/export", {"format": "csv"}, self.written.append)

    async def problem(self, asked: Any) -> str:
        """What the `ClientError` says with which `asked` fails."""
        try:
            await asked
        except ClientError as problem:
            return str(problem)
        raise AssertionError("nothing went wrong")

    async def problems(self) -> list[str]:
        """The same for each way to ask."""
        return [
            await self.problem(self.client().get("/x", {})),
            await self.problem(self.client().delete("/x")),
            await self.problem(self.save()),
        ]


class AskedTests(AnsweringCase):
    async def test_get(self) -> None:
        """The answer is its JSON; parameters stand in the address, encoded."""
        self.answers(answer(b'{"series": [1]}'))
        found = await self.client().get("/api/v1/query", {"metric": "a;b=ü*", "from": "2026-01-31T12:00:00+01:00"})
        self.assertEqual(found, {"series": [1]})
        first, headers = self.server.request()
        self.assertRegex(first, r"^GET /api/v1/query\?metric=a(;|%3B)b(=|%3D)%C3%BC(\*|%2A)&from=2026")
        self.assertIn("12%3A00%3A00%2B01%3A00", first.replace(":", "%3A"))
        self.assertNotIn("authorization", headers)

    async def test_delete(self) -> None:
        """A DELETE is one, of the path as it is given."""
        self.answers(answer(b'{"removed": "w:1@x+y", "keys": 3}'))
        found = await self.client().delete("/api/v1/hosts/w%3A1%40x%2By")
        self.assertEqual(found, {"removed": "w:1@x+y", "keys": 3})
        self.assertEqual(self.server.request()[0], "DELETE /api/v1/hosts/w%3A1%40x%2By HTTP/1.1")

    async def test_token(self) -> None:
        """The token is sent with every question."""
        client = self.client("correct-horse")
        for asked, kind in (
            (client.get("/x", {}), b"application/json"),
            (client.delete("/x"), b"application/json"),
            (client.save("/x", {}, self.written.append), CSV),
        ):
            self.answers(answer(b"{}", kind=kind))
            self.server.heard = b""
            await asked
            self.assertEqual(self.server.request()[1]["authorization"], "Bearer correct-horse")


class SaveTests(AnsweringCase):
    async def test_whole(self) -> None:
        """The body is handed over as it is, however it is sent, and also if it is empty."""
        for sent, whole in (
            (answer(b"time,metric\n", kind=CSV), b"time,metric\n"),
            (CHUNKED + b"5\r\ntime,\r\n7\r\nmetric\n\r\n0\r\n\r\n", b"time,metric\n"),
            (CHUNKED + b"0\r\n\r\n", b""),
            (answer(b"", kind=CSV), b""),
        ):
            self.written.clear()
            self.answers(sent)
            await self.save()
            self.assertEqual(b"".join(self.written), whole)
        self.assertIn(b"GET /api/v1/hosts/web1/export?format=csv HTTP/1.1\r\n", self.server.heard)

    async def test_as_it_comes(self) -> None:
        """What has come is handed over while the rest is on its way, and not kept."""
        self.patch(treq.client, "_BufferedResponse", None)
        connections: list[Any] = []
        self.answers(CHUNKED + b"5\r\ntime,\r\n", connections.append)
        done: list[None] = []
        saved = Deferred.fromCoroutine(self.save()).addCallback(done.append)
        await until(lambda: self.written, "the first chunk")
        self.assertEqual((self.written, done), ([b"time,"], []))
        connections[0].write(b"7\r\nmetric\n\r\n0\r\n\r\n")
        connections[0].loseConnection()
        await saved
        self.assertEqual(self.written, [b"time,", b"metric\n"])

    async def test_broken_off(self) -> None:
        """A body that does not come to its end is told of as such, however it ends; what came is written."""
        for sent in (CHUNKED + b"5\r\ntime,\r\n", CHUNKED + b"9\r\ntime,", answer(b"time,", kind=CSV, size=9)):
            for then in (lose, abort):
                self.written.clear()
                connections: list[Any] = []
                self.answers(sent, connections.append)
                problem = Deferred.fromCoroutine(self.problem(self.save()))
                await until(lambda: self.written, "the first chunk")
                then(connections[0])
                self.assertEqual(await problem, "the collector broke off in the middle: what was written is not all")
                self.assertEqual(self.written, [b"time,"])

    async def test_broken_chunks(self) -> None:
        """So is one that is no body any more."""
        self.answers(CHUNKED + b"5\r\ntime,\r\nnot a chunk\r\n")
        self.assertIn("broke off in the middle", await self.problem(self.save()))

    async def test_not_written(self) -> None:
        """What cannot be written ends it with its own error."""

        def full(data: bytes) -> None:
            raise OSError("No space left on device")

        self.answers(answer(b"time,", kind=CSV))
        with self.assertRaises(OSError) as caught:
            await self.client().save("/x", {}, full)
        self.assertEqual(str(caught.exception), "No space left on device")


class RefusedTests(AnsweringCase):
    async def test_sentence(self) -> None:
        """What the collector refuses it says itself, whatever was asked; nothing is written."""
        for status, sentence in (
            (b"400 Bad Request", "format is one of csv, ndjson"),
            (b"404 Not Found", "no host 'web1'; GET /api/v1/hosts lists them"),
            (b"409 Conflict", "web1 is up: a host that sends would come back"),
            (b"503 Service Unavailable", "the store cannot be used: Größe"),
        ):
            self.answers(answer(b'{"error": "%s"}' % sentence.encode(), status))
            self.assertEqual(await self.problems(), [sentence] * 3)
        self.assertEqual(self.written, [])

    async def test_token(self) -> None:
        """A collector that asks for its token is told of as such."""
        self.answers(answer(b'{"error": "send the token: Authorization: Bearer TOKEN"}', b"401 Unauthorized"))
        self.assertEqual(await self.problems(), ["the collector asks for its token: give --token-file"] * 3)

    async def test_no_sentence(self) -> None:
        """Without a sentence the status is told."""
        self.answers(answer(b"{}", b"418 Teapot"))
        self.assertEqual(await self.problems(), ["the collector answered 418"] * 3)

    async def test_error_broken_off(self) -> None:
        """An error that is broken off in the middle is a `ClientError` too."""
        self.answers(answer(b'{"error', b"503 Service Unavailable", size=100))
        for problem in await self.problems():
            self.assertIn(self.url, problem)


class NoCollectorTests(AnsweringCase):
    def assert_another(self, problems: list[str], beginning: str) -> None:
        """All begin so, and end with what to do."""
        for problem in problems:
            self.assertTrue(problem.startswith(beginning), problem)
            self.assertTrue(problem.endswith("; name another with --url"), problem)

    async def test_nobody(self) -> None:
        """Where nobody listens, the address is named, and why it cannot be reached."""
        await maybeDeferred(self.port.stopListening)
        problems = await self.problems()
        self.assert_another(problems, f"no collector at {self.url}: Connection was refused")

    async def test_silent(self) -> None:
        """One that takes the question and does not answer in time is away or stuck."""
        from twisted.internet import reactor

        self.patch(client_module, "TIMEOUT", 0.05)
        self.answers(b"", lambda transport: None)
        begin = reactor.seconds()
        self.assert_another(await self.problems(), f"no collector at {self.url}: ")
        self.assertLess(reactor.seconds() - begin, 5.0)

    async def test_patience(self) -> None:
        """A question that takes long by its nature is waited for."""
        from twisted.internet import reactor

        self.patch(client_module, "TIMEOUT", 0.05)
        self.answers(b"", lambda transport: reactor.callLater(0.3, transport.write, answer(b'{"hosts":[]}')))
        self.assertEqual(await self.client().get("/x", {}, patience=30.0), {"hosts": []})

    async def test_closed(self) -> None:
        """So is one that closes the connection, before it answers or in the middle of an answer."""
        for then in (lose, abort):
            for sent in (b"", b"HTTP/1.1 200 OK\r\nContent-"):
                self.answers(sent, then)
                self.assert_another(await self.problems(), f"no collector at {self.url}: ")
            self.answers(answer(b'{"series', size=100), then)
            asked = [await self.problem(self.client().get("/x", {})), await self.problem(self.client().delete("/x"))]
            self.assert_another(asked, f"no collector at {self.url}: ")

    async def test_other_protocol(self) -> None:
        """So is a server of something else."""
        self.answers(b"SSH-2.0-OpenSSH_9.2\r\n", lambda transport: None)
        self.assert_another(await self.problems(), f"no collector at {self.url}: ")

    async def test_other_server(self) -> None:
        """A web server that is no collector is told from one by what it answers."""
        sentence = f"what answers at {self.url} is no perfmon collector"
        for status in (b"404 Not Found", b"500 Oops", b"403 Forbidden"):
            self.answers(answer(b"<html>", status, b"text/html"))
            self.assert_another(await self.problems(), sentence)
        self.answers(answer(b"<html>", kind=b"text/html"))
        asked = [await self.problem(self.client().get("/x", {})), await self.problem(self.client().delete("/x"))]
        self.assert_another(asked, sentence)

    async def test_other_json(self) -> None:
        """A server that answers with other JSON is no collector."""
        for body in (b"[]", b'"no"', b"404", b"null"):
            self.answers(answer(body, b"404 Not Found"))
            for problem in await self.problems():
                self.assertIn("is no perfmon collector", problem)

    async def test_other_page(self) -> None:
        """The page of another web server is not written as if it were an export."""
        self.answers(answer(b"<html>", kind=b"text/html"))
        self.assertIn("is no perfmon collector", await self.problem(self.save()))
        self.assertEqual(self.written, [])

    async def test_bad_url(self) -> None:
        """An address that is none is a `ClientError` that names it."""
        for self.url in ("127.0.0.1:9001", "localhost", "http://127.0.0.1:x", "ftp://localhost", ""):
            for problem in await self.problems():
                self.assertIn("--url", problem)
