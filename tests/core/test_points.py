"""Tests for `perfmon.core.query`: the answers, against those that are made one by one."""

from collections.abc import Sequence
from itertools import groupby
from math import isnan, nan

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.query import AGGS, PERCENTILES, Plan, Points, Query, newest, tail
from perfmon.core.rollups import rolled
from perfmon.core.series import Piece
from perfmon.core.tiers import HOURS, MINUTES, RAW, TIERS
from tests.core.models import AGGREGATED, Samples, column, counters, gauges, pairs, rises, stepped

# A finer and a coarser step, and the windows of the two tiers that have them.
FINE, COARSE = 100, 500
WINDOW, LONG = 1000, 5000


def asked(start_ms: int, stop_ms: int, step_ms: int | None, agg: str) -> Plan:
    query = Query("*", "*", start_ms / 1000, stop_ms / 1000, None if step_ms is None else step_ms / 1000, agg)
    return Plan.of(query, TIERS, 0.0)


def answer(pieces: Sequence[Piece], start: float, stop: float, step: float | None, agg: str) -> Points:
    return Plan.of(Query("*", "*", start, stop, step, agg), TIERS, 0.0).points(pieces)


def naive(samples: Samples, start_ms: int, stop_ms: int, step_ms: int, agg: str) -> dict[float, float]:
    """Start of each step (s) -> value, sample by sample."""
    found = stepped(samples, step_ms, agg)
    starts = [number * step_ms / 1000 for number in range(start_ms // step_ms, -(-stop_ms // step_ms))]
    return {start: found.get(start, nan) for start in starts}


def counted(samples: Samples) -> Samples:
    """The same without negative values, which no counter has."""
    return [(time, abs(value)) for time, value in samples]


def stitched(samples: Samples, kinds: Sequence[int], plan: Plan) -> list[Piece]:
    """The pieces that tiers have of samples of 0..20 s, as they are read, in the order of time.

    `kinds` has for each window of the finer tier whether it is there as samples (0), in minutes (1) or in hours (2).
    """
    pieces: list[Piece] = []
    for (kind, _), run in groupby(enumerate(kinds), key=lambda each: (each[1], each[1] and each[0] * WINDOW // LONG)):
        windows = [at for at, _ in run]
        inside = column([sample for sample in samples if sample[0] // WINDOW in windows])
        if len(inside.times):
            step = (0, FINE, COARSE)[kind]
            pieces.append(rolled(inside, step, plan.fields, part=WINDOW) if step else inside)
    return pieces


class SamplesTests(SynchronousTestCase):
    SAMPLES = column([(1000, 10.0), (3000, 14.0), (3500, 14.5), (7500, 2.0)])

    def test_samples(self) -> None:
        """The samples of a range are given as they are, times in seconds; the start is included, the end is not."""
        self.assertEqual(pairs(answer([self.SAMPLES], 1.0, 3.5, None, "avg")), [(1.0, 10.0), (3.0, 14.0)])
        for agg in set(AGGS) - PERCENTILES.keys() - {"rate"}:
            self.assertEqual(len(answer([self.SAMPLES], 0.0, 9.0, None, agg).times), 4)

    def test_rate(self) -> None:
        """A rate stands at the later of its two samples, also when the earlier is before the range."""
        every = [(3.0, 2.0), (3.5, 1.0), (7.5, 0.5)]
        self.assertEqual(pairs(answer([self.SAMPLES], 0.0, 9.0, None, "rate")), every)
        self.assertEqual(pairs(answer([self.SAMPLES], 3.0, 3.5, None, "rate")), [(3.0, 2.0)])

    def test_rate_looks_back(self) -> None:
        """A sample that is long before the range says nothing about its first one."""
        for before, expected in ((60_000, [(300.0, 1.0)]), (59_999, [])):
            samples = column([(before, 0.0), (300_000, (300_000 - before) / 1000)])
            self.assertEqual(pairs(answer([samples], 300.0, 301.0, None, "rate")), expected)

    def test_pieces(self) -> None:
        """Samples of several pieces are one series, and aggregates are no samples."""
        one, two = column([(1000, 1.0), (3000, 2.0)]), column([(3000, 9.0), (4000, 3.0)])
        rollup = rolled(column([(5000, 4.0)]), 1000)
        self.assertEqual(pairs(answer([one, two, rollup], 0.0, 9.0, None, "avg")), [(1.0, 1.0), (3.0, 9.0), (4.0, 3.0)])

    def test_empty(self) -> None:
        """Of nothing comes nothing."""
        for agg in set(AGGS) - PERCENTILES.keys():
            self.assertEqual(pairs(answer([], 0.0, 9.0, None, agg)), [])
        self.assertEqual(pairs(answer([column([(1, 1.0)])], 0.0, 9.0, None, "rate")), [])

    @given(gauges() | counters(), st.integers(-100, 21_000), st.integers(1, 21_000))
    def test_any(self, samples: Samples, start_ms: int, span_ms: int) -> None:
        """They are what a reading sample by sample gives."""
        stop_ms = start_ms + span_ms
        expected = [(time / 1000, value) for time, value in samples if start_ms <= time < stop_ms]
        self.assertEqual(pairs(asked(start_ms, stop_ms, None, "avg").points([column(samples)])), expected)
        found = asked(start_ms, stop_ms, None, "rate").points([column(samples)])
        inside = [
            (at / 1000, rise * 1000 / (at - before)) for at, before, rise in rises(samples) if start_ms <= at < stop_ms
        ]
        self.assertEqual(found.times.tolist(), [time for time, _ in inside])
        np.testing.assert_allclose(found.values, [value for _, value in inside], rtol=1e-12)


class StepsTests(SynchronousTestCase):
    def test_alignment(self) -> None:
        """Steps are at multiples of their length, whatever the range, all of them whole, and named by their start."""
        samples = column([(61_000, 1.0), (119_999, 2.0), (120_000, 4.0), (185_000, 8.0)])
        for start, stop, expected in (
            (60.0, 240.0, [(60.0, 3.0), (120.0, 4.0), (180.0, 8.0)]),
            (61.0, 186.0, [(60.0, 3.0), (120.0, 4.0), (180.0, 8.0)]),
            (62.0, 180.0, [(60.0, 3.0), (120.0, 4.0)]),
            (62.0, 180.001, [(60.0, 3.0), (120.0, 4.0), (180.0, 8.0)]),
            (0.0, 61.0, [(0.0, nan), (60.0, 3.0)]),
            (0.0, 60.0, [(0.0, nan)]),
        ):
            for pieces in ([samples], [rolled(samples, 60_000)], [rolled(samples, 20_000)]):
                np.testing.assert_equal(pairs(answer(pieces, start, stop, 60.0, "sum")), expected)

    def test_empty(self) -> None:
        """A step without samples is NaN, for counts and sums, too; one between two others as well."""
        samples = column([(500, 1.0), (2500, 3.0)])
        for agg in AGGREGATED:
            values = answer([samples], 0.0, 4.0, 1.0, agg).values.tolist()
            self.assertEqual([isnan(value) for value in values], [False, True, False, True], agg)

    def test_nothing(self) -> None:
        """Of no pieces, or of pieces outside of the range, all is NaN."""
        outside: list[Piece] = [column([(-5000, 1.0)]), rolled(column([(9000, 1.0)]), 1000)]
        for agg in AGGS:
            for pieces in ([], outside, outside[:1], outside[1:]):
                found = answer(pieces, 0.0, 3.0, 1.0, agg)
                np.testing.assert_equal(pairs(found), [(0.0, nan), (1.0, nan), (2.0, nan)])

    def test_times_are_exact(self) -> None:
        """The start of a step is the float next to it, for those below a second, too."""
        now = 1_792_310_400.0
        plan = Plan.of(Query("*", "*", now, now + 20.0, 0.1), TIERS, now)
        self.assertEqual(plan.points([]).times.tolist(), [(17_923_104_000 + i) / 10 for i in range(200)])

    def test_rate(self) -> None:
        """A rate is all that was counted in a step by the seconds it was counted over, resets included."""
        samples = column(
            [(0, 100.0), (30_000, 160.0), (90_000, 220.0), (100_000, 5.0), (110_000, 25.0), (300_000, 25.0)]
        )
        expected = [(0.0, 2.0), (60.0, (60 + 5 + 20) / 80), (120.0, nan), (180.0, nan), (240.0, nan), (300.0, 0.0)]
        for pieces in ([samples], [rolled(samples, 60_000)], [rolled(samples, 20_000, part=60_000)]):
            np.testing.assert_equal(pairs(answer(pieces, 0.0, 360.0, 60.0, "rate")), expected)

    def test_rate_of_one(self) -> None:
        """One sample has no rate, and nothing is divided by the time that it took."""
        samples = column([(61_000, 5.0)])
        for pieces in ([samples], [rolled(samples, 60_000)]):
            with np.errstate(all="raise"):
                np.testing.assert_equal(pairs(answer(pieces, 60.0, 120.0, 60.0, "rate")), [(60.0, nan)])

    def test_rate_looks_back(self) -> None:
        """The first rate of a range counts from the sample before it, if that is not long before."""
        for first, expected in ((50_000, 1.0), (-60_000, 30 / 130), (-60_001, nan)):
            samples = column([(first, 0.0), (70_000, 30.0 if first < 50_000 else 20.0)])
            np.testing.assert_equal(pairs(answer([samples], 60.0, 120.0, 60.0, "rate")), [(60.0, expected)])

    def test_every_agg_is_tried(self) -> None:
        """The comparisons below leave out no aggregate."""
        self.assertEqual({*AGGREGATED, "rate"}, set(AGGS))

    @settings(max_examples=100)
    @given(
        gauges() | counters(),
        st.integers(-2000, 22_000),
        st.integers(1, 22_000),
        st.sampled_from([1, 250, 500, 1000, 1500, 7000, 60_000]) | st.integers(1, 30_000),
    )
    def test_any(self, samples: Samples, start_ms: int, span_ms: int, step_ms: int) -> None:
        """Steps hold what a reading sample by sample gives, for every aggregate."""
        stop_ms = start_ms + min(span_ms, 200 * step_ms)
        for agg in AGGS:
            plan = asked(start_ms, stop_ms, step_ms, agg)
            samples = counted(samples) if agg == "rate" else samples
            seen = [sample for sample in samples if sample[0] >= round(plan.reads_from * 1000)]
            expected = naive(seen, start_ms, stop_ms, step_ms, agg)
            found = plan.points([column(samples)])
            self.assertEqual(found.times.tolist(), list(expected))
            np.testing.assert_allclose(found.values, list(expected.values()), rtol=1e-12, err_msg=agg)

    @given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=40))
    def test_any_values(self, values: list[float]) -> None:
        """One step over everything gives the aggregates of the standard library."""
        samples = column(list(enumerate(values)))
        for agg, aggregate in AGGREGATED.items():
            [found] = answer([samples], 0.0, 1.0, 1.0, agg).values.tolist()
            self.assertAlmostEqual(found, aggregate(values), places=4)

    @given(st.lists(st.floats(-1e9, 1e9) | st.integers(0, 3).map(float), min_size=1, max_size=120))
    def test_percentiles(self, values: list[float]) -> None:
        """Percentiles of each step are those of numpy."""
        samples = column([(7 * i, value) for i, value in enumerate(values)])
        for agg, share in PERCENTILES.items():
            found = answer([samples], 0.0, 1.0, 0.1, agg).values
            for step, value in enumerate(found.tolist()):
                inside = samples.values[samples.times // 100 == step]
                expected = np.percentile(inside, share * 100) if len(inside) else nan
                np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-6)


class TiersTests(SynchronousTestCase):
    """Answers from pieces of several tiers."""

    kinds = st.lists(st.integers(0, 2), min_size=20, max_size=20) | st.lists(
        st.sampled_from([0, 0, 1, 2]), min_size=4, max_size=4
    ).map(lambda few: [kind for kind in few for _ in range(5)])

    @settings(max_examples=150)
    @given(
        gauges(last=19_999) | counters(last=19_999),
        kinds,
        st.integers(0, 20_000),
        st.integers(1, 20_000),
        st.sampled_from([COARSE, 2 * COARSE, 3 * COARSE, WINDOW, 7 * WINDOW]),
    )
    @example([(0, 5.0), (999, 9.0), (1000, 3.0), (2000, 1.0), (3000, 0.0)], [2, 1, 0, 2] * 5, 0, 9999, 5000)
    @example([(0, 5.0), (999, 9.0), (1000, 3.0), (2000, 1.0), (3000, 0.0)], [1] * 20, 0, 9999, 1000)
    def test_any(self, samples: Samples, kinds: list[int], start_ms: int, span_ms: int, step_ms: int) -> None:
        """However tiers alternate, also within a step: the answer is the one that all samples would give."""
        for agg in set(AGGS) - PERCENTILES.keys():
            plan = asked(start_ms, start_ms + span_ms, step_ms, agg)
            if agg == "rate" and plan.reads_from > 0:
                # what is read before the range is not to the sample: tested by itself
                plan = asked(0, start_ms + span_ms, step_ms, agg)
            samples = counted(samples) if agg == "rate" else samples
            found = plan.points(stitched(samples, kinds, plan))
            expected = naive(samples, round(plan.start * 1000), round(plan.stop * 1000), step_ms, agg)
            self.assertEqual(found.times.tolist(), list(expected))
            np.testing.assert_allclose(found.values, list(expected.values()), rtol=1e-12, err_msg=agg)

    @given(gauges(last=19_999), kinds, st.sampled_from([COARSE, WINDOW, 7 * WINDOW]), st.sampled_from([*PERCENTILES]))
    def test_percentiles(self, samples: Samples, kinds: list[int], step_ms: int, agg: str) -> None:
        """Of a coarser tier the averages count as samples do."""
        plan = asked(0, 20_001, step_ms, agg)
        seen: Samples = []
        for at, kind in enumerate(kinds):
            inside = [sample for sample in samples if sample[0] // WINDOW == at]
            length = (1, FINE, COARSE)[kind]
            for time in sorted({time // length * length for time, _ in inside}):
                values = [value for moment, value in inside if moment // length * length == time]
                seen.append((time, sum(values) / len(values)))
        expected = naive(seen, 0, 20_001, step_ms, agg)
        found = plan.points(stitched(samples, kinds, plan))
        np.testing.assert_allclose(found.values, list(expected.values()), rtol=1e-9, atol=1e-9)

    def test_rate_looks_back(self) -> None:
        """The first rate of a range counts from what a coarser tier has before it, and from no further."""
        before, inside = [(0, 10.0), (59_000, 40.0)], [(61_000, 50.0), (70_000, 70.0)]
        fields = asked(0, 1, 60_000, "rate").fields
        befores = (column(before), rolled(column(before), 60_000, fields), rolled(column(before), 20_000, fields))
        for earlier in befores:
            for later in (column(inside), rolled(column(inside), 20_000, fields)):
                found = answer([earlier, later], 60.0, 120.0, 60.0, "rate")
                self.assertEqual(pairs(found), [(60.0, 30 / 11)])
        both = [rolled(column([*before, *inside]), 20_000, fields, part=60_000)]
        self.assertEqual(pairs(answer(both, 60.0, 120.0, 60.0, "rate")), [(60.0, 30 / 11)])

    @given(
        counters(last=19_999),
        kinds,
        st.integers(1, 9).map(lambda at: at * 2 * WINDOW),
        st.sampled_from([COARSE, WINDOW, 2 * WINDOW]),
    )
    def test_tail(self, samples: Samples, kinds: list[int], start_ms: int, step_ms: int) -> None:
        """A rate needs no more of what was before its range than the tail of it, wherever that is from."""
        plan = asked(start_ms, 20_000, step_ms, "rate")
        before = stitched([sample for sample in samples if sample[0] < start_ms], kinds, plan)
        after = stitched([sample for sample in samples if sample[0] >= start_ms], kinds, plan)
        end = tail(before, start_ms / 1000)
        self.assertEqual(len(end), bool(before))
        self.assertEqual(sum(len(piece.times) for piece in end), bool(before))
        np.testing.assert_equal(pairs(plan.points([*end, *after])), pairs(plan.points([*before, *after])))

    def test_tail_of_some(self) -> None:
        """The tail ends where it is said to, also within a piece; of nothing before that there is none."""
        fields = asked(0, 1, 1000, "rate").fields
        samples = column([(1000, 5.0), (2500, 6.0), (2600, 8.0), (4000, 9.0)])
        for piece in (samples, rolled(samples, 1000, fields)):
            [one] = tail([piece], 4.0)
            self.assertEqual(newest([one]), (2600, 8.0))
            [one] = tail([column([(0, 1.0)]), piece], 1.0)
            self.assertEqual(newest([one]), (0, 1.0))
            self.assertEqual(tail([piece], 1.0), [])
        self.assertEqual(tail([], 1.0), [])

    def test_real_tiers(self) -> None:
        """A reset where one tier ends and another begins counts once, whichever they are."""
        hour = 3_600_000
        samples = [(at * 60_000, float(at % 60)) for at in range(300)]  # falls at each hour
        fields = asked(0, 1, hour, "rate").fields
        for kinds in ((0, 1, 2, 1, 0), (2, 0, 1, 0, 2), (1, 1, 1, 1, 1), (2, 2, 2, 2, 2), (0, 2, 0, 2, 0)):
            pieces: list[Piece] = []
            for at, kind in enumerate(kinds):
                inside = column([sample for sample in samples if sample[0] // hour == at])
                step = (RAW, MINUTES, HOURS)[kind].step * 1000
                pieces.append(rolled(inside, step, fields) if step else inside)
            found = answer(pieces, 0.0, 5 * 3600.0, 3600.0, "rate")
            # of the minute between two hours nothing is known to have been counted
            np.testing.assert_allclose(found.values, [59 / 3540] + [59 / 3600] * 4, rtol=1e-12)
            day = answer(pieces, 0.0, 5 * 3600.0, 5 * 3600.0, "rate")
            np.testing.assert_allclose(day.values, [5 * 59 / (300 * 60 - 60)], rtol=1e-12)


class TogetherTests(SynchronousTestCase):
    @settings(max_examples=100)
    @given(
        st.lists(
            st.tuples(gauges(), st.lists(st.integers(0, 2), min_size=20, max_size=20) | st.just([0] * 20)), max_size=6
        ),
        st.sampled_from(AGGS),
        st.sampled_from([None, FINE, COARSE, 1700]),
        st.tuples(st.integers(0, 20_000), st.integers(1, 20_000)),
    )
    def test_any(
        self,
        series: list[tuple[Samples, list[int]]],
        agg: str,
        step_ms: int | None,
        span: tuple[int, int],
    ) -> None:
        """Several series, of samples, aggregates or both, are answered together as each is by itself."""
        if step_ms is None and agg in PERCENTILES:
            return
        plan = asked(span[0], span[0] + span[1], step_ms, agg)
        pieces = [stitched(samples, kinds, plan) for samples, kinds in series]
        together = plan.points_of(pieces)
        self.assertEqual(len(together), len(pieces))
        for found, one in zip(together, pieces, strict=True):
            expected = plan.points(one)
            np.testing.assert_array_equal(found.times_ms, expected.times_ms)
            np.testing.assert_array_equal(found.values, expected.values)

    def test_samples(self) -> None:
        """Series of samples do not mix, for any aggregate: what one counted is no part of what the next one did."""
        series = [column([(at * 700 + 1000 * first, float(at * first)) for at in range(20)]) for first in range(4)]
        for agg in AGGS:
            plan = asked(1000, 12_000, 1000, agg)
            for found, one in zip(plan.points_of([[one] for one in series]), series, strict=True):
                np.testing.assert_array_equal(found.values, plan.points([one]).values, err_msg=agg)
