"""Tests for `perfmon.services.live`: the fleet is the test's own, time is a Clock's."""

import zlib
from collections.abc import AsyncGenerator, Iterable
from typing import Any

import orjson
from twisted.internet.defer import Deferred, ensureDeferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.events import EventQuery
from perfmon.services import live
from perfmon.services.live import FIRST_EVENTS, MOST_WAITING, TICK, Live
from perfmon.storage.store import StoreUnavailable
from tests.core.test_fleet import described

NOW = 1_800_000_000.0
CPU = "perfmon.cpu.utilization"


def values(data: dict[str, Any]) -> dict[str, float]:
    """Each host that is told of, and its figure."""
    columns = data.get("figures", data)
    return dict(zip(columns["host"], columns["cpu"], strict=True))


class Fleet:
    """Hosts and events, and what has become known."""

    def __init__(self) -> None:
        self.known: dict[str, dict[str, Any]] = {}
        self.told: set[str] = set()
        self.past: list[dict[str, Any]] = []
        self.away = False
        self.hanging: Deferred[None] | None = None
        self.looks: list[list[str]] = []

    def put(self, host: str, value: float, news: bool = True) -> None:
        self.known[host] = described(host, {CPU: value})
        self.told |= {host} if news else set()

    async def hosts(self, host: str, metric: str) -> list[dict[str, Any]]:
        self._ask()
        return list(self.known.values())

    async def of(self, hosts: Iterable[str], metric: str) -> list[dict[str, Any]]:
        self.looks.append(list(hosts))
        await (self.hanging or succeed(None))
        self._ask()
        return [self.known[host] for host in self.looks[-1] if host in self.known]

    async def events(self, query: EventQuery) -> list[dict[str, Any]]:
        self._ask()
        found = [event for event in self.past if int(event["id"]) > int(query.since)]
        return found[::-1][: query.limit] if query.newest else found[: query.limit]

    async def report(self) -> dict[str, Any]:
        return {"away": self.away}

    def news(self) -> set[str]:
        told, self.told = self.told, set()
        return told

    def names(self) -> list[str]:
        return list(self.known)

    def happen(self, after: float) -> None:
        """An event, so long after `NOW`."""
        self.past.append({"id": str(round((NOW + after) * 1000))})

    def _ask(self) -> None:
        if self.away:
            raise StoreUnavailable("away")


class Reader:
    """Takes what comes, message by message."""

    def __init__(self, stream: AsyncGenerator[bytes, None], packed: bool = False) -> None:
        unpacker = zlib.decompressobj(zlib.MAX_WBITS + 16)
        self._unpacked = unpacker.decompress if packed else bytes
        self.got: list[tuple[str, Any]] = []
        self.ended = False
        self.held: Deferred[None] | None = None
        self._stream = stream
        self._reading = ensureDeferred(self._read())

    async def _read(self) -> None:
        async for chunk in self._stream:
            message = self._unpacked(chunk)
            if not message:
                continue  # the header of what is packed
            first, second, *rest = message.decode().split("\n")
            assert rest == ["", ""], message
            self.got.append((first.removeprefix("event: "), orjson.loads(second.removeprefix("data: "))))
            await (self.held or succeed(None))
        self.ended = True

    def take(self) -> list[tuple[str, Any]]:
        got, self.got = self.got, []
        return got

    def go(self) -> None:
        """The client goes away."""
        self._reading.addErrback(lambda _: None)
        self._reading.cancel()


class LiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(live, "_STATUS_EVERY", 2)
        self.patch(live, "_ALL_IN", 30)
        self.clock, self.fleet = Clock(), Fleet()
        self.live = Live(self.fleet, self.fleet, self.fleet.events, self.fleet.report, self.clock, lambda: NOW)
        self.live.startService()
        self.addCleanup(self.end)

    def end(self) -> None:
        self.live.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def reader(self) -> Reader:
        return Reader(self.live.stream(pack=False))

    def tick(self, count: int = 1) -> None:
        self.clock.pump([TICK] * count)

    def test_all(self) -> None:
        """A reader begins with how the collector is, all hosts, and the newest events of the day, oldest first."""
        self.fleet.put("web1", 1.0)
        for after in (-90_000, *range(-FIRST_EVENTS - 20, 0)):
            self.fleet.happen(after)
        status, fleet, past = self.reader().take()
        self.assertEqual((status, fleet[0], past[0]), (("status", {"away": False}), "fleet", "past"))
        self.assertEqual((values(fleet[1]), fleet[1]["state"]), ({"web1": 1.0}, ["up"]))
        self.assertEqual(past[1], {"events": self.fleet.past[-FIRST_EVENTS:]})

    def test_changes(self) -> None:
        """After that it is told of what is new, once: a host, another value, an event; and how the collector is."""
        reader = self.reader()
        reader.take()
        self.fleet.put("web1", 1.0)
        self.fleet.happen(1)
        self.tick()
        (kind, data), events = reader.take()
        self.assertEqual(
            (kind, values(data), data["facts"]["host"], data["gone"]), ("hosts", {"web1": 1.0}, ["web1"], [])
        )
        self.assertEqual(events, ("events", {"events": self.fleet.past}))
        self.tick(2)
        self.assertEqual(reader.take(), [("status", {"away": False})])
        self.fleet.put("web1", 2.0)
        self.tick()
        told = dict(reader.take())
        self.assertEqual(set(told), {"status", "hosts"})
        self.assertEqual((values(told["hosts"]), told["hosts"]["facts"]["host"]), ({"web1": 2.0}, []))

    def test_stored_later(self) -> None:
        """A sample that was heard of before it was stored is told of one tick later."""
        reader = self.reader()
        self.fleet.put("web1", 1.0)
        self.tick()
        self.fleet.put("web1", 2.0, news=False)
        reader.take()
        self.tick()
        self.assertEqual(values(dict(reader.take())["hosts"]), {"web1": 2.0})

    def test_gone(self) -> None:
        """A host that was removed is named."""
        self.fleet.put("web1", 1.0)
        reader = self.reader()
        reader.take()
        del self.fleet.known["web1"]
        self.fleet.told.add("web1")
        self.tick()
        ((kind, data),) = reader.take()
        self.assertEqual((kind, values(data), data["gone"]), ("hosts", {}, ["web1"]))

    def test_all_in_turn(self) -> None:
        """Also what nobody here has heard of comes to light, some hosts at each tick."""
        for number in range(60):
            self.fleet.put(f"h{number}", 1.0)
        reader = self.reader()
        self.tick(2)
        self.fleet.looks.clear()
        reader.take()
        for number in range(60):
            self.fleet.put(f"h{number}", 2.0, news=False)
        self.tick(60)
        self.assertLessEqual(max(map(len, self.fleet.looks)), 2)
        changed = [host for kind, data in reader.take() if kind == "hosts" for host in values(data)]
        self.assertEqual(sorted(changed), sorted(self.fleet.known))

    def test_nobody_reads(self) -> None:
        """Without readers there are no looks; who comes later gets all there is."""
        reader = self.reader()
        reader.go()
        self.fleet.put("web1", 1.0)
        self.tick(5)
        self.assertEqual(self.fleet.looks, [])
        kind, data = self.reader().take()[1]
        self.assertEqual((kind, values(data)), ("fleet", {"web1": 1.0}))

    def test_several(self) -> None:
        """However many read, there is one look; each gets the same."""
        readers = [self.reader() for _ in range(20)]
        for reader in readers:
            reader.take()
        self.fleet.put("web1", 1.0)
        self.tick()
        self.assertEqual(len(self.fleet.looks), 1)
        self.assertEqual({orjson.dumps(reader.take()) for reader in readers}.__len__(), 1)

    def test_comes_later(self) -> None:
        """Who comes while others read gets all there is as it was told to them, and then the same as they."""
        first = self.reader()
        self.fleet.put("web1", 1.0)
        self.tick()
        self.fleet.known["web1"] = described("web1", {CPU: 2.0})
        self.fleet.looks.clear()
        second = self.reader()
        self.assertEqual(values(dict(second.take())["fleet"]), {"web1": 1.0})
        self.assertEqual(self.fleet.looks, [])
        first.take()
        self.tick()
        self.assertEqual((told := first.take()), second.take())
        self.assertEqual(values(dict(told)["hosts"]), {"web1": 2.0})

    def test_packed(self) -> None:
        """A packed stream says the same, message by message."""
        plain, parts = self.reader(), Reader(self.live.stream(pack=True), packed=True)
        self.fleet.put("web1", 1.0)
        self.tick(4)
        self.assertEqual((told := parts.take()), plain.take())
        self.assertLessEqual({"status", "fleet", "hosts"}, {kind for kind, _ in told})

    def test_slow(self) -> None:
        """A reader that takes nothing for long is let go, and holds up nobody."""
        slow, quick = self.reader(), self.reader()
        slow.held = Deferred()
        for number in range(MOST_WAITING + 5):
            self.fleet.put("web1", float(number))
            self.tick()
        quick.take()
        slow.held.callback(None)
        self.assertEqual((slow.ended, quick.ended), (True, False))
        self.fleet.put("web1", -1.0)
        self.tick()
        self.assertIn("hosts", dict(quick.take()))

    def test_store_away(self) -> None:
        """While the store is away readers hear that; who comes then knows what they know. The rest comes afterwards."""
        early = self.reader()
        early.take()
        self.fleet.put("web1", 1.0)
        self.fleet.away = True
        late = self.reader()
        self.tick(4)
        self.assertEqual(early.take(), [("status", {"away": True})] * 2)
        self.assertEqual([kind for kind, _ in late.take()], ["status", "fleet", "past", "status", "status"])
        self.fleet.away = False
        self.tick(2)
        self.assertEqual({kind for kind, _ in early.take()}, {"status", "hosts"})
        self.assertEqual({kind for kind, _ in late.take()}, {"status", "hosts"})

    def test_store_away_at_first(self) -> None:
        """Who comes first, while the store is away, hears that, and then gets all there is."""
        self.fleet.put("web1", 1.0)
        self.fleet.away = True
        reader = self.reader()
        self.tick(2)
        self.assertEqual(reader.take(), [("status", {"away": True})] * 2)
        self.fleet.away = False
        self.tick()
        self.assertEqual([kind for kind, _ in reader.take()], ["fleet", "past"])

    def test_store_hangs(self) -> None:
        """A store that does not answer does not keep the status back."""
        reader = self.reader()
        reader.take()
        self.fleet.put("web1", 1.0)
        self.fleet.hanging = Deferred()
        self.tick(6)
        self.assertEqual([kind for kind, _ in reader.take()], ["status"] * 3)
        self.assertEqual(len(self.fleet.looks), 1)
        self.fleet.hanging.callback(None)

    def test_end(self) -> None:
        """When the collector ends, so do the streams."""
        reader = self.reader()
        self.live.stopService()
        self.assertTrue(reader.ended)
        self.live.startService()
