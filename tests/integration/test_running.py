"""Ways to run the collector: as a daemon, from a file, on other endpoints, with a token."""

import os
import signal
import socket
import time
import urllib.error
import urllib.request

import orjson

from tests.integration.harness import PATIENCE, TWISTD, IntegrationTestCase, eventually, gone

TOKEN = "correct-horse-battery-staple"


class RunningTests(IntegrationTestCase):
    """Each with real processes."""

    def test_daemon(self) -> None:
        """`twistd perfmon` goes into the background with a pid file and a log, and stops on SIGTERM."""
        launched = self.running(
            *(str(TWISTD), "--pidfile", "perfmon.pid", "--logfile", "perfmon.log", "perfmon"),
            *("--port", "0", "--http-port", "0", "--store", f"embedded:{self.folder / 'store'}"),
        )
        self.assertEqual(launched.ended(), 0, launched.log)
        pid = int((self.folder / "perfmon.pid").read_text())
        self.addCleanup(_end, pid)
        log = self.folder / "perfmon.log"
        eventually(lambda: "store (writing): connected" in log.read_text(), "the store")
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: gone(pid), "the end")
        self.assertFalse((self.folder / "perfmon.pid").exists())
        self.assertIn("Server Shut Down", log.read_text())

    def test_config_file(self) -> None:
        """Options stand in a TOML file; the command line wins."""
        token, config = self.folder / "token", self.folder / "perfmon.toml"
        token.write_text(TOKEN)
        config.write_text(
            f'token-file = "{token}"\nno-self = true\nport = 1\nheartbeat_timeout = "4s"\n'
            'graphite-template = ["dc.*.HOST"]\n'
        )
        collector = self.collector("--config", str(config), "--port", "0")
        collector.send(f"dc.north.web1.load 1 {int(time.time())}\n")
        eventually(lambda: self._asked(collector.http_port, "/readyz")[0] == 200, "the store")
        self.assertEqual(self._asked(collector.http_port, "/api/v1/hosts")[0], 401)
        found = eventually(
            lambda: self._asked(collector.http_port, "/api/v1/hosts", TOKEN)[1]["hosts"], "the sender's host"
        )
        self.assertEqual([host["host"] for host in found], ["web1"])
        wrong = self.running(str(TWISTD), "-n", "perfmon", "--config", str(config), "--listen", "nonsense")
        self.assertNotEqual(wrong.ended(), 0)

    def test_token(self) -> None:
        """With a token only agents that send it are taken; the others are told what to do."""
        token = self.folder / "token"
        token.write_text(TOKEN)
        collector = self.collector("--no-self", "--token-file", str(token))
        self.agent(collector, "stranger").says("wrong token: start the agent with the collector's --token-file")
        self.agent(collector, "friend", "--token-file", str(token)).says("connected to")
        eventually(
            lambda: (
                [host["host"] for host in self._asked(collector.http_port, "/api/v1/hosts", TOKEN)[1]["hosts"]]
                == ["friend"]
            ),
            "the friend alone",
        )
        shown = self.running(str(TWISTD.with_name("perfmon")), "hosts", "--url", collector.url)
        self.assertEqual(shown.ended(), 1)
        self.assertIn("--token-file", shown.log)
        shown = self.running(
            *(str(TWISTD.with_name("perfmon")), "hosts", "--url", collector.url, "--token-file", str(token))
        )
        self.assertEqual(shown.ended(), 0)
        self.assertIn("friend", shown.log)

    def test_tells_of_itself(self) -> None:
        """The collector's own figures are metrics of its host, as any other's, and a line in the log."""
        collector = self.collector("--name", "monitor", "--interval", "200ms", "--stats-interval", "1s").ready()
        collector.send("web1.cpu.load 1 -1\nthis is no good line\n")
        metric = "perfmon.collector.samples.rejected;reason=bad-line"
        refused = eventually(
            lambda: [value for _, value in collector.points("monitor", metric) if value], "the refusal"
        )
        self.assertEqual(set(refused), {1.0})
        eventually(lambda: collector.points("monitor", "perfmon.collector.store.memory.usage"), "the store's memory")
        (series,) = collector.get("/api/v1/query", host="monitor", metric="perfmon.collector.commit.duration.max")[
            "series"
        ]
        self.assertEqual(series["unit"], "s")
        collector.says(r"samples/s received, .* stored, .* rejected; 0 agents, \d connections; \d+ commits of ")

    def test_beyond_loopback_needs_a_token(self) -> None:
        """Listening beyond loopback without a token is refused with a sentence that says how to make one."""
        refused = self.running(str(TWISTD), "-n", "--pidfile=", "perfmon", "--interface", "0.0.0.0", "--port", "0")
        self.assertNotEqual(refused.ended(), 0)
        self.assertIn("refusing to listen beyond loopback", refused.log)
        self.assertIn("secrets.token_urlsafe", refused.log)

    def test_port_in_use(self) -> None:
        """A port that is taken ends the start with a sentence, and leaves no process behind."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            refused = self.running(
                *(str(TWISTD), "-n", "--pidfile=", "perfmon", "--port", str(taken.getsockname()[1])),
                *("--http-port", "0", "--store", f"embedded:{self.folder / 'store'}"),
            )
            self.assertNotEqual(refused.ended(), 0)
        self.assertIn("perfmon: cannot listen for agents and Graphite senders", refused.log)
        self.assertFalse((self.folder / "store" / "valkey.pid").exists())

    def test_daemon_port_in_use(self) -> None:
        """A daemon whose port is taken does not start, and whoever starts it is told why."""
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            refused = self.running(
                *(str(TWISTD), "--pidfile", "perfmon.pid", "--logfile", "perfmon.log", "perfmon"),
                *("--port", str(taken.getsockname()[1]), "--http-port", "0"),
                *("--store", f"embedded:{self.folder / 'store'}"),
            )
            self.assertNotEqual(refused.ended(), 0)
        self.assertIn("cannot listen for agents and Graphite senders", refused.log)
        self.assertFalse((self.folder / "perfmon.pid").exists())

    def test_unix_socket_endpoint(self) -> None:
        """Endpoint strings: the collector listens on a unix socket, and an agent connects to it."""
        path = self.folder / "perfmon.sock"
        listening = self.running(
            *(str(TWISTD), "-n", "--pidfile=", "perfmon", "--no-self", "--listen", f"unix:{path}"),
            *("--http-listen", "tcp:0:interface=127.0.0.1", "--store", f"embedded:{self.folder / 'store'}"),
        )
        port = int(listening.says(r"page and API on \S+:(\d+)")[1])
        self.assertEqual(path.stat().st_mode & 0o777, 0o660, "not for every user of the machine")
        self.running(
            *(str(TWISTD), "-n", "--pidfile=", "perfmon-agent", "--server", f"unix:path={path}"),
            *("--name", "local", "--interval", "1s"),
        ).says("connected to")
        eventually(
            lambda: [host["host"] for host in self._asked(port, "/api/v1/hosts")[1].get("hosts", [])] == ["local"],
            "the agent's host",
        )

    def _asked(self, port: int, path: str, token: str = "") -> tuple[int, dict[str, list[dict[str, str]]]]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, orjson.loads(answer.read())
        except urllib.error.HTTPError as problem:
            return problem.code, orjson.loads(problem.read())


def _end(pid: int) -> None:
    if not gone(pid):
        os.kill(pid, signal.SIGKILL)
