"""Tests for `perfmon.storage.windows` and its scripts, on real servers: who is to do what, and when."""

from perfmon.core.tiers import HOURS, MINUTES, RAW, TIERS, WindowName
from perfmon.storage import keys
from perfmon.storage.windows import Claim
from tests.programs import STORE_SERVERS
from tests.storage.windows_case import NOW, PARTS, UNTIL, WindowsCase, hours, member, minutes, raw


class ClaimTests(WindowsCase):
    async def test_nothing_due(self) -> None:
        """Where nothing is due there is nothing to claim."""
        windows = await self.begin()
        for tier in TIERS:
            self.assertIsNone(await windows.claim(tier, NOW, UNTIL))
        self.open_window(RAW, raw(), NOW + 0.001)
        self.assertIsNone(await windows.claim(RAW, NOW, UNTIL))
        self.assertEqual(self.open_windows(RAW), {member(raw()): NOW + 0.001})

    async def test_order(self) -> None:
        """What has been due the longest is claimed first, one window at a time."""
        windows = await self.begin()
        for place, host in ((3, "a"), (1, "b"), (2, "c"), (2.5, "b:9@x.y-z_")):
            self.open_window(RAW, raw(host, hour=2), NOW - 10 + place)
        claims = [await windows.claim(RAW, NOW, UNTIL) for _ in range(5)]
        self.assertEqual(claims.pop(), None)
        self.assertEqual([claim and claim.target.host for claim in claims], ["b", "c", "b:9@x.y-z_", "a"])
        self.assertEqual(claims[0], Claim(RAW, UNTIL, raw("b", hour=2), [raw("b", hour=2)]))
        self.assertEqual(set(self.open_windows(RAW).values()), {UNTIL})

    async def test_parts(self) -> None:
        """A window is claimed with all of its parts that are due, and with nothing else."""
        windows = await self.begin()
        for hour in (3, 1, 2):
            self.open_window(MINUTES, raw(hour=hour), NOW - 30 + hour)
        others = {raw(hour=4): NOW + 1, raw("web2", hour=1): NOW - 5, raw(hour=PARTS): NOW - 5}
        for name, due in others.items():
            self.open_window(MINUTES, name, due)
        claim = await windows.claim(MINUTES, NOW, UNTIL)
        self.assertEqual(claim, Claim(MINUTES, UNTIL, minutes(), [raw(hour=hour) for hour in (1, 2, 3)]))
        expected = {member(raw(hour=hour)): UNTIL for hour in (1, 2, 3)}
        self.assertEqual(self.open_windows(MINUTES), expected | {member(name): due for name, due in others.items()})

    async def test_hours(self) -> None:
        """Of the coarsest tier the parts are windows of the one before it."""
        windows = await self.begin()
        self.open_window(HOURS, minutes(), NOW - 1)
        claim = await windows.claim(HOURS, NOW, UNTIL)
        self.assertEqual(claim, Claim(HOURS, UNTIL, hours(), [minutes()]))

    async def test_many(self) -> None:
        """However many are due, each is claimed once, and each claim is of one window."""
        windows = await self.begin()
        expected = set()
        for place in range(300):
            name = raw(f"web{place * 7 % 50}", hour=place % 24)
            self.open_window(MINUTES, name, NOW - 300 + place)
            expected.add(name)
        claimed: list[WindowName] = []
        while (claim := await windows.claim(MINUTES, NOW, UNTIL)) is not None:
            self.assertEqual({part.host for part in claim.parts}, {claim.target.host})
            claimed += claim.parts
        self.assertEqual(sorted(claimed), sorted(expected))

    async def test_hidden(self) -> None:
        """A claim hides its windows from everybody until its lease is over; then they are due again."""
        windows, other = await self.begin(), (await self.connected()).windows
        self.open_window(RAW, raw(), NOW - 5)
        self.assertIsNotNone(await windows.claim(RAW, NOW, UNTIL))
        for collector in (windows, other):
            self.assertIsNone(await collector.claim(RAW, UNTIL - 0.001, UNTIL + 600))
        claim = await other.claim(RAW, UNTIL, UNTIL + 600)
        self.assertEqual(claim, Claim(RAW, UNTIL + 600, raw(), [raw()]))

    async def test_postpone(self) -> None:
        """What is postponed is due then; what is there no longer does not come back."""
        windows = await self.begin()
        for hour in (3, 4):
            self.open_window(MINUTES, raw(hour=hour), NOW)
        claim = await windows.claim(MINUTES, NOW, UNTIL)
        assert claim is not None
        self.server("ZREM", keys.open_windows(MINUTES.name), member(raw(hour=4)))
        await windows.postpone(claim, NOW + 3600.5)
        self.assertEqual(self.open_windows(MINUTES), {member(raw(hour=3)): NOW + 3600.5})

    async def test_due(self) -> None:
        """How much is due is told, and since when; what is claimed or comes later is not."""
        windows = await self.begin()
        self.assertEqual(await windows.due(RAW, NOW), (0, NOW))
        for hour, due in ((1, NOW - 7.5), (2, NOW), (3, NOW + 0.5)):
            self.open_window(RAW, raw(hour=hour), due)
        self.assertEqual(await windows.due(RAW, NOW), (2, NOW - 7.5))
        await windows.claim(RAW, NOW, UNTIL)
        self.assertEqual(await windows.due(RAW, NOW), (1, NOW))


class RedisClaimTests(ClaimTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
