"""Orders reach the agent, and outlive the collector and the agent."""

import subprocess
import sys
from pathlib import Path

from tests.integration.harness import Collector, IntegrationTestCase, eventually

METRIC = "system.uptime"
PERFMON = Path(sys.executable).parent / "perfmon"


class ControlTests(IntegrationTestCase):
    def order(self, collector: Collector, *words: str) -> str:
        """What the command line says."""
        return subprocess.run(
            [str(PERFMON), *words, "--url", collector.url], capture_output=True, text=True, check=True
        ).stdout

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
