"""A simulated fleet and a real collector: all that is sent is stored, once, also when the collector is killed."""

import re
import signal
import time
from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np

from perfmon.core.simulated_fleet import SimulatedFleet
from tests.integration.harness import TWISTD, Collector, IntegrationTestCase, Running, eventually

AGENTS, METRICS = 50, 20


class SimulatorTests(IntegrationTestCase):
    def simulator(self, port: int, *options: str) -> Running:
        return self.running(
            *(str(TWISTD), "-n", "--pidfile=", "perfmon-simulator", "--server", f"127.0.0.1:{port}"),
            *("--agents", str(AGENTS), "--metrics", str(METRICS), *options),
        )

    def figures(self, simulator: Running, line: str) -> dict[str, int]:
        """What a line of the summary says: the word after each whole number, and the number."""
        (text,) = re.findall(rf"^{line} +(.*)$", simulator.log, re.MULTILINE)
        return {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", text)}

    def stored(self, collector: Collector, since: float) -> list[dict[str, Any]]:
        """All series of simulated hosts, with all their samples."""
        found: list[dict[str, Any]] = collector.get(
            "/api/v1/query", host="sim*", metric="*", from_=str(since - 1), until=str(time.time() + 1)
        )["series"]
        return found

    def assert_stored_once(self, collector: Collector, since: float, sent: int, interval: float) -> None:
        """So many samples are stored, none twice, with the very values that the machines measured."""
        series = self.stored(collector, since)
        self.assertEqual(sum(len(one["times"]) for one in series), sent)
        self.assertEqual(len(series), AGENTS * METRICS)
        fleet = SimulatedFleet(AGENTS, METRICS, interval, 0.2, 1, since)
        for number in range(AGENTS):
            columns = {one["metric"]: one for one in series if one["host"] == f"sim{number + 1:05}"}
            (times,) = {tuple(one["times"]) for one in columns.values()}
            gaps = {round(after - before, 2) for before, after in pairwise(times)}
            self.assertLessEqual(gaps, {interval}, "none is missing, none is there twice")
            table = fleet.values(np.full(len(times), number), np.array(times))
            for place, metric in enumerate(fleet.names):
                self.assertEqual(columns[metric]["values"], table[:, place].tolist())

    def test_all_stored(self) -> None:
        """By perfmon's protocol: every round is acknowledged and stored; the end is a goodbye of each, and status 0."""
        collector = self.collector().ready()
        since = time.time()
        simulator = self.simulator(collector.port, "--interval", "500ms", "--duration", "2s")
        eventually(lambda: collector.get("/status")["agents"]["connected"] == AGENTS, "all agents")
        self.assertEqual(simulator.ended(), 0, simulator.log)
        rounds, samples = self.figures(simulator, "rounds"), self.figures(simulator, "samples")
        self.assertGreaterEqual(rounds["sent"], 3 * AGENTS)
        self.assertEqual((rounds["acknowledged"], rounds["left"]), (rounds["sent"], 0))
        self.assertIn(f"connected: {AGENTS} at most, {AGENTS} at the end", simulator.log)
        self.assert_stored_once(collector, since, samples["sent"], 0.5)
        hosts = collector.get("/api/v1/hosts")["hosts"]
        self.assertEqual(Counter(host["state"] for host in hosts), {"left": AGENTS})
        self.assertEqual(Counter(host["labels"]["profile"] for host in hosts)["idle"], AGENTS // 5)

    def test_graphite(self) -> None:
        """By Graphite: the same values are stored under the same names, over a handful of connections."""
        collector = self.collector().ready()
        since = time.time()
        simulator = self.simulator(collector.port, "--graphite", "--rate", "2000")
        eventually(lambda: len(self.stored(collector, since)) == AGENTS * METRICS, "all series")
        simulator.signal(signal.SIGINT)
        self.assertEqual(simulator.ended(), 0, simulator.log)
        sent = self.figures(simulator, "samples")["sent"]
        eventually(lambda: collector.get("/status")["samples"]["stored"] >= sent, "all samples")
        self.assertEqual(collector.get("/status")["samples"]["rejected"], 0)
        self.assert_stored_once(collector, since, sent, 0.5)

    def test_collector_killed(self) -> None:
        """A collector that is killed and comes back has all rounds in the end, also those of its absence, each once."""
        collector = self.collector().ready()
        since = time.time()
        simulator = self.simulator(collector.port, "--interval", "500ms")
        eventually(lambda: len(self.stored(collector, since)) == AGENTS * METRICS, "the first rounds")
        collector.signal(signal.SIGKILL)
        collector.ended()
        simulator.says("no connection to 127.0.0.1")
        again = self.collector("--no-self", "--port", str(collector.port)).ready()
        eventually(lambda: again.get("/status")["agents"]["connected"] == AGENTS, "all agents again")
        simulator.signal(signal.SIGTERM)
        self.assertEqual(simulator.ended(), 0, simulator.log)
        rounds, samples = self.figures(simulator, "rounds"), self.figures(simulator, "samples")
        self.assertEqual((rounds["acknowledged"], rounds["unacknowledged"]), (rounds["sent"], 0))
        self.assertIn(f"connected: {AGENTS} at most, {AGENTS} at the end", simulator.log)
        self.assert_stored_once(again, since, samples["sent"], 0.5)

    def test_nobody_there(self) -> None:
        """Without a collector the simulator says so, in its log and by its status; a signal ends the waiting."""
        simulator = self.simulator(1, "--interval", "500ms", "--duration", "1s")
        simulator.says("no connection to 127.0.0.1:1")
        simulator.says("no more samples; waiting 15 s at most")
        simulator.signal(signal.SIGTERM)
        self.assertEqual(simulator.ended(), 1)
        self.assertRegex(simulator.log, r"result .*no connection was ever made")
        refused = self.simulator(1, "--rate", "5", "--interval", "1s")
        self.assertEqual(refused.ended(), 1)
        self.assertIn("--rate and --interval say the same thing in two ways; leave out either", refused.log)
