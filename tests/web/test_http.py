"""Tests for `perfmon.web.http`, on the real site."""

import gzip
from functools import partial
from http import HTTPStatus

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import capturedLogs

from perfmon.web.api import JsonApi
from perfmon.web.http import MAX_BODY, MAX_DROPPED, PACKED, Call, Content, Route
from perfmon.web.site import IDLE_TIMEOUT
from tests.web.fakes import NOW, TOKEN, Away, SiteTestCase, StandIn, described


class RouteTests(SiteTestCase):
    def test_match(self) -> None:
        """A route takes its own path only, and names the parts of it."""

        async def handler(call: Call) -> Content:
            return Content(b"", "")

        route = Route("GET", "/a/{one}/b/{two}", handler)
        self.assertEqual(route.match(["a", "x", "b", "y"]), {"one": "x", "two": "y"})
        for segments in ([""], ["a", "x", "b"], ["a", "x", "c", "y"], ["a", "x", "b", "y", "z"]):
            self.assertIsNone(route.match(segments))


class PathTests(SiteTestCase):
    def test_unknown(self) -> None:
        """A path that is none is a 404, and the answer is JSON, too."""
        for path in ("/nowhere", "/api", "/api/v1", "/api/v1/hosts/web1/more", "/status/x", "/index.html"):
            answer = self.ask(path)
            self.assertEqual(answer.status, HTTPStatus.NOT_FOUND, path)
            self.assertEqual(answer.headers["content-type"], "application/json")
            self.assertIn("no such path", answer.error)

    def test_bytes(self) -> None:
        """Whatever a path is made of, it is answered; a byte that is not ASCII is no path for Twisted already."""
        for target in (b"/%ff%fe", b"/%zz", b"/%", b"/%00", b"//", b"/../etc", b"/api/v1/hosts/%e9", b"nothing"):
            self.assertEqual(self.ask_raw(target).status, HTTPStatus.NOT_FOUND, target)
        for target in (b"/\xff\xfe", "/api/v1/hosts/wéb".encode()):
            self.assertEqual(self.ask_raw(target).status, HTTPStatus.BAD_REQUEST, target)

    def test_slash_at_the_end(self) -> None:
        """A slash at the end makes no other path."""
        self.assertEqual(self.ask("/healthz/").status, HTTPStatus.OK)

    def test_method(self) -> None:
        """Every route answers another method with 405 and those that it takes."""
        for route in JsonApi(StandIn(), lambda: NOW).routes():
            several = {
                "/api/v1/hosts/{host}": "DELETE, GET, HEAD",
                "/api/v1/hosts/{host}/absence": "DELETE, POST",
                "/api/v1/samples": "POST",
                "/api/v1/benchmarks": "GET, HEAD, POST",
                "/api/v1/benchmarks/{id}": "DELETE, GET, HEAD",
            }
            orders = route.path.endswith(("/stop", "/start", "/interval", "}/rightsizing"))
            allowed = "POST" if orders else several.get(route.path, "GET, HEAD")
            others = {"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"} - set(allowed.split(", "))
            for method in others:
                answer = self.ask(route.path.replace("{host}", "web1"), method)
                self.assertEqual(answer.status, HTTPStatus.METHOD_NOT_ALLOWED, (route.path, method))
                self.assertEqual(answer.headers["allow"], allowed)
        self.assertEqual(self.backend.asked, [])

    def test_no_http(self) -> None:
        """What is no request is refused, and the connection closed."""
        for line in (b"\xff /healthz HTTP/1.1", b"GET", b"GET /healthz FTP/1", b"web1.cpu.load 42 1792310400"):
            wire = self.wire()
            (answer,) = wire.send(line + b"\r\n\r\n")
            self.assertEqual(answer.status, HTTPStatus.BAD_REQUEST, line)
            self.assertTrue(wire.closed)


class ParameterTests(SiteTestCase):
    def test_unknown(self) -> None:
        """A parameter that a path does not take is named, with those that it takes."""
        self.assertEqual(
            self.ask("/api/v1/hosts?hots=web1").error, "unknown parameter 'hots': this path takes host, metric"
        )
        self.assertEqual(self.ask("/status?x=1").error, "unknown parameter 'x': it takes none")
        self.assertEqual(self.ask("/status?x").status, HTTPStatus.BAD_REQUEST)

    def test_unknown_everywhere(self) -> None:
        """No route lets an unknown parameter pass."""
        for route in JsonApi(StandIn(), lambda: NOW).routes():
            answer = self.ask(route.path.replace("{host}", "web1") + "?bogus=1", route.method)
            self.assertEqual(answer.status, HTTPStatus.BAD_REQUEST, route.path)
        self.assertEqual(self.backend.asked, [])

    def test_twice(self) -> None:
        """A parameter given twice is refused, not half of it taken."""
        answer = self.ask("/api/v1/hosts?host=web1&host=web2")
        self.assertEqual(answer.status, HTTPStatus.BAD_REQUEST)
        self.assertEqual(answer.error, "parameter host was given twice")

    def test_malformed(self) -> None:
        """A query string that cannot be decoded is refused."""
        for query in (b"host=%ff", b"host=%e9", b"host=%ed%a0%80", b"host=%", b"host=%2", b"host=%zz"):
            answer = self.ask_raw(b"/api/v1/hosts?" + query)
            self.assertEqual(answer.status, HTTPStatus.BAD_REQUEST, query)
            self.assertIn("malformed", answer.error)
        too_many = b"&".join(b"host=%d" % number for number in range(33))
        self.assertEqual(self.ask_raw(b"/api/v1/hosts?" + too_many).status, HTTPStatus.BAD_REQUEST)
        self.assertEqual(self.backend.asked, [])

    @given(
        st.sampled_from(["", "hosts", "query", "events", "samples"])
        | st.sampled_from(["", "/summary", "/stats", "/export"]).map("hosts/web1{}".format),
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["host", "metric", "from", "until", "step", "agg", "format", "since", "limit", "%", ""]
                ),
                st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20),
            ),
            max_size=4,
        ),
    )
    def test_anything(self, path: str, parameters: list[tuple[str, str]]) -> None:
        """Whatever stands in a query string, the answer is 200 or 400 (404, 405 by the path), never a failure."""
        self.backend.answers |= {"hosts": [{"host": "web1"}], "export": [b"x"]}
        query = "&".join("=".join(pair) for pair in parameters)
        answer = self.ask_raw(f"/api/v1/{path}?{query}".encode())
        self.assertIn(answer.status, (200, 400, 404, 405))

    def test_decoded(self) -> None:
        """Names and values are decoded as forms are; a semicolon belongs to the value."""
        self.ask_raw(b"/api/v1/hosts?%68ost=w%C3%A9b+1&metric=a;b%3Dc%26d")
        self.ask_raw(b"/api/v1/hosts?")
        self.assertEqual(self.backend.asked, [("hosts", "wéb 1", "a;b=c&d"), ("hosts", "*", "*")])


class NameTests(SiteTestCase):
    """Without a token, against pages whose own name resolves to this machine (DNS rebinding)."""

    def _status(self, host: bytes, path: bytes = b"/status") -> int:
        (answer,) = self.wire().send(b"GET %s HTTP/1.1\r\nHost: %s\r\n\r\n" % (path, host))
        return answer.status

    def test_addresses(self) -> None:
        """It answers as localhost and by its address, with and without a port."""
        for host in (b"localhost", b"LocalHost:9001", b"127.0.0.1", b"127.0.0.1:9001", b"[::1]:9001", b"10.0.0.7"):
            self.assertEqual(self._status(host), 200, host)

    def test_names(self) -> None:
        """By any other name nothing is asked of the collector; the page and the probes of life are for everyone."""
        for host in (b"evil.example", b"localhost.evil.example", b"127.0.0.1.evil.example:9001", b""):
            self.assertEqual(self._status(host), 403, host)
        self.assertEqual(self.backend.asked, [])
        self.assertEqual(self._status(b"evil.example", b"/healthz"), 200)


class TokenTests(SiteTestCase):
    token = TOKEN

    def _status(self, path: str, method: str = "GET", authorization: str | None = None) -> int:
        headers = {} if authorization is None else {"Authorization": authorization}
        return self.ask(path, method, headers, b"").status

    def test_needed(self) -> None:
        """Without the token nothing is answered, asked or told, but that a token is needed."""
        for route in JsonApi(StandIn(), lambda: NOW).routes():
            path = route.path.replace("{host}", "web1")
            for wrong in (None, "", TOKEN, "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}"):
                status = self._status(path, route.method, wrong)
                self.assertEqual(status == HTTPStatus.UNAUTHORIZED, not route.open, (path, wrong))
        self.assertEqual(self.backend.asked, [])

    def test_how_to(self) -> None:
        """The refusal says how the token is sent, before it looks at anything else."""
        answer = self.ask("/api/v1/hosts?bogus=1")
        self.assertEqual(answer.status, HTTPStatus.UNAUTHORIZED)
        self.assertEqual(answer.headers["www-authenticate"], "Bearer")
        self.assertEqual(answer.error, "send the token: Authorization: Bearer TOKEN")

    def test_accepted(self) -> None:
        """With the token every route is answered."""
        self.backend.answers["hosts"] = [described("web1")]
        for route in JsonApi(StandIn(), lambda: NOW).routes():
            path = route.path.replace("{host}", "web1")
            self.assertNotEqual(self._status(path, route.method, f"Bearer {TOKEN}"), HTTPStatus.UNAUTHORIZED, path)

    def test_open(self) -> None:
        """The probes of life answer without the token; they tell nothing of the fleet."""
        self.assertEqual(self.ask("/healthz").json, {"status": "ok"})
        self.assertEqual(self.ask("/readyz").json, {"status": "ready"})

    def test_bytes(self) -> None:
        """A token of other bytes is only wrong."""
        answer = self.ask_raw(b"/status", b"Authorization: Bearer \xff\xfe")
        self.assertEqual(answer.status, HTTPStatus.UNAUTHORIZED)


class AnyTokenTests(SiteTestCase):
    token = "pässwörter sind lang €"

    def test_not_ascii(self) -> None:
        """A token may have any characters; it is sent in UTF-8."""
        sent = b"Authorization: Bearer " + self.token.encode()
        self.assertEqual(self.ask_raw(b"/status", sent).status, HTTPStatus.OK)


class BodyTests(SiteTestCase):
    def _head(self, *headers: bytes) -> bytes:
        lines = (b"POST /api/v1/samples HTTP/1.1", b"Host: localhost", b"Content-Type: application/json", *headers)
        return b"\r\n".join((*lines, b"", b""))

    def _sized(self, size: int) -> bytes:
        return self._head(b"Content-Length: %d" % size)

    def _chunked(self, *chunks: bytes) -> bytes:
        return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)

    def test_longest(self) -> None:
        """A body of exactly the limit is taken, whichever way it is sent."""
        body = b" " * MAX_BODY
        self.assertEqual(self.post(body).status, HTTPStatus.OK)
        (answer,) = self.wire().send(self._head(b"Transfer-Encoding: chunked") + self._chunked(body[1:], b" ", b""))
        self.assertEqual(answer.status, HTTPStatus.OK)
        self.assertEqual(self.backend.asked, [("post", body)] * 2)

    def test_too_long(self) -> None:
        """One byte more is refused, in words, and never looked at."""
        answer = self.post(b" " * (MAX_BODY + 1))
        self.assertEqual(answer.status, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self.assertEqual(answer.error, f"a body has at most {MAX_BODY} bytes: send several smaller ones")
        self.assertEqual(self.backend.asked, [])

    def test_answered_once(self) -> None:
        """However it arrives, a body that is too long gets one answer, and then the connection is closed."""
        half = b" " * (MAX_BODY // 2 + 1)
        chunked = self._head(b"Transfer-Encoding: chunked")
        for reads in (
            [self._sized(2 * len(half)) + half + half],
            [self._sized(2 * len(half)), half, half],
            [chunked + self._chunked(half, half, half, b"")],
            [chunked, self._chunked(half, half), self._chunked(half), self._chunked(b"")],
            [chunked + self._chunked(*[b" " * 1000] * 3000, b"")],
        ):
            wire = self.wire()
            for read in reads:
                wire.send(read)
            (answer,) = wire.answers()
            self.assertEqual(answer.status, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
            self.assertEqual(answer.headers["connection"], "close")
            self.assertTrue(wire.closed)
        self.assertEqual(self.backend.asked, [])

    def test_answered_early(self) -> None:
        """The refusal does not wait for the end of the body, but the end is waited for: then the client reads it."""
        wire = self.wire()
        (answer,) = wire.send(self._sized(MAX_BODY * 3) + b" " * (MAX_BODY * 2))
        self.assertEqual(answer.status, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        self.assertFalse(wire.closed)
        wire.send(b" " * MAX_BODY)
        self.assertTrue(wire.closed)

    def test_endless(self) -> None:
        """A body that does not end is not read for ever."""
        wire = self.wire()
        wire.send(self._sized(1 << 40))
        piece = b" " * MAX_BODY
        for _ in range(MAX_DROPPED // MAX_BODY):
            wire.send(piece)
        self.assertFalse(wire.closed)
        wire.send(b" ")
        self.assertTrue(wire.closed)


class AnswerTests(SiteTestCase):
    def test_headers(self) -> None:
        """Answers, errors too, are JSON of a known length that is kept by nobody."""
        self.backend.answers["query"] = ZeroDivisionError("a bug")
        for path in (b"/healthz", b"/nowhere", b"/api/v1/query?metric=x"):
            answer = self.ask_raw(path)
            self.assertEqual(answer.headers["content-type"], "application/json")
            self.assertEqual(answer.headers["content-length"], str(len(answer.body)))
            self.assertEqual(answer.headers["cache-control"], "no-store")
            self.assertEqual(answer.headers["x-content-type-options"], "nosniff")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_head(self) -> None:
        """HEAD is answered as GET: with its status and its Content-Length, but not one byte of the body."""
        self.backend.answers["report"] = ZeroDivisionError("a bug")
        for target in (b"/healthz", b"/nowhere", b"/status", b"/"):
            got = self.ask_raw(target)
            wire = self.wire()
            head = wire.send_for_head(b"HEAD %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
            for answer in (got, head):
                del answer.headers["date"]
            self.assertEqual((head.status, head.headers, head.body), (got.status, got.headers, b""))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_packed(self) -> None:
        """Who takes gzip gets answers of some size packed; short ones, and those that would take long, as they are."""
        for size, packs in ((100, False), (PACKED[0], True), (PACKED[-1] - 100, True), (PACKED[-1] + 1, False)):
            self.backend.answers["report"] = {"text": "x" * size}
            plain = self.ask_raw(b"/status")
            answer = self.ask_raw(b"/status", b"Accept-Encoding: gzip, br")
            self.assertEqual(answer.headers.get("content-encoding"), "gzip" if packs else None, size)
            self.assertEqual(gzip.decompress(answer.body) if packs else answer.body, plain.body)
            self.assertEqual(answer.headers["content-length"], str(len(answer.body)))
            self.assertNotIn("content-encoding", plain.headers)

    def test_many_on_one_connection(self) -> None:
        """A connection takes one request after another, also when they are sent at once."""
        wire = self.wire()
        request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
        self.assertEqual([answer.status for answer in wire.send(request * 3)], [HTTPStatus.OK] * 3)
        self.assertEqual(len(wire.send(request)), 4)
        self.assertFalse(wire.closed)

    def test_idle(self) -> None:
        """A connection on which nothing happens is closed, also in the middle of a request."""
        for beginning in (b"", b"GET /hea", b"POST /api/v1/samples HTTP/1.1\r\nContent-Length: 9\r\n\r\n1"):
            wire = self.wire()
            wire.send(beginning)
            self.clock.advance(IDLE_TIMEOUT - 1)
            self.assertFalse(wire.closed)
            self.clock.advance(1)
            self.assertTrue(wire.closed)

    def test_slow_answer(self) -> None:
        """A client that waits for a slow answer is not idle."""
        answer = self.backend.answers["report"] = Deferred()
        wire = self.wire()
        wire.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.clock.advance(IDLE_TIMEOUT + 1)
        answer.callback({"late": True})
        self.assertEqual([one.json for one in wire.answers()], [{"late": True}])

    def test_no_access_log(self) -> None:
        """What went well is not logged: an open page alone would fill the log."""
        with capturedLogs() as events:
            self.ask("/healthz")
            self.ask("/nowhere")
            self.ask("/")
        self.assertEqual(events, [])


class FailureTests(SiteTestCase):
    def test_bug(self) -> None:
        """A bug is a 500: the log has the traceback, the client has nothing of it."""
        self.backend.answers["report"] = ZeroDivisionError("a secret")
        answer = self.ask("/status")
        self.assertEqual(answer.status, HTTPStatus.INTERNAL_SERVER_ERROR)
        self.assertEqual(answer.error, "internal error; it is in the collector's log")
        (logged,) = self.flushLoggedErrors(ZeroDivisionError)
        self.assertEqual(logged.getErrorMessage(), "a secret")

    def test_unspeakable(self) -> None:
        """An answer that JSON cannot hold is a bug like others."""
        self.backend.answers["report"] = {"x": object()}
        self.assertEqual(self.ask("/status").status, HTTPStatus.INTERNAL_SERVER_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_cancelled_inside(self) -> None:
        """Work that the collector itself gave up leaves no client without an answer."""
        self.backend.answers["report"] = CancelledError()
        self.assertEqual(self.ask("/status").status, HTTPStatus.INTERNAL_SERVER_ERROR)
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)

    def test_client_goes(self) -> None:
        """Who goes before the answer is there has the question cancelled, and nothing is logged."""
        cancelled: list[Deferred[object]] = []
        self.backend.answers["report"] = Deferred(cancelled.append)
        wire = self.wire()
        self.assertEqual(wire.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"), [])
        with capturedLogs() as events:
            wire.lose()
        self.assertEqual(cancelled, [self.backend.answers["report"]])
        self.assertEqual(events, [])
        self.assertEqual(wire.answers(), [])

    def test_client_goes_otherwise(self) -> None:
        """Whatever cancelling makes of the question, nothing is sent to a client that has gone."""
        for outcome, logged in (
            ({}, []),
            (Away("closing"), []),
            (ZeroDivisionError("a bug"), [ZeroDivisionError]),
        ):
            self.backend.answers["report"] = Deferred(partial(_settle, outcome))
            wire = self.wire()
            wire.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wire.lose()
            self.assertEqual(wire.answers(), [])
            self.assertEqual([failure.type for failure in self.flushLoggedErrors()], logged)

    def test_client_goes_while_sending(self) -> None:
        """Who goes in the middle of the body has asked nothing."""
        wire = self.wire()
        wire.send(b"POST /api/v1/samples HTTP/1.1\r\nContent-Length: 10\r\n\r\n12345")
        with capturedLogs() as events:
            wire.lose()
        self.assertEqual((self.backend.asked, events), ([], []))


def _settle(outcome: object, waiting: Deferred[object]) -> None:
    if isinstance(outcome, Exception):
        waiting.errback(outcome)
    else:
        waiting.callback(outcome)
