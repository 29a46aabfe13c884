"""Tests for `perfmon.storage.history`, on a real server."""

import time
from collections.abc import Mapping, Sequence

import numpy as np

from perfmon.core.columns import Column
from perfmon.core.frames import FormatError, names_frame, rows_frame, samples_frame
from perfmon.core.globs import pattern
from perfmon.core.heads import HeadWrite
from perfmon.core.query import Plan, Query, newest
from perfmon.core.rollups import FIELDS, Rollup
from perfmon.core.sealed import Sealed, moved, rolled_up, sealed
from perfmon.core.series import Stored
from perfmon.core.tiers import MINUTES, RAW, TIERS, WindowName
from perfmon.storage import history as history_module
from perfmon.storage import keys
from perfmon.storage.history import History
from perfmon.storage.store import Store, StoreUnavailable
from perfmon.storage.windows import MAX_HOSTS
from tests.core.models import done
from tests.storage.samples import Writer, as_samples, head_write, stored
from tests.valkey import StoreCase

NOW = float(int(time.time()))  # the server's own clock decides when a key expires
HOUR = RAW.window
START = RAW.window_of(int(NOW) * 1000) - 3 * HOUR
BEGIN = MINUTES.fed_until(NOW) - MINUTES.window  # of a window of minutes that may have been rolled up
PARTS = MINUTES.window // HOUR

Samples = dict[str, list[tuple[float, float]]]


def write(window: int, data: bytes, host: str = "web1") -> HeadWrite:
    """An append to the head of a window."""
    return head_write(WindowName(host, RAW.name, window), data, NOW)


def head(writer: int, *rounds: tuple[int, float], metric: str = "cpu") -> bytes:
    """A head of one metric; each round is (ms since the start of the window, value)."""
    values = np.array([value for _, value in rounds]).tobytes()
    return names_frame(writer, 0, [metric]) + rows_frame(writer, 0, 1, [offset for offset, _ in rounds], values)


def chunks(window: int, samples: Mapping[str, Mapping[float, float]], stage: bool = False) -> dict[str, bytes]:
    """The fields of a sealed window, or one `stage` of it: values of each metric by the time in s after its start."""
    log = b""
    for writer, (metric, values) in enumerate(samples.items()):
        if values:
            log += head(writer, *[(round(time * 1000), value) for time, value in values.items()], metric=metric)
    return done(moved(log, window, "a head") if stage else sealed(Sealed(window, {}, "a window"), log))


class HistoryCase(StoreCase):
    async def fill(self, *writes: HeadWrite) -> None:
        await (await self.connected()).append(writes)

    def seal(self, tier: str, window: int, fields: Mapping[str, bytes], host: str = "web1") -> None:
        """Puts `fields` into a window."""
        flat = [word for field in fields.items() for word in field]
        self.server("HSET", keys.window(WindowName(host, tier, window)), *flat)

    def roll_up(self, hours: Sequence[int], **samples: Mapping[float, float]) -> None:
        """A window of minutes, made of windows of those `hours`; samples by the time in s after `BEGIN`."""
        parts = []
        for hour in hours:
            low = hour * HOUR
            of_hour = {
                metric: {time - low: value for time, value in values.items() if low <= time < low + HOUR}
                for metric, values in samples.items()
            }
            parts.append(Sealed(BEGIN + low, chunks(BEGIN + low, of_hour), "raw"))
        self.seal("1m", BEGIN, done(rolled_up(Sealed(BEGIN, {}, "1m"), parts, MINUTES, RAW)))


class RawTests(HistoryCase):
    """Samples as they were sent."""

    async def read(self, start: float, stop: float, host: str = "web1", metric: str = "*") -> Samples:
        """(time in s after `START`, value) of each series."""
        windows = (await self.connected()).windows
        return {
            name: [(time / 1000 - START, value) for time, value in series.items()]
            for (_, name), series in (await stored(windows, [host], start, stop, NOW, metric)).items()
        }

    async def test_nothing(self) -> None:
        """Of a host without samples, or a span without any, there are no series."""
        self.assertEqual(await self.read(START, START + 4 * HOUR), {})
        await self.fill(write(START, head(1, (1_000, 1.0))))
        self.assertEqual(await self.read(START + 2, START + 4 * HOUR), {})
        self.assertEqual(await self.read(START - HOUR, START), {})
        self.assertEqual(await self.read(START, START + HOUR, "web2"), {})

    async def test_windows(self) -> None:
        """A span over several windows, one of them empty, is one column, its ends cut to the millisecond."""
        await self.fill(
            write(START, head(1, (1_000, 1.0), (3_599_999, 2.0))),
            write(START + HOUR, head(1, (0, 3.0))),
            write(START + 3 * HOUR, head(1, (0, 4.0), (1_500, 5.0))),
        )
        everything = [(1.0, 1.0), (3599.999, 2.0), (3600.0, 3.0), (10800.0, 4.0), (10801.5, 5.0)]
        for found, expected in (
            (await self.read(START, START + 4 * HOUR), everything),
            (await self.read(START + 1, START + 3 * HOUR + 1.5), everything[:4]),
            (await self.read(START + 1.001, START + 3 * HOUR + 1.501), everything[1:]),
            (await self.read(START + HOUR, START + HOUR + 0.001), everything[2:3]),
        ):
            self.assertEqual([(round(time, 3), value) for time, value in found["cpu"]], expected)

    async def test_writers(self) -> None:
        """What several writers stored of one host is merged by metric."""
        samples = np.array([(0, 500, 2.0)], [("number", "<u4"), ("offset", "<u4"), ("value", "<f8")]).tobytes()
        other = names_frame(2, 0, ["cpu", "load"]) + samples_frame(2, samples)
        await self.fill(write(START, head(1, (1_000, 1.0))), write(START, other))
        self.assertEqual(await self.read(START, START + HOUR), {"cpu": [(0.5, 2.0), (1.0, 1.0)]})

    async def test_layers(self) -> None:
        """A window is its chunks, what was taken to be sealed, and its head; of a repeated time the latest counts."""
        self.seal("raw", START, chunks(START, {"cpu": {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.0}}))
        name = WindowName("web1", "raw", START)
        self.server("SET", keys.sealing(name), head(1, (2_000, 2.0), (3_000, 2.0), (5_000, 2.0)))
        self.server("SET", keys.head(name), head(1, (3_000, 3.0), (6_000, 3.0)))
        expected = [(1.0, 1.0), (2.0, 2.0), (3.0, 3.0), (4.0, 1.0), (5.0, 2.0), (6.0, 3.0)]
        for metric in ("*", "cpu"):
            self.assertEqual(await self.read(START, START + HOUR, metric=metric), {"cpu": expected})

    async def test_stages(self) -> None:
        """Chunks that were added to each other, with times of their own each, are read as one."""
        name = keys.window(WindowName("web1", "raw", START))
        for stage in range(3):
            times = [stage * 1000.0 + 7.5 * number + number % 3 for number in range(50)]
            fields = chunks(START, {"cpu": dict.fromkeys(times, 1.0), "load": dict.fromkeys(times, 2.0)}, stage < 2)
            self.assertIn(";times", fields)
            for field, value in fields.items():
                self.server("HSET", name, field, (self.server("HGET", name, field) or b"") + value)
        found = await self.read(START, START + HOUR, metric="load")
        self.assertEqual(([len(series) for series in found.values()], list(found)), ([150], ["load"]))

    async def test_wanted(self) -> None:
        """Only the metrics that are wanted are read: by pattern, by name, by the name without tags."""
        await self.fill(write(START, head(1, (0, 1.0)) + head(2, (0, 2.0), metric="load;of=all")))
        self.seal("raw", START, chunks(START, {"disk": {1: 1.0}, "loader": {1: 1.0}}))
        for metric, expected in (
            ("load", ["load;of=all"]),
            ("l*", ["load;of=all", "loader"]),
            ("disk,cpu", ["cpu", "disk"]),
        ):
            self.assertEqual(sorted(await self.read(START, START + HOUR, metric=metric)), expected, metric)

    async def test_ahead(self) -> None:
        """What a host whose clock is ahead has sent for the next window is read; what nobody could send is not."""
        windows = (await self.connected()).windows
        await self.fill(write(START + HOUR, head(1, (590_000, 1.0))), write(START + 2 * HOUR, head(1, (0, 2.0))))
        found = await stored(windows, ["web1"], START, START + 9 * HOUR, START + HOUR - 10.0)
        self.assertEqual(found, {("web1", "cpu"): {(START + HOUR + 590) * 1000: 1.0}})

    async def test_many_hosts(self) -> None:
        """More hosts than are read at once come each once, in order."""
        store = await self.connected()
        hosts = [f"h{number}" for number in range(25)]
        rounds = [(host, (START + place) * 1000, {"cpu": float(place)}) for place, host in enumerate(hosts)]
        await Writer(store).rows(rounds, NOW)
        for patch in (MAX_HOSTS, 1, 7):
            self.patch(history_module, "MAX_HOSTS", patch)
            found = await stored(store.windows, [*hosts, "nobody"], START, START + HOUR, NOW)
            self.assertEqual(found, as_samples(rounds))

    async def test_unreadable(self) -> None:
        """What cannot be read is named by its key, and the metric if it is of one; the rest can be read."""
        name = WindowName("web1", "raw", START)
        await self.fill(write(START + HOUR, head(1, (0, 1.0))))
        for key, field in ((keys.head(name), ""), (keys.sealing(name), ""), (keys.window(name), "cpu")):
            self.server("DEL", keys.head(name), keys.sealing(name))
            self.server("HSET", key, field, b"not a chunk") if field else self.server("SET", key, b"no frame at all")
            with self.assertRaises(FormatError) as caught:
                await self.read(START, START + 2 * HOUR)
            self.assertIn(f"{key} {field}".strip(), str(caught.exception))
        self.assertEqual(await self.read(START + HOUR, START + 2 * HOUR), {"cpu": [(3600.0, 1.0)]})

    async def test_away(self) -> None:
        """Without its store a history says so."""
        store = await self.connected()
        await store.stopService()
        with self.assertRaises(StoreUnavailable):
            await stored(store.windows, ["web1", "web2"], START, START + HOUR, NOW)

    async def test_away_in_between(self) -> None:
        """Also in the middle of an answer, without a word in the log for what nobody waits for any longer."""
        store = await self.connected()
        self.patch(history_module, "MAX_HOSTS", 1)
        plan = Plan.of(Query("*", "*", START, NOW, None), TIERS, NOW)
        found = History(store.windows).read(["a", "b", "c"], pattern("*"), plan, NOW)
        self.assertEqual(await anext(found), ("a", {}))
        await store.stopService()
        with self.assertRaises(StoreUnavailable):
            async for _ in found:
                pass
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_given_up(self) -> None:
        """Whoever needs no more of an answer leaves nothing behind."""
        store = await self.connected()
        self.patch(history_module, "MAX_HOSTS", 1)
        plan = Plan.of(Query("*", "*", START, NOW, None), TIERS, NOW)
        found = History(store.windows).read(["a", "b", "c"], pattern("*"), plan, NOW)
        self.assertEqual(await anext(found), ("a", {}))
        await found.aclose()  # type: ignore[attr-defined]  # it is a generator
        self.assertEqual(await store.host_names(), [], "the connection is as good as before")


class RolledUpTests(HistoryCase):
    """Aggregates, and where they are not there yet, samples."""

    async def pieces(
        self, store: Store, metric: str, agg: str = "count"
    ) -> list[tuple[type, list[float], list[float]]]:
        """Each piece of a series: what it is, its times (s after `BEGIN`), its values or counts."""
        plan = Plan.of(Query("web1", metric, BEGIN, BEGIN + MINUTES.window, 60, agg), TIERS, NOW)
        found = []
        async for _, series in History(store.windows).read(["web1"], pattern(metric), plan, NOW):
            for piece in series.get(metric, []):
                values = piece.values if isinstance(piece, Column) else piece.columns["count"]
                found.append((type(piece), (piece.times / 1000 - BEGIN).tolist(), values.tolist()))
        return found

    async def test_stitched(self) -> None:
        """An hour that was not rolled up stands as samples between the aggregates of the others, in order."""
        store = await self.connected()
        self.roll_up([1, 2, 4], cpu={3605: 1.0, 3606: 2.0, 7300: 3.0, 14400: 4.0}, load={3605: 1.0})
        self.seal("raw", BEGIN + 3 * HOUR, chunks(BEGIN + 3 * HOUR, {"cpu": {0: 5.0, 61: 6.0}}))
        await self.fill(write(BEGIN + 5 * HOUR, head(1, (250, 7.0))))
        self.assertEqual(
            sorted(await self.pieces(store, "cpu"), key=lambda piece: piece[1]),
            [
                (Rollup, [3600.0], [2.0]),
                (Rollup, [7260.0], [1.0]),
                (Column, [10800.0, 10861.0], [5.0, 6.0]),
                (Rollup, [14400.0], [1.0]),
                (Column, [18000.25], [7.0]),
            ],
        )
        self.assertEqual(await self.pieces(store, "load"), [(Rollup, [3600.0], [1.0])])

    async def test_whole(self) -> None:
        """A window that has all of its hours is one piece."""
        store = await self.connected()
        self.roll_up(range(PARTS), cpu={3605: 1.0, MINUTES.window - 1: 2.0})
        self.assertEqual(await self.pieces(store, "cpu"), [(Rollup, [3600.0, MINUTES.window - 60.0], [1.0, 1.0])])

    async def test_fields(self) -> None:
        """Of the aggregates only what the question needs is read."""
        store = await self.connected()
        self.roll_up(range(PARTS), cpu={3605: 1.0})
        for agg, expected in (("avg", {"sum", "count"}), ("max", {"max"}), ("rate", {"last", "end", "lost"})):
            plan = Plan.of(Query("web1", "cpu", BEGIN, NOW, 60, agg), TIERS, NOW)
            async for _, series in History(store.windows).read(["web1"], pattern("cpu"), plan, NOW):
                (piece,) = series["cpu"]
                assert isinstance(piece, Rollup)
                self.assertEqual(piece.columns.keys(), expected)
                self.assertLessEqual(expected, set(FIELDS))

    async def test_newest(self) -> None:
        """The newest sample is found, also where hours before it were not rolled up."""
        store = await self.connected()
        self.roll_up([1], cpu={3700: 3.0})
        for older in (BEGIN, BEGIN - HOUR):
            self.seal("raw", older, chunks(older, {"cpu": {100: 2.0}}))
            plan = Plan.of(Query("web1", "cpu", BEGIN - HOUR, BEGIN + 2 * HOUR, HOUR, "last"), TIERS, NOW)
            async for _, series in History(store.windows).read(["web1"], pattern("cpu"), plan, NOW):
                self.assertEqual(newest(series["cpu"]), ((BEGIN + 3700) * 1000, 3.0), (older - BEGIN) // HOUR)
            self.server("DEL", keys.window(WindowName("web1", "raw", older)))
        # an hour of the window before, of which there are no minutes, and all of this one
        self.roll_up(range(PARTS), cpu={3700: 3.0})
        self.seal("raw", BEGIN - HOUR, chunks(BEGIN - HOUR, {"cpu": {100: 2.0}}))
        async for _, series in History(store.windows).read(["web1"], pattern("cpu"), plan, NOW):
            self.assertEqual(newest(series["cpu"]), ((BEGIN + 3700) * 1000, 3.0))

    async def test_unreadable(self) -> None:
        """Aggregates that cannot be read are named by their key and metric."""
        store = await self.connected()
        self.roll_up(range(PARTS), cpu={3605: 1.0})
        name = WindowName("web1", "1m", BEGIN)
        self.server("HSET", keys.window(name), "cpu", b"nothing of the kind")
        with self.assertRaises(FormatError) as caught:
            await self.pieces(store, "cpu")
        self.assertIn(f"{keys.window(name)} cpu", str(caught.exception))
        self.assertIsInstance((await store.windows.read(["web1"], TIERS, BEGIN, BEGIN + 1, NOW))[0][0], Stored)
