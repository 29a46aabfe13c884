"""The JSON API: what each path answers. docs/reference/http.md says it for users."""

import math
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import asdict
from http import HTTPStatus
from typing import Any, TypeVar

from perfmon.core.control import MAX_ABSENCE, MAX_REASON, Absence, checked_interval
from perfmon.core.events import KINDS, EventQuery
from perfmon.core.exporting import FORMATS
from perfmon.core.globs import pattern
from perfmon.core.names import BadName, checked_host
from perfmon.core.posted import BadBody
from perfmon.core.query import BadQuery, Query
from perfmon.core.tiers import DAY, parse_duration
from perfmon.core.timespec import parse_time
from perfmon.web.asking import Backend, asked, body_of, must_be_json
from perfmon.web.benchmarks import BenchmarksApi
from perfmon.web.http import HTML, Call, Content, HttpError, Route, Streamed, bad_request
from perfmon.web.openapi import document
from perfmon.web.plain import METRICS, plain_page
from perfmon.web.rightsizing import RightsizingApi

_T = TypeVar("_T")

# What a summary is of, unless it is asked for another metric.
SUMMARY_METRICS = "perfmon.cpu.utilization,perfmon.memory.utilization"

# Most events in one answer; the next page begins after the last id.
MAX_EVENTS = 1_000

# An event's id as a stream of the store gives it: two unsigned numbers of 64 bits. There is none after the largest.
_EVENT_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_ID_END = 2**64 - 1


class JsonApi:
    """The handlers of the API, and their routes."""

    def __init__(self, backend: Backend, wall: Callable[[], float], version: str = "") -> None:
        """`wall` gives the time in s since the epoch; `version` is that of the collector."""
        self._version = version
        self._backend = backend
        self._wall = wall

    def routes(self) -> list[Route]:
        """Every path of the API."""
        return [
            Route("GET", "/healthz", self._healthz, open=True),
            Route("GET", "/readyz", self._readyz, open=True),
            Route("GET", "/status", self._status),
            Route("GET", "/api/v1/status", self._status),
            Route("GET", "/plain", self._plain, asks=True),
            Route("GET", "/api/v1/openapi.json", self._openapi, open=True),
            Route("GET", "/api/v1/hosts", self._hosts, frozenset({"host", "metric"})),
            Route("GET", "/api/v1/hosts/{host}", self._host, frozenset({"metric"})),
            Route("DELETE", "/api/v1/hosts/{host}", self._remove),
            Route("POST", "/api/v1/hosts/{host}/stop", self._stop),
            Route("POST", "/api/v1/hosts/{host}/start", self._start),
            Route("POST", "/api/v1/hosts/{host}/interval", self._interval),
            Route("POST", "/api/v1/hosts/{host}/absence", self._plan_absence),
            Route("DELETE", "/api/v1/hosts/{host}/absence", self._end_absence),
            Route("GET", "/api/v1/hosts/{host}/summary", self._summary, frozenset({"metric", "agg"})),
            Route("GET", "/api/v1/hosts/{host}/stats", self._stats, frozenset({"from", "until"})),
            Route(
                "GET",
                "/api/v1/hosts/{host}/export",
                self._export,
                frozenset({"format", "metric", "from", "until", "step", "agg"}),
            ),
            Route(
                "GET",
                "/api/v1/query",
                self._query,
                frozenset({"host", "metric", "from", "until", "step", "agg"}),
            ),
            Route("GET", "/api/v1/live", self._live),
            Route(
                "GET", "/api/v1/events", self._events, frozenset({"since", "until", "limit", "order", "host", "kind"})
            ),
            Route("POST", "/api/v1/samples", self._samples),
            *BenchmarksApi(self._backend, self._wall).routes(),
            *RightsizingApi(self._backend, self._wall).routes(),
        ]

    async def _healthz(self, call: Call) -> Any:
        return {"status": "ok"}

    async def _readyz(self, call: Call) -> Any:
        if self._backend.problem is not None:
            raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, f"the store cannot be used: {self._backend.problem}")
        return {"status": "ready"}

    async def _status(self, call: Call) -> Any:
        return await self._asked(self._backend.report())

    async def _plain(self, call: Call) -> Any:
        hosts = await self._asked(self._backend.hosts("*", METRICS))
        return Content(plain_page(hosts, self._backend.problem, self._wall()), HTML)

    async def _openapi(self, call: Call) -> Any:
        return document(self.routes(), self._version)

    async def _hosts(self, call: Call) -> Any:
        given = call.parameters
        return {"hosts": await self._asked(self._backend.hosts(_glob(given, "host"), _glob(given, "metric")))}

    async def _host(self, call: Call) -> Any:
        return await self._known(call, _glob(call.parameters, "metric"))

    async def _known(self, call: Call, metric: str = "-") -> Any:
        """The host in the path, with the latest values of `metric`."""
        name = call.path["host"]
        try:
            # such a name has no special characters of a glob, so as a glob it can only mean itself
            found = await self._asked(self._backend.hosts(checked_host(name), metric))
        except BadName:
            found = []
        if not found:
            raise HttpError(HTTPStatus.NOT_FOUND, f"no host {name!r}; GET /api/v1/hosts lists them")
        return found[0]

    async def _remove(self, call: Call) -> Any:
        host = await self._known(call)
        removed = await self._asked(self._backend.remove(host["host"]))
        if removed is None:
            raise HttpError(
                HTTPStatus.CONFLICT,
                f"{host['host']} is {host['state']}: a host that sends would come back; stop its agent or sender first",
            )
        return {"removed": host["host"], "keys": removed}

    async def _stop(self, call: Call) -> Any:
        return await self._order(call, "stopped", lambda body: "1")

    async def _start(self, call: Call) -> Any:
        return await self._order(call, "stopped", lambda body: "")

    async def _interval(self, call: Call) -> Any:
        return await self._order(call, "interval", _interval_of)

    async def _order(self, call: Call, what: str, value_of: Callable[[Mapping[str, Any]], str]) -> Any:
        """Orders what the path and the body say of the host in the path."""
        value = _value_of(call, value_of)
        host = await self._known(call)
        name, state = host["host"], host["state"]
        if host["kind"] != "agent":
            raise HttpError(HTTPStatus.CONFLICT, f"{name} has no agent, and what is sent for it nobody here can stop")
        order = await self._asked(self._backend.order(name, what, value))
        return {"host": name, "state": state, "stopped": order.stopped, "interval": order.interval}

    async def _plan_absence(self, call: Call) -> Any:
        now = self._wall()
        return await self._absence(call, _value_of(call, lambda body: str(_absence_of(body, now))))

    async def _end_absence(self, call: Call) -> Any:
        return await self._absence(call, "")

    async def _absence(self, call: Call, value: str) -> Any:
        name = (await self._known(call))["host"]
        order = await self._asked(self._backend.order(name, "absence", value))
        return {"host": name, "absence": None if order.absence is None else asdict(order.absence)}

    async def _summary(self, call: Call) -> Any:
        given = call.parameters
        metric = _glob(given, "metric", SUMMARY_METRICS)
        host = (await self._known(call))["host"]
        return await self._asked(self._backend.summary(host, metric, given.get("agg", "avg")))

    async def _stats(self, call: Call) -> Any:
        start, stop = self._range(call.parameters, "-1d")
        host = await self._known(call, "*")
        return await self._asked(self._backend.stats(host, start, stop))

    async def _export(self, call: Call) -> Any:
        given = call.parameters
        form = given.get("format", "csv")
        if form not in FORMATS:
            raise bad_request(f"format is one of {', '.join(FORMATS)}")
        host = (await self._known(call))["host"]
        query = self._asked_query({**given, "host": host}, "-1d")
        return Streamed(self._chunks(self._backend.export(query, form)), FORMATS[form].media_type, f"{host}.{form}")

    async def _live(self, call: Call) -> Any:
        encoding = "gzip" if call.takes_gzip else ""
        return Streamed(self._chunks(self._backend.live(call.takes_gzip)), "text/event-stream", encoding=encoding)

    async def _chunks(self, source: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
        async with aclosing(source) as chunks:
            while True:
                try:
                    chunk = await self._asked(anext(chunks))
                except StopAsyncIteration:
                    return
                yield chunk

    async def _query(self, call: Call) -> Any:
        given = call.parameters
        if not given.get("metric"):
            raise bad_request("parameter metric is needed: a metric's name, or a pattern such as system.cpu.*")
        return await self._asked(self._backend.query(self._asked_query(given, "-1h")))

    def _asked_query(self, given: Mapping[str, str], since: str) -> Query:
        start, stop = self._range(given, since)
        step = _parsed("step", given["step"], parse_duration) if given.get("step") else None
        try:
            return Query(_glob(given, "host"), _glob(given, "metric"), start, stop, step, given.get("agg", "avg"))
        except BadQuery as problem:
            raise bad_request(str(problem)) from None

    def _range(self, given: Mapping[str, str], since: str) -> tuple[float, float]:
        """The parameters from and until, in s since the epoch; `since` stands for a from that is not given."""
        now = self._wall()
        start = _parsed("from", given.get("from", since), lambda text: parse_time(text, now))
        stop = _parsed("until", given.get("until", "now"), lambda text: parse_time(text, now))
        if not start < stop:
            raise bad_request("from must be before until")
        return start, stop

    async def _events(self, call: Call) -> Any:
        given = call.parameters
        limit = _parsed("limit", given.get("limit", "100"), int)
        if not 0 < limit <= MAX_EVENTS:
            raise bad_request(f"limit is 1 to {MAX_EVENTS}")
        order = given.get("order", "asc")
        if order not in ("asc", "desc"):
            raise bad_request("order is asc (oldest first) or desc (newest first)")
        kinds = frozenset(given.get("kind", ",".join(KINDS)).split(","))
        if unknown := kinds.difference(KINDS):
            raise bad_request(f"kind {min(unknown)[:40]!r} is unknown: use some of {', '.join(KINDS)}")
        query = EventQuery(
            self._event_id("since", given.get("since", "-1d")),
            limit,
            order == "desc",
            self._end_id(given["until"]) if given.get("until") else "",
            _glob(given, "host"),
            kinds,
        )
        return {"events": await self._asked(self._backend.events(query))}

    def _end_id(self, text: str) -> str:
        """The same for an end, before which there may be nothing: the store knows no id below 0-1."""
        ms, _, count = self._event_id("until", text).partition("-")
        return f"{int(ms)}-{int(count or 0)}" if int(ms) or int(count or 0) else "0-1"

    def _event_id(self, name: str, text: str) -> str:
        """An event's id, or a time as ms since the epoch."""
        event = _EVENT_ID.fullmatch(text)
        if event is not None and max(int(event[1]), int(event[2])) < _ID_END:
            return text
        now = self._wall()
        return str(max(0, math.floor(_parsed(name, text, lambda text: parse_time(text, now)) * 1000)))

    async def _samples(self, call: Call) -> Any:
        must_be_json(call)
        try:
            stored, refused = await self._asked(self._backend.post(call.body))
        except BadBody as problem:
            raise bad_request(str(problem)) from None
        return {
            "stored": stored,
            "refused": [{"place": place, "reason": why.reason, "detail": why.detail} for place, why in refused.items()],
        }

    async def _asked(self, answer: Awaitable[_T]) -> _T:
        return await asked(self._backend, answer)


def _value_of(call: Call, value_of: Callable[[Mapping[str, Any]], str]) -> str:
    """What the body asks for, as it is kept."""
    try:
        return value_of(body_of(call))
    except ValueError as problem:
        raise bad_request(str(problem)) from None


def _absence_of(body: Mapping[str, Any], now: float) -> Absence:
    """The absence that a body plans. Raises ValueError."""
    until, length, reason = body.get("until"), body.get("for"), body.get("reason", "")
    if isinstance(until, int | float) and not isinstance(until, bool):
        until = repr(until)
    if isinstance(until, str) and length is None:
        end = parse_time(until, now)
    elif isinstance(length, str) and until is None:
        end = now + parse_duration(length)
    else:
        raise ValueError('the body is {"for": "2h"} or {"until": "2026-01-31T12:00:00Z"}, and a "reason" as you like')
    if not now < end <= now + MAX_ABSENCE:
        raise ValueError(f"an absence ends after now, and within {MAX_ABSENCE // DAY} d")
    if not isinstance(reason, str) or len(reason) > MAX_REASON or not reason.isprintable():
        raise ValueError(f"a reason has at most {MAX_REASON} printable characters")
    return Absence(end, reason)


def _interval_of(body: Mapping[str, Any]) -> str:
    """The field ``interval`` as it is kept: empty for null. Raises ValueError."""
    given = body.get("interval", ...)
    if given is None:
        return ""
    if isinstance(given, str):
        return repr(checked_interval(parse_duration(given)))
    if isinstance(given, int | float) and not isinstance(given, bool):
        return repr(checked_interval(float(given)))
    raise ValueError('the body is {"interval": SECONDS}, or a duration such as "10s", or null for the agent\'s own')


def _parsed(name: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except ValueError as problem:
        raise bad_request(f"parameter {name}: {problem}") from None


def _glob(given: Mapping[str, str], name: str, default: str = "*") -> str:
    """The parameter `name`, a pattern; without it `default`."""
    text = given.get(name, default)
    _parsed(name, text, pattern)
    return text
