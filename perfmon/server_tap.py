"""``twistd perfmon``: options of the collector, and the wiring of its parts."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any

from platformdirs import user_data_dir
from twisted.application.service import IService
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python import usage

from perfmon.core.heads import BATCH_SIZE
from perfmon.core.messages import Hello
from perfmon.core.names import checked_host
from perfmon.core.presence import Timeouts
from perfmon.core.templates import DEFAULT_TEMPLATES, Template
from perfmon.core.tiers import Tier, parse_duration, parse_retention
from perfmon.files import allow_connections
from perfmon.host import own_name, this_host
from perfmon.options import HOW_TO_TOKEN, ConfigurableOptions, at_least, at_most, port, whole
from perfmon.storage.address import StoreAddress, parse_store

if TYPE_CHECKING:
    from perfmon.services.control import Control
    from perfmon.services.descriptors import Descriptors
    from perfmon.services.ingest import Ingest
    from perfmon.services.listening import Listening
    from perfmon.services.own_host import OwnHost
    from perfmon.services.own_metrics import OwnMetrics
    from perfmon.services.presence import PresenceService
    from perfmon.services.sampling import Sampling
    from perfmon.storage.embedded import EmbeddedServer
    from perfmon.storage.store import Store

# Connections that wait to be accepted: a whole fleet that comes back at once must not be turned away. The system grants
# less where its own limit is lower (Linux: net.core.somaxconn, 4,096 by default).
_BACKLOG = 16_384

# Whoever ends the collector has it ended within 10 s, also where the store does not answer: so long for all but the
# embedded server, which has its own time after that.
STOP_TIMEOUT = 6.0  # s

# Who waits longer for an acknowledgement might think that the collector is stuck.
MAX_BATCH_TIME = 5.0  # s


class Options(ConfigurableOptions):
    """The command line of the collector."""

    synopsis = "[options]"
    longdesc = "Collects what agents and Graphite senders push, keeps it in a store, and shows it on a page."

    optParameters = [
        ["port", "p", "9000", "port for agents and Graphite senders; 0 takes a free one"],
        ["http-port", None, "9001", "port of the page and the JSON API; 0 takes a free one"],
        ["interface", "i", "127.0.0.1", "address to listen on; any but loopback needs --token-file"],
        ["store", "s", None, "embedded:DIR, unix:PATH, redis://[user:password@]host:port/db or rediss://..."],
        ["token-file", None, None, "file whose content agents and API clients must send"],
        ["heartbeat-timeout", None, "15s", "an agent without a sign of life for so long has departed"],
        ["silence-timeout", None, "5m", "a sender without heartbeats that sent nothing for so long is silent"],
        ["max-connections", None, "20000", "most connections on the port at once"],
        ["batch-size", None, str(BATCH_SIZE), "most samples in one commit to the store"],
        ["batch-time", None, "10ms", "least time between the beginnings of two commits, 0 for none"],
        ["name", "n", None, "name of the collector's own host; by default the machine's"],
        ["interval", None, "5s", "time between samples of the collector's own host"],
        ["stats-interval", None, "20s", "time between lines of statistics in the log; 0 for none"],
        ["retention", None, "raw:2d,1m:30d,1h:400d", "how long samples, minutes and hours are kept"],
    ]
    optFlags = [["no-self", None, "do not sample the collector's own host, nor the collector itself"]]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []
        self["http-listen"] = []
        self["graphite-template"] = []
        self["graphite-from"] = []

    def opt_listen(self, endpoint: str) -> None:
        """endpoint in place of --port and --interface: ssl:..., unix:..., systemd:... (several times)"""
        self["listen"].append(endpoint)

    def opt_http_listen(self, endpoint: str) -> None:
        """the same for the page and the JSON API, in place of --http-port (several times)"""
        self["http-listen"].append(endpoint)

    def opt_graphite_template(self, rule: str) -> None:
        """which node of a Graphite path is the host, such as dc.*.HOST; before the default rules (several times)"""
        self["graphite-template"].append(rule)

    def opt_graphite_from(self, network: str) -> None:
        """network that may send Graphite lines, which carry no token; else only this machine (several times)"""
        self["graphite-from"].append(network)

    def postOptions(self) -> None:
        """Checks everything; what is wrong is a UsageError that names the option."""
        self.config = ServerConfig.of(self)


@dataclass(frozen=True, slots=True)
class ServerConfig:
    """The options of the collector, checked."""

    listen: tuple[str, ...]  # endpoint descriptions
    http_listen: tuple[str, ...]
    store: StoreAddress
    token: str
    timeouts: Timeouts
    max_connections: int
    batch_size: int  # samples
    batch_time: float  # s
    templates: tuple[Template, ...]
    graphite_from: tuple[Any, ...]  # networks
    own_host: str  # empty: not to be sampled
    interval: float  # s
    stats_interval: float  # s; 0: no statistics in the log
    tiers: tuple[Tier, ...]  # finest first

    @classmethod
    def of(cls, options: Options) -> "ServerConfig":
        """Raises UsageError."""
        duration = at_least(0.1, parse_duration)
        timeout = options.checked("heartbeat-timeout", at_least(1, parse_duration))
        config = cls(
            listen=tuple(options["listen"]) or (_tcp(options, "port"),),
            http_listen=tuple(options["http-listen"]) or (_tcp(options, "http-port"),),
            store=_store(options),
            token=options.token(),
            timeouts=Timeouts(late=timeout / 2, departed=timeout, silent=options.checked("silence-timeout", duration)),
            max_connections=int(options.checked("max-connections", at_least(1, whole))),
            batch_size=int(options.checked("batch-size", at_least(1, whole))),
            batch_time=options.checked("batch-time", at_most(MAX_BATCH_TIME, parse_duration)),
            templates=(*_each(options, "graphite-template", Template.parse), *DEFAULT_TEMPLATES),
            graphite_from=_each(options, "graphite-from", ip_network),
            own_host="" if options["no-self"] else _own_host(options),
            interval=options.checked("interval", duration),
            stats_interval=options.checked("stats-interval", _stats_interval),
            tiers=options.checked("retention", parse_retention),
        )
        for endpoint in (*config.listen, *config.http_listen):
            if ":" not in endpoint:
                raise usage.UsageError(
                    f"{endpoint!r} is no endpoint to listen on: write one such as tcp:9000:interface=127.0.0.1"
                )
            if not config.token and not stays_here(endpoint):
                raise usage.UsageError(
                    f"refusing to listen beyond loopback ({endpoint}) without a token, because anyone who reaches "
                    f"the port could send and read: {HOW_TO_TOKEN}"
                )
        return config


def _tcp(options: Options, name: str) -> str:
    interface = options["interface"]
    try:
        ip_address(interface)
    except ValueError:
        raise usage.UsageError(f"--interface {interface}: write an IP address, such as 127.0.0.1 or ::") from None
    kind = "tcp6" if ":" in interface else "tcp"
    escaped = interface.replace(":", "\\:")
    return f"{kind}:{options.checked(name, port)}:interface={escaped}"


def _stats_interval(text: str) -> float:
    seconds = parse_duration(text)
    if 0 < seconds < 1:
        raise ValueError(f"{text} is below 1 (0 is for no statistics)")
    return seconds


def _store(options: Options) -> StoreAddress:
    text = options["store"] or f"embedded:{Path(user_data_dir('perfmon')) / 'store'}"
    try:
        return parse_store(text)
    except ValueError as problem:
        raise usage.UsageError(str(problem)) from None


def _each(options: Options, name: str, parse: Any) -> tuple[Any, ...]:
    try:
        return tuple(parse(text) for text in options[name])
    except ValueError as problem:
        raise usage.UsageError(f"--{name}: {problem}") from None


def _own_host(options: Options) -> str:
    return own_name() if options["name"] is None else options.checked("name", checked_host)


def stays_here(endpoint: str) -> bool:
    """Whether only this machine can reach what listens on the endpoint description."""
    kind, *arguments = endpoint.replace("\\:", "\0").split(":")
    if kind == "unix":
        return True
    if kind not in ("tcp", "tcp6", "ssl", "tls"):
        return False  # a socket of somebody else's making: nobody knows
    interfaces = [word.removeprefix("interface=") for word in arguments if word.startswith("interface=")]
    try:
        return all(ip_address(interface.replace("\0", ":")).is_loopback for interface in interfaces or [""])
    except ValueError:
        return False


def completed(endpoint: str) -> str:
    """The endpoint description with what Twisted leaves open: the backlog, and who may use a unix socket."""
    kind = endpoint.partition(":")[0]
    if kind in ("tcp", "tcp6", "ssl") and ":backlog=" not in endpoint:
        return f"{endpoint}:backlog={_BACKLOG}"
    if kind == "unix" and ":mode=" not in endpoint:
        return f"{endpoint}:mode=660"  # Twisted's own is 666: every user of the machine, without a token
    return endpoint


def makeService(options: Options) -> IService:
    """The collector as one service."""
    # Both install the reactor, which twistd has chosen by now.
    from twisted.internet import reactor

    return make_collector(options.config, reactor)


def make_collector(config: ServerConfig, reactor: Any) -> IService:
    """Wires the parts together. They stop in the reverse order: the ports first, the store last."""
    from perfmon.net.collector import CollectorFactory, PortSettings
    from perfmon.net.seams import Surroundings
    from perfmon.services.backend import CollectorBackend
    from perfmon.services.commits import Commits
    from perfmon.services.control import Control
    from perfmon.services.descriptors import Descriptors
    from perfmon.services.exports import Exports
    from perfmon.services.gaps import Gaps
    from perfmon.services.garbage import Garbage
    from perfmon.services.ingest import Ingest
    from perfmon.services.lease import Lease
    from perfmon.services.looplag import LoopLag
    from perfmon.services.own_metrics import OwnMetrics
    from perfmon.services.presence import PresenceService
    from perfmon.services.queries import Queries
    from perfmon.services.refusals import Refusals
    from perfmon.services.reports import Reports
    from perfmon.services.sealing import Sealing
    from perfmon.services.staged import StagedService
    from perfmon.services.stats_log import StatsLog
    from perfmon.services.status import Status
    from perfmon.storage.faults import explained
    from perfmon.storage.history import History
    from perfmon.web.site import make_site

    timeout = config.timeouts.departed
    settings = PortSettings(
        config.token,
        timeout / 3,
        timeout,
        config.templates,
        config.graphite_from,
        _connections(config.max_connections),
    )
    collector = StagedService(reactor, STOP_TIMEOUT)
    embedded, store = _store_parts(config, reactor)
    if embedded is not None:
        embedded.setServiceParent(collector)
    store.setServiceParent(collector)

    refusals = Refusals(time.monotonic)
    ingest = Ingest(store, reactor, time.time, config.tiers[0], config.batch_size, config.batch_time)
    store.listen(ingest.store_replaced)
    commits = Commits(time.monotonic)
    ingest.listen(commits)
    sealing = Sealing(store.windows, reactor, time.time)
    presence = PresenceService(store, config.timeouts, reactor, time.monotonic, time.time)
    lease = Lease(store, presence, timeout, reactor, time.monotonic)
    gaps = Gaps(store, reactor, time.time)
    control = Control(store, presence, reactor, time.time)
    factory = CollectorFactory(
        settings, Surroundings(ingest, presence, refusals, gaps, control, reactor, time.time, config.tiers[0].retention)
    )
    presence.listen(factory.hostChanged)
    lease.listen(factory.storeEmptied)
    lag = LoopLag(reactor, time.monotonic)

    def store_problem() -> str | None:
        own = embedded.problem if embedded is not None else None
        found = own or store.problem or lease.problem or ingest.problem
        return None if found is None else explained(found)

    status = Status(
        store,
        config.store.shown,
        store_problem,
        ingest,
        sealing,
        presence,
        refusals,
        factory,
        lag,
        reactor,
        time.monotonic,
    )
    history = History(store.windows)
    queries = Queries(store, history, ingest, control.wanted, reactor, time.time)
    reports, exports = Reports(queries, history, time.time), Exports(history, reactor, time.time)
    backend = CollectorBackend(
        store, queries, reports, exports, status, ingest, presence, control, refusals, reactor, time.time
    )
    descriptors = Descriptors(reactor)
    for service in (Garbage(reactor), sealing, ingest, lease, presence, gaps, control, lag, status, descriptors):
        service.setServiceParent(collector)

    if config.stats_interval:
        statistics = StatsLog(config.stats_interval, ingest, commits, refusals, factory, reactor, time.monotonic)
        statistics.setServiceParent(collector)
    if config.own_host:
        metrics = OwnMetrics(store, ingest, commits, sealing, refusals, factory, lag, reactor)
        own_host, sampling = _own_host_parts(config, reactor, presence, control, ingest, metrics)
        lease.listen(own_host.introduce)
        own_host.setServiceParent(collector)
        for each in sampling:
            each.setServiceParent(collector)
    site = make_site(backend, config.token, time.time)
    for listening in _ports(config, reactor, factory, site, descriptors):
        listening.setServiceParent(collector)
    return collector


def _connections(wanted: int) -> int:
    """How many the system allows of those, and says so if it is fewer."""
    allowed = allow_connections(wanted)
    if allowed < wanted:
        Logger(namespace="perfmon").info(
            "the system's limit of open files (ulimit -Hn) allows {allowed} connections, not {wanted}",
            allowed=allowed,
            wanted=wanted,
        )
    return allowed


def _store_parts(config: ServerConfig, reactor: Any) -> "tuple[EmbeddedServer | None, Store]":
    """The store, and the server of its own that it has unless --store names another. May raise SystemExit."""
    from twisted.internet.endpoints import clientFromString

    from perfmon.storage.embedded import EmbeddedServer, StoreSetupError
    from perfmon.storage.store import Store

    address, embedded = config.store, None
    try:
        if address.directory is not None:
            embedded = EmbeddedServer(address.directory, reactor, reactor)
        endpoint: IStreamClientEndpoint = embedded or clientFromString(reactor, address.endpoint)
    except StoreSetupError as problem:
        raise SystemExit(f"perfmon: {problem}") from None
    except (ValueError, TypeError, OSError) as problem:
        raise SystemExit(f"perfmon: --store {address.shown}: {problem}") from None
    # one of its own at each start: of two that share a store, neither is taken for the other
    name = f"{own_name()}-{secrets.token_hex(4)}"
    return embedded, Store(
        endpoint, reactor, address.user, address.password, address.database, config.tiers, collector=name
    )


def _own_host_parts(
    config: ServerConfig,
    reactor: Any,
    presence: "PresenceService",
    control: "Control",
    ingest: "Ingest",
    metrics: "OwnMetrics",
) -> "tuple[OwnHost, list[Sampling]]":
    """The collector's own host, and what samples it and the collector itself."""
    from twisted.internet.threads import deferToThread

    from perfmon.probes.sampler import Sampler, all_probes
    from perfmon.services.own_host import OwnHost, Rounds
    from perfmon.services.sampling import Sampling

    hello: Hello = this_host(config.own_host, config.interval)
    sampler = Sampler(all_probes())
    # Rounds of their own: a probe that hangs does not keep the collector from telling of itself.
    sampling = [
        Sampling(config.interval, sample, Rounds(config.own_host, ingest).take, reactor, time.time)
        for sample in (lambda: deferToThread(sampler.sample), metrics.sample)
    ]
    return OwnHost(hello, config.timeouts.departed / 3, presence, control, sampling, reactor), sampling


def _ports(
    config: ServerConfig, reactor: Any, agents: "Factory[Any]", site: "Factory[Any]", descriptors: "Descriptors"
) -> "Iterator[Listening]":
    """What listens. May raise SystemExit."""
    from twisted.internet.endpoints import serverFromString

    from perfmon.services.listening import Listening

    for what, url, descriptions, served in (
        ("agents and Graphite senders", "{}", config.listen, agents),
        ("page and API", "http://{}/", config.http_listen, site),
    ):
        for description in descriptions:
            try:
                server = serverFromString(reactor, completed(description))
            except (ValueError, TypeError, OSError) as problem:
                raise SystemExit(f"perfmon: cannot listen on {description!r}: {problem}") from None
            shown = url.replace("http:", "https:") if description.startswith("ssl:") else url
            yield Listening(what, server, description, served, descriptors, shown)
