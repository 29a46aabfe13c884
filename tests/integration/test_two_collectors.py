"""Two collectors on one store: each change of a host is told of once, and none is invented."""

import signal
import socket
import time
from collections import Counter

import orjson

from tests.integration.harness import PATIENCE, PERFMON, Agent, Collector, IntegrationTestCase, Running, eventually
from tests.valkey import Server

TIMEOUT = 2.0  # s, of heartbeats; a lease lapses after as long


class Raw:
    """An agent's connection, line by line."""

    def __init__(self, collector: Collector, **hello: object) -> None:
        self._socket = socket.create_connection(("127.0.0.1", collector.port), timeout=PATIENCE)
        self._lines = self._socket.makefile("rb")
        self.say(type="hello", protocol=1, **hello)
        welcome = orjson.loads(self._lines.readline())
        assert welcome["type"] == "welcome", welcome

    def say(self, **message: object) -> None:
        self._socket.sendall(orjson.dumps(message) + b"\n")

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class TwoCollectorsTests(IntegrationTestCase):
    def setUp(self) -> None:
        super().setUp()
        server = Server(appendfsync="always")
        self.addCleanup(server.stop)
        server.start()
        self.url = f"unix:{server.socket}"
        self.options = ("--no-self", "--heartbeat-timeout", f"{TIMEOUT}s")
        self.first, self.second = [self.collector(*self.options, store=self.url).ready() for _ in range(2)]

    def on(self, name: str, *collectors: Collector) -> Agent:
        """An agent that knows these collectors, and is connected to the first of them, as is known to all by now."""
        others = [word for other in collectors[1:] for word in ("--server", f"127.0.0.1:{other.port}")]
        agent = self.agent(collectors[0], name, *others)
        own = collectors[0].get("/status")["collector"]
        eventually(lambda: self.watcher(name) == ("up", own), f"{name} to be up")
        return agent

    def kinds(self, host: str) -> list[str]:
        return [event["kind"] for event in self.second.events(host)]

    def again(self, collector: Collector) -> Collector:
        """The same collector, started anew."""
        ports = ("--port", str(collector.port), "--http-port", str(collector.http_port))
        return self.collector(*self.options, *ports, store=self.url)

    def watched_by(self, host: str) -> str:
        found: str = self.second.get(f"/api/v1/hosts/{host}", metric="-")["collector"]
        return found

    def test_killed(self) -> None:
        """Agents move to the other collector and nobody departs; who dies with theirs is named once, in the end."""
        moving, dying = self.on("moving", self.first, self.second), self.on("dying", self.first)
        before = self.watched_by("moving")
        dying.signal(signal.SIGKILL)
        self.first.signal(signal.SIGKILL)
        eventually(lambda: self.watched_by("moving") != before, "the agent to have moved")
        eventually(lambda: self.second.state("dying") == "departed", "the departure")
        self.assertEqual(self.kinds("dying"), ["up", "late", "departed"])
        self.assertEqual(set(self.kinds("moving")), {"up"})
        self.assertIsNone(moving.process.poll())
        eventually(lambda: self.second.get("/status")["hosts"] == {"up": 1, "departed": 1}, "the counts")

    def test_restarted(self) -> None:
        """A collector that is started in place of one that was killed names who was lost meanwhile, and nobody else."""
        staying, dying = self.on("staying", self.first), self.on("dying", self.first)
        self.first.signal(signal.SIGKILL)
        self.first.ended()
        dying.signal(signal.SIGKILL)
        begun = time.time()
        first = self.again(self.first)
        up = time.time()
        eventually(lambda: first.state("dying") == "departed", "the departure")
        (departed,) = [event for event in first.events("dying") if event["kind"] == "departed"]
        self.assertGreaterEqual(departed["at"], begun + TIMEOUT)
        self.assertLessEqual(departed["at"], up + TIMEOUT + 1)
        self.assertEqual(set(self.kinds("staying")), {"up"})
        self.assertIsNone(staying.process.poll())

    def test_frozen(self) -> None:
        """The hosts of a frozen collector are not taken for gone; neither theirs that know no other, nor the others."""
        agents = [self.on("moving", self.first, self.second), self.on("waiting", self.first)]
        self.first.signal(signal.SIGSTOP)
        frozen = time.monotonic()
        eventually(lambda: time.monotonic() > frozen + 2.5 * TIMEOUT, "the time")
        self.first.signal(signal.SIGCONT)
        awake = time.time()
        for host in ("moving", "waiting"):
            eventually(lambda host=host: self.second.newest(host, "system.uptime") > awake + 2 * TIMEOUT, "samples")  # type: ignore[misc]  # mypy infers no lambda with defaults
        self.assertEqual([set(self.kinds(host)) - {"late"} for host in ("moving", "waiting")], [{"up"}] * 2)
        self.assertEqual(Counter(agent.process.poll() for agent in agents), {None: 2})

    def test_stopped(self) -> None:
        """When a collector is ended in order its agents go to the other one, and nothing has happened."""
        self.on("moving", self.first, self.second)
        before = self.watched_by("moving")
        self.first.signal(signal.SIGTERM)
        self.first.ended()
        eventually(lambda: self.watched_by("moving") != before, "the agent to have moved")
        self.assertEqual(self.kinds("moving"), ["up"])

    def watcher(self, host: str) -> tuple[str, str] | None:
        """The state of a host, and the collector that watches it."""
        found = self.second.get("/api/v1/hosts", host=host, metric="-")["hosts"]
        return (found[0]["state"], found[0]["collector"]) if found else None

    def test_reboot(self) -> None:
        """A machine that was started anew within the timeout is told of, once, whichever collector it comes to."""
        for boot, collector in (("1", self.first), ("1", self.second), ("2", self.first), ("2", self.second)):
            connection = Raw(collector, host="web1", boot=boot)
            self.addCleanup(connection.close)
            own = collector.get("/status")["collector"]  # what it has heard is in the store when the host is its own
            eventually(lambda own=own: self.watcher("web1") == ("up", own), "the host")  # type: ignore[misc]  # mypy infers no lambda with defaults
            eventually(lambda boot=boot: len(self.kinds("web1")) >= int(boot), "what is to be told")  # type: ignore[misc]  # mypy infers no lambda with defaults
            connection.close()
        events = [(event["kind"], event["reason"]) for event in self.second.events("web1")]
        self.assertEqual(events[:2], [("up", ""), ("up", "reboot")])
        self.assertNotIn("reboot", [reason for _, reason in events[2:]])


class AbsenceTests(IntegrationTestCase):
    def command(self, collector: Collector, *words: str) -> Running:
        perfmon = self.running(*(str(PERFMON), *words, "--url", collector.url))
        self.assertEqual(perfmon.ended(), 0, perfmon.log)
        return perfmon

    def test_planned(self) -> None:
        """A host that is killed within its planned absence is absent; when that ends it has departed."""
        collector = self.collector("--no-self", "--heartbeat-timeout", f"{TIMEOUT}s").ready()
        agent = self.agent(collector, "web1")
        eventually(lambda: collector.state("web1") == "up", "the agent")
        self.command(collector, "absence", "web1", "--for", "1h", "--reason", "new disks").says("new disks")
        planned = collector.get("/api/v1/hosts/web1", metric="-")["absence"]
        self.assertEqual(planned["reason"], "new disks")
        agent.signal(signal.SIGKILL)
        eventually(lambda: collector.state("web1") == "absent", "the absence")
        self.command(collector, "absence", "web1", "--end")
        eventually(lambda: collector.state("web1") == "departed", "the end of it")
        self.agent(collector, "web1")
        eventually(lambda: collector.state("web1") == "up", "the return")
        events = [(event["kind"], event["reason"]) for event in collector.events("web1") if event["kind"] != "late"]
        self.assertEqual(
            events,
            [("up", ""), ("absent", "new disks"), ("departed", "the planned absence has ended"), ("up", "")],
        )
