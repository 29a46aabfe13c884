"""Tests for `perfmon.core.head_reader`."""

import struct
from itertools import accumulate
from math import inf, nan

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.frames import (
    RECORD,
    VERSION,
    FormatError,
    head_frame,
    names_frame,
    rows_frame,
    samples_frame,
)
from perfmon.core.head_reader import read_head
from tests.core.head_frames import (
    LOG,
    METRICS,
    WHERE,
    WINDOW,
    Frame,
    Names,
    Rows,
    Samples,
    as_series,
    encoded,
    head_of,
    logs,
    meant,
)


class ReadHeadTests(SynchronousTestCase):
    def test_known(self) -> None:
        """Two writers' frames are read together: of a repeated sample the last wins, NaN is absent."""
        found = as_series(read_head(head_of(LOG), WINDOW, WHERE))
        self.assertEqual(
            found,
            {
                "a": {7_201_000: 1.0, 7_202_000: 3.0, 7_203_000: 4.0},
                "b": {7_201_000: 8.0, 7_203_000: 5.0},
                "c": {7_202_000: 6.0},
                "d": {7_200_000: 7.0},
            },
        )

    def test_empty(self) -> None:
        """An empty head has no series, and neither has one of names alone."""
        self.assertEqual(read_head(b"", WINDOW, WHERE), {})
        self.assertEqual(read_head(names_frame(1, 0, ["a"]), WINDOW, WHERE), {})

    def test_types(self) -> None:
        """Columns are int64 milliseconds and float64 values."""
        for column in read_head(head_of(LOG), WINDOW, WHERE).values():
            self.assertEqual((column.times.dtype, column.values.dtype), (np.int64, np.float64))

    @given(logs())
    def test_round_trip(self, frames: list[Frame]) -> None:
        """What is read is what was written, whoever wrote it, in whatever frames."""
        self.assertEqual(as_series(read_head(head_of(frames), WINDOW, WHERE)), meant(frames))

    @settings(max_examples=30)
    @given(logs(), st.sets(st.sampled_from(METRICS)))
    def test_wanted(self, frames: list[Frame], wanted: set[str]) -> None:
        """A filter takes series away and changes none."""
        found = as_series(read_head(head_of(frames), WINDOW, WHERE, wanted.__contains__))
        self.assertEqual(found, {name: samples for name, samples in meant(frames).items() if name in wanted})

    @settings(max_examples=30)
    @given(logs())
    def test_twice(self, frames: list[Frame]) -> None:
        """A head that was stored twice over means the same."""
        self.assertEqual(as_series(read_head(head_of([*frames, *frames]), WINDOW, WHERE)), meant(frames))

    def test_numbers_belong_to_their_writer(self) -> None:
        """One number of two writers is two metrics."""
        frames: list[Frame] = [
            Names(1, 0, ["a"]),
            Names(2, 0, ["b"]),
            Samples(1, [(0, 0, 1.0)]),
            Samples(2, [(0, 0, 2.0)]),
        ]
        self.assertEqual(as_series(read_head(head_of(frames), 0, WHERE)), {"a": {0: 1.0}, "b": {0: 2.0}})

    def test_names_in_any_order(self) -> None:
        """Names belong to their numbers, in whatever order they were declared."""
        frames: list[Frame] = [Names(1, 1, ["b"]), Names(1, 0, ["a"]), Rows(1, 0, 2, [(0, [1.0, 2.0])])]
        self.assertEqual(as_series(read_head(head_of(frames), 0, WHERE)), {"a": {0: 1.0}, "b": {0: 2.0}})

    def test_absent_does_not_win(self) -> None:
        """A value is not overwritten by a later absence, and infinity is a value."""
        frames: list[Frame] = [Names(1, 0, ["a"]), Rows(1, 0, 1, [(5, [inf]), (6, [nan]), (5, [nan])])]
        self.assertEqual(as_series(read_head(head_of(frames), 0, WHERE)), {"a": {5: inf}})


class RefusalTests(SynchronousTestCase):
    def assert_refused(self, head: bytes, *shown: str) -> None:
        with self.assertRaises(FormatError) as caught:
            read_head(head, WINDOW, WHERE)
        for part in (WHERE, *shown):
            self.assertIn(part, str(caught.exception))

    def test_every_cut(self) -> None:
        """A head cut between frames is read as far as it goes; one cut anywhere else is refused, with its name."""
        head = head_of(LOG)
        borders = dict(zip(accumulate(len(encoded(frame)) for frame in LOG), range(1, len(LOG) + 1), strict=True))
        for cut in range(1, len(head) + 1):
            if cut in borders:
                self.assertEqual(as_series(read_head(head[:cut], WINDOW, WHERE)), meant(LOG[: borders[cut]]))
            else:
                self.assert_refused(head[:cut], "cut off")

    @settings(max_examples=30)
    @given(logs(), st.data())
    def test_any_cut(self, frames: list[Frame], data: st.DataObject) -> None:
        """A cut inside a frame is always refused, whatever stands before it."""
        head = head_of(frames)
        borders = {0, *accumulate(len(encoded(frame)) for frame in frames)}
        cut = data.draw(st.integers(1, len(head) - 1).filter(lambda cut: cut not in borders))
        self.assert_refused(head[:cut], "cut off")

    def test_place(self) -> None:
        """A refusal says at which byte the trouble begins."""
        first = names_frame(1, 0, ["a"])
        self.assert_refused(first + b"N", f"header at byte {len(first)}")
        self.assert_refused(first + names_frame(1, 1, ["b"])[:-1], f"frame at byte {len(first)}")

    def test_version(self) -> None:
        """A frame of another version is refused with both versions named."""
        head = bytearray(names_frame(1, 0, ["a"]) * 2)
        for version in (0, VERSION + 1, 255):
            head[len(head) // 2 + 1] = version
            self.assert_refused(bytes(head), f"version {version} at byte {len(head) // 2}", f"reads version {VERSION}")

    def test_kind(self) -> None:
        """A frame of an unknown kind is refused."""
        for kind in (0, ord("n"), ord("X"), 255):
            frame = bytearray(samples_frame(1, np.array([(0, 0, 1.0)], RECORD).tobytes()))
            frame[0] = kind
            self.assert_refused(names_frame(1, 0, ["a"]) + bytes(frame), f"kind {kind}")

    def test_no_rounds(self) -> None:
        """A rows frame without a round is refused: any number of columns would fit it."""
        for columns in (1, 2**32 - 1):
            self.assert_refused(rows_frame(1, 0, columns, [], b""), "kind 82 and 8 bytes")

    def test_undeclared(self) -> None:
        """Samples of a number that nobody declared are skipped, and no others: their append was never confirmed."""
        logs: list[tuple[list[Frame], dict[str, float]]] = [
            ([Samples(0xAB, [(1, 0, 1.0)])], {}),
            ([Names(0xAB, 0, ["a"]), Samples(0xAB, [(1, 0, 1.0), (0, 0, 2.0)])], {"a": 2.0}),
            ([Names(0xAC, 0, ["a", "b"]), Samples(0xAB, [(1, 0, 1.0)])], {}),
            ([Names(0xAB, 0, ["a"]), Rows(0xAB, 0, 2, [(0, [1.0, 2.0])])], {"a": 1.0}),
            ([Names(0xAB, 2, ["a"]), Rows(0xAB, 1, 2, [(0, [1.0, 2.0])])], {"a": 2.0}),
        ]
        for frames, expected in logs:
            found = read_head(head_of(frames), 0, "x")
            self.assertEqual(
                {name: column.values.tolist() for name, column in found.items()},
                {name: [value] for name, value in expected.items()},
            )

    def test_head_frame(self) -> None:
        """The head frame that a head begins with says nothing of its samples."""
        frames: list[Frame] = [Names(1, 0, ["a"]), Samples(1, [(0, 0, 1.0)])]
        head = head_frame(b"identity") + head_of(frames)
        self.assertEqual(head[12:20], b"identity")
        self.assertEqual(read_head(head, 0, "x")["a"].values.tolist(), [1.0])

    def test_lengths(self) -> None:
        """A body whose length does not fit its kind is refused."""
        names = names_frame(1, 0, ["a"])
        record = np.array([(0, 0, 1.0)], RECORD).tobytes()
        for frame in (
            samples_frame(1, b""),
            samples_frame(1, record[:-1]),
            samples_frame(1, record + b"\0"),
            rows_frame(1, 0, 0, [], b""),
            rows_frame(1, 0, 0, [1], b""),
            rows_frame(1, 0, 1, [1], b""),
            rows_frame(1, 0, 1, [1], b"\0" * 9),
            rows_frame(1, 0, 1, [1, 2], b"\0" * 8),
        ):
            self.assert_refused(names + frame, "makes no sense")

    def test_names(self) -> None:
        """A names frame without its number, or that is not UTF-8, is refused."""
        header = struct.Struct("<BBHII")
        for body in (b"", b"\0\0\0", b"\0\0\0\0\xff", b"\0\0\0\0a\n\xc3"):
            self.assert_refused(header.pack(ord("N"), VERSION, 0, 1, len(body)) + body, "names frame")

    @given(st.binary(max_size=60))
    @example(b"R\x01\0\0" + b"\0\0\0\0" + b"\x08\0\0\0" + b"\0\0\0\0\xff\xff\xff\xff")
    def test_any_bytes(self, head: bytes) -> None:
        """No bytes fail with anything but `FormatError`."""
        try:
            read_head(head, WINDOW, WHERE)
        except FormatError as problem:
            self.assertIn(WHERE, str(problem))

    @settings(max_examples=30)
    @given(logs(), st.data())
    def test_any_damage(self, frames: list[Frame], data: st.DataObject) -> None:
        """A head with a few bytes changed is read, or refused with `FormatError`."""
        head = bytearray(head_of(frames))
        for place, byte in data.draw(
            st.lists(st.tuples(st.integers(0, len(head) - 1), st.integers(0, 255)), max_size=3)
        ):
            head[place] = byte
        try:
            as_series(read_head(bytes(head), WINDOW, WHERE))
        except FormatError as problem:
            self.assertIn(WHERE, str(problem))
