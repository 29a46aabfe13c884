"""Tests for `perfmon.services.presence`: time is a Clock's, the store is a real one."""

from perfmon.core.presence import State
from perfmon.core.tiers import DAY
from perfmon.services.presence import ABSENCE_ENDED, SWEEP
from perfmon.storage import keys
from perfmon.storage.store import Event
from tests.logs import logged
from tests.services.presence_case import NOW, PresenceCase
from tests.waiting import until


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

    async def test_comes_and_goes(self) -> None:
        """Who comes and goes while the store is being written to has come and gone."""
        store = await self.connected()
        service = self.service(store)
        await self.wait(SWEEP)
        sign = store.sign
        signed: list[dict[str, float]] = []

        async def signing(signs: dict[str, float]) -> None:
            await sign(signs)
            if not signed:
                service.sign("web2")
                service.leave("web2", "stopped")
            signed.append(signs)

        self.patch(store, "sign", signing)
        service.sign("web1")
        await self.wait(2 * SWEEP, (service, "web1"))
        self.assertEqual(await self.events(store), [("up", ["web1", "web2"], 2 * SWEEP), ("left", ["web2"], 2 * SWEEP)])
        self.assertEqual((await self.state(store, "web2"))[:2], ("left", False))

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

    async def test_waiting_sign(self) -> None:
        """A sign that had arrived by the moment of a sweep, and is read after it, counts."""
        store = await self.connected()
        service = self.service(store)
        service.sign("web1")
        self.clock.callLater(1.0, service.sign, "web1")
        self.clock.callLater(1.0, lambda: self.clock.callLater(0, service.sign, "web2"))
        service.sign("web2")
        await self.wait(1.5)
        self.assertEqual(await self.events(store), [("up", ["web1", "web2"], 0.0)])

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
            return await change(*args)  # type: ignore[arg-type]  # passed on as they came

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


class AbsenceTests(PresenceCase):
    async def test_planned(self) -> None:
        """Who goes as planned is absent, however it goes, and comes back as ever."""
        store = await self.connected()
        service = self.service(store)
        for host, beating in (("web1", True), ("web2", True), ("mail1", False)):
            service.sign(host, beating)
        service.plan({"web1": "new disks", "web2": "moves", "mail1": "", "nobody": "is not there"})
        await self.wait(0.5)
        service.leave("web2", "stopped")
        await self.wait(4)
        service.sign("web1")
        await self.wait(SWEEP)
        found = [(event.kind, event.hosts, event.reason) for event in await store.events("0", 100)]
        self.assertEqual(
            found,
            [
                ("up", ["web1", "web2", "mail1"], ""),
                ("absent", ["web2"], "moves"),
                ("late", ["web1"], ""),
                ("absent", ["web1"], "new disks"),
                ("absent", ["mail1"], ""),
                ("up", ["web1"], ""),
            ],
        )
        self.assertEqual(service.count(), {"up": 1, "absent": 2})

    async def test_planned_afterwards(self) -> None:
        """Who is gone already is absent from then on; when the plan ends it has departed, unless it is back."""
        store = await self.connected()
        service = self.service(store)
        for host in ("web1", "web2", "web3"):
            service.sign(host)
        await self.wait(2)
        service.plan({"web1": "new disks", "web2": "new disks"})
        await self.wait(SWEEP)
        self.assertEqual(service.count(), {"absent": 2, "departed": 1})
        service.sign("web2")
        service.plan({})
        await self.wait(SWEEP, (service, "web2"))
        self.assertEqual(service.count(), {"departed": 2, "up": 1})
        found = [(event.kind, sorted(event.hosts), event.reason) for event in await store.events("0", 100)][3:]
        self.assertEqual(
            found,
            [
                ("absent", ["web1", "web2"], "new disks"),
                ("up", ["web2"], ""),
                ("departed", ["web1"], ABSENCE_ENDED),
            ],
        )

    async def test_known_late(self) -> None:
        """A plan that is known before the hosts are is kept once they are, by whichever collector comes first."""
        store = await self.connected()
        first = self.service(store)
        first.sign("web1")
        await self.wait(2)
        await self.stop(first)
        second, third = self.service(store), self.service(await self.connected("third"))
        for service in (second, third):
            service.plan({"web1": "new disks"})
        await self.wait(1)
        self.assertEqual([kind for kind, _, _ in await self.events(store)], ["up", "late", "departed", "absent"])
        for service in (second, third):
            service.plan({})
        await self.wait(1)
        self.assertEqual((await self.events(store))[4:], [("departed", ["web1"], 3.0)])
        self.assertEqual((second.count(), third.count()), ({"departed": 1}, {"departed": 1}))
