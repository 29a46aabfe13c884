"""Which store the collector uses, and what it does while it is away."""

import os
import signal
import socket
import stat
import time

import psutil

from tests.integration.harness import TWISTD, IntegrationTestCase, Running, Store, eventually, gone
from tests.programs import STORE_SERVERS


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class StoreTests(IntegrationTestCase):
    """Embedded and existing servers."""

    def server(self, program: str, port: int, *options: str) -> Running:
        """A server of the test's own on loopback."""
        server = self.running(program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", *options)
        server.says("Ready to accept connections")
        return server

    def test_existing_server(self) -> None:
        """Valkey and Redis 7.0 serve over TCP with a password and a database, and over a unix socket."""
        for name, program in STORE_SERVERS.items():
            self._serves(name, program)

    def _serves(self, name: str, program: str) -> None:
        port, path = free_port(), str(self.folder / f"{name}.sock")
        self.server(program, port, "--requirepass", "p@ss:word", "--unixsocket", path)
        url = f"redis://:p%40ss%3Aword@127.0.0.1:{port}/3"
        collector = self.collector("--no-self", store=url).ready()
        now = int(time.time())
        collector.send(f"web1.cpu.load 42 {now}\n")
        eventually(lambda: collector.points("web1", "cpu.load"), f"the sample in {name}")
        report = collector.get("/status")["store"]
        self.assertEqual(report["address"], f"redis://127.0.0.1:{port}/3")
        self.assertNotIn("p@ss", collector.log)
        outside = Store(("127.0.0.1", port))
        self.addCleanup(outside.close)
        outside("AUTH", "p@ss:word")
        self.assertEqual(outside("DBSIZE"), 0)
        outside("SELECT", 3)
        self.assertEqual([key for key in outside("KEYS", "*") if outside("TTL", key) < 0], [])
        outside("CONFIG", "SET", "requirepass", "")
        collector.stop()
        by_socket = self.collector("--no-self", store=f"unix:{path}").ready()
        by_socket.send(f"web2.cpu.load 43 {now}\n")
        eventually(lambda: by_socket.points("web2", "cpu.load"), f"the sample in {name} by its socket")

    def test_away_at_start(self) -> None:
        """Without its store the collector starts, says so, keeps what agents send, and recovers alone."""
        port = free_port()
        collector = self.collector("--no-self", store=f"redis://127.0.0.1:{port}/0")
        collector.says("store unavailable")
        self.assertEqual(collector.ask("/healthz")[0], 200)
        status, answer = collector.ask("/readyz")
        self.assertEqual(status, 503)
        self.assertIn("the store cannot be used", answer["error"])
        self.assertIn("refused", collector.get("/status")["store"]["problem"])
        self.assertEqual(collector.ask("/api/v1/hosts")[0], 503)
        self.agent(collector, "patient").says("connected to")
        eventually(lambda: collector.get("/status")["ingest"]["buffered_bytes"] > 0, "samples that wait")
        sent = int(time.time())
        collector.send(f"web1.cpu.load 42 {sent}\n")
        program = next(iter(STORE_SERVERS.values()))
        self.server(program, port)
        collector.ready()
        eventually(lambda: collector.points("patient", "system.uptime"), "the agent's samples")
        self.assertEqual(collector.points("web1", "cpu.load"), [[float(sent), 42.0]])
        self.assertEqual(collector.get("/status")["store"]["problem"], None)

    def test_embedded_is_private(self) -> None:
        """The embedded server has no port, and its socket and files are its owner's alone; writes are on disk."""
        collector = self.collector("--no-self").ready()
        collector.send(f"web1.cpu.load 42 {int(time.time())}\n")
        eventually(lambda: collector.points("web1", "cpu.load"), "the sample")
        others = stat.S_IRWXG | stat.S_IRWXO
        self.assertEqual(collector.store_folder.stat().st_mode & others, 0)
        files = [path for path in collector.store_folder.rglob("*") if path.name != "lock"]
        self.assertGreater(len(files), 3)
        self.assertEqual([path for path in files if path.stat().st_mode & others], [])
        store = self.store(collector)
        for name, value in (
            (b"port", b"0"),
            (b"appendonly", b"yes"),
            (b"appendfsync", b"everysec"),
            (b"maxmemory-policy", b"noeviction"),
        ):
            self.assertEqual(store("CONFIG", "GET", name), [name, value])

    def test_store_killed(self) -> None:
        """The embedded server's death is noticed, it is started again, and nothing acknowledged is missing."""
        collector = self.collector("--no-self").ready()
        self.agent(collector, "agent1")
        eventually(lambda: len(collector.points("agent1", "system.uptime")) > 2, "samples")
        store = self.store(collector)
        store("CONFIG", "SET", "appendfsync", "always")
        before = collector.store_pid()
        os.kill(before, signal.SIGKILL)
        collector.says("server ended by itself")
        killed = time.time()
        eventually(lambda: collector.ask("/readyz")[0] == 200 and collector.store_pid() != before, "a new server")
        eventually(lambda: collector.newest("agent1", "system.uptime") > killed + 2, "samples after it")
        times = [point[0] for point in collector.points("agent1", "system.uptime")]
        self.assertEqual(times[1:], [times[1] + i for i in range(len(times) - 1)], "one each second")

    def test_collector_killed(self) -> None:
        """A collector that is killed leaves no server behind (on Linux), and the next one has all that was stored."""
        collector = self.collector("--no-self").ready()
        now = int(time.time())
        collector.send(f"web1.cpu.load 42 {now}\n")
        eventually(lambda: collector.points("web1", "cpu.load"), "the sample")
        server = collector.store_pid()
        collector.signal(signal.SIGKILL)
        collector.ended()
        if psutil.LINUX:
            eventually(lambda: gone(server), "the end of the server")
        again = self.collector("--no-self").ready()
        self.assertEqual(again.points("web1", "cpu.load"), [[float(now), 42.0]])

    def test_in_use(self) -> None:
        """Two collectors do not share an embedded store: the second says what to do, and ends."""
        collector = self.collector("--no-self").ready()
        second = self.running(
            *(str(TWISTD), "-n", "--pidfile=", "perfmon", "--port", "0", "--http-port", "0"),
            *("--store", f"embedded:{collector.store_folder}"),
        )
        self.assertNotEqual(second.ended(), 0)
        self.assertIn("is in use by another perfmon; stop that one", second.log)

    def test_backpressure(self) -> None:
        """With the store frozen the buffer stays bounded, senders are paused, and all of it arrives afterwards."""
        collector = self.collector("--no-self").ready()
        store_pid = collector.store_pid()
        now = int(time.time())
        hosts, rounds = 1_000, 4_000  # more than the buffer takes
        os.kill(store_pid, signal.SIGSTOP)
        self.addCleanup(_resume, store_pid)
        with socket.create_connection(("127.0.0.1", collector.port)) as connection:
            connection.settimeout(0.2)
            sent, data = 0, b""
            while sent < rounds:
                data = data or b"".join(b"host%d.metric 1.5 %d\n" % (host, now - sent) for host in range(hosts))
                try:
                    data = data[connection.send(data) :]
                    sent += not data
                except TimeoutError:
                    if collector.get("/status")["ingest"]["paused"]:
                        break
            status = collector.get("/status")["ingest"]
            self.assertTrue(status["paused"], "senders are paused")
            self.assertLess(status["buffered_bytes"], 80 << 20)
            _resume(store_pid)
            connection.settimeout(60)
            connection.sendall(data)
            sent += bool(data)
        eventually(lambda: collector.get("/status")["samples"]["stored"] == sent * hosts, "all samples", 60)
        counted = collector.points("host7", "metric", agg="count", step="1d", from_="-2h")
        self.assertEqual(sum(count for _, count in counted if count), sent)


def _resume(pid: int) -> None:
    os.kill(pid, signal.SIGCONT)
