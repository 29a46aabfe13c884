"""Tests for `perfmon.core.query`: what can be asked, and what is read for it (the answers: `test_points`)."""

from dataclasses import replace
from math import inf, nan

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.query import (
    AGGS,
    MAX_POINTS,
    MAX_STEP,
    MIN_STEP,
    PERCENTILES,
    BadQuery,
    Plan,
    Query,
    newest,
)
from perfmon.core.rollups import FIELDS, rolled
from perfmon.core.tiers import DAY, HOURS, MINUTES, RAW, TIERS, Tier
from tests.core.models import column

NOW = 1_792_310_400.0
HOUR = 3600


def plan(ago: float, step: float | None, agg: str = "avg", span: float = 60.0, tiers: tuple[Tier, ...] = TIERS) -> Plan:
    """The plan for `span` s from `ago` s before now."""
    return Plan.of(Query("*", "*", NOW - ago, NOW - ago + span, step, agg), tiers, NOW)


class QueryTests(SynchronousTestCase):
    def test_good(self) -> None:
        """Any aggregate of any step there is can be asked for, and samples as they are."""
        for agg in AGGS:
            for step in (MIN_STEP, 10.0, 3600.0, MAX_STEP):
                self.assertEqual(Query("*", "*", 0.0, 1.0, step, agg).step, step)
        for agg in set(AGGS) - PERCENTILES.keys():
            self.assertIsNone(Query("*", "*", 0.0, 1.0, None, agg).step)
        self.assertEqual(Query("*", "*", 0.0, 1.0, None).agg, "avg")

    def test_bad(self) -> None:
        """What cannot be answered is refused with a sentence that says how to ask it."""
        for start, stop, step, agg, *shown in (
            (0.0, 1.0, 1.0, "mean", "'mean'", "avg, min, max", "p50, p95, p99"),
            (0.0, 1.0, 1.0, "", "''", "use one of"),
            (1.0, 1.0, 1.0, "avg", "from must be before until"),
            (2.0, 1.0, None, "avg", "from must be before until"),
            (nan, 1.0, None, "avg", "from must be before until"),
            (0.0, nan, None, "avg", "from must be before until"),
            (0.0, 1.0, None, "p95", "p95", "step=5m"),
            (0.0, 1.0, None, "p50", "p50", "step=5m"),
            (0.0, 1.0, 0.0, "avg", "0.001 s to 400 days"),
            (0.0, 1.0, -1.0, "avg", "0.001 s to 400 days"),
            (0.0, 1.0, 0.0009, "avg", "0.001 s to 400 days"),
            (0.0, 1.0, MAX_STEP + 1.0, "avg", "0.001 s to 400 days"),
            (0.0, 1.0, nan, "avg", "0.001 s to 400 days"),
            (0.0, 1.0, inf, "avg", "0.001 s to 400 days"),
        ):
            with self.assertRaises(BadQuery, msg=str((start, stop, step, agg))) as caught:
                Query("*", "*", start, stop, step, agg)
            for part in shown:
                self.assertIn(part, str(caught.exception))


class PlanTests(SynchronousTestCase):
    def test_tiers_and_step(self) -> None:
        """Read are the tiers whose steps make up that of the query; it is longer where only longer ones are left."""
        for ago, step, names, taken in (
            (HOUR, 1.0, "raw", 1.0),
            (HOUR, 10.0, "raw", 10.0),
            (HOUR, 59.999, "raw", 59.999),
            (HOUR, 60.0, "raw 1m", 60.0),
            (HOUR, 60.001, "raw", 60.001),
            (HOUR, 90.0, "raw", 90.0),
            (HOUR, 120.0, "raw 1m", 120.0),
            (HOUR, 3600.0, "raw 1m 1h", 3600.0),
            (HOUR, 5400.0, "raw 1m", 5400.0),
            (HOUR, 86_400.0, "raw 1m 1h", 86_400.0),
            (RAW.retention, 10.0, "raw", 10.0),
            (RAW.retention + 1, 10.0, "raw 1m", 60.0),
            (3 * DAY, 60.0, "raw 1m", 60.0),
            (3 * DAY, 60.001, "raw 1m", 120.0),
            (3 * DAY, 90.0, "raw 1m", 120.0),
            (3 * DAY, 3541.0, "raw 1m 1h", 3600.0),
            (3 * DAY, 5400.0, "raw 1m", 5400.0),
            (3 * DAY, 7200.0, "raw 1m 1h", 7200.0),
            (MINUTES.retention, 60.0, "raw 1m", 60.0),
            (MINUTES.retention + 1, 60.0, "raw 1m 1h", 3600.0),
            (60 * DAY, 0.001, "raw 1m 1h", 3600.0),
            (60 * DAY, 5400.0, "raw 1m 1h", 7200.0),
            (HOURS.retention, 60.0, "raw 1m 1h", 3600.0),
            (HOURS.retention + 1, 60.0, "raw 1m 1h", 3600.0),  # there is nothing better
            (500 * DAY, 86_400.0, "raw 1m 1h", 86_400.0),
            (-HOUR, 10.0, "raw", 10.0),
        ):
            for agg in set(AGGS) - PERCENTILES.keys():
                found = plan(ago, step, agg)
                self.assertEqual((" ".join(tier.name for tier in found.tiers), found.step), (names, taken), (ago, step))

    def test_percentiles(self) -> None:
        """A percentile is of samples wherever there are any: a coarser tier is read only where they are gone."""
        for ago, step, names, taken in (
            (HOUR, 10.0, "raw", 10.0),
            (HOUR, 60.0, "raw", 60.0),
            (HOUR, 3600.0, "raw", 3600.0),
            (3 * DAY, 10.0, "raw 1m", 60.0),
            (3 * DAY, 3600.0, "raw 1m", 3600.0),
            (60 * DAY, 60.0, "raw 1m 1h", 3600.0),
            (500 * DAY, 60.0, "raw 1m 1h", 3600.0),
        ):
            for agg in PERCENTILES:
                found = plan(ago, step, agg)
                self.assertEqual((" ".join(tier.name for tier in found.tiers), found.step), (names, taken), (ago, step))

    def test_samples(self) -> None:
        """Samples as they are come from the raw tier alone, in just the range that was asked for."""
        for ago in (60.0, 3 * DAY + 0.5, 500.0 * DAY):
            found = plan(ago, None, span=7.25)
            self.assertEqual((found.tiers, found.step), ((RAW,), None))
            self.assertEqual((found.start, found.stop), (NOW - ago, NOW - ago + 7.25))

    def test_retentions(self) -> None:
        """What is left where is told by the tiers that are configured."""
        tiers = (RAW, replace(MINUTES, retention=3 * DAY), HOURS)
        self.assertEqual(plan(4 * DAY, 60.0, tiers=tiers).step, 3600.0)
        self.assertEqual(plan(4 * DAY, 60.0).step, 60.0)

    def test_whole_steps(self) -> None:
        """A range is widened to whole steps, those at multiples of the step since the epoch."""
        for start, stop, step, low, high in (
            (60.0, 240.0, 60.0, 60.0, 240.0),
            (61.0, 186.0, 60.0, 60.0, 240.0),
            (59.999, 180.001, 60.0, 0.0, 240.0),
            (0.0, 1.0, 60.0, 0.0, 60.0),
            (-1.0, 1.0, 60.0, -60.0, 60.0),
            (10.05, 10.25, 0.1, 10.0, 10.3),
            (7.0, 7.5, 7.0, 7.0, 14.0),
        ):
            found = Plan.of(Query("*", "*", start, stop, step), TIERS, 0.0)
            self.assertEqual((found.start, found.stop), (low, high), (start, stop))

    @given(
        st.integers(0, 500 * DAY * 1000),
        st.integers(1, 10**7),
        st.sampled_from([1000, 10_000, 60_000, 3_600_000]) | st.integers(1, 10**7),
        st.sampled_from(AGGS),
    )
    def test_any(self, ago_ms: int, span_ms: int, step_ms: int, agg: str) -> None:
        """Whatever is asked: the range is in the plan, its step is as asked or longer, and every tier fits into it."""
        step = max(step_ms, span_ms // 1000 + 1) / 1000
        query = Query("*", "*", NOW - ago_ms / 1000, NOW - ago_ms / 1000 + span_ms / 1000, step, agg)
        found = Plan.of(query, TIERS, NOW)
        assert found.step is not None
        before, after = round((query.start - found.start) * 1000), round((found.stop - query.stop) * 1000)
        taken = round(found.step * 1000)
        self.assertTrue(0 <= before < taken, before)
        self.assertTrue(0 <= after < taken, after)
        self.assertGreaterEqual(found.step, step)
        self.assertEqual(found.tiers[0], RAW)
        names = [tier.name for tier in TIERS]
        self.assertEqual(sorted(found.tiers, key=lambda tier: names.index(tier.name)), list(found.tiers))
        if agg not in PERCENTILES:
            for tier in found.tiers[1:]:
                self.assertEqual(round(found.step * 1000) % (tier.step * 1000), 0)
        # of what is asked for, the tier that still has it is among those that are read
        self.assertTrue(
            any(query.start >= NOW - tier.retention for tier in found.tiers) or found.tiers[-1] == TIERS[-1]
        )

    def test_too_many(self) -> None:
        """Up to a million points can be asked for, and no more; the step that counts is the one that is taken."""
        self.assertEqual(len(plan(HOUR, 0.001, span=1000.0).points([]).times), MAX_POINTS)
        for ago, step, span in ((HOUR, 0.001, 1000.001), (HOUR, 1.0, MAX_POINTS + 1.0), (0.0, 0.001, 1e9)):
            with self.assertRaises(BadQuery) as caught:
                plan(ago, step, span=span)
            self.assertIn("1,000,000 points", str(caught.exception))
            self.assertIn("larger step or a shorter range", str(caught.exception))
        self.assertEqual(plan(60 * DAY, 0.001, span=1000.001).step, 3600.0)

    def test_fields(self) -> None:
        """Of a coarser tier no more is asked for than the answer takes, and nothing that it does not have."""
        for agg, fields in (
            ("avg", {"sum", "count"}),
            ("min", {"min"}),
            ("max", {"max"}),
            ("sum", {"sum"}),
            ("count", {"count"}),
            ("last", {"last", "end"}),
            ("rate", {"last", "end", "lost"}),
            ("p95", {"sum", "count"}),
        ):
            self.assertEqual(plan(HOUR, 60.0, agg).fields, fields)
            self.assertLessEqual(fields, set(FIELDS))

    def test_reads_from(self) -> None:
        """A rate looks back for the sample before its first point: two steps, and two minutes at least."""
        for step, back in ((1.0, 120.0), (7.0, 126.0), (59.0, 177.0), (60.0, 120.0), (61.0, 122.0), (3600.0, 7200.0)):
            found = plan(HOUR, step, "rate")
            self.assertEqual(round(found.start - found.reads_from, 6), back, step)
        found = plan(HOUR, None, "rate")
        self.assertEqual(found.start - found.reads_from, 240.0)
        for agg in set(AGGS) - {"rate"}:
            found = plan(HOUR, 60.0, agg)
            self.assertEqual(found.reads_from, found.start)


class NewestTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The newest sample is the last of the last piece, to the millisecond, whichever kind it is."""
        samples = column([(1_792_310_399_999, 1.0), (1_792_310_400_001, 2.5)])
        rollup = rolled(
            column([(1_792_310_460_001, 1.0), (1_792_310_470_003, 3.5)]), 60_000, frozenset({"last", "end"})
        )
        self.assertEqual(newest([samples]), (1_792_310_400_001, 2.5))
        self.assertEqual(newest([rollup]), (1_792_310_470_003, 3.5))
        self.assertEqual(newest([samples, rollup]), (1_792_310_470_003, 3.5))
        time, value = newest([rollup])
        self.assertEqual((type(time), type(value)), (int, float))
