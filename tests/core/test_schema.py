"""Tests for `perfmon.core.schema`."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.schema import followed


def values(names: str) -> dict[str, float]:
    return dict.fromkeys(names, 1.0)


class FollowedTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The schema stays while it has every metric, grows at its end, and begins anew when most would be absent."""
        for names, sampled, expected in (
            ("", "ab", "ab"),
            ("ab", "ab", "ab"),
            ("ab", "ba", "ab"),
            ("ab", "a", "ab"),
            ("abcdef", "a", "abcdef"),
            ("ab", "abc", "abc"),
            ("ab", "cb", "abc"),
            ("ab", "cd", "abcd"),
            ("abc", "de", "de"),
            ("abcdef", "ga", "ga"),
        ):
            self.assertEqual("".join(followed(list(names), values(sampled))), expected, (names, sampled))

    def test_same(self) -> None:
        """A schema that stays is the same object."""
        names = ["a", "b"]
        self.assertIs(followed(names, values("b")), names)

    @given(st.lists(st.sets(st.integers(0, 50), min_size=1), max_size=20))
    def test_bounded(self, rounds: list[set[int]]) -> None:
        """Every value has its place, none has two, and a schema is at most twice as long as the round that made it."""
        names: list[str] = []
        for one in rounds:
            sampled = {str(number): 1.0 for number in one}
            before = names
            names = followed(names, sampled)
            self.assertLessEqual(sampled.keys(), set(names))
            self.assertEqual(len(set(names)), len(names))
            if names is not before:
                self.assertLessEqual(len(names), 2 * len(sampled))
