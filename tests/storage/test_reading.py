"""Tests for `perfmon.storage.windows.Windows.read` and its script: what of which window of which tier is read."""

import time
from typing import Any

from perfmon.core.chunks import TAGGED_FIELD, TIMES_FIELD
from perfmon.core.globs import pattern
from perfmon.core.query import Plan, Query
from perfmon.core.sealed import FED_FIELD
from perfmon.core.series import Stored
from perfmon.core.tiers import DAY, HOURS, MINUTES, RAW, TIERS, Tier, WindowName
from perfmon.storage import keys
from perfmon.storage.history import History
from tests.programs import STORE_SERVERS
from tests.valkey import StoreCase

NOW = float(int(time.time()))
HOUR = RAW.window
PARTS = MINUTES.window // HOUR
START = MINUTES.window_of(int(NOW) * 1000) - DAY  # of a window of minutes that is over

FAR = 253_402_300_799  # s, the last second of the year 9999

Found = list[tuple[str, int, dict[str, bytes]]]


def fed(count: int, *places: int) -> bytes:
    """A field ``;fed`` with the bits of `places`."""
    return b"".join(b"1" if place in places else b"0" for place in range(count))


def fields_of(stored: Stored) -> dict[str, bytes]:
    """The fields of a window without ``;fed``."""
    pairs = zip(stored.fields[0::2], stored.fields[1::2], strict=True)
    return {name.decode(): value for name, value in pairs if name.decode() != FED_FIELD}


class ReadingCase(StoreCase):
    def fill(self, tier: Tier, window: int, host: str = "web1", **fields: bytes) -> None:
        """The hash of a window; in names of fields ``_`` stands for ``;``, and ``__`` for ``=``."""
        flat = [word for field, value in fields.items() for word in (field.replace("__", "=").replace("_", ";"), value)]
        self.server("HSET", keys.window(WindowName(host, tier.name, window)), *flat)

    async def read(
        self, start: int, stop: int, *names: str, hosts: tuple[str, ...] = ("web1",), tiers: tuple[Tier, ...] = TIERS
    ) -> list[Found]:
        """(tier, window, fields) of what was read of each host; of the fields without ``;fed``."""
        windows = (await self.connected()).windows
        answer = await windows.read(hosts, tiers, start, stop, NOW, names)
        self.assertEqual(len(answer), len(hosts))
        return [
            [
                (stored.tier.name, stored.window, fields_of(stored))
                for stored in found
                if fields_of(stored) or stored.sealing or stored.head
            ]
            for found in answer
        ]


class FieldsTests(ReadingCase):
    """Which metrics of a window are read."""

    def setUp(self) -> None:
        super().setUp()
        self.fill(
            RAW,
            START,
            cpu=b"1",
            cpu2=b"2",
            cpu_state__used=b"3",
            cpu_state__free=b"4",
            cp=b"5",
            mem_state__used=b"6",
            _times=b"t",
            _tagged=b"\ncpu\nmem\n",
        )

    async def found(self, *names: str) -> dict[str, bytes]:
        ((*windows,),) = await self.read(START, START + HOUR, *names)
        if not windows:
            return {}
        ((tier, window, fields),) = windows
        self.assertEqual((tier, window), ("raw", START))
        return fields

    async def test_names(self) -> None:
        """A name finds its metric and those of that name with tags; one with tags finds itself; and their times."""
        cpu = {"cpu": b"1", "cpu;state=used": b"3", "cpu;state=free": b"4"}
        for names, expected in (
            (("cpu",), cpu),
            (("cpu2",), {"cpu2": b"2"}),
            (("mem",), {"mem;state=used": b"6"}),
            (("cpu;state=used",), {"cpu;state=used": b"3"}),
            (("cpu;state=used", "cpu", "cp"), cpu | {"cp": b"5"}),
            (("mem", "nothing"), {"mem;state=used": b"6"}),
        ):
            tagged = await self.found(*names)
            self.assertEqual(tagged.pop(TIMES_FIELD), b"t", names)
            self.assertEqual(tagged, expected, names)

    async def test_not_there(self) -> None:
        """Where none of the metrics is, none is read."""
        for names in (
            ("nothing",),
            ("c",),
            ("cpu;state=",),
            ("cpu;state=idle",),
            ("mem;state",),
            ("state=used",),
            ("",),
        ):
            found = await self.found(*names)
            found.pop(TIMES_FIELD, None)  # of no use to anybody
            self.assertEqual(found, {}, names)

    async def test_untagged(self) -> None:
        """In a window without tags a name finds its metric alone."""
        self.server("DEL", keys.window(WindowName("web1", "raw", START)))
        self.fill(RAW, START, cpu=b"1", cp=b"2")
        self.assertEqual(await self.found("cpu"), {"cpu": b"1"})

    async def test_many_tagged(self) -> None:
        """A name finds all of its metrics also where a host has ten thousand of them."""
        many = {f"proc_pid__{number}": b"1" for number in range(10_000)}
        self.fill(RAW, START, "web1", _tagged=b"\nproc\n", **many)
        found = await self.found("proc")
        self.assertEqual(len([name for name in found if name.startswith("proc;")]), 10_000)

    async def test_all(self) -> None:
        """Without names everything is read."""
        found = await self.found()
        self.assertEqual(len(found), 8)
        self.assertLessEqual({TIMES_FIELD, TAGGED_FIELD, "cpu", "mem;state=used"}, found.keys())


class TiersTests(ReadingCase):
    """Which windows are read."""

    async def test_nothing(self) -> None:
        """Of what is not there nothing is read."""
        self.assertEqual(await self.read(START, START + DAY, hosts=("web1", "web2")), [[], []])
        self.assertEqual(await self.read(START, START + DAY, hosts=()), [])

    async def test_hosts(self) -> None:
        """Each host has a list, in the order that they were asked for."""
        self.fill(RAW, START, "a", cpu=b"a")
        self.fill(RAW, START + HOUR, "b:9", cpu=b"b")
        self.assertEqual(
            await self.read(START, START + DAY, "cpu", hosts=("b:9", "c", "a")),
            [[("raw", START + HOUR, {"cpu": b"b"})], [], [("raw", START, {"cpu": b"a"})]],
        )

    async def test_open(self) -> None:
        """Of the raw tier what was taken to be sealed and the head come along, also where that is all there is."""
        windows = (await self.connected()).windows
        self.fill(RAW, START, cpu=b"1")
        for window in (START, START + HOUR):
            name = WindowName("web1", "raw", window)
            self.server("SET", keys.sealing(name), f"taken {window}")
            self.server("SET", keys.head(name), f"head {window}")
        self.server("DEL", keys.sealing(name))
        key = keys.window(WindowName("web1", "raw", START))
        for names in ((), ("cpu",)):
            self.assertEqual(
                await windows.read(["web1"], TIERS, START, START + DAY, NOW, names),
                [
                    [
                        Stored(RAW, START, key, [b"cpu", b"1"], f"taken {START}".encode(), f"head {START}".encode()),
                        Stored(RAW, START + HOUR, keys.window(name), [], None, f"head {START + HOUR}".encode()),
                    ]
                ],
            )

    async def test_range(self) -> None:
        """The windows that hold a part of the range are read, and no others."""
        for hour in range(4):
            self.fill(RAW, START + hour * HOUR, cpu=b"%d" % hour)
        for start, stop, hours in (
            (0, 4 * HOUR, "0123"),
            (HOUR, 2 * HOUR, "1"),
            (HOUR - 1, 2 * HOUR, "01"),
            (HOUR, 2 * HOUR + 1, "12"),
            (HOUR + 5, HOUR + 6, "1"),
            (HOUR, HOUR, ""),
        ):
            (found,) = await self.read(START + start, START + stop)
            self.assertEqual("".join(fields["cpu"].decode() for _, _, fields in found), hours, (start, stop))

    async def test_stitched(self) -> None:
        """What a coarser tier has been fed is read from it, the rest from the next one."""
        for hour in range(2 * PARTS):
            self.fill(RAW, START + hour * HOUR, cpu=b"%d" % hour)
        self.fill(MINUTES, START, cpu=b"minutes", _fed=fed(PARTS, *range(PARTS - 3), PARTS - 2))
        (found,) = await self.read(START, START + MINUTES.window + HOUR, "cpu", tiers=(RAW, MINUTES))
        self.assertEqual(
            [(tier, (window - START) // HOUR, fields["cpu"]) for tier, window, fields in found],
            [
                ("1m", 0, b"minutes"),
                ("raw", PARTS - 3, b"%d" % (PARTS - 3)),
                ("raw", PARTS - 1, b"%d" % (PARTS - 1)),
                ("raw", PARTS, b"%d" % PARTS),
            ],
        )
        end = START + MINUTES.window
        for start, stop, expected in (
            (START + 2 * HOUR, START + 3 * HOUR, [b"minutes"]),
            (end - HOUR + 60, end - 60, [b"minutes", b"%d" % (PARTS - 1)]),
            (end - 2 * HOUR, end - HOUR, [b"minutes"]),
        ):
            (found,) = await self.read(start, stop, "cpu", tiers=(RAW, MINUTES))
            self.assertEqual([fields["cpu"] for _, _, fields in found], expected, (start - START, stop - START))
        (found,) = await self.read(START + 2 * HOUR, START + 4 * HOUR, "cpu", tiers=(RAW,))
        self.assertEqual([fields["cpu"] for _, _, fields in found], [b"2", b"3"])

    async def test_three_tiers(self) -> None:
        """The same through all tiers: what the hours lack is read from minutes, what these lack raw."""
        start = HOURS.window_of(START * 1000)
        count = HOURS.window // MINUTES.window
        place = (START - start) // MINUTES.window
        self.fill(HOURS, start, cpu=b"hours", _fed=fed(count, *set(range(count)) - {place}))
        self.fill(MINUTES, START, cpu=b"minutes", _fed=fed(PARTS, *range(PARTS - 1)))
        for hour in (-1, 2, PARTS - 1, PARTS):
            self.fill(RAW, START + hour * HOUR, cpu=b"%d" % hour)
        (found,) = await self.read(start, START + MINUTES.window, "cpu")
        self.assertEqual(
            [(tier, fields["cpu"]) for tier, _, fields in found],
            [("1h", b"hours"), ("1m", b"minutes"), ("raw", b"%d" % (PARTS - 1))],
        )
        self.assertEqual(found[0], ("1h", start, {"cpu": b"hours"}))

    async def test_not_fed_yet(self) -> None:
        """A window that the coarser tier cannot have yet is read from the finer one."""
        now = int(NOW)
        for tier in (RAW, MINUTES, HOURS):
            self.fill(tier, tier.window_of(now * 1000), cpu=tier.name.encode())
        self.assertEqual(await self.read(now - 1, now, "cpu"), [[("raw", RAW.window_of(now * 1000), {"cpu": b"raw"})]])

    async def test_fed_without_the_metric(self) -> None:
        """Where a coarser tier was fed and has not the metric, the finer ones are not asked for it."""
        self.fill(MINUTES, START, load=b"minutes", _fed=fed(PARTS, 3))
        for hour in (3, 4):
            self.fill(RAW, START + hour * HOUR, cpu=b"%d" % hour)
        (found,) = await self.read(START, START + DAY, "cpu")
        self.assertEqual([fields["cpu"] for _, _, fields in found], [b"4"])

    async def test_oldest(self) -> None:
        """What is older than a tier is kept is not looked for."""
        for tier in TIERS:
            oldest = tier.oldest(NOW)
            for window, there in ((oldest - tier.window, False), (oldest, True)):
                self.server("FLUSHALL")
                self.fill(tier, window, cpu=b"1", _fed=fed(HOURS.window // MINUTES.window))
                found = await self.read(0, int(NOW), "cpu")
                self.assertEqual(found, [[(tier.name, window, {"cpu": b"1"})] if there else []], (tier, window))


class CostTests(ReadingCase):
    """What a question costs the store."""

    async def commands(self, start: float, stop: float, step: float | None) -> int:
        """How many commands the store did for a question about one host."""
        history = History((await self.connected()).windows)
        plan = Plan.of(Query("web1", "cpu", start, stop, step), TIERS, NOW)
        self.server("CONFIG", "RESETSTAT")
        async for _, found in history.read(["web1"], pattern("cpu"), plan, NOW):
            self.assertEqual(found, {})
        lines: Any = self.server("INFO", "commandstats")
        calls = {
            line.split(b":")[0].removeprefix(b"cmdstat_"): int(line.split(b"calls=")[1].split(b",")[0])
            for line in lines.splitlines()
            if line.startswith(b"cmdstat_")
        }
        return sum(calls.get(name, 0) for name in (b"hget", b"hmget", b"hgetall", b"mget"))

    async def test_all_times(self) -> None:
        """A question about all times costs no more than one about all that is kept."""
        kept = 1 + sum((tier.retention + 7 * DAY) // tier.window + 3 for tier in TIERS)
        for step in (None, 60.0, 3600.0, 30.0 * DAY):
            if step is None or step > DAY:
                self.assertLess(await self.commands(0.0, FAR, step), 2 * kept, step)
            self.assertLess(await self.commands(NOW - 2 * DAY, NOW, step), 2 * kept, step)

    async def test_nowhere(self) -> None:
        """A question about 1970, or the future, costs next to nothing."""
        for start in (0.0, FAR - DAY, NOW + DAY):
            for step in (None, 3600.0):
                self.assertLessEqual(await self.commands(start, start + 3600, step), 1, (start, step))


class RedisFieldsTests(FieldsTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"


class RedisTiersTests(TiersTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"


class RedisCostTests(CostTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
