"""Tests for `perfmon.core.series`: windows of several tiers as they are read, against all samples one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.chunks import TIMES_FIELD
from perfmon.core.columns import Column
from perfmon.core.frames import FormatError
from perfmon.core.globs import Pattern, pattern
from perfmon.core.query import AGGS, EXTENT_FIELDS, PERCENTILES, Plan, Query, extent, newest
from perfmon.core.rollups import Rollup
from perfmon.core.sealed import FED_FIELD, Sealed, moved, rolled_up, sealed
from perfmon.core.series import Piece, Stored, series_in
from perfmon.core.tiers import Tier
from tests.core.models import Samples, added, done, pairs, stepped
from tests.core.windows import (
    HOURS,
    KEY,
    MINUTES,
    RAW,
    START,
    Written,
    head_of,
    in_window,
    meant,
    sealed_at_once,
)

TIERS = (RAW, MINUTES, HOURS)
SPAN = 2 * HOURS.window

ALL = frozenset({"count", "sum", "min", "max", "last", "end", "lost"})


@dataclass
class Raw:
    """One window of the raw tier: what was sealed for good, what bit by bit, what was taken, what was appended."""

    whole: Written = field(default_factory=list)
    staged: Written = field(default_factory=list)
    sealing: Written = field(default_factory=list)
    head: Written = field(default_factory=list)
    fed: bool = False  # minutes have it

    def written(self) -> Written:
        return [*self.whole, *self.staged, *self.sealing, *self.head]

    def fields(self, window: int) -> dict[str, bytes]:
        fields = sealed_at_once(window, self.whole)
        return added(fields, done(moved(head_of(self.staged), window, KEY)))


@dataclass
class Host:
    """The windows of one host: those of minutes that are in `hours` are, with all of theirs, read from there."""

    raw: dict[int, Raw]
    hours: set[int]

    def written(self) -> Written:
        return [sample for window in sorted(self.raw) for sample in self.raw[window].written()]

    def counted(self) -> "Host":
        """The same with counters, which are reset where a window of minutes ends."""
        counts: dict[tuple[str, int], float] = {}
        for metric, samples in meant(self.written()).items():
            seen: dict[int, int] = {}
            for time in sorted(samples):
                counts[metric, time] = float(seen.setdefault(MINUTES.window_of(time), 0))
                seen[MINUTES.window_of(time)] += 1

        def same(written: Written) -> Written:
            return [(metric, time, counts[metric, time]) for metric, time, _ in written]

        raw = {
            window: Raw(same(one.whole), same(one.staged), same(one.sealing), same(one.head), one.fed)
            for window, one in self.raw.items()
        }
        return Host(raw, self.hours)

    def stored(self, tiers: tuple[Tier, ...] = TIERS) -> list[Stored]:
        """As the store gives them: of each part the coarsest tier that has it."""
        return self._read(self._fields, tiers, START, START + SPAN)

    @cached_property
    def _fields(self) -> dict[tuple[str, int], dict[str, bytes]]:
        found: dict[tuple[str, int], dict[str, bytes]] = {}
        for window, one in self.raw.items():
            found["raw", window] = one.fields(window)
            day = window - window % MINUTES.window
            if one.fed or day in self.hours:
                # what is still in heads has been sealed by then
                final = done(sealed(Sealed(window, {}, KEY), head_of(one.written())))
                old = Sealed(day, found.get(("1m", day), {}), KEY)
                found["1m", day] = done(rolled_up(old, [Sealed(window, final, KEY)], MINUTES, RAW))
        for day in self.hours:
            if ("1m", day) in found:
                window = day - day % HOURS.window
                old = Sealed(window, found.get(("1h", window), {}), KEY)
                found["1h", window] = done(rolled_up(old, [Sealed(day, found["1m", day], KEY)], HOURS, MINUTES))
        return found

    def _read(
        self, fields: Mapping[tuple[str, int], Mapping[str, bytes]], tiers: tuple[Tier, ...], low: int, high: int
    ) -> list[Stored]:
        tier, finer = tiers[-1], tiers[:-1]
        found: list[Stored] = []
        for window in range(low - low % tier.window, high, tier.window):
            have = fields.get((tier.name, window), {})
            flat = [item for name, value in have.items() for item in (name.encode(), value)]
            start, stop = max(low, window), min(high, window + tier.window)
            if not finer:
                one = self.raw.get(window, Raw())
                logs = head_of(one.sealing) or None, head_of(one.head) or None
                found += [Stored(tier, window, KEY, flat, *logs)] if flat or any(logs) else []
            elif FED_FIELD not in have:
                found += self._read(fields, finer, start, stop)
            else:
                found.append(Stored(tier, window, KEY, flat))
                for place, part in enumerate(range(window, window + tier.window, finer[-1].window)):
                    if have[FED_FIELD][place] != ord("1"):
                        found += self._read(fields, finer, part, part + finer[-1].window)
        return found


@st.composite
def hosts(draw: st.DrawFn) -> Host:
    raw: dict[int, Raw] = {}
    for window in draw(st.sets(st.integers(0, SPAN // RAW.window - 1), min_size=1, max_size=6)):
        start = START + window * RAW.window
        one = raw[start] = Raw(fed=draw(st.booleans()))
        for batch in draw(st.lists(in_window(start, RAW.window, 4), min_size=1, max_size=2)):
            draw(st.sampled_from([one.whole, one.staged, one.sealing, one.head])).extend(batch)
    days = sorted({window - window % MINUTES.window for window in raw})
    return Host(raw, draw(st.sets(st.sampled_from(days))))


def plan_of(step: int | None, agg: str) -> Plan:
    query = Query("*", "*", float(START), float(START + SPAN), None if step is None else float(step), agg)
    return Plan.of(query, TIERS, float(START))


def samples_of(pieces: list[Piece]) -> Samples:
    assert all(isinstance(piece, Column) for piece in pieces)
    return [(int(time), value) for piece in pieces if isinstance(piece, Column) for time, value in pairs(piece)]


class SeriesTests(SynchronousTestCase):
    @given(hosts())
    def test_raw(self, host: Host) -> None:
        """All that a window of samples has is one series, wherever in it: sealed, taken or just appended."""
        found = series_in(host.stored((RAW,)), pattern("*"), ALL)
        expected = {metric: sorted(samples.items()) for metric, samples in meant(host.written()).items()}
        self.assertEqual({metric: samples_of(pieces) for metric, pieces in found.items()}, expected)

    @settings(max_examples=60)
    @given(hosts(), st.sampled_from([10, 30, 60, 120, 240, 960]))
    def test_tiers(self, host: Host, step: int) -> None:
        """However the tiers alternate, each aggregate of any step is the one that all samples would give."""
        counted = host.counted()
        for agg in set(AGGS) - PERCENTILES.keys():
            plan = plan_of(step, agg)
            taken = counted if agg == "rate" else host
            model = meant(taken.written())
            found = series_in(taken.stored(plan.tiers), pattern("*"), plan.fields)
            self.assertEqual(set(found), set(model))
            for metric, pieces in found.items():
                expected = stepped(sorted(model[metric].items()), step * 1000, agg)
                answer = {time: value for time, value in pairs(plan.points(pieces)) if value == value}
                self.assertEqual(set(answer), set(expected), (metric, agg))
                values = [answer[time] for time in expected]
                np.testing.assert_allclose(values, list(expected.values()), rtol=1e-12, err_msg=agg)

    @given(hosts(), st.sampled_from([TIERS, TIERS[:2], TIERS[:1]]))
    def test_order(self, host: Host, tiers: tuple[Tier, ...]) -> None:
        """The pieces of a series follow each other in time, none is empty, and the last one has the newest sample."""
        model = meant(host.written())
        for metric, pieces in series_in(host.stored(tiers), pattern("*"), ALL).items():
            ends = START * 1000 - 1
            for piece in pieces:
                last = piece.columns["end"][-1] if isinstance(piece, Rollup) else piece.times[-1]
                self.assertTrue(ends < piece.times[0] and len(piece.times))
                self.assertTrue((np.diff(piece.times) > 0).all())
                ends = int(last)
            self.assertEqual(newest(pieces), max(model[metric].items()))

    @given(hosts(), st.sampled_from([10, 60, 240]))
    def test_extent(self, host: Host, step: int) -> None:
        """The extent of a series over a range is that of its samples."""
        plan = Plan("avg", TIERS, float(START), float(START + SPAN), float(START), float(step), EXTENT_FIELDS)
        model = meant(host.written())
        stored = host.stored(TIERS if step > 10 else TIERS[:2])
        for metric, pieces in series_in(stored, pattern("*"), EXTENT_FIELDS).items():
            found = extent(plan, pieces)
            assert found is not None
            values = list(model[metric].values())
            self.assertEqual((found.min, found.max, found.count), (min(values), max(values), len(values)))
            self.assertAlmostEqual(found.avg, sum(values) / len(values), places=9)
        self.assertIsNone(extent(plan, []))

    @given(hosts(), st.sampled_from(["*", "b.c", "b.c;tag=1", "a,ü", "b*", "nothing", "*;tag=2"]))
    def test_wanted(self, host: Host, text: str) -> None:
        """Only the metrics that are asked for are read. By name the store has chosen them, but not in heads."""
        wanted = pattern(text)
        every = series_in(host.stored(), pattern("*"), ALL)
        found = series_in([chosen(stored, wanted) for stored in host.stored()], wanted, ALL)
        self.assertEqual(set(found), {metric for metric in every if wanted.matches(metric)})
        for metric, pieces in found.items():
            self.assertEqual(len(pieces), len(every[metric]))
            for one, two in zip(pieces, every[metric], strict=True):
                self.assertEqual(one.times.tolist(), two.times.tolist())

    def test_repeated(self) -> None:
        """Of a sample that is in several places the one that came last counts: appended, taken, sealed in parts."""
        one: list[Written] = [[("a", START * 1000, float(at))] for at in range(4)]
        for whole, staged, sealing, head, value in (
            (one[0], one[1], one[2], one[3], 3.0),
            (one[0], one[1], one[2], [], 2.0),
            (one[0], one[1], [], [], 1.0),
            (one[3], [], one[1], [], 1.0),
            ([], [], one[2], one[0], 0.0),
            (one[2], [], [], one[0], 0.0),
        ):
            host = Host({START: Raw(whole, staged, sealing, head)}, set())
            self.assertEqual(
                samples_of(series_in(host.stored((RAW,)), pattern("*"), ALL)["a"]), [(START * 1000, value)]
            )

    def test_joined(self) -> None:
        """Samples of windows that follow each other are one piece, also where some of them are in heads."""
        written: list[Written] = [[("a", (START + 60 * at) * 1000 + 5, 1.0)] for at in range(5)]
        windows = [Raw(whole=written[0]), Raw(head=written[1]), Raw(sealing=written[2]), Raw(), Raw(staged=written[4])]
        host = Host({START + 60 * at: one for at, one in enumerate(windows)}, set())
        [pieces] = series_in(host.stored((RAW,)), pattern("*"), ALL).values()
        self.assertEqual([len(piece.times) for piece in pieces], [3, 1])

    @given(hosts(), st.integers(-1000, SPAN * 1000), st.integers(0, SPAN * 1000))
    def test_span(self, host: Host, low: int, length: int) -> None:
        """Samples are those of the span, if one is given; nothing is left of a piece that has none."""
        span = START * 1000 + low, START * 1000 + low + length
        expected = {
            metric: sorted((time, value) for time, value in samples.items() if span[0] <= time < span[1])
            for metric, samples in meant(host.written()).items()
        }
        found = series_in(host.stored((RAW,)), pattern("*"), ALL, span)
        self.assertEqual(
            {metric: samples_of(pieces) for metric, pieces in found.items()},
            {metric: samples for metric, samples in expected.items() if samples},
        )
        self.assertTrue(all(len(piece.times) for pieces in found.values() for piece in pieces))

    def test_refused(self) -> None:
        """What cannot be read is refused with the key of its window, and its metric or log."""
        written: Written = [("a", START * 1000, 1.0)]
        fields, times = sealed_at_once(START, written), TIMES_FIELD.encode()
        minutes = done(rolled_up(Sealed(START, {}, KEY), [Sealed(START, fields, KEY)], MINUTES, RAW))
        newer = b"\2" + fields["a"][1:]
        for stored, shown in (
            (Stored(RAW, START, KEY, [b"a", newer]), f"{KEY} a: chunk version 2"),
            (Stored(RAW, START, KEY, [b"a", fields["a"][:-1]]), f"{KEY} a: cut off"),
            (
                Stored(RAW, START, KEY, [b"a", fields["a"], times, b"\1"]),
                f"{KEY} {TIMES_FIELD}: cut off",
            ),
            (Stored(MINUTES, START, KEY, [b"a", b"\2" + minutes["a"][1:]]), f"{KEY} a: chunk version 2"),
            (Stored(MINUTES, START, KEY, [b"a", minutes["a"][:-1]]), f"{KEY} a: cut off"),
            (Stored(RAW, START, KEY, [], head_of(written)[:-1]), f"{KEY}:sealing: cut off"),
            (Stored(RAW, START, KEY, [], None, head_of(written)[:-1]), f"{KEY}:head: cut off"),
        ):
            with self.assertRaises(FormatError) as caught:
                series_in([stored], pattern("*"), ALL)
            self.assertIn(shown, str(caught.exception))

    def test_nothing(self) -> None:
        """Of no windows, or of empty ones, there are no series."""
        self.assertEqual(series_in([], pattern("*"), ALL), {})
        empty = [Stored(RAW, START, KEY, []), Stored(MINUTES, START, KEY, [FED_FIELD.encode(), b"1000"])]
        self.assertEqual(series_in(empty, pattern("*"), ALL), {})


def chosen(stored: Stored, wanted: Pattern) -> Stored:
    """What the store gives of a window for a pattern: by name only those fields, with what belongs to them."""
    if not wanted.names:
        return stored
    kept = [
        item
        for name, value in zip(stored.fields[0::2], stored.fields[1::2], strict=True)
        if name == TIMES_FIELD.encode() or (not name.startswith(b";") and wanted.matches(name.decode()))
        for item in (name, value)
    ]
    return stored._replace(fields=kept)
