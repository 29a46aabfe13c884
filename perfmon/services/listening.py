"""Ports that are open while the service runs."""

from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    ILoggingContext,
    IProtocol,
    IProtocolFactory,
    IStreamServerEndpoint,
)
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

# A port accepts so many connections in one go, whatever happens meanwhile. Twisted begins with 100, and takes 20 more
# each time that it has met so many: a crowd would use up any spare of descriptors before anybody looks.
MOST_AT_ONCE = 32


class CannotListen(SystemExit, Exception):
    """Ends the process with a sentence. Also an Exception: twistd tells the parent of a daemon only of those."""


class Guard(Protocol):
    """Is told of each connection that is accepted, and may hold the port up."""

    def guard(self, port: "Listening") -> None: ...
    def accepted(self) -> None: ...


@implementer(IProtocolFactory, ILoggingContext)
class _Guarded:
    """A factory whose guard is told of each connection. They are not wrapped: that would cost each of them memory."""

    noisy = False

    def __init__(self, factory: IProtocolFactory, guard: Guard) -> None:
        self._factory = factory
        self._guard = guard
        self.doStart = factory.doStart
        self.doStop = factory.doStop

    def logPrefix(self) -> str:
        return type(self._factory).__name__

    def buildProtocol(self, addr: IAddress) -> IProtocol | None:
        self._guard.accepted()
        return self._factory.buildProtocol(addr)


class Listening(Service):
    """A service: one endpoint, open from before privileges are shed until the service stops."""

    _log = Logger()

    def __init__(
        self,
        what: str,
        endpoint: IStreamServerEndpoint,
        shown: str,
        factory: IProtocolFactory,
        guard: Guard,
        url: str = "{}",
    ) -> None:
        """`what` and `shown` name the port in the log; `url` has braces in place of its host and port."""
        self._what = what
        self._endpoint = endpoint
        self._shown = shown
        self._factory = _Guarded(factory, guard)
        self._url = url
        self._port: Any = None  # an IListeningPort; those of TCP and of unix sockets are producers as well
        guard.guard(self)

    def privilegedStartService(self) -> None:
        """Opens the port. Where that fails the process ends with a sentence, before anything else was started."""
        problems: list[Failure] = []
        self._endpoint.listen(self._factory).addCallbacks(self._opened, problems.append)
        if problems:
            raise CannotListen(f"perfmon: cannot listen for {self._what}: {problems[0].getErrorMessage()}")

    def _opened(self, port: IListeningPort) -> None:
        self._port = port
        self.bound()
        address = port.getHost()
        host, number = getattr(address, "host", None), getattr(address, "port", None)
        where = self._url.format(f"{f'[{host}]' if ':' in host else host}:{number}") if host else self._shown
        self._log.info("{what} on {where}", what=self._what, where=where)

    def pause(self) -> None:
        """Takes no connections; who connects waits in the system's backlog."""
        if self._port is not None:
            self._port.pauseProducing()

    def bound(self) -> None:
        """Accepts no more in one go than `MOST_AT_ONCE`."""
        if self._port is not None:
            self._port.numberAccepts = MOST_AT_ONCE

    def resume(self) -> None:
        if self._port is not None:
            self._port.resumeProducing()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self._port = self._port, None
        stopping: Deferred[None] | None = port.stopListening() if port is not None else None
        return stopping or succeed(None)
