"""The collector's HTTP API from outside, as the command line asks it.

Twisted is imported when something is asked: it takes longer to load than to parse a command line.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson

# A collector that does not answer in this time is away or stuck.
TIMEOUT = 30.0  # s


# Media types of what the collector exports.
FILE_TYPES = ("text/csv", "application/x-ndjson")


class ClientError(Exception):
    """The collector did not do what was asked; `str()` says why and what to do."""


class Client:
    """Asks the API of one collector. Raises `ClientError`."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers: dict[bytes | str, bytes | str] = {"Authorization": f"Bearer {token}"} if token else {}

    async def get(self, path: str, parameters: dict[str, str], patience: float = 0.0) -> Any:
        """The JSON of the answer, which may take `patience` s where that is longer than usual."""
        return await self._ask("GET", path, parameters, patience=patience)

    async def post(self, path: str, body: dict[str, Any]) -> Any:
        """The JSON of the answer."""
        return await self._ask("POST", path, {}, orjson.dumps(body))

    async def delete(self, path: str) -> Any:
        """The JSON of the answer."""
        return await self._ask("DELETE", path, {})

    async def save(self, path: str, parameters: dict[str, str], write: Callable[[bytes], Any]) -> None:
        """Hands the body of the answer, a file, to `write`, as it comes."""
        import treq
        from twisted.web.client import ResponseFailed

        response = await self._begin("GET", path, parameters)
        if response.code != 200:
            self._read(response.code, await self._reached(treq.content(response)))
        if not response.headers.getRawHeaders("Content-Type", [""])[0].startswith(FILE_TYPES):
            raise self._no_collector()
        try:
            await treq.collect(response, write)
        except ResponseFailed:
            raise ClientError("the collector broke off in the middle: what was written is not all") from None

    async def _ask(
        self, method: str, path: str, parameters: dict[str, str], body: bytes | None = None, patience: float = 0.0
    ) -> Any:
        import treq

        response = await self._begin(method, path, parameters, body, patience)
        return self._read(response.code, await self._reached(treq.content(response)))

    async def _begin(
        self, method: str, path: str, parameters: dict[str, str], body: bytes | None = None, patience: float = 0.0
    ) -> Any:
        import treq

        headers = self._headers if body is None else self._headers | {"Content-Type": "application/json"}
        try:
            asked = treq.request(
                method,
                f"{self._url}{path}",
                params=parameters,
                headers=headers,
                data=body,
                timeout=max(TIMEOUT, patience),
                unbuffered=True,
            )
        except (ValueError, TypeError) as problem:
            raise self._no_address(problem) from None
        return await self._reached(asked)

    async def _reached(self, answer: Awaitable[Any]) -> Any:
        from twisted.internet.error import ConnectError, DNSLookupError, TimeoutError
        from twisted.web.client import ResponseFailed, ResponseNeverReceived
        from twisted.web.error import SchemeNotSupported

        try:
            return await answer
        except (ConnectError, DNSLookupError, TimeoutError, ResponseFailed, ResponseNeverReceived) as problem:
            raise ClientError(f"no collector at {self._url}: {reason_of(problem)}; name another with --url") from None
        except (SchemeNotSupported, ValueError) as problem:
            raise self._no_address(problem) from None

    def _read(self, code: int, body: bytes) -> Any:
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise self._no_collector() from None
        if code == 401:
            raise ClientError("the collector asks for its token: give --token-file")
        if not isinstance(answer, dict):
            raise self._no_collector()
        if code != 200:
            raise ClientError(answer.get("error", f"the collector answered {code}"))
        return answer

    def _no_collector(self) -> ClientError:
        return ClientError(f"what answers at {self._url} is no perfmon collector; name another with --url")

    def _no_address(self, problem: Exception) -> ClientError:
        return ClientError(f"--url {self._url}: {problem}; write it as http://HOST:PORT")


def reason_of(problem: Exception) -> str:
    """What went wrong, also where Twisted wraps it."""
    reasons = getattr(problem, "reasons", None)
    return f"{reasons[0].getErrorMessage()}" if reasons else str(problem)
