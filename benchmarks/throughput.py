"""How much is stored per second, as fast as it comes: Graphite lines, agents' samples, series that are new.

Imported by ingest.py, not run by itself. Each pass has a collector of its own, with nothing in its store.
"""

import itertools
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from agents import Agents, at_once
from common import Collector
from figures import Figure, Load, Watch, rate
from proof import prove
from senders import Lines, await_stored
from traffic import Traffic, moments

# What is to be reached, in samples per second.
GRAPHITE, SAMPLES, SERIES = 1.75e6, 4e6, 0.4e6

Pass = tuple[float, Load]
"""Samples per second, and what that took."""


@dataclass(frozen=True, slots=True)
class Size:
    """What is sent in one pass."""

    hosts: int
    metrics: int
    rounds: int
    connections: int  # of Graphite
    repeat: int

    @property
    def samples(self) -> int:
        return self.hosts * self.metrics * self.rounds

    def traffic(self) -> Traffic:
        """Rounds for a pass in which all series are new, and as many for one in which they are known."""
        return Traffic(self.hosts, self.metrics, moments(2 * self.rounds))

    def halves(self) -> tuple[range, range]:
        return range(self.rounds), range(self.rounds, 2 * self.rounds)


@contextmanager
def collector() -> Iterator[Collector]:
    """One with an embedded store, empty."""
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        found = Collector(Path(folder))
        try:
            yield found
        finally:
            found.stop()


def graphite(size: Size) -> Iterator[Figure]:
    """Lines per second by Graphite: of series that the collector did not know, then of the same ones."""
    traffic = size.traffic()
    streams = [traffic.graphite(rounds, size.connections) for rounds in size.halves()]
    bytes_each = sum(map(len, itertools.chain(*streams))) / traffic.samples
    passes: list[list[Pass]] = [[], []]
    for _ in range(size.repeat):
        with collector() as one:
            lines = Lines(one.port, size.connections)
            for number, half in enumerate(streams):
                watch = Watch.over(one)
                lines.send(half)
                await_stored(one, (number + 1) * size.samples)
                load = watch.load()
                passes[number].append((size.samples / load.seconds, load))
            prove(one.store_socket, traffic)
            lines.close()
    more = f"{size.samples:,} lines of {bytes_each:.0f} bytes, {size.connections} connections"
    yield rate("1 Graphite lines, at first unknown series", GRAPHITE, passes[0], more)
    yield rate("1 Graphite lines, known series", GRAPHITE, passes[1])


def samples(size: Size) -> Iterator[Figure]:
    """Samples per second by the agents' protocol, the same way."""
    passes: list[list[Pass]] = [[], []]
    traffic = size.traffic()
    for _ in range(size.repeat):
        with collector() as one:
            agents = Agents(one.port, traffic)
            agents.connect()
            for number in range(2):
                watch = Watch.over(one)
                agents.run(at_once(size.hosts, (number + 1) * size.rounds), (number + 1) * size.hosts * size.rounds)
                load = watch.load(agents.last_ack)
                passes[number].append((size.samples / load.seconds, load))
            await_stored(one, traffic.samples)
            prove(one.store_socket, traffic)
            agents.close()
    yield rate("2 samples of agents, first rounds", SAMPLES, passes[0], f"{size.samples:,}, {size.hosts:,} agents")
    yield rate("2 samples of agents, more rounds", SAMPLES, passes[1])


def series(hosts: int, metrics: int, connections: int, repeat: int) -> Iterator[Figure]:
    """New series per second: Graphite lines, each of a path that was never seen."""
    traffic = Traffic(hosts, metrics, moments(1))
    streams = traffic.graphite(range(1), connections)
    passes: list[Pass] = []
    for _ in range(repeat):
        with collector() as one:
            lines = Lines(one.port, connections)
            watch = Watch.over(one)
            lines.send(streams)
            await_stored(one, traffic.samples)
            load = watch.load()
            passes.append((traffic.samples / load.seconds, load))
            prove(one.store_socket, traffic)
            lines.close()
    yield rate("3 new series", SERIES, passes, f"{traffic.samples:,} series of {hosts:,} hosts")


def hold(size: Size, graphite: bool, tell: Callable[[str], None]) -> None:
    """Sends the same rounds on and on, each pass as fast as it goes, until Ctrl-C."""
    traffic = Traffic(size.hosts, size.metrics, moments(size.rounds))
    streams = traffic.graphite(range(size.rounds), size.connections) if graphite else []
    with collector() as one:
        pids = one.pids
        tell(f"sending on; collector {pids[0]}, store {pids[1]}")
        lines = Lines(one.port, size.connections)
        agents = Agents(one.port, traffic) if not graphite else None
        if agents is not None:
            agents.connect()
        for number in itertools.count(1):
            watch = Watch.over(one)
            if agents is None:
                lines.send(streams)
                await_stored(one, number * size.samples)
            else:
                agents.run(at_once(size.hosts, size.rounds), size.hosts * size.rounds)
                agents.again()
            tell(f"{size.samples / watch.load().seconds / 1e6:.3f} M/s")
