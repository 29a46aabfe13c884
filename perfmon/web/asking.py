"""What the handlers of the API have in common: the collector as they see it, and how it is asked."""

from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import orjson

from perfmon.core.benchmarks import Spec
from perfmon.core.control import Order
from perfmon.core.events import EventQuery
from perfmon.core.frames import FormatError
from perfmon.core.notes import Note
from perfmon.core.query import BadQuery, Query
from perfmon.core.reject import Rejected
from perfmon.core.rightsizing import Settings
from perfmon.web.http import Call, HttpError, bad_request

_T = TypeVar("_T")


class Backend(Protocol):
    """What the API needs of the collector."""

    @property
    def unavailable(self) -> type[Exception]:
        """Raised by all below where the store is away."""

    @property
    def problem(self) -> str | None:
        """Why samples cannot be stored now, None while they can."""

    async def report(self) -> dict[str, Any]: ...
    async def hosts(self, host: str, metric: str) -> list[dict[str, Any]]: ...
    async def query(self, query: Query) -> dict[str, Any]: ...
    async def summary(self, host: str, metric: str, agg: str) -> dict[str, Any]: ...
    async def stats(self, known: dict[str, Any], start: float, stop: float) -> dict[str, Any]: ...
    def live(self, pack: bool) -> AsyncGenerator[bytes, None]:
        """The fleet as it changes: server-sent events; with `pack` as a gzip stream."""

    def export(self, query: Query, form: str) -> AsyncGenerator[bytes, None]: ...

    async def order(self, host: str, what: str, value: str) -> Order:
        """Sets one of what can be wanted of `host`, or takes it back; what is wanted of it then."""

    async def remove(self, host: str) -> int | None:
        """Removes a host; how many keys it had, None (and nothing is done) if it is there."""

    async def events(self, query: EventQuery) -> list[dict[str, Any]]: ...

    @property
    def busy(self) -> type[Exception]:
        """Raised where hosts run another benchmark."""

    async def begin_benchmark(self, kind: str, parameters: Any, hosts: Sequence[str], lead: float, queue: bool) -> Spec:
        """Begins a run on these hosts in `lead` s, or once they are free, if it is to `queue`.

        May raise `BadLoad` and `busy`.
        """

    async def benchmarks(self, limit: int, host: str) -> list[dict[str, Any]]:
        """The newest; with a `host` those of them that it takes part in."""

    async def benchmark(self, id: str) -> dict[str, Any] | None: ...
    async def benchmark_output(self, id: str, host: str) -> str | None:
        """What the program wrote that was run on a host, JSON; None where nothing is kept."""

    async def cancel_benchmark(self, id: str) -> bool:
        """False where there is none that goes on."""

    async def rightsizing(self, host: str, window: float, settings: Settings) -> dict[str, Any]:
        """The verdicts on the hosts that match the glob, from the last `window` s. May raise `BadQuery`."""

    async def note(self, host: str, text: str | None, dismissed: float | None, dismiss: bool) -> Note:
        """Notes a text, if there is one, and until when the verdict is dismissed, if that is to change."""

    async def post(self, body: bytes) -> tuple[int, Mapping[int, Rejected]]:
        """Stores posted samples: how many were stored, and why others (by their place) were not."""


async def asked(backend: Backend, answer: Awaitable[_T]) -> _T:
    """`answer`; what cannot be asked is 400, 503 while the store is away, 500 for what cannot be read in it."""
    try:
        return await answer
    except backend.unavailable as problem:
        raise HttpError(HTTPStatus.SERVICE_UNAVAILABLE, f"the store cannot be used: {problem}") from None
    except BadQuery as problem:
        raise bad_request(str(problem)) from None
    except FormatError as problem:
        raise HttpError(HTTPStatus.INTERNAL_SERVER_ERROR, str(problem)) from None


def must_be_json(call: Call) -> None:
    # A page of another site could post a form here, but not JSON: browsers ask first.
    if call.content_type != "application/json":
        raise HttpError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send Content-Type: application/json")


def body_of(call: Call) -> Mapping[str, Any]:
    """The JSON object that was sent; an empty body is one without fields."""
    must_be_json(call)
    try:
        body = orjson.loads(call.body or b"{}")
    except orjson.JSONDecodeError as problem:
        raise bad_request(f"the body is no JSON: {problem}") from None
    if not isinstance(body, dict):
        raise bad_request("the body is a JSON object")
    return body
