"""The command line of the collector, ``twistd perfmon``, and what it means."""

from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from platformdirs import user_data_dir
from twisted.python import usage

from perfmon.core.heads import BATCH_SIZE
from perfmon.core.names import checked_host
from perfmon.core.presence import Timeouts
from perfmon.core.prices import BadPrices, Prices, parse_prices
from perfmon.core.templates import DEFAULT_TEMPLATES, Template
from perfmon.core.tiers import Tier, parse_duration, parse_retention
from perfmon.host import own_name
from perfmon.options import HOW_TO_TOKEN, ConfigurableOptions, at_least, at_most, port, whole
from perfmon.storage.address import SYNCS, StoreAddress, parse_store

# Connections that wait to be accepted: a whole fleet that comes back at once must not be turned away. The system grants
# less where its own limit is lower (Linux: net.core.somaxconn, 4,096 by default).
_BACKLOG = 16_384

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
        ["store-sync", None, None, "embedded store: what outlives a loss of power, everysec (default) or always"],
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
        ["benchmark-retention", None, "400d", "how long benchmark runs are kept"],
        ["prices", None, None, "TOML file with the price of a core and of a GiB a month, for rightsizing"],
        ["benchmark-port", None, "0", "port on which echo benchmarks are answered; 0 takes a free one for each"],
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
    store_sync: str  # of the embedded store
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
    benchmark_retention: float  # s
    benchmark_port: int  # 0: any
    prices: Prices | None  # of machines
    benchmark_address: str  # on which echo benchmarks are answered

    @classmethod
    def of(cls, options: Options) -> "ServerConfig":
        """Raises UsageError."""
        duration = at_least(0.1, parse_duration)
        timeout = options.checked("heartbeat-timeout", at_least(1, parse_duration))
        config = cls(
            listen=tuple(options["listen"]) or (_tcp(options, "port"),),
            http_listen=tuple(options["http-listen"]) or (_tcp(options, "http-port"),),
            store=(store := _store(options)),
            store_sync=_sync(options, store),
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
            benchmark_retention=options.checked("benchmark-retention", at_least(60, parse_duration)),
            benchmark_port=int(options.checked("benchmark-port", port)),
            prices=None if options["prices"] is None else options.checked("prices", _prices),
            benchmark_address=options["interface"],
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


def _prices(path: str) -> Prices:
    try:
        return parse_prices(Path(path).expanduser().read_text())
    except (OSError, UnicodeDecodeError, BadPrices) as problem:
        raise ValueError(f"{path}: {problem}") from None


def _store(options: Options) -> StoreAddress:
    text = options["store"] or f"embedded:{Path(user_data_dir('perfmon')) / 'store'}"
    try:
        return parse_store(text)
    except ValueError as problem:
        raise usage.UsageError(str(problem)) from None


def _sync(options: Options, store: StoreAddress) -> str:
    sync: str | None = options["store-sync"]
    if sync is None:
        return SYNCS[0]
    if sync not in SYNCS:
        raise usage.UsageError(f"--store-sync: {sync!r} is none of {', '.join(SYNCS)}")
    if store.directory is None:
        raise usage.UsageError(f"--store-sync is for the embedded store: set appendfsync {sync} in the server itself")
    return sync


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
