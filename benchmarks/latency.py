"""How long agents wait for an ack, at shares of the most that the collector takes.

Imported by ingest.py, not run by itself. Rounds are sent by a schedule that does not wait for anybody, and the clock of
each runs from when it was due: a collector that stalls is charged for all that should have been sent meanwhile.
"""

import math
from collections.abc import Iterator, Sequence

from agents import Agents, paced, share
from figures import Figure, Watch
from proof import prove
from senders import await_stored
from throughput import collector
from traffic import Traffic, moments

# Until an ack, 99 of 100 rounds, at half load.
TARGET = 0.050  # s

# More sendings than this per second would make the sender what is measured: rounds then go out several at a time.
_MOST_SENDINGS = 3_000

# The first rounds, of series that are new, do not count.
_WARM_UP = 1.0  # s


def latency(per_second: float, loads: Sequence[float], agents: int, metrics: int, seconds: float) -> Iterator[Figure]:
    """Of each of `loads`, shares of `per_second` samples, sent for `seconds`."""
    for load in loads:
        period, sendings, burst = sendings_at(load * per_second / metrics, agents, seconds + _WARM_UP)
        traffic = Traffic(agents, metrics, moments(sendings * burst))
        with collector() as one:
            senders = Agents(one.port, traffic)
            senders.connect()
            watch = Watch.over(one)
            senders.run(paced(agents, sendings, period, burst), agents * sendings * burst)
            work = watch.load()
            await_stored(one, traffic.samples)
            prove(one.store_socket, traffic)
            senders.close()
        taken = [wait for due, wait in senders.taken if due >= min(_WARM_UP, sendings * period / 2)]
        what = f"5 ack at {load:.0%} of {per_second / 1e6:.2f} M/s"
        together = f"{burst} rounds at a time" if burst > 1 else "one round at a time"
        yield Figure(
            f"{what}, p99",
            f"{1e3 * share(taken, 0.99):.1f} ms",
            f"{1e3 * TARGET:.0f} ms" if load == 0.5 else "",
            f"p50 {1e3 * share(taken, 0.5):.1f} ms",
            work,
            f"max {1e3 * max(taken):.0f} ms, {len(taken):,} rounds, {together}, sent at most "
            f"{1e3 * senders.behind:.0f} ms late, {senders.reconnects} reconnects",
        )


def sendings_at(rounds: float, agents: int, seconds: float) -> tuple[float, int, int]:
    """How `agents` send `rounds` each second together, for `seconds`.

    (s between two sendings of an agent, how many of them, rounds in each)
    """
    burst = max(1, math.ceil(rounds / _MOST_SENDINGS))
    period = agents * burst / rounds
    return period, max(2, round(seconds / period)), burst
