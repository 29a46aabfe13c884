"""Tests for `perfmon.commands.plans`."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.commands.plans import MAX_RUNS, BadPlan, Planned, parse_plan
from perfmon.options import size


def parsed(text: str) -> list[Planned]:
    return parse_plan(text, lambda text: int(size(text)))


class PlanTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """Runs in order, each as often as it says; sizes may be written as such, everything else is as it is."""
        found = parsed(
            """
            [[run]]
            kind = "disk-write"
            on = "web*"
            label = "role=db"
            repeat = 2
            chunk = "10MiB"
            roll = 1048576
            fsync = "never"

            [[run]]
            kind = "fio"
            label = "role=db"
            size = "1GiB"
            direct = true
            """
        )
        disk = Planned("disk-write", "web*", "role=db", {"chunk": 10 << 20, "roll": 1 << 20, "fsync": "never"})
        self.assertEqual(found, [disk, disk, Planned("fio", "", "role=db", {"size": 1 << 30, "direct": True})])

    def test_bad(self) -> None:
        """What is no plan is refused in a sentence that says which run it is, and how to write it."""
        run = '[[run]]\nkind = "cpu"\non = "*"\n'
        for text, words in (
            ("", "a plan has tables"),
            ("run = 7", "a plan has tables"),
            ("[run]\nkind = 'cpu'", "a plan has tables"),
            (f"{run}\n[more]\nx = 1", "and nothing else"),
            ("[[run]", "line 1"),
            (f"{run}[[run]]\non = 'web*'", "run 2: kind is needed"),
            ("[[run]]\nkind = 7", "run 1: kind is a string"),
            ("[[run]]\nkind = 'cpu'", "run 1: say which hosts"),
            (f"{run}repeat = 0", "repeat is 1 to"),
            (f"{run}repeat = true", "repeat is 1 to"),
            (f"{run}repeat = {MAX_RUNS}\n{run}", f"{MAX_RUNS + 1} runs"),
        ):
            with self.assertRaisesRegex(BadPlan, words, msg=text):
                parsed(text)
        with self.assertRaisesRegex(ValueError, "'much' is no size"):
            parsed(f"{run}chunk = 'much'")
