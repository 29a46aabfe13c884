"""Orders reach the agent, and outlive the collector and the agent."""

import signal
import subprocess
import time

from tests.integration.harness import PERFMON, Collector, IntegrationTestCase, eventually
from tests.valkey import Server

METRIC = "system.uptime"
TIMEOUT = 2.0  # s, of heartbeats


class ControlTests(IntegrationTestCase):
    def order(self, collector: Collector, *words: str) -> str:
        """What the command line says."""
        code, out, error = self.run_it(collector, *words)
        self.assertEqual((code, error), (0, ""))
        return out

    def run_it(self, collector: Collector, *words: str) -> tuple[int, str, str]:
        """Exit code, standard output, standard error of the command line."""
        ended = subprocess.run([str(PERFMON), *words, "--url", collector.url], capture_output=True, text=True)
        return ended.returncode, ended.stdout, ended.stderr

    def sampling(self, collector: Collector) -> tuple[bool, float]:
        host = collector.get("/api/v1/hosts/web1", metric="-")
        return host["stopped"], host["interval"]

    def test_stop_and_start(self) -> None:
        """A stopped host has no more samples and stays up, whatever is restarted, until it is started again."""
        collector = self.collector().ready()
        agent = self.agent(collector, "web1", "--interval", "200ms")
        eventually(lambda: collector.newest("web1", METRIC), "the first round")
        self.assertEqual(self.order(collector, "stop", "web1"), "web1: no samples\n")
        eventually(lambda: self.sampling(collector) == (True, 0.2), "the agent to say so")
        last = collector.newest("web1", METRIC)
        collector.stop()
        collector = self.collector("--no-self", "--port", str(collector.port)).ready()
        agent.says("(?s)connected to.*connected to")
        eventually(lambda: self.sampling(collector) == (True, 0.2), "the agent to say so again")
        agent.stop()
        agent = self.agent(collector, "web1", "--interval", "200ms")
        agent.says("no samples any more")
        eventually(lambda: self.sampling(collector) == (True, 0.2), "the new run to say so")
        # the new run had sampled once before it was told
        newest = collector.newest("web1", METRIC)
        self.assertEqual(collector.state("web1"), "up")
        self.assertEqual(self.order(collector, "interval", "500ms", "web1"), "web1: no samples\n")
        eventually(lambda: self.sampling(collector) == (True, 0.5), "the new interval")
        self.assertEqual(collector.newest("web1", METRIC), newest)
        self.assertGreaterEqual(newest, last)
        self.assertEqual(self.order(collector, "start", "web1"), "web1: samples every 0.5 s\n")
        eventually(
            lambda: [time % 0.5 for time, _ in collector.points("web1", METRIC) if time > newest][:3] == [0.0] * 3,
            "rounds at multiples of the new interval",
        )

    def test_another_collector(self) -> None:
        """What one collector was told holds at another one on the same store, and when the agent goes over to it."""
        server = Server()
        self.addCleanup(server.stop)
        server.start()
        options = ("--no-self", "--heartbeat-timeout", f"{TIMEOUT}s")
        first, second = [self.collector(*options, store=f"unix:{server.socket}").ready() for _ in range(2)]
        both = ("--server", f"127.0.0.1:{second.port}", "--interval", "200ms")
        agent = self.agent(first, "web1", *both)
        eventually(lambda: first.newest("web1", METRIC), "the first round")
        self.assertEqual(self.order(second, "stop", "web1"), "web1: no samples\n")
        eventually(lambda: self.sampling(second) == (True, 0.2), "the agent to say so")
        agent.says("no samples any more")
        stopped = time.time()

        def seen() -> bool:
            return bool(first.get("/api/v1/hosts/web1", metric="-")["last_seen"] > stopped + 1.5 * TIMEOUT)

        eventually(seen, "signs of life for longer than the timeout")
        newest = first.newest("web1", METRIC)
        self.assertEqual(first.state("web1"), "up")
        self.assertLessEqual(newest, stopped)
        self.assertRegex(self.order(second, "hosts"), r"web1 +up, stopped ")

        first.signal(signal.SIGKILL)
        agent.says(f"connected to 127.0.0.1:{second.port}")
        eventually(lambda: second.state("web1") == "up", "the agent at the other collector")
        self.assertEqual((self.sampling(second), second.newest("web1", METRIC)), ((True, 0.2), newest))
        self.assertEqual(self.order(second, "start", "web1"), "web1: samples\n")
        eventually(lambda: second.newest("web1", METRIC) > newest, "samples again")

    def test_patterns(self) -> None:
        """A pattern means the hosts with an agent; who cannot be told is named, and keeps nobody from being told."""
        collector = self.collector().ready()
        collector.send("web3.cpu.load 1 -1\n")
        for name in ("web1", "web2", "db1"):
            self.agent(collector, name)
        eventually(lambda: [collector.state(f"web{number}") for number in (1, 2, 3)] == ["up"] * 3, "the hosts")
        eventually(lambda: collector.state("db1") == "up", "the other host")
        code, out, error = self.run_it(collector, "stop", "web9", "x*", "web3", "web*", "web1")
        self.assertEqual((code, out), (1, "web1: no samples\nweb2: no samples\n"))
        problems = ("no host with an agent matches 'x*'", "no host 'web9'; GET", "web3 has no agent")
        self.assertEqual(len(error.splitlines()), 3)
        for line, problem in zip(error.splitlines(), problems, strict=True):
            self.assertIn(f"perfmon: {problem}", line)
        eventually(lambda: [self.stopped(collector, name) for name in ("web1", "web2")] == [True] * 2, "both to say so")
        self.assertFalse(self.stopped(collector, "db1"))

    def stopped(self, collector: Collector, name: str) -> bool:
        return bool(collector.get(f"/api/v1/hosts/{name}", metric="-")["stopped"])
