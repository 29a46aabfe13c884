"""Digits of values."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes.digits import hundredths, ratio


class DigitsTests(SynchronousTestCase):
    def test_ratio(self) -> None:
        """A fraction has at most 4 digits; nothing and everything stay what they are."""
        for part, whole, expected in ((1, 3, 0.3333), (2, 3, 0.6667), (0, 3, 0.0), (3, 3, 1.0), (1, 8, 0.125)):
            self.assertEqual(ratio(part, whole), expected)

    @given(st.integers(0, 2**53), st.integers(1, 2**53))
    def test_ratio_always(self, part: int, rest: int) -> None:
        """A fraction stays one, and is what its decimal of 4 digits is read as."""
        found = ratio(part, part + rest)
        self.assertTrue(0.0 <= found <= 1.0)
        self.assertEqual(found, float(f"{found:.4f}"))

    def test_hundredths(self) -> None:
        """There are at most 2 digits after the point."""
        for value, expected in ((0.1 + 0.2, 0.3), (60.0, 60.0), (1 / 3, 0.33), (12345678.987654, 12345678.99)):
            self.assertEqual(hundredths(value), expected)
