"""``twistd perfmon-agent``: options of the agent, and the wiring of its parts.

An agent stays small: nothing here imports numpy, the store or the web.
"""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_data_dir
from twisted.application.service import IService
from twisted.python import usage

from perfmon.connecting import ServerOptions, client_endpoint
from perfmon.core.loads import Limits, Reach
from perfmon.core.messages import label_problem
from perfmon.core.names import checked_host
from perfmon.core.tiers import parse_duration
from perfmon.host import own_name, this_host
from perfmon.options import at_least, pairs, port, size

# For the goodbye, and for the spool to be closed.
STOP_TIMEOUT = 10.0  # s

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]\s]+))(?::(\d+))?|[0-9A-Fa-f:.]+")

# A few rounds of the largest kind have to fit.
MIN_SPOOL = 1 << 20  # bytes


class Options(ServerOptions):
    """The command line of the agent."""

    synopsis = "--server HOST:PORT [options]"
    longdesc = "Samples this host and pushes to a perfmon collector."

    optParameters = [
        ["name", "n", None, "name of this host; by default the machine's"],
        ["interval", "i", "10s", "time between samples"],
        ["token-file", None, None, "file with the collector's token"],
        ["spool", None, None, "folder for what no collector has confirmed yet; by default one of the user's"],
        ["spool-size", None, "64MiB", "most that is kept there; then the oldest go"],
        ["spool-age", None, "2d", "what is older than that goes too"],
        ["benchmark-limit", None, "1h,10GiB", "longest benchmark, and most that one may have on the disk"],
        ["benchmark-folder", None, None, "where benchmarks write; by default one of the user's"],
        ["benchmark-port", None, "0", "port on which benchmarks between hosts are answered; 0 takes a free one"],
        ["benchmark-address", None, None, "ADDRESS[:PORT] that the other hosts are told; by default this end's"],
    ]
    optFlags = [["no-benchmarks", None, "run no benchmarks, whoever asks for them"]]

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

    servers: tuple[str, ...]  # HOST:PORT, or client endpoint descriptions
    name: str
    interval: float  # s
    token: str
    labels: dict[str, str]
    spool: Path  # the file
    spool_size: int  # bytes
    spool_age: float  # s
    benchmarks: Limits | None  # None: none are run
    benchmark_folder: Path
    benchmark_reach: Reach

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
        name = own_name() if options["name"] is None else options.checked("name", checked_host)
        return cls(
            servers=options.servers(),
            name=name,
            interval=options.checked("interval", at_least(0.1, parse_duration)),
            token=options.token(),
            labels=labels,
            spool=_folder(options["spool"], "spool") / f"{name}.spool",
            spool_size=int(options.checked("spool-size", at_least(MIN_SPOOL, size))),
            spool_age=options.checked("spool-age", at_least(60, parse_duration)),
            benchmarks=None if options["no-benchmarks"] else options.checked("benchmark-limit", _limits),
            benchmark_folder=_folder(options["benchmark-folder"], "benchmarks") / f"{name}.benchmarks",
            benchmark_reach=_reach(options),
        )


def _limits(text: str) -> Limits:
    """``TIME,SIZE``."""
    seconds, comma, space = text.partition(",")
    if not comma:
        raise ValueError(f"{text!r}: write the longest time and the most bytes, such as 1h,10GiB")
    return Limits(parse_duration(seconds), int(size(space)))


def _reach(options: Options) -> Reach:
    own = int(options.checked("benchmark-port", port))
    if options["benchmark-address"] is None:
        return Reach(own)
    address, outside = options.checked("benchmark-address", _address)
    return Reach(own, address, outside)


def _address(text: str) -> tuple[str, int]:
    """``ADDRESS[:PORT]``, where an IPv6 address with a port is in brackets."""
    found = _ADDRESS.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r}: write an address, perhaps with a port, as in 192.0.2.7:5300 or [2001:db8::7]:5300")
    return found[1] or found[2] or text, port(found[3]) if found[3] else 0


def _folder(given: str | None, standard: str) -> Path:
    return Path(given).expanduser() if given else Path(user_data_dir("perfmon")) / standard


def makeService(options: Options) -> IService:
    """The agent as one service."""
    # Installs the reactor, which twistd has chosen by now.
    from twisted.internet import reactor

    return make_agent(options.config, reactor)


def make_agent(config: AgentConfig, reactor: Any) -> IService:
    """Wires the parts together."""
    from twisted.internet.threads import deferToThread
    from twisted.logger import Logger

    from perfmon.net.agent_link import AgentLink
    from perfmon.net.servers import Servers
    from perfmon.probes.sampler import Sampler, all_probes
    from perfmon.services.loads import Loads
    from perfmon.services.outbox import Outbox
    from perfmon.services.sampling import Sampling
    from perfmon.services.spool import Spool
    from perfmon.services.staged import StagedService
    from perfmon.services.threads import OwnThread

    log = Logger(namespace="perfmon.agent")
    servers = Servers([(server, client_endpoint(reactor, server, "perfmon-agent")) for server in config.servers])
    agent = StagedService(reactor, STOP_TIMEOUT)

    def tell(problem: str) -> None:
        reactor.callFromThread(log.warn, "{problem}", problem=problem)

    disk = OwnThread("spool", reactor)
    spool = Spool(config.spool, config.spool_size, config.spool_age, tell, time.time)
    outbox = Outbox(spool, disk.run, reactor)
    hello = this_host(config.name, config.interval, config.labels, config.token)
    sampler = Sampler(all_probes())

    def take(moment: float, values: Mapping[str, float]) -> None:
        outbox.add(moment, {**values, **outbox.figures(), "perfmon.agent.left_out": float(sampling.left_out)})

    sampling = Sampling(config.interval, lambda: deferToThread(sampler.sample), take, reactor, time.time)
    benchmarks = (config.name, config.benchmark_folder, config.benchmarks, config.benchmark_reach)
    loads = Loads(*benchmarks, lambda: link.ahead(), reactor, time.time)
    link = AgentLink(servers, hello, outbox, sampling, loads, reactor, time.time)
    loads.listen(link.say)
    outbox.listen(link.send)
    for service in (disk, outbox, link, loads, sampling):
        service.setServiceParent(agent)
    return agent
