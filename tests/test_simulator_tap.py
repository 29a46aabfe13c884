"""Tests for the simulator's tap: its options, how its parts are wired, its end and its exit status."""

import atexit
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import orjson
from twisted.application.service import MultiService
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from perfmon import simulator_tap
from perfmon.core.summary import Summary
from perfmon.core.tally import Tally
from perfmon.simulator_tap import SimulatorConfig
from tests.test_options import TOKEN, OptionsCase

SERVER = ("--server", "127.0.0.1:9000")


def config(*words: str) -> SimulatorConfig:
    options = simulator_tap.Options()
    options.parseOptions(words)
    return options.config


class SimulatorOptionsTests(OptionsCase):
    def test_defaults(self) -> None:
        """Only the server must be given."""
        self.assertEqual(
            config(*SERVER),
            SimulatorConfig(("127.0.0.1:9000",), 10, 100, 10.0, 0.2, 1, None, "sim", graphite=False, token=""),
        )

    def test_every_option(self) -> None:
        """Every option has its effect."""
        found = config(
            *("-s", "tls:monitor:9000", "-a", "500", "-m", "20", "-i", "1m", "--idle-share", "0.5", "--seed", "7"),
            *("-d", "1h", "--prefix", "test-", "--token-file", self.token_file()),
        )
        self.assertEqual(
            found,
            SimulatorConfig(("tls:monitor:9000",), 500, 20, 60.0, 0.5, 7, 3600.0, "test-", graphite=False, token=TOKEN),
        )
        self.assertTrue(config(*SERVER, "-g").graphite)

    def test_rate(self) -> None:
        """A rate is an interval, by the samples of one round of all machines."""
        self.assertEqual(config(*SERVER, "-a", "50", "-m", "20", "--rate", "500").interval, 2.0)
        self.assertEqual(config(*SERVER, "-a", "1", "-m", "1", "-r", "100").interval, 0.01)
        self.assertEqual(config(*SERVER, "-a", "1", "-m", "3", "-r", "0.5").interval, 6.0)

    def test_names(self) -> None:
        """Machines are counted from 1, and keep their names in a larger fleet."""
        self.assertEqual([config(*SERVER).name(number) for number in (0, 41)], ["sim00001", "sim00042"])

    def test_bad_values(self) -> None:
        """A value that makes no sense is refused in a sentence that names its option and says what would do."""
        for option, value, sentence in (
            ("server", "monitor", "write HOST:PORT"),
            ("server", "ssl:monitor:9000", "does not check who answers"),
            ("agents", "0", "0 is not within 1 to 100000"),
            ("agents", "many", "'many' is no whole number"),
            ("agents", "100001", "not within 1 to 100000"),
            ("metrics", "0", "not within 1 to 10000"),
            ("metrics", "10001", "not within 1 to 10000"),
            ("interval", "10ms", "below 0.1"),
            ("interval", "soon", "no duration"),
            ("rate", "fast", "'fast' is no number"),
            ("rate", "nan", "'nan' is no number"),
            ("rate", "0", "write samples a second, such as 10000"),
            ("rate", "-5", "not above 0"),
            ("rate", "1e9", "each machine would sample every 0.001 ms, which must be at least 10 ms; ask for less"),
            ("idle-share", "20%", "'20%' is no number"),
            ("idle-share", "20", "write 0.2 for one machine in five"),
            ("idle-share", "-0.1", "not within 0 to 1"),
            ("seed", "-1", "no whole number"),
            ("seed", "x", "no whole number"),
            ("seed", "99999999999", "not within 0 to 4294967295"),
            ("duration", "0s", "below 1"),
            ("duration", "long", "no duration"),
            ("prefix", "a b", "bad host name"),
            ("prefix", "-", "bad host name"),
            ("token-file", "/no/such/file", "No such file"),
        ):
            problem = str(self.assertRaises(UsageError, config, *SERVER, f"--{option}", value))
            self.assertTrue(problem.startswith(f"--{option}"), problem)
            self.assertIn(sentence, problem)

    def test_contradictions(self) -> None:
        """Options that contradict each other are refused, and the sentence names both."""
        self.assertIn("--server HOST:PORT is needed", str(self.assertRaises(UsageError, config)))
        problem = str(self.assertRaises(UsageError, config, *SERVER, "--rate", "5", "--interval", "1s"))
        self.assertEqual(problem, "--rate and --interval say the same thing in two ways; leave out either")
        problem = str(self.assertRaises(UsageError, config, *SERVER, "-g", "--token-file", self.token_file()))
        self.assertEqual(problem, "--token-file: Graphite lines carry no token; leave out either this or --graphite")


class WiringTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = MemoryReactorClock()

    def make(self, *words: str) -> MultiService:
        return cast(MultiService, simulator_tap.make_simulator(config(*SERVER, *words), self.reactor))

    def started(self, *words: str) -> list[list[dict[str, Any]]]:
        """What each connection of a simulator says first, as a list of messages."""
        service = self.make(*words)
        service.startService()
        found = []
        for _, _, factory, *_ in self.reactor.tcpClients:
            protocol: Any = factory.buildProtocol(None)
            transport = StringTransport()
            protocol.makeConnection(transport)
            found.append([orjson.loads(line) for line in transport.value().splitlines()])
        return found

    def test_parts(self) -> None:
        """Signs of life go on until everything else has stopped; Graphite has none."""
        self.assertEqual([type(service).__name__ for service in self.make()], ["SharedBeats", "Simulation"])
        self.assertEqual([type(service).__name__ for service in self.make("-g")], ["Simulation"])

    def test_hellos(self) -> None:
        """Each machine says who it is, that it is simulated, and how it behaves; the machines fit their values."""
        hellos = [hello for (hello,) in self.started("--agents", "20", "--prefix", "x", "--interval", "3s")]
        self.assertEqual([hello["host"] for hello in hellos], [f"x{number:05}" for number in range(1, 21)])
        self.assertEqual({hello["labels"]["simulated"] for hello in hellos}, {"yes"})
        self.assertEqual([hello["labels"]["profile"] for hello in hellos].count("idle"), 4)
        self.assertEqual({hello["interval"] for hello in hellos}, {3.0})
        self.assertLessEqual({hello["platform"]["cpus"] for hello in hellos}, {"2", "4", "8", "16"})

    def test_graphite_connections(self) -> None:
        """A thousand machines that send Graphite lines share a handful of connections."""
        self.assertEqual(len(self.started("--agents", "1000", "-g")), 4)

    def test_few_files(self) -> None:
        """Where the system allows fewer connections the start ends with a sentence that says what to do."""
        self.patch(simulator_tap, "allow_connections", lambda wanted: min(wanted, 100))
        problem = self.assertRaises(SystemExit, self.make, "--agents", "101")
        self.assertIn("allows 100 connections, not 101: raise it, or use --agents 100", str(problem))
        self.make("--agents", "100")
        self.make("--agents", "101", "--graphite")

    def test_bad_endpoint(self) -> None:
        """An endpoint that Twisted does not take ends the start with a sentence."""
        options = replace(config(*SERVER), servers=("tls:monitor",))
        problem = self.assertRaises(SystemExit, simulator_tap.make_simulator, options, self.reactor)
        self.assertIn("perfmon-simulator: --server tls:monitor is no client endpoint", str(problem))


class _Simulation:
    def __init__(self) -> None:
        self.running = 1
        self.hurried = 0

    def hurry(self) -> None:
        self.hurried += 1


class _Reactor(MemoryReactorClock):
    def callFromThread(self, call: Callable[[], None]) -> None:
        call()


class EndTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = _Reactor()
        self.stops: list[float] = []
        self.patch(self.reactor, "stop", lambda: self.stops.append(self.reactor.seconds()))
        self.simulation = _Simulation()
        for number in (signal.SIGINT, signal.SIGTERM):
            self.addCleanup(signal.signal, number, signal.getsignal(number))

    def end_after(self, duration: float | None) -> None:
        simulator_tap._end_in_order(self.reactor, self.simulation, duration)

    def test_signals(self) -> None:
        """The first signal ends the simulation, a second one hurries it."""
        for number in (signal.SIGINT, signal.SIGTERM):
            self.simulation.running, self.stops = 1, []
            self.end_after(None)
            os.kill(os.getpid(), number)
            self.assertEqual(len(self.stops), 1)
            self.simulation.running = 0
            os.kill(os.getpid(), number)
            self.assertEqual(len(self.stops), 1)
        self.assertEqual(self.simulation.hurried, 2)

    def test_duration(self) -> None:
        """It ends after its duration, unless it is about to end already."""
        self.end_after(5.0)
        self.reactor.advance(4.9)
        self.assertEqual(self.stops, [])
        self.reactor.advance(0.2)
        self.assertEqual(len(self.stops), 1)
        self.end_after(5.0)
        self.simulation.running = 0
        self.reactor.advance(6)
        self.assertEqual(len(self.stops), 1)

    def test_exit_status(self) -> None:
        """The figures are printed; only where something went wrong the process will end with status 1."""
        registered: list[tuple[Any, ...]] = []
        self.patch(atexit, "register", lambda *call: registered.append(call))
        for tally, status in ((Tally(most_connected=1), []), (Tally(), [(os._exit, 1)])):
            out = io.StringIO()
            self.patch(sys, "__stdout__", out)
            simulator_tap._print_summary(Summary(tally, 1, 1, 1.0, 1.0, [0], 0))
            self.assertTrue(out.getvalue().startswith("agents  "))
            self.assertEqual(registered, status)
