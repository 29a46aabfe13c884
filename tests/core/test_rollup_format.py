"""Tests for `perfmon.core.rollups`: aggregates as bytes."""

import struct

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.arrays import pack
from perfmon.core.chunks import AGGREGATES, SAMPLES, VERSION, arrays_in, block, blocks, with_length
from perfmon.core.frames import FormatError
from perfmon.core.rollups import FIELDS, Rollup, decode_rollup, encode_rollup, increases, joined, rolled, split
from tests.core.models import Samples, column, counters, gauges, parts, steps

WINDOW = 1_792_281_600  # the start of a day
STEP, PART = 100, 1800  # ms

ARRAYS = ("times", *FIELDS, "parts", "first", "first_end")


def today(samples: Samples) -> Samples:
    return [(WINDOW * 1000 + time, value) for time, value in samples]


def made(samples: Samples, part: int = PART) -> Rollup:
    return rolled(column(today(samples)), STEP, part=part)


def sizes(chunk: bytes) -> dict[str, int]:
    """Bytes of each array of a chunk."""
    [(_, start, end)] = blocks(chunk)
    return dict(zip(ARRAYS, map(len, arrays_in(chunk, start + 4, end, len(ARRAYS))), strict=True))


def falling(falls: int, count: int) -> Samples:
    """A sample in each step, `falls` of which are lower than the one before."""
    return [(STEP * i, 1.0 if i % 2 and i < 2 * falls else 5.0) for i in range(count)]


class RoundTripTests(SynchronousTestCase):
    @given(gauges() | counters(), st.sampled_from([0, STEP, PART]))
    @example([(0, 0.0)], 0)
    @example([(0, -0.0), (1, 0.0)], 0)
    @example([(0, 5.0), (1799, 9.0), (1800, 3.0), (5400, 1.0), (5401, 0.0)], PART)
    def test_any(self, samples: Samples, part: int) -> None:
        """What is read is what was written, exactly; of a series that falls often all but what its falls took away."""
        rollup = made(samples, part)
        found = decode_rollup(encode_rollup(rollup, STEP // 100, WINDOW), WINDOW)
        self.assertEqual(parts(found), parts(rollup))
        self.assertEqual(found.times.tolist(), rollup.times.tolist())
        kept = np.count_nonzero(rollup.columns["lost"]) * 8 <= len(samples)
        for name in FIELDS:
            expected = rollup.columns[name] if kept or name != "lost" else np.zeros(len(rollup))
            self.assertEqual(found.columns[name].tolist(), expected.tolist(), name)
        self.assertEqual((found.times.dtype, found.known_parts.times.dtype), (np.int64, np.int64))
        self.assertEqual({values.dtype for values in found.columns.values()}, {np.dtype(np.float64)})

    @given(st.dictionaries(st.integers(0, 20_000), st.floats(-1e300, 1e300), min_size=1))
    def test_any_values(self, samples: dict[int, float]) -> None:
        """Values of any size come back to the bit."""
        rollup = made(sorted(samples.items()))
        found = decode_rollup(encode_rollup(rollup, 60, WINDOW), WINDOW)
        for name in FIELDS:
            if name != "lost":
                self.assertEqual(found.columns[name].tolist(), rollup.columns[name].tolist(), name)
        self.assertEqual(parts(found), parts(rollup))

    @given(gauges() | counters(), st.sets(st.sampled_from(FIELDS)))
    def test_fields(self, samples: Samples, fields: set[str]) -> None:
        """Only what is asked for is read, and it is the same."""
        chunk = encode_rollup(made(samples), 60, WINDOW)
        some, every = decode_rollup(chunk, WINDOW, frozenset(fields)), decode_rollup(chunk, WINDOW)
        self.assertEqual(set(some.columns), fields)
        for name in fields:
            self.assertEqual(some.columns[name].tolist(), every.columns[name].tolist())
        self.assertEqual(some.times.tolist(), every.times.tolist())
        self.assertEqual(parts(some), parts(every))
        without = decode_rollup(chunk, WINDOW, frozenset(fields), parts=False)
        self.assertEqual(steps(without), steps(some))
        self.assertEqual(without.parts is not None, "lost" in fields)

    @given(gauges() | counters())
    def test_again(self, samples: Samples) -> None:
        """What was read, split into its parts and joined, is written as before."""
        chunk = encode_rollup(made(samples), 60, WINDOW)
        self.assertEqual(encode_rollup(joined(split(decode_rollup(chunk, WINDOW))), 60, WINDOW), chunk)

    def test_last_of_the_window(self) -> None:
        """The last moment of a window of 30 days can be told."""
        last = 30 * 86_400_000 - 1
        rollup = rolled(column(today([(0, 1.0), (last, 2.0)])), 3_600_000)
        found = decode_rollup(encode_rollup(rollup, 3600, WINDOW), WINDOW)
        self.assertEqual(steps(found), steps(rollup))
        self.assertEqual(found.columns["end"][-1], WINDOW * 1000 + last)


class SizeTests(SynchronousTestCase):
    def test_left_out(self) -> None:
        """What follows from the rest takes no bytes."""
        for samples, empty in (
            ([(STEP * i, float(i * i)) for i in range(50)], {"min", "last", "lost"}),  # a sample in each step
            ([(STEP * i // 2, float(i * i)) for i in range(50)], {"last", "lost"}),  # a counter
            ([(STEP * i // 2, float(-i * i)) for i in range(50)], {"lost"}),  # falls always
            ([(STEP * i // 5, float(i % 19)) for i in range(50)], set()),
        ):
            found = sizes(encode_rollup(made(samples), 60, WINDOW))
            self.assertEqual({name for name, size in found.items() if not size}, empty)

    def test_small(self) -> None:
        """A day of a counter at ten seconds takes less than 8 bytes a minute, one that stands still next to nothing."""
        day = range(0, 86_400_000, 10_000)
        for values, most in (
            ([float(1000 + 37 * i + i % 7) for i in range(len(day))], 8 * 1440),
            ([5.0] * len(day), 300),
        ):
            samples = today(list(zip(day, values, strict=True)))
            chunk = encode_rollup(rolled(column(samples), 60_000, part=3_600_000), 60, WINDOW)
            self.assertLess(len(chunk), most)

    def test_falls(self) -> None:
        """A series is taken for a counter as long as it falls in no more than one step for eight samples."""
        for falls, count, kept in (
            (1, 8, True),
            (1, 7, False),
            (2, 16, True),
            (2, 15, False),
            (9, 72, True),
            (9, 71, False),
        ):
            rollup = made(falling(falls, count), 0)
            self.assertEqual(np.count_nonzero(rollup.columns["lost"]), falls)
            found = decode_rollup(encode_rollup(rollup, 60, WINDOW), WINDOW)
            self.assertEqual(found.columns["lost"].any(), kept, (falls, count))
            for name in set(FIELDS) - {"lost"}:
                self.assertEqual(found.columns[name].tolist(), rollup.columns[name].tolist())

    def test_samples_count(self) -> None:
        """Samples count there, not steps: a step with a fall among many samples is one of a counter."""
        samples = [(STEP * i // 20, float(i % 20)) for i in range(60)]
        found = decode_rollup(encode_rollup(made(samples), 60, WINDOW), WINDOW)
        self.assertEqual(found.columns["lost"].tolist(), [0.0, 19.0, 19.0])

    def test_between_parts(self) -> None:
        """What a reset between parts took away is known also where the losses are not kept."""
        samples = [(0, 5.0), (STEP, 2.0), (PART, 1.0), (PART + STEP, 3.0)]
        found = decode_rollup(encode_rollup(made(samples), 60, WINDOW), WINDOW)
        self.assertFalse(found.columns["lost"].any())
        self.assertEqual(increases(found)[0].tolist(), [0.0, 2.0, 1.0, 2.0])


class RefusalTests(SynchronousTestCase):
    SAMPLES = [(STEP * i // 5, float(i % 19)) for i in range(50)]

    def assert_refused(self, chunk: bytes, *shown: str) -> None:
        with self.assertRaises(FormatError) as caught:
            decode_rollup(chunk, WINDOW)
        for part in shown:
            self.assertIn(part, str(caught.exception))

    def arrays(self) -> dict[str, bytes]:
        chunk = encode_rollup(made(self.SAMPLES), 60, WINDOW)
        return dict(zip(ARRAYS, arrays_in(chunk, 12, len(chunk), len(ARRAYS)), strict=True))

    @staticmethod
    def chunk(arrays: dict[str, bytes]) -> bytes:
        return block(AGGREGATES, struct.pack("<I", 60) + b"".join(map(with_length, arrays.values())))

    def test_layout(self) -> None:
        """A chunk is a block with the step and eleven arrays in their order, for it outlives the perfmon of today."""
        chunk = encode_rollup(made([(0, 5.0), (10, 7.0), (20, 3.0), (PART + 30, 4.0)]), 60, WINDOW)
        u32 = [
            ("times", [0, PART]),
            ("count", [3, 1]),
            ("end", [20, 30]),
            ("parts", [0, 1]),
            ("first_end", [0, 30]),
        ]
        f64 = [
            ("sum", [15.0, 4.0]),
            ("min", [3.0, 4.0]),
            ("max", [7.0, 4.0]),
            ("last", [3.0, 4.0]),
            ("first", [5.0, 4.0]),
        ]
        arrays = dict.fromkeys(ARRAYS, b"")
        arrays |= {name: pack(np.array(values, np.uint32)) for name, values in u32}
        arrays |= {name: pack(np.array(values)) for name, values in f64}
        self.assertEqual(chunk, self.chunk(arrays))  # the only loss is one of four samples
        self.assertEqual(chunk[:4], b"\1A\0\0")

    def test_every_cut(self) -> None:
        """A chunk cut off anywhere is refused, never read as less."""
        chunk = encode_rollup(made(self.SAMPLES), 60, WINDOW)
        for cut in range(len(chunk)):
            self.assert_refused(chunk[:cut])
        [(kind, start, end)] = blocks(chunk)
        body = chunk[start:end]
        for cut in range(len(body)):
            self.assert_refused(block(kind, body[:cut]), "not hold 11 arrays")
        for more in (b"\0", b"\0\0\0\0"):
            self.assert_refused(block(kind, body + more), "not hold 11 arrays")

    def test_blocks(self) -> None:
        """A chunk without aggregates, or with two of them, is refused."""
        chunk = encode_rollup(made(self.SAMPLES), 60, WINDOW)
        self.assert_refused(b"", "0 blocks")
        self.assert_refused(block(SAMPLES, b""), "0 blocks")
        self.assert_refused(chunk * 2, "2 blocks")

    def test_version(self) -> None:
        """A chunk of another version is refused, with both versions named and what to do about it."""
        chunk = encode_rollup(made(self.SAMPLES), 60, WINDOW)
        for version in (0, VERSION + 1, 255):
            self.assert_refused(bytes([version]) + chunk[1:], f"version {version}", f"version {VERSION}", "newer")

    def test_lengths(self) -> None:
        """Arrays that are longer or shorter than the others are refused."""
        arrays = self.arrays()
        for count in (9, 11):
            u32, f64 = pack(np.arange(count).astype(np.uint32)), pack(np.arange(count).astype(np.float64))
            for name in ("count", "sum", "min", "max", "last", "lost"):
                chunk = self.chunk({**arrays, name: u32 if name == "count" else f64})
                self.assert_refused(chunk, f"{count} values of {name} for 10 steps")

    def test_parts(self) -> None:
        """Parts that are nowhere, or none at all, are refused."""
        arrays = self.arrays()
        for places in ([], [10], [0, 10]):
            self.assert_refused(self.chunk({**arrays, "parts": pack(np.array(places, np.uint32))}), "parts do not fit")

    def test_misfits(self) -> None:
        """Ends, parts and first samples that do not fit the rest are refused."""
        arrays = self.arrays()
        two, three = pack(np.array([1, 2], np.uint32)), pack(np.array([1, 2, 3], np.uint32))
        for name, array in (
            ("end", three),
            ("parts", pack(np.array([10, 0], np.uint32))),
            ("parts", pack(np.array([1], np.uint32))),  # the first is 0
            ("first_end", two),
            ("first_end", three),
            ("first", pack(np.array([1.0, 2.0]))),
            ("sum", b""),
        ):
            with self.assertRaises(FormatError, msg=name):
                decode_rollup(self.chunk({**arrays, name: array}), WINDOW)

    def test_last_part(self) -> None:
        """A part begins at a step: one that begins behind the last is refused."""
        arrays = self.arrays()
        for place in (9, 10, 11):
            u32, f64 = pack(np.array([0, 0], np.uint32)), pack(np.array([1.0, 2.0]))
            chunk = self.chunk(
                {**arrays, "parts": pack(np.array([0, place], np.uint32)), "first": f64, "first_end": u32}
            )
            if place < 10:
                self.assertEqual(len(decode_rollup(chunk, WINDOW).known_parts.starts), 2)
            else:
                self.assert_refused(chunk, "parts do not fit")

    def test_missing(self) -> None:
        """Of the arrays only those that follow from others may be empty."""
        arrays = self.arrays()
        for name in set(ARRAYS) - {"sum", "min", "last", "lost"}:
            self.assert_refused(self.chunk({**arrays, name: b""}), "unknown")
        for name in ("min", "last"):
            found = decode_rollup(self.chunk({**arrays, name: b""}), WINDOW).columns
            self.assertEqual(found[name].tolist(), found["max"].tolist())
        self.assertFalse(decode_rollup(self.chunk({**arrays, "lost": b""}), WINDOW).columns["lost"].any())

    def test_type(self) -> None:
        """Values where whole numbers belong are refused, and the other way round."""
        arrays = self.arrays()
        values = [3, 9, 1, 4, 1, 5, 9, 2, 6, 5] * 10
        u32, f64 = pack(np.array(values, np.uint32)), pack(np.array(values, np.float64))
        for name in ARRAYS:
            other = u32 if name in ("sum", "min", "max", "last", "lost", "first") else f64
            self.assert_refused(self.chunk({**arrays, name: other}), "float64", "uint32")
