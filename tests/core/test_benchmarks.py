"""Tests for `perfmon.core.benchmarks`."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.benchmarks import CANCELLED, ENDED, SPEC, STATES, HostRun, Spec, described, host_field, state_of

NOW = 1_800_000_000.0
DONE = HostRun("done", "", NOW + 3, 1.0, {}, {"rate": 100.0})


def spec(*hosts: str) -> Spec:
    return Spec("7", "cpu", {"seconds": 5}, list(hosts), NOW, NOW + 3, 5.0)


class StoredTests(SynchronousTestCase):
    def test_there_and_back(self) -> None:
        """What is kept is read as it was; an end is told from what goes on by its first letter."""
        self.assertEqual(Spec.decode(spec("a", "b").encode()), spec("a", "b"))
        for state in STATES:
            run = HostRun(state, "why", NOW, 0.5, {"rolls": 2.5}, {"rate": 3.0, "two_rolls": True})
            self.assertEqual(HostRun.decode(run.encode()), run)
            self.assertEqual(run.encode()[0], "F" if state in ENDED else "P")


class StateTests(SynchronousTestCase):
    def test_states(self) -> None:
        """The whole is as its hosts are, and never done where one of them is not."""
        for states, cancelled, expected in (
            ([], False, "waiting"),
            (["ready", "waiting"], False, "waiting"),
            (["running", "waiting"], False, "running"),
            (["done"], False, "running"),
            (["done", "running"], False, "running"),
            (["done", "done"], False, "done"),
            (["done", "done"], True, "done"),
            (["done", "lost"], False, "partial"),
            (["done", "refused"], False, "partial"),
            (["failed", "lost"], False, "failed"),
            (["cancelled", "cancelled"], True, "cancelled"),
            (["done", "cancelled"], True, "cancelled"),
            (["running", "cancelled"], True, "running"),
        ):
            runs = {host: HostRun(state) for host, state in zip("ab", states, strict=False)}
            self.assertEqual(state_of(spec("a", "b"), runs, cancelled), expected, states)


class DescribedTests(SynchronousTestCase):
    def test_all_hosts(self) -> None:
        """Every host that was asked for is there, those that said nothing too; totals are of those that are done."""
        slow = HostRun("done", "", NOW + 3.25, 1.0, {}, {"rate": 50.0})
        failed = HostRun("failed", "no disk", NOW + 2.5, 0.5, {}, {"rate": 1e9})
        fields = {SPEC: spec("a", "b", "c", "d").encode()}
        fields |= {host_field(host): run.encode() for host, run in (("a", DONE), ("b", slow), ("c", failed))}
        told = described(fields)
        self.assertEqual([at["state"] for at in told["hosts"].values()], ["done", "done", "failed", "waiting"])
        self.assertEqual((told["state"], told["counts"]), ("running", {"waiting": 1, "done": 2, "failed": 1}))
        self.assertEqual((told["skew"], told["latest_start"], told["cancelled"]), (0.75, 0.5, None))
        totals = {"hosts": 2, "sum": 150.0, "mean": 75.0, "deviation": 25.0, "min": 50.0, "max": 100.0}
        self.assertEqual(told["totals"], totals)

    def test_nothing_yet(self) -> None:
        """Before anybody has begun there is no skew, and no total."""
        told = described({SPEC: spec("a").encode(), CANCELLED: "enough"})
        self.assertEqual((told["skew"], told["latest_start"], told["totals"]), (None, None, None))
        self.assertEqual(told["cancelled"], "enough")
