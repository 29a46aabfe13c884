"""Tests for `perfmon.services.lease`: collectors that share a store. Leases lapse by the store's own clock."""

import signal

from twisted.internet.task import Clock

from perfmon.services.lease import MISSES, PATIENCE, Lease
from perfmon.services.presence import SWEEP, PresenceService
from perfmon.storage import keys
from perfmon.storage.store import Store
from tests.logs import logged
from tests.services.presence_case import TIMEOUTS, PresenceCase
from tests.waiting import until

# As long as a lease of these tests holds.
LAPSE = MISSES * 0.5  # s


class LeaseCase(PresenceCase):
    def lapse(self, collector: str, seconds: float) -> None:
        """The lease of `collector` was renewed so long before it was, or so long ago."""
        self.assertIsNotNone(self.server("ZADD", keys.COLLECTORS, "XX", "INCR", repr(-seconds), collector))

    async def kinds(self, store: Store) -> list[tuple[str, list[str]]]:
        return [(kind, hosts) for kind, hosts, _ in await self.events(store)]

    async def watcher(self, store: Store, host: str) -> str:
        (record,) = await store.hosts([host])
        return record.collector


class TwoCollectorsTests(LeaseCase):
    async def test_told_once(self) -> None:
        """Of two collectors that both hear a host each change is told once."""
        store, other = await self.connected("here"), await self.connected("there")
        here, there = self.service(store), self.service(other)
        await self.wait(1, (here, "web1"), (there, "web1"))
        await self.wait(3)
        await self.wait(1, (here, "web1"), (there, "web1"))
        self.assertEqual([kind for kind, _ in await self.kinds(store)], ["up", "late", "departed", "up"])

    async def test_heard_elsewhere(self) -> None:
        """A host that has moved does not depart here; when it is heard no more it does, once, in its time."""
        store, other = await self.connected("here"), await self.connected("there")
        here, there = self.service(store), self.service(other)
        await self.wait(0.5, (here, "web1"))
        there.arrived("web1", "1")
        await self.wait(6, (there, "web1"))
        self.assertEqual([kind for kind, _ in await self.kinds(store)], ["up"])
        self.assertEqual(await self.state(store, "web1"), ("up", True, 6.25))
        self.assertEqual((here.count(), there.count()), ({"up": 1}, {"up": 1}))
        await self.wait(2)
        self.assertEqual((await self.events(store))[1:], [("late", ["web1"], 7.25), ("departed", ["web1"], 8.25)])
        await self.wait(6)
        self.assertEqual(len(await self.events(store)), 3)

    async def test_to_and_fro(self) -> None:
        """An agent that has gone to the other collector and come back is watched here again."""
        store, other = await self.connected("here"), await self.connected("there")
        here, there = self.service(store), self.service(other)
        for service in (here, there, here):
            service.arrived("web1", "1")
            await self.wait(SWEEP)
        self.assertEqual(await self.watcher(store, "web1"), "here")
        await self.wait(3)
        self.assertEqual([kind for kind, _ in await self.kinds(store)], ["up", "late", "departed"])

    async def test_watched_elsewhere(self) -> None:
        """A collector that starts leaves alone whom another one watches."""
        store, other = await self.connected("here"), await self.connected("there")
        there = self.service(other)
        await self.wait(0.5, (there, "web1"))
        here = self.service(store)
        await self.wait(0.5, (there, "web1"))
        self.assertEqual((here.count(), list(here._keeper)), ({"up": 1}, []))
        await self.wait(6, (there, "web1"))
        self.assertEqual(await self.kinds(store), [("up", ["web1"])])

    async def test_states_of_others(self) -> None:
        """What the other collectors find is known here, and that a host was removed."""
        store, other = await self.connected("here"), await self.connected("there")
        here, there = self.service(store), self.service(other)
        await self.wait(1, (there, "web1"), (here, "web2"))
        self.assertEqual((here.count(), there.count()), ({"up": 2}, {"up": 2}))
        there.leave("web1", "stopped")
        await self.wait(1, (here, "web2"))
        self.assertEqual(here.count(), {"left": 1, "up": 1})
        there.forget("web1")
        await other.remove("web1", 0.0)
        await self.wait(1, (here, "web2"))
        self.assertEqual((here.count(), there.count()), ({"up": 1}, {"up": 1}))


class LapseTests(LeaseCase):
    async def gone(self) -> tuple[Store, PresenceService]:
        """A collector `here`, and one that has ended without a word, of which a host is left."""
        store, other = await self.connected("here"), await self.connected("there")
        here, there = self.service(store), self.service(other)
        await self.wait(8, (there, "web1"), (here, "web2"))
        self.kill(there)
        return store, here

    def kill(self, service: PresenceService) -> None:
        """It writes nothing any more."""
        lease = self.leases.pop(service)
        service._sweeps.stop()
        lease._renewals.stop()

    async def test_time_to_move(self) -> None:
        """When a collector is gone its agents have a timeout to find another one, and then one to be heard there."""
        store, here = await self.gone()
        for seconds, watcher in ((LAPSE, "there"), (TIMEOUTS.departed + 0.1, "here")):
            self.lapse("there", seconds)
            await self.wait(0.5, (here, "web2"))
            self.assertEqual(await self.watcher(store, "web1"), watcher)
        await self.wait(1, (here, "web2"))
        self.assertEqual([kind for kind, hosts in await self.kinds(store) if "web1" in hosts], ["up", "late"])
        await self.wait(1, (here, "web2"))
        self.assertEqual([kind for kind, hosts in await self.kinds(store) if "web1" in hosts][2:], ["departed"])
        self.assertEqual((await store.renew()).others, {})

    async def test_moved(self) -> None:
        """Who has found its way by then goes on as if nothing had been."""
        store, here = await self.gone()
        self.lapse("there", LAPSE + 0.1)
        here.arrived("web1", "1")
        await self.wait(6, (here, "web1"), (here, "web2"))
        self.assertEqual([kind for kind, hosts in await self.kinds(store) if "web1" in hosts], ["up"])

    async def test_started_in_its_place(self) -> None:
        """One that has started since then takes over when the lease has lapsed; timeouts count from its own start."""
        store, other = await self.connected("here"), await self.connected("there")
        there = self.service(other)
        await self.wait(3, (there, "web1"))
        self.kill(there)
        here = self.service(store)
        await self.wait(0.5)
        self.assertEqual(await self.watcher(store, "web1"), "there")
        self.lapse("there", LAPSE + 0.1)
        await self.wait(1)
        self.assertEqual(await self.watcher(store, "web1"), "here")
        await self.wait(0.5)
        self.assertEqual((await self.events(store))[-1], ("departed", ["web1"], 5.0))
        self.assertEqual(here.count(), {"departed": 1})

    async def test_gone_meanwhile(self) -> None:
        """Who says goodbye while the store takes its time over the records has left, and is not taken over again."""
        store, other = await self.connected("here"), await self.connected("there")
        there = self.service(other)
        await self.wait(1, (there, "web1"), (there, "web2"))
        await self.stop(there)
        here, records = self.service(store), await store.hosts(["web1", "web2"])
        here.arrived("web1", "1")
        here.leave("web1", "stopped")
        await self.wait(SWEEP)
        here.watch(records, since_start=True)
        await self.wait(3)
        self.assertEqual([kind for kind, hosts in await self.kinds(store) if "web1" in hosts], ["up", "left"])
        self.assertEqual([kind for kind, hosts in await self.kinds(store) if "web2" in hosts][-1], "departed")

    async def test_ended_well(self) -> None:
        """One that was ended in order leaves nothing to wait for."""
        store, other = await self.connected("here"), await self.connected("there")
        there = self.service(other)
        await self.wait(3, (there, "web1"))
        await self.stop(there)
        self.service(store)
        await self.wait(SWEEP)
        self.assertEqual(await self.watcher(store, "web1"), "here")

    async def test_frozen(self) -> None:
        """A collector that was taken for gone, and wakes up, watches its hosts again; nobody has departed."""
        store, other = await self.connected("here"), await self.connected("there")
        frozen, self.clock = self.clock, Clock()
        there = self.service(other)
        self.clock, clock_there = frozen, self.clock
        here = self.service(store)
        there.sign("web1")
        there.sign("web3")
        clock_there.advance(SWEEP)
        await self.settled(there)
        await self.wait(8, (here, "web2"))
        self.lapse("there", LAPSE + TIMEOUTS.departed + 0.1)
        here.arrived("web3", "1")
        await self.wait(1, (here, "web2"), (here, "web3"))
        self.assertEqual(await self.watcher(store, "web1"), "here")
        for _ in range(3):
            there.sign("web1")
            clock_there.advance(SWEEP)
            await self.settled(there)
        self.assertEqual(await self.watcher(store, "web1"), "there")
        self.assertEqual(await self.watcher(store, "web3"), "here", "which has heard it since")
        for _ in range(12):
            there.sign("web1")
            clock_there.advance(0.5)
            await self.wait(0.5, (here, "web2"), (here, "web3"))
        self.assertEqual({kind for kind, _ in await self.kinds(store)}, {"up"})
        self.assertEqual((here.count(), there.count()), ({"up": 3}, {"up": 3}))


class StoreFaultTests(LeaseCase):
    async def test_emptied(self) -> None:
        """A store that was emptied is noticed: hosts are up anew, and whoever listens is told, once."""
        store = await self.connected()
        service = self.service(store)
        told: list[str] = []
        self.leases[service].listen(lambda: told.append("emptied"))
        await self.wait(1, (service, "web1"))
        service.sign("web2")
        await self.wait(3, (service, "web1"))
        self.server("FLUSHALL")
        with logged() as log:
            await self.wait(1, (service, "web1"))
        self.assertEqual(await self.events(store), [("up", ["web1"], 4.5)])
        self.assertEqual((service.count(), told), ({"up": 1}, ["emptied"]))
        self.assertEqual([text.partition(":")[0] for text in log.warnings], ["the store has lost its data"])
        await self.wait(3)
        self.assertEqual([kind for kind, _ in await self.kinds(store)], ["up", "late", "departed"])

    async def test_older_state(self) -> None:
        """A store that comes back with an older state is told once more who is up, and who watches it."""
        store = await self.connected()
        service = self.service(store)
        await self.wait(1, (service, "web1"), (service, "web2"))
        self.lapse("collector", 30)
        self.server("HSET", keys.meta("web1"), "state", "departed", "collector", "other")
        self.server("ZREM", keys.PRESENT, "web1")
        await self.wait(1, (service, "web1"), (service, "web2"))
        self.assertEqual((await self.events(store))[1:], [("up", ["web1"], 1.5)])
        self.assertEqual(await self.watcher(store, "web1"), "collector")

    async def test_takes_nothing(self) -> None:
        """What keeps the store from taking anything is known within a renewal, and that it is over."""
        store = await self.connected()
        service = self.service(store)
        lease = self.leases[service]
        await self.wait(SWEEP)
        self.server("CONFIG", "SET", "maxmemory", "1")
        self.addCleanup(lambda: self.server("CONFIG", "SET", "maxmemory", "0"))
        await self.wait(0.5)
        self.assertTrue((lease.problem or "").startswith("OOM"))
        self.server("CONFIG", "SET", "maxmemory", "0")
        await self.wait(0.5)
        self.assertIsNone(lease.problem)

    async def test_hangs(self) -> None:
        """A server that does not answer is one with a problem, long before the connection is given up."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        service = self.service(store)
        lease = self.leases[service]
        await self.wait(SWEEP)
        server.signal(signal.SIGSTOP)
        self.addCleanup(server.signal, signal.SIGCONT)
        self.clock.pump([0.5] * round(PATIENCE / 0.5 + 2))
        self.assertEqual((store.problem, lease.problem), (None, f"no answer for more than {PATIENCE:g} s"))
        server.signal(signal.SIGCONT)
        await self.settled(service)
        self.assertIsNone(lease.problem)

    async def test_stop(self) -> None:
        """Stopping leaves nothing that is due, also while the store is away."""
        store = self.new_store(self.own_server())
        await until(lambda: store.problem is None, "the store")
        lease = Lease(store, self.service(store), 2.0, self.clock, self.clock.seconds)
        lease.startService()
        await until(lambda: lease._working is None, "the renewal")
        await store.stopService()
        await lease.stopService()
        self.assertFalse(lease._renewals.running)
