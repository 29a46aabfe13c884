"""Tests for the removal of a host: by `perfmon.services.backend`, `perfmon.services.presence` and a real store."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.task import Clock

from perfmon.core.presence import State, Timeouts
from perfmon.core.query import Query
from perfmon.core.tiers import STAGE, TIERS, WindowName
from perfmon.services.backend import CollectorBackend
from perfmon.services.control import Control
from perfmon.services.exports import Exports
from perfmon.services.live import Live
from perfmon.services.presence import SWEEP, PresenceService
from perfmon.services.refusals import Refusals
from perfmon.services.reports import Reports
from perfmon.services.rightsizing import Rightsizing
from perfmon.services.runs import Runs
from perfmon.services.status import Status
from perfmon.storage import keys
from tests.services.no_answers import NoAnswers
from tests.services.test_reports import HOUR, TODAY, StoredCase
from tests.waiting import until

START = TODAY - 6 * HOUR
TIMEOUTS = Timeouts(late=7.5, departed=15.0, silent=300.0)

# Each is the beginning of another, or could be taken for a pattern of it.
HOSTS = (
    "web1",
    "web10",
    "web",
    "web1.a",
    "web1:a",
    "web1@a",
    "web1+a",
    "web1-a",
    "web1_a",
    "_web1",
    "WEB1",
    "1",
    "a.web1",
)

# All keys, each with its members or its value.
DUMP = """
local all = {}
for i, key in ipairs(redis.call('KEYS', '*')) do
  local shared = redis.call('TYPE', key).ok == 'zset'
  all[i] = {key, shared and redis.call('ZRANGE', key, 0, -1) or redis.call('DUMP', key)}
end
return all
"""

# ARGV: host, number. Keys and open windows of a host as there would be after a long time.
FILL = """
for i = 1, tonumber(ARGV[2]) do
  redis.call('SET', 'pm:{' .. ARGV[1] .. '}:raw:' .. i * 3600 .. ':head', 'x')
  redis.call('ZADD', 'pm:open:raw', i, ARGV[1] .. ' ' .. i * 3600)
end
"""


class RemovalCase(StoredCase):
    async def begin(self, now: float = START) -> None:
        await super().begin(now)
        self.clock = Clock()
        self.presence = PresenceService(self.store, TIMEOUTS, self.clock, self.clock.seconds, self.wall)
        self.presence.startService()
        self.addCleanup(self.presence.stopService)
        self.control = Control(self.store, self.presence, self.clock, self.wall)
        store = self.store
        self.rightsizing = Rightsizing(self.queries, self.history, store.runs, store.notes, None, self.clock, self.wall)
        self.backend = CollectorBackend(
            self.store,
            self.queries,
            Reports(self.queries, self.history, self.wall),
            Exports(self.history, self.clock, self.wall),
            cast(Status, SimpleNamespace(report=None)),  # has nothing to do with it
            self.ingest,
            self.presence,
            self.control,
            cast(Live, SimpleNamespace(stream=None)),
            Runs(self.store.runs, NoAnswers(), 3_600.0, self.clock, self.wall),
            self.rightsizing,
            Refusals(self.clock.seconds),
            self.clock,
            self.wall,
        )

    def keys(self, host: str) -> set[str]:
        """All keys of `host`."""
        return {key for key in self.everything() if key.startswith(f"pm:{{{host}}}:")}

    def everything(self) -> dict[str, Any]:
        """All keys with what they hold; of the sets that hosts share, the members."""
        return {
            key.decode(): set(held) if isinstance(held, list) else held for key, held in self.server("EVAL", DUMP, 0)
        }

    async def come(self, host: str = "web1") -> None:
        """`host` gives a sign now, which is written."""
        self.presence.sign(host)
        self.clock.advance(SWEEP)
        await until(lambda: self.server("HGET", keys.meta(host), "first"), "the host")
        await self.quiet()

    async def go(self, host: str = "web1", state: State = State.DEPARTED) -> None:
        """Another collector writes down that `host` has gone."""
        record = (await self.store.hosts([host]))[0]
        await self.store.change({host: record.last_seen}, state, self.now, "timeout")

    async def quiet(self) -> None:
        """Waits until presence has nothing more to write."""
        await until(lambda: self.presence._flushing is None, "the end of the flush")

    async def events(self) -> list[tuple[str, list[str]]]:
        return [(event.kind, event.hosts) for event in await self.store.events("0", 100)]


class KeysTests(RemovalCase):
    async def fill_all(self) -> None:
        """Keys of every kind of every host, and something due of it in every tier."""
        await self.begin(TODAY - 30 * HOUR)
        samples = [(round(self.now + hour * HOUR) * 1000, 1.0) for hour in range(30)]
        for host in HOSTS:
            await self.fill({"cpu.load": samples, "disk;m=/": samples}, host)
            await self.store.describe({host: {"kind": "sender"}})
        await self.roll_up(TODAY + HOUR)
        late = [(round(TODAY - 5 * HOUR) * 1000 + 1, 1.0), (TODAY * 1000, 1.0)]
        for host in HOSTS:
            await self.fill({"late": late}, host)
        await self.seal(self.now + 40)
        for host in HOSTS:
            await self.fill({"later": late}, host)
            await self.store.windows.take(WindowName(host, "raw", TODAY), whole=False)
            await self.fill({"latest": late}, host)
            await self.fill({"old": [(round(TODAY - 29 * HOUR) * 1000, 1.0)]}, host)
            for tier in TIERS[1:]:
                self.server("ZADD", keys.open_windows(tier.name), 1, f"{host} {tier.window_of(TODAY * 1000)}")
        await self.store.sign(dict.fromkeys(HOSTS, self.now))

    async def test_all_and_no_other(self) -> None:
        """Of each host every key goes, and its members of the sets; of all others nothing does."""
        await self.fill_all()
        for host in HOSTS:
            before = self.everything()
            own = self.keys(host)
            kinds = {key.partition("}:")[2].partition(":")[0] for key in own}
            self.assertEqual(kinds, {"raw", "1m", "1h", "meta"})
            self.assertLess({"head", "sealing", "meta"}, {key.rpartition(":")[2] for key in own})
            self.assertEqual(await self.store.remove(host, self.now), len(own))
            expected = {"pm:events": self.everything()["pm:events"]}
            for key, held in before.items():
                if key == "pm:events":
                    continue
                if key not in own:
                    left = {one for one in held if one.split()[0] != host.encode()} if isinstance(held, set) else held
                    self.assertEqual(left != held, isinstance(held, set), key)
                    if left:
                        expected[key] = left
            self.assertEqual(self.everything(), expected)
        self.assertEqual(set(self.everything()), {"pm:events"})

    async def test_many(self) -> None:
        """However many keys there are, of this host and of others, the removal finds all of its own."""
        await self.begin()
        for host, number in (("web1", 2500), ("web10", 2500), ("web", 10)):
            self.server("EVAL", FILL, 0, host, number)
        self.assertEqual(await self.store.remove("web1", self.now), 2500)
        left = self.everything()
        self.assertEqual((len(left), len(left["pm:open:raw"])), (2512, 2510))
        self.assertEqual(self.keys("web1"), set())
        self.assertEqual(await self.store.remove("web10", self.now), 2500)
        self.assertEqual(len(self.everything()["pm:open:raw"]), 10)

    async def test_unknown(self) -> None:
        """A host of which there is nothing has no keys, and nothing else is touched."""
        await self.begin()
        await self.fill({"x": [(START * 1000, 1.0)]}, "web10")
        before = self.everything()
        for host in ("web1", "nobody", "web100"):
            self.assertEqual(await self.backend.remove(host), 0)
        self.assertEqual(self.everything(), before)

    async def test_events_stay(self) -> None:
        """What happened to a host is told of also when it is removed, and so is that."""
        await self.begin()
        await self.come()
        await self.go()
        self.assertEqual(await self.backend.remove("web1"), 1)
        self.assertEqual(await self.events(), [("up", ["web1"]), ("departed", ["web1"]), ("removed", ["web1"])])
        self.assertEqual(await self.queries.hosts("*", "*"), [])


class SealerTests(RemovalCase):
    """A host is removed while one of its windows is under way."""

    async def check(self, step: str, work: Callable[[], Any]) -> None:
        """`web1` is removed before the `step` of the sealer, which then stores nothing of it."""
        windows = self.sealing._windows
        method = getattr(windows, step)
        met: list[int] = []

        async def removing(*given: Any, **named: Any) -> Any:
            if not met:
                met.append(await self.store.remove("web1", self.now))
            return await method(*given, **named)

        before = self.keys("web10")
        self.patch(windows, step, removing)
        await work()
        self.assertGreater(met[0], 0)
        self.assertEqual(self.keys("web1"), set())
        for tier in TIERS:
            hosts = {member.split()[0] for member in self.server("ZRANGE", keys.open_windows(tier.name), 0, -1)}
            self.assertLessEqual(hosts, {b"web10"})
        self.assertLessEqual(before - {key for key in before if key.endswith(":head")}, self.keys("web10"))

    async def test_sealed(self) -> None:
        """Neither a piece of an hour that goes on nor a whole hour comes back."""
        for step in ("take", "sealed"):
            for now in (START + 10 + STAGE, START + 2 * HOUR):
                await self.begin(START + 10)
                for host in ("web1", "web10"):
                    await self.fill({"x": [(START * 1000, 1.0)]}, host)
                await self.check(step, lambda now=now: self.seal(now))  # type: ignore[misc]  # mypy infers no lambda with defaults
                self.assertEqual(self.sealing.sealed, 1)
                self.server.reset()

    async def test_rolled(self) -> None:
        """Nor do its minutes and hours."""
        for step in ("fields", "rolled"):
            for tier in TIERS[1:]:
                await self.begin(START + 2 * HOUR)
                for host in ("web1", "web10"):
                    await self.fill({"x": [(START * 1000, 1.0)]}, host)
                await self.seal(self.now + 100)
                if tier is TIERS[2]:
                    await self.seal(TODAY + HOUR)
                await self.check(step, lambda: self.roll_up(TODAY + 3 * HOUR))
                self.server.reset()

    async def test_postponed(self) -> None:
        """A window that could not be read is not due again."""
        await self.begin(START + 2 * HOUR)
        for host in ("web1", "web10"):
            await self.fill({"x": [(START * 1000, 1.0)]}, host)
            self.server("SET", keys.head(WindowName(host, "raw", START)), "no head at all")
        await self.check("postpone", lambda: self.seal(self.now + 100))
        self.assertEqual(self.server("ZCARD", "pm:open:raw"), 1)


class PresenceTests(RemovalCase):
    async def test_there(self) -> None:
        """A host that is there is not removed, nor anything of it, and it goes on being watched."""
        await self.begin()
        await self.fill({"x": [(START * 1000, 1.0)]})
        await self.come()
        for state in (State.UP, State.LATE):
            await self.store.change({"web1": self.now}, state, self.now)
            before = self.everything()
            self.assertIsNone(await self.backend.remove("web1"))
            self.assertEqual(self.everything(), before)
            self.assertEqual(self.presence.count(), {"up": 1})

    async def test_gone(self) -> None:
        """One that is not there any more is, whatever became of it."""
        for state in (State.DEPARTED, State.LEFT, State.SILENT):
            await self.begin()
            await self.come()
            await self.go(state=state)
            self.assertEqual(await self.backend.remove("web1"), 1)
            self.assertEqual(self.keys("web1"), set())
            self.server.reset()

    async def test_forgotten(self) -> None:
        """Presence watches it no longer: nobody hears of its departure later."""
        await self.begin()
        await self.come("web1")
        await self.come("web2")
        await self.go()
        await self.backend.remove("web1")
        self.assertEqual(self.presence.count(), {"up": 1})
        self.clock.pump([SWEEP] * 100)
        await until(lambda: self.server("HGET", keys.meta("web2"), "state") == b"departed", "the other's departure")
        await self.quiet()
        self.assertEqual(
            await self.events(),
            [
                ("up", ["web1"]),
                ("up", ["web2"]),
                ("departed", ["web1"]),
                ("removed", ["web1"]),
                ("late", ["web2"]),
                ("departed", ["web2"]),
            ],
        )
        self.assertEqual(self.keys("web1"), set())

    async def test_nothing_waits(self) -> None:
        """What presence had not written of it yet is not written afterwards."""
        await self.begin()
        await self.come()
        await self.go()
        self.presence.describe("web1", {"labels": "{}"})
        self.presence.leave("web1", "stopped")
        self.presence._signed["web1"] = self.now
        self.presence.describe("web2", {"labels": "{}"})
        await self.backend.remove("web1")
        self.clock.advance(SWEEP)
        await until(lambda: self.keys("web2"), "what waited of another")
        await self.quiet()
        self.assertEqual(set(self.everything()), {"pm:{web2}:meta", "pm:events"})
        self.assertEqual(await self.events(), [("up", ["web1"]), ("departed", ["web1"]), ("removed", ["web1"])])

    async def test_others_are_told(self) -> None:
        """A removal while changes are being written costs nobody else's event."""
        await self.begin()
        await self.come("web1")
        await self.come("web2")
        change = self.store.change

        async def changing(latest: Any, *given: Any) -> list[str]:
            changed = await change(latest, *given)
            if "web1" in latest:  # the store has it, and who asks for the removal learns so before presence does
                self.assertIsNotNone(await self.backend.remove("web1"))
            return changed

        self.patch(self.store, "change", changing)
        self.presence.leave("web1", "stopped")
        self.presence.leave("web2", "another reason")
        self.clock.advance(SWEEP)
        await self.quiet()
        self.assertEqual((await self.events())[2:], [("left", ["web1"]), ("removed", ["web1"]), ("left", ["web2"])])


class ComesBackTests(RemovalCase):
    async def come_and_go(self) -> None:
        """A host that was removed; `now` is an hour later."""
        await self.begin()
        self.presence.describe("web1", {"labels": '{"rack":"7"}'})
        await self.come()
        await self.received({"old": 1.0, "x": 2.0})
        await self.go()
        self.assertEqual(await self.backend.remove("web1"), 2)
        self.now += HOUR / 2

    async def test_new(self) -> None:
        """A host that comes back is a new one: first seen then, with nothing of what was known of it."""
        await self.come_and_go()
        await self.come()
        (host,) = await self.queries.hosts("*", "-")
        self.assertEqual((host["first_seen"], host["since"], host["state"]), (self.now, self.now, "up"))
        self.assertEqual((host["labels"], host["reason"], host["kind"]), ({}, "", "agent"))
        self.assertEqual(self.server("HGET", keys.meta("web1"), "renewed"), repr(self.now).encode())
        kinds = [kind for kind, _ in await self.events()]
        self.assertEqual(kinds, ["up", "departed", "removed", "up"])

    async def test_other_collector(self) -> None:
        """It is for another collector, too, which had heard of it and not of its removal."""
        await self.begin()
        await self.come()
        other = PresenceService(self.store, TIMEOUTS, self.clock, self.clock.seconds, self.wall)
        other.startService()
        self.addCleanup(other.stopService)
        await other.records()
        self.assertEqual(other.count(), {"up": 1})
        self.clock.pump([SWEEP] * 80)
        await until(lambda: self.server("HGET", keys.meta("web1"), "state") == b"departed", "the departure")
        await self.quiet()
        await until(lambda: other._flushing is None, "the other's flush")
        self.assertEqual(await self.backend.remove("web1"), 1)
        self.now += HOUR
        other.sign("web1")
        self.clock.advance(SWEEP)
        first = await until(lambda: self.server("HGET", keys.meta("web1"), "first"), "the host")
        self.assertEqual(float(first), self.now)

    async def test_samples(self) -> None:
        """What it sends then is stored, in the same hour too, and what it had sent before is not there any more."""
        await self.come_and_go()
        await self.received({"x": 3.0})
        text = [chunk async for chunk in self.backend.export(Query("web1", "*", START, START + HOUR, None), "ndjson")]
        self.assertEqual(b"".join(text), b'{"time":%r,"metric":"x","value":3.0}\n' % self.now)

    async def test_latest(self) -> None:
        """Its latest values are those that it has sent since."""
        await self.come_and_go()
        await self.come()
        await self.received({"x": 3.0})
        (host,) = await self.queries.hosts("web1", "*")
        self.assertEqual({name: latest["value"] for name, latest in host["latest"].items()}, {"x": 3.0})
