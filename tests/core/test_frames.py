"""Tests for `perfmon.core.frames`. How they are read: `test_head_reader`."""

import struct

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.frames import FRAME_HEADER, RECORD, head_frame, names_frame, rows_frame, samples_frame


class LayoutTests(SynchronousTestCase):
    """The bytes, for a head outlives the perfmon that wrote it."""

    def test_names(self) -> None:
        """A names frame is its header, the first number and the names."""
        self.assertEqual(
            names_frame(0x01020304, 5, ["a", "ü"]),
            b"N\x01\0\0" + b"\x04\x03\x02\x01" + b"\x08\0\0\0" + b"\x05\0\0\0" + b"a\n\xc3\xbc",
        )

    def test_samples(self) -> None:
        """A samples frame is its header and 16 bytes a sample."""
        records = np.array([(1, 2, 1.0)], RECORD).tobytes()
        self.assertEqual(records, b"\x01\0\0\0" + b"\x02\0\0\0" + b"\0\0\0\0\0\0\xf0\x3f")
        self.assertEqual(samples_frame(7, records), b"S\x01\0\0" + b"\x07\0\0\0" + b"\x10\0\0\0" + records)

    def test_rows(self) -> None:
        """A rows frame is its header, the first number, the columns, the offsets and the values."""
        data = struct.pack("<4d", 1.0, 2.0, 3.0, 4.0)
        self.assertEqual(
            rows_frame(7, 3, 2, [10, 11], data),
            b"R\x01\0\0\x07\0\0\0\x30\0\0\0\x03\0\0\0\x02\0\0\0\x0a\0\0\0\x0b\0\0\0" + data,
        )

    def test_overhead(self) -> None:
        """`FRAME_HEADER` is what a frame adds to its samples."""
        self.assertEqual(len(samples_frame(7, b"")), FRAME_HEADER.size)

    def test_head(self) -> None:
        """The head frame holds the identity in its last eight bytes, where the store looks for it."""
        self.assertEqual(head_frame(b"identity"), b"H\x01\0\0" + b"\0\0\0\0" + b"\x08\0\0\0" + b"identity")
