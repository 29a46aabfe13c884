"""Several servers as one endpoint, of which one is used as long as it serves."""

from collections.abc import Sequence

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer


@implementer(IStreamClientEndpoint)
class Servers:
    """Connects to one of them, until that one is left for the next."""

    def __init__(self, servers: Sequence[tuple[str, IStreamClientEndpoint]]) -> None:
        """Each with its name for people; the first is the one to begin with."""
        self._servers = servers
        self._at = 0

    @property
    def shown(self) -> str:
        """The one in use, for people."""
        return self._servers[self._at][0]

    def leave(self) -> None:
        """From now on the next one is used; after the last comes the first."""
        self._at = (self._at + 1) % len(self._servers)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        return self._servers[self._at][1].connect(protocolFactory)
