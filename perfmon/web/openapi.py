"""The API in the words of OpenAPI 3.1: served at /api/v1/openapi.json, made of the table of routes.

Paths and the names of parameters are those of the routes. What they mean stands here, short; docs/reference/http.md
tells it at length.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from perfmon.core.benchmarks import STATES
from perfmon.core.events import KINDS as EVENT_KINDS
from perfmon.core.exporting import FORMATS
from perfmon.core.loads import KINDS
from perfmon.core.presence import State
from perfmon.core.query import AGGS
from perfmon.web.http import Route

Schema = Mapping[str, Any]

_TEXT: Schema = {"type": "string"}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "number", "description": "seconds since the epoch"}
_STATE: Schema = {"type": "string", "enum": [state.value for state in State]}


def _named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**fields: Schema) -> Schema:
    """An object that always has these fields."""
    return {"type": "object", "properties": fields, "required": sorted(fields)}


def _list(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def _map(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def _or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


_SPREAD = _object(min=_or_null(_NUMBER), max=_or_null(_NUMBER), avg=_or_null(_NUMBER), count=_COUNT)
_RANGE: Schema = {
    "type": "object",
    "properties": {
        "from": _TIME,
        "until": _TIME,
        "cpu": _or_null(_SPREAD),
        "memory": _or_null(_SPREAD),
        "disk": _map(_or_null(_SPREAD)),
    },
    "required": ["cpu", "disk", "from", "memory", "until"],
}
_SPAN: Schema = {
    "type": "object",
    "properties": {"from": _TIME, "until": _TIME, "step": _or_null(_NUMBER), "series": _list(_named("Series"))},
    "required": ["from", "series", "step", "until"],
}

_BENCHMARK: Mapping[str, Schema] = {
    "id": _TEXT,
    "kind": {"type": "string", "enum": list(KINDS)},
    "parameters": {"type": "object"},
    "created": _TIME,
    "start": _or_null(_TIME),
    "seconds": _NUMBER,
    "state": {"type": "string", "enum": ["queued", "waiting", "running", "done", "partial", "failed", "cancelled"]},
    "counts": _map(_COUNT),
}

SCHEMAS: Mapping[str, Schema] = {
    "Error": _object(error=_TEXT),
    "Absence": _object(until=_TIME, reason=_TEXT),
    "Host": _object(
        host=_TEXT,
        state=_STATE,
        since=_TIME,
        reason=_TEXT,
        first_seen=_TIME,
        last_seen=_TIME,
        kind={"type": "string", "enum": ["agent", "sender"]},
        labels=_map(_TEXT),
        platform=_map(_TEXT),
        agent=_TEXT,
        interval=_NUMBER,
        stopped=_FLAG,
        absence=_or_null(_named("Absence")),
        collector=_TEXT,
        clock=_or_null(_object(offset=_NUMBER, round_trip=_NUMBER)),
        latest=_map(_object(time=_TIME, value=_NUMBER, unit=_TEXT)),
    ),
    "Order": _object(host=_TEXT, state=_STATE, stopped=_FLAG, interval=_or_null(_NUMBER)),
    "Planned": _object(host=_TEXT, absence=_or_null(_named("Absence"))),
    "Series": _object(
        host=_TEXT, metric=_TEXT, unit=_TEXT, times=_list(_TIME), values=_list({"type": ["number", "null"]})
    ),
    "Event": _object(
        id=_TEXT,
        kind={"type": "string", "enum": list(EVENT_KINDS)},
        hosts=_list(_TEXT),
        at=_TIME,
        reason=_TEXT,
    ),
    "Status": _object(
        version=_TEXT,
        collector=_TEXT,
        uptime=_NUMBER,
        hosts=_map(_COUNT),
        samples=_object(
            received=_COUNT,
            stored=_COUNT,
            rejected=_COUNT,
            rejected_by_reason=_map(_COUNT),
            received_per_second=_NUMBER,
            stored_per_second=_NUMBER,
        ),
        agents=_object(connected=_COUNT, samples_per_second=_object(mean=_NUMBER, deviation=_NUMBER)),
        connections=_COUNT,
        store={
            "type": "object",
            "properties": {
                "address": _TEXT,
                "problem": {"type": ["string", "null"]},
                "server": _TEXT,
                "version": _TEXT,
                "memory_bytes": _COUNT,
                "append_only": _FLAG,
            },
            "required": ["address", "problem"],
        },
        sealing={
            "type": "object",
            "properties": {"sealed": _COUNT, "rolled_up": _COUNT, "due": _COUNT, "behind": _NUMBER},
            "required": ["rolled_up", "sealed"],
        },
        ingest=_object(buffered_bytes=_COUNT, paused=_FLAG, commits=_COUNT),
        loop_lag=_NUMBER,
    ),
    "Benchmark": _object(**_BENCHMARK),
    "BenchmarkOnHost": _object(
        state={"type": "string", "enum": list(STATES)},
        reason=_TEXT,
        began=_or_null(_TIME),
        share=_NUMBER,
        expected={"type": "object"},
        figures={"type": "object"},
        pairs=_map({"type": "object"}),
        output=_FLAG,
    ),
    "Stats": {
        "type": "object",
        "properties": {
            "host": _TEXT,
            "state": _STATE,
            "first_seen": _TIME,
            "last_seen": _TIME,
            "current": {"type": "object"},
            "range": _RANGE,
            "since_first_seen": _RANGE,
        },
        "required": ["current", "first_seen", "host", "last_seen", "range", "since_first_seen", "state"],
    },
}


@dataclass(frozen=True, slots=True)
class _Operation:
    """What one route does."""

    summary: str
    answer: Schema
    body: Schema | None = None
    errors: tuple[int, ...] = ()
    media: tuple[str, ...] = ("application/json",)
    needed: frozenset[str] = field(default=frozenset())  # parameters


_WORKS = "the store cannot be used"
_ERRORS = {
    400: "a parameter or the body is wrong",
    401: "the token is missing or another one",
    403: "without a token: the request names the collector by another name than localhost or an IP address",
    404: "there is none such",
    409: "the host, or the benchmark, is in a state in which that cannot be done",
    413: "the body has more than 1 MiB",
    415: "the body is not application/json",
    503: _WORKS,
}

_HOST = "/api/v1/hosts/{host}"
_OF_HOST = (400, 404, 503)
_POSTED = (*_OF_HOST, 409, 413, 415)
_STATUS = _Operation("The collector's own figures", _named("Status"))

OPERATIONS: Mapping[tuple[str, str], _Operation] = {
    ("GET", "/healthz"): _Operation("Whether the process answers", _object(status=_TEXT)),
    ("GET", "/readyz"): _Operation("Whether samples can be stored", _object(status=_TEXT), errors=(503,)),
    ("GET", "/status"): _STATUS,
    ("GET", "/api/v1/status"): _STATUS,
    ("GET", "/plain"): _Operation("The hosts as a page without scripts", _TEXT, errors=(503,), media=("text/html",)),
    ("GET", "/api/v1/openapi.json"): _Operation("This document", {"type": "object"}),
    ("GET", "/api/v1/hosts"): _Operation(
        "Hosts, with their newest samples", _object(hosts=_list(_named("Host"))), errors=(400, 503)
    ),
    ("GET", _HOST): _Operation("One host, with its newest samples", _named("Host"), errors=_OF_HOST),
    ("DELETE", _HOST): _Operation(
        "Removes a host that is gone, with all its samples", _object(removed=_TEXT, keys=_COUNT), errors=(404, 409, 503)
    ),
    ("POST", f"{_HOST}/stop"): _Operation(
        "The host is not to sample", _named("Order"), {"type": "object"}, errors=_POSTED
    ),
    ("POST", f"{_HOST}/start"): _Operation(
        "It is to sample again", _named("Order"), {"type": "object"}, errors=_POSTED
    ),
    ("POST", f"{_HOST}/interval"): _Operation(
        "How often it is to sample",
        _named("Order"),
        _object(interval={"type": ["number", "string", "null"], "description": "s, a duration, or the agent's own"}),
        errors=_POSTED,
    ),
    ("POST", f"{_HOST}/absence"): _Operation(
        "Plans that the host may be gone",
        _named("Planned"),
        {
            "type": "object",
            "properties": {"for": _TEXT, "until": {"type": ["number", "string"]}, "reason": _TEXT},
            "oneOf": [{"required": ["for"]}, {"required": ["until"]}],
        },
        errors=(*_OF_HOST, 413, 415),
    ),
    ("DELETE", f"{_HOST}/absence"): _Operation("Takes that back", _named("Planned"), errors=(404, 503)),
    ("GET", f"{_HOST}/summary"): _Operation(
        "The last hour by the minute, and the last day by the hour",
        _object(host=_TEXT, minutes=_SPAN, hours=_SPAN),
        errors=_OF_HOST,
    ),
    ("GET", f"{_HOST}/stats"): _Operation("How the host is, and was", _named("Stats"), errors=_OF_HOST),
    ("GET", f"{_HOST}/export"): _Operation(
        "The samples of a host as a file",
        _TEXT,
        errors=_OF_HOST,
        media=tuple(form.media_type for form in FORMATS.values()),
    ),
    ("GET", "/api/v1/query"): _Operation(
        "Samples of series, raw or one value for each step", _SPAN, errors=(400, 503), needed=frozenset({"metric"})
    ),
    ("GET", "/api/v1/live"): _Operation(
        "The fleet as it changes: server-sent events", _TEXT, errors=(503,), media=("text/event-stream",)
    ),
    ("GET", "/api/v1/events"): _Operation(
        "Who came and who went", _object(events=_list(_named("Event"))), errors=(400, 503)
    ),
    ("POST", "/api/v1/benchmarks"): _Operation(
        "Begins a benchmark on many hosts",
        _object(id=_TEXT, hosts=_list(_TEXT), start=_or_null(_TIME), seconds=_NUMBER),
        {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": list(KINDS)},
                "hosts": _TEXT,
                "label": _TEXT,
                "parameters": {"type": "object"},
                "start": {"oneOf": [_TIME, _TEXT], "description": "when; this or lead"},
                "lead": {"type": "number", "minimum": 0, "description": "s until the start"},
                "busy": {"type": "string", "enum": ["refuse", "queue"], "description": "where a host runs another"},
            },
            "required": ["kind"],
            "anyOf": [{"required": ["hosts"]}, {"required": ["label"]}],
        },
        errors=(400, 404, 409, 413, 415, 503),
    ),
    ("GET", "/api/v1/benchmarks"): _Operation(
        "The newest benchmarks", _object(benchmarks=_list(_named("Benchmark"))), errors=(400, 503)
    ),
    ("GET", "/api/v1/benchmarks/{id}"): _Operation(
        "One benchmark, host by host",
        _object(
            **_BENCHMARK,
            cancelled=_or_null(_TEXT),
            skew=_or_null(_NUMBER),
            latest_start=_or_null(_NUMBER),
            totals=_or_null(_map(_NUMBER)),
            hosts=_map(_named("BenchmarkOnHost")),
        ),
        errors=(400, 404, 503),
    ),
    ("GET", "/api/v1/benchmarks/{id}/output"): _Operation(
        "What fio or iperf3 wrote on a host", {"type": "object"}, needed=frozenset({"host"}), errors=(400, 404, 503)
    ),
    ("DELETE", "/api/v1/benchmarks/{id}"): _Operation(
        "Ends a benchmark early", _object(cancelled=_TEXT), errors=(404, 409, 503)
    ),
    ("POST", "/api/v1/samples"): _Operation(
        "Stores samples; answered when the store has confirmed them",
        _object(stored=_COUNT, refused=_list(_object(place=_COUNT, reason=_TEXT, detail=_TEXT))),
        {
            "type": "object",
            "properties": {
                "host": _TEXT,
                "samples": _list(
                    {
                        "type": "object",
                        "properties": {"metric": _TEXT, "value": _NUMBER, "time": _TIME, "host": _TEXT},
                        "required": ["metric", "value"],
                    }
                ),
            },
            "required": ["samples"],
        },
        errors=(400, 413, 415, 503),
    ),
}

_TIME_TEXT = "now, -90m, seconds since the epoch, or ISO 8601"
PARAMETERS: Mapping[str, tuple[str, Schema]] = {
    "host": ("name, or pattern with * ? [ab]; several separated by commas", _TEXT),
    "metric": ("name, or pattern with * ? [ab]; several separated by commas", _TEXT),
    "from": (f"beginning, included: {_TIME_TEXT}", _TEXT),
    "until": (f"end, excluded: {_TIME_TEXT}", _TEXT),
    "step": ("duration, such as 60s; without it the samples as they are", _TEXT),
    "agg": ("what becomes of the samples of a step", {"type": "string", "enum": list(AGGS), "default": "avg"}),
    "since": ("the id of the last event known, or a time", _TEXT),
    "kind": (f"of the events, separated by commas: {', '.join(EVENT_KINDS)}", _TEXT),
    "limit": ("most of them", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    "order": ("oldest or newest first", {"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
    "format": ("of the file", {"type": "string", "enum": list(FORMATS), "default": "csv"}),
}


def document(routes: Iterable[Route], version: str) -> dict[str, Any]:
    """The whole document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "perfmon", "version": version, "license": {"name": "MIT", "identifier": "MIT"}},
        "paths": paths,
        "components": {
            "schemas": dict(SCHEMAS),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    told = OPERATIONS[route.method, route.path]
    errors = sorted({*told.errors, *(() if route.open else (401, 403))})
    found: dict[str, Any] = {
        "summary": told.summary,
        "operationId": f"{route.method} {route.path}",
        "parameters": list(_parameters(route, told)),
        "responses": {
            "200": {"description": "it is done", "content": {media: {"schema": told.answer} for media in told.media}}
        }
        | {
            str(status): {
                "description": _ERRORS[status],
                "content": {"application/json": {"schema": _named("Error")}},
            }
            for status in errors
        },
        "security": [] if route.open else [{"token": []}, {}],  # a collector without a token asks for none
    }
    if told.body is not None:
        found["requestBody"] = {"content": {"application/json": {"schema": told.body}}}
    return found


def _parameters(route: Route, told: _Operation) -> Iterator[dict[str, Any]]:
    for name, description in (("host", "name of the host"), ("id", "of the benchmark")):
        if f"{{{name}}}" in route.path:
            yield {"name": name, "in": "path", "required": True, "description": description, "schema": _TEXT}
    for name in sorted(route.parameters):
        description, schema = PARAMETERS[name]
        needed = name in told.needed
        yield {"name": name, "in": "query", "required": needed, "description": description, "schema": schema}
