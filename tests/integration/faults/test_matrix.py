"""Each fault on each target, under load: nothing is lost or doubled, and departures are named, those and no others."""

import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.faults.fault import Fault, Kind, Target
from tests.integration.faults.lanes import Lane, run
from tests.integration.faults.stage import TIMEOUT, Stage
from tests.integration.faults.verdict import Verdict, verdict

LOAD = 20

# Long enough for a departure, with something to spare.
GONE = TIMEOUT + 2  # s

# Too short for one: the last sign may be a heartbeat old when it begins, and links have to be made anew after it.
SHORT = 1.0  # s

FREEZE = 10.0  # s; that of the store is as long as a reply of it is waited for

# Each befalls an agent of its own; the last agent is spared.
AGENT: dict[Kind, float] = {
    Kind.KILL: GONE,
    Kind.FREEZE: FREEZE,
    Kind.RESTART: SHORT,
    Kind.CUT: GONE,
    Kind.RESET: SHORT,
    Kind.SLOW: 2 * TIMEOUT,
}
DEPARTED = {Kind.KILL, Kind.FREEZE, Kind.CUT}

# All at once would be another fault, so these come one after the other.
IN_TURN: dict[Kind, float] = {
    Kind.KILL: SHORT,
    Kind.FREEZE: FREEZE,
    Kind.RESTART: SHORT,
    Kind.CUT: SHORT,
    Kind.RESET: SHORT,
    Kind.SLOW: TIMEOUT,
}


def lanes(target: Target) -> list[Lane]:
    if target is Target.AGENT:
        return [[(1.0, Fault(target, kind, hold, number))] for number, (kind, hold) in enumerate(AGENT.items())]
    return [[(1.0, Fault(target, kind, hold)) for kind, hold in IN_TURN.items()]]


def play(target: Target) -> Verdict:
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        stage = Stage(Path(folder), len(AGENT) + 1 if target is Target.AGENT else 3, LOAD)
        try:
            run(stage, lanes(target))
            return verdict(stage)
        finally:
            stage.close()


class MatrixTests(SynchronousTestCase):
    """The stages are played at the same time, as most of it is waiting; each test has the verdict on one."""

    threads: ThreadPoolExecutor
    verdicts: dict[Target, "Future[Verdict]"]

    @classmethod
    def setUpClass(cls) -> None:
        cls.threads = ThreadPoolExecutor(len(Target))
        cls.verdicts = {target: cls.threads.submit(play, target) for target in Target}

    @classmethod
    def tearDownClass(cls) -> None:
        cls.threads.shutdown()

    def verdict(self, target: Target) -> Verdict:
        found = self.verdicts[target].result()
        self.assertEqual(found.wrong, [], found.text())
        self.assertGreater(found.proof.stored, 10 * LOAD)
        return found

    def test_agent(self) -> None:
        """Killed, frozen, restarted, cut off, reset, on a slow link: who was silent for the timeout has departed."""
        found = self.verdict(Target.AGENT)
        self.assertGreaterEqual(found.departures.expected, len(DEPARTED))
        self.assertEqual(found.departures.named, found.departures.expected)

    def test_collector(self) -> None:
        """The same of the collector and of all its links."""
        found = self.verdict(Target.COLLECTOR)
        self.assertGreater(found.proof.again, 0, "rounds were under way when it was killed")
        self.assertEqual(found.departures.named, found.departures.expected)

    def test_store(self) -> None:
        """The same of the store and of the collector's links to it."""
        found = self.verdict(Target.STORE)
        self.assertEqual(found.departures.named, found.departures.expected)
