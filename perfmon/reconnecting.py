"""A connection that comes back by itself, and says why it is away.

Why not Twisted's ClientService (26.10): a connection whose preparation fails it leaves open, and when such a one
ends it raises, or gives up the good connection that came after it.
"""

import random
from collections.abc import Awaitable, Callable
from typing import Any, Generic, TypeVar
from typing import Protocol as Seam

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, ensureDeferred, succeed
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

# What a lost connection waits for before it is tried again, at first; a server that restarts is back within that.
_FIRST = 0.05  # s


class Ending(Seam):
    """A Twisted protocol that tells of its end."""

    transport: Any

    def whenDisconnected(self) -> Deferred[Any]: ...


_P = TypeVar("_P", bound=Ending)


class _Factory(Factory, Generic[_P]):
    """Makes one protocol; `lost` fires when its connection has ended."""

    noisy = False

    def __init__(self, build: Callable[[], _P]) -> None:
        self._build = build
        self.lost: Deferred[None] = Deferred()

    def buildProtocol(self, addr: object) -> _P:  # type: ignore[override]  # wider than IAddress | None
        protocol = self._build()
        protocol.whenDisconnected().addCallback(lambda _: self.lost.callback(None))
        return protocol


class Reconnecting(Service, Generic[_P]):
    """A service that keeps one connection.

    `build` makes its protocol, `prepare` makes a fresh connection usable. A failure of either the attempt or
    `prepare` is told to `note`, and tried again after a pause that grows from 50 ms to `longest` s as long as no
    connection lasts for `longest`; with a random part, so that a thousand peers do not come back in one instant.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        build: Callable[[], _P],
        prepare: Callable[[_P], Awaitable[None]],
        note: Callable[[str], None],
        clock: IReactorTime,
        longest: float,
    ) -> None:
        self._endpoint = endpoint
        self._build = build
        self._prepare = prepare
        self._note = note
        self._clock = clock
        self.longest = longest  # may be changed at any time
        self._open: _P | None = None
        self._keeping: Deferred[None] = succeed(None)

    def startService(self) -> None:
        super().startService()
        self._keeping = ensureDeferred(self._keep())

    def stopService(self) -> Deferred[None]:
        """Fires when the connection has ended; what was written to it is sent before."""
        super().stopService()
        stopped: Deferred[None] = Deferred()

        def ended(result: object) -> None:
            stopped.callback(None)

        def cancelled(failure: Failure) -> None:
            failure.trap(CancelledError)

        self._keeping.addErrback(cancelled).addCallback(ended)
        if self._open is not None:
            self._open.transport.loseConnection()
        else:
            self._keeping.cancel()
        return stopped

    async def _keep(self) -> None:
        """Connects again and again."""
        attempt = 0
        while self.running:
            lasted = await self._connection()
            attempt = 0 if lasted >= self.longest else attempt + 1
            if self.running:
                pause = min(_FIRST * 1.7 ** min(attempt, 100), self.longest)
                await deferLater(self._clock, pause * random.uniform(0.5, 1.0))

    async def _connection(self) -> float:
        """One connection from the attempt to its end; returns how long it was usable (s)."""
        factory = _Factory(self._build)
        try:
            protocol: _P = await self._endpoint.connect(factory)  # type: ignore[assignment]  # what the factory built
        except Exception as problem:  # noqa: BLE001 - the boundary of an attempt
            self._tell(problem)
            return 0.0
        try:
            await self._prepare(protocol)
        except Exception as problem:  # noqa: BLE001 - the boundary of an attempt
            self._tell(problem)
            protocol.transport.abortConnection()
            await factory.lost
            return 0.0
        self._open = protocol
        since = self._clock.seconds()
        await factory.lost
        self._open = None
        return self._clock.seconds() - since

    def _tell(self, problem: Exception) -> None:
        if self.running:
            self._note(str(problem))
