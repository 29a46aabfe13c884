"""Ports that are open while the service runs."""

from twisted.application.service import Service
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure


class CannotListen(SystemExit, Exception):
    """Ends the process with a sentence. Also an Exception: twistd tells the parent of a daemon only of those."""


class Listening(Service):
    """A service: one endpoint, open from before privileges are shed until the service stops."""

    _log = Logger()

    def __init__(
        self, what: str, endpoint: IStreamServerEndpoint, shown: str, factory: IProtocolFactory, url: str = "{}"
    ) -> None:
        """`what` and `shown` name the port in the log; `url` has braces in place of its host and port."""
        self._what = what
        self._endpoint = endpoint
        self._shown = shown
        self._factory = factory
        self._url = url
        self._port: IListeningPort | None = None

    def privilegedStartService(self) -> None:
        """Opens the port. Where that fails the process ends with a sentence, before anything else was started."""
        problems: list[Failure] = []
        self._endpoint.listen(self._factory).addCallbacks(self._opened, problems.append)
        if problems:
            raise CannotListen(f"perfmon: cannot listen for {self._what}: {problems[0].getErrorMessage()}")

    def _opened(self, port: IListeningPort) -> None:
        self._port = port
        address = port.getHost()
        host, number = getattr(address, "host", None), getattr(address, "port", None)
        where = self._url.format(f"{f'[{host}]' if ':' in host else host}:{number}") if host else self._shown
        self._log.info("{what} on {where}", what=self._what, where=where)

    def stopService(self) -> Deferred[None]:
        super().stopService()
        port, self._port = self._port, None
        return (port.stopListening() if port is not None else None) or succeed(None)
