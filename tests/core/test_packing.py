"""Tests for `perfmon.core.packing`."""

import zlib
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.packing import GZIP_HEADER, packed


class PackedTests(SynchronousTestCase):
    @given(st.lists(st.binary(max_size=300)), st.randoms(use_true_random=False))
    def test_any_order(self, messages: list[bytes], random: Random) -> None:
        """Parts make up a stream in whatever order they come, and each is whole as soon as it has come."""
        parts = [(message, packed(message)) for message in messages]
        random.shuffle(parts)
        reader = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self.assertEqual(reader.decompress(GZIP_HEADER), b"")
        for message, part in parts:
            self.assertEqual(reader.decompress(part), message)

    def test_smaller(self) -> None:
        """What repeats itself packs to a small part."""
        data = b"".join(b"host%04d,up,0.25," % number for number in range(1_000))
        self.assertLess(len(packed(data)) * 5, len(data))
