"""Tests for `perfmon.core.head_reader`: frames that are read together."""

from math import nan

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core import head_reader
from perfmon.core.frames import (
    FormatError,
)
from perfmon.core.head_reader import read_head, read_tables
from tests.core.head_frames import (
    METRICS,
    WHERE,
    WINDOW,
    Frame,
    Names,
    Rows,
    Samples,
    absent_or_values,
    as_series,
    encoded,
    head_of,
    logs,
    meant,
)


@st.composite
def runs(draw: st.DrawFn) -> list[Frame]:
    """Heads as agents write them: many frames of rows alike, of a few kinds, with something else now and then."""
    names: list[Frame] = [Names(writer, 0, list(METRICS[:4])) for writer in (1, 2)]
    kinds = st.sampled_from([(1, 0, 4, 1), (1, 0, 2, 1), (1, 2, 2, 1), (1, 0, 4, 2), (2, 0, 4, 1), (2, 1, 1, 3)])
    found = []
    offset = 0
    for writer, first, columns, rounds in draw(st.lists(kinds, max_size=4)):
        for _ in range(draw(st.integers(1, 4))):
            table = []
            for _ in range(rounds):
                offset += draw(st.integers(0, 9))
                table.append((offset, [draw(absent_or_values) for _ in range(columns)]))
            found.append(Rows(writer, first, columns, table))
    others: list[Frame] = [Samples(1, [(0, 5, 1.0)]), Samples(2, [(1, 1, 2.0), (1, 1, 3.0)])]
    frames: list[Frame] = [*names, *found]
    for frame in draw(st.lists(st.sampled_from(others), max_size=2)):
        frames.insert(draw(st.integers(0, len(frames))), frame)
    return frames


class RunsTests(SynchronousTestCase):
    @given(runs())
    def test_any(self, frames: list[Frame]) -> None:
        """However frames alike follow each other, what is read is what was written."""
        self.assertEqual(as_series(read_head(head_of(frames), WINDOW, WHERE)), meant(frames))

    @given(runs() | logs())
    def test_tables(self, frames: list[Frame]) -> None:
        """Each metric is in one table, whose times ascend and in which nothing is absent."""
        seen: list[str] = []
        for table in filter(None, read_tables(head_of(frames), WINDOW, WHERE)):
            self.assertEqual(table.values.shape, (len(table.metrics), len(table.times)))
            self.assertEqual((table.times.dtype, table.values.dtype), (np.int64, np.float64))
            self.assertTrue(len(table.times) > 0 and (table.times[1:] > table.times[:-1]).all())
            self.assertFalse(np.isnan(table.values).any())
            seen += table.metrics
        self.assertEqual(sorted(seen), sorted(meant(frames)))

    @given(runs() | logs(), st.sampled_from([1, 16, 33, 100]), st.sampled_from([1, 2, 3, 10]))
    def test_portions(self, frames: list[Frame], portion: int, most: int) -> None:
        """However much is read in one piece of work, it is the same."""
        self.patch(head_reader, "_PORTION", portion)
        self.patch(head_reader, "_VALUES", most)
        self.assertEqual(as_series(read_head(head_of(frames), WINDOW, WHERE)), meant(frames))

    def test_turns(self) -> None:
        """Between portions of a large head there are rests."""
        frames: list[Frame] = [Names(1, 0, ["a"]), *(Samples(1, [(0, 10 * i, 1.0)] * 10) for i in range(20))]
        for portion, rests in ((160, 20), (320, 10), (10_000, 1)):
            self.patch(head_reader, "_PORTION", portion)
            found = list(read_tables(head_of(frames), WINDOW, WHERE))
            self.assertGreaterEqual(found.count(None), rests)
            self.assertLess(found.count(None), rests + 3)

    def test_turns_of_rows(self) -> None:
        """A table of many values is made bit by bit, with rests."""
        names = [f"m{column}" for column in range(100)]
        frames: list[Frame] = [Names(1, 0, names), *(Rows(1, 0, 100, [(at, [1.0] * 100)]) for at in range(10))]
        for most, tables in ((1000, 1), (999, 2), (250, 4), (10, 100), (1, 100)):
            self.patch(head_reader, "_VALUES", most)
            found = list(read_tables(head_of(frames), WINDOW, WHERE))
            self.assertEqual(sum(each is not None for each in found), tables)
            self.assertGreaterEqual(found.count(None), tables - 1)
            self.assertEqual([metric for each in found if each is not None for metric in each.metrics], names)

    def test_one_table(self) -> None:
        """What an agent sent in an hour is one table; a metric that was absent at times has its own, smaller one."""
        table = [[float(column if at % 7 or column != 2 else nan) for column in range(4)] for at in range(360)]
        frames: list[Frame] = [
            Names(1, 0, list(METRICS[:4])),
            *(Rows(1, 0, 4, [(at, row)]) for at, row in enumerate(table)),
        ]
        found = [each for each in read_tables(head_of(frames), WINDOW, WHERE) if each is not None]
        self.assertEqual(
            sorted((len(each.times), list(each.metrics)) for each in found),
            [(308, [METRICS[2]]), (360, [METRICS[0], METRICS[1], METRICS[3]])],
        )

    def test_alternating(self) -> None:
        """Rows of two schemas in turn, and of a third now and then, belong to theirs."""
        frames: list[Frame] = [Names(1, 0, list(METRICS[:4]))]
        for at in range(100):
            frames.append(Rows(1, 0, 2, [(at, [float(at), nan if at % 3 else 1.0])]))
            frames.append(Rows(1, 2, 2, [(at, [float(-at), 2.0])]))
            if at % 10 == 0:
                frames.append(Rows(1, 0, 4, [(1000 + at, [1.0, 2.0, 3.0, 4.0])]))
        self.assertEqual(as_series(read_head(head_of(frames), WINDOW, WHERE)), meant(frames))

    def test_every_cut_of_a_run(self) -> None:
        """A run of frames alike that is cut off between two is read as far as it goes; elsewhere it is refused."""
        frames: list[Frame] = [Names(1, 0, ["a", "b"]), *(Rows(1, 0, 2, [(at, [1.0, 2.0])]) for at in range(5))]
        head, names = head_of(frames), len(encoded(frames[0]))
        size = (len(head) - names) // 5
        for cut in range(names, len(head)):
            count, rest = divmod(cut - names, size)
            if rest:
                with self.assertRaises(FormatError) as caught:
                    read_head(head[:cut], WINDOW, WHERE)
                self.assertIn(f"byte {names + count * size}", str(caught.exception))
            else:
                self.assertEqual(as_series(read_head(head[:cut], WINDOW, WHERE)), meant(frames[: 1 + count]))
