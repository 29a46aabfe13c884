"""Agents, load, collector and store as real processes, with routes between them, and the faults that befall them."""

import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tests.integration.faults.departures import Blind
from tests.integration.faults.fault import Fault, Kind, Target
from tests.integration.faults.ledger import Ledger
from tests.integration.faults.network import Impairment, Network, Route
from tests.integration.faults.posters import GraphitePoster, HttpPoster
from tests.integration.harness import TWISTD, Agent, Collector, Running, eventually
from tests.programs import STORE_SERVERS

TIMEOUT = 3.0  # s, of heartbeats; the rules are the same for the default of 15 s

# Between the rounds of an agent.
INTERVAL = 1.0  # s

# A collector that is started has its store after that, also one that must read its files first, or is frozen a while.
_READY = 60.0  # s

# A slow link: what an agent says of a round in a second takes it about half a second.
SLOW = Impairment(rate=4_000.0, latency=0.1)


class StoreServer(Running):
    """A store that has on disk what it has confirmed."""

    def __init__(self, folder: Path, port: int) -> None:
        data = folder / "data"
        data.mkdir(exist_ok=True)
        super().__init__(
            [
                *(next(iter(STORE_SERVERS.values())), "--port", str(port), "--bind", "127.0.0.1"),
                *("--dir", str(data), "--appendonly", "yes", "--appendfsync", "always", "--save", ""),
            ],
            folder,
        )
        self.says("Ready to accept connections")


@dataclass(slots=True)
class Watched:
    """An agent with a route of its own."""

    name: str
    route: Route
    agent: Agent


class Stage:
    """One collector with all around it. Faults may come from several threads, one at a time for each target."""

    def __init__(self, folder: Path, agents: int, load: int, seed: int = 0) -> None:
        """`agents` are watched, one by one; `load` more come from one simulator."""
        self._folder = folder
        self._random = random.Random(seed)
        self._lock = threading.Lock()
        self.network = Network()
        self.ledger = Ledger()
        self.blinds: list[Blind] = []
        self.counts: Counter[tuple[Target, Kind]] = Counter()
        self.history: list[str] = []
        self._ends: list[Callable[[], None]] = [self.network.close]
        try:
            self._build(agents, load)
        except BaseException:
            self.close()
            raise

    def _build(self, agents: int, load: int) -> None:
        self._store_port = _free_port()
        self._store = StoreServer(self._folder, self._store_port)
        self._ends.append(lambda: self._store.stop())
        self._store_route = self.network.route(("127.0.0.1", self._store_port))
        self._options: tuple[str, ...] = ("--no-self", "--heartbeat-timeout", f"{TIMEOUT}s", "--silence-timeout", "1h")
        self.collector = self._new_collector()
        self._options += ("--port", str(self.collector.port), "--http-port", str(self.collector.http_port))
        self._ends.append(lambda: self.collector.stop())
        self.collector.ready()
        here, page = ("127.0.0.1", self.collector.port), ("127.0.0.1", self.collector.http_port)
        self.begun = time.time() - 1
        self._load_route = self.network.route(here, self.ledger)
        self._load = Running(
            [
                *(str(TWISTD), "-n", "--pidfile=", "perfmon-simulator", "--interval", f"{INTERVAL}s"),
                *("--server", f"127.0.0.1:{self._load_route.port}", "--agents", str(load), "--metrics", "20"),
            ],
            self._folder,
        )
        self._ends.append(self._load.stop)
        http, lines = self.network.route(page), self.network.route(here)
        self.http = HttpPoster("http", http.port)
        self._ends.append(self.http.stop)
        self.graphite = GraphitePoster("graphite", lines.port)
        self._ends.append(self.graphite.stop)
        self.watched = [self._new_agent(f"agent{number}") for number in range(agents)]
        self._all_routes = [self._load_route, http, lines, *(one.route for one in self.watched)]
        eventually(lambda: len(self.ledger.hosts) == agents + load, "all agents to be there")

    def _new_collector(self) -> Collector:
        return Collector(self._folder, *self._options, store=f"redis://127.0.0.1:{self._store_route.port}/0")

    def _new_agent(self, name: str) -> Watched:
        route = self.network.route(("127.0.0.1", self.collector.port), self.ledger)
        watched = Watched(name, route, self._start_agent(name, route))
        self._ends.append(lambda: watched.agent.stop())
        return watched

    def _start_agent(self, name: str, route: Route) -> Agent:
        return Agent(self._folder, route.port, name, "--interval", f"{INTERVAL}s")

    def close(self) -> None:
        """Ends everything, however it is."""
        for end in reversed(self._ends):
            end()
        self._ends.clear()

    # -- faults

    def inflict(self, fault: Fault) -> None:
        """Returns when it is over, and what was ended is started again."""
        begin = time.time()
        try:
            self._inflict(fault)
        finally:
            with self._lock:
                self.counts[fault.target, fault.kind] += 1
                self.history.append(f"{begin:.3f} to {time.time():.3f}  {fault}")

    def _inflict(self, fault: Fault) -> None:
        if fault.kind in (Kind.CUT, Kind.RESET, Kind.SLOW):
            self._disturb(fault)
        else:
            {Target.AGENT: self._hit_agent, Target.COLLECTOR: self._hit_collector, Target.STORE: self._hit_store}[
                fault.target
            ](fault)

    def _disturb(self, fault: Fault) -> None:
        """The network."""
        routes = {
            Target.AGENT: [self.watched[fault.agent].route],
            Target.COLLECTOR: self._all_routes,
            Target.STORE: [self._store_route],
        }[fault.target]
        begin, name = time.time(), str(fault.target)
        if fault.kind is Kind.RESET:
            self.network.reset(routes, up=self._random.random() < 0.7)
            time.sleep(fault.hold)  # the length of the fault
        else:
            # a network that is away may be silent, or say so
            cut = Impairment(cut=True) if self._random.random() < 0.7 else Impairment(refusing=True)
            for route in routes:
                route.impair(name, SLOW if fault.kind is Kind.SLOW else cut)
            time.sleep(fault.hold)  # the length of the fault
            for route in routes:
                route.heal(name)
        if fault.target is Target.STORE:
            self._blind(begin, store=True)

    def _blind(self, begin: float, restarted: bool = False, store: bool = False) -> None:
        # what comes back reconnects, and writes what has waited
        after = 3.0 if store else 0.0
        with self._lock:
            self.blinds.append(Blind(begin, time.time() + after, restarted, store))

    def _hit_agent(self, fault: Fault) -> None:
        watched = self.watched[fault.agent]
        if fault.kind is Kind.FREEZE:
            self._freeze(watched.agent, fault.hold)
        else:
            watched.agent.signal(signal.SIGKILL if fault.kind is Kind.KILL else signal.SIGTERM)
            watched.agent.ended()
            self._expect_spooled(watched)
            time.sleep(fault.hold)  # the length of the fault
            watched.agent = self._start_agent(watched.name, watched.route)

    def _expect_spooled(self, watched: Watched) -> None:
        """What has ended left rounds on its disk: they are to be stored, also if it has told nobody of them."""
        with suppress(FileNotFoundError):  # it was ended before it had one
            times = {round(moment * 1000) for moment in watched.agent.spooled()}
            self.ledger.expect(watched.name, times)

    def _freeze(self, process: Running, hold: float) -> None:
        process.signal(signal.SIGSTOP)
        time.sleep(hold)  # the length of the fault
        process.signal(signal.SIGCONT)

    def _hit_collector(self, fault: Fault) -> None:
        begin = time.time()
        if fault.kind is Kind.FREEZE:
            self._freeze(self.collector, fault.hold)
            self._blind(begin)
            return
        self.collector.signal(signal.SIGKILL if fault.kind is Kind.KILL else signal.SIGTERM)
        self.collector.ended()
        time.sleep(fault.hold)  # the length of the fault
        self.collector = self._new_collector()
        eventually(lambda: self.collector.ask("/readyz")[0] == 200, "the store to be ready", _READY)
        self._blind(begin, restarted=True)

    def _hit_store(self, fault: Fault) -> None:
        begin = time.time()
        if fault.kind is Kind.FREEZE:
            self._freeze(self._store, fault.hold)
        else:
            self._store.signal(signal.SIGKILL if fault.kind is Kind.KILL else signal.SIGTERM)
            self._store.ended()
            time.sleep(fault.hold)  # the length of the fault
            self._store = StoreServer(self._folder, self._store_port)
        self._blind(begin, store=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
