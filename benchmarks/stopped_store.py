"""The store stands still for a while under full load: what that costs the collector, and that nothing is lost.

Imported by ingest.py, not run by itself.
"""

import os
import signal
from collections.abc import Iterator

import psutil
from agents import Agents, paced
from figures import Figure
from latency import sendings_at
from proof import prove
from senders import await_stored
from throughput import collector
from traffic import Traffic, moments

# The load is there for so long before the store is stopped.
_BEFORE = 2.0  # s

# What was stored just before the stop may be acknowledged until then.
_IN_FLIGHT = 0.5  # s


def stopped(per_second: float, agents: int, metrics: int, seconds: float) -> Iterator[Figure]:
    """Agents go on sending `per_second` samples while the store is stopped for `seconds`, and are then served."""
    period, sendings, burst = sendings_at(per_second / metrics, agents, _BEFORE + seconds)
    traffic = Traffic(agents, metrics, moments(sendings * burst))
    with collector() as one:
        process, store = psutil.Process(one.process.pid), one.pids[1]
        senders = Agents(one.port, traffic)
        senders.connect()
        before, most, unanswered, went_on = 0, 0, -1, 0.0

        def look(now: float) -> None:
            nonlocal before, most, unanswered, went_on
            size = process.memory_info().rss
            most = max(most, size)
            if now >= _BEFORE and not before:
                before = most = size
                os.kill(store, signal.SIGSTOP)
            if now >= _BEFORE + _IN_FLIGHT and unanswered < 0:
                unanswered = senders.acked
            if now >= _BEFORE + seconds and not went_on:
                assert senders.acked == unanswered, "rounds were acknowledged while the store stood still"
                os.kill(store, signal.SIGCONT)
                went_on = now

        try:
            senders.run(paced(agents, sendings, period, burst), agents * sendings * burst, look)
        finally:
            os.kill(store, signal.SIGCONT)  # a stopped process cannot be ended
        await_stored(one, traffic.samples)
        prove(one.store_socket, traffic)
        caught_up = senders.last_ack - went_on
        senders.close()
    waiting = traffic.samples - unanswered * metrics
    yield Figure(
        f"7 store stopped for {seconds:g} s: growth of RSS",
        f"{(most - before) / 1e6:.0f} MB",
        more=f"from {before / 1e6:.0f} MB; at {per_second / 1e6:.2f} M/s {waiting:,} samples were not acknowledged",
    )
    yield Figure(
        f"7 store stopped for {seconds:g} s: all caught up after",
        f"{caught_up:.1f} s",
        more=f"{senders.reconnects} reconnects; none acknowledged meanwhile, all {traffic.samples:,} stored",
    )
