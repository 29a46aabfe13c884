"""Tests for `perfmon.storage.history`, on a real server."""

import time

import numpy as np

from perfmon.core.frames import FormatError, names_frame, rows_frame, samples_frame
from perfmon.core.heads import HeadWrite
from perfmon.core.numbering import HeadState, HostLog
from perfmon.core.tiers import RAW, HeadName
from perfmon.storage.history import History
from perfmon.storage.store import StoreUnavailable
from tests.valkey import StoreCase

HOUR = RAW.window
START = RAW.window_of(int(time.time()) * 1000) - 3 * HOUR  # the server's own clock decides when a key expires

Samples = dict[str, list[tuple[float, float]]]


def write(window: int, data: bytes, host: str = "web1") -> HeadWrite:
    """An append to the head of a window."""
    name = HeadName(host, RAW.name, window)
    return HeadWrite(name, data, RAW.expires_at(window), HostLog(host, 1), HeadState(), 0)


def head(writer: int, *rounds: tuple[int, float], metric: str = "cpu") -> bytes:
    """A head of one metric; each round is (ms since the start of the window, value)."""
    values = np.array([value for _, value in rounds]).tobytes()
    return names_frame(writer, 0, [metric]) + rows_frame(writer, 0, 1, [offset for offset, _ in rounds], values)


class HistoryTests(StoreCase):
    async def read(self, start: float, stop: float, host: str = "web1") -> Samples:
        """(time in s after `START`, value) of each series."""
        columns = await History(await self.connected()).columns(host, start, stop)
        return {
            metric: list(zip(((column.times - START * 1000) / 1000).tolist(), column.values.tolist(), strict=True))
            for metric, column in columns.items()
        }

    async def fill(self, *writes: HeadWrite) -> None:
        await (await self.connected()).append(writes)

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
        self.assertEqual(await self.read(START, START + 4 * HOUR), {"cpu": everything})
        self.assertEqual(await self.read(START + 1, START + 3 * HOUR + 1.5), {"cpu": everything[:4]})
        self.assertEqual(await self.read(START + 1.001, START + 3 * HOUR + 1.501), {"cpu": everything[1:]})
        self.assertEqual(await self.read(START + HOUR, START + HOUR + 0.001), {"cpu": [(3600.0, 3.0)]})

    async def test_writers(self) -> None:
        """What several writers stored of one host is merged by metric."""
        samples = np.array([(0, 500, 2.0)], [("number", "<u4"), ("offset", "<u4"), ("value", "<f8")]).tobytes()
        other = names_frame(2, 0, ["cpu", "load"]) + samples_frame(2, samples)
        await self.fill(write(START, head(1, (1_000, 1.0))), write(START, other))
        self.assertEqual(await self.read(START, START + HOUR), {"cpu": [(0.5, 2.0), (1.0, 1.0)]})

    async def test_wanted(self) -> None:
        """Only the metrics that are wanted are read."""
        await self.fill(write(START, head(1, (0, 1.0)) + head(2, (0, 2.0), metric="load")))
        history = History(await self.connected())
        columns = await history.columns("web1", START, START + HOUR, lambda metric: metric == "load")
        self.assertEqual(list(columns), ["load"])

    async def test_unreadable(self) -> None:
        """A head that cannot be read is named by its key."""
        await self.fill(write(START, b"not a frame at all"), write(START + HOUR, head(1, (0, 1.0))))
        with self.assertRaises(FormatError) as caught:
            await self.read(START, START + 2 * HOUR)
        self.assertIn(f"pm:{{web1}}:raw:{START}:head", str(caught.exception))
        self.assertEqual(await self.read(START + HOUR, START + 2 * HOUR), {"cpu": [(3600.0, 1.0)]})

    async def test_away(self) -> None:
        """Without its store a history says so."""
        store = await self.connected()
        await store.stopService()
        with self.assertRaises(StoreUnavailable):
            await History(store).columns("web1", START, START + HOUR)
