"""Tests for `perfmon.core.arrays`."""

import struct
from math import inf, nan
from random import Random
from typing import Any

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.arrays import BadArray, pack, pack_plain, pack_rows, unpack
from perfmon.core.frames import RECORD

TOP = 2**32 - 1


def u32(*values: int) -> NDArray[np.uint32]:
    return np.array(values, np.uint32)


def f64(*values: float) -> NDArray[np.float64]:
    return np.array(values, np.float64)


def misaligned(array: NDArray[Any]) -> NDArray[Any]:
    """The same at an odd address, as what was cut out of a message may lie."""
    return np.frombuffer(b"." + array.tobytes(), array.dtype, offset=1)


def strided(array: NDArray[Any]) -> NDArray[Any]:
    """The same with gaps between its elements, as a column of a table has them."""
    return np.repeat(array, 3)[::3]


def backwards(array: NDArray[Any]) -> NDArray[Any]:
    """The same as a view that runs backwards."""
    return array[::-1].copy()[::-1]


def as_field(array: NDArray[Any]) -> NDArray[Any]:
    """The same as a field of records, as the samples of a head are."""
    records = np.zeros(len(array), RECORD)
    field = "value" if array.dtype == np.float64 else "offset"
    records[field] = array
    return misaligned(records)[field]


layouts = st.sampled_from([np.asarray, misaligned, strided, backwards, as_field])

runs = st.tuples(st.integers(0, 5000), st.sampled_from([1, 1000, 10_000]), st.integers(1, 9))


def regular(parts: list[tuple[int, int, int]]) -> list[int]:
    """Runs of (gap before, step, count), one after another."""
    found, at = [], 0
    for gap, step, count in parts:
        at += gap
        for _ in range(count):
            found.append(at)
            at += step
    return found


whole = (
    st.lists(st.integers(0, TOP), max_size=40)
    | st.lists(st.integers(0, 3), max_size=40)
    | st.lists(st.sampled_from([0, 1, 2**31 - 1, 2**31, TOP - 1, TOP]), max_size=60)
    | st.lists(st.integers(0, TOP), max_size=40).map(sorted)
    | st.lists(runs, max_size=12).map(regular)
    | st.lists(runs, max_size=12).map(lambda parts: regular(parts)[::-1])
)
floats = (
    st.lists(st.floats(allow_nan=False), max_size=40)
    | st.lists(st.sampled_from([0.0, -0.0, 1.0, inf, -inf, 5e-324, 1.7976931348623157e308]), max_size=40)
    | st.lists(st.integers(0, 10_000).map(lambda cents: cents / 100), max_size=40)
    | st.builds(lambda value, count: [value] * count, st.floats(allow_nan=False), st.integers(1, 9))
)


class RoundTripTests(SynchronousTestCase):
    @given(whole, layouts)
    @example([], np.asarray)
    @example([0], np.asarray)
    @example([TOP], np.asarray)
    @example([0, TOP], np.asarray)
    @example([TOP, 0], np.asarray)
    @example([TOP - 2, TOP - 1, TOP], np.asarray)
    def test_u32(self, values: list[int], layout: Any) -> None:
        """Whole numbers of any kind, however they lie in memory, come back."""
        for packed in (pack(layout(u32(*values))), pack_plain(layout(u32(*values)))):
            found = unpack(packed, np.uint32)
            self.assertEqual((found.dtype, found.shape, found.tolist()), (np.uint32, (len(values),), values))

    @given(floats, layouts)
    @example([], np.asarray)
    @example([-0.0], np.asarray)
    @example([-0.0, -0.0], np.asarray)
    @example([0.0, -0.0], np.asarray)
    @example([-0.0, 0.0], np.asarray)
    @example([inf, inf], np.asarray)
    def test_f64(self, values: list[float], layout: Any) -> None:
        """Values of any kind come back to the bit, the sign of zero included."""
        for packed in (pack(layout(f64(*values))), pack_plain(layout(f64(*values)))):
            found = unpack(packed, np.float64)
            self.assertEqual((found.dtype, found.shape), (np.float64, (len(values),)))
            self.assertEqual(found.tobytes(), f64(*values).tobytes())

    def test_nan(self) -> None:
        """What is absent comes back as well: it is not the same as anything."""
        for values in ([nan], [nan, nan], [1.0, nan], [nan, 1.0]):
            for packed in (pack(f64(*values)), pack_plain(f64(*values))):
                np.testing.assert_equal(unpack(packed, np.float64), f64(*values))

    @settings(max_examples=20)
    @given(st.integers(2, 2000), st.integers(0, 2**32), layouts)
    def test_long(self, count: int, seed: int, layout: Any) -> None:
        """So do arrays as long as those of an hour at a second."""
        random = Random(seed)
        jittered = u32(*sorted(random.randrange(3_600_000) for _ in range(count)))
        values = f64(*(round(random.gauss(50, 10), 1) for _ in range(count)))
        self.assertEqual(unpack(pack(layout(jittered)), np.uint32).tolist(), jittered.tolist())
        self.assertEqual(unpack(pack(layout(values)), np.float64).tolist(), values.tolist())

    def test_compressed_nothing(self) -> None:
        """Nothing that was compressed is nothing of either type."""
        nothing = b"Z" + standalone.simple_compress(np.zeros(0), ChunkConfig())
        for dtype in (np.uint32, np.float64):
            found: NDArray[Any] = unpack(nothing, dtype)
            self.assertEqual((found.dtype, len(found)), (dtype, 0))


class EncodingTests(SynchronousTestCase):
    def test_chosen(self) -> None:
        """Times at regular moments are runs, equal values one of them, a few are plain, all else is compressed."""
        every = range(0, 3_600_000, 10_000)
        table: list[tuple[NDArray[Any], bytes, int]] = [
            (u32(), b"R", 1),
            (u32(7), b"C", 9),
            (u32(*[7] * 1000), b"C", 9),
            (u32(*[TOP] * 5), b"C", 9),
            (u32(*every), b"R", 13),
            (u32(3, 8), b"R", 13),
            (u32(0, TOP), b"R", 13),
            (u32(1, 1, 2), b"R", 25),
            (u32(*every[:100], *every[107:]), b"R", 25),  # a gap
            (u32(*every[:100], 999_999, *every[107:]), b"R", 37),
            (u32(*regular([(5, 10, 3)] * 8)), b"R", 1 + 8 * 12),
            (u32(*regular([(5, 10, 9)] * 9)), b"Z", 200),
            (u32(*regular([(5, 10, 9)] * 8), 9999), b"Z", 200),
            (u32(*reversed(every)), b"Z", 100),
            (u32(2, 1), b"P", 9),
            (u32(*every[:50], *every[:50]), b"Z", 200),
            (f64(5.5), b"C", 13),
            (f64(*[5.5] * 1000), b"C", 13),
            (f64(*[0.0] * 1000), b"C", 13),
            (f64(inf, inf), b"C", 13),
            (f64(*[-0.0] * 99), b"C", 13),
            (f64(*[0.0] * 99, -0.0), b"Z", 150),  # a constant would lose the sign
            (f64(nan, nan), b"C", 13),
            (f64(0.0, -0.0), b"P", 17),
            (f64(), b"P", 1),
            (f64(1.0, 2.0, 3.0, 4.0), b"P", 33),
            (f64(*range(1000)), b"Z", 120),
        ]
        for array, kind, most in table:
            packed = pack(array)
            shown = f"{array.dtype} {array[:5].tolist()}"
            self.assertEqual(packed[:1], kind, shown)
            self.assertLessEqual(len(packed), most, shown)

    @given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 2**32), layouts)
    def test_rows(self, rows: int, length: int, seed: int, layout: Any) -> None:
        """Each row of a table is packed as it would be by itself, however the table lies in memory."""
        random = np.random.default_rng(seed)
        kinds = [np.zeros(length), np.full(length, 5.5), random.normal(size=length), np.arange(length) * 1e6]
        kinds += [np.where(random.random(length) < 0.2, inf, -0.0), np.full(length, 1e308)]
        table = np.array([kinds[random.integers(len(kinds))] for _ in range(rows)]).reshape(rows, length)
        laid = layout(table.ravel()).reshape(rows, length)
        self.assertEqual(pack_rows(laid), [pack(row) for row in table])

    def test_layout(self) -> None:
        """The bytes of constants, runs and plain values, for a sealed window outlives the perfmon that wrote it."""
        self.assertEqual(pack(u32(258, 258)), b"C" + b"\2\0\0\0" + b"\2\1\0\0")
        self.assertEqual(pack(f64(1.0)), b"C" + b"\1\0\0\0" + b"\0\0\0\0\0\0\xf0\x3f")
        self.assertEqual(
            pack(u32(258, 260, 262, 300)),
            b"R" + b"\2\1\0\0" + b"\2\0\0\0" + b"\3\0\0\0" + b"\x2c\1\0\0" + b"\0\0\0\0" + b"\1\0\0\0",
        )
        self.assertEqual(pack_plain(u32(1, 258)), b"P" + b"\1\0\0\0" + b"\2\1\0\0")
        self.assertEqual(pack_plain(f64(1.0)), b"P" + b"\0\0\0\0\0\0\xf0\x3f")
        self.assertEqual(pack(f64(*range(99)))[:5], b"Zpco!")

    def test_small(self) -> None:
        """What hosts send in an hour at ten seconds takes few bytes: gauges, counters, and what moves steadily."""
        random = Random(1)
        noise = [float(random.randrange(100)) for _ in range(360)]
        noise[180] = 50.0
        counter = np.cumsum([1e9, *(random.randrange(200) for _ in range(359))])
        faster = np.cumsum(np.cumsum([1e9, *(1e6 + random.randrange(10) for _ in range(359))]))
        for values, most in (
            (f64(*noise), 1.1),
            (counter, 1.2),
            (faster, 0.7),
            (f64(*(500.0 + i % 3 for i in range(360))), 0.5),
            (f64(*[0.0] * 359, 1.0), 0.3),
        ):
            self.assertLess(len(pack(values)) / 360, most, values[:5].tolist())

    @given(whole)
    def test_never_much_larger(self, values: list[int]) -> None:
        """Packed is never much larger than plain, whatever it is."""
        self.assertLessEqual(len(pack(u32(*values))), len(pack_plain(u32(*values))) + 100)

    def test_runs_are_kept_from_writers(self) -> None:
        """Runs that are handed out twice cannot be changed by who got them first."""
        packed = pack(u32(1, 2, 3))
        found = unpack(packed, np.uint32)
        with self.assertRaises(ValueError):
            found[0] = 9
        self.assertEqual(unpack(packed, np.uint32).tolist(), [1, 2, 3])


class BadArrayTests(SynchronousTestCase):
    def assert_bad(self, data: bytes, dtype: Any, *shown: str) -> None:
        with self.assertRaises(BadArray) as caught:
            unpack(data, dtype)
        for part in shown:
            self.assertIn(part, str(caught.exception))

    def test_unknown(self) -> None:
        """An encoding that is not known is told."""
        for data, shown in ((b"", "b''"), (b"X", "b'X'"), (b"\0\0\0\0\0", "b'\\x00'"), (b"z" + b"\0" * 8, "b'z'")):
            for dtype in (np.uint32, np.float64):
                self.assert_bad(data, dtype, shown, "unknown")

    def test_cut_off(self) -> None:
        """A compressed array, or one of runs, that is cut off anywhere is told; never less of it is given."""
        compressed, runs = pack(u32(*[1, 5, 2, 9] * 20)), pack(u32(4, 5, 6, 8, 100, 200))
        self.assertEqual((compressed[:1], runs[:1]), (b"Z", b"R"))
        for cut in range(len(compressed)):
            self.assert_bad(compressed[:cut], np.uint32)
        for cut in range(len(runs)):
            if (cut - 1) % 12:
                self.assert_bad(runs[:cut], np.uint32)
        compressed = pack(f64(*(round(0.37 * i * i, 2) for i in range(50))))
        for cut in range(len(compressed)):
            self.assert_bad(compressed[:cut], np.float64)
        for cut in range(1, 5):
            self.assert_bad(pack(f64(1.0))[:cut], np.float64)

    def test_cut_off_plain(self) -> None:
        """So is a constant without its value, or a plain array with a part of one."""
        constant, plain = pack(f64(1.0)), pack_plain(f64(1.0, 2.0))
        for cut in range(1, len(constant)):
            self.assert_bad(constant[:cut], np.float64)
        for cut in range(1, len(plain)):
            if (cut - 1) % 8:
                self.assert_bad(plain[:cut], np.float64)

    def test_too_many(self) -> None:
        """A few damaged bytes cannot ask for gigabytes."""
        self.assert_bad(b"C" + struct.pack("<Id", 0xFFFFFFFF, 1.0), np.float64, "4,294,967,295 values")
        self.assert_bad(b"R" + struct.pack("<6I", 0, 1, 0xFFFFFFFF, 5, 0, 1), np.uint32, "4,294,967,296 values")
        self.assertEqual(len(unpack(b"C" + struct.pack("<Id", 1 << 24, 1.0), np.float64)), 1 << 24)

    def test_another_type(self) -> None:
        """Whole numbers where values belong are told, and the other way round."""
        irregular = [1, 5, 2, 9, 17, 3, 4, 8, 11] * 9
        self.assert_bad(pack(u32(*irregular)), np.float64, "uint32", "float64")
        self.assert_bad(pack(f64(*irregular)), np.uint32, "uint32", "float64")
        self.assert_bad(pack(u32(1, 2, 3)), np.float64, "uint32", "float64")

    @given(st.binary(max_size=40))
    def test_no_pcodec(self, data: bytes) -> None:
        """What pcodec did not write is told."""
        self.assert_bad(b"Z" + data, np.float64)
        self.assert_bad(b"Zpco!" + struct.pack("<I", 0xFFFFFFFF) + data, np.float64)
