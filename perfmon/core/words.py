"""Many short pieces of one text at once: stretches of it as 64-bit words, and decimal numbers read from these.

A token that Python takes hold of costs 50 ns before anything is done with it. Here a piece is a place in the text, and
numpy copies the bytes at all places into a table of words in one call, 10 ns a row whatever its length.
"""

import numpy as np
from numpy.typing import NDArray

Places = NDArray[np.int64]
Words = NDArray[np.uint64]  # little-endian: the first byte is the lowest

# The longest stretch that can be taken.
MAX_STRETCH = 128  # bytes

# The longest number that is read here, without its sign.
MAX_DECIMAL = 16  # bytes

_TAIL = 16
_BEFORE, _AFTER = b"\0" * _TAIL, b"\0" * MAX_STRETCH


class Text:
    """Bytes whose stretches are taken at many places at once."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self._padded = _BEFORE + data + _AFTER
        self.bytes: NDArray[np.uint8] = np.frombuffer(self._padded, np.uint8, len(data), _TAIL)

    def after(self, starts: Places, words: int) -> Words:
        """A row of so many words for each of `starts`, `MAX_STRETCH` bytes at the most; zeros follow the text."""
        return self._taken(starts, 8 * words, _TAIL)

    def before(self, ends: Places) -> Words:
        """The word that ends at each of `ends`; zeros precede the text."""
        return self._taken(ends, 8, _TAIL - 8).ravel()

    def _taken(self, places: Places, size: int, offset: int) -> Words:
        # an item at every byte of the text, each of which overlaps the next; raw bytes may lie at any address
        items: NDArray[np.void] = np.ndarray(
            (len(self._padded) - offset - size + 1,), f"V{size}", self._padded, offset, (1,)
        )
        return items[places].view("<u8").reshape(-1, size // 8)


def _every(byte: int) -> np.uint64:
    return np.uint64(byte * 0x0101010101010101)


_ZEROS, _POINTS, _ONES, _TOPS = _every(ord("0")), _every(ord("0") ^ ord(".")), _every(0x01), _every(0x80)
_POINT = np.uint64(ord("0") ^ ord("."))
_OVER_NINE = _every(0x80 - 10)  # carries a byte of 10 or more into its top bit

_TEN, _HUNDRED, _TEN_THOUSAND = np.uint64(10), np.uint64(100), np.uint64(10_000)
_ONE_BYTE, _TWO_BYTES, _FOUR_BYTES = np.uint64(8), np.uint64(16), np.uint64(32)
_PAIRS, _FOURS, _EIGHT = np.uint64(0x00FF00FF00FF00FF), np.uint64(0x0000FFFF0000FFFF), np.uint64(0xFFFFFFFF)

# Masks for the last so many bytes, 0 to 8, of a word.
_LAST = np.array([(-1 << 8 * (8 - kept)) & (2**64 - 1) for kept in range(9)], np.uint64)

# Times the lowest bit of a byte it gives, in the top byte, how many bytes there are from that byte to the end.
_TO_THE_END = np.uint64(0x0807060504030201)

# By the digits from the point to the end, the point counted (0: there is no point): what lies before the point is worth
# so much, of which so much is too much once the point is taken out, and the number is divided by so much.
_WORTH = np.array([10**count if count < 18 else 1 for count in range(32)], np.int64)
_TOO_MUCH = np.array([10**count - 10 ** (count - 1) if 0 < count < 18 else 0 for count in range(32)], np.int64)
_DIVISOR = np.array([10.0 ** (count - 1) if 0 < count < 18 else 1.0 for count in range(32)])

# Integers up to here are floats, and so the quotient of two of them is the float nearest to the decimal number
# (William Clinger, "How to read floating point numbers accurately", 1990); 10**22 is the largest such power of ten.
_EXACT = 2**53


def changes(text: Text, starts: Places, ends: Places) -> Places:
    """Which of the pieces at starts..ends differ from the one before them (the first does, and those over 16 bytes)."""
    length = ends - starts
    last = text.before(ends) & _LAST.take(length, mode="clip")
    # (before the text begins there is nothing to be taken, and of so short a piece nothing is)
    more = text.before(ends - 8) & _LAST.take(length - 8, mode="clip")
    differ = np.ones(len(starts), bool)
    differ[1:] = (last[1:] != last[:-1]) | (more[1:] != more[:-1]) | (length[1:] != length[:-1])
    differ |= length > MAX_DECIMAL
    return np.flatnonzero(differ)


def decimals(text: Text, starts: Places, ends: Places) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """The numbers that stand at starts..ends in `text`, and which of them are to be read in another way.

    Read are up to 16 digits, with or without a point among them or beside them that counts as one, and with or without
    a ``-`` before; as `float` reads them.
    """
    negative = text.bytes.take(starts) == ord("-")
    length = ends - starts - negative
    digits, point, odd = _eight(text.before(ends), np.minimum(length, 8))
    long = np.flatnonzero(length > 8)
    if len(long):
        more, before, strange = _eight(text.before(ends[long] - 8), np.minimum(length[long] - 8, 8))
        digits[long] += more * 10**8
        strange |= (before > 0) & (point[long] > 0)
        point[long] += np.where(before, before + 8, 0)
        odd[long] |= strange
    odd |= (length <= (point > 0)) | (length > MAX_DECIMAL)
    # what stands before the point moves down a place
    digits -= digits // _WORTH.take(point) * _TOO_MUCH.take(point)
    odd |= digits > _EXACT
    values = digits / _DIVISOR.take(point)
    np.negative(values, out=values, where=negative)
    return values, odd


def _eight(words: Words, length: Places) -> tuple[NDArray[np.int64], Places, NDArray[np.bool_]]:
    """Of the last `length` characters of each word, 8 at the most: the number that they are with a 0 for the point,
    the characters from the point on (0: there is none), and whether there is anything else, or a second point."""
    digits = (words ^ _ZEROS) & _LAST.take(length, mode="clip")
    found = digits ^ _POINTS
    points = (found - _ONES) & ~found & _TOPS  # also of a / behind a point, which then is a second one
    odd = (points & (points - 1)) != 0
    points >>= 7
    digits ^= points * _POINT
    odd |= (((digits + _OVER_NINE) | digits) & _TOPS) != 0
    point = (points * _TO_THE_END >> 56 & 15).view(np.int64)
    # pairs of digits first, then pairs of pairs
    digits = (digits * _TEN + (digits >> _ONE_BYTE)) & _PAIRS
    digits = (digits * _HUNDRED + (digits >> _TWO_BYTES)) & _FOURS
    digits = (digits * _TEN_THOUSAND + (digits >> _FOUR_BYTES)) & _EIGHT
    return digits.view(np.int64), point, odd
