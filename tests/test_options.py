"""Tests for `perfmon.options` and the options of both taps."""

import shutil
import tempfile
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path

from platformdirs import user_data_dir
from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from perfmon import agent_tap, server_tap
from perfmon.agent_tap import AgentConfig
from perfmon.connecting import endpoint_of
from perfmon.core.loads import Limits, Reach
from perfmon.core.presence import Timeouts
from perfmon.core.prices import Prices
from perfmon.core.templates import DEFAULT_TEMPLATES, Template
from perfmon.core.tiers import DAY, HOURS, MINUTES, RAW, TIERS
from perfmon.host import own_name
from perfmon.options import MIN_TOKEN, pairs, port, size
from perfmon.server_options import ServerConfig, completed, stays_here
from perfmon.storage.address import parse_store

TOKEN = "correct-horse-battery"
_WITHOUT_RETENTION = tuple(replace(tier, retention=0) for tier in TIERS)
LISTEN = "tcp:7000:interface=127.0.0.1"


class OptionsCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pm-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def file(self, text: str, name: str = "perfmon.toml") -> str:
        """Path of a file with `text`."""
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def token_file(self) -> str:
        return self.file(TOKEN + "\n", "token")

    def server(self, *words: str) -> ServerConfig:
        options = server_tap.Options()
        options.parseOptions(words)
        return options.config

    def agent(self, *words: str) -> AgentConfig:
        options = agent_tap.Options()
        options.parseOptions(words)
        return options.config

    def refused(self, *words: str, agent: bool = False) -> str:
        """Why a command line is refused."""
        return str(self.assertRaises(UsageError, self.agent if agent else self.server, *words))


class ServerOptionsTests(OptionsCase):
    def test_defaults(self) -> None:
        """Without a word the collector is for this machine only, stores in the user's folder, and samples itself."""
        self.assertEqual(
            self.server(),
            ServerConfig(
                listen=("tcp:9000:interface=127.0.0.1",),
                http_listen=("tcp:9001:interface=127.0.0.1",),
                store=parse_store(f"embedded:{user_data_dir('perfmon')}/store"),
                store_sync="everysec",
                token="",
                timeouts=Timeouts(late=7.5, departed=15.0, silent=300.0),
                max_connections=20_000,
                batch_size=200_000,
                batch_time=0.01,
                templates=DEFAULT_TEMPLATES,
                graphite_from=(),
                own_host=own_name(),
                interval=5.0,
                stats_interval=20.0,
                tiers=TIERS,
                benchmark_retention=400 * DAY,
                benchmark_port=0,
                prices=None,
                benchmark_address="127.0.0.1",
            ),
        )

    def test_every_option(self) -> None:
        """Every option has its effect."""
        config = self.server(
            *("--port", "0", "--http-port", "8080", "--interface", "::", "--store", "redis://:pw@db/2"),
            *("--token-file", self.token_file(), "--heartbeat-timeout", "1m", "--silence-timeout", "1h"),
            *("--max-connections", "7", "--batch-size", "5000", "--batch-time", "0.25"),
            *("--name", "monitor", "--interval", "500ms", "--stats-interval", "2m"),
            *("--graphite-template", "dc.*.HOST", "--graphite-template", "x.HOST"),
            *("--graphite-from", "10.0.0.0/8", "--graphite-from", "2001:db8::/32"),
            *("--retention", "raw:12h,1h:2y", "--benchmark-retention", "30d"),
            *("--benchmark-port", "5300", "--prices", self.file('core = 18\ngib = 2.4\ncurrency = "EUR"')),
        )
        self.assertEqual(self.server("--store", "embedded:/x", "--store-sync", "always").store_sync, "always")
        self.assertEqual(
            config,
            ServerConfig(
                listen=(r"tcp6:0:interface=\:\:",),
                http_listen=(r"tcp6:8080:interface=\:\:",),
                store=parse_store("redis://:pw@db/2"),
                store_sync="everysec",
                token=TOKEN,
                timeouts=Timeouts(late=30.0, departed=60.0, silent=3600.0),
                max_connections=7,
                batch_size=5_000,
                batch_time=0.25,
                templates=(Template.parse("dc.*.HOST"), Template.parse("x.HOST"), *DEFAULT_TEMPLATES),
                graphite_from=(ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")),
                own_host="monitor",
                interval=0.5,
                stats_interval=120.0,
                tiers=(replace(RAW, retention=43_200), MINUTES, replace(HOURS, retention=730 * DAY)),
                benchmark_retention=30 * DAY,
                benchmark_port=5_300,
                prices=Prices(18.0, 2.4, "EUR"),
                benchmark_address="::",
            ),
        )

    def test_short(self) -> None:
        """The usual options have a short form."""
        config = self.server("-p", "1", "-i", "127.0.0.2", "-s", "unix:/s", "-n", "monitor")
        self.assertEqual(config.listen, ("tcp:1:interface=127.0.0.2",))
        self.assertEqual((config.store, config.own_host), (parse_store("unix:/s"), "monitor"))

    def test_listen(self) -> None:
        """Endpoints take the place of the ports, as many as are given."""
        config = self.server("--listen", LISTEN, "--listen", "unix:/s", "--http-listen", "unix:/h")
        self.assertEqual((config.listen, config.http_listen), ((LISTEN, "unix:/s"), ("unix:/h",)))
        config = self.server("--listen", LISTEN)
        self.assertEqual(config.http_listen, ("tcp:9001:interface=127.0.0.1",))

    def test_sync_of_others(self) -> None:
        """How a server of somebody else's keeps its data is set there."""
        refusal = self.refused("--store", "unix:/s", "--store-sync", "always")
        self.assertIn("set appendfsync always in the server itself", refusal)

    def test_no_statistics(self) -> None:
        """An interval of 0 switches the statistics off."""
        for text in ("0", "0s"):
            self.assertEqual(self.server("--stats-interval", text).stats_interval, 0.0)

    def test_no_self(self) -> None:
        """With --no-self the collector's own host is not sampled."""
        self.assertEqual(self.server("--no-self", "--name", "monitor").own_host, "")

    def test_bad_values(self) -> None:
        """A value that makes no sense is refused in a sentence that names its option."""
        for option, value, sentence in (
            ("port", "http", "no port: 0 to 65535"),
            ("port", "65536", "no port: 0 to 65535"),
            ("port", "-1", "no port: 0 to 65535"),
            ("http-port", "9001x", "no port: 0 to 65535"),
            ("interface", "localhost", "write an IP address"),
            ("interface", "", "write an IP address"),
            ("store", "mysql://db", "embedded:DIR"),
            ("store", "redis://:6379", "embedded:DIR"),
            ("token-file", "/no/such/file", "No such file"),
            ("store-sync", "never", "is none of everysec, always"),
            ("heartbeat-timeout", "soon", "no duration"),
            ("heartbeat-timeout", "0.5s", "below 1"),
            ("silence-timeout", "-5m", "no duration"),
            ("silence-timeout", "0", "below 0.1"),
            ("max-connections", "many", "no whole number"),
            ("max-connections", "0", "below 1"),
            ("batch-size", "0", "below 1"),
            ("batch-size", "1e6", "no whole number"),
            ("batch-time", "-1", "no duration"),
            ("batch-time", "1m", "1m is above 5"),
            ("name", "a b", "bad host name"),
            ("name", "", "bad host name"),
            ("interval", "1 fortnight", "no duration"),
            ("interval", "50ms", "below 0.1"),
            ("stats-interval", "often", "no duration"),
            ("stats-interval", "-1", "no duration"),
            ("stats-interval", "0.5", "0.5 is below 1 (0 is for no statistics)"),
            ("prices", "/no/such/file", "No such file"),
            ("prices", self.file("core = 1", "prices.toml"), "gib is needed"),
            ("retention", "2d", "write TIER:DURATION, with a tier of raw, 1m, 1h"),
            ("retention", "5m:2d", "write TIER:DURATION, with a tier of raw, 1m, 1h"),
            ("retention", "raw:2d,", "write TIER:DURATION"),
            ("retention", "raw:long", "no duration"),
            ("retention", "raw:2d,raw:3d", "raw is given twice"),
            ("retention", "raw:30m", "for an hour at least"),
            ("retention", "raw:31d", "1m (30 d) is made from raw (31 d) and must be kept at least as long"),
            ("retention", "1h:29d", "1h (29 d) is made from 1m (30 d) and must be kept at least as long"),
            ("retention", "1h:11y", "1h is kept for 3650 d at the most"),
            ("graphite-template", "servers", "one of them HOST"),
            ("graphite-template", "HOST.HOST", "one of them HOST"),
            ("graphite-from", "10.0.0.1/8", "host bits set"),
            ("graphite-from", "everywhere", "does not appear to be"),
        ):
            problem = self.refused(f"--{option}={value}")
            self.assertTrue(problem.startswith(f"--{option}"), problem)
            self.assertIn(sentence, problem)

    def test_retention(self) -> None:
        """Retentions are those that are given, in any order; a tier that is not named keeps its own."""
        for text, retentions in (
            ("raw:2d,1m:30d,1h:400d", (2 * DAY, 30 * DAY, 400 * DAY)),
            ("1h:500d , raw:36h", (36 * 3600, 30 * DAY, 500 * DAY)),
            ("1m:2d", (2 * DAY, 2 * DAY, 400 * DAY)),
            ("raw:400d,1m:400d", (400 * DAY, 400 * DAY, 400 * DAY)),
            ("raw:1h,1m:1h,1h:1h", (3600, 3600, 3600)),
            ("1h:3650d", (2 * DAY, 30 * DAY, 3650 * DAY)),
        ):
            tiers = self.server("--retention", text).tiers
            self.assertEqual(tuple(tier.retention for tier in tiers), retentions, text)
            self.assertEqual(tuple(replace(tier, retention=0) for tier in tiers), _WITHOUT_RETENTION, "nothing else")
        path = self.file('retention = "raw:1d"\n')
        self.assertEqual(self.server("--config", path).tiers[0].retention, DAY)
        self.assertEqual(self.server("--config", path, "--retention", "raw:3h").tiers[0].retention, 10_800)

    def test_unknown(self) -> None:
        """An option that there is not is refused."""
        self.assertIn("frobnicate", self.refused("--frobnicate"))

    def test_loopback(self) -> None:
        """Beyond this machine the collector listens only with a token; the refusal says how to make one."""
        for words in (
            ("--interface", "0.0.0.0"),
            ("--interface", "::"),
            ("--interface", "192.0.2.7"),
            ("--listen", "tcp:9000"),
            ("--http-listen", "tcp:9001"),
            ("--listen", LISTEN, "--listen", "systemd:domain=INET:index=0"),
        ):
            problem = self.refused(*words)
            self.assertIn("refusing to listen beyond loopback", problem)
            self.assertIn("secrets.token_urlsafe(32)", problem)
            self.assertIn("--token-file token", problem)
            self.assertEqual(self.server(*words, "--token-file", self.token_file()).token, TOKEN)

    def test_no_endpoint(self) -> None:
        """What is no endpoint at all is refused with an example of one, also with a token."""
        for option in ("--listen", "--http-listen"):
            problem = self.refused(option, "9000", "--token-file", self.token_file())
            self.assertEqual(
                problem, "'9000' is no endpoint to listen on: write one such as tcp:9000:interface=127.0.0.1"
            )


class CompletedTests(SynchronousTestCase):
    def test_table(self) -> None:
        """A port gets a backlog for a fleet, a unix socket a mode that keeps others out; what is given stays."""
        for endpoint, expected in (
            ("tcp:9000", "tcp:9000:backlog=16384"),
            (r"tcp6:9000:interface=\:\:1", r"tcp6:9000:interface=\:\:1:backlog=16384"),
            ("ssl:9000:privateKey=k.pem", "ssl:9000:privateKey=k.pem:backlog=16384"),
            ("tcp:9000:backlog=5", "tcp:9000:backlog=5"),
            ("unix:/run/perfmon.sock", "unix:/run/perfmon.sock:mode=660"),
            ("unix:/run/perfmon.sock:mode=600", "unix:/run/perfmon.sock:mode=600"),
            ("systemd:domain=INET:index=0", "systemd:domain=INET:index=0"),
        ):
            self.assertEqual(completed(endpoint), expected)


class StaysHereTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Only what can be reached from this machine alone counts as such; what is not clear does not."""
        for endpoint, here in (
            ("tcp:9000:interface=127.0.0.1", True),
            ("tcp:9000:interface=127.1.2.3:backlog=5", True),
            ("tcp:port=9000:interface=127.0.0.1", True),
            ("tcp:interface=127.0.0.1:port=9000", True),
            (r"tcp6:9000:interface=\:\:1", True),
            (r"tcp:9000:interface=\:\:1", True),
            ("ssl:9000:privateKey=k.pem:certKey=c.pem:interface=127.0.0.1", True),
            ("unix:/run/perfmon.sock", True),
            ("unix:/run/perfmon.sock:mode=600", True),
            ("tcp:9000", False),
            ("tcp:9000:interface=", False),
            ("tcp:9000:interface=0.0.0.0", False),
            ("tcp:9000:interface=192.0.2.7", False),
            ("tcp:9000:interface=localhost", False),
            ("tcp:9000:interface=127.0.0.1:interface=0.0.0.0", False),
            ("tcp:9000:interface=0.0.0.0:interface=127.0.0.1", False),
            ("tcp6:9000", False),
            (r"tcp6:9000:interface=\:\:", False),
            (r"tcp6:9000:interface=2001\:db8\:\:1", False),
            ("ssl:9000:privateKey=k.pem", False),
            (r"ssl:9000:privateKey=interface=127.0.0.1", False),
            ("systemd:domain=INET:index=0", False),
            ("fd:domain=INET:index=0", False),
            ("haproxy:tcp:9000:interface=127.0.0.1", False),
            ("", False),
        ):
            self.assertEqual(stays_here(endpoint), here, endpoint)


class AgentOptionsTests(OptionsCase):
    def test_defaults(self) -> None:
        """An agent needs to know the collector; the rest has defaults."""
        self.assertEqual(
            self.agent("--server", "monitor:9000"),
            AgentConfig(
                *(("monitor:9000",), own_name(), 10.0, "", {}),
                spool=Path(user_data_dir("perfmon")) / "spool" / f"{own_name()}.spool",
                spool_size=64 << 20,
                spool_age=2 * DAY,
                benchmarks=Limits(3_600.0, 10 << 30),
                benchmark_folder=Path(user_data_dir("perfmon")) / "benchmarks" / f"{own_name()}.benchmarks",
                benchmark_reach=Reach(),
            ),
        )
        self.assertIn("--server HOST:PORT is needed", self.refused(agent=True))

    def test_every_option(self) -> None:
        """Every option has its effect."""
        config = self.agent(
            *("-s", "tls:monitor:9000", "--name", "web1", "--interval", "1m", "--token-file", self.token_file()),
            *("--label", "rack=7", "--label", "note=a=b", "--label", "empty=", "--server", "backup:9000"),
            *("--spool", "/var/spool", "--spool-size", "1.5GiB", "--spool-age", "1h"),
            *("--benchmark-limit", "5m,1GiB", "--benchmark-folder", "/scratch"),
            *("--benchmark-port", "5300", "--benchmark-address", "[2001:db8::7]:53"),
        )
        labels = {"rack": "7", "note": "a=b", "empty": ""}
        spool = (Path("/var/spool/web1.spool"), 1536 << 20, 3600.0)
        servers = ("tls:monitor:9000", "backup:9000")
        benchmarks = (Limits(300.0, 1 << 30), Path("/scratch/web1.benchmarks"), Reach(5_300, "2001:db8::7", 53))
        self.assertEqual(config, AgentConfig(servers, "web1", 60.0, TOKEN, labels, *spool, *benchmarks))
        self.assertIsNone(self.agent("--server", "monitor:9000", "--no-benchmarks").benchmarks)

    def test_benchmark_address(self) -> None:
        """An address, or a name, and perhaps a port."""
        for text, reach in (
            ("192.0.2.7", Reach(0, "192.0.2.7")),
            ("web1.example:53", Reach(0, "web1.example", 53)),
            ("2001:db8::7", Reach(0, "2001:db8::7")),
        ):
            config = self.agent("--server", "monitor:9000", "--benchmark-address", text)
            self.assertEqual(config.benchmark_reach, reach)

    def test_bad_values(self) -> None:
        """A value that makes no sense is refused in a sentence that names its option."""
        for option, value, sentence in (
            ("server", "monitor", "write HOST:PORT"),
            ("server", "monitor:port", "write HOST:PORT"),
            ("server", "monitor:99999", "no port: 0 to 65535"),
            ("server", "http://monitor:9000", "write HOST:PORT"),
            ("server", "::1:9000", "write HOST:PORT"),
            ("server", "ssl:monitor:9000", "does not check who answers"),
            ("server", "monitor:9000", "one stands twice"),
            ("name", "a b", "bad host name"),
            ("interval", "10ms", "below 0.1"),
            ("interval", "", "no duration"),
            ("spool-size", "much", "no size: write a number of bytes"),
            ("spool-size", "1023KiB", "below 1,048,576"),
            ("spool-age", "59s", "below 60"),
            ("benchmark-limit", "1h", "write the longest time and the most bytes"),
            ("benchmark-limit", "soon,1GiB", "no duration"),
            ("benchmark-limit", "1h,much", "no size"),
            ("benchmark-port", "65536", "no port"),
            ("benchmark-address", "a b", "write an address"),
            ("benchmark-address", "a:99999", "no port"),
            ("token-file", "/no/such/file", "No such file"),
            ("label", "rack", "write NAME=VALUE"),
            ("label", "=7", "write NAME=VALUE"),
            ("label", "rack=a\nb", "printable characters"),
            ("label", "rack=" + "x" * 300, "printable characters"),
        ):
            problem = self.refused("--server=monitor:9000", f"--{option}={value}", agent=True)
            self.assertTrue(problem.startswith(f"--{option}"), problem)
            self.assertIn(sentence, problem)
        labels = [f"--label=n{number}=x" for number in range(65)]
        self.assertIn("--label: more than 64 labels", self.refused("--server=monitor:9000", *labels, agent=True))

    def test_endpoint(self) -> None:
        """HOST:PORT is a TCP endpoint that Twisted takes to mean the same, an IPv6 address included."""
        for server, expected in (
            ("monitor:9000", ("monitor", 9000)),
            ("10.0.0.7:1", ("10.0.0.7", 1)),
            ("[::1]:9000", ("::1", 9000)),
            ("tcp:9000", ("tcp", 9000)),
            ("tcp:monitor:9000", ("monitor", 9000)),
        ):
            reactor = MemoryReactorClock()
            clientFromString(reactor, endpoint_of(server)).connect(Factory())
            self.assertEqual(reactor.tcpClients[0][:2], expected)
        for server in ("tls:monitor:9000", "tcp:monitor:9000", "unix:/run/perfmon.sock"):
            self.assertEqual(endpoint_of(server), server)


class SizeTests(SynchronousTestCase):
    def test_size(self) -> None:
        """Bytes, or powers of 1,024 of them, however they are written."""
        for text, expected in (
            ("0", 0),
            ("4096", 4096),
            ("4096B", 4096),
            ("64MiB", 64 << 20),
            (" 64 mb ", 64 << 20),
            ("1.5G", 1536 << 20),
            ("2K", 2048),
            ("1TiB", 1 << 40),
        ):
            self.assertEqual(size(text), expected, text)
        for text in ("", "MiB", "-1", "1e6", "1 PiB", "1.5.1", "inf"):
            self.assertRaises(ValueError, size, text)


class TokenTests(OptionsCase):
    def test_token(self) -> None:
        """The token is what stands in the file, without the white space around it."""
        for text in (TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n\n"):
            self.assertEqual(self.server("--token-file", self.file(text)).token, TOKEN)
        self.patch_home()
        self.token_file()
        self.assertEqual(self.server("--token-file", "~/token").token, TOKEN)

    def patch_home(self) -> None:
        import os

        self.patch(os, "environ", os.environ | {"HOME": str(self.folder)})

    def test_refused(self) -> None:
        """A token that is short, unprintable or not there is refused, and the file is named."""
        for text in ("", "\n", "x" * (MIN_TOKEN - 1), f"{TOKEN}\n{TOKEN}", f"{TOKEN}\0"):
            path = self.file(text)
            for agent in (False, True):
                problem = self.refused(
                    "--server=monitor:9000" if agent else "--no-self", f"--token-file={path}", agent=agent
                )
                self.assertIn(f"--token-file {path}: a token has at least 16 printable characters", problem)
                self.assertIn("secrets.token_urlsafe(32)", problem)
        (self.folder / "binary").write_bytes(b"\xff" * 32)
        self.assertIn("--token-file", self.refused("--token-file", str(self.folder / "binary")))
        self.assertIn("Is a directory", self.refused("--token-file", str(self.folder)))


class ParserTests(SynchronousTestCase):
    def test_port(self) -> None:
        """A port is a plain decimal number in its range."""
        self.assertEqual([port(text) for text in ("0", "80", "65535")], [0, 80, 65_535])
        for text in ("", "-1", "65536", "1.0", "0x50", " 80", "\N{FULLWIDTH DIGIT EIGHT}" * 6):
            self.assertRaises(ValueError, port, text)

    def test_pairs(self) -> None:
        """Pairs have a name, and any value; the last of a name counts."""
        self.assertEqual(pairs(["a=1", "b=", "c=d=e", "a=2"]), {"a": "2", "b": "", "c": "d=e"})
        for word in ("", "a", "=1"):
            self.assertRaises(ValueError, pairs, [word])
