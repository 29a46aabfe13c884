"""What the API answers, in the words of JSON Schema."""

from collections.abc import Mapping
from typing import Any

from perfmon.core.benchmarks import STATES
from perfmon.core.events import KINDS as EVENT_KINDS
from perfmon.core.loads import KINDS
from perfmon.core.presence import State
from perfmon.core.verdicts import Kind

Schema = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "number", "description": "seconds since the epoch"}
STATE: Schema = {"type": "string", "enum": [state.value for state in State]}


def named(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def with_fields(**fields: Schema) -> Schema:
    """An object that always has these fields."""
    return {"type": "object", "properties": fields, "required": sorted(fields)}


def list_of(of: Schema) -> Schema:
    return {"type": "array", "items": of}


def map_of(of: Schema) -> Schema:
    return {"type": "object", "additionalProperties": of}


def or_null(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}


SPREAD = with_fields(min=or_null(NUMBER), max=or_null(NUMBER), avg=or_null(NUMBER), count=COUNT)
RANGE: Schema = {
    "type": "object",
    "properties": {
        "from": TIME,
        "until": TIME,
        "cpu": or_null(SPREAD),
        "memory": or_null(SPREAD),
        "disk": map_of(or_null(SPREAD)),
    },
    "required": ["cpu", "disk", "from", "memory", "until"],
}
SPAN: Schema = {
    "type": "object",
    "properties": {"from": TIME, "until": TIME, "step": or_null(NUMBER), "series": list_of(named("Series"))},
    "required": ["from", "series", "step", "until"],
}

BENCHMARK: Mapping[str, Schema] = {
    "id": TEXT,
    "kind": {"type": "string", "enum": list(KINDS)},
    "parameters": {"type": "object"},
    "created": TIME,
    "start": or_null(TIME),
    "seconds": NUMBER,
    "state": {"type": "string", "enum": ["queued", "waiting", "running", "done", "partial", "failed", "cancelled"]},
    "counts": map_of(COUNT),
}

SIZE = with_fields(cores=or_null(NUMBER), memory=or_null(NUMBER))

SCHEMAS: Mapping[str, Schema] = {
    "Error": with_fields(error=TEXT),
    "Absence": with_fields(until=TIME, reason=TEXT),
    "Host": with_fields(
        host=TEXT,
        state=STATE,
        since=TIME,
        reason=TEXT,
        first_seen=TIME,
        last_seen=TIME,
        kind={"type": "string", "enum": ["agent", "sender"]},
        labels=map_of(TEXT),
        platform=map_of(TEXT),
        agent=TEXT,
        interval=NUMBER,
        stopped=FLAG,
        absence=or_null(named("Absence")),
        collector=TEXT,
        clock=or_null(with_fields(offset=NUMBER, round_trip=NUMBER)),
        latest=map_of(with_fields(time=TIME, value=NUMBER, unit=TEXT)),
    ),
    "Order": with_fields(host=TEXT, state=STATE, stopped=FLAG, interval=or_null(NUMBER)),
    "Planned": with_fields(host=TEXT, absence=or_null(named("Absence"))),
    "Series": with_fields(
        host=TEXT, metric=TEXT, unit=TEXT, times=list_of(TIME), values=list_of({"type": ["number", "null"]})
    ),
    "Event": with_fields(
        id=TEXT,
        kind={"type": "string", "enum": list(EVENT_KINDS)},
        hosts=list_of(TEXT),
        at=TIME,
        reason=TEXT,
    ),
    "Status": with_fields(
        version=TEXT,
        collector=TEXT,
        uptime=NUMBER,
        hosts=map_of(COUNT),
        samples=with_fields(
            received=COUNT,
            stored=COUNT,
            rejected=COUNT,
            rejected_by_reason=map_of(COUNT),
            received_per_second=NUMBER,
            stored_per_second=NUMBER,
        ),
        agents=with_fields(connected=COUNT, samples_per_second=with_fields(mean=NUMBER, deviation=NUMBER)),
        connections=COUNT,
        store={
            "type": "object",
            "properties": {
                "address": TEXT,
                "problem": {"type": ["string", "null"]},
                "server": TEXT,
                "version": TEXT,
                "memory_bytes": COUNT,
                "append_only": FLAG,
            },
            "required": ["address", "problem"],
        },
        sealing={
            "type": "object",
            "properties": {"sealed": COUNT, "rolled_up": COUNT, "due": COUNT, "behind": NUMBER},
            "required": ["rolled_up", "sealed"],
        },
        ingest=with_fields(buffered_bytes=COUNT, paused=FLAG, commits=COUNT),
        loop_lag=NUMBER,
    ),
    "Benchmark": with_fields(**BENCHMARK),
    "BenchmarkOnHost": with_fields(
        state={"type": "string", "enum": list(STATES)},
        reason=TEXT,
        began=or_null(TIME),
        share=NUMBER,
        expected={"type": "object"},
        figures={"type": "object"},
        pairs=map_of({"type": "object"}),
        output=FLAG,
    ),
    "Stats": {
        "type": "object",
        "properties": {
            "host": TEXT,
            "state": STATE,
            "first_seen": TIME,
            "last_seen": TIME,
            "current": {"type": "object"},
            "range": RANGE,
            "since_first_seen": RANGE,
        },
        "required": ["current", "first_seen", "host", "last_seen", "range", "since_first_seen", "state"],
    },
    "Verdict": with_fields(
        host=TEXT,
        verdict={"type": "string", "enum": [kind.value for kind in Kind]},
        rules=list_of(with_fields(name=TEXT, figure=NUMBER, limit=NUMBER, unit=TEXT, text=TEXT)),
        now=SIZE,
        suggested=SIZE,
        start=TIME,
        stop=TIME,
        known=NUMBER,
        coverage=NUMBER,
        left_out=NUMBER,
        confidence={"type": "string", "enum": ["high", "medium", "low"]},
        eligible=or_null(TIME),
        figures=map_of(NUMBER),
        back_test=or_null(with_fields(minutes=NUMBER, cpu_tight=NUMBER, cpu_full=NUMBER, memory_full=or_null(NUMBER))),
        state=STATE,
        labels=map_of(TEXT),
        saving=or_null(NUMBER),
        note=TEXT,
        dismissed=or_null(TIME),
    ),
}
