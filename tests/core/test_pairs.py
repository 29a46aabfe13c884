"""Tests for `perfmon.core.pairs`."""

from collections import Counter
from itertools import pairwise, permutations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.loads import BadLoad, Cpu, Echo, Iperf3, Paired
from perfmon.core.pairs import COLLECTOR, MAX_ALL, PAUSE, Meeting, duration, meetings, participants

hosts = st.integers(2, 12).map(lambda number: [f"web{n}" for n in range(number)])


def planned(load: Paired, names: list[str]) -> Counter[tuple[str, str]]:
    """How often each pair, (who asks, who answers), meets."""
    return Counter((host, meeting.peer) for host, some in meetings(load, names).items() for meeting in some)


class MeetingsTests(SynchronousTestCase):
    @given(hosts)
    def test_all(self, names: list[str]) -> None:
        """Each meets each other once."""
        for load in (Echo(pairs="all"), Iperf3(pairs="all")):
            self.assertEqual(planned(load, names), Counter(permutations(names, 2)))

    @given(hosts, st.sampled_from(["ring", "all"]), st.booleans(), st.floats(1.0, 600.0))
    def test_never_two_at_once(self, names: list[str], pairs: str, one_server: bool, seconds: float) -> None:
        """With iperf3 no server, and no client, has a second test before the first is over; the run lasts as long."""
        load = Iperf3(pairs=pairs, to=names[0] if one_server else "", seconds=seconds)  # type: ignore[arg-type]  # one of two
        for part in (0, 1):
            busy: dict[str, list[float]] = {}
            for host, some in meetings(load, names).items():
                for meeting in some:
                    busy.setdefault((host, meeting.peer)[part], []).append(meeting.after)
            for begun in busy.values():
                begun.sort()
                self.assertTrue(all(b - a >= seconds + PAUSE - 1e-6 for a, b in pairwise(begun)))
                self.assertLessEqual(begun[-1] + seconds, duration(load, names))

    def test_ring(self) -> None:
        """Each meets the next one."""
        expected = {"a": [Meeting("b")], "b": [Meeting("c")], "c": [Meeting("a")]}
        self.assertEqual(meetings(Echo(pairs="ring"), ["a", "b", "c"]), expected)

    def test_one(self) -> None:
        """All meet one, that only answers; or the collector, when nothing else is said."""
        self.assertEqual(meetings(Echo(to="b"), ["a", "b"]), {"a": [Meeting("b")], "b": []})
        self.assertEqual(meetings(Echo(), ["a", "b"]), {"a": [Meeting(COLLECTOR)], "b": [Meeting(COLLECTOR)]})


class ParticipantsTests(SynchronousTestCase):
    def test_whole(self) -> None:
        """Whom all meet takes part, once."""
        self.assertEqual(participants(Cpu(), ["a"]), ["a"])
        self.assertEqual(participants(Echo(), ["a"]), ["a"])
        self.assertEqual(participants(Echo(to="b"), ["a"]), ["a", "b"])
        self.assertEqual(participants(Echo(to="b"), ["a", "b"]), ["a", "b"])

    def test_refused(self) -> None:
        """What cannot be run is refused in a sentence."""
        many = [f"web{n}" for n in range(MAX_ALL + 1)]
        for load, names, words in (
            (Echo(to="a"), ["a"], "a is to answer, but nobody to send"),
            (Echo(pairs="ring"), ["a"], "pairs ring needs two hosts"),
            (Iperf3(), ["a"], "pairs ring needs two hosts"),
            (Echo(pairs="all"), many, "at most 100 hosts, and these are 101"),
            (Iperf3(to="a", seconds=3_600), ["a", *many], "one test after the other would take"),
        ):
            with self.assertRaisesRegex(BadLoad, words):
                participants(load, names)
