"""The part of the JSON API that is about benchmark runs."""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson

from perfmon.core.benchmarks import LEAD, MAX_HOSTS, QUEUED
from perfmon.core.globs import pattern
from perfmon.core.loads import BadLoad
from perfmon.core.timespec import parse_time
from perfmon.web.asking import Backend, asked, body_of
from perfmon.web.http import Call, HttpError, Route, bad_request

MAX_RUNS = 1_000  # in one answer

# Nobody plans a run for longer ahead.
MAX_LEAD = 86_400.0  # s

_HERE = frozenset({"up", "late"})

_FIELDS = dict.fromkeys(("kind", "hosts", "label", "parameters", "start", "lead", "busy"))


class BenchmarksApi:
    """The handlers, and their routes."""

    def __init__(self, backend: Backend, wall: Callable[[], float]) -> None:
        """`wall` gives the time in s since the epoch."""
        self._backend = backend
        self._wall = wall

    def routes(self) -> list[Route]:
        return [
            Route("POST", "/api/v1/benchmarks", self._begin),
            Route("GET", "/api/v1/benchmarks", self._list, frozenset({"limit", "host"})),
            Route("GET", "/api/v1/benchmarks/{id}", self._one),
            Route("GET", "/api/v1/benchmarks/{id}/output", self._output, frozenset({"host"})),
            Route("DELETE", "/api/v1/benchmarks/{id}", self._cancel),
        ]

    async def _begin(self, call: Call) -> Any:
        body = body_of(call)
        if unknown := body.keys() - _FIELDS:
            raise bad_request(f"field {min(unknown)[:40]!r} is unknown: {', '.join(_FIELDS)}")
        lead = self._lead(body)
        kind, parameters, busy = body.get("kind"), body.get("parameters", {}), body.get("busy", "refuse")
        if not isinstance(kind, str):
            raise bad_request("kind is needed: the kind of load, as a string")
        if busy not in ("refuse", "queue"):
            raise bad_request("busy says what is to be done where a host runs another benchmark: refuse or queue")
        hosts = await self._chosen(body)
        await self._see_other(parameters)
        begun = self._backend.begin_benchmark(kind, parameters, hosts, lead, busy == "queue")
        try:
            spec = await asked(self._backend, begun)
        except BadLoad as problem:
            raise bad_request(str(problem)) from None
        except self._backend.busy as problem:
            raise HttpError(HTTPStatus.CONFLICT, str(problem)) from None
        start = spec.start if spec.start != QUEUED else None
        return {"id": spec.id, "hosts": spec.hosts, "start": start, "seconds": spec.seconds}

    def _lead(self, body: Mapping[str, Any]) -> float:
        """In how many seconds a run is to start."""
        if "start" in body:
            if "lead" in body:
                raise bad_request("give start, a time, or lead, the seconds until then, not both")
            now = self._wall()
            try:
                lead = parse_time(str(body["start"]), now) - now
            except ValueError as problem:
                raise bad_request(f"start: {problem}") from None
            if not 0 <= lead <= MAX_LEAD:
                raise bad_request(f"start is a time from now on, within {MAX_LEAD / 3600:g} hours")
            return lead
        lead = body.get("lead", LEAD)
        if isinstance(lead, bool) or not isinstance(lead, int | float) or not 0 <= lead <= MAX_LEAD:
            raise bad_request(f"lead is a number of seconds until the start, 0 to {MAX_LEAD:g}")
        return float(lead)

    async def _see_other(self, parameters: Any) -> None:
        """Whom all are to meet has to be there, too."""
        other = parameters.get("to") if isinstance(parameters, dict) else None
        if isinstance(other, str) and other:
            found = await asked(self._backend, self._backend.hosts(other[:256], "-"))
            if not any(host["host"] == other and _is_here(host) for host in found):
                raise HttpError(HTTPStatus.NOT_FOUND, f"no host {other[:40]!r} with an agent that is there")

    async def _chosen(self, body: Mapping[str, Any]) -> list[str]:
        """The hosts with an agent that is there, of those that the body names."""
        glob, label = body.get("hosts", "*"), body.get("label", "")
        if not isinstance(glob, str) or not isinstance(label, str) or not (body.get("hosts") or label):
            raise bad_request('give "hosts", a pattern of names, or "label", such as "role=web", or both')
        try:
            pattern(glob)
        except ValueError as problem:
            raise bad_request(f"hosts: {problem}") from None
        name, equals, value = label.partition("=")
        if label and not equals:
            raise bad_request('label is NAME=VALUE, such as "role=web"')
        known = await asked(self._backend, self._backend.hosts(glob, "-"))
        found = [host["host"] for host in known if _is_here(host) and (not label or host["labels"].get(name) == value)]
        if not found:
            raise HttpError(HTTPStatus.NOT_FOUND, "no host with an agent that is there matches")
        if len(found) > MAX_HOSTS:
            raise bad_request(f"{len(found)} hosts match; a run has at most {MAX_HOSTS}")
        return found

    async def _list(self, call: Call) -> Any:
        text = call.parameters.get("limit", "100")
        limit = int(text) if text.isascii() and text.isdecimal() and len(text) < 5 else 0
        if not 0 < limit <= MAX_RUNS:
            raise bad_request(f"limit is 1 to {MAX_RUNS}")
        return {
            "benchmarks": await asked(self._backend, self._backend.benchmarks(limit, call.parameters.get("host", "")))
        }

    async def _one(self, call: Call) -> Any:
        found = await asked(self._backend, self._backend.benchmark(call.path["id"]))
        if found is None:
            raise _unknown(call.path["id"])
        return found

    async def _output(self, call: Call) -> Any:
        id, host = call.path["id"], call.parameters.get("host", "")
        found = await asked(self._backend, self._backend.benchmark_output(id, host))
        if found is None:
            raise HttpError(
                HTTPStatus.NOT_FOUND, "no output is kept: give a host where fio or iperf3 was run, as in ?host=web1"
            )
        return orjson.Fragment(found)

    async def _cancel(self, call: Call) -> Any:
        id = call.path["id"]
        if not await asked(self._backend, self._backend.cancel_benchmark(id)):
            if await asked(self._backend, self._backend.benchmark(id)) is None:
                raise _unknown(id)
            raise HttpError(HTTPStatus.CONFLICT, f"benchmark {id} is over")
        return {"cancelled": id}


def _is_here(host: Mapping[str, Any]) -> bool:
    return host["kind"] == "agent" and host["state"] in _HERE


def _unknown(id: str) -> HttpError:
    return HttpError(HTTPStatus.NOT_FOUND, f"no benchmark {id[:40]!r}; GET /api/v1/benchmarks lists them")
