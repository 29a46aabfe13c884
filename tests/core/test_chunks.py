"""Tests for `perfmon.core.chunks`."""

import struct
from collections.abc import Mapping
from itertools import accumulate, pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.arrays import pack, pack_plain
from perfmon.core.chunks import (
    AGGREGATES,
    SAMPLES,
    SAMPLES_BY_ID,
    TAGGED_FIELD,
    TIMES,
    TIMES_FIELD,
    VERSION,
    Joiner,
    Sealer,
    Times,
    array_in,
    block,
    blocks,
    read_samples,
    tagged_field,
    with_length,
)
from perfmon.core.columns import Column
from perfmon.core.frames import FormatError
from perfmon.core.head_reader import Table
from tests.core.models import Samples, added, column, done, driven, pairs

WINDOW = 1_792_310_400

Fields = Mapping[str, bytes]
Window = dict[str, Samples]

METRICS = ("a", "b", "c.d", "c.d;tag=1", "c.d;tag=2;x=y", "ü", "name with = signs")

IRREGULAR = [WINDOW * 1000 + time for time in (0, 9, 37, 41, 300, 301, 350, 3_599_999, 70, 71, 75, 99)]
IRREGULAR.sort()


def two_of(times: list[int]) -> Samples:
    return [(time, 2.0) for time in times]


def sealed(window: Window, compressed: bool = True) -> dict[str, bytes]:
    sealer = Sealer(WINDOW)
    if compressed:
        for metric, samples in window.items():
            sealer.add(metric, column(samples))
        return done(sealer.work())
    tables: dict[tuple[int, ...], list[str]] = {}  # what has the same times is one
    for metric, samples in window.items():
        tables.setdefault(tuple(time for time, _ in samples), []).append(metric)
    for times, metrics in tables.items():
        values = np.array([[value for _, value in window[metric]] for metric in metrics])
        sealer.add_plain(Table(metrics, np.array(times, np.int64), values))
    return done(sealer.work())


def read(fields: Fields) -> dict[str, Column]:
    """The metrics of a window."""
    times, joiner = Times(WINDOW, fields.get(TIMES_FIELD, b"")), Joiner()
    found = {}
    for name, chunk in fields.items():
        if not name.startswith(";"):
            parts = read_samples(chunk)
            found[name] = joiner.join([times.of(part) for part in parts], [part.values for part in parts])
    return found


def body_of(chunk: bytes) -> tuple[int, bytes]:
    """Kind and body of the only block of a chunk."""
    [(kind, start, end)] = blocks(chunk)
    return kind, chunk[start:end]


def as_window(found: Mapping[str, Column]) -> dict[str, list[tuple[float, float]]]:
    return {name: pairs(one) for name, one in found.items()}


def shared_times(fields: Fields) -> list[bytes]:
    """The ids of the times that stand by themselves."""
    field = fields.get(TIMES_FIELD, b"")
    return [field[start : start + 8] for _, start, _ in blocks(field)]


@st.composite
def windows(draw: st.DrawFn) -> Window:
    """Metrics of which some are sampled together, at moments of any kind."""
    offsets = st.integers(0, 3_599_999) | st.integers(0, 50)
    moments = st.sets(offsets, min_size=1, max_size=40).map(sorted)
    together = draw(st.lists(moments, min_size=1, max_size=2))
    found = {}
    for metric in draw(st.sets(st.sampled_from(METRICS))):
        times = draw(st.sampled_from(together) | moments)
        values = st.floats(allow_nan=False) | st.integers(0, 3).map(float)
        found[metric] = [(WINDOW * 1000 + time, draw(values)) for time in times]
    return found


class SealerTests(SynchronousTestCase):
    @given(windows(), st.booleans())
    def test_round_trip(self, window: Window, compressed: bool) -> None:
        """What is read is what was sealed: one column for each metric, to the bit."""
        found = read(sealed(window, compressed))
        self.assertEqual(found.keys(), window.keys())
        for name, one in found.items():
            self.assertEqual(one.times.tolist(), [time for time, _ in window[name]])
            self.assertEqual(one.values.tobytes(), column(window[name]).values.tobytes())
            self.assertEqual((one.times.dtype, one.values.dtype), (np.int64, np.float64))

    @given(st.lists(st.tuples(windows(), st.booleans()), max_size=4))
    def test_added(self, parts: list[tuple[Window, bool]]) -> None:
        """Fields added to others are read in the order of writing: of a repeated time the last one wins."""
        fields: Fields = {}
        model: dict[str, dict[int, float]] = {}
        for window, compressed in parts:
            fields = added(fields, sealed(window, compressed))
            for metric, samples in window.items():
                model.setdefault(metric, {}).update(samples)
        self.assertEqual(
            as_window(read(fields)), {metric: sorted(samples.items()) for metric, samples in model.items()}
        )

    @given(windows(), st.sets(st.integers(0, 3_599_999), max_size=3), st.booleans())
    def test_staged(self, window: Window, cuts: set[int], compressed: bool) -> None:
        """A window sealed in parts that follow each other, as an open one is, reads as if it was sealed at once."""
        edges = [WINDOW * 1000 + cut for cut in (0, *sorted(cuts), 3_600_000)]
        fields: Fields = {}
        for low, high in pairwise(edges):
            part = {
                metric: [sample for sample in samples if low <= sample[0] < high] for metric, samples in window.items()
            }
            fields = added(fields, sealed({name: samples for name, samples in part.items() if samples}, compressed))
        self.assertEqual(as_window(read(fields)), as_window(read(sealed(window))))

    def test_repeated_times(self) -> None:
        """What was decoded of one metric serves for others, also where their blocks differ in order or number."""
        early, late = IRREGULAR[:6], IRREGULAR[6:]
        one, two = ({"a": [(time, 1.0) for time in times], "b": two_of(times)} for times in (early, late))
        fields = added(sealed(one), sealed(two))
        fields["c"] = sealed(two)["a"] + sealed(one)["a"]
        fields["d"] = sealed(one)["b"]
        fields["e"] = sealed(one)["a"] + sealed(one)["b"]
        whole = [(time, 1.0) for time in IRREGULAR]
        found = as_window(read(fields))
        self.assertEqual((found["a"], found["b"]), (whole, [(time, 2.0) for time in IRREGULAR]))
        self.assertEqual((found["c"], found["d"], found["e"]), (whole, two_of(early), two_of(early)))

    @given(st.lists(st.integers(0, 2), max_size=6))
    def test_same_array(self, order: list[int]) -> None:
        """Columns that have their times in common, as one array, are sealed like those that do not."""
        moments = [column([(time + 7 * at, 0.0) for time in IRREGULAR]).times for at in range(3)]
        sealer, apart = Sealer(WINDOW), Sealer(WINDOW)
        for at, which in enumerate(order):
            values = np.full(len(IRREGULAR), float(at))
            sealer.add(f"m{at}", Column(moments[which], values))
            apart.add(f"m{at}", Column(moments[which].copy(), values))
        self.assertEqual(done(sealer.work()), done(apart.work()))
        for at, which in enumerate(order):
            self.assertEqual(read(done(sealer.work()))[f"m{at}"].times.tolist(), moments[which].tolist())

    def test_turns(self) -> None:
        """Making the fields of many metrics has rests, and leaves none out."""
        sealer = Sealer(WINDOW)
        for at in range(5000):
            sealer.add(f"m{at}", column([(WINDOW * 1000 + at, 1.0)]))
        fields, steps = driven(sealer.work())
        self.assertGreaterEqual(steps, 5)
        self.assertEqual(len(fields), 5000)

    def test_nothing(self) -> None:
        """Of nothing comes no field; a chunk of nothing was never written, and is told."""
        self.assertEqual(done(Sealer(WINDOW).work()), {})
        self.assertEqual(list(blocks(b"")), [])
        with self.assertRaisesRegex(FormatError, "without a block"):
            read_samples(b"")

    def test_shared(self) -> None:
        """Times stand by themselves where several metrics have them, and they are not regular."""
        every = [WINDOW * 1000 + time for time in range(0, 3_600_000, 10_000)]
        for moments, shared in (
            ([every], 0),
            ([every, every], 0),
            ([IRREGULAR], 0),
            ([IRREGULAR, IRREGULAR], 1),
            ([IRREGULAR, every, IRREGULAR, every], 1),
            ([IRREGULAR, IRREGULAR[:-1]], 0),
            ([IRREGULAR[1:], IRREGULAR[:-1], IRREGULAR[1:], IRREGULAR[:-1], IRREGULAR], 2),
            ([IRREGULAR[:2], IRREGULAR[:2]], 0),
        ):
            window = {f"m{at}": [(time, float(at)) for time in times] for at, times in enumerate(moments)}
            for compressed in (True, False):
                fields = sealed(window, compressed)
                self.assertEqual(len(shared_times(fields)), shared)
                self.assertEqual(TIMES_FIELD in fields, bool(shared))
                for at, times in enumerate(moments):
                    kind, _ = body_of(fields[f"m{at}"])
                    twice = times != every and moments.count(times) > 1 and bool(shared)
                    self.assertEqual(kind, SAMPLES_BY_ID if twice else SAMPLES)
                self.assertEqual(as_window(read(fields)), window)

    def test_shared_is_small(self) -> None:
        """A hundred metrics at the same irregular moments pay for these once."""
        together = {f"m{at}": [(time, 1.0) for time in IRREGULAR] for at in range(100)}
        self.assertLess(sum(map(len, sealed(together).values())), 100 * 45 + 200)

    def test_compressed(self) -> None:
        """Not compressed, values stand as they are."""
        samples = [(WINDOW * 1000 + 10 * i, float(i)) for i in range(50)]
        plain, packed = (sealed({"a": samples}, compressed)["a"] for compressed in (False, True))
        self.assertIn(column(samples).values.tobytes(), plain)
        self.assertLess(len(packed), len(plain))

    def test_layout(self) -> None:
        """The bytes of a block, for it outlives the perfmon that wrote it."""
        samples = [(WINDOW * 1000 + 1, 1.0), (WINDOW * 1000 + 3, 1.0)]
        times, values = pack(np.array([1, 3], np.uint32)), pack(np.array([1.0, 1.0]))
        self.assertEqual((len(times), len(values)), (13, 13))
        self.assertEqual(
            sealed({"a": samples})["a"],
            b"\1S\0\0" + b"\x22\0\0\0" + b"\x0d\0\0\0" + times + b"\x0d\0\0\0" + values,
        )
        fields = sealed({"a": [(time, 1.0) for time in IRREGULAR], "b": [(time, 1.0) for time in IRREGULAR]})
        offsets = pack(np.array([time - WINDOW * 1000 for time in IRREGULAR], np.uint32))
        [number] = shared_times(fields)
        length = struct.pack("<I", len(offsets))
        size = struct.pack("<I", 8 + 4 + len(offsets))
        self.assertEqual(fields[TIMES_FIELD], b"\1T\0\0" + size + number + length + offsets)
        self.assertEqual(fields["a"], b"\1I\0\0" + b"\x19\0\0\0" + number + b"\x0d\0\0\0" + pack(np.ones(12)))

    def test_id(self) -> None:
        """Times have the same id whoever seals them, so that those of several parts can stand in one field."""
        window = {"a": [(time, 1.0) for time in IRREGULAR], "b": [(time, 2.0) for time in IRREGULAR]}
        fields = added(sealed(window), sealed(window, compressed=False))
        self.assertEqual(len(set(shared_times(fields))), 1)


class TaggedTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The field has the names of metrics with tags, each between two ends of a line."""
        for metrics, field in (
            ([], None),
            (["a", "b.c"], None),
            (["a;k=1"], b"\na\n"),
            (["b;k=2", "a", "b", "a.b;k=1;l=2", "b;k=1"], b"\na.b\nb\n"),
            (["ü;k=1"], "\nü\n".encode()),
        ):
            self.assertEqual(tagged_field(metrics), {} if field is None else {TAGGED_FIELD: field})
            self.assertEqual(sealed({name: [(WINDOW * 1000, 1.0)] for name in metrics}).get(TAGGED_FIELD), field)

    @given(st.lists(st.sets(st.sampled_from(METRICS)), min_size=1, max_size=3))
    def test_added(self, parts: list[set[str]]) -> None:
        """Fields that were added to each other say the same: a name stands between two ends of a line, or nowhere."""
        field = b"".join(tagged_field(part).get(TAGGED_FIELD, b"") for part in parts)
        tagged = {metric.partition(";")[0] for part in parts for metric in part if ";" in metric}
        for name in (*METRICS, "c", ".d", "x=y", "tag=1"):
            self.assertEqual(f"\n{name}\n".encode() in field, name in tagged, name)


class RefusalTests(SynchronousTestCase):
    WINDOW = {
        "a": [(time, float(time % 7)) for time in IRREGULAR],
        "b": [(time, 5.0) for time in IRREGULAR],
        "c": [(WINDOW * 1000 + 10 * i, i * 0.37) for i in range(20)],
        "d": [(WINDOW * 1000, 1.0)],
    }

    def assert_refused(self, fields: Fields, *shown: str) -> None:
        with self.assertRaises(FormatError) as caught:
            read(fields)
        for part in shown:
            self.assertIn(part, str(caught.exception))

    def test_every_cut(self) -> None:
        """A chunk or the times, cut off anywhere, are refused: never anything else, never silently less."""
        for compressed in (True, False):
            fields = sealed(self.WINDOW, compressed)
            for name, field in fields.items():
                for cut in range(1, len(field)):
                    self.assert_refused({**fields, name: field[:cut]}, "cut off")

    def test_every_cut_of_several(self) -> None:
        """Of a chunk cut off at the end of a block there are those before; cut anywhere else it is refused."""
        several = [[(WINDOW * 1000 + 100 * part + i, i * 0.37) for i in range(20)] for part in range(3)]
        parts = [sealed({"c": samples}, compressed=part != 1)["c"] for part, samples in enumerate(several)]
        chunk = b"".join(parts)
        borders = dict(zip(accumulate(map(len, parts)), (1, 2, 3), strict=True))
        for cut in range(1, len(chunk) + 1):
            if cut in borders:
                found = read({"c": chunk[:cut]})["c"]
                self.assertEqual(pairs(found), [sample for part in several[: borders[cut]] for sample in part])
            else:
                self.assert_refused({"c": chunk[:cut]}, "cut off")

    def test_every_cut_of_a_body(self) -> None:
        """A block whose body is too short or too long for what it says, by itself, is refused as well."""
        for compressed in (True, False):
            fields = sealed(self.WINDOW, compressed)
            for name, field in fields.items():
                kind, body = body_of(field)
                for cut in range(len(body)):
                    self.assert_refused({**fields, name: block(kind, body[:cut])}, "not hold")
                for more in (b"\0", b"\0\0\0\0", b"\1\0\0\0.", with_length(pack(np.ones(12)))):
                    self.assert_refused({**fields, name: block(kind, body + more)}, "not hold")

    def test_no_times(self) -> None:
        """Values whose times are gone are refused."""
        fields = sealed(self.WINDOW)
        del fields[TIMES_FIELD]
        self.assert_refused(fields, f"not in {TIMES_FIELD}")
        others = sealed({"x": [(time + 1, 1.0) for time in IRREGULAR[:-1]], "y": [(time, 1.0) for time in IRREGULAR]})
        self.assert_refused({**fields, **{name: others[name] for name in others if name == TIMES_FIELD}}, "its times")

    def test_lengths(self) -> None:
        """More or fewer values than times are refused."""
        times = pack(np.array([1, 2, 4], np.uint32))
        for count in (0, 1, 2, 4):
            values = pack_plain(np.arange(count).astype(np.float64))
            chunk = block(SAMPLES, with_length(times) + with_length(values))
            self.assert_refused({"a": chunk}, f"{count} values for 3 times")

    def test_version(self) -> None:
        """A block of another version is refused, with both versions named and what to do about it."""
        chunk = sealed(self.WINDOW)["c"]
        for version in (0, VERSION + 1, 255):
            newer = bytes([version]) + chunk[1:]
            self.assert_refused({"c": newer}, f"version {version} at byte 0", f"{VERSION}", "newer")
            self.assert_refused({"c": chunk + newer}, f"version {version} at byte {len(chunk)}")
            self.assert_refused({TIMES_FIELD: newer}, f"version {version} at byte 0")

    def test_place(self) -> None:
        """A refusal says at which byte the trouble begins."""
        chunk = sealed(self.WINDOW)["c"]
        self.assert_refused({"c": chunk + b"\1"}, f"header of a block at byte {len(chunk)}")
        self.assert_refused({"c": chunk + chunk[:-1]}, f"block at byte {len(chunk)}")

    def test_kind(self) -> None:
        """A block of a kind that does not belong there is refused."""
        fields = sealed(self.WINDOW)
        for name, good in (("c", (SAMPLES, SAMPLES_BY_ID)), (TIMES_FIELD, (TIMES,))):
            _, body = body_of(fields[name])
            for kind in (SAMPLES, SAMPLES_BY_ID, TIMES, AGGREGATES, 0, ord("s"), 255):
                if kind not in good:
                    self.assert_refused({**fields, name: block(kind, body)}, f"kind {kind}")

    def test_array(self) -> None:
        """An array that cannot be read is refused."""
        for data, shown in ((b"", "unknown"), (b"X123", "unknown"), (b"Z", ""), (pack(np.array([1, 2, 9, 4] * 5)), "")):
            with self.assertRaises(FormatError) as caught:
                array_in(data, np.uint32)
            self.assertIn(shown, str(caught.exception))

    def test_array_cut_off(self) -> None:
        """A plain array with a part of a value, in a block that is there in full, is refused."""
        times = with_length(pack(np.array([1], np.uint32)))
        self.assert_refused({"a": block(SAMPLES, times + with_length(b"P123"))})

    @given(st.binary(max_size=60))
    def test_any_bytes(self, data: bytes) -> None:
        """No bytes fail with anything but `FormatError`."""
        for field in (data or b"\0", b"\1S" + data, b"\1T" + data, b"\1I" + data):
            for fields in ({"a": field}, {TIMES_FIELD: field}):
                try:
                    read(fields)
                except FormatError:
                    continue
