"""How long a fleet's verdicts take: 1,000 hosts of two weeks, read from the tiers of minutes and hours and judged.

    python benchmarks/rightsizing.py

The store is filled with what the collector would have made of rounds each minute, by its own code: of the CPU all
minutes, of the other metrics that the rules look at the last day by minutes and everything before by hours, which is
what is read of them. Every host has values of its own. Then `GET /api/v1/rightsizing` is asked, and meanwhile the
collector's page, to see how long others wait. Collector and store share one core.
"""

import argparse
import json
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from common import CLIENT_CORE, Collector, Valkey, cpu_of, machine, pin, versions, with_store
from filling import put, put_off
from fleet import Host

from perfmon.core.presence import State
from perfmon.core.tiers import DAY, HOURS, MINUTES, MS, RAW
from perfmon.services import rightsizing
from perfmon.storage.store import Store

DAYS = 15  # of data; the last ones of a window of 14 d
STEP = 60  # s, between rounds

ALLOWED = 10.0  # s

is_fine = rightsizing._FINE.matches


def is_coarse(metric: str) -> bool:
    return rightsizing._GAUGES.matches(metric) or rightsizing._COUNTERS.matches(metric)


def some(host: Host, wanted: Any) -> Host:
    """The host with these metrics only."""
    kept = [metric for metric in host.metrics if wanted(metric)]
    places = [host.metrics.index(metric) for metric in kept]
    return Host(host.name, kept, host.times, np.ascontiguousarray(host.table[:, places]))


async def fill(store: Store, server: Valkey, count: int, stop: int) -> tuple[int, int]:
    """Fills the store with `count` hosts until `stop` (s); how many series a host has, and how many values all have."""
    start = stop - DAYS * DAY
    fed = HOURS.fed_until(stop + RAW.window)  # up to there hours are rolled up
    series = values = 0
    for number in range(count):
        host = Host.of(number, start, stop, STEP)
        fine, coarse = some(host, is_fine), some(host, is_coarse)
        both = some(host, lambda metric: is_fine(metric) or is_coarse(metric))
        series, values = len(both.metrics), values + host.times.size * len(both.metrics)
        for window in MINUTES.windows(start * MS, stop * MS - 1):
            await put(store, MINUTES, window, both if window >= fed - DAY else fine, part=RAW)
        for window in HOURS.windows(start * MS, fed * MS - 1):
            rounds = coarse.between(start, fed)
            past = Host(coarse.name, coarse.metrics, coarse.times[rounds], coarse.table[rounds])
            await put(store, HOURS, window, past, part=MINUTES)
        signs = {host.name: float(stop)}
        await store.describe({host.name: {"kind": "agent", "interval": f"{STEP}.0", "first": repr(float(start))}})
        await store.sign(signs)
        await store.change(signs, State.UP, float(stop), "")
    put_off(server)
    return series, values


class Others:
    """Asks for something small again and again, and notes how long it took."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = threading.Event()
        self.waits: list[float] = []
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self) -> None:
        while not self._ended.wait(0.05):
            begun = time.perf_counter()
            with urllib.request.urlopen(f"{self._url}/healthz", timeout=60) as answer:
                answer.read()
            self.waits.append(time.perf_counter() - begun)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3, help="reports (default 3)")
    options = parser.parse_args()
    pin(CLIENT_CORE)
    print(f"machine   {machine()}")
    print(f"versions  {versions()}")
    with tempfile.TemporaryDirectory(prefix="pm-") as name:
        folder = Path(name)
        store = Valkey(folder / "store")
        try:
            # so that all of it is in the tiers by now, and nothing falls due
            stop = MINUTES.fed_until(time.time())
            begun = time.perf_counter()
            series, values = with_store(store.socket, lambda perfmon: fill(perfmon, store, options.hosts, stop))
            store.settle()
            memory = int(store.information("memory")["used_memory"]) / 2**20
            seconds = time.perf_counter() - begun
            print(
                f"filled    {options.hosts} hosts, {series} series each, {values:,} values, {memory:,.0f} MiB, "
                f"in {seconds:.0f} s"
            )
            collector = Collector(folder, f"unix:{store.socket}")
            try:
                report(collector, options.hosts, options.repeat)
            finally:
                collector.stop()
        finally:
            store.stop()


def report(collector: Collector, hosts: int, repeat: int) -> None:
    url = f"http://127.0.0.1:{collector.http_port}"
    for number in range(repeat):
        others = Others(url)
        cpu, begun = cpu_of(collector.process.pid), time.perf_counter()
        with urllib.request.urlopen(f"{url}/api/v1/rightsizing?window=14d", timeout=600) as answer:
            text = answer.read()
        taken, spent = time.perf_counter() - begun, cpu_of(collector.process.pid) - cpu
        others.end()
        told = json.loads(text)
        known = [one["known"] / DAY for one in told["hosts"]]
        assert len(known) == hosts, len(known)
        assert min(known) > 13.9, min(known)
        verdicts = Counter(one["verdict"] for one in told["hosts"])
        longest = max(others.waits)
        print(
            f"report {number + 1}  {taken:.1f} s (allowed {ALLOWED:g}), {taken / hosts * 1000:.1f} ms a host, "
            f"{spent:.1f} s of the collector's CPU; others waited {longest * 1000:.0f} ms at most; "
            f"{len(text) / 1000:,.0f} kB: {dict(verdicts)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
