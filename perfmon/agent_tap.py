"""``twistd perfmon-agent``: options of the agent, and the wiring of its parts.

An agent stays small: nothing here imports numpy, the store or the web.
"""

import time
from dataclasses import dataclass
from typing import Any

from twisted.application.service import IService
from twisted.python import usage

from perfmon.connecting import client_endpoint, server_of
from perfmon.core.messages import label_problem
from perfmon.core.names import checked_host
from perfmon.core.tiers import parse_duration
from perfmon.host import own_name, this_host
from perfmon.options import ConfigurableOptions, at_least, pairs


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

    server: str  # HOST:PORT, or a client endpoint description
    name: str
    interval: float  # s
    token: str
    labels: dict[str, str]

    @classmethod
    def of(cls, options: Options) -> "AgentConfig":
        """Raises UsageError."""
        try:
            labels = pairs(options["label"])
            problem = label_problem(labels)
        except ValueError as bad:
            problem = str(bad)
        if problem is not None:
            raise usage.UsageError(f"--label: {problem}")
        return cls(
            server=server_of(options),
            name=own_name() if options["name"] is None else options.checked("name", checked_host),
            interval=options.checked("interval", at_least(0.1, parse_duration)),
            token=options.token(),
            labels=labels,
        )


def makeService(options: Options) -> IService:
    """The agent as one service."""
    # Installs the reactor, which twistd has chosen by now.
    from twisted.internet import reactor

    return make_agent(options.config, reactor)


def make_agent(config: AgentConfig, reactor: Any) -> IService:
    """Wires the parts together."""
    from twisted.internet.threads import deferToThread

    from perfmon.core.outbox import Outbox
    from perfmon.net.agent_link import AgentLink
    from perfmon.probes.sampler import Sampler, all_probes
    from perfmon.services.sampling import Sampling
    from perfmon.services.staged import StagedService

    endpoint = client_endpoint(reactor, config.server, "perfmon-agent")
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
