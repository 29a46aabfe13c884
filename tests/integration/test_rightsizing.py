"""Rightsizing by the command line, of real agents and of simulated ones."""

import csv
import time

import numpy as np
import orjson

from perfmon.core.simulated_fleet import SimulatedFleet
from tests.integration.harness import PERFMON, TWISTD, Collector, IntegrationTestCase, eventually
from tests.integration.simulated_past import simulated_past

AGENTS, METRICS, INTERVAL, IDLE, SEED = 20, 40, 2, 0.3, 7
WINDOW = ("--window", "5m", "--min-history", "5m")


class RightsizingTests(IntegrationTestCase):
    def perfmon(self, collector: Collector, *words: str, ends: int = 0) -> str:
        done = self.running(str(PERFMON), "rightsizing", *words, "--url", collector.url)
        self.assertEqual(done.ended(), ends, done.log)
        return done.log

    def test_demo(self) -> None:
        """Of a simulated fleet the idle machines are to be reclaimed, exactly these, after five minutes."""
        collector = self.collector("--no-self").ready()
        now = time.time()
        fleet = SimulatedFleet(AGENTS, METRICS, INTERVAL, IDLE, SEED, now)
        collector.send(simulated_past(fleet, "sim", AGENTS, np.arange(now - 600, now, INTERVAL)))
        self.running(
            *(str(TWISTD), "-n", "--pidfile=", "perfmon-simulator", "--server", f"127.0.0.1:{collector.port}"),
            *("--agents", str(AGENTS), "--interval", f"{INTERVAL}s", "--idle-share", str(IDLE)),
            *("--metrics", str(METRICS), "--seed", str(SEED)),
        )

        def judged() -> list[dict[str, object]] | None:
            hosts = collector.get("/api/v1/rightsizing", window="5m")["hosts"]
            there = [one for one in hosts if one["labels"] and one["verdict"] != "insufficient-data"]
            return hosts if len(there) == AGENTS else None

        hosts = eventually(judged, "all agents, and five minutes of the fleet")
        idle = {one["host"] for one in collector.get("/api/v1/hosts")["hosts"] if one["labels"]["profile"] == "idle"}
        self.assertEqual(len(idle), IDLE * AGENTS)
        self.assertEqual({one["host"] for one in hosts if one["verdict"] == "reclaim"}, idle)
        shown = self.perfmon(collector, *WINDOW)
        self.assertIn(f"{len(idle)} reclaim", shown)
        for host in idle:
            self.assertRegex(shown, rf"{host} +reclaim .* low +idle-cpu, idle-network, idle-disk")
        lines = list(csv.DictReader(self.perfmon(collector, *WINDOW, "--csv").splitlines()))
        self.assertEqual({line["host"] for line in lines if line["verdict"] == "reclaim"}, idle)
        some = min(idle)
        self.assertRegex(self.perfmon(collector, some, *WINDOW, "--why"), r"idle-cpu: [\d.]+ %, limit 10.0 %; P97")
        self.assertIn("of the shop", self.perfmon(collector, some, "--note", "of the shop"))
        self.assertIn("dismissed until", self.perfmon(collector, some, "--dismiss", "30d"))
        self.assertNotIn(some, self.perfmon(collector, *WINDOW))
        self.assertIn("reclaim, dismissed", self.perfmon(collector, some, *WINDOW, "--all"))
        self.assertNotIn("dismissed", self.perfmon(collector, some, "--recall"))
        told = orjson.loads(self.perfmon(collector, some, *WINDOW, "--json"))
        self.assertEqual([(one["note"], one["dismissed"]) for one in told["hosts"]], [("of the shop", None)])

    def test_bad(self) -> None:
        """What cannot be asked is said, and how to."""
        collector = self.collector("--no-self").ready()
        for words, problem in (
            (("--window", "soon"), "window: 'soon' is no duration"),
            (("--window", "1s"), "window is 60 s to 400 d"),
            (("--window", "1h", "--min-history", "2h"), "longer than the window"),
            (("--threshold", "0"), "threshold is the percentage"),
            (("web*", "--note", "x"), "name the one host"),
            (("nobody", "--note", "x"), "no host 'nobody'"),
            (("nobody", "--dismiss", "soon"), "dismiss is a time, or how long"),
        ):
            self.assertIn(problem, self.perfmon(collector, *words, ends=1))
        self.assertIn("no hosts", self.perfmon(collector))
