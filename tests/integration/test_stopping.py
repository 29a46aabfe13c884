"""The end of a collector: in time, whatever the store does, and with nothing lost."""

import os
import signal
import time

from tests.integration.harness import Collector, IntegrationTestCase, eventually

METRIC = "system.uptime"

# Whoever has sent SIGTERM has the process ended by then.
MOST = 10.0  # s


class StoppingTests(IntegrationTestCase):
    def sampled(self, collector: Collector) -> None:
        eventually(lambda: collector.newest("web1", METRIC), "the first round")

    def end(self, collector: Collector) -> None:
        """SIGTERM, and the end within the time that is promised."""
        began = time.monotonic()
        collector.signal(signal.SIGTERM)
        collector.ended()
        self.assertLess(time.monotonic() - began, MOST)
        self.assertNotIn("Traceback", collector.log)

    def test_store_there(self) -> None:
        """Agents are asked to connect anew, and go to the next collector with all that was not acknowledged."""
        collector = self.collector().ready()
        agent = self.agent(collector, "web1", "--interval", "200ms")
        self.sampled(collector)
        self.end(collector)
        agent.says("leaving the collector: it asks for that: it stops")
        again = self.collector("--no-self", "--port", str(collector.port)).ready()
        eventually(lambda: len(agent.spooled()) <= 2, "the spool to be empty")

        def sampled() -> list[float]:
            return [moment for moment, _ in again.points("web1", METRIC)][1:]  # the first is at no multiple of 0.2

        self.assert_every_round(sampled, 0.2, lambda: again.left_out("web1"))

    def test_store_frozen(self) -> None:
        """A store that does not answer holds up nobody; the next collector has everything from the agents."""
        collector = self.collector().ready()
        agent = self.agent(collector, "web1", "--interval", "200ms")
        self.sampled(collector)
        store = collector.store_pid()
        os.kill(store, signal.SIGSTOP)
        before = agent.spooled()
        eventually(lambda: len(agent.spooled() - before) > 5, "rounds to wait")
        kept = agent.spooled()
        self.end(collector)
        again = self.collector("--no-self", "--port", str(collector.port)).ready()
        eventually(lambda: kept <= {moment for moment, _ in again.points("web1", METRIC)}, "all rounds")

    def test_store_away(self) -> None:
        """Nor does one that is not there."""
        collector = self.collector("--name", "monitor", store=f"unix:{self.folder / 'nobody'}")
        self.agent(collector, "web1", "--interval", "200ms").says("connected to")
        eventually(lambda: collector.ask("/readyz")[0] == 503, "the store to be missed")
        self.end(collector)
