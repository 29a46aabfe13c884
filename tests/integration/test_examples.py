"""The examples, run as a reader would run them, against a real collector."""

import sys
import time
from pathlib import Path

from twisted.trial.unittest import SkipTest

from tests.integration.harness import TWISTD, Collector, IntegrationTestCase, eventually
from tests.programs import COLLECTD

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

_COLLECTD = """
Hostname "rack7"
FQDNLookup false
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
Interval 1
LoadPlugin load
Include "{folder}/perfmon.conf"
"""


class ExampleTests(IntegrationTestCase):
    """Each with its own collector."""

    def run_example(self, name: str, *arguments: str) -> str:
        """Output of a Python example, which must end well."""
        running = self.running(sys.executable, str(EXAMPLES / name), *arguments)
        self.assertEqual(running.ended(), 0, running.log)
        return running.log

    def test_all_are_run(self) -> None:
        """A new Python example needs its test here."""
        self.assertEqual({path.name for path in EXAMPLES.glob("*.py")}, {"send_graphite.py", "post_samples.py"})

    def test_send_graphite(self) -> None:
        """Every line that it sends is stored."""
        collector = self.collector().ready()
        shown = self.run_example("send_graphite.py", f"127.0.0.1:{collector.port}")
        sent = len([line for line in shown.splitlines() if line.startswith(("demo.", "disk."))])
        eventually(lambda: collector.get("/status")["samples"]["stored"] == sent, "all lines")
        self.assertEqual(collector.get("/status")["samples"]["rejected"], 0)
        latest = eventually(lambda: collector.get("/api/v1/hosts", host="demo")["hosts"], "the host")[0]["latest"]
        self.assertEqual(len(latest), sent)
        self.assertGreater(latest["disk.free;mountpoint=/"]["value"], 0)
        self.assertLess(abs(latest["queue.length"]["time"] - time.time()), 60)

    def test_post_samples(self) -> None:
        """All of its samples are stored, also with a token; without it the collector's sentence is shown."""
        token = self.folder / "token"
        token.write_text("correct-horse-battery-staple")
        collector = self.collector("--no-self", "--token-file", str(token))
        eventually(lambda: collector.ask("/readyz")[0] == 200, "the store")
        self.assertIn("3 stored", self.run_example("post_samples.py", collector.url, str(token)))
        stranger = self.running(sys.executable, str(EXAMPLES / "post_samples.py"), collector.url)
        self.assertEqual(stranger.ended(), 1)
        self.assertIn("401: send the token", stranger.log)
        collector.stop()
        again = self.collector().ready()
        self.assertEqual(len(again.points("nightly2", "backup.size;target=disk")), 1)

    def test_config_files(self) -> None:
        """The collector and the agent start from their example files."""
        collector = self.collector(
            "--config", str(EXAMPLES / "perfmon.toml"), "--port", "0", "--http-port", "0"
        ).ready()
        self._agent(collector)
        host = eventually(lambda: collector.get("/api/v1/hosts", host="webex")["hosts"], "the agent's host")[0]
        self.assertEqual((host["labels"], host["interval"]), ({"role": "web"}, 10.0))

    def _agent(self, collector: Collector) -> None:
        self.running(
            *(str(TWISTD), "-n", "--pidfile=", "perfmon-agent", "--config", str(EXAMPLES / "agent.toml")),
            *("--server", f"127.0.0.1:{collector.port}", "--name", "webex"),
        ).says("connected to")

    def test_collectd_snippet(self) -> None:
        """collectd with the snippet alone becomes a host."""
        if COLLECTD is None:
            raise SkipTest("collectd is not installed")  # CI has it
        collector = self.collector().ready()
        snippet = (EXAMPLES / "collectd.conf").read_text()
        self.assertEqual(snippet.count('Port "9000"'), 1)
        (self.folder / "perfmon.conf").write_text(snippet.replace('"9000"', f'"{collector.port}"'))
        config = self.folder / "collectd.conf"
        config.write_text(_COLLECTD.format(folder=self.folder))
        self.running(COLLECTD, "-f", "-C", str(config))
        eventually(lambda: collector.points("rack7", "load.load.shortterm"), "load from collectd")
