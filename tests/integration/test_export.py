"""Files of samples, and the removal of hosts, with real processes."""

import csv
import http.client
import io
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from datetime import datetime

import orjson
import psutil

from tests.integration.harness import PATIENCE, TWISTD, Collector, IntegrationTestCase, Running, eventually

MIB = 1 << 20
HOUR = 3600  # s

PERFMON = str(TWISTD.with_name("perfmon"))

# Lines of the large file are long, so that few samples make many bytes: each of these is one of 100 an hour.
WIDE = [f"{'wide' * 220}{number:02}" for number in range(30)]
LINE = len(f"2026-11-25T20:08:09.000Z,{WIDE[0]},1.0\n")

# By how much a collector may grow for a client that does not read: it holds a part of an hour, and what a chunk and
# its text take while they are made, but neither the file nor an hour of it for each turn.
GROWTH = 30 * MIB


def memory(collector: Collector) -> int:
    """What the collector holds now (bytes)."""
    return int(psutil.Process(collector.process.pid).memory_info().rss)


class ExportCase(IntegrationTestCase):
    def perfmon(self, *words: str) -> Running:
        return self.running(PERFMON, *words)

    def sent(self, collector: Collector, lines: list[str]) -> None:
        """Sends Graphite lines, and waits until they are stored."""
        stored = collector.get("/status")["samples"]["stored"] + len(lines)
        collector.send("".join(lines))
        eventually(lambda: collector.get("/status")["samples"]["stored"] == stored, "all samples")

    def wide(self, hours: int) -> tuple[Collector, int]:
        """A collector whose host web1 has a file of `hours` of `WIDE`, and how many bytes its lines have."""
        collector = self.collector().ready()
        now = int(time.time())
        moments = range(now - hours * HOUR, now, HOUR // 100)
        self.sent(collector, [f"web1.{name} 1 {moment}\n" for name in WIDE for moment in moments])
        return collector, len(WIDE) * len(moments) * LINE


class FileTests(ExportCase):
    def test_what_was_sent(self) -> None:
        """`perfmon export` writes exactly the samples that were sent, in both formats, to a file and to its output."""
        collector = self.collector().ready()
        now = int(time.time())
        sent = {
            (moment, metric): value / 8
            for place, metric in enumerate(("cpu.load", "disk.free;mountpoint=/", 'odd,"name"'))
            for value, moment in enumerate(range(now - 5 * HOUR - place, now, 97))
        }
        lines = [self._line(metric, value, moment) for (moment, metric), value in sent.items()]
        self.sent(collector, [*lines, f"web10.cpu.load 1 {now}\n", f"web.cpu.load 1 {now}\n"])
        for form, read in (("csv", self._csv), ("ndjson", self._ndjson)):
            path = self.folder / f"web1.{form}"
            options = ("--url", collector.url, "--from", "-6h", "--format", form)
            written = self.perfmon("export", "web1", *options, "--output", str(path))
            self.assertEqual((written.ended(), written.log), (0, ""))
            self.assertEqual(dict(read(path.read_bytes())), sent)
        shown = self.perfmon("export", "web1", "--url", collector.url, "--from", "-6h")
        self.assertEqual((shown.ended(), shown.log_path.read_bytes()), (0, (self.folder / "web1.csv").read_bytes()))
        stepped = self.perfmon(
            *("export", "web1", "--url", collector.url, "--metric", "cpu.*", "--step", "1h", "--agg", "count"),
            *("--from", "-6h"),
        )
        self.assertEqual(stepped.ended(), 0)
        counts = dict(self._csv(stepped.log.encode()))
        self.assertEqual(sum(counts.values()), len([1 for _, metric in sent if metric == "cpu.load"]))
        self.assertEqual({moment % HOUR for moment, _ in counts}, {0})

    def _line(self, metric: str, value: float, moment: int) -> str:
        name, *tags = metric.split(";")
        return ";".join([f"web1.{name}", *tags]) + f" {value} {moment}\n"

    def _csv(self, text: bytes) -> Iterator[tuple[tuple[int, str], float]]:
        for row in csv.DictReader(io.StringIO(text.decode(), newline="")):
            moment = datetime.fromisoformat(row["time"]).timestamp()
            yield (int(moment), row["metric"]), float(row["value"])

    def _ndjson(self, text: bytes) -> Iterator[tuple[tuple[int, str], float]]:
        for line in text.splitlines():
            one = orjson.loads(line)
            yield (int(one["time"]), one["metric"]), one["value"]


class SlowReaderTests(ExportCase):
    def test_stops_reading(self) -> None:
        """A client that reads a little and stops costs no memory and nobody's answer; later it has the file whole."""
        taken_in, size = self.wide(24)
        self.assertGreater(size, 2 * GROWTH)
        taken_in.stop()
        collector = self.collector().ready()  # it holds nothing of what was taken in
        before = memory(collector)
        connection = http.client.HTTPConnection("127.0.0.1", collector.http_port, timeout=PATIENCE)
        connection.sock = socket.socket()
        connection.sock.settimeout(PATIENCE)
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        self.addCleanup(connection.close)
        connection.sock.connect(("127.0.0.1", collector.http_port))
        connection.request("GET", "/api/v1/hosts/web1/export?from=-25h")
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.read(100)[:18]), (200, b"time,metric,value\n"))
        grown = 0
        for _ in range(40):
            collector.get("/status")
            self.assertGreater(len(collector.points("web1", WIDE[0], from_="-1h")), 90)
            grown = max(grown, memory(collector) - before)
        other = self.perfmon("export", "web1", "--url", collector.url, "--from", "-25h", "--metric", WIDE[1])
        self.assertEqual((other.ended(), other.log.count("\n")), (0, 2401))
        grown = max(grown, memory(collector) - before)
        self.assertLess(grown, GROWTH)
        rest = answer.read()
        self.assertTrue(answer.isclosed())
        self.assertEqual(rest.count(b"\n"), len(WIDE) * 2400)
        self.assertEqual(100 + len(rest), len(b"time,metric,value\n") + size)
        self.assertNotIn("failed", collector.log)

    def test_goes(self) -> None:
        """One that goes away in the middle is not told of in the log, and nothing is left of it."""
        collector, _ = self.wide(3)
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", collector.http_port), timeout=PATIENCE) as connection:
                connection.sendall(b"GET /api/v1/hosts/web1/export HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertTrue(connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n"))
        pid = psutil.Process(collector.process.pid)
        eventually(lambda: not [one for one in pid.net_connections("tcp") if one.raddr], "the connections to be closed")
        self.assertEqual(collector.get("/healthz"), {"status": "ok"})
        self.assertNotIn("ailed", collector.log)
        self.assertNotIn("Traceback", collector.log)

    def test_collector_dies(self) -> None:
        """`perfmon export` whose collector dies in the middle ends with 1 and says so."""
        collector, size = self.wide(10)
        with subprocess.Popen(
            [PERFMON, "export", "web1", "--url", collector.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            begun = process.stdout.read(18)
            self.assertEqual(begun, b"time,metric,value\n")
            # nobody reads what it writes, so it cannot be through
            collector.signal(signal.SIGKILL)
            collector.ended()
            out, error = process.communicate(timeout=PATIENCE)
        self.assertEqual(process.returncode, 1)
        self.assertIn(b"perfmon: the collector broke off in the middle", error)
        self.assertNotIn(b"Traceback", error)
        self.assertLess(len(out), size)


class DeleteTests(ExportCase):
    def test_delete(self) -> None:
        """`perfmon delete` refuses a host that is there, and removes it with all of its keys when it has left."""
        collector = self.collector().ready()
        agent = self.agent(collector, "agent1")
        eventually(lambda: collector.points("agent1", "system.uptime"), "samples of the agent")
        self.sent(collector, [f"agent10.cpu.load 1 {int(time.time())}\n"])
        refused = self.perfmon("delete", "agent1", "--url", collector.url)
        self.assertEqual(refused.ended(), 1)
        self.assertIn("perfmon: agent1 is up: a host that sends would come back; stop its agent or sender", refused.log)
        agent.signal(signal.SIGTERM)
        agent.ended()
        eventually(lambda: collector.state("agent1") == "left", "the goodbye")
        store = self.store(collector)
        own = len(store("KEYS", "pm:{agent1}:*"))
        self.assertGreaterEqual(own, 2)
        done = self.perfmon("delete", "agent1", "--url", collector.url)
        self.assertEqual((done.ended(), done.log), (0, f"agent1 is removed, with {own} keys of the store\n"))
        self.assertEqual(store("KEYS", "pm:{agent1}:*"), [])
        self.assertEqual([host["host"] for host in collector.get("/api/v1/hosts", metric="-")["hosts"]], ["agent10"])
        self.assertEqual(collector.points("agent1", "system.uptime"), [])
        self.assertEqual([event["kind"] for event in collector.events("agent1")], ["up", "left", "removed"])
        again = self.perfmon("delete", "agent1", "--url", collector.url)
        self.assertEqual(again.ended(), 1)
        self.assertIn("no host 'agent1'", again.log)
