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

from perfmon.core.loads import Limits
from perfmon.core.messages import Cancel, Figures, Kept, Progress, Result, Run
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


class LoadsTests(SynchronousTestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="pm-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name) / "benchmarks"
        self.reactor = Reactor()
        self.sent: list[Progress | Result] = []
        self.loads = self.make(Limits(600.0, 1 << 30))

    def make(self, limits: Limits | None) -> Loads:
        loads = Loads(self.folder, limits, lambda: AHEAD, self.reactor, self.wall)
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
        self.loads.order(run)
        return run

    @property
    def process(self) -> Process:
        return self.reactor.processes[-1]

    def take(self) -> list[Progress | Result]:
        sent, self.sent[:] = list(self.sent), []
        return sent

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
        self.process.say("result", figures={"rate": 12.0}, early=False)
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
        self.loads.order(run)
        self.assertEqual(self.take(), [Progress("7")])
        self.assertEqual(self.loads.opened(), [Progress("7")])
        self.process.say("result", figures={}, early=False)
        self.process.end()
        (result,) = self.take()
        self.loads.order(run)
        self.assertEqual((self.take(), self.loads.opened()), ([result], [result]))
        self.loads.kept(Kept("7"))
        self.loads.order(run)
        self.assertEqual((self.take(), self.loads.opened(), len(self.reactor.processes)), ([], [], 1))

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
        self.loads.order(Run("7", "cpu", {}, NOW - 1, begun=True))
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
        self.loads.cancel(Cancel("8", "another one"))
        self.assertFalse(self.process.hung_up)
        self.loads.cancel(Cancel("7", "enough"))
        self.assertTrue(self.process.hung_up)
        self.process.say("result", figures={"rate": 1.0}, early=True)
        self.process.end()
        self.assertEqual(self.take()[-1], Result("7", "cancelled", "enough", NOW + 3, {}, {"rate": 1.0}))
        self.order("9", start=10.0)
        self.loads.cancel(Cancel("9", "enough"))
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
        told = [result.run for result in self.loads.opened()]
        self.assertEqual(told, [f"n{number}" for number in range(5, MAX_RESULTS + 5)])
