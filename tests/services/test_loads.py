"""Tests for `perfmon.services.loads`: processes are the test's own, time is a Clock's."""

import json
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.loads import Limits, Reach
from perfmon.core.messages import Cancel, Figures, Kept, Peer, Peers, Progress, Result, Run
from perfmon.services.loads import GRACE, LATEST, MAX_RESULTS, Loads
from tests.logs import logged

NOW = 1_800_000_000.0
AHEAD = 2.5  # s; the clock here is so much ahead of the collector's


class Process:
    """A process that says what the test wants, and notes what it is told."""

    pid = 2**31 - 1  # there is none

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol
        self.told: list[str] = []
        self.hung_up = False
        self.killed = False
        protocol.makeConnection(self)

    def write(self, data: bytes) -> None:
        self.told += data.decode().splitlines()

    def closeStdin(self) -> None:
        self.hung_up = True

    def signalProcess(self, signal: str) -> None:
        self.killed = True
        self.end(ProcessTerminated(signal=9))

    def say(self, type: str, **more: Any) -> None:
        self.protocol.outReceived(json.dumps({"type": type, **more}).encode() + b"\n")

    def end(self, reason: Exception | None = None) -> None:
        self.protocol.processEnded(Failure(reason or ProcessDone(0)))


class Reactor(Clock):
    """Starts processes of the test's own."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []

    def spawnProcess(self, processProtocol: Any, executable: str, args: list[str], env: Any) -> None:
        self.processes.append(Process(processProtocol))


class LoadsCase(SynchronousTestCase):
    """What an agent runs, with processes of the test's own."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "benchmarks"
        self.reactor = Reactor()
        self.sent: list[Progress | Result] = []
        self.reach = Reach()
        self.loads = self.make(Limits(600.0, 1 << 30))

    def make(self, limits: Limits | None) -> Loads:
        loads = Loads("web1", self.folder, limits, self.reach, lambda: AHEAD, self.reactor, self.wall)
        loads.listen(self.sent.append)
        loads.startService()
        log = logged()
        log.__enter__()
        self.addCleanup(log.__exit__, None, None, None)
        return loads

    def wall(self) -> float:
        return NOW + AHEAD + self.reactor.seconds()

    def order(self, id: str = "7", start: float = 3.0, kind: str = "cpu", **parameters: Any) -> Run:
        """A run that begins so many s after `NOW`, by the collector's clock."""
        run = Run(id, kind, {"seconds": 5.0, **parameters}, NOW + start)
        self.loads.take(run)
        return run

    @property
    def process(self) -> Process:
        return self.reactor.processes[-1]

    def take(self) -> list[Progress | Result]:
        sent, self.sent[:] = list(self.sent), []
        return sent


class LoadsTests(LoadsCase):
    def test_whole(self) -> None:
        """A run gets ready at once, begins at its time, tells how it goes, and ends with figures."""
        self.order()
        asked = json.loads(self.process.told[0])
        self.assertEqual((asked["kind"], asked["parameters"]), ("cpu", {"seconds": 5.0}))
        self.assertEqual(Path(asked["folder"]).parent, self.folder)
        self.process.say("ready", figures={"threads": 2})
        self.reactor.advance(2.9)
        self.assertEqual(self.process.told[1:], [])
        self.reactor.advance(0.1)
        self.assertEqual(self.process.told[1:], ["go"])
        self.process.say("begun", at=self.wall())
        self.process.say("progress", share=0.5, figures={"rate": 10.0})
        self.process.say("result", figures={"rate": 12.0}, pairs={}, output="", early=False)
        self.process.end()
        expected: Figures = {"threads": 2}
        self.assertEqual(
            self.take(),
            [
                Progress("7", expected=expected),
                Progress("7", NOW + 3, expected),
                Progress("7", NOW + 3, expected, 0.5, {"rate": 10.0}),
                Result("7", "done", "", NOW + 3, expected, {"rate": 12.0}),
            ],
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_late(self) -> None:
        """One that is ready only after its time begins as soon as it is."""
        self.order(start=0.0)
        self.reactor.advance(1.0)
        self.assertEqual(self.process.told[1:], [])
        self.process.say("ready", figures={})
        self.assertEqual(self.process.told[1:], ["go"])
        self.process.end()

    def test_again(self) -> None:
        """The same order again, on another connection, starts nothing: it is answered with how the run is."""
        run = self.order()
        self.process.say("ready", figures={})
        self.take()
        self.loads.take(run)
        self.assertEqual(self.take(), [Progress("7")])
        self.assertEqual(self.loads.opened("", ""), [Progress("7")])
        self.process.say("result", figures={}, pairs={}, output="", early=False)
        self.process.end()
        (result,) = self.take()
        self.loads.take(run)
        self.assertEqual((self.take(), self.loads.opened("", "")), ([result], [result]))
        self.loads.take(Kept("7"))
        self.loads.take(run)
        self.assertEqual((self.take(), self.loads.opened("", ""), len(self.reactor.processes)), ([], [], 1))

    def test_refused(self) -> None:
        """What this machine does not run it says, with the reason, and starts no process."""
        for start, kind, parameters, words in (
            (3.0, "rm", {}, "use one of"),
            (3.0, "cpu", {"threads": -1}, "$.threads"),
            (3.0, "cpu", {"seconds": 601.0}, "--benchmark-limit allows 600 s"),
            (3.0, "disk-write", {"roll": 1 << 30}, "--benchmark-limit allows 1,073,741,824"),
            (-LATEST - 1, "cpu", {}, "should have begun already"),
        ):
            self.order(f"id{len(words)}", start, kind, **parameters)
            (result,) = self.take()
            assert isinstance(result, Result)
            self.assertEqual((result.state, words in result.reason), ("refused", True), result)
        self.order("../7")
        self.assertIn("letters and digits", self.sent[-1].reason)  # type: ignore[union-attr]  # a Result
        self.assertEqual(self.reactor.processes, [])

    def test_anew(self) -> None:
        """A run that had begun here, in an agent before this one, has failed."""
        self.loads.take(Run("7", "cpu", {}, NOW - 1, begun=True))
        self.assertEqual(self.take(), [Result("7", "failed", "the agent was started anew in the middle")])
        self.assertEqual(self.reactor.processes, [])

    def test_none(self) -> None:
        """An agent that was started so runs none."""
        self.loads = self.make(None)
        self.order()
        self.assertEqual(self.take(), [Result("7", "refused", "the agent was started with --no-benchmarks")])

    def test_not_started(self) -> None:
        """Where no process can be started, or the folder not be made, the run has failed; the next one is tried."""
        self.folder.parent.joinpath("file").write_text("")
        self.loads._folder = self.folder.parent / "file" / "below"
        self.order("7")
        self.loads._folder = self.folder

        def refuse(*given: Any, **named: Any) -> None:
            raise BlockingIOError(11, "Resource temporarily unavailable")

        spawn = self.reactor.spawnProcess
        self.patch(self.reactor, "spawnProcess", refuse)
        self.order("8")
        for result, words in zip(self.take(), ("Not a directory", "temporarily unavailable"), strict=True):
            assert isinstance(result, Result)
            self.assertEqual((result.state, words in result.reason), ("failed", True), result)
        self.patch(self.reactor, "spawnProcess", spawn)
        self.order("9")
        self.assertEqual(len(self.reactor.processes), 1)
        self.process.end()

    def test_busy(self) -> None:
        """One at a time."""
        self.order("7")
        self.order("8")
        self.assertEqual(self.take(), [Result("8", "refused", "benchmark 7 is running")])
        self.process.end()
        self.order("9")
        self.assertEqual(len(self.reactor.processes), 2)
        self.process.end()

    def test_cancelled(self) -> None:
        """One that is cancelled ends with what it has; before it has begun, with nothing."""
        self.order()
        self.process.say("ready", figures={})
        self.reactor.advance(3.0)
        self.process.say("begun", at=self.wall())
        self.loads.take(Cancel("8", "another one"))
        self.assertFalse(self.process.hung_up)
        self.loads.take(Cancel("7", "enough"))
        self.assertTrue(self.process.hung_up)
        self.process.say("result", figures={"rate": 1.0}, pairs={}, output="", early=True)
        self.process.end()
        self.assertEqual(self.take()[-1], Result("7", "cancelled", "enough", NOW + 3, {}, {"rate": 1.0}))
        self.order("9", start=10.0)
        self.loads.take(Cancel("9", "enough"))
        self.process.say("ready", figures={})
        self.process.end()
        self.assertEqual(self.take()[-1], Result("9", "cancelled", "enough"))

    def test_killed(self) -> None:
        """A process that ends without a result has failed, with its last words; what it wrote is removed."""
        self.order()
        left = self.folder / "7"
        left.mkdir(parents=True)
        (left / "000001").write_bytes(b"x")
        self.process.say("ready", figures={})
        self.process.protocol.errReceived(b"Traceback:\nMemoryError: all of it\n")
        self.process.end(ProcessTerminated(signal=9))
        self.assertEqual(self.take()[-1], Result("7", "failed", "its process ended: MemoryError: all of it"))
        self.assertFalse(left.exists())

    def test_failed(self) -> None:
        """What its process says of a full disk, or of too little room, is told."""
        for kind in ("failed", "refused"):
            self.order(kind)
            self.process.say(kind, reason="no space left")
            self.process.end()
            self.assertEqual(self.take()[-1], Result(kind, kind, "no space left"))

    def test_overdue(self) -> None:
        """A process that does not end by itself is killed."""
        self.order()
        self.process.say("ready", figures={})
        self.reactor.advance(3.0)
        self.reactor.advance(5.0 + GRACE)
        self.assertTrue(self.process.killed)
        self.assertEqual(self.take()[-1], Result("7", "cancelled", "it did not end by itself"))

    def test_stop(self) -> None:
        """An agent that stops waits for its run to end early."""
        self.order()
        self.process.say("ready", figures={})
        stopped = self.loads.stopService()
        assert isinstance(stopped, Deferred)
        self.assertTrue(self.process.hung_up)
        self.assertNoResult(stopped)
        self.process.end()
        self.successResultOf(stopped)

    def test_left_behind(self) -> None:
        """What an agent that was killed has left behind is removed when it starts."""
        left = self.folder / "old"
        left.mkdir(parents=True)
        self.make(None)
        self.assertFalse(left.exists())

    def test_bounded(self) -> None:
        """Ends that nobody keeps do not fill the memory: the oldest go."""
        for number in range(MAX_RESULTS + 5):
            self.order(f"n{number}", kind="rm")
        told = [result.run for result in self.loads.opened("", "")]
        self.assertEqual(told, [f"n{number}" for number in range(5, MAX_RESULTS + 5)])


class MeetingTests(LoadsCase):
    """Runs between hosts."""

    PEERS = Peers("7", [Peer("web2", "192.0.2.2", 5_300), Peer("collector", "", 7, 2.5)])

    def ready(self) -> None:
        self.loads.opened("192.0.2.1", "192.0.2.9")
        self.order(kind="echo")
        self.process.say("ready", figures={"port": 4_711})

    def test_whole(self) -> None:
        """It says where it answers, and begins at its time, once it knows whom to meet."""
        self.ready()
        task = json.loads(self.process.told[0])
        found = {name: task[name] for name in ("run", "host", "seconds", "address", "port")}
        expected = {"run": "7", "host": "web1", "seconds": 5.0, "address": "192.0.2.1", "port": 0}
        self.assertEqual(found, expected)
        self.assertEqual(self.take(), [Progress("7", expected={"address": "192.0.2.1", "port": 4_711})])
        self.loads.take(self.PEERS)
        (met,) = [json.loads(line) for line in self.process.told[1:]]
        self.assertEqual([peer["address"] for peer in met["peers"]], ["192.0.2.2", "192.0.2.9"])
        self.loads.take(self.PEERS)
        self.reactor.advance(3.0)
        self.assertEqual(self.process.told[2:], ["go"])
        self.process.say("begun", at=self.wall())
        figures: Figures = {"rate": 1.0}
        self.process.say("result", figures=figures, pairs={"web2": figures}, output="{}", early=False)
        self.process.end()
        (result,) = [message for message in self.take() if isinstance(message, Result)]
        self.assertEqual((result.pairs, result.output, result.state), ({"web2": figures}, "{}", "done"))

    def test_early(self) -> None:
        """Where it is told whom to meet before it is ready, it begins all the same."""
        self.order(kind="echo")
        self.loads.take(self.PEERS)
        self.reactor.advance(3.0)
        self.assertNotIn("go", self.process.told)
        self.process.say("ready", figures={"port": 4_711})
        self.assertEqual(self.process.told[-1], "go")

    def test_late(self) -> None:
        """Where it is told whom to meet after its time, it begins then."""
        self.ready()
        self.reactor.advance(4.0)
        self.assertNotIn("go", self.process.told)
        self.loads.take(self.PEERS)
        self.assertEqual(self.process.told[-1], "go")

    def test_never(self) -> None:
        """Where it is not told, it fails, and says so."""
        self.ready()
        self.take()
        self.reactor.advance(3.0 + LATEST)
        self.assertTrue(self.process.hung_up)
        self.process.end()
        (result,) = self.take()
        assert isinstance(result, Result)
        self.assertEqual((result.state, result.expected["port"]), ("failed", 4_711))
        self.assertIn("has not said where the others answer", result.reason)

    def test_reach(self) -> None:
        """Others are told of the address and the port that the options name."""
        cases: tuple[tuple[Reach, Figures], ...] = (
            (Reach(port=5_300), {"address": "192.0.2.1", "port": 5_300}),
            (Reach(5_300, "203.0.113.5", 53), {"address": "203.0.113.5", "port": 53}),
            (Reach(0, "203.0.113.5"), {"address": "203.0.113.5", "port": 4_711}),
        )
        for reach, expected in cases:
            self.reach = reach
            self.loads = self.make(Limits(600.0, 1 << 30))
            self.loads.opened("192.0.2.1", "192.0.2.9")
            self.order(kind="echo")
            self.assertEqual(json.loads(self.process.told[0])["port"], reach.port)
            self.process.say("ready", figures={"port": reach.port or 4_711})
            self.assertEqual(self.take()[-1], Progress("7", expected=expected))

    def test_whole_time(self) -> None:
        """A run takes as long as the collector says, and that is what the limit is held against."""
        self.loads.take(Run("7", "iperf3", {"seconds": 5.0}, NOW + 3, 601.0))
        (result,) = self.take()
        assert isinstance(result, Result)
        self.assertEqual(result.state, "refused")
        self.assertIn("it takes 601 s", result.reason)
