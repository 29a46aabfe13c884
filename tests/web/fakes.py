"""A stand-in for the collector, and two ways to ask the real site in memory: as a client does, and byte by byte."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson
from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from perfmon.core.benchmarks import Spec
from perfmon.core.control import Order
from perfmon.core.events import EventQuery
from perfmon.core.notes import Note
from perfmon.core.query import Query
from perfmon.core.reject import Rejected
from perfmon.core.rightsizing import Settings
from perfmon.web.site import make_site

NOW = 1_792_310_400.0  # 2026-10-18T08:00:00Z
TOKEN = "a token that nobody guesses"


def described(name: str, state: str = "up", **others: Any) -> dict[str, Any]:
    """A host as the API describes it, as far as the site looks at it."""
    return {
        "host": name,
        "state": state,
        "labels": {},
        "latest": {},
        "last_seen": NOW - 1.5,
        "since": NOW - 60,
        "reason": "",
        **others,
    }


class Away(Exception):
    """The stand-in's store is away."""


class Occupied(Exception):
    """The stand-in's hosts run another benchmark."""


class StandIn:
    """A collector that answers what it was told to, and remembers what it was asked.

    An exception among `answers` is raised, a Deferred is waited for; so are those among the chunks of an export.
    """

    unavailable: type[Exception] = Away
    busy: type[Exception] = Occupied

    def __init__(self) -> None:
        self.problem: str | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.answers: dict[str, Any] = {
            "report": {},
            "hosts": [],
            "query": {},
            "summary": {},
            "stats": {},
            "export": [],
            "order": Order(),
            "remove": 1,
            "events": [],
            "begin_benchmark": Spec("7", "cpu", {}, ["web1"], NOW, NOW + 3, 60.0),
            "benchmarks": [],
            "benchmark": {"id": "7"},
            "benchmark_output": '{"end": 1}',
            "cancel_benchmark": True,
            "rightsizing": {"hosts": []},
            "note": Note("mine"),
            "post": (0, {}),
            "live": [],
        }

    async def _answer(self, name: str, *given: Any) -> Any:
        self.asked.append((name, *given))
        answer = self.answers[name]
        if isinstance(answer, Exception):
            raise answer
        return await answer if isinstance(answer, Deferred) else answer

    async def report(self) -> dict[str, Any]:
        report: dict[str, Any] = await self._answer("report")
        return report

    async def hosts(self, host: str, metric: str) -> list[dict[str, Any]]:
        hosts: list[dict[str, Any]] = await self._answer("hosts", host, metric)
        return hosts

    async def query(self, query: Query) -> dict[str, Any]:
        found: dict[str, Any] = await self._answer("query", query)
        return found

    async def summary(self, host: str, metric: str, agg: str) -> dict[str, Any]:
        summary: dict[str, Any] = await self._answer("summary", host, metric, agg)
        return summary

    async def stats(self, known: dict[str, Any], start: float, stop: float) -> dict[str, Any]:
        stats: dict[str, Any] = await self._answer("stats", known, start, stop)
        return stats

    async def export(self, query: Query, form: str) -> AsyncGenerator[bytes, None]:
        self.asked.append(("export", query, form))
        chunks = self.answers["export"]
        for chunk in [chunks] if isinstance(chunks, Exception) else chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield await chunk if isinstance(chunk, Deferred) else chunk

    async def live(self, pack: bool) -> AsyncGenerator[bytes, None]:
        self.asked.append(("live", pack))
        answer = self.answers["live"]
        if isinstance(answer, Exception):
            raise answer
        for chunk in answer:
            yield chunk

    async def order(self, host: str, what: str, value: str) -> Order:
        order: Order = await self._answer("order", host, what, value)
        return order

    async def remove(self, host: str) -> int | None:
        removed: int | None = await self._answer("remove", host)
        return removed

    async def events(self, query: EventQuery) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = await self._answer("events", query)
        return events

    async def begin_benchmark(self, kind: str, parameters: Any, hosts: Sequence[str], lead: float, queue: bool) -> Spec:
        begun: Spec = await self._answer("begin_benchmark", kind, parameters, hosts, lead, queue)
        return begun

    async def rightsizing(self, host: str, window: float, settings: Settings) -> dict[str, Any]:
        report: dict[str, Any] = await self._answer("rightsizing", host, window, settings)
        return report

    async def note(self, host: str, text: str | None, dismissed: float | None, dismiss: bool) -> Note:
        note: Note = await self._answer("note", host, text, dismissed, dismiss)
        return note

    async def benchmark_output(self, id: str, host: str) -> str | None:
        found: str | None = await self._answer("benchmark_output", id, host)
        return found

    async def benchmarks(self, limit: int, host: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self._answer("benchmarks", limit, host)
        return found

    async def benchmark(self, id: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self._answer("benchmark", id)
        return found

    async def cancel_benchmark(self, id: str) -> bool:
        cancelled: bool = await self._answer("cancel_benchmark", id)
        return cancelled

    async def post(self, body: bytes) -> tuple[int, Mapping[int, Rejected]]:
        outcome: tuple[int, Mapping[int, Rejected]] = await self._answer("post", body)
        return outcome


@dataclass(frozen=True)
class Answer:
    """A response."""

    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of an answer that is nothing but an error."""
        (name, sentence), *others = self.json.items()
        assert (name, others) == ("error", [])
        assert isinstance(sentence, str)
        return sentence


def _head(head: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    return int(first.split()[1]), {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }


def _joined(rest: bytes) -> tuple[bytes, bytes]:
    """A body in chunks, which must be whole, and what follows it."""
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        end = int(size, 16)
        body += rest[:end]
        assert rest[end : end + 2] == b"\r\n"
        rest = rest[end + 2 :]
        if not end:
            return body, rest


class Wire:
    """A connection to the site, on which a test writes bytes."""

    def __init__(self, site: Site) -> None:
        protocol = site.buildProtocol(None)
        assert protocol is not None
        self._protocol = protocol
        self.transport = StringTransport()
        self._protocol.makeConnection(self.transport)

    @property
    def closed(self) -> bool:
        """Whether the site has closed the connection."""
        return self.transport.disconnecting

    def send(self, data: bytes) -> list[Answer]:
        """All responses so far, once `data` has arrived as one read."""
        self._protocol.dataReceived(data)
        return self.answers()

    def send_for_head(self, request: bytes) -> Answer:
        """The response to a HEAD, with all the bytes that should not follow it."""
        self._protocol.dataReceived(request)
        head, _, rest = self.transport.value().partition(b"\r\n\r\n")
        return Answer(*_head(head), rest)

    def answers(self) -> list[Answer]:
        answers, rest = [], self.transport.value()
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            status, headers = _head(head)
            if headers.get("transfer-encoding") == "chunked":
                body, rest = _joined(rest)
            else:
                size = int(headers.get("content-length", 0))  # Twisted's own refusals have none
                assert len(rest) >= size
                body, rest = rest[:size], rest[size:]
            answers.append(Answer(status, headers, body))
        return answers

    def lose(self) -> None:
        """The client goes away."""
        self._protocol.connectionLost(Failure(ConnectionDone()))


class SiteTestCase(SynchronousTestCase):
    """A test of the site before a stand-in for the collector."""

    token = ""

    def setUp(self) -> None:
        self.backend = StandIn()
        self.clock = Clock()
        self.site = make_site(self.backend, self.token, lambda: NOW, self.clock)
        self._wires: list[Wire] = []

    def tearDown(self) -> None:
        for wire in self._wires:
            wire.lose()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def ask(
        self, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, data: bytes | None = None
    ) -> Answer:
        """The answer to a request of treq."""
        client: Any = StubTreq(self.site.resource)
        client._agent._serverFactory = self.site  # it would make one of its own, of which nothing here is true
        response = self.successResultOf(
            client.request(method, f"http://localhost{path}", headers=dict(headers or {}), data=data)
        )
        body = self.successResultOf(response.content())
        client.flush()
        named = {name.decode().lower(): values[0].decode() for name, values in response.headers.getAllRawHeaders()}
        return Answer(response.code, named, body)

    def wire(self) -> Wire:
        """A new connection."""
        self._wires.append(Wire(self.site))
        return self._wires[-1]

    def ask_raw(self, target: bytes, *headers: bytes, method: bytes = b"GET") -> Answer:
        """The answer to a request whose target is sent as it is."""
        lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: localhost", *headers, b"", b""]
        (answer,) = self.wire().send(b"\r\n".join(lines))
        return answer

    def post(self, body: bytes, content_type: str = "application/json", path: str = "/api/v1/samples") -> Answer:
        """The answer to what is posted, by default samples."""
        return self.ask(path, "POST", {"Content-Type": content_type}, body)


class ApiTestCase(SiteTestCase):
    """A test of the API's own answers."""

    def assert_bad(self, answer: Answer, *words: str) -> None:
        """The request was refused with a sentence that has `words`, and the collector was not asked."""
        self.assert_refused(answer, HTTPStatus.BAD_REQUEST, *words)
        self.assertEqual(self.backend.asked, [])

    def assert_refused(self, answer: Answer, status: HTTPStatus, *words: str) -> None:
        """The answer is an error with `status`, and its sentence has `words`."""
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["content-type"], "application/json")
        for word in words:
            self.assertIn(word, answer.error)
