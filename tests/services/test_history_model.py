"""What is read is what was written: the history against a model of dictionaries, under any schedule.

Two collectors write, any number seal; they stop in the middle of a step, or are overtaken by others; samples come in
any order, again, and late.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any

from hypothesis import given, note, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, ensureDeferred

from perfmon.core.globs import pattern
from perfmon.core.query import Plan, Query
from perfmon.core.rollups import decode_rollup
from perfmon.core.tiers import DAY, HOURS, MINUTES, RAW, WindowName
from perfmon.services.sealing import LEASE
from perfmon.storage import keys
from perfmon.storage.history import History
from perfmon.storage.store import StoreUnavailable
from perfmon.storage.windows import Windows
from tests.services.simulated import Link, SimulatedCase, Simulation, done
from tests.storage.samples import Round, Samples, Writer, as_samples, stored

HOSTS = ("web1", "db1")
COUNTER = "net;direction=in"
SCHEMAS = (("cpu",), ("cpu", COUNTER), ("mem;state=used", "mem;state=free", "cpu"), (COUNTER, "mem;state=used"))
AGGS = ("avg", "min", "max", "sum", "count", "last", "rate")
STEPS = (60, 300, 3600, DAY)

# A schedule is no longer: nothing waits until it has ended unseen.
MOST_DAYS = 6

Series = dict[int, float]  # ms since the epoch -> value


def counter(time: int) -> float:
    """Of a counter that is reset at midnight; exact in binary."""
    return time // 1000 % DAY * 0.5 + 1.0


def expected(series: Series, step: int, agg: str) -> Series:
    """One aggregation of a series by steps of `step` s, by the time in ms."""
    found: Series = {}
    before: tuple[int, float] | None = None  # the last sample of the step before
    for start, group in groupby(sorted(series.items()), lambda sample: sample[0] // (step * 1000) * step * 1000):
        samples = list(group)
        values = [value for _, value in samples]
        if agg == "rate":
            known = [before, *samples] if before is not None else samples
            rise = sum(b - a if b >= a else b for (_, a), (_, b) in pairwise(known))
            seconds = (samples[-1][0] - known[0][0]) / 1000
            if seconds:
                found[start] = rise / seconds
            before = samples[-1]
        else:
            found[start] = {
                "avg": sum(values) / len(values),
                "min": min(values),
                "max": max(values),
                "sum": sum(values),
                "count": float(len(values)),
                "last": values[-1],
            }[agg]
    return found


async def read(simulation: Simulation, query: Query, windows: Windows | None = None) -> Samples:
    """The points of an answer that have a value."""
    history = History(windows or simulation.store.windows)
    plan = Plan.of(query, simulation.tiers, simulation.now)
    found: Samples = {}
    async for host, series in history.read(query.host.split(","), pattern(query.metric), plan, simulation.now):
        for metric, pieces in series.items():
            points = plan.points(pieces)
            values = {
                round(time * 1000): value
                for time, value in zip(points.times.tolist(), points.values.tolist(), strict=True)
                if value == value
            }
            if values:
                found[host, metric] = values
    return found


@dataclass(frozen=True)
class Write:
    """One commit of one of the collectors."""

    writer: int
    as_columns: bool
    rounds: dict[tuple[str, int], tuple[tuple[str, ...], int]]  # (host, age in s) -> metrics, value

    def at(self, now: float) -> list[Round]:
        """What is written at `now`."""
        rounds: list[Round] = []
        for (host, age), (metrics, value) in self.rounds.items():
            time = int(now) // 10 * 10_000 - age * 1000
            values = {metric: counter(time) if metric == COUNTER else value * 0.25 for metric in metrics}
            rounds.append((host, time, values))
        return rounds


@dataclass(frozen=True)
class Seal:
    """A collector does what is due, so many times at the most."""

    times: int


@dataclass(frozen=True)
class Crash:
    """A collector that seals dies after so many calls to the store, the one after them done or not."""

    calls: int
    done: bool


@dataclass(frozen=True)
class Hold:
    """A collector that seals is stuck after so many calls, until the next `Release`."""

    calls: int


@dataclass(frozen=True)
class Release:
    """It goes on."""


@dataclass(frozen=True)
class Overtake:
    """A collector that seals is stuck after so many calls; time passes, another one does what is due, it goes on."""

    calls: int
    seconds: float


@dataclass(frozen=True)
class Advance:
    seconds: float


Step = Write | Seal | Crash | Hold | Release | Overtake | Advance

ages = st.one_of(
    st.integers(-60, 30).map(lambda tens: tens * 10),
    st.integers(0, 600).map(lambda tens: tens * 10),
    # also the oldest that are taken in
    st.integers(0, RAW.retention // 1800 - 1).map(lambda halves: halves * 1800 + 1790),
)
rounds = st.dictionaries(
    st.tuples(st.sampled_from(HOSTS), ages),
    st.tuples(st.sampled_from(SCHEMAS), st.integers(-4, 8)),
    min_size=1,
    max_size=16,
)
writes = st.builds(Write, st.integers(0, 1), st.booleans(), rounds)
calls = st.integers(0, 12)
steps = st.one_of(
    writes,
    writes,
    st.builds(Seal, st.integers(1, 30)),
    st.builds(Crash, calls, st.booleans()),
    st.builds(Hold, calls),
    st.just(Release()),
    st.builds(Overtake, calls, st.sampled_from([0, 11, 31, LEASE + 1])),
    st.sampled_from([1, 31, 61, 601, 661, 3_660, 21_600, DAY]).map(Advance),
)


class Schedule:
    """A schedule under way, and its model."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.model: Samples = {}
        self.writers = [Writer(simulation.store), Writer(simulation.collector())]
        self.start = int(simulation.now) - 3 * DAY
        self._days = 0.0
        self._stuck: tuple[Link, Deferred[Any]] | None = None

    def run(self, step: Step) -> None:
        simulation = self.simulation
        match step:
            case Write():
                given = step.at(simulation.now)
                writer = self.writers[step.writer]
                done((writer.columns if step.as_columns else writer.rows)(given, simulation.now))
                for series, samples in as_samples(given).items():
                    self.model.setdefault(series, {}).update(samples)
            case Seal():
                sealing = simulation.sealing()
                for _ in range(step.times):
                    if not done(sealing.work()):
                        break
            case Crash():
                link = Link(simulation.client)
                link.fail_after(step.calls, step.done)
                sealing = simulation.sealing(link)
                try:
                    while done(sealing.work()):
                        pass
                except StoreUnavailable:
                    pass
            case Hold() if self._stuck is None:
                link = Link(simulation.client)
                link.hold_after(step.calls)
                work = ensureDeferred(simulation.sealing(link).work())
                if link.holds:
                    self._stuck = link, work
            case Release() if self._stuck is not None:
                (link, work), self._stuck = self._stuck, None
                link.release()
                done(_result(work))
            case Overtake():
                for one in (Hold(step.calls), Advance(step.seconds), Seal(50), Release()):
                    self.run(one)
            case Advance():
                self._days += step.seconds / DAY
                if self._days <= MOST_DAYS:
                    simulation.advance(step.seconds)
        simulation.expire()

    def check_raw(self, case: SimulatedCase) -> None:
        """What is kept as it was sent is there, and nothing else."""
        now = self.simulation.now
        found = done(stored(self.simulation.store.windows, HOSTS, self.start, now + DAY, now))
        oldest = (now - RAW.retention) * 1000
        for series in self.model.keys() | found.keys():
            written, there = self.model.get(series, {}), found.get(series, {})
            case.assertEqual(there, {time: written.get(time) for time in there}, series)
            missing = {time for time in written if time > oldest} - there.keys()
            case.assertEqual(missing, set(), series)

    def check_steps(self, case: SimulatedCase, steps: Sequence[int], aggs: Sequence[str] = AGGS) -> None:
        """Every aggregation is that of all that was ever written."""
        stop = self.simulation.now + DAY
        for step in steps:
            answers = {}
            for agg in aggs:
                metric = COUNTER if agg == "rate" else "*"
                answers[agg] = done(read(self.simulation, Query(",".join(HOSTS), metric, self.start, stop, step, agg)))
                right = {
                    series: values
                    for series, samples in self.model.items()
                    if metric in ("*", series[1]) and (values := expected(samples, step, agg))
                }
                case.assertEqual(answers[agg], right, (step, agg))
            for series, averages in answers.get("avg", {}).items():
                for time, average in averages.items():
                    case.assertLessEqual(answers["min"][series][time], average)
                    case.assertLessEqual(average, answers["max"][series][time])

    def check_counts(self, case: SimulatedCase) -> None:
        """No tier has more or fewer samples than the one before it, in any window of minutes."""
        written: dict[tuple[str, str, int], float] = {}
        for (host, metric), samples in self.model.items():
            for time in samples:
                _add(written, (host, metric, MINUTES.window_of(time)), 1.0)
        for tier in (MINUTES, HOURS):
            counted: dict[tuple[str, str, int], float] = {}
            windows = tier.windows(self.start * 1000, int(self.simulation.now) * 1000)
            for name in (WindowName(host, tier.name, window) for host in HOSTS for window in windows):
                for metric, chunk in done(self.simulation.store.windows.fields(name)).items():
                    if not metric.startswith(";"):
                        rollup = decode_rollup(chunk, name.window)
                        for time, count in zip(rollup.times.tolist(), rollup.columns["count"].tolist(), strict=True):
                            _add(counted, (name.host, metric, MINUTES.window_of(time)), count)
            case.assertEqual(counted, written, tier.name)

    def finish(self) -> None:
        """Who was stuck goes on."""
        self.run(Release())

    def check_nothing_waits(self, case: SimulatedCase) -> None:
        """Nothing is under way, and nothing is to be done."""
        client = self.simulation.client
        case.assertEqual([key for key in client("KEYS", "*") if key.endswith((b":sealing", b":head"))], [])
        for tier in self.simulation.tiers:
            case.assertEqual(client("ZRANGE", keys.open_windows(tier.name), 0, -1, "WITHSCORES"), [])


def _add(counts: dict[tuple[str, str, int], float], key: tuple[str, str, int], count: float) -> None:
    counts[key] = counts.get(key, 0.0) + count


async def _result(deferred: Deferred[Any]) -> Any:
    return await deferred


class HistoryModelTests(SimulatedCase):
    @settings(max_examples=25)
    @given(st.floats(0.0, DAY, exclude_max=True), st.lists(steps, max_size=24), st.integers(0, 2**32))
    def test_any_schedule(self, begin: float, plan: list[Step], seed: int) -> None:
        """Whatever is written, sealed, cut off and overtaken, everything is read as it was written."""
        simulation = self.simulation()
        simulation.advance(begin)
        schedule = Schedule(simulation)
        for step in plan:
            schedule.run(step)
            schedule.check_raw(self)
        schedule.finish()
        simulation.settle()
        note(f"settled at {simulation.now}")
        schedule.check_raw(self)
        schedule.check_steps(self, STEPS)
        self._check_a_part(schedule, random.Random(seed))

        # the last day is over, and then its samples have ended, and then its minutes
        simulation.advance(DAY + 3_600.0)
        simulation.settle()
        schedule.check_nothing_waits(self)
        schedule.check_counts(self)
        schedule.check_steps(self, STEPS)
        for tier, steps in ((RAW, STEPS), (MINUTES, STEPS[2:])):
            simulation.advance(tier.retention + 2 * tier.window)
            self.assertEqual(simulation.client("KEYS", f"pm:{{*:{tier.name}:*"), [])
            schedule.check_steps(self, steps, ("avg", "min", "max", "count", "rate"))

    def _check_a_part(self, schedule: Schedule, choice: random.Random) -> None:
        """A question about some part of the time, and one metric by its name."""
        now = int(schedule.simulation.now)
        for step, agg in ((60, "sum"), (300, "last"), (3600, "count"), (90, "max")):
            start = now - choice.randrange(RAW.retention)
            stop = start + choice.randrange(1, 2 * DAY)
            first, last = start // step * step, -(-stop // step) * step
            for metric in ("cpu", "mem", COUNTER):
                found = done(read(schedule.simulation, Query(",".join(HOSTS), metric, start, stop, step, agg)))
                right = {
                    series: values
                    for series, samples in schedule.model.items()
                    if metric in (series[1], series[1].partition(";")[0])
                    and (
                        values := {
                            time: value
                            for time, value in expected(samples, step, agg).items()
                            if first * 1000 <= time < last * 1000
                        }
                    )
                }
                self.assertEqual(found, right, (start, stop, step, agg, metric))
