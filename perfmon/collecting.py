"""The collector: the wiring of its parts.

Importing this module installs the reactor (the store's library does).
"""

import secrets
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from twisted.application.service import IService
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread
from twisted.logger import Logger

from perfmon import __version__
from perfmon.core.messages import Hello
from perfmon.files import allow_connections
from perfmon.host import own_name, this_host
from perfmon.net.collector import CollectorFactory, PortSettings
from perfmon.net.seams import Surroundings
from perfmon.probes.sampler import Sampler, all_probes
from perfmon.server_options import ServerConfig, completed
from perfmon.services.answering import Answering
from perfmon.services.backend import CollectorBackend
from perfmon.services.commits import Commits
from perfmon.services.control import Control
from perfmon.services.descriptors import Descriptors
from perfmon.services.event_search import found_events
from perfmon.services.exports import Exports
from perfmon.services.gaps import Gaps
from perfmon.services.garbage import Garbage
from perfmon.services.ingest import Ingest
from perfmon.services.lease import Lease
from perfmon.services.listening import Listening
from perfmon.services.live import Live
from perfmon.services.looplag import LoopLag
from perfmon.services.own_host import OwnHost, Rounds
from perfmon.services.own_metrics import OwnMetrics
from perfmon.services.presence import PresenceService
from perfmon.services.queries import Queries
from perfmon.services.refusals import Refusals
from perfmon.services.reports import Reports
from perfmon.services.rightsizing import Rightsizing
from perfmon.services.runs import Runs
from perfmon.services.sampling import Sampling
from perfmon.services.sealing import Sealing
from perfmon.services.staged import StagedService
from perfmon.services.stats_log import StatsLog
from perfmon.services.status import Status
from perfmon.storage.embedded import EmbeddedServer, StoreSetupError
from perfmon.storage.faults import explained
from perfmon.storage.history import History
from perfmon.storage.store import Store
from perfmon.web.site import make_site

# Whoever ends the collector has it ended within 10 s, also where the store does not answer: so long for all but the
# embedded server, which has its own time after that.
STOP_TIMEOUT = 6.0  # s


def make_collector(config: ServerConfig, reactor: Any) -> IService:
    """Wires the parts together. They stop in the reverse order: the ports first, the store last."""
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
    answering = Answering(config.benchmark_address, config.benchmark_port, reactor, time.time)
    runs = Runs(store.runs, answering, config.benchmark_retention, reactor, time.time)
    kept = config.tiers[0].retention
    around = Surroundings(ingest, presence, refusals, gaps, control, runs, reactor, time.time, kept)
    factory = CollectorFactory(settings, around)
    presence.listen(factory.hostChanged)
    lease.listen(factory.storeEmptied)
    lag = LoopLag(reactor, time.monotonic)

    def store_problem() -> str | None:
        own = embedded.problem if embedded is not None else None
        found = own or store.problem or lease.problem or ingest.problem
        return None if found is None else explained(found, embedded is not None)

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
    live = Live(queries, presence, partial(found_events, store), status.report, reactor, time.time)
    rightsizing = Rightsizing(queries, history, store.runs, store.notes, config.prices, reactor, time.time)
    backend = CollectorBackend(
        *(store, queries, reports, exports, status, ingest, presence, control, live, runs, rightsizing, refusals),
        *(reactor, time.time),
    )
    descriptors = Descriptors(reactor)
    for service in (
        Garbage(reactor),
        sealing,
        ingest,
        lease,
        presence,
        gaps,
        control,
        answering,
        runs,
        lag,
        status,
        live,
        descriptors,
    ):
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
    site = make_site(backend, config.token, time.time, version=__version__)
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


def _store_parts(config: ServerConfig, reactor: Any) -> tuple[EmbeddedServer | None, Store]:
    """The store, and the server of its own that it has unless --store names another. May raise SystemExit."""
    address, embedded = config.store, None
    try:
        if address.directory is not None:
            embedded = EmbeddedServer(address.directory, reactor, reactor, config.store_sync)
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
    presence: PresenceService,
    control: Control,
    ingest: Ingest,
    metrics: OwnMetrics,
) -> tuple[OwnHost, list[Sampling]]:
    """The collector's own host, and what samples it and the collector itself."""
    hello: Hello = this_host(config.own_host, config.interval)
    sampler = Sampler(all_probes())
    # Rounds of their own: a probe that hangs does not keep the collector from telling of itself.
    sampling = [
        Sampling(config.interval, sample, Rounds(config.own_host, ingest).take, reactor, time.time)
        for sample in (lambda: deferToThread(sampler.sample), metrics.sample)
    ]
    return OwnHost(hello, config.timeouts.departed / 3, presence, control, sampling, reactor), sampling


def _ports(
    config: ServerConfig, reactor: Any, agents: "Factory[Any]", site: "Factory[Any]", descriptors: Descriptors
) -> Iterator[Listening]:
    """What listens. May raise SystemExit."""
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
