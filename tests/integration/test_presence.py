"""Arrivals and departures, with real agents that are killed."""

import signal
import time

from tests.integration.harness import IntegrationTestCase, eventually

TIMEOUT = 3.0  # s; the rule is the same for the default of 15 s


class PresenceTests(IntegrationTestCase):
    """Two agents of different names on one machine."""

    def test_departed_left_and_back(self) -> None:
        """kill -9 is named within a second of the timeout, a goodbye at once, and both come back."""
        collector = self.collector("--no-self", "--heartbeat-timeout", f"{TIMEOUT}s").ready()
        first = self.agent(collector, "first", "--label", "role=db")
        second = self.agent(collector, "second")
        eventually(lambda: collector.points("first", "system.uptime"), "samples of the first")
        eventually(lambda: collector.points("second", "system.uptime"), "samples of the second")
        # samples may be stored a moment before what is known of their host
        eventually(lambda: [collector.state(host) for host in ("first", "second")] == ["up", "up"], "both to be up")
        self.assertEqual(collector.get("/api/v1/hosts/first")["labels"], {"role": "db"})
        self.assertEqual(collector.get("/status")["agents"]["connected"], 2)

        killed = time.time()
        first.signal(signal.SIGKILL)
        second.signal(signal.SIGTERM)
        second.ended()
        eventually(lambda: collector.state("second") == "left", "the goodbye")
        self.assertNotEqual(collector.state("first"), "departed")
        eventually(lambda: collector.state("first") == "departed", "the departure")
        (departed,) = [event for event in collector.events("first") if event["kind"] == "departed"]
        self.assertIn(departed["reason"], ("connection closed", "connection reset"))
        last_sign = collector.get("/api/v1/hosts/first")["last_seen"]
        self.assertLessEqual(last_sign, killed)
        self.assertGreaterEqual(departed["at"] - last_sign, TIMEOUT - 0.1)
        self.assertLessEqual(departed["at"] - killed, TIMEOUT + 1, "within a second of the timeout")
        (left,) = [event for event in collector.events("second") if event["kind"] == "left"]
        self.assertEqual(left["reason"], "stopped")

        self.agent(collector, "first")
        self.agent(collector, "second")
        eventually(lambda: collector.state("first") == "up", "the first to be back")
        eventually(lambda: collector.state("second") == "up", "the second to be back")
        self.assertEqual([event["kind"] for event in collector.events("second")], ["up", "left", "up"])
        self.assertEqual([event["kind"] for event in collector.events("first")], ["up", "late", "departed", "up"])
        self.assertIn("departed: first (connection ", collector.log)

    def test_collector_restart_keeps_presence(self) -> None:
        """Agents reconnect to a collector that was killed: no departure, no sample missing or twice."""
        collector = self.collector("--no-self", "--heartbeat-timeout", "6s").ready()
        agent = self.agent(collector, "steady")
        eventually(lambda: len(collector.points("steady", "system.uptime")) > 2, "samples")
        collector.signal(signal.SIGKILL)
        collector.ended()
        again = self.collector(
            "--no-self", "--heartbeat-timeout", "6s", "--port", str(collector.port), "--http-port", "0"
        ).ready()
        killed = time.time()
        eventually(lambda: again.newest("steady", "system.uptime") > killed + 2, "samples after the restart")
        times = [point[0] for point in again.points("steady", "system.uptime")]
        self.assertEqual(times[1:], [times[1] + i for i in range(len(times) - 1)], "one each second")
        self.assertEqual([event["kind"] for event in again.events("steady")][:1], ["up"])
        self.assertNotIn("departed", [event["kind"] for event in again.events("steady")])
        self.assertIsNone(agent.process.poll())

    def test_silent_sender(self) -> None:
        """A Graphite sender that stops is silent after its timeout, never departed."""
        collector = self.collector("--no-self", "--heartbeat-timeout", "1s", "--silence-timeout", "3s").ready()
        collector.send(f"web1.cpu.load 1 {int(time.time())}\n")
        eventually(lambda: collector.state("web1") == "silent", "the silence")
        collector.send(f"web1.cpu.load 1 {int(time.time())}\n")
        eventually(lambda: collector.state("web1") == "up", "the return")
        self.assertEqual([event["kind"] for event in collector.events("web1")], ["up", "silent", "up"])

    def test_same_name_twice(self) -> None:
        """A second machine of the same name is told so and does not disturb the first."""
        collector = self.collector("--no-self").ready()
        self.agent(collector, "twin").says("connected to")
        second = self.agent(collector, "twin")
        second.says("another agent is connected as twin.*--name")
        self.assertEqual(collector.get("/status")["agents"]["connected"], 1)
        self.assertEqual(collector.state("twin"), "up")
