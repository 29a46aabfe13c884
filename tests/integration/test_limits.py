"""The limits of the collector's ports, with real processes and real descriptors."""

import http.client
import socket
from typing import Any

import orjson
import psutil

from tests.integration.harness import PATIENCE, IntegrationTestCase, eventually

# Descriptors that the collector may have: enough to start and for 44 connections, and quickly used up.
FEW = 300


class LimitTests(IntegrationTestCase):
    """Each with a collector of its own."""

    def connect(self, port: int) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.addCleanup(connection.close)
        return connection

    def test_connections(self) -> None:
        """An agent that is one too many is told so, and comes again until there is room."""
        collector = self.collector("--no-self", "--max-connections", "1").ready()
        first = self.agent(collector, "first")
        first.says("connected to")
        second = self.agent(collector, "second")
        second.says(r"no connection to \S+: all 1 connections are taken \(--max-connections\)")
        eventually(
            lambda: collector.get("/status")["samples"]["rejected_by_reason"]["not-allowed"] > 2, "more attempts"
        )
        first.stop()
        second.says("connected to")
        self.assertEqual(second.log.count("no connection to"), 1)

    def test_descriptors(self) -> None:
        """Where descriptors run out those connected are served, the log says so once, nothing spins, all recovers."""
        collector = self.collector("--no-self", "--stats-interval", "1s", files=FEW).ready()
        self.agent(collector, "early").says("connected to")
        sender = self.connect(collector.port)
        sender.sendall(b"web1.count 1 -1\n")
        asker = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=PATIENCE)
        self.addCleanup(asker.close)

        def asked(path: str) -> Any:
            """What the API says on the connection that is kept."""
            asker.request("GET", path)
            return orjson.loads(asker.getresponse().read())

        def latest(host: str, metric: str) -> Any:
            return asked(f"/api/v1/hosts/{host}?metric={metric}").get("latest", {}).get(metric, {}).get("value")

        eventually(lambda: latest("web1", "count") == 1, "a sample before")
        crowd = [self.connect(collector.http_port) for _ in range(FEW + 50)]
        collector.says("file descriptors run short .*: new connections wait")
        server = psutil.Process(collector.process.pid)
        lines, used = collector.log.count("samples/s received"), sum(server.cpu_times()[:2])
        late = self.agent(collector, "late")
        sender.sendall(b"web1.count 2 -1\n")
        eventually(lambda: latest("web1", "count") == 2, "a sample meanwhile")
        uptime = latest("early", "system.uptime")
        eventually(lambda: latest("early", "system.uptime") > uptime, "the agent's samples meanwhile")
        eventually(lambda: collector.log.count("samples/s received") > lines + 2, "two seconds")
        self.assertLess(sum(server.cpu_times()[:2]) - used, 1.0, "nothing spins")
        self.assertNotIn("connected to", late.log)
        self.assertEqual(asked("/api/v1/status")["agents"]["connected"], 1)
        for one in crowd:
            one.close()
        collector.says("there are file descriptors again")
        late.says("connected to")
        self.assertEqual(collector.log.count("file descriptors run short"), 1)
        self.assertEqual(collector.log.count("EMFILE"), 0, "not one connection was refused for it")
        self.assertNotIn("Traceback", collector.log)
