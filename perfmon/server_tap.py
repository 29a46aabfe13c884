"""``twistd perfmon``: the collector."""

from twisted.application.service import IService

from perfmon.server_options import Options

__all__ = ["Options", "makeService"]


def makeService(options: Options) -> IService:
    """The collector as one service."""
    # Both install the reactor, which twistd has chosen by now.
    from twisted.internet import reactor

    from perfmon.collecting import make_collector

    return make_collector(options.config, reactor)
