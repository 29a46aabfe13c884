"""HTTP on plain twisted.web: a table of routes, JSON answers, and errors as ``{"error": "..."}``.

Why no framework: see docs/explanation/architecture.md.
"""

import gzip
import hmac
import re
from base64 import b64decode
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs, unquote

import orjson
from twisted.internet.defer import CancelledError, ensureDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request

from perfmon.web.page import POLICY, takes_gzip
from perfmon.web.streaming import Stream

# Ten thousand samples as JSON; whoever has more sends them in several requests, or by port 9000.
MAX_BODY = 1 << 20  # bytes

# So much of a longer body is still read, and dropped: most clients look for an answer only when they have sent
# everything, and one that is cut off before sees a broken connection instead.
MAX_DROPPED = 64 << 20  # bytes

# Sizes (bytes) of answers that are packed for who takes that. Below it is not worth the while; a longer one would hold
# up all else for over ten milliseconds.
PACKED = range(4_096, 1 << 20)
_LEVEL = 1

_BAD_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")


HTML = "text/html; charset=utf-8"


class HttpError(Exception):
    """An answer that is not the one hoped for."""

    def __init__(self, status: HTTPStatus, message: str, challenge: str = "") -> None:
        """`challenge` says how to send what is missing, for UNAUTHORIZED."""
        super().__init__(message)
        self.status = status
        self.challenge = challenge


def bad_request(message: str) -> HttpError:
    return HttpError(HTTPStatus.BAD_REQUEST, message)


@dataclass(frozen=True, slots=True)
class Call:
    """One request as a handler sees it."""

    path: Mapping[str, str]  # the named parts of the path
    parameters: Mapping[str, str]
    body: bytes = b""
    content_type: str = ""
    takes_gzip: bool = False  # the answer may be packed


@dataclass(frozen=True, slots=True)
class Content:
    """An answer that is not JSON."""

    body: bytes
    type: str


@dataclass(frozen=True, slots=True)
class Streamed:
    """An answer that is made while it is sent, no faster than the client takes it.

    An `HttpError` before the first chunk is answered as such; later, no error can be, and it breaks the connection
    off. `chunks` are closed in any case, and cancelled where the client goes. A `filename` makes it a download; the
    caller guarantees that it has characters of host names only, ``[A-Za-z0-9._:@+-]``: it is sent as it is.
    """

    chunks: AsyncIterator[bytes]
    type: str
    filename: str = ""
    encoding: str = ""  # that the chunks have


Handler = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """One line of the API. A ``{name}`` in the path stands for one segment."""

    method: str
    path: str
    handler: Handler
    parameters: frozenset[str] = field(default=frozenset())
    open: bool = False  # answered without a token
    asks: bool = False  # a browser itself asks for the token, as for a password

    def match(self, segments: list[str]) -> dict[str, str] | None:
        """The named parts, None where the path is another."""
        own = self.path.strip("/").split("/")
        if len(own) != len(segments):
            return None
        found = {}
        for rule, segment in zip(own, segments, strict=True):
            if rule.startswith("{"):
                found[rule[1:-1]] = segment
            elif rule != segment:
                return None
        return found


class LimitedRequest(Request):
    """A request whose body may have `MAX_BODY` bytes; a longer one is turned away while it arrives."""

    _taken = 0
    _refused = False

    def handleContentChunk(self, data: bytes) -> None:
        self._taken += len(data)
        if self._taken <= MAX_BODY:
            HttpRequest.handleContentChunk(self, data)
        elif not self._refused:
            self._refused = True
            body = orjson.dumps({"error": f"a body has at most {MAX_BODY} bytes: send several smaller ones"})
            self.channel.write(
                b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Type: application/json\r\n"
                b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
            )
        elif self._taken > MAX_DROPPED:
            self.channel.loseConnection()

    def process(self) -> None:
        if self._refused:
            self.channel.loseConnection()
        else:
            super().process()


class Api(Resource):
    """Answers from a table of routes."""

    isLeaf = True
    _log = Logger()

    def __init__(self, routes: list[Route], token: str) -> None:
        """`token` must be sent as ``Authorization: Bearer TOKEN``; where it is empty, none is asked for."""
        super().__init__()
        self._routes = routes
        self._expected = b"Bearer " + token.encode() if token else b""

    def render(self, request: Request) -> int:
        pending = ensureDeferred(self._answer(request))
        request.notifyFinish().addErrback(lambda _: pending.cancel())
        pending.addErrback(self._failed, request)
        return NOT_DONE_YET

    async def _answer(self, request: Request) -> None:
        try:
            answer = await self._find(request)
            if isinstance(answer, Streamed):
                describe = partial(_describe, request, answer.type, answer.filename, answer.encoding)
                await Stream(request, answer.chunks, describe).send()
                return
        except HttpError as problem:
            request.setResponseCode(problem.status)
            if problem.challenge:
                request.setHeader("WWW-Authenticate", problem.challenge)
            answer = {"error": str(problem)}
        self._send(request, answer)

    def _send(self, request: Request, answer: Any) -> None:
        if request.channel is None:
            return  # the client has gone
        if not isinstance(answer, Content):
            answer = Content(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), "application/json")
        body, encoding = answer.body, ""
        if len(body) in PACKED and takes_gzip(request):
            body, encoding = gzip.compress(body, _LEVEL, mtime=0), "gzip"
        _describe(request, answer.type, encoding=encoding)
        request.setHeader("Content-Length", str(len(body)))
        if request.method != b"HEAD":
            request.write(body)
        request.finish()

    async def _find(self, request: Request) -> Any:
        method = "GET" if request.method == b"HEAD" else request.method.decode("ascii", "replace")
        segments = [unquote(part.decode("ascii", "replace")) for part in request.path.strip(b"/").split(b"/")]
        allowed = set()
        for route in self._routes:
            path = route.match(segments)
            if path is None:
                continue
            if route.method == method:
                if not route.open:
                    self._admit(request, route.asks)
                return await route.handler(self._call(request, route, path))
            allowed.add(route.method)
        if allowed:
            methods = ", ".join(sorted(allowed | {"HEAD"} if "GET" in allowed else allowed))
            request.setHeader("Allow", methods)
            raise HttpError(HTTPStatus.METHOD_NOT_ALLOWED, f"this path takes {methods}")
        raise HttpError(HTTPStatus.NOT_FOUND, "no such path; the API is described in docs/reference/http.md")

    def _admit(self, request: Request, asks: bool) -> None:
        """Raises `HttpError` for who may not ask."""
        if self._expected:
            sent = request.getHeader(b"authorization") or b""
            if asks and sent.startswith(b"Basic "):
                sent = b"Bearer " + _password(sent)
            if not hmac.compare_digest(sent, self._expected):
                challenge = 'Basic realm="perfmon: the token is the password", charset="UTF-8"' if asks else "Bearer"
                raise HttpError(HTTPStatus.UNAUTHORIZED, "send the token: Authorization: Bearer TOKEN", challenge)
        elif not _names_an_address(request.getRequestHostname()):
            # A page from anywhere can have its own name resolve to this machine (DNS rebinding), and would
            # then read here as if from its own site.
            raise HttpError(
                HTTPStatus.FORBIDDEN,
                "without a token perfmon answers as localhost or by its IP address only: ask for one of these, "
                "or start the collector with --token-file",
            )

    def _call(self, request: Request, route: Route, path: dict[str, str]) -> Call:
        query = request.uri.partition(b"?")[2]
        if _BAD_PERCENT.search(query):
            raise bad_request("the query string is malformed: write % as %25")
        try:
            given = parse_qs(query.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=32)
        except ValueError:
            raise bad_request("the query string is malformed") from None
        parameters = {}
        for name, values in given.items():
            if name not in route.parameters:
                known = (
                    f"this path takes {', '.join(sorted(route.parameters))}" if route.parameters else "it takes none"
                )
                raise bad_request(f"unknown parameter {name[:40]!r}: {known}")
            if len(values) > 1:
                raise bad_request(f"parameter {name} was given twice")
            parameters[name] = values[0]
        # asked for as bytes: Twisted would decode it as UTF-8, which it need not be
        content_type = (request.getHeader(b"content-type") or b"").decode("latin-1").partition(";")[0].strip().lower()
        assert request.content is not None  # it is there since the headers were read
        return Call(path, parameters, request.content.read(), content_type, takes_gzip(request))

    def _failed(self, failure: Failure, request: Request) -> None:
        if request.channel is None and failure.check(CancelledError):
            return  # the client has gone
        self._log.failure("{method} {uri} failed", failure, method=request.method, uri=request.uri)
        request.setResponseCode(HTTPStatus.INTERNAL_SERVER_ERROR)
        self._send(request, {"error": "internal error; it is in the collector's log"})


def _describe(request: Request, content_type: str, filename: str = "", encoding: str = "") -> None:
    """Sets the headers that all answers have, and those of a download and of what is packed."""
    request.setHeader("Content-Type", content_type)
    request.setHeader("Cache-Control", "no-store")
    request.setHeader("X-Content-Type-Options", "nosniff")
    if content_type == HTML:
        request.setHeader("Content-Security-Policy", POLICY)
        request.setHeader("Referrer-Policy", "no-referrer")
    if encoding:
        request.setHeader("Content-Encoding", encoding)
        request.setHeader("Vary", "Accept-Encoding")
    if filename:
        request.setHeader("Content-Disposition", f'attachment; filename="{filename}"')


def _password(basic: bytes) -> bytes:
    """The password of HTTP's Basic authentication, empty where it cannot be read."""
    try:
        return b64decode(basic.removeprefix(b"Basic "), validate=True).partition(b":")[2]
    except ValueError:
        return b""


def _names_an_address(host: bytes) -> bool:
    """Whether `host`, of a Host header, is localhost or an IP address, which nobody else's name resolves to."""
    text = host.decode("latin-1").strip("[]").lower()
    if text == "localhost":
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
