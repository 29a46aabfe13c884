"""What tests of benchmarks on real agents have in common."""

from pathlib import Path
from typing import Any

import orjson
import psutil

from tests.integration.harness import PERFMON, Agent, Collector, IntegrationTestCase, eventually

HOSTS = ("web1", "web2", "web3", "web4")
DISK = {"seconds": 2.0, "chunk": 1 << 16, "roll": 1 << 20, "fsync": "never"}


class BenchmarkCase(IntegrationTestCase):
    """Each with a collector and four agents."""

    def setUp(self) -> None:
        super().setUp()
        self.monitor = self.collector("--no-self", "--heartbeat-timeout", "3s").ready()
        self.agents = {host: self.start(host) for host in HOSTS}
        for host in HOSTS:
            self.up(host)

    def start(self, host: str, *options: str) -> Agent:
        return self.agent(self.monitor, host, "--benchmark-folder", str(self.folder / "benchmarks"), *options)

    def again(self, host: str, *options: str) -> None:
        """The agent of this host is started anew, with these options."""
        self.agents[host].stop()
        self.agents[host] = self.start(host, *options)
        self.up(host)

    def perfmon(self, *arguments: str, ends: int = 0) -> str:
        """What a command of this collector prints."""
        done = self.running(str(PERFMON), *arguments, "--url", self.monitor.url)
        self.assertEqual(done.ended(), ends, done.log)
        return done.log

    def up(self, host: str) -> None:
        eventually(lambda: self.monitor.state(host) == "up", f"{host} to be up")

    def begin(self, kind: str, parameters: Any, hosts: str = "web*", lead: float = 1.0) -> str:
        body = orjson.dumps({"kind": kind, "hosts": hosts, "parameters": parameters, "lead": lead})
        status, begun = self.monitor.ask("/api/v1/benchmarks", body, "application/json")
        self.assertEqual(status, 200, begun)
        return str(begun["id"])

    def told(self, id: str, collector: Collector | None = None) -> Any:
        return (collector or self.monitor).get(f"/api/v1/benchmarks/{id}")

    def over(self, id: str, state: str) -> Any:
        """The run, once it is in this state."""
        return eventually(lambda: (run := self.told(id))["state"] == state and run, f"it to be {state}", 90.0)

    def begun(self, id: str, *hosts: str) -> None:
        """Waits until it has begun on these hosts."""
        eventually(lambda: all(self.told(id)["hosts"][host]["share"] > 0 for host in hosts), "it to run")

    def child(self, host: str) -> psutil.Process:
        """The process of the load."""
        (child,) = psutil.Process(self.agents[host].process.pid).children()
        return child

    def files(self) -> list[Path]:
        return [path for path in (self.folder / "benchmarks").rglob("*") if path.is_file()]
