"""Tests for `perfmon.storage.windows` and its scripts, on real servers: how a window is changed."""

from perfmon.core.chunks import TAGGED_FIELD
from perfmon.core.sealed import FED_FIELD
from perfmon.core.tiers import HOURS, MINUTES, RAW, SPARE
from perfmon.storage import keys
from perfmon.storage.store import META_TTL, StoreUnavailable
from perfmon.storage.windows import OPEN_TTL, REVISION_FIELD, Claim, Windows
from tests.programs import STORE_SERVERS
from tests.storage.windows_case import HOUR, NOW, START, UNTIL, WindowsCase, hours, member, minutes, raw


class TakeTests(WindowsCase):
    async def test_take(self) -> None:
        """A head is taken as it is, with its TTL; what is appended from then on is a new head."""
        windows = await self.begin()
        self.server("SET", keys.head(raw()), "old", "EXAT", RAW.spared_until(raw().window))
        self.assertEqual(await windows.take(raw(), whole=False), (b"old", {}))
        self.assertEqual(
            self.everything(), {keys.sealing(raw()): (b"old", RAW.spared_until(raw().window))}, "nothing else"
        )

    async def test_take_again(self) -> None:
        """A head that was taken before and not sealed comes first; the new one stays a head."""
        windows = await self.begin()
        for data in ("old", "new"):
            self.server("SET", keys.head(raw()), data)
            self.assertEqual(await windows.take(raw(), whole=False), (b"old", {}))
        self.assertEqual(
            (self.server("GET", keys.sealing(raw())), self.server("GET", keys.head(raw()))), (b"old", b"new")
        )

    async def test_whole(self) -> None:
        """The fields of the window come along where they are asked for."""
        windows = await self.begin()
        self.fill(raw(), cpu="1", _tagged="2")
        self.assertEqual(await windows.take(raw(), whole=True), (None, {"cpu": b"1", ";tagged": b"2"}))
        self.assertEqual(await windows.take(raw(), whole=False), (None, {}))
        self.assertEqual(await windows.fields(raw()), {"cpu": b"1", ";tagged": b"2"})
        self.assertEqual(await windows.take(raw("web2"), whole=True), (None, {}))


class SealedTests(WindowsCase):
    async def taken(self, windows: Windows, head: str = "head") -> Claim:
        """A claim on a window whose head was taken."""
        self.server("SET", keys.head(raw()), head, "EXAT", RAW.spared_until(raw().window))
        self.open_window(RAW, raw(), NOW)
        claim = await windows.claim(RAW, NOW, UNTIL)
        assert claim is not None
        await windows.take(raw(), whole=False)
        return claim

    async def seal(self, windows: Windows, claim: Claim, replace: bool, **fields: str) -> bool:
        data = {field.replace("_", ";"): value.encode() for field, value in fields.items()}
        return await windows.sealed(claim, data, replace, again=NOW + 30, next_at=NOW + 60, roll_at=NOW + 900)

    async def test_adding(self) -> None:
        """Fields are added to those that the window has, in place of the head that was taken."""
        windows = await self.begin()
        self.fill(raw(), cpu="a", load="b")
        self.assertTrue(await self.seal(windows, await self.taken(windows), False, cpu="c", disk="d"))
        self.assertEqual(self.fields(raw()), {"cpu": "ac", "load": "b", "disk": "d"})
        self.assertEqual(self.server("EXISTS", keys.sealing(raw()), keys.head(raw())), 0)

    async def test_replacing(self) -> None:
        """Fields take the place of all those that the window has."""
        windows = await self.begin()
        self.fill(raw(), cpu="a", load="b")
        self.assertTrue(await self.seal(windows, await self.taken(windows), True, cpu="c", disk="d"))
        self.assertEqual(self.fields(raw()), {"cpu": "c", "disk": "d"})
        self.assertEqual(self.server("EXISTS", keys.sealing(raw()), keys.head(raw())), 0)

    async def test_many(self) -> None:
        """However many metrics there are, each gets its own."""
        windows = await self.begin()
        old = {f"m{number}": f"a{number}" for number in range(0, 1_700, 3)}
        new = {f"m{number}": f"b{number}" for number in range(1_700)}
        for replace in (False, True):
            self.server("FLUSHALL")
            self.fill(raw(), 0, **old)
            self.assertTrue(await self.seal(windows, await self.taken(windows), replace, **new))
            expected = new if replace else {name: old.get(name, "") + value for name, value in new.items()}
            self.assertEqual(self.fields(raw()), expected)

    async def test_due_again(self) -> None:
        """A window is due again soon if it has a new head, else at the next stage, if there is one; and rolled up."""
        windows = await self.begin()
        for new_head, next_at, due in (
            (True, NOW + 60, {member(raw()): NOW + 30}),
            (True, None, {member(raw()): NOW + 30}),
            (False, NOW + 60, {member(raw()): NOW + 60}),
            (False, None, {}),
        ):
            self.server("FLUSHALL")
            claim = await self.taken(windows)
            if new_head:
                self.server("SET", keys.head(raw()), "new")
            await windows.sealed(claim, {"cpu": b"1"}, True, again=NOW + 30, next_at=next_at, roll_at=NOW + 900)
            self.assertEqual(self.open_windows(RAW), due)
            self.assertEqual(self.open_windows(MINUTES), {member(raw()): NOW + 900})
            self.assertEqual(self.server("GET", keys.head(raw())), b"new" if new_head else None)

    async def test_nothing(self) -> None:
        """Of a head without samples nothing is kept, and nothing is rolled up."""
        windows = await self.begin()
        claim = await self.taken(windows)
        self.assertTrue(await windows.sealed(claim, {}, True, NOW + 30, None, NOW + 900))
        self.assertEqual(self.everything(), {})

    async def test_ttl(self) -> None:
        """What is sealed is spared until the next tier has it, also if it was to end before; so are the open sets."""
        windows = await self.begin()
        for replace in (False, True):
            self.fill(raw(), RAW.expires_at(raw().window), cpu="a")
            await self.seal(windows, await self.taken(windows), replace, cpu="b")
            self.assertEqual(self.expires_at(keys.window(raw())), RAW.spared_until(raw().window))
            self.assertGreater(self.server("TTL", keys.open_windows(MINUTES.name)), OPEN_TTL - 60)
        self.assertEqual(
            [key for key, (_, end) in self.everything().items() if end < 0], ["pm:open:raw"], "by the test"
        )

    async def test_claim_lost(self) -> None:
        """Without the claim nothing changes, whoever has it or has done it."""
        windows = await self.begin()
        for replace in (False, True):
            for lose in ("over", "done", "postponed"):
                self.server("FLUSHALL")
                self.fill(raw(), cpu="a")
                claim = await self.taken(windows)
                if lose == "over":
                    self.assertIsNotNone(await windows.claim(RAW, UNTIL, UNTIL + 600))
                elif lose == "done":
                    self.assertTrue(await windows.sealed(claim, {"cpu": b"b"}, True, NOW, None, NOW))
                else:
                    await windows.postpone(claim, UNTIL + 0.25)
                before = self.everything()
                self.assertFalse(await self.seal(windows, claim, replace, cpu="c", disk="d"), lose)
                self.assertEqual(self.everything(), before, lose)

    async def test_full(self) -> None:
        """On a server that is full all of it is done, or nothing."""
        windows = await self.begin()
        for replace in (False, True):
            self.server.reset()
            self.fill(raw(), cpu="a", load="b")
            claim = await self.taken(windows)
            before = self.everything()
            self.server("CONFIG", "SET", "maxmemory", "1")
            try:
                await self.seal(windows, claim, replace, cpu="c", disk="d")
            except StoreUnavailable:
                self.assertEqual(self.everything(), before)
            else:
                self.assertEqual(self.fields(raw()), {"cpu": "c" if replace else "ac", "disk": "d"})
                self.assertEqual(self.expires_at(keys.window(raw())), RAW.spared_until(raw().window))

    async def test_roller_under_way(self) -> None:
        """Whoever rolls up what is sealed anew meanwhile has lost the claim."""
        windows = await self.begin()
        self.fill(raw(), cpu="a")
        self.open_window(MINUTES, raw(), NOW)
        rolling = await windows.claim(MINUTES, NOW, UNTIL)
        assert rolling is not None
        await self.seal(windows, await self.taken(windows), True, cpu="b")
        before = self.everything()
        self.assertFalse(await windows.rolled(rolling, {"cpu": b"of a"}, NOW))
        self.assertEqual(self.everything(), before)


class RolledTests(WindowsCase):
    async def claimed(self, windows: Windows, *hours: int) -> Claim:
        """A claim on `minutes`, with parts that are sealed."""
        for hour in hours:
            self.fill(raw(hour=hour), cpu="a")
            self.open_window(MINUTES, raw(hour=hour), NOW)
        claim = await windows.claim(MINUTES, NOW, UNTIL)
        assert claim is not None
        return claim

    async def test_minutes(self) -> None:
        """The target has the fields, its next tier is told, and the parts are kept as long as their own tier is."""
        windows = await self.begin()
        self.fill(minutes(), int(NOW) + 60, cpu="old", load="old")
        claim = await self.claimed(windows, 3, 4)
        self.assertTrue(await windows.rolled(claim, {"cpu": b"1", FED_FIELD: b"2", TAGGED_FIELD: b"3"}, NOW))
        fields = self.fields(minutes())
        self.assertEqual(len(bytes.fromhex(fields.pop(REVISION_FIELD))), 8)
        self.assertEqual(fields, {"cpu": "1", ";fed": "2", ";tagged": "3"})
        self.assertEqual(self.expires_at(keys.window(minutes())), START + MINUTES.window + MINUTES.retention + SPARE)
        due = {member(minutes()): HOURS.roll_at(START, NOW)}
        self.assertEqual((self.open_windows(MINUTES), self.open_windows(HOURS)), ({}, due))
        self.assertGreater(self.server("TTL", keys.open_windows(HOURS.name)), META_TTL - 60)
        for hour in (3, 4):
            self.assertEqual(self.expires_at(keys.window(raw(hour=hour))), START + (hour + 1) * HOUR + RAW.retention)
            self.assertEqual(self.fields(raw(hour=hour)), {"cpu": "a"})

    async def test_hours(self) -> None:
        """The coarsest tier has no next one; its windows are kept as long as they are to be."""
        windows = await self.begin()
        self.fill(minutes(), MINUTES.spared_until(START), cpu="a")
        self.open_window(HOURS, minutes(), NOW)
        claim = await windows.claim(HOURS, NOW, UNTIL)
        assert claim is not None
        self.assertTrue(await windows.rolled(claim, {"cpu": b"1"}, NOW))
        self.assertEqual(self.expires_at(keys.window(hours())), hours().window + HOURS.window + HOURS.retention)
        self.assertEqual(self.expires_at(keys.window(minutes())), START + MINUTES.window + MINUTES.retention)
        self.assertEqual(len(self.everything()), 2)

    async def test_many(self) -> None:
        """However many metrics there are, each gets its own."""
        windows = await self.begin()
        self.fill(minutes(), old="old")
        fields = {f"m{number}": f"b{number}" for number in range(1_700)}
        claim = await self.claimed(windows, 3)
        self.assertTrue(await windows.rolled(claim, {name: value.encode() for name, value in fields.items()}, NOW))
        self.assertLess(fields.items(), self.fields(minutes()).items())
        self.assertNotIn("old", self.fields(minutes()))

    async def test_another_revision(self) -> None:
        """Where another collector has rolled up into the target meanwhile, nothing is done, and it is due at once."""
        windows = await self.begin()
        claim = await self.claimed(windows, 3)
        self.assertTrue(await windows.rolled(claim, {"cpu": b"1"}, NOW))
        first = self.fields(minutes())
        for revision in (b"", b"another"):
            claim = await self.claimed(windows, 4)
            self.assertFalse(await windows.rolled(claim, {"cpu": b"2"}, NOW, revision))
            self.assertEqual((self.fields(minutes()), self.open_windows(MINUTES)), (first, {member(raw(hour=4)): 0.0}))
        claim = await self.claimed(windows, 4)
        self.assertTrue(await windows.rolled(claim, {"cpu": b"2"}, NOW, first[REVISION_FIELD].encode()))
        self.assertEqual(self.fields(minutes())["cpu"], "2")
        self.assertNotEqual(self.fields(minutes())[REVISION_FIELD], first[REVISION_FIELD])

    async def test_nothing_left(self) -> None:
        """Parts of which nothing is left are no longer due, and the target stays as it is."""
        windows = await self.begin()
        self.fill(minutes(), cpu="old")
        before = self.everything()
        claim = await self.claimed(windows, 3)
        self.server("DEL", keys.window(raw(hour=3)))
        self.assertTrue(await windows.rolled(claim, {}, NOW))
        self.assertEqual(self.everything(), before)

    async def test_claim_lost(self) -> None:
        """Without the claim on each of the parts nothing changes."""
        windows = await self.begin()
        for lose in ("over", "one over", "one done", "one sealed anew"):
            self.server("FLUSHALL")
            self.fill(minutes(), cpu="old")
            claim = await self.claimed(windows, 3, 4)
            if lose == "over":
                self.assertIsNotNone(await windows.claim(MINUTES, UNTIL, UNTIL + 600))
            elif lose == "one done":
                self.server("ZREM", keys.open_windows(MINUTES.name), member(raw(hour=4)))
            else:
                self.open_window(MINUTES, raw(hour=4), UNTIL + (600 if lose == "one over" else -500))
            before = self.everything()
            self.assertFalse(await windows.rolled(claim, {"cpu": b"1"}, NOW), lose)
            self.assertEqual(self.everything(), before, lose)


class RedisTakeTests(TakeTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"


class RedisSealedTests(SealedTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"


class RedisRolledTests(RolledTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
