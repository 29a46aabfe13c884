"""Tests for `perfmon.core.rollups`: aggregates against those made one by one (as bytes: `test_rollup_format`)."""

from itertools import accumulate, pairwise
from math import fsum

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.columns import Column
from perfmon.core.rollups import FIELDS, Roller, Rollup, increases, joined, last_step, regrouped, rolled, split
from tests.core.models import (
    Samples,
    column,
    counters,
    gauges,
    parts,
    parts_one_by_one,
    rises,
    rolled_one_by_one,
    steps,
)

# ms: a step, steps of it, and the windows of a finer tier, which are parts of a coarser one
STEP, LONGER, PART = 100, 600, 1800

lists = gauges() | counters()

# a loss between parts is seen by what was last before it
field_sets = st.sets(st.sampled_from(FIELDS)).filter(lambda fields: "lost" not in fields or "last" in fields)

# of numbers that are not whole, sums differ with the order they are made in
reals = st.dictionaries(st.integers(0, 20_000), st.floats(0.001, 1e9), min_size=1, max_size=40).map(
    lambda samples: sorted(samples.items())
)

# A reset within a step, between steps, between parts, several in a row, to the same as before, of the very first.
RESETS: list[Samples] = [
    [(0, 5.0), (10, 9.0), (20, 3.0), (150, 7.0)],
    [(0, 5.0), (10, 9.0), (150, 3.0), (160, 7.0)],
    [(0, 5.0), (1790, 9.0), (1800, 3.0), (1810, 7.0)],
    [(0, 5.0), (1799, 9.0), (1801, 9.0), (3600, 0.0), (5400, 0.0), (7200, 4.0)],
    [(0, 9.0), (1800, 8.0), (3600, 7.0), (5400, 6.0)],
    [(0, 9.0), (1, 8.0), (2, 7.0), (3, 6.0), (100, 5.0), (600, 4.0)],
    [(1799, 3.0), (1800, 2.0)],
]


def assert_same(case: SynchronousTestCase, found: Rollup, expected: Rollup) -> None:
    case.assertEqual(steps(found), steps(expected))
    case.assertEqual(parts(found), parts(expected))


class RolledTests(SynchronousTestCase):
    def test_known(self) -> None:
        """What a step has: how many samples, their sum and bounds, the last with its time, and what a reset took."""
        found = rolled(column([(5, 4.0), (50, 6.0), (60, 1.0), (300, 1.0), (310, 0.0), (399, 2.0)]), 100)
        self.assertEqual(
            steps(found),
            {
                0: {"count": 3, "sum": 11, "min": 1, "max": 6, "last": 1, "end": 60, "lost": 6},
                300: {"count": 3, "sum": 3, "min": 0, "max": 2, "last": 2, "end": 399, "lost": 1},
            },
        )
        self.assertEqual(parts(found), [(0, 5, 4.0)])
        self.assertEqual(len(found), 2)

    @given(lists, st.sampled_from([1, 7, STEP, 1000, 60_000]))
    @example(RESETS[0], STEP)
    @example(RESETS[1], STEP)
    @example(RESETS[5], STEP)
    def test_any(self, samples: Samples, step: int) -> None:
        """Any samples by any step give what is counted one by one, as one part."""
        found = rolled(column(samples), step)
        self.assertEqual(steps(found), rolled_one_by_one(samples, step))
        self.assertEqual(parts(found), [(samples[0][0] // step * step, *samples[0])])
        self.assertEqual(set(found.columns), set(FIELDS))

    @given(lists, st.sampled_from([(STEP, STEP), (STEP, PART), (LONGER, PART), (PART, PART), (1, 60_000)]))
    @example(RESETS[2], (STEP, PART))
    @example(RESETS[3], (STEP, PART))
    @example(RESETS[4], (PART, PART))
    def test_parts(self, samples: Samples, sizes: tuple[int, int]) -> None:
        """By parts, each has its first sample, and a reset between two of them is in the loss of neither."""
        step, part = sizes
        found = rolled(column(samples), step, part=part)
        self.assertEqual(steps(found), rolled_one_by_one(samples, step, part))
        self.assertEqual(parts(found), parts_one_by_one(samples, step, part))

    @given(lists, st.sets(st.sampled_from(FIELDS)))
    def test_fields(self, samples: Samples, fields: set[str]) -> None:
        """Only what is asked for is made, and it is the same; parts are needed for losses alone."""
        found, whole = rolled(column(samples), STEP, frozenset(fields), PART), rolled(column(samples), STEP, part=PART)
        self.assertEqual(set(found.columns), fields)
        self.assertEqual(found.times.tolist(), whole.times.tolist())
        for name in fields:
            self.assertEqual(found.columns[name].tolist(), whole.columns[name].tolist())
        self.assertEqual(found.parts is not None, "lost" in fields)

    @given(st.lists(lists, min_size=1, max_size=3), st.lists(st.integers(0, 2), min_size=1, max_size=6))
    def test_roller(self, series: list[Samples], order: list[int]) -> None:
        """A roller gives the same for each series, however many have their times in common, as one array."""
        columns = [column(samples) for samples in series]
        roller = Roller(STEP, part=PART)
        for at, which in enumerate(order):
            times = columns[which % len(columns)].times
            values = columns[which % len(columns)].values + 10.0 * at
            assert_same(self, roller.of(Column(times, values)), rolled(Column(times.copy(), values), STEP, part=PART))

    def test_today(self) -> None:
        """Times of today are exact to the millisecond."""
        now = 1_792_310_459_999
        found = rolled(column([(now, 1.0), (now + 1, 2.0), (now + 2, 3.0)]), 60_000)
        self.assertEqual(found.times.tolist(), [now - 59_999, now + 1])
        self.assertEqual(found.columns["end"].tolist(), [float(now), float(now + 2)])

    @given(reals)
    def test_bounds(self, samples: Samples) -> None:
        """The average lies between the least and the greatest (but for the last bit), and the last does, too."""
        found = rolled(column(samples), 1000).columns
        average = found["sum"] / found["count"]
        self.assertTrue((found["min"] <= average * (1 + 1e-12)).all())
        self.assertTrue((average <= found["max"] * (1 + 1e-12)).all())
        self.assertTrue((found["min"] <= found["last"]).all())
        self.assertTrue((found["last"] <= found["max"]).all())


class RegroupedTests(SynchronousTestCase):
    @given(lists, st.sampled_from([0, STEP, LONGER, PART]), st.sampled_from([STEP, LONGER, PART, 60_000]))
    @example(RESETS[2], PART, LONGER)
    @example(RESETS[3], PART, PART)
    @example(RESETS[3], PART, 60_000)
    @example(RESETS[4], PART, PART)
    @example(RESETS[6], PART, 60_000)
    def test_any(self, samples: Samples, part: int, step: int) -> None:
        """Steps brought together are what the samples by the longer step are, resets between parts included."""
        fine = rolled(column(samples), STEP, part=part)
        assert_same(self, regrouped(fine, step), rolled(column(samples), step))

    @given(lists)
    def test_in_two_steps(self, samples: Samples) -> None:
        """By way of a step between, it is the same."""
        fine = rolled(column(samples), STEP, part=PART)
        assert_same(self, regrouped(regrouped(fine, LONGER), PART), regrouped(fine, PART))

    @given(lists, field_sets)
    def test_fields(self, samples: Samples, fields: set[str]) -> None:
        """What was not asked for is not there after, and the rest is the same."""
        some = regrouped(rolled(column(samples), STEP, frozenset(fields), PART), LONGER)
        every = rolled(column(samples), LONGER)
        self.assertEqual(some.times.tolist(), every.times.tolist())
        self.assertEqual(
            {name: found.tolist() for name, found in some.columns.items()},
            {name: found.tolist() for name, found in every.columns.items() if name in fields},
        )

    @given(lists)
    def test_leaves_what_it_got(self, samples: Samples) -> None:
        """What was brought together is what it was: losses between parts are not written into it."""
        fine = rolled(column(samples), STEP, part=PART)
        before = steps(fine)
        regrouped(fine, 60_000)
        self.assertEqual(steps(fine), before)

    @given(reals)
    def test_conserved(self, samples: Samples) -> None:
        """No sample is lost or counted twice on the way from samples to coarse steps; sums are as good as exact."""
        fine = rolled(column(samples), STEP, part=PART)
        coarse = regrouped(fine, 3 * PART)
        for rollup in (fine, coarse):
            self.assertEqual(rollup.columns["count"].sum(), len(samples))
            np.testing.assert_allclose(rollup.columns["sum"].sum(), fsum(value for _, value in samples), rtol=1e-12)
            self.assertEqual(rollup.columns["min"].min(), min(value for _, value in samples))
            self.assertEqual(rollup.columns["max"].max(), max(value for _, value in samples))
            self.assertEqual((rollup.columns["end"][-1], rollup.columns["last"][-1]), samples[-1])

    @given(reals)
    def test_averages(self, samples: Samples) -> None:
        """An average is the same from samples, and through one step or two, though sums are made in another order."""
        long = 10 * PART
        raw = rolled(column(samples), long)
        once = regrouped(rolled(column(samples), STEP, part=PART), long)
        twice = regrouped(regrouped(rolled(column(samples), STEP, part=PART), PART), long)
        averages = [found.columns["sum"] / found.columns["count"] for found in (raw, once, twice)]
        np.testing.assert_allclose(averages[1], averages[0], rtol=1e-12)
        np.testing.assert_allclose(averages[2], averages[0], rtol=1e-12)


class JoinedTests(SynchronousTestCase):
    @given(lists)
    def test_split(self, samples: Samples) -> None:
        """A rollup is split into its parts, each by itself, and these join to what it was."""
        whole = rolled(column(samples), STEP, part=PART)
        pieces = split(whole)
        self.assertEqual([parts(piece) for piece in pieces], [[part] for part in parts(whole)])
        assert_same(self, joined(pieces), whole)

    @given(lists, st.data())
    def test_any(self, samples: Samples, data: st.DataObject) -> None:
        """Rollups that follow each other, of one part or of several, join to what the samples of all give."""
        pieces = split(rolled(column(samples), STEP, part=PART))
        edges = sorted({0, *data.draw(st.sets(st.integers(1, len(pieces)))), len(pieces)})
        together = [joined(pieces[low:high]) for low, high in pairwise(edges)]
        assert_same(self, joined(together), rolled(column(samples), STEP, part=PART))

    def test_one(self) -> None:
        """One rollup is itself, without a copy."""
        one = rolled(column(RESETS[3]), STEP, part=PART)
        self.assertIs(joined([one]), one)

    def test_same_step(self) -> None:
        """Steps of the same time both stay, until they are brought together."""
        early, late = rolled(column([(0, 9.0), (20, 1.0)]), 600), rolled(column([(30, 5.0), (700, 2.0)]), 600)
        found = joined([early, late])
        self.assertEqual(found.times.tolist(), [0, 0, 600])
        self.assertEqual(found.columns["last"].tolist(), [1.0, 5.0, 2.0])
        self.assertEqual(found.known_parts.starts.tolist(), [0, 1])
        whole = rolled(column([(0, 9.0), (20, 1.0), (30, 5.0), (700, 2.0)]), 600)
        assert_same(self, regrouped(found, 600), whole)

    @given(lists, st.sets(st.sampled_from(FIELDS)))
    def test_fields(self, samples: Samples, fields: set[str]) -> None:
        """Rollups of some fields split and join to the same fields; where no losses are among them, without parts."""
        whole = rolled(column(samples), STEP, part=PART)
        some = Rollup(whole.times, {name: whole.columns[name] for name in fields}, whole.parts)
        pieces = split(some)
        found = joined(pieces)
        self.assertEqual(set(found.columns), fields)
        self.assertEqual(steps(found), steps(some))
        self.assertTrue(all((piece.parts is not None) == ("lost" in fields) for piece in pieces))

    @given(lists, lists, st.data())
    def test_replaced(self, samples: Samples, others: Samples, data: st.DataObject) -> None:
        """A rollup of which some parts are made anew is what all made anew would be."""
        anew = data.draw(st.sets(st.integers(0, 20_000 // PART)))
        now = [(time, value) for time, value in samples if time // PART not in anew]
        now = sorted([*now, *((time, value) for time, value in others if time // PART in anew)])
        kept = [one for one in split(rolled(column(samples), STEP, part=PART)) if one.times[0] // PART not in anew]
        fresh = column([sample for sample in now if sample[0] // PART in anew])
        made = split(rolled(fresh, STEP, part=PART)) if len(fresh.times) else []
        if kept or made:
            together = sorted([*kept, *made], key=lambda one: int(one.times[0]))
            assert_same(self, joined(together), rolled(column(now), STEP, part=PART))


class LastStepTests(SynchronousTestCase):
    @given(lists, st.integers(0, 100), st.booleans())
    def test_any(self, samples: Samples, back: int, by_parts: bool) -> None:
        """One step by itself is what it was, and as a part it begins with its last sample: nothing is lost in it."""
        rollup = rolled(column(samples), STEP, part=PART if by_parts else 0)
        end = 1 + back % len(rollup)
        one = last_step(rollup, end)
        start, expected = list(steps(rollup).items())[end - 1]
        self.assertEqual(steps(one), {start: {**expected, "lost": 0.0}})
        self.assertEqual(parts(one), [(start, int(expected["end"]), expected["last"])])
        some = rolled(column(samples), STEP, frozenset({"sum", "count"}))
        self.assertEqual(steps(last_step(some, end)), {start: {name: expected[name] for name in ("sum", "count")}})

    def test_next(self) -> None:
        """What follows counts from the last sample of the step, not from its first."""
        before, after = rolled(column([(0, 5.0), (90, 9.0)]), STEP), rolled(column([(150, 12.0)]), STEP)
        found, seconds = increases(joined([last_step(before, 1), after]))
        self.assertEqual((found.tolist(), seconds.tolist()), ([0.0, 3.0], [0.0, 0.06]))


class IncreasesTests(SynchronousTestCase):
    @staticmethod
    def of(rollup: Rollup) -> tuple[list[float], list[float]]:
        found, seconds = increases(rollup)
        return found.tolist(), seconds.tolist()

    def test_table(self) -> None:
        """A counter that falls began at 0 anew; the first step counts from its first sample."""
        for values, expected in (
            ([5.0], [0.0]),
            ([5.0, 5.0], [0.0, 0.0]),
            ([5.0, 8.0], [0.0, 3.0]),
            ([5.0, 2.0], [0.0, 2.0]),
            ([5.0, 0.0, 4.0], [0.0, 0.0, 4.0]),
            ([100.0, 110.0, 5.0, 7.0, 1.0], [0.0, 10.0, 5.0, 2.0, 1.0]),
        ):
            samples = [(2500 * i, value) for i, value in enumerate(values)]
            for part in (0, 2500):
                found, seconds = self.of(rolled(column(samples), 2500, part=part))
                self.assertEqual(found, expected)
                self.assertEqual(seconds, [0.0] + [2.5] * (len(values) - 1))

    @given(lists, st.sampled_from([STEP, LONGER, PART, 60_000]), st.booleans())
    @example(RESETS[0], STEP, True)
    @example(RESETS[1], STEP, True)
    @example(RESETS[2], PART, True)
    @example(RESETS[3], LONGER, True)
    @example(RESETS[4], 60_000, True)
    @example(RESETS[5], 60_000, False)
    def test_any(self, samples: Samples, step: int, by_parts: bool) -> None:
        """What a counter rose by is the same from samples and through steps of any length, wherever it was reset."""
        samples = [(time, abs(value)) for time, value in samples]
        expected = {time // step * step: [0.0, 0.0] for time, _ in samples}
        for time, before, rise in rises(samples):
            expected[time // step * step][0] += rise
            expected[time // step * step][1] += time - before
        fine = rolled(column(samples), STEP, part=PART if by_parts else 0)
        for rollup in (rolled(column(samples), step), fine if step == STEP else regrouped(fine, step)):
            found, seconds = increases(rollup)
            self.assertEqual(found.tolist(), [rise for rise, _ in expected.values()])
            np.testing.assert_allclose(seconds, [each / 1000 for _, each in expected.values()], rtol=1e-12)

    @given(
        st.lists(st.floats(0, 1e9), min_size=1, max_size=40), st.sets(st.integers(1, 39)), st.sampled_from([300, 1800])
    )
    def test_any_values(self, each: list[float], resets: set[int], step: int) -> None:
        """Nothing that a counter rose by is negative or made up, also where it is not whole."""
        values: list[float] = []
        for at, rise in enumerate(each):
            values.append(rise if at in resets or not values else values[-1] + rise)
        samples = [(100 * i, value) for i, value in enumerate(values)]
        top = max(values)
        fine = rolled(column(samples), 100, part=300)
        for rollup in (fine, regrouped(fine, step), regrouped(regrouped(fine, 300), 1800)):
            found = increases(rollup)[0]
            self.assertTrue((found >= 0).all())
            np.testing.assert_allclose(
                found.sum(), fsum(rise for _, _, rise in rises(samples)), rtol=1e-9, atol=top * 1e-9
            )

    def test_without_losses(self) -> None:
        """A step that ends lower than the one before, of which no loss is known, began anew at 0."""
        whole = rolled(column([(0, 5.0), (50, 9.0), (60, 2.0), (150, 4.0)]), 100)
        forgotten = Rollup(whole.times, {**whole.columns, "lost": np.zeros(2)}, whole.parts)
        self.assertEqual(self.of(whole)[0], [6.0, 2.0])
        self.assertEqual(self.of(forgotten)[0], [2.0, 2.0])

    @settings(max_examples=20)
    @given(st.lists(st.integers(0, 50), min_size=2, max_size=20))
    def test_total(self, each: list[int]) -> None:
        """Of a counter that was never reset all rises together are what it counted."""
        samples = [(700 * i, float(value)) for i, value in enumerate(accumulate(each))]
        for step in (STEP, LONGER, PART):
            self.assertEqual(sum(self.of(rolled(column(samples), step, part=PART))[0]), samples[-1][1] - samples[0][1])
