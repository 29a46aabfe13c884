"""The API in the words of OpenAPI 3.1: served at /api/v1/openapi.json, made of the table of routes.

Paths and the names of parameters are those of the routes. What they mean stands here, short; docs/reference/http.md
tells it at length.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from perfmon.core.events import KINDS as EVENT_KINDS
from perfmon.core.exporting import FORMATS
from perfmon.core.loads import KINDS
from perfmon.core.query import AGGS
from perfmon.core.rightsizing import PROFILES
from perfmon.web.http import Route
from perfmon.web.schemas import (
    BENCHMARK,
    COUNT,
    NUMBER,
    SCHEMAS,
    SPAN,
    TEXT,
    TIME,
    Schema,
    list_of,
    map_of,
    named,
    or_null,
    with_fields,
)


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
_STATUS = _Operation("The collector's own figures", named("Status"))

OPERATIONS: Mapping[tuple[str, str], _Operation] = {
    ("GET", "/healthz"): _Operation("Whether the process answers", with_fields(status=TEXT)),
    ("GET", "/readyz"): _Operation("Whether samples can be stored", with_fields(status=TEXT), errors=(503,)),
    ("GET", "/status"): _STATUS,
    ("GET", "/api/v1/status"): _STATUS,
    ("GET", "/plain"): _Operation("The hosts as a page without scripts", TEXT, errors=(503,), media=("text/html",)),
    ("GET", "/api/v1/openapi.json"): _Operation("This document", {"type": "object"}),
    ("GET", "/api/v1/hosts"): _Operation(
        "Hosts, with their newest samples", with_fields(hosts=list_of(named("Host"))), errors=(400, 503)
    ),
    ("GET", _HOST): _Operation("One host, with its newest samples", named("Host"), errors=_OF_HOST),
    ("DELETE", _HOST): _Operation(
        "Removes a host that is gone, with all its samples",
        with_fields(removed=TEXT, keys=COUNT),
        errors=(404, 409, 503),
    ),
    ("POST", f"{_HOST}/stop"): _Operation(
        "The host is not to sample", named("Order"), {"type": "object"}, errors=_POSTED
    ),
    ("POST", f"{_HOST}/start"): _Operation("It is to sample again", named("Order"), {"type": "object"}, errors=_POSTED),
    ("POST", f"{_HOST}/interval"): _Operation(
        "How often it is to sample",
        named("Order"),
        with_fields(
            interval={"type": ["number", "string", "null"], "description": "s, a duration, or the agent's own"}
        ),
        errors=_POSTED,
    ),
    ("POST", f"{_HOST}/absence"): _Operation(
        "Plans that the host may be gone",
        named("Planned"),
        {
            "type": "object",
            "properties": {"for": TEXT, "until": {"type": ["number", "string"]}, "reason": TEXT},
            "oneOf": [{"required": ["for"]}, {"required": ["until"]}],
        },
        errors=(*_OF_HOST, 413, 415),
    ),
    ("DELETE", f"{_HOST}/absence"): _Operation("Takes that back", named("Planned"), errors=(404, 503)),
    ("GET", f"{_HOST}/summary"): _Operation(
        "The last hour by the minute, and the last day by the hour",
        with_fields(host=TEXT, minutes=SPAN, hours=SPAN),
        errors=_OF_HOST,
    ),
    ("GET", f"{_HOST}/stats"): _Operation("How the host is, and was", named("Stats"), errors=_OF_HOST),
    ("GET", f"{_HOST}/export"): _Operation(
        "The samples of a host as a file",
        TEXT,
        errors=_OF_HOST,
        media=tuple(form.media_type for form in FORMATS.values()),
    ),
    ("GET", "/api/v1/query"): _Operation(
        "Samples of series, raw or one value for each step", SPAN, errors=(400, 503), needed=frozenset({"metric"})
    ),
    ("GET", "/api/v1/live"): _Operation(
        "The fleet as it changes: server-sent events", TEXT, errors=(503,), media=("text/event-stream",)
    ),
    ("GET", "/api/v1/events"): _Operation(
        "Who came and who went", with_fields(events=list_of(named("Event"))), errors=(400, 503)
    ),
    ("POST", "/api/v1/benchmarks"): _Operation(
        "Begins a benchmark on many hosts",
        with_fields(id=TEXT, hosts=list_of(TEXT), start=or_null(TIME), seconds=NUMBER),
        {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "enum": list(KINDS)},
                "hosts": TEXT,
                "label": TEXT,
                "parameters": {"type": "object"},
                "start": {"oneOf": [TIME, TEXT], "description": "when; this or lead"},
                "lead": {"type": "number", "minimum": 0, "description": "s until the start"},
                "busy": {"type": "string", "enum": ["refuse", "queue"], "description": "where a host runs another"},
            },
            "required": ["kind"],
            "anyOf": [{"required": ["hosts"]}, {"required": ["label"]}],
        },
        errors=(400, 404, 409, 413, 415, 503),
    ),
    ("GET", "/api/v1/benchmarks"): _Operation(
        "The newest benchmarks", with_fields(benchmarks=list_of(named("Benchmark"))), errors=(400, 503)
    ),
    ("GET", "/api/v1/benchmarks/{id}"): _Operation(
        "One benchmark, host by host",
        with_fields(
            **BENCHMARK,
            cancelled=or_null(TEXT),
            skew=or_null(NUMBER),
            latest_start=or_null(NUMBER),
            totals=or_null(map_of(NUMBER)),
            hosts=map_of(named("BenchmarkOnHost")),
        ),
        errors=(400, 404, 503),
    ),
    ("GET", "/api/v1/benchmarks/{id}/output"): _Operation(
        "What fio or iperf3 wrote on a host", {"type": "object"}, needed=frozenset({"host"}), errors=(400, 404, 503)
    ),
    ("DELETE", "/api/v1/benchmarks/{id}"): _Operation(
        "Ends a benchmark early", with_fields(cancelled=TEXT), errors=(404, 409, 503)
    ),
    ("GET", "/api/v1/rightsizing"): _Operation(
        "Which machines to reclaim, shrink or grow",
        with_fields(
            **{"from": TIME},
            until=TIME,
            profile={"type": "string", "enum": list(PROFILES)},
            threshold=NUMBER,
            min_history=NUMBER,
            counts=map_of(COUNT),
            currency=or_null(TEXT),
            saving=or_null(NUMBER),
            hosts=list_of(named("Verdict")),
        ),
        errors=(400, 503),
    ),
    ("POST", f"{_HOST}/rightsizing"): _Operation(
        "Notes something of a host, or dismisses its verdict until a time",
        with_fields(host=TEXT, note=TEXT, dismissed=or_null(TIME)),
        {
            "type": "object",
            "properties": {"note": TEXT, "dismiss": {"type": ["number", "string", "null"]}},
            "anyOf": [{"required": ["note"]}, {"required": ["dismiss"]}],
        },
        errors=(*_OF_HOST, 413, 415),
    ),
    ("POST", "/api/v1/samples"): _Operation(
        "Stores samples; answered when the store has confirmed them",
        with_fields(stored=COUNT, refused=list_of(with_fields(place=COUNT, reason=TEXT, detail=TEXT))),
        {
            "type": "object",
            "properties": {
                "host": TEXT,
                "samples": list_of(
                    {
                        "type": "object",
                        "properties": {"metric": TEXT, "value": NUMBER, "time": TIME, "host": TEXT},
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
    "host": ("name, or pattern with * ? [ab]; several separated by commas", TEXT),
    "metric": ("name, or pattern with * ? [ab]; several separated by commas", TEXT),
    "from": (f"beginning, included: {_TIME_TEXT}", TEXT),
    "until": (f"end, excluded: {_TIME_TEXT}", TEXT),
    "step": ("duration, such as 60s; without it the samples as they are", TEXT),
    "agg": ("what becomes of the samples of a step", {"type": "string", "enum": list(AGGS), "default": "avg"}),
    "since": ("the id of the last event known, or a time", TEXT),
    "kind": (f"of the events, separated by commas: {', '.join(EVENT_KINDS)}", TEXT),
    "limit": ("most of them", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    "order": ("oldest or newest first", {"type": "string", "enum": ["asc", "desc"], "default": "asc"}),
    "window": ("how far back: a duration, such as 14d", TEXT),
    "min_history": ("known time that a verdict takes: a duration, at most the window", TEXT),
    "profile": ("how much of the suggested size the CPU may take", {"type": "string", "enum": list(PROFILES)}),
    "threshold": (
        "percentage of the CPU below which a host is idle",
        {"type": "number", "exclusiveMinimum": 0, "maximum": 100, "default": 10},
    ),
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
                "content": {"application/json": {"schema": named("Error")}},
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
            yield {"name": name, "in": "path", "required": True, "description": description, "schema": TEXT}
    for name in sorted(route.parameters):
        description, schema = PARAMETERS[name]
        needed = name in told.needed
        yield {"name": name, "in": "query", "required": needed, "description": description, "schema": schema}
