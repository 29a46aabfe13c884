"""A body of unknown length, of which each chunk is made when the client has taken those before it."""

from collections.abc import AsyncIterator, Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.logger import Logger
from twisted.web.server import Request
from zope.interface import implementer


@implementer(IPushProducer)
class Stream:
    """Answers `request` with `chunks`.

    However slowly the client reads, there is one chunk in memory beside what its transport buffers (64 KiB).
    """

    _log = Logger()

    def __init__(self, request: Request, chunks: AsyncIterator[bytes], describe: Callable[[], None]) -> None:
        """`describe` sets the headers; it is called when nothing can be answered any more but `chunks`."""
        self._request = request
        self._chunks = chunks
        self._describe = describe
        self._full = False
        self._room: Deferred[None] | None = None

    async def send(self) -> None:
        """Sends all and finishes the request; `chunks` are closed, however that ends.

        Raises what goes wrong before the first chunk, so that it can still be answered, and what goes wrong when the
        client has gone. All else is logged, and ends the connection: without its end, no client takes a chunked body
        for whole.
        """
        request = self._request
        try:
            await self._push()
        except Exception:
            if not request.startedWriting or request.channel is None:
                raise
            self._log.failure(
                "{method} {uri} failed in the middle of its answer", method=request.method, uri=request.uri
            )
            request.transport.abortConnection()  # type: ignore[union-attr]  # all transports of a site have it
            return
        if request.channel is not None:
            if not request.startedWriting:
                self._describe()
            request.finish()

    async def _push(self) -> None:
        request = self._request
        try:
            async for chunk in self._chunks:
                if request.channel is None or request.method == b"HEAD":
                    break
                if not request.startedWriting:
                    self._begin()
                request.write(chunk)
                await self._until_room()
        finally:
            if request.channel is not None:
                request.unregisterProducer()
            close = getattr(self._chunks, "aclose", None)  # of generators; an iterator need not have it
            if close is not None:
                await close()

    def _begin(self) -> None:
        self._describe()
        self._request.registerProducer(self, True)
        # Answers to requests before this one may have filled the transport; that of TLS does not say so
        # twice, and nothing public tells it.
        self._full = getattr(self._request.channel, "_waitingForTransport", False)

    async def _until_room(self) -> None:
        if self._full:
            self._room = Deferred()
            await self._room

    # -- what the transport calls

    def pauseProducing(self) -> None:
        self._full = True

    def resumeProducing(self) -> None:
        self._full = False
        if self._room is not None:
            room, self._room = self._room, None
            room.callback(None)

    def stopProducing(self) -> None:
        """Nothing: the request is told that the client has gone, and cancels what sends here."""
