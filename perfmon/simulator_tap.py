"""``twistd perfmon-simulator``: options of the simulator, and the wiring of its parts."""

import atexit
import os
import signal
import sys
import time
from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgspec
from twisted.application.service import IService
from twisted.python import usage

from perfmon.connecting import ServerOptions, client_endpoint
from perfmon.core.messages import MAX_SCHEMA
from perfmon.core.names import checked_host
from perfmon.core.tiers import parse_duration
from perfmon.files import allow_connections
from perfmon.host import this_host
from perfmon.options import at_least, whole

DEFAULT_INTERVAL = 10.0  # s, as of the real agent

# The store keeps milliseconds: rounds of one agent that came much faster would have the same time.
MIN_INTERVAL = 0.01  # s

# Ten times what one collector is made for; a slip of the finger should not take all memory.
MAX_AGENTS = 100_000


class Options(ServerOptions):
    """The command line of the simulator."""

    synopsis = "--server HOST:PORT [options]"
    longdesc = "Simulates machines that push to a perfmon collector, and checks that all they send is acknowledged."

    optParameters = [
        ["agents", "a", "10", "how many machines"],
        ["metrics", "m", "100", "metrics of each machine"],
        ["interval", "i", None, "time between samples of a machine; 10s, unless --rate says it"],
        ["rate", "r", None, "samples a second of all machines together, in place of --interval"],
        ["idle-share", None, "0.2", "share of the machines that do nearly nothing"],
        ["seed", None, "1", "whole number; another one makes other machines"],
        ["duration", "d", None, "ends after so long; by default at SIGINT or SIGTERM"],
        ["prefix", None, "sim", "names of the machines begin so"],
        ["token-file", None, None, "file with the collector's token"],
    ]
    optFlags = [["graphite", "g", "send Graphite lines, which nobody acknowledges, over a few connections"]]

    def postOptions(self) -> None:
        """Checks everything; what is wrong is a UsageError that names the option."""
        self.config = SimulatorConfig.of(self)


@dataclass(frozen=True, slots=True)
class SimulatorConfig:
    """The options of the simulator, checked."""

    servers: tuple[str, ...]  # HOST:PORT, or client endpoint descriptions
    agents: int
    metrics: int
    interval: float  # s
    idle_share: float  # 0 to 1
    seed: int
    duration: float | None  # s
    prefix: str
    graphite: bool
    token: str

    @classmethod
    def of(cls, options: Options) -> "SimulatorConfig":
        """Raises UsageError."""
        agents = options.checked("agents", lambda text: _whole_within(text, 1, MAX_AGENTS))
        metrics = options.checked("metrics", lambda text: _whole_within(text, 1, MAX_SCHEMA))
        config = cls(
            servers=options.servers(),
            agents=agents,
            metrics=metrics,
            interval=_interval(options, agents * metrics),
            idle_share=options.checked("idle-share", _share),
            seed=options.checked("seed", lambda text: _whole_within(text, 0, 2**32 - 1)),
            duration=None if options["duration"] is None else options.checked("duration", at_least(1, parse_duration)),
            prefix=options.checked("prefix", _prefix),
            graphite=bool(options["graphite"]),
            token=options.token(),
        )
        if config.graphite and config.token:
            raise usage.UsageError("--token-file: Graphite lines carry no token; leave out either this or --graphite")
        if config.graphite and len(config.servers) > 1:
            raise usage.UsageError("--server: Graphite lines go to one; leave out the others, or --graphite")
        return config

    def name(self, number: int) -> str:
        """Of the machine `number`, counted from 0."""
        return f"{self.prefix}{number + 1:05}"


def _interval(options: Options, samples: int) -> float:
    """Between the rounds (s) of machines that have `samples` in one round of all of them."""
    if options["rate"] is None:
        if options["interval"] is None:
            return DEFAULT_INTERVAL
        return options.checked("interval", at_least(0.1, parse_duration))
    if options["interval"] is not None:
        raise usage.UsageError("--rate and --interval say the same thing in two ways; leave out either")
    interval = samples / options.checked("rate", _positive)
    if interval < MIN_INTERVAL:
        raise usage.UsageError(
            f"--rate {options['rate']}: each machine would sample every {1000 * interval:.3g} ms, which must be at "
            f"least {1000 * MIN_INTERVAL:g} ms; ask for less, or for more with --agents or --metrics"
        )
    return interval


def _whole_within(text: str, least: int, most: int) -> int:
    number = whole(text)
    if not least <= number <= most:
        raise ValueError(f"{text} is not within {least} to {most}")
    return number


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise ValueError(f"{text!r} is no number")
    return number


def _positive(text: str) -> float:
    number = _number(text)
    if number <= 0:
        raise ValueError(f"{text} is not above 0: write samples a second, such as 10000")
    return number


def _share(text: str) -> float:
    number = _number(text)
    if not 0 <= number <= 1:
        raise ValueError(f"{text} is not within 0 to 1: write 0.2 for one machine in five")
    return number


def _prefix(text: str) -> str:
    checked_host(f"{text}{MAX_AGENTS}")
    return text


def makeService(options: Options) -> IService:
    """The simulator as one service."""
    # Installs the reactor, which twistd has chosen by now.
    from twisted.internet import reactor

    return make_simulator(options.config, reactor)


def make_simulator(config: SimulatorConfig, reactor: Any) -> IService:
    """Wires the parts together."""
    from twisted.logger import Logger

    from perfmon.core.simulated_fleet import SimulatedFleet
    from perfmon.core.tally import Tally
    from perfmon.net.simulated_agents import SimulatedAgents
    from perfmon.net.simulated_graphite import SimulatedGraphite
    from perfmon.services.beats import SharedBeats
    from perfmon.services.simulation import GRACE, Sending, Simulation
    from perfmon.services.staged import StagedService
    from perfmon.services.thinned import Thinned

    servers = [(server, client_endpoint(reactor, server, "perfmon-simulator")) for server in config.servers]
    fleet = SimulatedFleet(
        config.agents, config.metrics, config.interval, config.idle_share, config.seed, start=time.time()
    )
    simulator, tally = StagedService(reactor, 2 * GRACE), Tally()
    log = Logger(namespace="perfmon.simulator", observer=Thinned())
    names = [config.name(number) for number in range(config.agents)]
    if config.graphite:
        ((shown, endpoint),) = servers
        sending: Sending = SimulatedGraphite(endpoint, shown, names, fleet.names, tally, log, reactor)
    else:
        allowed = allow_connections(config.agents)
        if allowed < config.agents:
            raise SystemExit(
                f"perfmon-simulator: the system's limit of open files (ulimit -Hn) allows {allowed} connections, "
                f"not {config.agents}: raise it, or use --agents {allowed}"
            )
        ours = this_host(config.prefix, config.interval, token=config.token)
        hellos = [
            msgspec.structs.replace(
                ours,
                host=name,
                labels={"simulated": "yes", "profile": str(fleet.profile(number))},
                platform={
                    "system": "simulated",
                    "cpus": f"{fleet.cores[number]:.0f}",
                    "memory": f"{fleet.memory[number]:.0f}",
                },
            )
            for number, name in enumerate(names)
        ]
        beats = SharedBeats(reactor)
        beats.setServiceParent(simulator)
        sending = SimulatedAgents(servers, hellos, fleet.names, tally, beats.beats, log, reactor, time.time)
    simulation = Simulation(fleet, config.agents, config.interval, sending, tally, _print_summary, reactor, time.time)
    simulation.setServiceParent(simulator)
    reactor.callWhenRunning(_end_in_order, reactor, simulation, config.duration)
    return simulator


def _end_in_order(reactor: Any, simulation: Any, duration: float | None) -> None:
    """SIGINT and SIGTERM end the simulation, as does its duration; a second one waits for no acknowledgements.

    Twisted's own handlers would end the process by the same signal, whatever its exit status should have been.
    """

    def end() -> None:
        if simulation.running:
            reactor.stop()
        else:
            simulation.hurry()

    if duration is not None:
        reactor.callLater(duration, lambda: simulation.running and reactor.stop())
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: reactor.callFromThread(end))


def _print_summary(summary: Any) -> None:
    """Prints the figures, and sees to the exit status."""
    out = sys.__stdout__  # sys.stdout is the log by now
    if out is not None:
        out.write(summary.text())
        out.flush()
    if summary.problem is not None:
        # twistd has no way to be told an exit status. The last to register is the first to be called; what it leaves
        # out are others' handlers of a process that ends anyway.
        atexit.register(os._exit, 1)
