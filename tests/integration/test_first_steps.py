"""What a newcomer does first, with real processes."""

import signal
import socket
import time

import orjson

from perfmon.host import own_name
from tests.integration.harness import TWISTD, IntegrationTestCase, Running, eventually, gone


class FirstStepsTests(IntegrationTestCase):
    """One collector, its own host, one line by hand."""

    def test_own_host_is_live(self) -> None:
        """The collector shows its own host with live data by itself."""
        collector = self.collector("--interval", "1s").ready()
        name = own_name()
        eventually(lambda: len(collector.points(name, "perfmon.cpu.utilization")) > 1, "samples of the own host")
        host = collector.get(f"/api/v1/hosts/{name}")
        self.assertEqual(host["state"], "up")
        self.assertGreater(host["latest"]["system.memory.limit"]["value"], 0)
        self.assertEqual(host["latest"]["system.memory.limit"]["unit"], "By")
        times = [point[0] for point in collector.points(name, "perfmon.cpu.utilization")]
        self.assertEqual(times[1:], [round(moment) for moment in times[1:]], "rounds fall on whole intervals")

    def test_one_graphite_line(self) -> None:
        """A line sent with a plain socket can be queried, raw and by minute."""
        collector = self.collector().ready()
        now = int(time.time())
        collector.send(f"web1.cpu.load 42 {now}\n")
        found = eventually(lambda: collector.points("web1", "cpu.load"), "the sample")
        self.assertEqual(found, [[float(now), 42.0]])
        by_minute = collector.points("web1", "cpu.load", step="60", agg="max", from_="-2m")
        self.assertIn([now // 60 * 60.0, 42.0], by_minute)
        eventually(lambda: collector.state("web1") == "up", "the host to be up")

    def test_bad_lines_harm_nobody(self) -> None:
        """Every kind of bad input is counted, and the good lines around it are stored."""
        collector = self.collector().ready()
        now = int(time.time())
        bad = [
            b"only two",
            b"web1.x notanumber %d" % now,
            b"web1.x nan %d" % now,
            b"web1.x 1 %d" % (now + 3600),
            b"web1.x 1 12",
            b"bad{host}.x 1 %d" % now,
            b"\x00\xff\xfe rubbish \x01",
            b"w" * 10_000,
        ]
        lines = [b"web1.good%d %d %d" % (i, i, now) for i in range(len(bad))]
        collector.send(b"".join(good + b"\n" + worse + b"\n" for good, worse in zip(lines, bad, strict=True)))
        eventually(lambda: collector.get("/status")["samples"]["stored"] == len(lines), "the good lines")
        samples = collector.get("/status")["samples"]
        self.assertEqual(samples["received"], len(lines))
        self.assertEqual(
            samples["rejected_by_reason"],
            {"bad-line": 1, "bad-value": 3, "future": 1, "too-old": 1, "bad-name": 1, "long-line": 1},
        )
        for i in range(len(bad)):
            self.assertEqual(collector.points("web1", f"good{i}"), [[float(now), float(i)]])
        self.assertIn("refused from", collector.log)

    def test_posted_samples(self) -> None:
        """Samples posted as JSON are stored when the answer comes."""
        collector = self.collector().ready()
        body = orjson.dumps(
            {"host": "script", "samples": [{"metric": "queue", "value": 7}, {"metric": "b d", "value": 1}]}
        )
        status, answer = collector.ask("/api/v1/samples", body, "application/json")
        self.assertEqual((status, answer["stored"]), (200, 1))
        self.assertEqual([refused["reason"] for refused in answer["refused"]], ["bad-name"])
        self.assertEqual([value for _, value in collector.points("script", "queue")], [7.0])

    def test_every_key_has_a_ttl(self) -> None:
        """No key of ours stays in the store for ever."""
        collector = self.collector("--interval", "1s").ready()
        self.agent(collector, "agent1").says("connected to")
        collector.send(f"web1.cpu.load 1 {int(time.time())}\nweb1.cpu.load 1 {int(time.time()) - 86_400}\n")
        eventually(lambda: collector.points("agent1", "system.uptime"), "samples of the agent")
        eventually(lambda: collector.state("web1"), "the sender")
        eventually(lambda: collector.events("web1"), "its event")
        store = self.store(collector)
        keys = store("KEYS", "*")
        self.assertGreater(len(keys), 8)
        self.assertEqual([key for key in keys if not key.startswith(b"pm:")], [])
        self.assertEqual([key for key in keys if store("TTL", key) < 0], [])

    def test_stopping_keeps_everything(self) -> None:
        """SIGTERM stores what was received, ends the store, and the next start has all of it."""
        collector = self.collector().ready()
        now = int(time.time())
        with socket.create_connection(("127.0.0.1", collector.port)) as connection:
            connection.sendall(b"".join(b"web%d.m %d %d\n" % (i, i, now) for i in range(5_000)))
            eventually(lambda: collector.get("/status")["samples"]["received"] == 5_000, "all lines")
            pid = collector.store_pid()
            collector.signal(signal.SIGTERM)
            self.assertIn(collector.ended(), (0, -signal.SIGTERM))
        self.assertTrue(gone(pid), "the store's server has ended too")
        again = self.collector().ready()
        for i in (0, 4_999):
            self.assertEqual(again.points(f"web{i}", "m"), [[float(now), float(i)]])
        self.assertEqual(len(again.get("/api/v1/hosts", metric="-")["hosts"]), 5_000)

    def test_command_line(self) -> None:
        """`perfmon` shows the same as the API, as tables and as JSON, and says what to do where nobody answers."""
        collector = self.collector().ready()
        collector.send(f"web1.cpu.load 42 {int(time.time())}\n")
        eventually(lambda: collector.state("web1"), "the host")
        for command, expected in (
            (["status"], "1 received, 1 stored"),
            (["hosts"], "web1"),
            (["query", "cpu.*", "--host", "web1", "--from", "-5m"], "42"),
            (["events"], "web1"),
            (["events", "--host", "web*", "--kind", "up,late"], "web1"),
        ):
            shown = self._perfmon(*command, "--url", collector.url)
            self.assertEqual(shown.ended(), 0, shown.log)
            self.assertIn(expected, shown.log)
            plain = self._perfmon(*command, "--url", collector.url, "--json")
            self.assertEqual(plain.ended(), 0)
            self.assertIsInstance(orjson.loads(plain.log), dict)
        others = self._perfmon("events", "--host", "db*", "--url", collector.url)
        self.assertEqual(others.ended(), 0)
        self.assertNotIn("web1", others.log)
        wrong = self._perfmon("query", "x", "--agg", "median", "--url", collector.url)
        self.assertEqual(wrong.ended(), 1)
        self.assertIn("avg, min, max", wrong.log)
        nobody = self._perfmon("status", "--url", "http://127.0.0.1:9")
        self.assertEqual(nobody.ended(), 1)
        self.assertIn("no collector at http://127.0.0.1:9", nobody.log)

    def _perfmon(self, *arguments: str) -> Running:
        return self.running(str(TWISTD.with_name("perfmon")), *arguments)
