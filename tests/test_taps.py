"""Tests for the plugin and the taps: how the parts are wired, run and stopped, and what they import."""

import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

from twisted.application.service import IService, IServiceMaker, MultiService, ServiceMaker
from twisted.internet.defer import maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase, TestCase

from perfmon import agent_tap, collecting, server_tap, simulator_tap
from perfmon.collecting import make_collector
from perfmon.core.reject import TOO_OLD
from perfmon.core.tiers import DAY
from perfmon.server_options import ServerConfig
from tests.logs import Logged, logged
from tests.storage import samples
from tests.waiting import until

# What the agent's process must not load: it is to stay small.
_NOT_FOR_AGENTS = (
    "numpy",
    "txredisapi",
    "hiredis",
    "twisted.web",
    "orjson",
    "treq",
    "rich",
    "perfmon.storage",
    "perfmon.web",
)

_AGENT = f"""
import sys
from perfmon.agent_tap import Options, make_agent
options = Options()
options.parseOptions(["--server", "127.0.0.1:1", "--name", "web1"])
from twisted.internet import reactor
make_agent(options.config, reactor)
forbidden = {_NOT_FOR_AGENTS!r}
print(*sorted(name for name in sys.modules if name.startswith(forbidden)))
"""

_OPTIONS_ONLY = """
import sys
from perfmon import agent_tap, server_tap, simulator_tap
server = ["--server", "127.0.0.1:1"]
for tap, words in ((server_tap, []), (agent_tap, server), (simulator_tap, server)):
    tap.Options().parseOptions(words)
print(*(name for name in ("twisted.internet.reactor", "txredisapi") if name in sys.modules))
"""


def printed(script: str) -> str:
    """What a Python of its own prints."""
    return subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.strip()


class PluginTests(SynchronousTestCase):
    def test_listed(self) -> None:
        """twistd lists the collector, the agent and the simulator, and finds their options and their services."""
        makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker) if maker.tapname.startswith("perfmon")}
        taps: dict[str, Any] = {
            "perfmon": server_tap,
            "perfmon-agent": agent_tap,
            "perfmon-simulator": simulator_tap,
        }
        self.assertEqual(makers.keys(), taps.keys())
        for name, tap in taps.items():
            maker = makers[name]
            self.assertIs(maker.options, tap.Options)
            self.assertIs(maker.makeService, tap.makeService)
            self.assertTrue(cast(ServiceMaker, maker).description.startswith("perfmon: "))

    def test_help(self) -> None:
        """Every option says what it is."""
        for kind in (server_tap.Options, agent_tap.Options, simulator_tap.Options):
            text = str(kind())
            for option in kind().longOpt:
                self.assertRegex(text, rf"--{option}\s*\S+ +\S+" if option.endswith("=") else rf"--{option} +\S+")
            self.assertIn(kind.longdesc, " ".join(text.split()))


class ImportTests(SynchronousTestCase):
    def test_agent_is_small(self) -> None:
        """An agent loads neither numpy, nor the store, nor the web."""
        self.assertEqual(printed(_AGENT), "")

    def test_reactor_is_chosen_later(self) -> None:
        """Reading the options installs no reactor: twistd chooses it after that."""
        self.assertEqual(printed(_OPTIONS_ONLY), "")


class CollectorTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
        self.folder = Path(tempfile.mkdtemp(prefix="pm-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def config(self, *words: str) -> ServerConfig:
        options = server_tap.Options()
        options.parseOptions(["--port=0", "--http-port=0", f"--store=embedded:{self.folder / 'store'}", *words])
        return options.config

    def start(self, service: IService) -> Any:
        """As twistd does; the service is stopped with the test."""
        self.addCleanup(self.stop, service)
        service.privilegedStartService()
        service.startService()
        return service

    async def stop(self, service: IService) -> None:
        if service.running:
            await maybeDeferred(service.stopService)

    def port(self, log: Logged, what: str) -> int:
        (line,) = [text for text in log.infos if text.startswith(what)]
        return int(line.strip("/").rpartition(":")[2])

    async def test_whole(self) -> None:
        """A collector and an agent run together: what the agent samples is stored, and both stop in order."""
        with logged() as log:
            collector = self.start(make_collector(self.config("--no-self"), self.reactor))
            port = self.port(log, "agents and Graphite senders on")
            options = agent_tap.Options()
            options.parseOptions([f"--server=127.0.0.1:{port}", "--name=web1", "--interval=200ms"])
            agent = self.start(agent_tap.make_agent(options.config, self.reactor))
            (ingest,) = [service for service in collector if type(service).__name__ == "Ingest"]
            await until(lambda: ingest.stored > 100, "samples to be stored")
            await self.stop(agent)
            await until(lambda: [text for text in log.infos if text == "left: web1 (stopped)"], "the goodbye")
            await self.stop(collector)
            self.assertEqual((ingest.received, ingest.buffered), (ingest.stored, 0))
        # what the server itself has to say is not ours
        self.assertEqual([text for text in log.warnings if not text.startswith("embedded store: ")], [])
        self.assertTrue((self.folder / "store" / "appendonlydir").exists())
        self.assertFalse((self.folder / "store" / "valkey.pid").exists())

    async def test_own_host(self) -> None:
        """The collector samples its own host under its name, which leaves with it."""
        with logged() as log:
            collector = self.start(make_collector(self.config("--name=monitor"), self.reactor))
            (ingest,) = [service for service in collector if type(service).__name__ == "Ingest"]
            await until(lambda: "system.uptime" in (ingest.numbering.latest("monitor") or {}), "samples of the machine")
            await until(
                lambda: "perfmon.collector.commits" in (ingest.numbering.latest("monitor") or {}), "its own figures"
            )
            await until(lambda: [text for text in log.infos if text == "up: monitor"], "its arrival")
            await self.stop(collector)
        self.assertIn("left: monitor (stopped)", log.infos)

    def test_order(self) -> None:
        """The store is stopped last, what writes to it before, and the ports first."""
        collector = make_collector(self.config("--name=monitor"), self.reactor)
        self.addCleanup(self.embedded(collector).stopService)
        kinds = [type(service).__name__ for service in cast(MultiService, collector)]
        self.assertEqual(
            kinds,
            [
                "EmbeddedServer",
                "Store",
                "Garbage",
                "Sealing",
                "Ingest",
                "Lease",
                "PresenceService",
                "Gaps",
                "Control",
                "Answering",
                "Runs",
                "LoopLag",
                "Status",
                "Live",
                "Descriptors",
                "StatsLog",
                "OwnHost",
                "Sampling",
                "Sampling",
                "Listening",
                "Listening",
            ],
        )

    def embedded(self, collector: IService) -> Any:
        return next(iter(cast(MultiService, collector)))

    def test_left_out(self) -> None:
        """Without its own host the collector stores nothing of itself, and without an interval logs no statistics."""
        collector = make_collector(self.config("--no-self", "--stats-interval=0"), self.reactor)
        self.addCleanup(self.embedded(collector).stopService)
        kinds = {type(service).__name__ for service in cast(MultiService, collector)}
        self.assertEqual(kinds & {"OwnHost", "Sampling", "StatsLog"}, set())

    def test_other_store(self) -> None:
        """With a store of its own the collector starts none."""
        for store in ("unix:/run/valkey.sock", "redis://db1", "rediss://db1"):
            collector = make_collector(self.config("--no-self", f"--store={store}"), self.reactor)
            self.assertEqual(type(next(iter(cast(MultiService, collector)))).__name__, "Store")

    def ending(self, *words: str) -> str:
        """The sentence with which the process ends before anything has started."""
        problem = self.assertRaises(SystemExit, make_collector, self.config(*words), self.reactor)
        self.assertIsInstance(problem.code, str)
        return str(problem)

    def test_cannot_begin(self) -> None:
        """What keeps the collector from starting ends the process with a sentence."""
        (self.folder / "file").touch()
        self.assertIn("perfmon: cannot use", self.ending(f"--store=embedded:{self.folder / 'file'}"))
        token = self.folder / "token"
        token.write_text("x" * 32)
        for endpoint in ("nonsense:1", "ssl:0:privateKey=/no/such/key.pem", "tcp:", "tcp:http"):
            text = self.ending(f"--listen={endpoint}", "--store=unix:/s", f"--token-file={token}")
            self.assertTrue(text.startswith(f"perfmon: cannot listen on {endpoint!r}: "), text)
        self.assertIn("--store rediss://a..b:6379/0: ", self.ending("--store=rediss://me:secret@a..b"))
        self.assertNotIn("secret", self.ending("--store=rediss://me:secret@a..b"))

    async def test_retention(self) -> None:
        """Retentions reach what stores, reads and refuses: samples older than that of raw ones are too old."""
        for retention, stored in (("raw:4h,1m:5d", 2), ("raw:30d", 4)):
            await self.check_retention(f"--retention={retention}", stored)

    async def check_retention(self, option: str, stored: int) -> None:
        """Of samples of some ages so many are stored, and can be read."""
        now = time.time()
        ages = (60, 3 * 3600, 5 * 3600, 40 * 3600)
        with logged() as log:
            collector = self.start(make_collector(self.config("--no-self", option), self.reactor))
            parts: dict[str, Any] = {type(service).__name__: service for service in collector}
            await until(lambda: parts["Store"].problem is None, "the store")
        with socket.create_connection(("127.0.0.1", self.port(log, "agents and Graphite senders on"))) as sender:
            sender.sendall(b"".join(b"web%d.cpu %d %d\n" % (stored, age, now - age) for age in ages))
            await until(lambda: parts["Ingest"].stored == stored, "the samples")
        tiers = self.config(option).tiers
        self.assertEqual((parts["Store"].windows.tiers, parts["Ingest"].tier), (tiers, tiers[0]))
        report = await parts["Status"].report()
        refused = len(ages) - stored
        self.assertEqual(report["samples"]["rejected_by_reason"], {TOO_OLD: refused} if refused else {})
        found = await samples.stored(parts["Store"].windows, [f"web{stored}"], now - 2 * DAY, now + 1, now)
        self.assertEqual(sorted(found[f"web{stored}", "cpu"].values()), [float(age) for age in ages[:stored]])
        await self.stop(collector)

    async def test_second_collector(self) -> None:
        """A second collector with the same store ends with a sentence, and does the first one no harm."""
        collector = make_collector(self.config("--no-self"), self.reactor)
        self.addCleanup(self.embedded(collector).stopService)
        self.assertIn("is in use by another perfmon", self.ending("--no-self"))

    def test_tls_page(self) -> None:
        """The page's address in the log is that of its own port: TLS is an https one, the one beside it is not."""
        pem = self.folder / "both.pem"
        from tests.net.test_wire import certificate

        pem = Path(certificate(self.folder))
        with logged() as log:
            service = make_collector(
                self.config(
                    *("--no-self", "--store=unix:/s", f"--http-listen=ssl:0:interface=127.0.0.1:privateKey={pem}"),
                    "--http-listen=tcp:0:interface=127.0.0.1",
                ),
                self.reactor,
            )
            for child in cast(MultiService, service):
                child.privilegedStartService()
                self.addCleanup(child.stopService) if type(child).__name__ == "Listening" else None
        pages = [text for text in log.infos if text.startswith("page and API on ")]
        self.assertEqual([page.partition(" on ")[2].partition("127")[0] for page in pages], ["https://", "http://"])

    def test_few_files(self) -> None:
        """Where the system allows fewer connections than wanted the log says so, and the port keeps to it."""
        self.patch(collecting, "allow_connections", lambda wanted: 100)
        with logged() as log:
            make_collector(self.config("--no-self", "--store=unix:/s"), self.reactor)
        self.assertEqual(len([text for text in log.infos if "allows 100 connections, not 20000" in text]), 1)


class AgentTests(SynchronousTestCase):
    def make(self, server: str) -> IService:
        options = agent_tap.Options()
        options.parseOptions(["--server", server, "--name", "web1"])
        return agent_tap.make_agent(options.config, MemoryReactorClock())

    def test_parts(self) -> None:
        """An agent samples into an outbox, which a link sends; they stop in that order, the spool's thread last."""
        for server in ("monitor:9000", "[::1]:9000", "tcp:monitor:9000", "unix:/run/perfmon.sock"):
            kinds = [type(service).__name__ for service in cast(MultiService, self.make(server))]
            self.assertEqual(kinds, ["OwnThread", "Outbox", "AgentLink", "Loads", "Sampling"])

    def test_bad_endpoint(self) -> None:
        """An endpoint that Twisted does not take ends the process with a sentence."""
        for server in ("tls:monitor", "tcp:monitor:port:x=1", "tls:a..b:9000"):
            problem = self.assertRaises(SystemExit, self.make, server)
            self.assertIn(f"--server {server} is no client endpoint: write HOST:PORT", str(problem))
