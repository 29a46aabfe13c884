"""10,000 agents: how soon they are all connected, and what they cost as they go on.

Imported by ingest.py, not run by itself.
"""

import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
from agents import Agents, beats, paced, share
from figures import Figure, Watch
from proof import prove
from senders import await_stored
from throughput import collector
from traffic import Traffic, moments

# What is to be reached, with so many agents, metrics and seconds between two rounds.
CONNECTED, CORE, MEMORY = "5 s", "0.3", "250 MB"
_TARGETS_ARE_FOR = 10_000, 100, 10.0

# Files of a process beside its connections.
_OWN = 300


def allow_files(connections: int) -> None:
    """Raises the limit of open files, for this process and for those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _OWN
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise SystemExit(f"--agents {connections}: the limit of open files (ulimit -Hn) is {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def crowd(count: int, metrics: int, period: float, rounds: int, with_beats: bool) -> Iterator[Figure]:
    """All agents connect at once, then each sends a round every `period` s; the first round does not count."""
    allow_files(count)
    aimed = (count, metrics, period) == _TARGETS_ARE_FOR
    traffic = Traffic(count, metrics, moments(1 + rounds))
    with collector() as one:
        agents = Agents(one.port, traffic)
        process = psutil.Process(one.process.pid)
        before = process.memory_info().rss
        turned_away = _turned_away()
        watch = Watch.over(one)
        seconds = agents.connect()
        yield Figure(
            f"4 {count:,} connections at once, all welcomed",
            f"{seconds:.2f} s",
            CONNECTED if aimed else "",
            load=watch.load(seconds),
            more=f"listen backlog {_backlog(one.port)}, SYNs that met a full one: {_turned_away() - turned_away:,}",
        )

        each = (process.memory_info().rss - before) / count
        yield Figure("4 memory for each of them", f"{each / 1e3:.1f} kB", more="growth of the collector's RSS")

        first: list[Watch] = []
        sizes = [process.memory_info().rss]

        def look(now: float) -> None:
            if now >= period and not first:
                first.append(Watch.over(one))
            if now >= len(sizes):
                sizes.append(process.memory_info().rss)

        schedule = paced(count, 1 + rounds, period)
        if with_beats:
            schedule = sorted(schedule + beats(count, 1 + rounds, period, agents.heartbeat))
        agents.run(schedule, count * (1 + rounds), look)
        load = first[0].load()
        status = await_stored(one, traffic.samples)
        assert status["agents"]["connected"] == count, status["agents"]
        taken = [seconds for due, seconds in agents.taken if due >= period]
        prove(one.store_socket, traffic)
        agents.close()
    what = f"4 {count:,} agents, {metrics} metrics each {period:g} s"
    signs = f"heartbeats {agents.heartbeat:g} s after a round" if with_beats else "no heartbeats"
    yield Figure(
        f"{what}: CPU",
        f"{load.collector + load.store:.2f} cores",
        CORE if aimed else "",
        load=load,
        more=f"{load.seconds:.0f} s, {signs}; all {agents.acked:,} rounds acknowledged, {agents.reconnects} reconnects",
    )
    yield Figure(
        f"{what}: RSS", f"{max(sizes) / 1e6:.0f} MB", MEMORY if aimed else "", more="of the collector, the most"
    )
    yield Figure(
        f"{what}: ack, p99",
        f"{1e3 * share(taken, 0.99):.1f} ms",
        spread=f"p50 {1e3 * share(taken, 0.5):.1f} ms",
        more=f"max {1e3 * max(taken):.0f} ms; sent at most {1e3 * agents.behind:.0f} ms late",
    )


def _backlog(port: int) -> str:
    """How many connections may wait on a port to be accepted; the system tells by `ss` only."""
    if shutil.which("ss") is None:
        return "unknown (no ss)"
    found = subprocess.run(["ss", "-ltnH", f"sport = :{port}"], capture_output=True, text=True, check=True)
    return found.stdout.split()[2]


def _turned_away() -> int:
    """Connection attempts of the whole system that met a full queue; each is made again after a second or more."""
    names, values = (
        line.split() for line in Path("/proc/net/netstat").read_text().splitlines() if line.startswith("TcpExt:")
    )
    return int(dict(zip(names, values, strict=True)).get("ListenOverflows", 0))
