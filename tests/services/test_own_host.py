"""Tests for `perfmon.services.own_host`."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.messages import Hello
from perfmon.services.own_host import OwnHost, Rounds
from tests.net.recording import RecordingControl, RecordingControls, RecordingIntake, RecordingPresence

NOW = 1_800_000_000.0


class OwnHostTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.intake = RecordingIntake()
        self.presence = RecordingPresence()
        self.control = RecordingControl()
        self.hello = Hello(1, "monitor", agent="1.0", interval=5.0, labels={"rack": "7"})
        self.rounds = Rounds("monitor", self.intake)

    def test_present(self) -> None:
        """The host is up while the collector runs, is described like any agent's, and leaves with it."""
        own = OwnHost(self.hello, 5.0, self.presence, self.control, [], self.clock)
        own.startService()
        self.assertEqual(self.presence.described, {"monitor": self.hello.record()})
        self.assertEqual(self.presence.signs, [("monitor", True)])
        self.clock.pump([2.5] * 4)
        self.assertEqual(self.presence.signs, [("monitor", True)] * 3)
        own.stopService()
        self.assertEqual(self.presence.left, [("monitor", "stopped")])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_controlled(self) -> None:
        """All of its sampling does as the host is told."""
        sampling = [RecordingControls(5.0), RecordingControls(5.0)]
        own = OwnHost(self.hello, 5.0, self.presence, self.control, sampling, self.clock)
        own.startService()
        self.assertEqual(self.control.sampling, {"monitor": (False, 5.0)})
        self.control.here["monitor"].order_stopped(True)
        self.control.here["monitor"].order_interval(2.0)
        self.assertEqual([(each.stopped, each.interval) for each in sampling], [(True, 2.0)] * 2)
        self.assertEqual(self.control.sampling, {"monitor": (True, 2.0)})
        own.stopService()
        self.assertEqual(self.control.here, {})

    def test_samples(self) -> None:
        """Rounds are stored under the host's name; metrics may appear and be absent."""
        self.rounds.take(NOW, {"cpu": 0.5, "load": 3.0})
        self.rounds.take(NOW + 5, {"load": 2.0})
        self.rounds.take(NOW + 10.5, {"fan": 900.0, "cpu": 0.25, "load": 1.0})
        self.assertEqual(
            sorted(self.intake.samples()),
            [
                ("monitor", "cpu", NOW, 0.5),
                ("monitor", "cpu", NOW + 10.5, 0.25),
                ("monitor", "fan", NOW + 10.5, 900.0),
                ("monitor", "load", NOW, 3.0),
                ("monitor", "load", NOW + 5, 2.0),
                ("monitor", "load", NOW + 10.5, 1.0),
            ],
        )

    def test_kinds(self) -> None:
        """Rounds of two kinds, of one moment or not, do not take each other's place."""
        other = Rounds("monitor", self.intake)
        self.rounds.take(NOW, {"cpu": 0.5})
        other.take(NOW, {"commits": 7.0})
        self.rounds.take(NOW + 5, {"cpu": 0.25})
        self.assertEqual(
            sorted(self.intake.samples()),
            [("monitor", "commits", NOW, 7.0), ("monitor", "cpu", NOW, 0.5), ("monitor", "cpu", NOW + 5, 0.25)],
        )
        self.assertEqual([row.columns for row in self.intake.rows], [1, 1, 1], "each of its own metrics alone")

    def test_metrics_that_go(self) -> None:
        """A host whose devices come and go does not carry every name it ever had through every round."""
        for number in range(1_000):
            self.rounds.take(NOW + number, {"cpu": 1.0, f"device{number}": 2.0})
        self.assertLess(max(row.columns for row in self.intake.rows), 5)
        self.assertEqual(len(self.intake.samples()), 2_000)

    def test_numbers_run_out(self) -> None:
        """When the numbering begins anew the rounds go on."""
        self.intake = RecordingIntake(max_series=2)
        rounds = Rounds("monitor", self.intake)
        for number in range(3):
            rounds.take(NOW + number, {"cpu": 1.0, "load": 2.0})
        self.assertEqual((len(self.intake.samples()), self.intake.numberings), (6, 3))

    def test_paused(self) -> None:
        """While too much waits for the store no more is added to it."""
        self.rounds.take(NOW, {"cpu": 0.5})
        self.intake.paused = True
        self.rounds.take(NOW + 5, {"cpu": 0.75})
        self.intake.paused = False
        self.rounds.take(NOW + 10, {"cpu": 1.0})
        self.assertEqual([time for _, _, time, _ in self.intake.samples()], [NOW, NOW + 10])
