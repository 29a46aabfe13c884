"""Tests for `perfmon.services.presence`: time is a Clock's, the store is a real one."""

import time

from twisted.internet.task import Clock

from perfmon.core.presence import State, Timeouts
from perfmon.core.tiers import DAY
from perfmon.services.lease import Lease
from perfmon.services.presence import SWEEP, PresenceService
from perfmon.storage import keys
from perfmon.storage.store import Event, Store
from tests.logs import logged
from tests.valkey import StoreCase
from tests.waiting import until

NOW = float(int(time.time()))  # the server's own clock decides when a key expires
TIMEOUTS = Timeouts(late=1.0, departed=2.0, silent=4.0)


class PresenceCase(StoreCase):
    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.ahead = 0.0  # s that the wall clock is ahead of the other
        self.leases: dict[PresenceService, Lease] = {}

    def service(self, store: Store) -> PresenceService:
        """A running service with its lease, moved on by `wait`."""
        service = PresenceService(store, TIMEOUTS, self.clock, self.clock.seconds, self.wall)
        lease = Lease(store, service, TIMEOUTS.departed, self.clock, self.clock.seconds)
        lease.startService()
        service.startService()
        self.leases[service] = lease
        self.addCleanup(self.stop, service)
        return service

    async def stop(self, service: PresenceService) -> None:
        if service in self.leases:
            await service.stopService()
            await self.leases.pop(service).stopService()

    async def settled(self, service: PresenceService) -> None:
        """It has done what was under way."""
        lease = self.leases[service]
        await until(lambda: service._flushing is None and lease._working is None, "the sweep")

    def wall(self) -> float:
        return NOW + self.clock.seconds() + self.ahead

    async def wait(self, seconds: float, *signs: tuple[PresenceService, str]) -> None:
        """Lets time pass; each of `signs` is a host that one of the services hears all the while."""
        for _ in range(round(seconds / SWEEP)):
            for service, host in signs:
                service.sign(host)
            self.clock.advance(SWEEP)
            for service in self.leases:
                await self.settled(service)

    async def events(self, store: Store) -> list[tuple[str, list[str], float]]:
        """(kind, hosts, s after `NOW`) of every event, oldest first."""
        return [(event.kind, sorted(event.hosts), event.at - NOW) for event in await store.events("0", 100)]

    async def state(self, store: Store, host: str) -> tuple[str, bool, float]:
        """(state, whether present, s after `NOW` of the last sign) as the store has it."""
        (record,) = await store.hosts([host])
        return record.meta["state"], record.present, record.last_seen - NOW


class PresenceServiceTests(PresenceCase):
    async def test_arrival(self) -> None:
        """A first sign is an arrival: an event, a record with what was said of the host, and a line in the log."""
        store = await self.connected()
        service = self.service(store)
        with logged() as log:
            service.describe("web1", {"labels": "{}"})
            service.sign("web1")
            service.sign("mail1", beating=False)
            await self.wait(SWEEP)
        self.assertEqual(await self.events(store), [("up", ["mail1", "web1"], 0.0)])
        self.assertEqual(await self.state(store, "web1"), ("up", True, 0.0))
        web, mail = await store.hosts(["web1", "mail1"])
        self.assertEqual((web.meta["kind"], web.meta["labels"], mail.meta["kind"]), ("agent", "{}", "sender"))
        self.assertEqual([text for text in log.infos if text.startswith("up")], ["up: web1, mail1"])
        self.assertEqual(service.count(), {"up": 2})

    async def test_written_soon(self) -> None:
        """A change is in the store with the next turn of the reactor, not with the next sweep."""
        store = await self.connected()
        service = self.service(store)
        await self.wait(SWEEP)
        service.sign("web1")
        self.clock.advance(0)
        await until(lambda: service._flushing is None, "the change")
        self.assertEqual(await self.state(store, "web1"), ("up", True, SWEEP))

    async def test_steady(self) -> None:
        """A host that shows life stays up; its last sign is kept, and there are no more events."""
        store = await self.connected()
        service = self.service(store)
        await self.wait(6, (service, "web1"))
        self.assertEqual(await self.events(store), [("up", ["web1"], 0.0)])
        self.assertEqual(await self.state(store, "web1"), ("up", True, 5.75))

    async def test_record_is_renewed(self) -> None:
        """A host that stays up for ever keeps its record: once a day its time to live begins anew."""
        store = await self.connected()
        service = self.service(store)
        service.sign("web1")
        await self.wait(SWEEP)
        for seconds, renewed in ((DAY / 2, False), (DAY / 2, True)):
            self.server("EXPIRE", keys.meta("web1"), 1000)
            self.ahead += seconds
            await self.wait(SWEEP, (service, "web1"))
            self.assertEqual(self.server("TTL", keys.meta("web1")) > 1000, renewed)

    async def test_departure(self) -> None:
        """An agent without a sign is late, then has departed; back again it is up."""
        store = await self.connected()
        service = self.service(store)
        heard: list[tuple[str, State]] = []
        service.listen(lambda host, state: heard.append((host, state)))
        service.sign("web1")
        await self.wait(1)
        self.assertEqual(await self.state(store, "web1"), ("late", True, 0.0))
        await self.wait(1)
        self.assertEqual(await self.state(store, "web1"), ("departed", False, 0.0))
        await self.wait(3)
        service.sign("web1")
        await self.wait(SWEEP)
        self.assertEqual(await self.state(store, "web1"), ("up", True, 5.0))
        self.assertEqual(
            await self.events(store),
            [
                ("up", ["web1"], 0.0),
                ("late", ["web1"], 1.0),
                ("departed", ["web1"], 2.0),
                ("up", ["web1"], 5.0),
            ],
        )
        self.assertEqual(
            heard,
            [("web1", state) for state in (State.UP, State.LATE, State.DEPARTED, State.UP)],
        )
        self.assertEqual((await store.events("0", 3))[2].reason, "timeout")

    async def test_late_only(self) -> None:
        """An agent that is late and comes back has not departed."""
        store = await self.connected()
        service = self.service(store)
        service.sign("web1")
        await self.wait(1.5)
        service.sign("web1")
        await self.wait(SWEEP)
        self.assertEqual([kind for kind, _, _ in await self.events(store)], ["up", "late", "up"])

    async def test_left(self) -> None:
        """An agent that says goodbye has left, at once and with its reason, and does not depart later."""
        store = await self.connected()
        service = self.service(store)
        service.sign("web1")
        await self.wait(0.5)
        service.leave("web1", "upgrade")
        await self.wait(3)
        left = (await store.events("0", 10))[1:]
        self.assertEqual(left, [Event("left", ["web1"], NOW + 0.5, "upgrade", left[0].id)])
        self.assertEqual(await self.state(store, "web1"), ("left", False, 0.0))

    async def test_silent(self) -> None:
        """A sender without heartbeats is never late; long without a word it is silent."""
        store = await self.connected()
        service = self.service(store)
        service.sign("mail1", beating=False)
        await self.wait(3.75)
        self.assertEqual(await self.state(store, "mail1"), ("up", True, 0.0))
        await self.wait(SWEEP)
        self.assertEqual(await self.state(store, "mail1"), ("silent", False, 0.0))
        self.assertEqual([kind for kind, _, _ in await self.events(store)], ["up", "silent"])

    async def test_many(self) -> None:
        """Hosts that come or go together are one event; more than fit one are several, and none is lost."""
        store = await self.connected()
        service = self.service(store)
        hosts = sorted(f"h{number}" for number in range(1_001))
        with logged() as log:
            for host in hosts:
                service.sign(host)
            await self.wait(2)
        events = await self.events(store)
        for kind in ("up", "late", "departed"):
            told = [names for event, names, _ in events if event == kind]
            self.assertEqual([len(names) for names in told], [1_000, 1], kind)
            self.assertEqual(sorted(host for names in told for host in names), hosts)
        self.assertTrue([text for text in log.infos if text.endswith("and 980 more (timeout)")])

    async def test_reasons(self) -> None:
        """A host whose connection had broken has departed for that; one event for each reason, however they mix."""
        store = await self.connected()
        service = self.service(store)
        hosts = [f"h{number}" for number in range(6)]
        for host in hosts:
            service.sign(host)
        for host in hosts[::2]:
            service.lost(host, "connection reset")
        service.lost("h1", "connection closed")
        await self.wait(0.5)
        service.sign("h1")
        await self.wait(2, (service, "h1"))
        departed = [event for event in await store.events("0", 100) if event.kind == "departed"]
        events = sorted((event.reason, sorted(event.hosts)) for event in departed)
        self.assertEqual(events, [("connection reset", ["h0", "h2", "h4"]), ("timeout", ["h3", "h5"])])
        await self.wait(2.5)
        last = (await store.events("0", 100))[-1]
        self.assertEqual((last.kind, last.hosts, last.reason), ("departed", ["h1"], "timeout"))

    async def test_asleep(self) -> None:
        """A collector that was frozen for longer than the timeout does not declare its hosts gone."""
        store = await self.connected()
        service = self.service(store)
        await self.wait(1, (service, "web1"))
        self.clock.advance(3600)
        await until(lambda: service._flushing is None, "the sweep")
        await self.wait(1, (service, "web1"))
        self.assertNotIn("departed", [kind for kind, _, _ in await self.events(store)])
        self.assertEqual((await self.state(store, "web1"))[0], "up")

    async def test_stop(self) -> None:
        """Stopping writes what is known, and tells of nobody's departure."""
        store = await self.connected()
        service = self.service(store)
        await self.wait(SWEEP)
        service.sign("web1")
        service.leave("web2", "stopped")
        await self.stop(service)
        self.assertEqual(await self.events(store), [("up", ["web1"], SWEEP)])
        self.assertEqual(await self.state(store, "web1"), ("up", True, SWEEP))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    async def test_bug(self) -> None:
        """A sweep that fails for a reason of our own is logged, and the next one goes on."""
        store = await self.connected()
        service = self.service(store)
        calls = []
        change = store.change

        async def broken(*args: object) -> list[str]:
            calls.append(args)
            if len(calls) == 1:
                raise ZeroDivisionError("bug")
            return await change(*args)  # type: ignore[arg-type]

        self.patch(store, "change", broken)
        service.sign("web1")
        await self.wait(2 * SWEEP)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(await self.events(store), [("up", ["web1"], 0.0)])


class RestartTests(PresenceCase):
    async def test_takes_over(self) -> None:
        """A new run knows the hosts of the one before: who is still there did not arrive, who is not departs."""
        store = await self.connected()
        first = self.service(store)
        for host in ("web1", "web2"):
            first.sign(host)
        first.sign("mail1", beating=False)
        await self.wait(SWEEP)
        await self.stop(first)
        second = self.service(store)
        await self.wait(SWEEP)
        self.assertEqual(second.count(), {"up": 3})
        await self.wait(2, (second, "web1"))
        self.assertEqual(
            [(kind, hosts) for kind, hosts, _ in await self.events(store)],
            [("up", ["mail1", "web1", "web2"]), ("late", ["web2"]), ("departed", ["web2"])],
        )
        await self.wait(2, (second, "web1"))
        self.assertEqual((await self.events(store))[-1][:2], ("silent", ["mail1"]))

    async def test_states(self) -> None:
        """Late, departed and departed on purpose stay what they were over a restart."""
        store = await self.connected()
        first = self.service(store)
        first.sign("gone")
        first.sign("left")
        await self.wait(1)
        first.sign("late")
        first.leave("left", "stopped")
        await self.wait(1)
        before = {host: await self.state(store, host) for host in ("gone", "left", "late")}
        self.assertEqual([state for state, _, _ in before.values()], ["departed", "left", "late"])
        await self.stop(first)
        second = self.service(store)
        await self.wait(SWEEP)
        self.assertEqual(second.count(), {"departed": 1, "left": 1, "late": 1})
        self.assertEqual({host: await self.state(store, host) for host in before}, before)
        await self.wait(1.75)
        self.assertEqual((await self.state(store, "late"))[0], "departed")
        self.assertEqual(
            [kind for kind, hosts, _ in await self.events(store) if "late" in hosts][-2:], ["late", "departed"]
        )

    async def test_signs_before_the_store(self) -> None:
        """A host that is heard before the store could be asked did not arrive anew."""
        store = await self.connected()
        first = self.service(store)
        first.sign("web1")
        await self.wait(SWEEP)
        await self.stop(first)
        second = self.service(store)
        second.sign("web1")
        await self.wait(1, (second, "web1"))
        self.assertEqual([kind for kind, _, _ in await self.events(store)], ["up"])


class StoreAwayTests(PresenceCase):
    async def test_written_later(self) -> None:
        """What happened while the store was away is written when it is back, with the times at which it happened."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        service = self.service(store)
        await self.wait(1, (service, "web1"), (service, "web2"))
        server.kill()
        await until(lambda: store._writer.problem and store._reader.problem, "the loss")
        service.sign("web3")
        await self.wait(2, (service, "web3"))  # web1 and web2 depart
        service.leave("web3", "stopped")
        await self.wait(1)
        service.sign("web1")
        await self.wait(3, (service, "web1"))
        server.start()
        await until(lambda: store.problem is None, "the store to be back")
        await self.wait(SWEEP, (service, "web1"))
        self.assertEqual(
            await self.events(store),
            [
                ("up", ["web1", "web2"], 0.0),
                ("up", ["web3"], 1.0),
                ("late", ["web1", "web2"], 1.75),
                ("departed", ["web1", "web2"], 2.75),
                ("left", ["web3"], 3.0),
                ("up", ["web1"], 4.0),
            ],
        )
        await self.wait(SWEEP, (service, "web1"))
        self.assertEqual(await self.state(store, "web1"), ("up", True, 7.25))
        self.assertEqual((await self.state(store, "web2"))[:2], ("departed", False))

    async def test_alike_but_apart(self) -> None:
        """Departures that lie apart stay apart, also when they are written at once."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        service = self.service(store)
        await self.wait(SWEEP, (service, "web1"), (service, "web2"))
        server.kill()
        await until(lambda: store._writer.problem and store._reader.problem, "the loss")
        service.leave("web1", "stopped")
        await self.wait(3, (service, "web2"))
        service.leave("web2", "stopped")
        await self.wait(1)
        server.start()
        await until(lambda: store.problem is None, "the store to be back")
        await self.wait(SWEEP)
        self.assertEqual((await self.events(store))[1:], [("left", ["web1"], SWEEP), ("left", ["web2"], 3.0 + SWEEP)])

    async def test_descriptions_are_kept(self) -> None:
        """What was said of a host while the store was away is written later; what was said last counts."""
        server = self.own_server()
        store = self.new_store(server)
        await until(lambda: store.problem is None, "the store")
        service = self.service(store)
        await self.wait(SWEEP)
        server.kill()
        await until(lambda: store._writer.problem and store._reader.problem, "the loss")
        service.sign("web1")
        service.describe("web1", {"agent": "1", "labels": "{}"})
        await self.wait(SWEEP)
        service.describe("web1", {"agent": "2"})
        server.start()
        await until(lambda: store.problem is None, "the store to be back")
        await self.wait(SWEEP, (service, "web1"))
        (record,) = await store.hosts(["web1"])
        self.assertEqual((record.meta["agent"], record.meta["labels"], record.meta["kind"]), ("2", "{}", "agent"))

    async def test_away_at_the_start(self) -> None:
        """A service that starts before its store takes over its hosts once it is there."""
        store = await self.connected()
        first = self.service(store)
        first.sign("web1")
        await self.wait(SWEEP)
        await self.stop(first)
        late = self.new_store()
        second = self.service(late)
        second.sign("web2")
        self.clock.advance(SWEEP)
        self.assertEqual(second.count(), {"up": 1})
        await until(lambda: late.problem is None, "the store")
        await self.wait(SWEEP)
        self.assertEqual(second.count(), {"up": 2})
        self.assertEqual([hosts for _, hosts, _ in await self.events(store)], [["web1"], ["web2"]])


class TwoCollectorsTests(PresenceCase):
    async def test_told_once(self) -> None:
        """Of two collectors that both hear a host each change is told once."""
        store, other = await self.connected(), await self.connected()
        here, there = self.service(store), self.service(other)
        await self.wait(1, (here, "web1"), (there, "web1"))
        await self.wait(3)
        await self.wait(1, (here, "web1"), (there, "web1"))
        self.assertEqual([kind for kind, _, _ in await self.events(store)], ["up", "late", "departed", "up"])

    async def test_heard_elsewhere(self) -> None:
        """A host that the other collector hears does not depart here; when that one hears it no more it does, once."""
        store, other = await self.connected(), await self.connected()
        here, there = self.service(store), self.service(other)
        await self.wait(0.5, (here, "web1"), (there, "web1"))
        await self.wait(6, (there, "web1"))  # it has moved
        self.assertEqual([kind for kind, _, _ in await self.events(store)], ["up"])
        self.assertEqual(await self.state(store, "web1"), ("up", True, 6.25))
        self.assertNotIn("departed", here.count())
        await self.wait(6)
        self.assertEqual([kind for kind, _, _ in await self.events(store)], ["up", "late", "departed"])

    async def test_other_collector_ends(self) -> None:
        """When a collector ends, the hosts that only it heard depart all the same: the other one knows them."""
        store, other = await self.connected(), await self.connected()
        there = self.service(other)
        await self.wait(0.5, (there, "web1"))
        here = self.service(store)
        await self.wait(3, (there, "web1"), (here, "web2"))
        await self.stop(there)
        await self.wait(4, (here, "web2"))
        self.assertEqual(
            [(kind, hosts) for kind, hosts, _ in await self.events(store)],
            [("up", ["web1"]), ("up", ["web2"]), ("late", ["web1"]), ("departed", ["web1"])],
        )
