"""Tests for `perfmon.core.rota`."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.rota import Rota

NOW = 1_800_000_000.0
PLENTY = 1_000_000


class RotaTests(SynchronousTestCase):
    def test_even(self) -> None:
        """Each has one turn in each interval, at its own place in it."""
        rota = Rota(5, 10, NOW)
        turn = rota.due(NOW + 19.9, PLENTY)
        self.assertEqual(turn.numbers.tolist(), [0, 1, 2, 3, 4])
        self.assertEqual((turn.times - NOW).tolist(), [10, 12, 14, 16, 18])
        self.assertEqual(turn.left_out, 5, "those of the first interval were missed")

    def test_nothing_due(self) -> None:
        """Between two turns nobody is due, and nobody is due twice."""
        rota = Rota(5, 10, NOW)
        self.assertEqual(len(rota.due(NOW, PLENTY)), 1)
        for seconds in (0.0, 1.0, 1.99):
            self.assertEqual(len(rota.due(NOW + seconds, PLENTY)), 0)
        self.assertEqual(rota.due(NOW + 2, PLENTY).numbers.tolist(), [1])

    def test_at_most(self) -> None:
        """More than asked for wait for the next call."""
        rota = Rota(1000, 10, NOW)
        found = [rota.due(NOW + 5, 300).numbers.tolist() for _ in range(3)]
        self.assertEqual([number for turn in found for number in turn], list(range(501)))

    def test_clock_set_back(self) -> None:
        """A clock that is set back lets all wait until it is where it was; none has two rounds of one time."""
        rota = Rota(5, 10, NOW)
        rota.due(NOW + 8, PLENTY)
        self.assertEqual(len(rota.due(NOW - 3600, PLENTY)), 0)
        self.assertEqual(rota.due(NOW + 10, PLENTY).numbers.tolist(), [0])

    def test_same_place_after_restart(self) -> None:
        """The place in the interval is the same for a rota that starts at another time."""
        first = self.times(Rota(7, 10, NOW), NOW + 9.99)
        later = self.times(Rota(7, 10, NOW + 100_003), NOW + 100_012.99)
        self.assertEqual((len(first), len(later)), (7, 7))
        for number, time in later.items():
            self.assertEqual(round(time - first[number], 2) % 10, 0)

    def times(self, rota: Rota, now: float) -> dict[int, float]:
        """When each is due."""
        turn = rota.due(now, PLENTY)
        return dict(zip(turn.numbers.tolist(), turn.times.tolist(), strict=True))

    @given(
        st.integers(1, 50),
        st.floats(0.01, 100),
        st.lists(st.floats(0, 3), min_size=1, max_size=20),
        st.integers(1, 30),
    )
    def test_whatever_the_rhythm(self, senders: int, interval: float, pauses: list[float], most: int) -> None:
        """Whoever asks when, and for how many: times rise, are past, whole milliseconds, once for each sender."""
        rota, now = Rota(senders, interval, NOW), NOW
        last: defaultdict[int, float] = defaultdict(float)
        served = left_out = 0
        for pause in pauses:
            now += pause * interval
            turn = rota.due(now, most)
            left_out += turn.left_out
            served += len(turn)
            self.assertLessEqual(len(turn), most)
            for number, time in zip(turn.numbers.tolist(), turn.times.tolist(), strict=True):
                self.assertGreater(time, last[number])
                self.assertLessEqual(time, now + 0.001)
                self.assertGreaterEqual(time, now - interval * 1.001 - 0.001)
                self.assertEqual(time, round(time, 3))
                last[number] = time
        while len(turn := rota.due(now, most)):
            served += len(turn)
        expected = (now - NOW) * senders / interval
        self.assertApproximates(served + left_out, expected, 2 + expected * 1e-4)
