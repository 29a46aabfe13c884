"""What the collector takes in: lines and samples stored per second, 10,000 agents, latency of acks, a store that stops.

    python benchmarks/ingest.py [--only 12] [--repeat 3] [--hosts 1000]

1 graphite   Graphite lines stored per second
2 samples    samples stored per second by the agents' protocol
3 series     new series stored per second: Graphite paths that were never seen
4 agents     10,000 agents: all connect at once, then each sends a round every 10 s
5 latency    time until an ack at 10, 50 and 90 % of what 2 has found
6 carbon     carbon beside 1, where it is installed: pip install '.[benchmark]'
7 stopped    the store is stopped under the load that 2 has found, and goes on later

Collector and embedded store (append-only file on) share one core; the senders have the other, and send bytes made
beforehand. The clock runs from the first byte until the collector has counted the last sample as stored, or until the
last ack was read. Then every sample is read from the store itself, and compared: a figure is printed only if all of
them are there. Beside it stand the shares of the server's core that the collector, the store and everybody else had,
and that of the sender's core. Where others have much, times say little: M/CPU s, the millions for each second of CPU
that collector and store used, says more then.
"""

import argparse
import gc
import shlex
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace

import throughput
from beside_carbon import INSTALL, beside_carbon, installed
from common import CLIENT_CORE, SERVER_CORE, machine, pin, versions
from crowd import crowd
from figures import Figure, header, row
from latency import latency
from stopped_store import stopped
from traffic import Traffic, moments

_NAMES = ("graphite", "samples", "series", "agents", "latency", "carbon", "stopped")


def chosen(text: str) -> set[str]:
    """Names of the measurements in ``"12"`` or ``"graphite,samples"``."""
    numbered = {str(number): name for number, name in enumerate(_NAMES, 1)}
    found = {numbered.get(word, word) for word in (text if text.isdigit() else text.split(","))}
    if not found <= set(_NAMES):
        raise argparse.ArgumentTypeError(f"write numbers of 1 to {len(_NAMES)}, or names: {', '.join(_NAMES)}")
    return found


def parser() -> argparse.ArgumentParser:
    """Sizes may all be set; with the defaults it takes five minutes or so."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = found.add_argument
    add("--only", type=chosen, default=set(_NAMES), help="measurements, as 12 or graphite,samples (default all)")
    add("--repeat", type=int, default=3, help="passes of 1, 2 and 3 (default 3)")
    add("--hosts", type=int, default=1000, help="of 1, 2, 3 and 6 (default 1000)")
    add("--metrics", type=int, default=100, help="of each host or agent (default 100)")
    add("--rounds", type=int, default=20, help="of 1, 2 and 6, twice in each pass (default 20)")
    add("--connections", type=int, default=8, help="of the Graphite senders (default 8)")
    add("--series", type=int, default=400, help="of each host, in 3 (default 400)")
    add("--agents", type=int, default=10_000, help="of 4 (default 10000)")
    add("--period", type=float, default=10.0, help="seconds between two rounds of an agent, in 4 (default 10)")
    add("--periods", type=int, default=2, help="that 4 measures, after a first one (default 2)")
    add("--beats", action=argparse.BooleanOptionalAction, default=True, help="heartbeats in 4, as real agents send")
    add("--senders", type=int, default=200, help="agents of 5 and 7 (default 200)")
    add("--loads", default="0.1,0.5,0.9", help="shares of what 2 has found, in 5 (default 0.1,0.5,0.9)")
    add("--seconds", type=float, default=6.0, help="of each load in 5 (default 6)")
    add("--stop", type=float, default=10.0, help="seconds for which 7 stops the store (default 10)")
    add("--stop-load", type=float, default=1.0, help="load of 7, as a share of what 2 has found (default 1)")
    add(
        "--hold", action="store_true", help="instead, send on and on as 1 does (or as 2, with --only 2), for a profiler"
    )
    return found


def show(figures: Iterable[Figure]) -> list[Figure]:
    """Prints each as soon as it is there."""
    shown = []
    for figure in figures:
        print(row(figure), flush=True)
        shown.append(figure)
    return shown


def main() -> None:
    options = parser().parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # the servers that it has started end with it
    pin(CLIENT_CORE)
    gc.disable()  # the sender's own pauses are not to be measured
    print(f"machine   {machine()}")
    print(f"versions  {versions()}")
    print(f"command   {shlex.join(['python', 'benchmarks/ingest.py', *sys.argv[1:]])}")
    print(f"cores     collector and store on core {SERVER_CORE}, senders on core {CLIENT_CORE}")
    size = throughput.Size(options.hosts, options.metrics, options.rounds, options.connections, options.repeat)
    if options.hold:
        with suppress(KeyboardInterrupt):
            throughput.hold(size, "graphite" in options.only, lambda line: print(line, flush=True))
        return
    print(header())
    measure(options, size)
    print("All of it was read back from the store and is what was sent.")


def measure(options: argparse.Namespace, size: throughput.Size) -> None:
    """Those that are asked for. What one needs of another that is not asked for is found in a single pass."""
    only: set[str] = options.only
    once = replace(size, repeat=1)
    beside = "carbon" in only and installed()
    if "graphite" in only or beside:
        ours = show(throughput.graphite(size if "graphite" in only else once))[0]
    if only & {"samples", "latency", "stopped"}:
        most = show(throughput.samples(size if "samples" in only else once))[-1].rate
    if "series" in only:
        show(throughput.series(options.hosts, options.series, options.connections, options.repeat))
    if "agents" in only:
        show(crowd(options.agents, options.metrics, options.period, options.periods, options.beats))
    if "latency" in only:
        loads = [float(load) for load in options.loads.split(",")]
        show(latency(most, loads, options.senders, options.metrics, options.seconds))
    if beside:
        traffic = Traffic(size.hosts, size.metrics, moments(size.rounds))
        show(beside_carbon(traffic, size.connections, ours))
    elif "carbon" in only:
        print(f"6 {INSTALL}")
    if "stopped" in only:
        show(stopped(options.stop_load * most, options.senders, options.metrics, options.stop))


if __name__ == "__main__":
    main()
