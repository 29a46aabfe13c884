"""Tests for `perfmon.core.numbering`."""

import struct
from collections.abc import Sequence
from itertools import count
from math import isnan, nan
from random import Random

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.globs import pattern
from perfmon.core.numbering import Columns, HostLog, Numbering, Row
from perfmon.core.words import Text

WRITER = 0xABCD


def row(log: HostLog, first: int, time_ms: int, values: list[float]) -> Row:
    return Row(log, first, time_ms, struct.pack(f"<{len(values)}d", *values))


def columns(numbering: Numbering, samples: Sequence[tuple[str, str, int, float]]) -> Columns:
    """Samples (host, metric, ms, value) as columns."""
    return Columns(
        numbering,
        np.array([numbering.series(host, metric) for host, metric, _, _ in samples], np.int64),
        np.array([time for _, _, time, _ in samples], np.int64),
        np.array([value for _, _, _, value in samples], np.float64),
    )


class HostLogNumberTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log = HostLog("web1", WRITER)

    def test_dense(self) -> None:
        """Metrics are numbered from 0 in the order they are met, each once."""
        self.assertEqual([self.log.number(name) for name in ("a", "b", "a", "c", "b")], [0, 1, 0, 2, 1])
        self.assertEqual(self.log.names, ["a", "b", "c"])

    def test_run(self) -> None:
        """The metrics of a schema get consecutive numbers, the same ones every time."""
        self.log.number("x")
        self.assertEqual(self.log.run(["a", "b"]), 1)
        self.assertEqual(self.log.run(("a", "b")), 1)
        self.assertEqual(self.log.names, ["x", "a", "b"])
        self.assertEqual(self.log.number("b"), 2)

    def test_run_within_a_run(self) -> None:
        """A schema that stands in the numbering already needs no new numbers."""
        self.log.run(["a", "b", "c"])
        self.assertEqual([self.log.run(part) for part in (["a"], ["a", "b"], ["b", "c"], ["c"])], [0, 0, 1, 2])
        self.assertEqual(len(self.log.names), 3)

    def test_run_past_the_end(self) -> None:
        """A schema that begins like the last numbers and goes on is a new one."""
        self.log.run(["a", "b"])
        self.assertEqual(self.log.run(["a", "b", "c"]), 2)
        self.assertEqual(self.log.names[2:], ["a", "b", "c"])

    def test_runs_in_turn(self) -> None:
        """Schemas that come in turn (a disk that comes and goes) keep their numbers: nothing grows."""
        schemas = (["a", "b"], ["a", "c"], ["b", "a"], ["a", "a"])
        first = [self.log.run(schema) for schema in schemas]
        self.assertEqual(first, [0, 2, 1, 4])
        self.assertEqual([self.log.run(schema) for schema in schemas], first)
        self.assertEqual(len(self.log.names), 6)

    def test_number_stays(self) -> None:
        """A metric keeps its own number when schemas number it again."""
        self.assertEqual(self.log.number("a"), 0)
        self.log.run(["b", "a"])
        self.assertEqual(self.log.number("a"), 0)
        self.assertEqual(self.log.number("b"), 1)
        self.log.run(["c", "b"])
        self.assertEqual(self.log.number("b"), 1)

    @example(["a", ["a", "a"], ["a", "a"]])
    @given(st.lists(st.sampled_from("abcd") | st.lists(st.sampled_from("abcd"), min_size=1, max_size=4), max_size=20))
    def test_any(self, asked: list[str | list[str]]) -> None:
        """Numbers mean what they were given for, stay, and name every metric that was asked for."""
        log = HostLog("web1", WRITER)
        answers: dict[str | tuple[str, ...], int] = {}
        for item in asked:
            if isinstance(item, str):
                self.assertEqual(log.number(item), answers.setdefault(item, log.number(item)))
            else:
                first = log.run(item)
                self.assertEqual(first, answers.setdefault(tuple(item), first))
                self.assertEqual(log.names[first : first + len(item)], item)
        for asked_for, first in answers.items():
            names = [asked_for] if isinstance(asked_for, str) else list(asked_for)
            self.assertEqual(log.names[first : first + len(names)], names)


class HostLogHeadTests(SynchronousTestCase):
    def test_remembered(self) -> None:
        """The state of a head is the same object until it is pushed out."""
        log = HostLog("web1", WRITER)
        state = log.head(3600)
        self.assertEqual((state.declared, state.identity), (0, b""))
        self.assertIs(log.head(3600), state)

    def test_the_newest_are_kept(self) -> None:
        """Three windows are remembered, the newest ones; an older one is begun anew each time."""
        log = HostLog("web1", WRITER)
        states = {window: log.head(window) for window in (7200, 3600, 10_800)}
        self.assertIsNot(log.head(0), log.head(0))
        self.assertEqual(set(log.heads), {3600, 7200, 10_800})
        log.head(14_400)
        self.assertEqual(set(log.heads), {7200, 10_800, 14_400})
        self.assertIs(log.head(7200), states[7200])
        self.assertIsNot(log.head(3600), states[3600])


class LatestTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.numbering = Numbering(count(1).__next__)

    def see(self, *samples: tuple[str, int, float]) -> None:
        """Shows samples (metric, ms, value) of web1 to the numbering, as one batch."""
        self.numbering.saw(columns(self.numbering, [("web1", *sample) for sample in samples]))

    def see_row(self, schema: list[str], time_ms: int, values: list[float]) -> None:
        log, first = self.numbering.schema("web1", schema)
        log.saw_row(row(log, first, time_ms, values))

    def latest(self, wanted: str = "*") -> dict[str, tuple[int, float]] | None:
        return self.numbering.latest("web1", pattern(wanted))

    def test_wanted(self) -> None:
        """Only the metrics that are wanted; where there are others only, there is something, and nothing of these."""
        self.see(("a", 1000, 1.0), ("b;x=y", 1000, 2.0))
        self.see_row(["c", "d", "e"], 2000, [3.0, 4.0, 5.0])
        self.see_row(["c", "d"], 3000, [6.0, 7.0])
        for wanted in ("b,d,e", "a,c"):  # one pattern after the other, and again
            for _ in range(2):
                expected = {"b": {"b;x=y": (1000, 2.0), "d": (3000, 7.0)}}
                expected["a"] = {"a": (1000, 1.0), "c": (3000, 6.0)}
                self.assertEqual(self.latest(wanted), expected[wanted[0]])
        self.assertEqual(self.latest("z"), {})

    def test_none(self) -> None:
        """A host that is not known and a metric without samples have no latest one."""
        self.assertIsNone(self.latest())
        self.numbering.series("web1", "a")
        self.assertIsNone(self.latest())
        self.see(("b", 1000, 1.0))
        self.numbering.series("web1", "c")
        self.assertEqual(self.latest(), {"b": (1000, 1.0)})

    def test_samples(self) -> None:
        """The newest sample counts, whenever it arrives; of equal times the last to arrive."""
        self.see(("a", 2000, 2.0), ("b", 1000, 1.0), ("a", 1000, 1.0))
        self.assertEqual(self.latest(), {"a": (2000, 2.0), "b": (1000, 1.0)})
        self.see(("a", 1000, 9.0))
        self.see(("b", 1000, 5.0), ("b", 1000, 6.0))
        self.assertEqual(self.latest(), {"a": (2000, 2.0), "b": (1000, 6.0)})

    def test_hosts(self) -> None:
        """Each host has its own latest samples."""
        self.numbering.saw(columns(self.numbering, [("web1", "a", 1000, 1.0), ("web2", "a", 500, 2.0)]))
        self.assertEqual(self.latest(), {"a": (1000, 1.0)})
        self.assertEqual(self.numbering.latest("web2"), {"a": (500, 2.0)})

    def test_row(self) -> None:
        """The newest row of a schema counts, without what is absent in it."""
        self.see_row(["a", "b"], 2000, [1.0, nan])
        self.see_row(["a", "b"], 1000, [5.0, 6.0])
        self.assertEqual(self.latest(), {"a": (2000, 1.0)})

    def test_row_repeated(self) -> None:
        """Of two rows of one time the last to arrive counts."""
        for value in (1.0, 2.0):
            self.see_row(["a"], 1000, [value])
        self.assertEqual(self.latest(), {"a": (1000, 2.0)})

    def test_both(self) -> None:
        """Between rows and single samples the newer one counts, metric by metric."""
        self.see_row(["a", "b"], 2000, [1.0, 2.0])
        self.see(("a", 3000, 3.0), ("b", 1000, 4.0))
        self.assertEqual(self.latest(), {"a": (3000, 3.0), "b": (2000, 2.0)})

    @given(
        st.lists(
            st.one_of(
                st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9), st.integers(0, 99)), max_size=6),
                st.tuples(st.sampled_from(["ab", "cb", "d"]), st.integers(1, 9), st.booleans()),
            ),
            max_size=12,
        )
    )
    def test_any(self, arrivals: list[list[tuple[str, int, int]] | tuple[str, int, bool]]) -> None:
        """The latest samples are those that a naive reading of all arrivals gives."""
        self.setUp()
        samples: dict[str, tuple[int, float]] = {}
        rows: dict[str, tuple[int, list[float]]] = {}
        values = count(100.0)
        for arrival in arrivals:
            if isinstance(arrival, list):
                self.see(*((name, time, float(value)) for name, time, value in arrival))
                for name, time, value in arrival:
                    if samples.get(name, (0, 0.0))[0] <= time:
                        samples[name] = time, float(value)
            else:
                schema, time, absent = arrival
                found = [next(values) for _ in schema]
                if absent:
                    found[-1] = nan
                self.see_row(list(schema), time, found)
                if schema not in rows or rows[schema][0] <= time:
                    rows[schema] = time, found
        expected = dict(samples)
        for schema, (time, found) in rows.items():
            for name, cell in zip(schema, found, strict=True):
                if not isnan(cell) and expected.get(name, (0, 0.0))[0] <= time:
                    expected[name] = time, cell
        self.assertEqual(self.latest() or {}, expected)

    def test_grows(self) -> None:
        """Metrics met later find room, and those met before keep their samples."""
        for number in range(100):
            self.see((f"m{number}", 1000 + number, float(number)))
        self.assertEqual(self.latest(), {f"m{number}": (1000 + number, float(number)) for number in range(100)})

    def test_many_at_once(self) -> None:
        """The newest of many samples of few series counts (a sort that is not stable shows only then)."""
        random = Random(1)
        samples = [(f"m{random.randrange(5)}", 1000 + random.randrange(20), float(i)) for i in range(2000)]
        self.see(*samples)
        newest: dict[str, tuple[int, float]] = {}
        for metric, time, value in samples:
            newest[metric] = max(newest.get(metric, (0, 0.0)), (time, value))
        self.assertEqual(self.latest(), newest)


class NumberingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.numbering = Numbering(count(1).__next__)

    def test_hosts(self) -> None:
        """A host has one log, and each log a writer id of its own."""
        web1, web2 = self.numbering.host("web1"), self.numbering.host("web2")
        self.assertIs(self.numbering.host("web1"), web1)
        self.assertEqual((web1.host, web1.writer, web2.host, web2.writer), ("web1", 1, "web2", 2))
        self.assertEqual(self.numbering.logs, [web1, web2])

    def test_series(self) -> None:
        """A series is one number for a host and a metric, and `places` leads back to both."""
        asked = [("web1", "a"), ("web2", "a"), ("web1", "b"), ("web2", "c"), ("web1", "a"), ("web2", "a")]
        series = [self.numbering.series(host, metric) for host, metric in asked]
        self.assertEqual(series, [0, 1, 2, 3, 0, 1])
        self.assertEqual([self.place(number) for number in series], asked)

    def place(self, series: int) -> tuple[str, str]:
        log_of, number_of = self.numbering.places()
        log = self.numbering.logs[log_of[series]]
        return log.host, log.names[number_of[series]]

    def test_places_grow(self) -> None:
        """`places` covers every series met so far, whenever it is asked for."""
        self.assertEqual([len(array) for array in self.numbering.places()], [0, 0])
        for known in range(1, 20):
            host, metric = f"h{known % 3}", f"m{known}"
            self.assertEqual(self.place(self.numbering.series(host, metric)), (host, metric))
            self.assertEqual([len(array) for array in self.numbering.places()], [known, known])

    def test_schema(self) -> None:
        """A schema is a run in the log of its host; a series of one of its metrics is the same number."""
        log, first = self.numbering.schema("web1", ["a", "b"])
        self.assertIs(log, self.numbering.host("web1"))
        self.assertEqual(self.numbering.schema("web1", ["a", "b"]), (log, first))
        series = self.numbering.series("web1", "b")
        self.assertEqual(int(self.numbering.places()[1][series]), first + 1)

    @given(
        st.lists(st.tuples(st.sampled_from(["web1", "web2"]), st.lists(st.sampled_from("abcdef"), max_size=6))),
        st.sets(st.integers(0, 8)),
        st.sets(st.integers(0, 8)),
    )
    def test_series_of_each(self, runs: list[tuple[str, list[str]]], schemas: set[int], numbers: set[int]) -> None:
        """The series of several metrics are those of each, in their order, whatever else gave numbers meanwhile."""
        one, other = (Numbering(count(1).__next__) for _ in range(2))
        for place, (host, metrics) in enumerate(runs):
            for numbering in (one, other):
                if place in schemas and metrics:
                    numbering.schema(host, sorted(set(metrics)))
                if place in numbers:
                    numbering.host(host).number("c")
            expected = [other.series(host, metric) for metric in metrics]
            self.assertEqual(list(one.series_of_each(one.host(host), metrics)), expected)
            self.assertEqual(one.host(host).names, other.host(host).names)
            for mine, theirs in ((one.places()[part], other.places()[part]) for part in (0, 1)):
                self.assertEqual(mine.tolist(), theirs.tolist())

    def test_series_stays(self) -> None:
        """A series stays the same when a schema names its metric later."""
        series = self.numbering.series("web1", "b")
        self.numbering.schema("web1", ["a", "b"])
        self.assertEqual(self.numbering.series("web1", "b"), series)

    def test_full(self) -> None:
        """A numbering is full at its limit, by series, by names of schemas, by paths or by hosts."""

        def numbering() -> Numbering:
            return Numbering(count(1).__next__, max_series=4)

        by_series, by_schemas, by_both, by_paths, by_hosts = (numbering() for _ in range(5))
        for number in range(4):
            for each in (by_series, by_schemas, by_both, by_paths, by_hosts):
                self.assertFalse(each.full)
            by_series.series("h", f"m{number}")
            by_schemas.schema("h", [f"m{number}"])
            if number % 2:
                by_both.series("h", f"m{number}")
            else:
                by_both.schema("h", [f"m{number}"])
            path = b"%d" % number
            by_paths.paths.find(Text(path), np.array([0]), np.array([len(path)]), lambda paths: [0])
            by_hosts.host(f"h{number}")
        for each in (by_series, by_schemas, by_both, by_paths, by_hosts):
            self.assertTrue(each.full)

    def test_repetition_does_not_fill(self) -> None:
        """What is known already does not bring the limit nearer."""
        numbering = Numbering(count(1).__next__, max_series=5)
        for _ in range(10):
            numbering.series("h", "a")
            numbering.schema("h", ["b", "c"])
            numbering.schema("h", ["b"])
        self.assertFalse(numbering.full)


class ColumnsTests(SynchronousTestCase):
    def test_size(self) -> None:
        """Columns know how many samples they are, and how many bytes."""
        three = columns(Numbering(lambda: 1), [("web1", "a", time, 1.0) for time in range(3)])
        self.assertEqual(len(three), 3)
        self.assertEqual(three.nbytes, three.series.nbytes + three.times_ms.nbytes + three.values.nbytes)

    def test_joined(self) -> None:
        """Batches of one numbering become one, in their order; those of another stay apart."""
        one, two = Numbering(lambda: 1), Numbering(lambda: 2)
        batches = [
            columns(one, [("web1", "a", 1, 1.0), ("web1", "b", 2, 2.0)]),
            columns(two, [("web1", "c", 3, 3.0)]),
            columns(one, []),
            columns(one, [("web1", "a", 1, 4.0)]),
        ]
        joined = Columns.joined(batches)
        self.assertEqual([batch.numbering for batch in joined], [one, two])
        self.assertEqual(
            [(batch.series.tolist(), batch.times_ms.tolist(), batch.values.tolist()) for batch in joined],
            [([0, 1, 0], [1, 2, 1], [1.0, 2.0, 4.0]), ([0], [3], [3.0])],
        )
        self.assertEqual(Columns.joined([]), [])

    def test_row(self) -> None:
        """A row knows how many columns it has."""
        self.assertEqual(row(HostLog("web1", WRITER), 0, 0, [1.0, nan, 3.0]).columns, 3)
