"""Tests for `perfmon.core.sealed`."""

from collections.abc import Mapping

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.chunks import AGGREGATES, TAGGED_FIELD, TIMES_FIELD, block
from perfmon.core.frames import FormatError, head_frame, names_frame
from perfmon.core.rollups import decode_rollup, increases, regrouped, rolled
from perfmon.core.sealed import FED_FIELD, Fields, Sealed, fed, moved, rolled_up, sealed
from perfmon.core.tiers import Tier
from tests.core import models
from tests.core.models import (
    Samples,
    added,
    column,
    done,
    parts,
    parts_one_by_one,
    rises,
    rolled_one_by_one,
)
from tests.core.windows import (
    HOURS,
    KEY,
    MINUTES,
    RAW,
    START,
    Model,
    Written,
    head_of,
    in_window,
    meant,
    of_model,
    raw,
    sealed_at_once,
)


class SealedTests(SynchronousTestCase):
    @given(st.lists(st.tuples(in_window(START, 60), st.booleans()), max_size=6))
    def test_any(self, steps: list[tuple[Written, bool]]) -> None:
        """Sealed in parts or whole, late or repeated, in any order: the window has what dictionaries have."""
        fields: dict[str, bytes] = {}
        written: Written = []
        for batch, whole in steps:
            written += batch
            if whole:
                fields = done(sealed(Sealed(START, fields, KEY), head_of(batch)))
            else:
                fields = added(fields, done(moved(head_of(batch), START, KEY)))
            expected = {metric: sorted(samples.items()) for metric, samples in meant(written).items()}
            self.assertEqual(raw(fields), expected)

    @given(st.lists(in_window(START, 60), max_size=4), st.data())
    def test_the_same_in_the_end(self, batches: list[Written], data: st.DataObject) -> None:
        """However it came there, a whole window is the same to the byte (but for the order of its fields)."""
        fields: dict[str, bytes] = {}
        for batch in batches:
            if data.draw(st.booleans()):
                fields = done(sealed(Sealed(START, fields, KEY), head_of(batch)))
            else:
                fields = added(fields, done(moved(head_of(batch), START, KEY)))
        once = sealed_at_once(START, of_model(meant(sample for batch in batches for sample in batch)))
        self.assertEqual(done(sealed(Sealed(START, fields, KEY), None)), once)

    @given(in_window(START, 60), in_window(START, 60))
    def test_again(self, before: Written, batch: Written) -> None:
        """A head that is sealed again, because nobody knows whether it was, changes nothing."""
        old = sealed_at_once(START, before)
        once = done(sealed(Sealed(START, old, KEY), head_of(batch)))
        self.assertEqual(done(sealed(Sealed(START, old, KEY), head_of(batch))), once)
        self.assertEqual(done(sealed(Sealed(START, once, KEY), head_of(batch))), once)
        self.assertEqual(done(sealed(Sealed(START, once, KEY), None)), once)
        staged = done(moved(head_of(batch), START, KEY))
        twice = added(added(old, staged), staged)
        self.assertEqual(done(sealed(Sealed(START, twice, KEY), None)), once)

    def test_nothing(self) -> None:
        """Of no head, or of one of names alone, comes nothing."""
        for head in (None, b"", head_frame(b"identity"), head_frame(b"identity") + names_frame(1, 0, ["a"])):
            self.assertEqual(done(sealed(Sealed(START, {}, KEY), head)), {})
            self.assertEqual(done(moved(head or b"", START, KEY)), {})

    def test_tagged(self) -> None:
        """The names of metrics with tags are told, also those that only the window had before."""
        fields = sealed_at_once(START, [("a;k=1", START * 1000, 1.0)])
        for batch, names in (([], b"\na\n"), ([("b;k=2", START * 1000, 1.0), ("c", START * 1000, 1.0)], b"\na\nb\n")):
            found = done(sealed(Sealed(START, fields, KEY), head_of(batch)))
            self.assertEqual(found[TAGGED_FIELD], names)

    def test_turns(self) -> None:
        """There is a rest for each metric and more, and what was begun need not be ended."""
        written: Written = [(f"m{i}", START * 1000 + i, 1.0) for i in range(50)]
        old = sealed_at_once(START, written)
        for fields, head in ((old, None), ({}, head_of(written)), (old, head_of(written))):
            self.assertGreaterEqual(sum(1 for _ in sealed(Sealed(START, fields, KEY), head)), 50)
        self.assertGreaterEqual(sum(1 for _ in moved(head_of(written), START, KEY)), 2)
        work = sealed(Sealed(START, old, KEY), head_of(written))
        next(work)
        work.close()

    def test_refused(self) -> None:
        """What cannot be read is refused with its key: the window, its metric, or the head that was taken."""
        written: Written = [("a", START * 1000, 1.0)]
        fields, head = sealed_at_once(START, written), head_of(written)
        for old, taken, shown in (
            ({"a": b"\2" + fields["a"][1:]}, head, f"{KEY} a: chunk version 2"),
            ({"a": fields["a"][:-1]}, None, f"{KEY} a: cut off"),
            ({**fields, TIMES_FIELD: b"\1"}, None, f"{KEY} {TIMES_FIELD}: cut off"),
            (fields, head[:-1], f"{KEY}:sealing: cut off"),
            (fields, b"S\2" + head[2:], f"{KEY}:sealing: frame version 2"),
        ):
            with self.assertRaises(FormatError) as caught:
                done(sealed(Sealed(START, old, KEY), taken))
            self.assertIn(shown, str(caught.exception))
        with self.assertRaises(FormatError) as caught:
            done(moved(head[:-1], START, f"{KEY}:sealing"))
        self.assertIn(f"{KEY}:sealing: cut off", str(caught.exception))


class Coarse:
    """A window of a coarser tier, as it is fed, and what it should have."""

    def __init__(self, case: SynchronousTestCase, tier: Tier, finer: Tier) -> None:
        self.case = case
        self.tier = tier
        self.finer = finer
        self.fields: dict[str, bytes] = {}
        self.latest: dict[int, Model] = {}  # by window of the finer tier

    def feed(self, found: Mapping[int, Model], parts: list[Sealed]) -> None:
        """Rolls up `parts`, which have what `found` has, by window."""
        self.latest |= found
        self.fields = done(rolled_up(Sealed(START, self.fields, "pm:coarse"), parts, self.tier, self.finer))

    def expected(self) -> dict[str, Samples]:
        model: Model = {}
        for window in self.latest.values():
            for metric, samples in window.items():
                model.setdefault(metric, {}).update(samples)
        return {metric: sorted(samples.items()) for metric, samples in model.items() if samples}

    def check(self, losses: bool = False) -> None:
        """What it has is what is made of all samples one by one."""
        step, part = self.tier.step * 1000, self.finer.window * 1000
        expected = self.expected()
        self.case.assertEqual({name for name in self.fields if not name.startswith(";")}, set(expected))
        for metric, samples in expected.items():
            found = decode_rollup(self.fields[metric], START)
            model = rolled_one_by_one(samples, step, part)
            self.case.assertEqual(found.times.tolist(), list(model))
            for name, values in found.columns.items():
                if name != "lost" or losses:
                    self.case.assertEqual(values.tolist(), [each[name] for each in model.values()], name)
            self.case.assertEqual(parts(found), parts_one_by_one(samples, step, part))
        count = self.tier.window // self.finer.window
        digits = b"".join(b"1" if START + at * self.finer.window in self.latest else b"0" for at in range(count))
        self.case.assertEqual(self.fields[FED_FIELD], digits)
        tagged = sorted({metric.partition(";")[0] for metric in expected if ";" in metric})
        self.case.assertEqual(self.fields.get(TAGGED_FIELD, b"").split(), [name.encode() for name in tagged])


@st.composite
def feeds(draw: st.DrawFn) -> list[dict[int, Written]]:
    """What is sealed of some windows of the raw tier, and rolled up together, one time after another."""
    windows = st.lists(st.integers(0, 3).map(lambda at: START + 60 * at), max_size=4, unique=True)
    return [{window: draw(in_window(window, 60)) for window in draw(windows)} for _ in range(draw(st.integers(1, 4)))]


@st.composite
def counted(draw: st.DrawFn) -> dict[int, Written]:
    """A counter in each raw window of a window of hours, some of it missing, that is reset now and then."""
    value = 0.0
    found: dict[int, Written] = {}
    for window in range(START, START + HOURS.window, RAW.window):
        if draw(st.integers(0, 4)):
            reset = draw(st.integers(0, 60))  # of 30 samples, or of none of them
            for at in range(30):
                value = float(draw(st.integers(0, 3))) if at == reset else value + at % 7
                found.setdefault(window, []).append(("a", (window + 2 * at) * 1000, value))
    return found


def without_losses(fields: Fields) -> dict[str, object]:
    """All that the fields of a coarser window say, but for what resets took away."""
    found: dict[str, object] = dict(fields)
    for metric in Sealed(START, fields, KEY).metrics():
        rollup = decode_rollup(fields[metric], START)
        kept = [
            {name: value for name, value in step.items() if name != "lost"} for step in models.steps(rollup).values()
        ]
        found[metric] = rollup.times.tolist(), kept, parts(rollup)
    return found


class RolledUpTests(SynchronousTestCase):
    @given(feeds())
    def test_any(self, steps: list[dict[int, Written]]) -> None:
        """Whichever parts are renewed, in whatever order: the window has what all made anew would have."""
        coarse = Coarse(self, MINUTES, RAW)
        for step in steps:
            sealed_parts = [Sealed(window, sealed_at_once(window, one), KEY) for window, one in step.items()]
            coarse.feed({window: meant(one) for window, one in step.items()}, sealed_parts)
            coarse.check()

    @given(st.lists(feeds(), min_size=1, max_size=2))
    def test_hours(self, times: list[list[dict[int, Written]]]) -> None:
        """Hours of minutes are what hours of the samples would be, also when the minutes are made anew."""
        hours = Coarse(self, HOURS, MINUTES)
        for days in times:
            minutes = Coarse(self, MINUTES, RAW)
            for step in days:
                sealed_parts = [Sealed(window, sealed_at_once(window, one), KEY) for window, one in step.items()]
                minutes.feed({window: meant(one) for window, one in step.items()}, sealed_parts)
            model = {metric: dict(samples) for metric, samples in minutes.expected().items()}
            hours.feed({START: model}, [Sealed(START, minutes.fields, "pm:minutes")])
            hours.check()

    @given(feeds())
    def test_again(self, steps: list[dict[int, Written]]) -> None:
        """What is rolled up again, because nobody knows whether it was, changes nothing (but losses, of no counter)."""
        fields: dict[str, bytes] = {}
        for step in steps:
            sealed_parts = [Sealed(window, sealed_at_once(window, one), KEY) for window, one in step.items()]
            once = done(rolled_up(Sealed(START, fields, KEY), sealed_parts, MINUTES, RAW))
            fields = done(rolled_up(Sealed(START, once, KEY), sealed_parts, MINUTES, RAW))
            self.assertEqual(without_losses(fields), without_losses(once))

    def test_only_its_parts(self) -> None:
        """A part that is renewed without a metric takes it away, and leaves those of the other parts."""
        coarse = Coarse(self, MINUTES, RAW)
        one, two = START, START + 60
        both: Written = [("a", one * 1000, 1.0), ("b;k=1", one * 1000, 2.0), ("a", two * 1000, 3.0)]
        steps: list[dict[int, Written]] = [
            {one: both[:2], two: both[2:]},
            {one: [("a", one * 1000 + 5, 4.0)]},
            {two: [("c", two * 1000, 5.0)]},
            {one: [], two: []},
        ]
        for step, metrics in zip(steps, ({"a", "b;k=1"}, {"a"}, {"a", "c"}, set[str]()), strict=True):
            sealed_parts = [Sealed(window, sealed_at_once(window, written), KEY) for window, written in step.items()]
            coarse.feed({window: meant(written) for window, written in step.items()}, sealed_parts)
            self.assertEqual(set(coarse.expected()), metrics)
            coarse.check()

    def test_fed(self) -> None:
        """`;fed` has a 1 for each part that was taken in, also one with nothing in it, and never loses one."""
        fields: dict[str, bytes] = {}
        for windows, digits in (([2], b"0010"), ([2], b"0010"), ([0, 3], b"1011"), ([], b"1011"), ([1, 0], b"1111")):
            parts_of_it = [Sealed(START + 60 * at, {}, KEY) for at in windows]
            fields = done(rolled_up(Sealed(START, fields, KEY), parts_of_it, MINUTES, RAW))
            self.assertEqual(fields, {FED_FIELD: digits})
            target = Sealed(START, fields, KEY)
            self.assertEqual([fed(target, START + 60 * at, RAW) for at in range(4)], [digit == 49 for digit in digits])
        self.assertFalse(fed(Sealed(START, {}, KEY), START, RAW))

    def test_staged_parts(self) -> None:
        """A part that was sealed bit by bit, and not yet for good, is rolled up as one that was."""
        written: Written = [("a", START * 1000 + 700 * i, float(i % 5)) for i in range(60)]
        staged: dict[str, bytes] = {}
        for batch in (written[40:], written[:20], written[10:45]):
            staged = added(staged, done(moved(head_of(batch), START, KEY)))
        whole = sealed_at_once(START, written)
        self.assertNotEqual(staged, whole)
        self.assertEqual(
            *(
                done(rolled_up(Sealed(START, {}, KEY), [Sealed(START, fields, KEY)], MINUTES, RAW))
                for fields in (staged, whole)
            )
        )

    @settings(max_examples=30)
    @given(counted(), st.data())
    def test_conserved(self, written: dict[int, Written], data: st.DataObject) -> None:
        """From samples through minutes to hours no sample is lost, and a counter rose by as much, resets included."""
        hours = Coarse(self, HOURS, MINUTES)
        days: list[tuple[int, dict[str, bytes]]] = []
        for day in range(START, START + HOURS.window, MINUTES.window):
            minutes: dict[str, bytes] = {}
            windows = [window for window in range(day, day + MINUTES.window, RAW.window) if window in written]
            windows = data.draw(st.permutations(windows))
            while windows:
                taken, windows = windows[:2], windows[2:]
                parts_of_it = [Sealed(window, sealed_at_once(window, written[window]), KEY) for window in taken]
                minutes = done(rolled_up(Sealed(day, minutes, KEY), parts_of_it, MINUTES, RAW))
            if minutes:
                days.append((day, minutes))
        days = data.draw(st.permutations(days))
        while days:
            several, days = days[:3], days[3:]
            found = {
                day: meant(sample for at in range(day, day + MINUTES.window, 60) for sample in written.get(at, []))
                for day, _ in several
            }
            hours.feed(found, [Sealed(day, minutes, KEY) for day, minutes in several])
        if hours.fields:
            hours.check(losses=True)
            [(_, samples)] = hours.expected().items()
            found_hours = decode_rollup(hours.fields["a"], START)
            self.assertEqual(found_hours.columns["count"].sum(), len(samples))
            self.assertEqual(increases(found_hours)[0].sum(), sum(rise for _, _, rise in rises(samples)))
            of_samples = rolled(column(samples), HOURS.step * 1000)
            for name, values in regrouped(found_hours, HOURS.step * 1000).columns.items():
                self.assertEqual(values.tolist(), of_samples.columns[name].tolist(), name)

    def test_turns(self) -> None:
        """There are rests for each metric."""
        written: Written = [(f"m{i}", START * 1000 + i, 1.0) for i in range(50)]
        part = Sealed(START, sealed_at_once(START, written), KEY)
        self.assertGreaterEqual(sum(1 for _ in rolled_up(Sealed(START, {}, KEY), [part], MINUTES, RAW)), 50)

    def test_refused(self) -> None:
        """What cannot be read is refused with the key of its window, and its metric."""
        written: Written = [("a", START * 1000, 1.0)]
        part = sealed_at_once(START, written)
        fine = done(rolled_up(Sealed(START, {}, KEY), [Sealed(START, part, KEY)], MINUTES, RAW))
        broken = {"a": block(AGGREGATES, b"")}
        for old, finer_fields, tiers, shown in (
            ({}, {"a": part["a"][:-1]}, (MINUTES, RAW), "pm:finer a: cut off"),
            ({}, {**part, TIMES_FIELD: b"\2" * 9}, (MINUTES, RAW), f"pm:finer {TIMES_FIELD}: chunk version 2"),
            (broken, part, (MINUTES, RAW), "pm:coarser a: "),
            ({}, broken, (HOURS, MINUTES), "pm:finer a: "),
            (broken, fine, (HOURS, MINUTES), "pm:coarser a: "),
        ):
            with self.assertRaises(FormatError) as caught:
                done(rolled_up(Sealed(START, old, "pm:coarser"), [Sealed(START, finer_fields, "pm:finer")], *tiers))
            self.assertIn(shown, str(caught.exception))
