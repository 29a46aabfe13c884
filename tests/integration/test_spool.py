"""What an agent has sampled survives everything: kills, a collector that is away, and the way to another one."""

import signal
import socket

from tests.integration.harness import Agent, Collector, IntegrationTestCase, eventually

METRIC = "system.uptime"
INTERVAL = 0.5  # s


class SpoolTests(IntegrationTestCase):
    def sampling(self, *servers: int) -> Agent:
        """An agent that sends to these ports, the first of them that serves."""
        more = [word for port in servers[1:] for word in ("--server", f"127.0.0.1:{port}")]
        agent = Agent(self.folder, servers[0], "web1", "--interval", f"{INTERVAL}s", *more)
        self.addCleanup(agent.stop)
        return agent

    def times(self, collector: Collector) -> list[float]:
        return [time for time, _ in collector.points("web1", METRIC)]

    def test_killed(self) -> None:
        """A killed agent has lost nothing: what it had sampled while no collector was there is sent by the next run."""
        collector = self.collector().ready()
        agent = self.sampling(collector.port)
        eventually(lambda: len(self.times(collector)) > 3, "the first rounds")
        collector.signal(signal.SIGSTOP)
        before = agent.spooled()
        eventually(lambda: len(agent.spooled() - before) >= 6, "rounds to wait")
        kept = agent.spooled()
        agent.signal(signal.SIGKILL)
        agent.ended()
        collector.signal(signal.SIGCONT)
        again = self.sampling(collector.port)
        eventually(lambda: kept <= set(self.times(collector)), "what the killed agent had kept")
        eventually(lambda: len(again.spooled()) <= 2, "the spool to be empty")
        self.assertEqual(len(self.times(collector)), len(set(self.times(collector))))

    def test_second_server(self) -> None:
        """When its collector goes the agent goes to another one, with what was not acknowledged, and stays there."""
        first = self.collector().ready()
        second = Collector(self.folder, "--no-self", store=f"unix:{first.store_folder / 'valkey.sock'}")
        self.addCleanup(second.stop)
        second.ready()
        with socket.create_server(("127.0.0.1", 0)) as unused:
            nobody = unused.getsockname()[1]
        agent = self.sampling(nobody, second.port, first.port)
        agent.says(f"connected to 127.0.0.1:{second.port}")
        eventually(lambda: len(self.times(first)) > 3, "the first rounds")
        second.signal(signal.SIGKILL)
        second.ended()
        agent.says(f"connected to 127.0.0.1:{first.port}")
        count = len(self.times(first))
        eventually(lambda: len(self.times(first)) > count + 4, "more rounds")
        # the first round of an agent is at no multiple of the interval
        self.assert_every_round(lambda: self.times(first)[1:], INTERVAL, lambda: first.left_out("web1"))
        self.assertEqual([event["kind"] for event in first.events("web1")], ["up"])
        clock = eventually(lambda: first.get("/api/v1/hosts/web1", metric="-")["clock"], "the clock to be known")
        self.assertLess(abs(clock["offset"]), clock["round_trip"] / 2 + 0.001)
