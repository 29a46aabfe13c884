"""What can be wrong with a store: each is named on /status with what to do, costs no sample, and passes by itself."""

import os
import resource
import signal
import time
from collections.abc import Callable

from tests.integration.harness import Collector, IntegrationTestCase, Running, Store, eventually
from tests.integration.test_stores import free_port
from tests.programs import STORE_SERVERS

METRIC = "system.uptime"
INTERVAL = 0.2  # s between rounds

Act = Callable[[Store], object]

# From the fault to its name, on a machine that is busy with other tests. It is a renewal of the lease, and one second.
SOON = 5.0  # s


class FaultCase(IntegrationTestCase):
    """A collector with an agent, on a server of the test's own."""

    def begin(self, *options: str) -> None:
        self.port = free_port()
        self.options = options
        self.server = self.started()
        self.collector_ = self.collector("--no-self", store=f"redis://127.0.0.1:{self.port}/0").ready()
        self.agent_ = self.agent(self.collector_, "web1", "--interval", "200ms")
        eventually(lambda: self.collector_.newest("web1", METRIC), "the first samples")
        self.begun = time.time()

    def started(self) -> Running:
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        server = self.running(
            *("sh", "-c", 'trap "" XFSZ; exec "$@"', "sh"),  # a file that may not grow is an error, and not the end
            *(next(iter(STORE_SERVERS.values())), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""),
            *("--dir", str(data), "--appendonly", "yes", *self.options),
        )
        server.says("Ready to accept connections")
        return server

    def client(self) -> Store:
        client = Store(("127.0.0.1", self.port))
        self.addCleanup(client.close)
        return client

    def problem(self) -> str:
        found: str | None = self.collector_.get("/status")["store"]["problem"]
        return found or ""

    def named(self, sentence: str, words: str) -> None:
        """The fault is told of in this sentence, with the server's words; nothing is acknowledged meanwhile."""
        eventually(lambda: self.problem().startswith(sentence), sentence, SOON)
        self.assertIn(words, self.problem())
        status, answer = self.collector_.ask("/readyz")
        self.assertEqual(status, 503)
        self.assertIn(sentence, answer["error"])

    def over(self) -> None:
        """It has passed by itself: nothing is wrong, and no round of the agent is missing or twice."""
        eventually(lambda: self.problem() == "", "the store to be well again")
        self.whole(time.time())

    def whole(self, until: float) -> None:
        """Each round from `begun` to `until` is there, once."""

        def sampled() -> list[float]:
            points = self.collector_.points("web1", METRIC, from_=repr(self.begun), until=repr(until))
            return [time for time, _ in points]

        whole = round((until - self.begun) / INTERVAL)

        def left_out() -> int:
            return self.collector_.left_out("web1")

        eventually(lambda: whole - left_out() - 1 <= len(sampled()) <= whole + 1, f"{whole} rounds, once each")
        self.assert_every_round(sampled, INTERVAL, left_out)


class StoreFaultTests(FaultCase):
    def fault(
        self, sentence: str, words: str, begin: Callable[[Store], object], end: Callable[[Store], object]
    ) -> None:
        client = self.client()
        begin(client)
        self.named(sentence, words)
        end(client)
        self.over()

    def test_refused(self) -> None:
        """A replica, a server without memory, one whose password was changed, one that wants replicas: one by one."""
        self.begin("--maxmemory-policy", "noeviction")
        self.fault(
            "it is a read-only replica: have --store name its primary",
            "READONLY",
            lambda client: client("REPLICAOF", "127.0.0.1", self.port + 1 if self.port < 65_535 else 1),
            lambda client: client("REPLICAOF", "NO", "ONE"),
        )
        self.fault(
            "it has no memory left: raise its maxmemory",
            "OOM",
            lambda client: client("CONFIG", "SET", "maxmemory", "1"),
            lambda client: client("CONFIG", "SET", "maxmemory", "0"),
        )
        self.fault(
            "it has too few replicas to take writes",
            "NOREPLICAS",
            lambda client: client("CONFIG", "SET", "min-replicas-to-write", "1"),
            lambda client: client("CONFIG", "SET", "min-replicas-to-write", "0"),
        )

        def locked(client: Store) -> None:
            client("CONFIG", "SET", "requirepass", "other")
            client("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        self.fault(
            "it asks for a password: give it in --store",
            "NOAUTH",
            locked,
            lambda client: client("CONFIG", "SET", "requirepass", ""),
        )

    def test_frozen(self) -> None:
        """A server that hangs is named long before the collector gives its connection up."""
        self.begin()
        self.server.signal(signal.SIGSTOP)
        self.named("it hangs, or is overloaded", "no answer for more than 2 s")
        self.server.signal(signal.SIGCONT)
        self.over()

    def test_killed(self) -> None:
        """A server that is gone is named, and what it had confirmed is there when it is back."""
        self.begin("--appendfsync", "always")
        self.server.signal(signal.SIGKILL)
        self.server.ended()
        self.named("nothing listens there: start the server", "refused")
        self.server = self.started()
        self.over()

    def test_disk_full(self) -> None:
        """A server that cannot write to its disk says so, and goes on when there is room."""
        self.begin()
        written = sum(path.stat().st_size for path in (self.folder / "data").rglob("*.incr.aof"))
        pid = self.server.process.pid
        # like a full disk: the file may not grow beyond this (EFBIG in place of ENOSPC)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (written + 2_000, resource.RLIM_INFINITY))
        self.named("it cannot write to its disk: make room there", "MISCONF")
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        self.over()

    def test_emptied(self) -> None:
        """A store that was emptied knows the hosts again soon, with all that they say of themselves."""
        self.begin()
        client = self.client()
        before = self.collector_.get("/api/v1/hosts/web1", metric="-")
        client("FLUSHALL")
        self.collector_.says("the store has lost its data")
        flushed = time.time()

        def described() -> bool:
            status, host = self.collector_.ask("/api/v1/hosts/web1", metric="-")
            return bool(status == 200 and host["platform"] == before["platform"] and host["state"] == "up")

        eventually(described, "the host to be described", 2 * 15.0)
        eventually(lambda: newest(self.collector_) > flushed + 1, "rounds after it")
        self.begun = flushed
        self.whole(time.time())
        self.assertEqual([key for key in client("KEYS", "*") if client("TTL", key) < 0], [])


class EmbeddedTests(IntegrationTestCase):
    def test_crash(self) -> None:
        """The embedded server's crash is noticed, it is started again, and nothing is missing."""
        collector = self.collector().ready()
        self.agent(collector, "web1", "--interval", "200ms")
        eventually(lambda: len(collector.points("web1", METRIC)) > 3, "samples")
        for _ in range(2):
            os.kill(collector.store_pid(), signal.SIGKILL)
            killed = time.time()
            eventually(lambda killed=killed: newest(collector) > killed + 1, "samples after it")  # type: ignore[misc]  # mypy infers no lambda with defaults

        def sampled() -> list[float]:
            return [time for time, _ in collector.points("web1", METRIC)][1:]  # the first is when the agent starts

        self.assert_every_round(sampled, INTERVAL, lambda: collector.left_out("web1"))
        eventually(lambda: collector.get("/status")["store"]["problem"] is None, "both connections to it")


def newest(collector: Collector) -> float:
    status, answer = collector.ask("/api/v1/query", host="web1", metric=METRIC)
    return max((series["times"][-1] for series in answer["series"]), default=0.0) if status == 200 else 0.0
