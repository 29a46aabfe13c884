"""Tests for what the store knows of hosts' states and of the collectors that watch them, on a real server."""

from perfmon.core.presence import State
from perfmon.storage import keys
from perfmon.storage.store import META_TTL, Event, HostRecord, Leases, Store
from tests.programs import STORE_SERVERS
from tests.storage.test_store import HOSTS, NOW
from tests.valkey import StoreCase


class ChangeTests(StoreCase):
    async def test_change(self) -> None:
        """A change is kept with the host and told of as an event; the hosts that changed are returned."""
        store = await self.connected()
        await store.sign({"a": NOW, "b": NOW})
        self.assertEqual(await store.change({"a": NOW, "b": NOW}, State.UP, NOW + 0.5), ["a", "b"])
        self.assertEqual(await store.change({"b": NOW}, State.LEFT, NOW + 60.25, "stopped"), ["b"])
        first, left_at = repr(NOW + 0.5), repr(NOW + 60.25)
        known = {"first": first, "collector": "collector"}
        self.assertEqual(
            await store.hosts(["a", "b"]),
            [
                HostRecord("a", NOW, True, {"state": "up", "since": first, "reason": "", **known}),
                HostRecord("b", NOW, False, {"state": "left", "since": left_at, "reason": "stopped", **known}),
            ],
        )
        arrived, left = await store.events("0", 10)
        self.assertEqual(arrived, Event("up", ["a", "b"], NOW + 0.5, "", arrived.id))
        self.assertEqual(left, Event("left", ["b"], NOW + 60.25, "stopped", left.id))

    async def test_same_state(self) -> None:
        """A host that is in the state already is left as it is, and no event tells of it."""
        store = await self.connected()
        await store.sign({"a": NOW, "b": NOW})
        await store.change({"a": NOW}, State.UP, NOW)
        self.assertEqual(await store.change({"a": NOW}, State.UP, NOW + 60), [])
        self.assertEqual(await store.change({"a": NOW, "b": NOW}, State.UP, NOW + 90), ["b"])
        self.assertEqual([event.hosts for event in await store.events("0", 10)], [["a"], ["b"]])
        self.assertEqual((await store.hosts(["a"]))[0].meta["since"], repr(NOW))

    async def test_changes_that_end_presence(self) -> None:
        """A host that is late is present still; one that departed, left or fell silent is not."""
        store = await self.connected()
        for state, present in (
            (State.LATE, True),
            (State.DEPARTED, False),
            (State.LEFT, False),
            (State.SILENT, False),
        ):
            await store.sign({"a": NOW})
            await store.change({"a": NOW}, State.UP, NOW)
            self.assertEqual(await store.change({"a": NOW}, state, NOW + 30), ["a"])
            self.assertEqual([record.present for record in await store.hosts(["a"])], [present], state)

    async def test_sign_elsewhere(self) -> None:
        """A host that another collector has heard from since keeps its state, and no event tells of it."""
        store, other = await self.connected(), await self.connected()
        await store.sign({"a": NOW, "b": NOW})
        await store.change({"a": NOW, "b": NOW}, State.UP, NOW)
        await other.sign({"a": NOW + 10})
        self.assertEqual(await store.change({"a": NOW, "b": NOW}, State.DEPARTED, NOW + 15, "timeout"), ["b"])
        a, b = await store.hosts(["a", "b"])
        self.assertEqual((a.meta["state"], a.present, a.last_seen), ("up", True, NOW + 10))
        self.assertEqual((b.meta["state"], b.present), ("departed", False))

    async def test_told_once(self) -> None:
        """Of two collectors that see the same change at the same time one tells of it."""
        store, other = await self.connected(), await self.connected()
        latest = dict.fromkeys(HOSTS, NOW)
        await store.sign(latest)
        for state in (State.UP, State.LATE, State.DEPARTED, State.UP):
            await store.sign(latest)
            first, second = store.change(latest, state, NOW), other.change(latest, state, NOW)
            self.assertEqual(sorted(map(len, [await first, await second])), [0, 1_000], state)
        kinds = [event.kind for event in await store.events("0", 10)]
        self.assertEqual(kinds, ["up", "late", "departed", "up"])

    async def test_absent_hosts_do_not_depart(self) -> None:
        """A host that is not present cannot be late or depart again, whatever state it is in."""
        store = await self.connected()
        for state in (State.LATE, State.DEPARTED, State.SILENT, State.LEFT):
            self.assertEqual(await store.change({"a": NOW}, state, NOW), [])
        self.assertEqual(self.server("DBSIZE"), 0)

    async def test_many_changes_are_one_event(self) -> None:
        """Hosts that change together stand in one event, in their order."""
        store = await self.connected()
        await store.sign(dict.fromkeys(HOSTS, NOW))
        await store.change(dict.fromkeys(HOSTS, NOW), State.UP, NOW)
        (event,) = await store.events("0", 10)
        self.assertEqual(event.hosts, HOSTS)

    async def kinds(self, store: Store) -> list[tuple[str, list[str], str]]:
        return [(event.kind, event.hosts, event.reason) for event in await store.events("0", 100)]

    async def test_watched(self) -> None:
        """Only the collector that watches a host finds that it is late or gone; the last to hear of it watches it."""
        first, second = await self.connected("first"), await self.connected("second")
        await first.sign({"a": NOW})
        await first.change({"a": NOW}, State.UP, NOW)
        for state in (State.LATE, State.DEPARTED, State.LEFT, State.SILENT, State.ABSENT):
            self.assertEqual(await second.change({"a": NOW + 60}, state, NOW + 60), [], state)
        self.assertEqual((await first.hosts(["a"]))[0].collector, "first")
        await second.sign({"a": NOW + 5})
        self.assertEqual(await second.change({"a": NOW + 5}, State.UP, NOW + 5), [])
        self.assertEqual((await first.hosts(["a"]))[0].collector, "second")
        self.assertEqual(await first.change({"a": NOW + 60}, State.DEPARTED, NOW + 60), [])
        self.assertEqual(await second.change({"a": NOW + 5}, State.DEPARTED, NOW + 60), ["a"])
        self.assertEqual([kind for kind, _, _ in await self.kinds(first)], ["up", "departed"])

    async def test_late_claim(self) -> None:
        """What a collector writes late of a host that another has heard since does not take the host from that one."""
        first, second = await self.connected("first"), await self.connected("second")
        await second.sign({"a": NOW + 5})
        await second.change({"a": NOW + 5}, State.UP, NOW + 5)
        await first.change({"a": NOW}, State.UP, NOW)
        self.assertEqual((await first.hosts(["a"]))[0].collector, "second")

    async def test_reboot(self) -> None:
        """A new boot is told of once, with its reason, whatever state the host was in; the first one is none."""
        first, second = await self.connected("first"), await self.connected("second")
        await first.sign({"a": NOW, "b": NOW})
        latest = {"a": NOW, "b": NOW}
        self.assertEqual(await first.change(latest, State.UP, NOW, "", {"a": "1", "b": "1"}), ["a", "b"])
        self.assertEqual(await first.change(latest, State.UP, NOW, "", {"a": "1"}), [], "unknown is none either")
        self.assertEqual(await first.change(latest, State.UP, NOW + 1, "", {"a": "2", "b": "1"}), ["a"])
        self.assertEqual(await second.change(latest, State.UP, NOW + 1, "", {"a": "2", "b": "1"}), [])
        await second.change(latest, State.DEPARTED, NOW + 60, "timeout")
        self.assertEqual(await first.change(latest, State.UP, NOW + 90, "", {"a": "3", "b": "1"}), ["b", "a"])
        self.assertEqual(
            await self.kinds(first),
            [
                ("up", ["a", "b"], ""),
                ("up", ["a"], "reboot"),
                ("departed", ["a", "b"], "timeout"),
                ("up", ["b"], ""),
                ("up", ["a"], "reboot"),
            ],
        )
        a, b = await first.hosts(["a", "b"])
        self.assertEqual((a.meta["reason"], a.meta["boot"], b.meta["reason"]), ("reboot", "3", ""))

    async def test_absent(self) -> None:
        """Whoever is gone can become absent, and then depart, each told of once; whoever watched it."""
        first, second = await self.connected("first"), await self.connected("second")
        for state in (State.DEPARTED, State.LEFT, State.SILENT):
            await first.sign({"a": NOW})
            await first.change({"a": NOW}, State.UP, NOW)
            await first.change({"a": NOW}, state, NOW)
            changes = [
                [await store.change({"a": 0.0}, after, NOW) for store in (second, first)]
                for after in (State.ABSENT, State.DEPARTED)
            ]
            self.assertEqual(changes, [[["a"], []], [["a"], []]], state)

    async def test_present_though_gone(self) -> None:
        """A sign that was written, and the return that was not: the next departure is none, and ends the presence."""
        store = await self.connected()
        await store.sign({"a": NOW})
        await store.change({"a": NOW}, State.UP, NOW)
        await store.change({"a": NOW}, State.DEPARTED, NOW)
        await store.sign({"a": NOW + 5})
        self.assertEqual(await store.change({"a": NOW + 5}, State.DEPARTED, NOW + 60), [])
        self.assertFalse((await store.hosts(["a"]))[0].present)


class RedisChangeTests(ChangeTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"


class LeaseTests(StoreCase):
    async def test_renew(self) -> None:
        """A renewal tells when the last one was, which others there are, and what data stand here."""
        first, second = await self.connected("first"), await self.connected("second")
        begin = await first.renew()
        self.assertEqual(begin, Leases(None, begin.now, begin.epoch, {}))
        other = await second.renew()
        self.assertEqual(other, Leases(None, other.now, begin.epoch, {"first": begin.now}))
        again = await first.renew()
        self.assertEqual(again, Leases(begin.now, again.now, begin.epoch, {"second": other.now}))
        self.assertGreater(again.now, begin.now)
        self.server("FLUSHALL")
        emptied = await first.renew()
        self.assertEqual((emptied.before, emptied.others), (None, {}))
        self.assertNotEqual(emptied.epoch, begin.epoch)
        for key in (keys.COLLECTORS, keys.EPOCH):
            self.assertGreater(self.server("TTL", key), META_TTL - 60)

    async def test_release(self) -> None:
        """A collector that goes says that its lease has lapsed; one that has none gets none by that."""
        first, second = await self.connected("first"), await self.connected("second")
        begin = await first.renew()
        await first.release(begin.now - 4)
        await second.release(begin.now)
        self.assertEqual((await second.renew()).others, {"first": begin.now - 4})

    async def test_take_over(self) -> None:
        """Hosts that are there pass to another collector, once, if that one's lease has lapsed."""
        first, second, third = [await self.connected(name) for name in ("first", "second", "third")]
        hosts = dict.fromkeys(["a", "b", "gone", "moved"], NOW)
        await first.sign(hosts)
        await first.change(hosts, State.UP, NOW)
        await first.change({"gone": NOW}, State.DEPARTED, NOW)
        await third.change({"moved": NOW}, State.UP, NOW)
        lease = await first.renew()
        watched = dict.fromkeys(hosts, "first")
        self.assertEqual(await second.take_over(watched, lease.now - 1), [])
        self.assertEqual(await second.take_over(watched, lease.now + 1), ["a", "b"])
        self.assertEqual(await third.take_over(watched, lease.now + 1), [])
        found = {record.host: record.collector for record in await first.hosts(list(hosts))}
        self.assertEqual(found, {"a": "second", "b": "second", "gone": "first", "moved": "third"})

    async def test_nobodys(self) -> None:
        """A host that nobody watches, or a collector without a lease, can be taken over."""
        first, second = await self.connected("first"), await self.connected("second")
        await first.sign({"a": NOW, "b": NOW})
        await first.change({"a": NOW}, State.UP, NOW)
        self.assertEqual(await second.take_over({"a": "first", "b": ""}, NOW), ["a", "b"])

    async def test_drop(self) -> None:
        """Collectors that are gone for good are not told of any more."""
        first, second = await self.connected("first"), await self.connected("second")
        await first.renew()
        await second.drop_leases([])
        await second.drop_leases(["first", "nobody"])
        self.assertEqual((await second.renew()).others, {})
