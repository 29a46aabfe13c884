"""Milliseconds that a question about the past takes over HTTP, on data that lies as the running collector leaves it.

    python benchmarks/query.py [--hosts 1000] [--requests 300] [--only 123]

The store is filled by perfmon's own code with a clock set by hand, then the real collector is started on it. Collector
and store share one core; the client, on another, keeps one connection and does little: it reads a Content-Length and so
many bytes. Every answer is compared with what numpy makes of the same samples.

The data ends at a moment in the last 24 hours, --at, so that each run meets the same mixture: spans that are over
in minutes, hours that are over sealed, of the running hour what was put aside every 20 minutes, and the rest in an open
head. By default it is 23:35, among the dearest times of the day: the samples since 18:00 are not rolled up yet.
"""

import argparse
import gc
import socket
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import orjson
from common import CLIENT_CORE, SERVER_CORE, Collector, Valkey, busy_of, cpu_of, machine, pin, versions, with_store
from filling import HOURS_KEPT, HOW, MINUTES_KEPT, Filled, fill
from fleet import HOUR, Floats
from numpy.typing import NDArray

from perfmon.core.tiers import DAY, MS

# One of the metrics of each host, and one of a hundred with tags.
METRIC = "system.cpu.utilization;state=user"

# Requests before the clock counts.
WARM_UP = 20


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, and what must be the answer."""

    number: int
    what: str
    path: str
    expected: Callable[[], dict[tuple[str, str], tuple[Floats, Floats]]]  # (host, metric) -> times (s), values
    target: float | None = None  # ms

    def check(self, body: bytes) -> int:
        """Number of points in the answer, each of them compared."""
        expected = self.expected()
        found = {(one["host"], one["metric"]): one for one in orjson.loads(body)["series"]}
        assert found.keys() == expected.keys(), (self.what, len(found), len(expected))
        for series, (times, values) in expected.items():
            answer = np.array([found[series]["times"], found[series]["values"]], np.float64)
            answer = answer[:, ~np.isnan(answer[1])]
            assert np.array_equal(answer[0], times), (self.what, series)
            # sums in another order differ in the last digit
            assert np.allclose(answer[1], values, rtol=1e-12, atol=1e-12), (self.what, series)
        return sum(len(one["values"]) for one in found.values())


def query(host: str, metric: str, start: float, stop: float, step: str = "") -> str:
    """The path of a question."""
    return "/api/v1/query?" + urlencode(
        {"host": host, "metric": metric, "from": start, "until": stop} | ({"step": step} if step else {})
    )


def averages(times: NDArray[np.int64], values: Floats, step: int, start: float, stop: float) -> tuple[Floats, Floats]:
    """(start of each step that has samples, their average), the steps being those that touch start..stop (s)."""
    number = times // (step * MS)
    there = (number >= start // step) & (number < -(-stop // step))
    steps, place = np.unique(number[there], return_inverse=True)
    means: Floats = np.bincount(place, values[there]) / np.bincount(place)
    return (steps * step).astype(np.float64), means


def questions(filled: Filled) -> Iterator[Question]:
    """What is measured."""
    now, first = filled.moment, filled.hosts[0]
    last_hour = now // HOUR * HOUR - HOUR

    def by(step: int, start: int, stop: int) -> dict[tuple[str, str], tuple[Floats, Floats]]:
        return {(first.name, METRIC): averages(*filled.past, step, start, stop)}

    def raw(start: int, stop: int) -> dict[tuple[str, str], tuple[Floats, Floats]]:
        span = first.between(start, stop)
        times = first.times[span] / MS
        return {(first.name, metric): (times, first.column(metric)[span]) for metric in first.metrics}

    def fleet(start: int, stop: int) -> dict[tuple[str, str], tuple[Floats, Floats]]:
        return {
            (host.name, METRIC): averages(host.times, host.column(METRIC), 60, start, stop) for host in filled.hosts
        }

    yield Question(
        1,
        "1 series, 24 h by minute",
        query(first.name, METRIC, now - DAY, now, "60s"),
        lambda: by(60, now - DAY, now),
        1.0,
    )
    for what, start, stop in (("last full hour", last_hour, last_hour + HOUR), ("last 60 minutes", now - HOUR, now)):
        yield Question(
            2,
            f"{len(first.metrics)} series of a host, samples of the {what}",
            query(first.name, "*", start, stop),
            lambda start=start, stop=stop: raw(start, stop),  # type: ignore[misc]  # mypy infers no lambda with defaults
            8.0,
        )
    for what, start, stop in (("last full hour", last_hour, last_hour + HOUR), ("last 60 minutes", now - HOUR, now)):
        yield Question(
            3,
            f"1 metric of {len(filled.hosts):,} hosts, {what} by minute",
            query("*", METRIC, start, stop, "60s"),
            lambda start=start, stop=stop: fleet(start, stop),  # type: ignore[misc]  # mypy infers no lambda with defaults
            150.0,
        )
    for days, step, name in ((MINUTES_KEPT, HOUR, "hour"), (HOURS_KEPT, DAY, "day")):
        yield Question(
            4,
            f"1 series, {days} d by {name}",
            query(first.name, METRIC, now - days * DAY, now, f"{step}s"),
            lambda days=days, step=step: by(step, now - days * DAY, now),  # type: ignore[misc]  # mypy infers no lambda with defaults
        )


class Client:
    """One connection that is kept, at the least cost."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 16)

    def get(self, path: str) -> tuple[float, bytes]:
        """(seconds until the last byte was there, body)."""
        request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        started = time.perf_counter()
        self._socket.sendall(request)
        have, end = 0, -1
        while end < 0:
            have += self._receive(have)
            end = self._buffer.find(b"\r\n\r\n", 0, have)
        head = bytes(self._buffer[:end]).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        total = end + 4 + length
        if total > len(self._buffer):
            self._buffer += bytes(total - len(self._buffer))
        while have < total:
            have += self._receive(have)
        taken = time.perf_counter() - started
        body = bytes(self._buffer[end + 4 : total])
        if not head.startswith(b"http/1.1 200 "):
            raise SystemExit(f"{path}: {head.decode()}\n{body.decode()}")
        return taken, body

    def _receive(self, at: int) -> int:
        got = self._socket.recv_into(memoryview(self._buffer)[at:])
        if not got:
            raise SystemExit("the collector has closed the connection")
        return got

    def close(self) -> None:
        self._socket.close()


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured of one question."""

    taken: list[float]  # s of each request
    size: int  # bytes of the answer
    cpu: float  # s of the collector, for each request
    store_cpu: float  # s of the store, for each request
    others: float  # share of the collector's core that went to neither


def measure(client: Client, path: str, pids: tuple[int, int], requests: int, seconds: float) -> tuple[Figures, bytes]:
    """Asks `requests` times, or for `seconds`; returns the answer as well, which must be the same each time."""
    _, answer = client.get(path)
    started = time.perf_counter()
    for _ in range(WARM_UP):
        if time.perf_counter() - started < seconds / 5:
            client.get(path)
    taken: list[float] = []
    before, busy = [cpu_of(pid) for pid in pids], busy_of(SERVER_CORE)
    started = time.perf_counter()
    while len(taken) < requests and time.perf_counter() - started < seconds:
        time_taken, body = client.get(path)
        taken.append(time_taken)
        assert body == answer, path
    seconds = time.perf_counter() - started
    collector, store = (cpu_of(pid) - start for pid, start in zip(pids, before, strict=True))
    others = max(0.0, busy_of(SERVER_CORE) - busy - collector - store) / seconds
    return Figures(taken, len(answer), collector / len(taken), store / len(taken), others), answer


def row(what: str, figures: Figures, points: str, target: float | None) -> str:
    milliseconds = [1e3 * taken for taken in figures.taken]
    return (
        f"{what:<58} {points:>8} {figures.size:>10,} {statistics.median(milliseconds):9.2f} "
        f"{np.percentile(milliseconds, 95):9.2f} {'' if target is None else f'{target:.1f}':>7} "
        f"{1e3 * figures.cpu:9.2f} {1e3 * figures.store_cpu:6.2f} {figures.others:6.0%} {len(milliseconds):>5}"
    )


@contextmanager
def servers(
    folder: Path, hosts: int, at: str, old: bool, store_core: int
) -> Iterator[tuple[Filled, Valkey, Collector]]:
    """The filled store and a collector on it."""
    store = Valkey(folder / "store", store_core)
    try:
        started = time.perf_counter()
        filled = with_store(store.socket, lambda perfmon: fill(perfmon, store, hosts, at, METRIC, old))
        store.settle()
        memory = int(store.information("memory")["used_memory"])
        seconds = time.perf_counter() - started
        print(f"filled    {filled.samples:,} samples, {memory / 2**20:,.0f} MiB, in {seconds:.0f} s: {HOW}")
        collector = Collector(folder, f"unix:{store.socket}")
        try:
            yield filled, store, collector
        finally:
            collector.stop()
    finally:
        store.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=1000)
    parser.add_argument("--requests", type=int, default=300, help="of each question (default 300)")
    parser.add_argument("--seconds", type=float, default=15.0, help="at most for each question (default 15)")
    parser.add_argument("--at", default="23:35", help="time of the day (UTC) at which the data ends (default 23:35)")
    parser.add_argument("--only", default="1234", help="numbers of the questions to ask (default 1234)")
    parser.add_argument("--spread", action="store_true", help="the store runs on the client's core instead")
    parser.add_argument("--hold", action="store_true", help="then ask them on and on, for a profiler, until Ctrl-C")
    options = parser.parse_args()
    pin(CLIENT_CORE)
    store_core = CLIENT_CORE if options.spread else SERVER_CORE
    print(f"machine   {machine()}")
    print(f"versions  {versions()}")
    where = f"store and client on core {CLIENT_CORE}" if options.spread else f"client on core {CLIENT_CORE}"
    print(f"cores     collector {'' if options.spread else 'and store '}on core {SERVER_CORE}, {where}")
    with (
        tempfile.TemporaryDirectory(prefix="pm-") as folder,
        servers(Path(folder), options.hosts, options.at, "4" in options.only, store_core) as (filled, store, collector),
    ):
        print(
            f"{'':<58} {'points':>8} {'bytes':>10} {'median ms':>9} {'p95 ms':>9} {'target':>7} "
            f"{'CPU ms':>9} {'store':>6} {'others':>6} {'n':>5}"
        )
        client = Client(collector.http_port)
        pids = collector.process.pid, store.process.pid
        gc.disable()
        figures, _ = measure(client, "/healthz", pids, options.requests, options.seconds)
        print(row("0  GET /healthz: the floor", figures, "", None), flush=True)
        asked = [one for one in questions(filled) if str(one.number) in options.only]
        for question in asked:
            figures, answer = measure(client, question.path, pids, options.requests, options.seconds)
            points = f"{question.check(answer):,}"
            print(row(f"{question.number}  {question.what}", figures, points, question.target), flush=True)
        print("All answers are those that numpy gives. CPU: of the collector and of the store, for each request;")
        print(f"others: the share of core {SERVER_CORE} that neither of them had; where it is high, times say little.")
        while options.hold:
            print(f"asking on; collector {pids[0]}, store {pids[1]}", flush=True)
            for question in asked:
                print(question.what, flush=True)
                measure(client, question.path, pids, 10**9, options.seconds)
        client.close()


if __name__ == "__main__":
    main()
