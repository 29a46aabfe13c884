"""``twistd perfmon-agent``: options of the agent, and the wiring of its parts.

An agent stays small: nothing here imports numpy, the store or the web.
"""

import re
import time
from dataclasses import dataclass
from typing import Any

from twisted.application.service import IService
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python import usage

from perfmon.core.messages import label_problem
from perfmon.core.names import checked_host
from perfmon.core.tiers import parse_duration
from perfmon.host import own_name, this_host
from perfmon.options import ConfigurableOptions, at_least, pairs, port

_HOST_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]+)):(\d+)")


class Options(ConfigurableOptions):
    """The command line of the agent."""

    synopsis = "--server HOST:PORT [options]"
    longdesc = "Samples this host and pushes to a perfmon collector."

    optParameters = [
        ["server", "s", None, "the collector: HOST:PORT, or a Twisted client endpoint such as tls:HOST:PORT"],
        ["name", "n", None, "name of this host; by default the machine's"],
        ["interval", "i", "10s", "time between samples"],
        ["token-file", None, None, "file with the collector's token"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["label"] = []

    def opt_label(self, label: str) -> None:
        """NAME=VALUE, kept with the host (several times)"""
        self["label"].append(label)

    def postOptions(self) -> None:
        """Checks everything; what is wrong is a UsageError that names the option."""
        self.config = AgentConfig.of(self)


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """The options of the agent, checked."""

    server: str  # as given
    endpoint: str  # a client endpoint description
    name: str
    interval: float  # s
    token: str
    labels: dict[str, str]

    @classmethod
    def of(cls, options: Options) -> "AgentConfig":
        """Raises UsageError."""
        if not options["server"]:
            raise usage.UsageError("--server HOST:PORT is needed: where the collector listens, by default port 9000")
        try:
            labels = pairs(options["label"])
            problem = label_problem(labels)
        except ValueError as bad:
            problem = str(bad)
        if problem is not None:
            raise usage.UsageError(f"--label: {problem}")
        return cls(
            server=options["server"],
            endpoint=options.checked("server", endpoint_of),
            name=own_name() if options["name"] is None else options.checked("name", checked_host),
            interval=options.checked("interval", at_least(0.1, parse_duration)),
            token=options.token(),
            labels=labels,
        )


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


def makeService(options: Options) -> IService:
    """The agent as one service."""
    # Installs the reactor, which twistd has chosen by now.
    from twisted.internet import reactor

    return make_agent(options.config, reactor)


def make_agent(config: AgentConfig, reactor: Any) -> IService:
    """Wires the parts together."""
    from twisted.internet.endpoints import HostnameEndpoint, clientFromString
    from twisted.internet.threads import deferToThread

    from perfmon.core.outbox import Outbox
    from perfmon.net.agent_link import AgentLink
    from perfmon.probes.sampler import Sampler, all_probes
    from perfmon.services.sampling import Sampling
    from perfmon.services.staged import StagedService

    address = _HOST_PORT.fullmatch(config.server)
    if address is not None:
        # what clientFromString would make of it, without the plugins that it loads first: 12 MB
        endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, address[1] or address[2], int(address[3]))
    else:
        try:
            endpoint = clientFromString(reactor, config.endpoint)
        except (ValueError, TypeError, OSError) as problem:
            raise SystemExit(
                f"perfmon-agent: --server {config.server} is no client endpoint: write HOST:PORT, tls:HOST:PORT or "
                f"unix:path=PATH ({problem})"
            ) from None
    agent = StagedService()
    outbox = Outbox()
    hello = this_host(config.name, config.interval, config.labels, config.token)
    link = AgentLink(endpoint, config.server, hello, outbox, reactor, time.time)
    sampler = Sampler(all_probes())

    def take(moment: float, values: Any) -> None:
        outbox.add(moment, values)
        link.send()

    link.setServiceParent(agent)
    Sampling(config.interval, lambda: deferToThread(sampler.sample), take, reactor, time.time).setServiceParent(agent)
    return agent
