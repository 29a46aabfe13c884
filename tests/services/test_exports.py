"""Tests for `perfmon.services.exports`, of samples that went their way through a real store."""

import random
import signal
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import numpy as np
from twisted.internet.task import deferLater

from perfmon.core.exporting import CSV_HEADER
from perfmon.core.frames import FormatError
from perfmon.core.query import AGGS, BadQuery, Query
from perfmon.core.tiers import DAY, GRACE, RAW, SPARE, STAGE, WindowName
from perfmon.services import exports as exports_module
from perfmon.services.exports import Exports
from perfmon.services.turns import SLICE, Turns
from perfmon.storage import keys
from perfmon.storage.store import StoreUnavailable
from tests.core.test_exporting import read_csv, read_ndjson
from tests.services.test_reports import HOUR, TODAY, Samples, StoredCase

HOURS = 6
START = TODAY - 4 * HOUR
END = START + HOURS * HOUR

Lines = list[tuple[int, str, float]]
"""(ms since the epoch, metric, value) of each line."""


class ExportCase(StoredCase):
    async def begin(self, now: float = START) -> None:
        from twisted.internet import reactor

        await super().begin(now)
        self.exports = Exports(self.history, reactor, self.wall)

    def count_reads(self) -> list[tuple[int, int]]:
        """(start, stop) of everything that is asked of the store from now on."""
        asked: list[tuple[int, int]] = []
        read = self.store.windows.read

        async def counted(hosts: Any, tiers: Any, start: int, stop: int, *others: Any) -> Any:
            asked.append((start, stop))
            return await read(hosts, tiers, start, stop, *others)

        self.patch(self.store.windows, "read", counted)
        return asked

    async def text(self, query: Query, form: str = "csv") -> bytes:
        return b"".join([chunk async for chunk in self.exports.export(query, form)])

    async def export(self, query: Query) -> Lines:
        """The lines of the file; proves on the way that both formats have the same."""
        text = await self.text(query)
        self.assertTrue(text.startswith(CSV_HEADER))
        lines = read_csv(text.removeprefix(CSV_HEADER))
        self.assertEqual(read_ndjson(await self.text(query, "ndjson")), lines)
        for metric in {line[1] for line in lines}:
            times = [line[0] for line in lines if line[1] == metric]
            self.assertEqual(times, sorted(times))
        # with a step, how long the parts are is not said
        return lines if query.step is None else sorted(lines)

    async def queried(self, query: Query) -> Lines:
        """What the query answers, in the order of an export."""
        answer = await self.queries.query(query)
        found = [
            (round(when * 1000), series["metric"], value)
            for series in answer["series"]
            for when, value in zip(series["times"].tolist(), series["values"].tolist(), strict=True)
            if value == value
        ]
        return in_order(found, HOUR) if query.step is None else sorted(found)


def in_order(lines: Lines, part: float) -> Lines:
    """By part (of so many s), in each by metric, of each by time."""
    return sorted(lines, key=lambda line: (line[0] // round(part * 1000), line[1], line[0]))


def lines_of(samples: Samples, start: float = 0, stop: float = 1e12) -> Lines:
    """The lines that an export of `samples` has."""
    found = [(ms, metric, value) for metric, some in samples.items() for ms, value in dict(some).items()]
    return in_order([line for line in found if start * 1000 <= line[0] < stop * 1000], HOUR)


def some(seed: int, start: int, stop: int, metrics: Sequence[str], each: int = 40) -> Samples:
    """Samples of start..stop (s) at any millisecond; one metric has them at the same times as the one before."""
    draw = random.Random(seed)
    found: Samples = {}
    moments: list[int] = []
    for place, metric in enumerate(metrics):
        if place % 2 == 0:
            moments = sorted(draw.sample(range(start * 1000, stop * 1000), each))
        found[metric] = [(ms, draw.choice([draw.uniform(-1e6, 1e6), float(draw.randrange(100))])) for ms in moments]
    return found


METRICS = ("disk.free;mountpoint=/", "cpu.load", 'a,"b"', "disk.free;mountpoint=/var", "system.uptime")


class SamplesTests(ExportCase):
    async def test_everything(self) -> None:
        """Wherever samples are on their way through the store, the file is exactly what was stored, in its order."""
        stored: Samples = {}

        async def add(samples: Samples) -> None:
            await self.fill(samples)
            for metric, some in samples.items():
                stored.setdefault(metric, []).extend(some)

        async def check(*kinds: str) -> None:
            """The file is whole while there are such keys of the last hour."""
            there = {key.decode().rpartition(str(hour))[2] for key in self.server("KEYS", f"*:raw:{hour}*")}
            self.assertEqual(there, set(kinds))
            self.assertEqual(
                await self.export(Query("web1", "*", START - HOUR, START + 9 * HOUR, None)), lines_of(stored)
            )

        hour = START + 2 * HOUR  # the one under way, after two that are over
        await self.begin(hour + 60)
        await add(some(1, START, hour + 60, METRICS, 300))
        await check(":head")
        await self.seal(hour + 60 + STAGE)
        await check("")
        await add(some(2, START, hour + 1200, METRICS[1:], 300))
        await add({"cpu.load": [(ms, -value) for ms, value in stored["cpu.load"][::7]]})
        await check("", ":head")
        await self.store.windows.take(WindowName("web1", "raw", hour), whole=False)
        await check("", ":sealing")
        await add(some(3, START, hour + 1200, METRICS, 100))
        await check("", ":sealing", ":head")
        await self.seal(hour + 60 + 2 * STAGE)
        await check("", ":head")
        await add(some(4, START, hour + 1800, METRICS[:3], 100))
        await self.seal(hour + HOUR + GRACE)
        await check("")
        await add(some(5, START, hour + HOUR, METRICS[2:], 50))
        await check("", ":head")
        await self.roll_up(TODAY + HOUR)
        self.assertTrue(self.server("KEYS", "pm:{web1}:1m:*"))
        await check("")

    async def test_range(self) -> None:
        """From is included, until is not, to the millisecond, in an hour and where two meet."""
        await self.begin(START + 2 * HOUR)
        middle = START + HOUR
        moments = [START + 10.0, middle - 0.001, float(middle), middle + 0.001, middle + HOUR - 0.001]
        stored: Samples = {"x": [(round(moment * 1000), moment) for moment in moments]}
        await self.fill(stored)
        for _ in range(2):
            for start in (START, *moments, START + 10.001, middle + 5):
                for stop in (*moments, middle + 5, middle + 2 * HOUR):
                    if start < stop:
                        found = await self.export(Query("web1", "*", start, stop, None))
                        expected = [line for line in lines_of(stored) if start <= line[2] < stop]
                        self.assertEqual(found, expected, (start - middle, stop - middle))
            await self.seal(self.now + GRACE)

    async def test_chosen(self) -> None:
        """Only the metrics that are asked for are in the file, and only of this host, whose name others begin with."""
        await self.begin()
        for host in ("web1", "web10", "web"):
            await self.fill({"cpu.load": [(START * 1000, float(len(host)))], "disk;m=/": [(START * 1000, 1.0)]}, host)
        load, disk = (START * 1000, "cpu.load", 4.0), (START * 1000, "disk;m=/", 1.0)
        for metric, lines in (
            ("*", [load, disk]),
            ("cpu.*", [load]),
            ("disk", [disk]),
            ("disk;m=/,cpu.load", [load, disk]),
            ("nothing", []),
        ):
            self.assertEqual(await self.export(Query("web1", metric, START, START + 9, None)), lines, metric)
        self.assertEqual(await self.export(Query("nobody", "*", START, START + 9, None)), [])

    async def test_ahead(self) -> None:
        """Samples of a clock that is ahead are in a file that goes beyond now, and in no other."""
        await self.begin(START + HOUR - 10)
        stored: Samples = {"x": [(round(self.now + ahead) * 1000, ahead) for ahead in (0.0, 300.0, 600.0)]}
        await self.fill(stored)
        self.assertEqual(await self.export(Query("web1", "*", START, START + DAY, None)), lines_of(stored))
        self.assertEqual(await self.export(Query("web1", "*", START, self.now, None)), [])


class StepTests(ExportCase):
    async def fill_days(self) -> None:
        """Two days that are rolled up, and the beginning of a third in heads."""
        await self.begin(TODAY - 2 * DAY)
        for day in range(2):
            begin = TODAY + (day - 2) * DAY
            await self.fill(some(day, begin, begin + DAY, METRICS[:3], each=600))
            await self.roll_up(begin + DAY + HOUR)
        await self.fill(some(7, TODAY, TODAY + HOUR, METRICS[:3]))

    async def test_as_query(self) -> None:
        """With a step the lines are the points of the query of the same range, for every aggregate (rates: below)."""
        await self.fill_days()
        for start, stop, step in (
            (TODAY - 2 * DAY, TODAY + HOUR, 60.0),
            (TODAY - DAY - 3333, TODAY + 1234.5, 90.0),
            (TODAY - 2 * DAY, TODAY + HOUR, 3600.0),
            (TODAY - 9000, TODAY + 999, 5.0),
            (TODAY - 700.25, TODAY + 100, 0.25),
        ):
            for agg in set(AGGS) - {"rate"}:
                query = Query("web1", "*", start, stop, step, agg)
                lines, expected = await self.export(query), await self.queried(query)
                self.assertGreater(len(lines), 10, query)
                self.assertEqual([line[:2] for line in lines], [line[:2] for line in expected], query)
                # a percentile is interpolated at a place among all values that were read, which are other ones
                np.testing.assert_allclose([line[2] for line in lines], [line[2] for line in expected], rtol=1e-9)

    async def test_coarser(self) -> None:
        """Where samples are not kept any more, the step is as long as the query's is."""
        await self.fill_days()
        self.now = TODAY + 31 * DAY
        query = Query("web1", "*", TODAY - 2 * DAY, TODAY + HOUR, 60.0)
        lines = await self.export(query)
        self.assertEqual(lines, await self.queried(query))
        self.assertEqual({ms % (HOUR * 1000) for ms, _, _ in lines}, {0})

    async def test_too_many(self) -> None:
        """What a query refuses before it reads, an export refuses before it begins."""
        await self.begin()
        with self.assertRaises(BadQuery) as caught:
            await anext(self.exports.export(Query("web1", "*", START - 1001.0, START, 0.001), "csv"))
        self.assertIn("more than 1,000,000 points a series", str(caught.exception))

    async def test_any_step(self) -> None:
        """Steps of any number of milliseconds are exported, also those of which no float is a multiple."""
        await self.begin(START + HOUR)
        await self.fill(some(1, START, START + HOUR, METRICS[:2], 500))

        def late(number: int, frame: object) -> None:
            raise AssertionError("it does not end")

        signal.signal(signal.SIGVTALRM, late)
        signal.setitimer(signal.ITIMER_VIRTUAL, 2.0)
        self.addCleanup(signal.setitimer, signal.ITIMER_VIRTUAL, 0)
        for step in (0.1, 0.007, 0.033, 1.1, 1.001, 7.3, 61.7, 123.456):
            query = Query("web1", "*", START + 0.5, START + min(HOUR - 3.3, step * 5000), step, "sum")
            self.assertEqual(await self.export(query), await self.queried(query), step)


class RateTests(ExportCase):
    def counter(self, each: int) -> Samples:
        """A counter that is read every `each` s, from an hour before midnight to an hour after, and resets twice."""
        moments = range((TODAY - HOUR - 257) * 1000, (TODAY + HOUR) * 1000, each * 1000)
        return {"bytes": [(ms, float(place * place % 70_001)) for place, ms in enumerate(moments)]}

    async def test_borders(self) -> None:
        """The first rate of the file and of each part counts from the sample before, as it does in a query."""
        await self.begin(TODAY + HOUR)
        await self.fill(self.counter(59))
        for _ in range(2):
            for step in (None, 60.0, 61.0, 2.0, 0.5):
                query = Query("web1", "*", TODAY - HOUR / 2, TODAY + HOUR / 2, step, "rate")
                lines = await self.export(query)
                self.assertEqual(lines, await self.queried(query), step)
                self.assertGreater(len(lines), 58, step)
            await self.seal(TODAY + HOUR + GRACE)

    async def test_gaps(self) -> None:
        """So it does after a gap, which a query bridges wherever it lies in the range."""
        await self.begin(TODAY + HOUR)
        await self.fill(self.counter(300))
        for step in (None, 60.0, 90.0):
            query = Query("web1", "*", TODAY - HOUR / 2, TODAY + HOUR / 2, step, "rate")
            self.assertEqual(await self.export(query), await self.queried(query), step)


class HoursCase(ExportCase):
    """Has some hours of one metric, of which each is more than a chunk of text."""

    async def fill_hours(self) -> None:
        await self.begin(END)
        self.stored: Samples = {"x": [(ms, ms / 7) for ms in range(START * 1000, END * 1000, 1500)]}
        await self.fill(self.stored)

    def begun(self) -> AsyncGenerator[bytes, None]:
        """The chunks of a file of all."""
        return self.exports.export(Query("web1", "*", START, END, None), "csv")

    async def turns(self) -> None:
        """Gives the reactor all the time that anything needs that is under way."""
        from twisted.internet import reactor

        for _ in range(20):
            await deferLater(reactor, 0)
            await self.store.host_names()  # asked last, so answered last


class WorkTests(HoursCase):
    """What an export asks of the store, and when."""

    async def test_only_what_is_taken(self) -> None:
        """Each hour is read once, and none before the text of those before it has been taken."""
        await self.fill_hours()
        asked = self.count_reads()
        chunks = self.begun()
        await self.turns()
        self.assertEqual(asked, [])
        text = b""
        for hour in range(HOURS):
            text += await anext(chunks)
            await self.turns()
            self.assertEqual(asked, [(START + at * HOUR, START + (at + 1) * HOUR) for at in range(hour + 1)])
        text += b"".join([chunk async for chunk in chunks])
        self.assertEqual(len(asked), HOURS)
        self.assertEqual(read_csv(text.removeprefix(CSV_HEADER)), lines_of(self.stored))
        given_up = self.begun()
        await anext(given_up)
        await given_up.aclose()
        await self.turns()
        self.assertEqual(len(asked), HOURS + 1)

    async def test_breathes(self) -> None:
        """After each metric others may have their turn."""
        breathed: list[None] = []

        class Counted(Turns):
            async def breathe(self, after: float = SLICE) -> None:
                breathed.append(None)

        self.patch(exports_module, "Turns", Counted)
        await self.begin(END)
        await self.fill(some(1, START, START + HOUR, METRICS))
        await self.text(Query("web1", "*", START, START + HOUR, None))
        self.assertEqual(len(breathed), len(METRICS))

    async def test_chunks(self) -> None:
        """The text comes in chunks that are neither many nor much larger than what one metric has in an hour."""
        await self.begin(END)
        await self.fill(some(3, START, END, [f"metric{number}" for number in range(40)], each=1200))
        chunks = [chunk async for chunk in self.begun()]
        largest = 250 * len(b"2026-11-25T20:08:09.000Z,metric10,-123456.12345678901\n")
        self.assertGreater(len(chunks), 20)
        self.assertLess(max(map(len, chunks)), (64 << 10) + largest)
        self.assertGreater(min(map(len, chunks[:-1])), (64 << 10) - 1)

    async def test_for_ever(self) -> None:
        """Until the year 9999 is until now; with a step, from 1970 on is from the first that is kept."""
        await self.fill_hours()
        asked = self.count_reads()
        lines = await self.export(Query("web1", "*", START, 253_402_300_799.0, None))
        self.assertEqual(lines, lines_of(self.stored))
        hourly = await self.export(Query("web1", "*", 0.0, self.now, 3600.0, "count"))
        self.assertEqual(hourly, [((START + hour * HOUR) * 1000, "x", 2400.0) for hour in range(HOURS)])
        self.assertLess(len(asked), 40)

    async def test_from_1970(self) -> None:
        """Without a step, from 1970 on is from the first sample that is kept; no more is read than there can be."""
        await self.fill_hours()
        asked = self.count_reads()
        text = await self.text(Query("web1", "*", 0.0, self.now, None))
        self.assertEqual(read_csv(text.removeprefix(CSV_HEADER)), lines_of(self.stored))
        self.assertLess(len(asked), (RAW.retention + SPARE) / RAW.window + 5)

    async def test_outside(self) -> None:
        """Of a range before all that is kept, or after all that can be, there is nothing, and nothing is read."""
        await self.fill_hours()
        asked = self.count_reads()
        for start, stop in ((0.0, 1000.0), (self.now + 2 * HOUR, self.now + 9 * HOUR), (1e11, 2e11)):
            for step in (None, 60.0 if stop < 1e10 else 1e6):
                self.assertEqual(await self.export(Query("web1", "*", start, stop, step)), [])
        self.assertEqual(asked, [])


class FailureTests(HoursCase):
    """What goes wrong in the middle is raised where it is met."""

    async def test_unreadable(self) -> None:
        """An hour that cannot be read is named by its key; those before it are in the file."""
        await self.fill_hours()
        key = keys.head(WindowName("web1", "raw", START + 2 * HOUR))
        self.server("SET", key, "no head at all")
        text = b""
        with self.assertRaises(FormatError) as caught:
            async for chunk in self.begun():
                text += chunk
        self.assertIn(key, str(caught.exception))
        self.assertEqual(read_csv(text.removeprefix(CSV_HEADER)), lines_of(self.stored, START, START + 2 * HOUR))

    async def test_store_goes(self) -> None:
        """A store that goes away is said to be away, at the beginning and in the middle."""
        await self.fill_hours()
        chunks = self.begun()
        await anext(chunks)
        await self.store.stopService()
        for one in (chunks, self.begun()):
            with self.assertRaises(StoreUnavailable):
                await anext(one)
