"""A collector that is killed in the middle of sealing, again and again, and what is then in the store."""

import signal
import time
from collections.abc import Iterator

from perfmon.core.tiers import MINUTES, RAW, TIERS
from perfmon.storage import keys
from tests.integration.harness import Collector, IntegrationTestCase, eventually
from tests.programs import STORE_SERVERS
from tests.services.simulated import Client, Link, StoreAtOnce, done
from tests.storage.samples import Round, Writer

HOSTS = [f"web{number}" for number in range(80)]
METRICS = [f"m{number}" for number in range(24)]
ROUNDS = 60

# Of minutes that are over, so that they are rolled up as well.
START = MINUTES.window_of(int(time.time() - MINUTES.feed - 3600) * 1000)


def rounds_of(host: str) -> Iterator[Round]:
    """Samples of a host, one of each metric and minute, in two hours; each metric has another number of them."""
    number = HOSTS.index(host)
    for place in range(ROUNDS):
        seconds = START + 120 * place + number % 60
        yield host, seconds * 1000, {metric: number + place * size / 8 for size, metric in enumerate(METRICS)}


class KilledTests(IntegrationTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = str(self.folder / "s")
        server = self.running(STORE_SERVERS["valkey"], "--port", "0", "--unixsocket", self.path, "--save", "")
        server.says("Ready to accept connections")
        self.client = Client(self.path)
        self.addCleanup(self.client.close)

    def fill(self) -> None:
        """What collectors would have stored hours ago, and not sealed."""
        writer = Writer(StoreAtOnce(Link(self.client), TIERS))
        for host in HOSTS:
            done(writer.rows(rounds_of(host), float(START)))

    def left(self, tier: str) -> int:
        """How many windows a tier lacks."""
        count: int = self.client("ZCARD", keys.open_windows(tier))
        return count

    def leases_over(self, tier: str) -> None:
        """As if so much time had passed that what was claimed, or waits for others of its kind, is due."""
        for member in self.client("ZRANGE", keys.open_windows(tier), 0, -1):
            self.client("ZADD", keys.open_windows(tier), 0, member)

    def killed(self, tier: str, fewer: int) -> None:
        """Kills a collector when so many windows that a tier lacked are done."""
        self.leases_over(tier)
        before = self.left(tier)
        collector = Collector(self.folder, "--no-self", store=f"unix:{self.path}")
        self.addCleanup(collector.stop)
        eventually(lambda: self.left(tier) <= before - fewer, f"some work on {tier}")
        collector.signal(signal.SIGKILL)
        collector.ended()

    def test_killed(self) -> None:
        """Whenever the collector is killed, the next one does the rest, and no sample is missing or twice there."""
        self.fill()
        windows = self.left(RAW.name)
        self.assertGreaterEqual(windows, 2 * len(HOSTS))
        for tier in (RAW.name, MINUTES.name):
            for _ in range(2):
                self.killed(tier, fewer=20)
                self.assertGreater(self.left(tier), 0, "there is more to do")
            if tier == RAW.name:
                self.leases_over(tier)
                self.killed(tier, fewer=self.left(tier))
        for every in TIERS:
            self.leases_over(every.name)
        collector = self.collector("--no-self", store=f"unix:{self.path}").ready()
        eventually(lambda: not self.left(MINUTES.name), "the rest to be rolled up")
        status = collector.get("/api/v1/status")["sealing"]
        self.assertEqual(status["sealed"], 0)
        self.assertTrue(0 < status["rolled_up"] < 2 * len(HOSTS), status)
        self.check(collector)

    def check(self, collector: Collector) -> None:
        """Everything is there, as it was sent and by the minute, and nothing beside it."""
        span = {"from_": str(START), "until": str(START + MINUTES.window)}
        for host in HOSTS:
            found = collector.get("/api/v1/query", host=host, metric="*", **span)["series"]
            samples = {one["metric"]: list(zip(one["times"], one["values"], strict=True)) for one in found}
            right: dict[str, list[tuple[float, float]]] = {}
            for _, milliseconds, values in rounds_of(host):
                for metric, value in values.items():
                    right.setdefault(metric, []).append((milliseconds / 1000, value))
            self.assertEqual(samples, right, host)
        found = collector.get("/api/v1/query", host=",".join(HOSTS), metric="*", step="6h", agg="count", **span)[
            "series"
        ]
        counts = {(one["host"], one["metric"]): sum(one["values"]) for one in found}
        self.assertEqual(counts, {(host, metric): ROUNDS for host in HOSTS for metric in METRICS})
        for key in self.client("KEYS", "*"):
            self.assertFalse(key.endswith((b":sealing", b":head")), key)
            self.assertGreater(self.client("TTL", key), 0, key)
