"""Tests for `perfmon.web.streaming`, as answers of a real site."""

from collections.abc import AsyncIterator
from functools import partial
from http import HTTPStatus

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.web.server import Site

from perfmon.web.http import Api, Call, Content, LimitedRequest, Route, Streamed, bad_request
from tests.web import fakes
from tests.web.fakes import SiteTestCase, Wire

ROOM = 100  # bytes
END = b"0\r\n\r\n"


class Source:
    """Chunks, and what became of them; an exception among them is raised, a Deferred waited for."""

    def __init__(self, *chunks: bytes | Exception | Deferred[bytes]) -> None:
        self._chunks = chunks
        self.asked = 0
        self.closed = False

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            for chunk in self._chunks:
                self.asked += 1
                if isinstance(chunk, Exception):
                    raise chunk
                yield await chunk if isinstance(chunk, Deferred) else chunk
        finally:
            self.closed = True


class NarrowTransport(StringTransport):
    """A transport with room for `ROOM` bytes. Full, it pauses its producer, and says so once, as that of TLS does."""

    _held = 0
    _full = False

    def write(self, data: bytes) -> None:
        super().write(data)
        self._held += len(data)
        if self._held > ROOM and not self._full:
            self._full = True
            IPushProducer(self.producer).pauseProducing()

    def writeSequence(self, data: list[bytes]) -> None:
        self.write(b"".join(data))

    def drain(self) -> None:
        self._held = 0
        if self._full:
            self._full = False
            IPushProducer(self.producer).resumeProducing()


class StreamWire(Wire):
    """A connection on which an answer need not be whole."""

    def ask(self, *paths: str) -> None:
        """Asks for `paths` at once."""
        requests = [f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n" for path in paths]
        self._protocol.dataReceived("".join(requests).encode())

    @property
    def sent(self) -> bytes:
        sent: bytes = self.transport.value()
        return sent

    @property
    def aborted(self) -> bool:
        return self.transport.disconnected

    def drain(self) -> None:
        """The client reads everything."""
        assert isinstance(self.transport, NarrowTransport)
        self.transport.drain()


class StreamTestCase(SiteTestCase):
    """A test of a site that streams what `answer` says."""

    def setUp(self) -> None:
        super().setUp()
        routes = [Route("GET", "/stream", self._stream), Route("GET", "/large", self._large)]
        self.site = Site(Api(routes, ""), requestFactory=LimitedRequest, reactor=self.clock)

    async def _stream(self, call: Call) -> Streamed:
        return self.answer

    async def _large(self, call: Call) -> Content:
        return Content(b"x" * ROOM, "text/plain")

    def source(self, *chunks: bytes | Exception | Deferred[bytes]) -> Source:
        """What is streamed from now on."""
        source = Source(*chunks)
        self.answer = Streamed(source.chunks(), "text/csv")
        return source

    def begin(self, *paths: str) -> StreamWire:
        """A connection on which `paths` were asked for, by default the stream."""
        wire = StreamWire(self.site)
        self._wires.append(wire)
        wire.ask(*paths or ["/stream"])
        return wire


class BodyTests(StreamTestCase):
    def test_whole(self) -> None:
        """All chunks arrive in their order, under headers like those of other answers, but without a length."""
        source = self.source(b"a,b\n", b"1,2\n", b"3,4\n")
        answer = self.ask("/stream")
        self.assertEqual((answer.status, answer.body), (HTTPStatus.OK, b"a,b\n1,2\n3,4\n"))
        self.assertEqual(answer.headers["content-type"], "text/csv")
        self.assertEqual(answer.headers["cache-control"], "no-store")
        self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertNotIn("content-length", answer.headers)
        self.assertNotIn("content-disposition", answer.headers)
        self.assertTrue(source.closed)

    def test_filename(self) -> None:
        """With a file's name, the answer is a download."""
        self.answer = Streamed(Source(b"x").chunks(), "text/csv", "web1.example_2026-10-18.csv")
        disposition = self.ask("/stream").headers["content-disposition"]
        self.assertEqual(disposition, 'attachment; filename="web1.example_2026-10-18.csv"')

    @given(st.lists(st.binary(max_size=5), max_size=5))
    def test_any(self, chunks: list[bytes]) -> None:
        """However the body is cut, of no chunks and of empty ones too, it arrives as a whole."""
        self.source(*chunks)
        answer = self.ask("/stream")
        self.assertEqual((answer.status, answer.body), (HTTPStatus.OK, b"".join(chunks)))

    def test_slow_chunks(self) -> None:
        """What is there already is sent while the next chunk is made."""
        late: Deferred[bytes] = Deferred()
        self.source(b"early", late)
        wire = self.begin()
        self.assertTrue(wire.sent.endswith(b"5\r\nearly\r\n"))
        late.callback(b"late")
        self.assertTrue(wire.sent.endswith(b"5\r\nearly\r\n4\r\nlate\r\n" + END))

    def test_next_request(self) -> None:
        """The connection takes the next request then."""
        self.source(b"x")
        wire = self.begin("/stream", "/large")
        self.assertTrue(wire.sent.endswith(b"x" * ROOM))
        self.assertFalse(wire.closed)

    def test_old_client(self) -> None:
        """A client of HTTP/1.0 gets the bare bytes, and their end is that of the connection."""
        self.source(b"a", b"b")
        wire = self.wire()
        answer = wire.send_for_head(b"GET /stream HTTP/1.0\r\nHost: localhost\r\n\r\n")
        self.assertEqual(answer.body, b"ab")
        self.assertTrue(wire.closed)

    def test_plain_iterator(self) -> None:
        """Chunks may come of any asynchronous iterator, also of one that cannot be closed."""

        class Countdown:
            left = 3

            def __aiter__(self) -> AsyncIterator[bytes]:
                return self

            async def __anext__(self) -> bytes:
                if not self.left:
                    raise StopAsyncIteration
                self.left -= 1
                return b"%d" % self.left

        self.answer = Streamed(Countdown(), "text/plain")
        self.assertEqual(self.ask("/stream").body, b"210")

    def test_head(self) -> None:
        """HEAD has the headers of GET; the first chunk is made, for the status, and no other."""
        answers = []
        for method, asked in ((b"GET", 2), (b"HEAD", 1)):
            source = self.source(b"x", b"y")
            wire = self.wire()
            answers.append(wire.send_for_head(method + b" /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"))
            self.assertEqual((source.asked, source.closed, wire.closed), (asked, True, False))
        got, head = answers
        self.assertEqual(got.headers.pop("transfer-encoding"), "chunked")
        del got.headers["date"], head.headers["date"]
        self.assertEqual((head.status, head.headers, head.body), (HTTPStatus.OK, got.headers, b""))


class LiveTests(SiteTestCase):
    def test_packed(self) -> None:
        """The page's stream is packed for who takes gzip, and says so."""
        self.backend.answers["live"] = [b"event: status\ndata: {}\n\n"]
        for header, pack, encoding in ((b"X: y", False, None), (b"Accept-Encoding: gzip", True, "gzip")):
            answer = self.ask_raw(b"/api/v1/live", header)
            self.assertEqual(self.backend.asked.pop(), ("live", pack))
            self.assertEqual(answer.headers.get("content-encoding"), encoding)
            self.assertEqual(answer.headers["content-type"], "text/event-stream")


class SlowClientTests(StreamTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.patch(fakes, "StringTransport", NarrowTransport)

    def test_held_back(self) -> None:
        """No chunk is made while the transport is full; each time that it drains, as many as fill it again."""
        chunk = b"x" * (ROOM // 2)
        source = self.source(*[chunk] * 7)
        wire = self.begin()  # the headers alone fill it
        asked = [source.asked]
        while not source.closed:
            wire.drain()
            asked.append(source.asked)
        self.assertEqual(asked, [1, 3, 5, 7, 7])
        self.assertEqual(wire.sent.count(chunk), 7)
        self.assertTrue(wire.sent.endswith(END))

    def test_full_before(self) -> None:
        """An answer before it that was not read holds the chunks back, too."""
        source = self.source(b"x", b"y", b"z")
        wire = self.begin("/large", "/stream")
        self.assertEqual(source.asked, 1)
        wire.drain()
        self.assertTrue(wire.sent.endswith(END))

    def test_wanted_again(self) -> None:
        """A transport that wants more while the next chunk is made gets that one, once."""
        late: Deferred[bytes] = Deferred()
        source = self.source(b"x", late, b"z")
        wire = self.begin()
        wire.drain()
        IPushProducer(wire.transport.producer).resumeProducing()
        self.assertEqual(source.asked, 2)
        late.callback(b"y")
        self.assertTrue(wire.sent.endswith(b"1\r\ny\r\n1\r\nz\r\n" + END))

    def test_client_goes(self) -> None:
        """Who goes instead of reading on ends it: the chunks are closed, and nothing is logged."""
        source = self.source(*[b"x" * ROOM] * 7)
        wire = self.begin()
        with capturedLogs() as events:
            wire.lose()
        self.assertEqual((source.asked, source.closed, events), (1, True, []))


class ClientGoesTests(StreamTestCase):
    def test_waiting(self) -> None:
        """Work on a chunk, the first or another, is cancelled where the client goes, and nothing is logged."""
        for before in ([], [b"x"]):
            cancelled: list[Deferred[bytes]] = []
            late: Deferred[bytes] = Deferred(cancelled.append)
            source = self.source(*before, late, b"never")
            wire = self.begin()
            sent = wire.sent
            with capturedLogs() as events:
                wire.lose()
            self.assertEqual(cancelled, [late])
            self.assertEqual((source.asked, source.closed), (len(before) + 1, True))
            self.assertEqual((wire.sent, events), (sent, []))

    def test_stubborn(self) -> None:
        """Work that cannot be cancelled is the last of it: its chunk is not sent, and no other made."""
        for before in ([], [b"x"]):
            late: Deferred[bytes] = Deferred(lambda late: late.callback(b"anyway"))
            source = self.source(*before, late, b"never")
            wire = self.begin()
            sent = wire.sent
            with capturedLogs() as events:
                wire.lose()
            self.assertEqual((source.asked, source.closed), (len(before) + 1, True))
            self.assertEqual((wire.sent, events), (sent, []))

    def test_otherwise(self) -> None:
        """Of what cancelling makes of the work, only a bug is logged."""
        for before in ([], [b"x"]):
            for outcome, logged in ((bad_request("gone"), []), (ZeroDivisionError("a bug"), [ZeroDivisionError])):
                self.source(*before, Deferred(partial(_fail, outcome)))
                wire = self.begin()
                sent = wire.sent
                wire.lose()
                self.assertEqual(wire.sent, sent)
                self.assertEqual([failure.type for failure in self.flushLoggedErrors()], logged)


class FailureTests(StreamTestCase):
    def test_before(self) -> None:
        """What goes wrong before the first chunk is answered as everywhere: as its status, or a 500 if it is a bug."""
        for problem, status, logged in (
            (bad_request("too much"), HTTPStatus.BAD_REQUEST, []),
            (ZeroDivisionError("a bug"), HTTPStatus.INTERNAL_SERVER_ERROR, [ZeroDivisionError]),
            (CancelledError(), HTTPStatus.INTERNAL_SERVER_ERROR, [CancelledError]),
        ):
            for method in ("GET", "HEAD"):
                source = Source(problem)
                self.answer = Streamed(source.chunks(), "text/csv", "x.csv")
                answer = self.ask("/stream", method)
                self.assertEqual(answer.status, status)
                self.assertEqual(answer.headers["content-type"], "application/json")
                self.assertNotIn("content-disposition", answer.headers)
                self.assertTrue(source.closed)
                self.assertEqual([failure.type for failure in self.flushLoggedErrors()], logged)

    def test_after(self) -> None:
        """What goes wrong later, whatever it is, is logged and breaks the connection off before the body's end."""
        for problem in (bad_request("too much"), ZeroDivisionError("a bug"), CancelledError()):
            source = self.source(b"x", problem, b"never")
            wire = self.begin()
            self.assertTrue(wire.sent.endswith(b"\r\n\r\n1\r\nx\r\n"))
            self.assertTrue(wire.aborted)
            self.assertTrue(source.closed)
            wire.lose()
            self.assertEqual([failure.type for failure in self.flushLoggedErrors()], [type(problem)])

    def test_closing(self) -> None:
        """The body has no end before the chunks are closed, for that may go wrong, too."""

        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield b"x"
            finally:
                await closing

        closing: Deferred[None] = Deferred()
        self.answer = Streamed(chunks(), "text/csv")
        wire = self.begin()
        closing.errback(ZeroDivisionError("a bug"))
        self.assertTrue(wire.sent.endswith(b"\r\n\r\n1\r\nx\r\n"))
        self.assertTrue(wire.aborted)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


def _fail(problem: Exception, waiting: Deferred[bytes]) -> None:
    waiting.errback(problem)
