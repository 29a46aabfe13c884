"""Tests for `perfmon.core.words`."""

import re
from itertools import accumulate

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.words import MAX_DECIMAL, MAX_STRETCH, Text, changes, decimals

# What is read; the rest is told to be odd. (2**53 is the largest mantissa.)
DECIMAL = re.compile(rb"-?(\d+\.?\d*|\.\d+)")


def laid(pieces: list[bytes]) -> tuple[Text, NDArray[np.int64], NDArray[np.int64]]:
    """A text of `pieces` with a space behind each, and where they begin and end."""
    ends = np.array(list(accumulate(len(piece) + 1 for piece in pieces)), np.int64) - 1
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    return Text(b"".join(piece + b" " for piece in pieces)), ends - lengths, ends


def is_read(piece: bytes) -> bool:
    if DECIMAL.fullmatch(piece) is None or len(piece.lstrip(b"-")) > MAX_DECIMAL:
        return False
    return int(piece.strip(b"-").replace(b".", b"")) <= 2**53


digits = st.text("0123456789", min_size=0, max_size=17)
numbers = st.builds(
    lambda sign, whole, point, part: f"{sign}{whole}{point}{part}".encode(),
    st.sampled_from(["", "-", "+"]),
    digits,
    st.sampled_from(["", ".", ".", "/", "..", "e"]),
    digits,
).filter(len)
shown = (
    st.floats(allow_nan=False).map(lambda value: repr(value).encode())
    | st.floats(-1e6, 1e6).map(lambda value: b"%.4f" % value)
    | st.integers(-(10**17), 10**17).map(lambda value: b"%d" % value)
)
anything = st.binary(min_size=1, max_size=18).filter(lambda piece: min(piece) > 0x20)


class DecimalTests(SynchronousTestCase):
    @settings(max_examples=400)
    @given(st.lists(numbers | shown | anything, min_size=1, max_size=12))
    @example([b"0", b"-0", b"-0.0", b".", b"-", b"-.", b"1.", b".5", b"-.5", b"00012", b"1./5", b"1/.5", b"./", b"/."])
    @example([b"9007199254740992", b"9007199254740993", b"9007199254740.99", b"999999999999999.", b"0.00000000000001"])
    @example([b"1.5.5", b".1234567.1234567", b"12345678.1234567", b"1234567.12345678", b"12345678", b"123456789"])
    @example([b"1_0", b"1,5", b"\xb15", b"1\xff", b"nan", b"inf", b"1e5", b"0x10", b"--1", b"1-1"])
    def test_as_float(self, pieces: list[bytes]) -> None:
        """A decimal is the float that Python reads, to the bit; all else is told to be odd, whatever stands beside."""
        values, odd = decimals(*laid(pieces))
        self.assertEqual([not one for one in odd.tolist()], [is_read(piece) for piece in pieces])
        for piece, value, strange in zip(pieces, values.tolist(), odd.tolist(), strict=True):
            if not strange:
                self.assertEqual(repr(value), repr(float(piece)), piece)

    def test_every_length(self) -> None:
        """Of any length, with the point at any place."""
        every = "9071992547409913"
        pieces = []
        for length in range(1, MAX_DECIMAL + 1):
            pieces += [every[:length]] if length < MAX_DECIMAL else []
            pieces += [every[:place] + "." + every[place : length - 1] for place in range(length) if length > 1]
        values, odd = decimals(*laid([piece.encode() for piece in pieces]))
        self.assertFalse(odd.any())
        self.assertEqual(values.tolist(), [float(piece) for piece in pieces])

    def test_none(self) -> None:
        """Of no pieces there are no numbers."""
        nothing = np.zeros(0, np.int64)
        values, odd = decimals(Text(b""), nothing, nothing)
        self.assertEqual((len(values), len(odd)), (0, 0))


class ChangesTests(SynchronousTestCase):
    @given(st.lists(st.sampled_from([b"1", b"2", b"11", b"1234567890", b"1234567891", b"2234567890", b"9" * 17])))
    @example([b"1234567890123456", b"0234567890123456", b"1234567890123456"])
    @example([b"9" * 17, b"9" * 17])
    def test_as_compared(self, pieces: list[bytes]) -> None:
        """A piece that is another than the one before it is found, and one too long to tell."""
        before = [b"", *pieces]
        expected = [place for place, piece in enumerate(pieces) if piece != before[place] or len(piece) > MAX_DECIMAL]
        self.assertEqual(changes(*laid(pieces)).tolist() if pieces else [], expected)


class TextTests(SynchronousTestCase):
    def test_after(self) -> None:
        """Words from any place on, the first byte the lowest; zeros behind the end."""
        text = Text(b"abcdefghij")
        found = text.after(np.array([0, 1, 9, 10]), 2)
        self.assertEqual(
            [row.tobytes() for row in found],
            [b"abcdefghij" + b"\0" * 6, b"bcdefghij" + b"\0" * 7, b"j" + b"\0" * 15, b"\0" * 16],
        )
        longest = text.after(np.array([10]), MAX_STRETCH // 8)
        self.assertEqual(longest.tobytes(), b"\0" * MAX_STRETCH)

    def test_before(self) -> None:
        """The word that ends at any place; zeros before the beginning."""
        found = Text(b"abcdefghij").before(np.array([0, 1, 8, 10]))
        self.assertEqual([word.tobytes() for word in found], [b"\0" * 8, b"\0" * 7 + b"a", b"abcdefgh", b"cdefghij"])
