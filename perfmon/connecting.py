"""Where a program connects to, as its command line says it."""

import re
from typing import Any

from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python import usage

from perfmon.options import ConfigurableOptions, port

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)):(\d+)")


# An attempt that is not answered by then is given up: a server that is cut off should not hold up the next one.
CONNECT_TIMEOUT = 5.0  # s


class ServerOptions(ConfigurableOptions):
    """Options of what connects to collectors."""

    def __init__(self) -> None:
        super().__init__()
        self["server"] = []

    def opt_server(self, server: str) -> None:
        """collector: HOST:PORT, or an endpoint such as tls:HOST:PORT (several times: others for when it fails)"""
        self["server"].append(server)

    opt_s = opt_server

    def servers(self) -> tuple[str, ...]:
        """What --server names, at least one. Raises UsageError."""
        servers = tuple(self["server"])
        if not servers:
            raise usage.UsageError("--server HOST:PORT is needed: where the collector listens, by default port 9000")
        for server in servers:
            try:
                endpoint_of(server)
            except ValueError as problem:
                raise usage.UsageError(f"--server: {problem}") from None
        if len(set(servers)) < len(servers):
            raise usage.UsageError("--server: one stands twice")
        return servers


def endpoint_of(server: str) -> str:
    """The client endpoint description for ``HOST:PORT``; other endpoint descriptions are taken as they are.

    Raises ValueError.
    """
    match = _HOST_PORT.fullmatch(server)
    if match is not None:
        host = (match[1] or match[2]).replace(":", "\\:")
        return f"tcp:{host}:{port(match[3])}"
    kind = server.partition(":")[0]
    if kind == "ssl":
        raise ValueError("ssl: does not check who answers, and would hand over the token; write tls:HOST:PORT")
    if kind in ("tcp", "tls", "unix"):
        return server
    raise ValueError(f"{server!r}: write HOST:PORT, [IPV6]:PORT, or an endpoint such as tls:HOST:PORT")


def client_endpoint(reactor: Any, server: str, program: str) -> IStreamClientEndpoint:
    """The endpoint for a --server that `endpoint_of` takes; `program` is whose option it is.

    Raises SystemExit with a sentence if Twisted does not take it.
    """
    from twisted.internet.abstract import isIPAddress, isIPv6Address
    from twisted.internet.endpoints import (
        HostnameEndpoint,
        TCP4ClientEndpoint,
        TCP6ClientEndpoint,
        clientFromString,
    )

    address = _HOST_PORT.fullmatch(server)
    if address is not None:
        # what clientFromString would make of it, without the plugins that it loads first: 12 MB
        host, number = address[1] or address[2], int(address[3])
        if isIPAddress(host):  # nothing to look up, which would take a thread at every attempt
            return TCP4ClientEndpoint(reactor, host, number, timeout=CONNECT_TIMEOUT)
        kind = TCP6ClientEndpoint if isIPv6Address(host) else HostnameEndpoint
        return kind(reactor, host, number, timeout=CONNECT_TIMEOUT)
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, endpoint_of(server))
    except (ValueError, TypeError, OSError) as problem:
        raise SystemExit(
            f"{program}: --server {server} is no client endpoint: write HOST:PORT, tls:HOST:PORT or "
            f"unix:path=PATH ({problem})"
        ) from None
    return endpoint
