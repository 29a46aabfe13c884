"""Tests for `perfmon.services.sealing`: several collectors on one store, stops and crashes, and long work."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.task import Clock

from perfmon.core.heads import encode
from perfmon.core.numbering import Numbering, Row
from perfmon.core.sealed import Sealed, rolled_up, sealed
from perfmon.core.tiers import DAY, GRACE, HOURS, LATE, MINUTES, RAW, ROLL_GRACE, STAGE, Tier
from perfmon.services.sealing import LEASE, POLL, Sealing
from perfmon.services.turns import SLICE
from perfmon.storage import keys
from perfmon.storage.store import Store, StoreUnavailable
from tests.core.models import driven
from tests.logs import logged
from tests.programs import STORE_SERVERS
from tests.services.simulated import Link, done
from tests.services.test_sealing import HOUR, SealingCase
from tests.storage.samples import Round, Writer, as_samples, stored
from tests.valkey import StoreCase
from tests.waiting import until

HOSTS = [f"web{number}" for number in range(12)]


class OvertakenTests(SealingCase):
    """Collectors that are cut off, stopped or stuck in the middle of something, at every call to the store."""

    def begin(self, *hours: int) -> None:
        """A host with samples of some hours, as it is in the last of them, when nothing was sealed yet."""
        self.written.clear()
        self.sim = self.simulation()
        self.start = int(self.sim.now)
        self.writer = Writer(self.sim.store)
        for hour in hours:
            self.at(hour * HOUR + 70)
            self.write(self.row(hour * HOUR + 5, 1.0 + hour), self.row(hour * HOUR + 65, 2.0))

    def every_call(self, test: Callable[[Link, int], bool]) -> None:
        """Runs `test` for a link with ever more calls that are answered, until it says that none was left."""
        for calls in range(60):
            self.begin(0, 1, 3)
            if not test(Link(self.sim.client), calls):
                self.assertGreater(calls, 10)
                return
        self.fail("it never came to an end")

    def finish(self, more: bool = False) -> None:
        """All of it is done, and right; with one sample `more`, which was written when the collector was gone."""
        self.at(DAY + ROLL_GRACE + LEASE + 10)
        self.sim.seal()
        self.sim.settle()
        minutes = {0: 1, 60: 1, HOUR: 1, HOUR + 60: 1, 3 * HOUR: 1, 3 * HOUR + 60: 1}
        self.assertEqual(self.counts(MINUTES), minutes | ({120: 1} if more else {}))
        self.assertEqual(self.counts(HOURS), {0: 3 if more else 2, HOUR: 2, 3 * HOUR: 2})
        self.assertEqual((self.due(RAW), self.due(MINUTES), self.due(HOURS)), ({}, {}, {}))
        self.assertEqual(self.there(), {"raw:0", f"raw:{HOUR}", f"raw:{3 * HOUR}", "1m:0", self.hours()})
        self.check()

    def hours(self) -> str:
        return f"1h:{self.name(HOURS).window - self.start}"

    def test_cut_off(self) -> None:
        """Whatever the last call was that a collector made, and whether it was done, another one does the rest."""
        for done_still in (False, True):

            def cut(link: Link, calls: int, done_still: bool = done_still) -> bool:
                link.fail_after(calls, done_still)
                sealing = self.sim.sealing(link)
                cut_off = False
                for seconds in (3 * HOUR + 70 + STAGE, 4 * HOUR + GRACE, MINUTES.feed + ROLL_GRACE, DAY + ROLL_GRACE):
                    self.at(seconds)
                    try:
                        while done(sealing.work()):
                            self.check()
                    except StoreUnavailable:
                        if not cut_off:
                            self.write(self.row(125, 3.0))
                        cut_off = True
                    self.check()
                self.finish(cut_off)
                return cut_off

            self.every_call(cut)

    def test_stopped(self) -> None:
        """A service that is stopped at any call is gone at once, and goes on where it was when it is started again."""

        def stop(link: Link, calls: int) -> bool:
            self.clock = Clock()
            self.at(3 * HOUR + 70 + STAGE)
            link.hold_after(calls)
            sealing = self.sim.sealing(link, self.clock)
            sealing.startService()
            held = link.holds
            sealing.stopService()
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.check()
            link.release()  # the answer comes when nobody waits for it
            self.check()
            sealing.startService()
            for seconds in (4 * HOUR + GRACE, MINUTES.feed + ROLL_GRACE, DAY + ROLL_GRACE, DAY + ROLL_GRACE + LATE):
                self.at(seconds)
            sealing.stopService()
            self.finish()
            return held

        self.every_call(stop)

    def test_stuck(self) -> None:
        """A collector that comes back after its lease changes nothing that another one has done meanwhile."""

        def stick(link: Link, calls: int) -> bool:
            self.at(DAY + ROLL_GRACE)
            link.hold_after(calls)
            work = ensureDeferred(_all(self.sim.sealing(link)))
            held = link.holds
            self.at(DAY + ROLL_GRACE + LEASE + 2)
            self.sim.seal()
            self.write(self.row(6, 7.0))
            self.sim.settle()
            self.assertEqual(self.counts(HOURS)[0], 3)
            before = self.snapshot()
            link.release()
            done(_waited(work))
            self.sim.seal()
            self.assertEqual(self.snapshot(), before)
            self.check()
            return held

        self.every_call(stick)

    def snapshot(self) -> dict[bytes, Any]:
        """All that is kept of windows."""
        client = self.sim.client
        read = {b"string": "GET", b"hash": "HGETALL"}
        return {key: client(read[client("TYPE", key)], key) for key in client("KEYS", "pm:{*")}

    def test_at_the_same_time(self) -> None:
        """Collectors that roll up different hours of one window of minutes at the same time lose nothing."""

        def overtake(link: Link, calls: int) -> bool:
            self.at(DAY + ROLL_GRACE)
            self.sim.seal()
            # of two hours that are late, one is due to be rolled up before the other
            self.write(self.row(6, 7.0))
            self.at(DAY + ROLL_GRACE + 10)
            self.write(self.row(HOUR + 6, 7.0))
            for wait in (LATE, LATE + 10, 2 * LATE):
                self.at(DAY + ROLL_GRACE + wait)
                if wait < 2 * LATE:
                    self.sim.seal()
            link.hold_after(calls)
            work = ensureDeferred(self.sim.sealing(link).work())
            held = link.holds
            self.at(DAY + ROLL_GRACE + 2 * LATE + 10)
            self.sim.seal()
            link.release()
            done(_waited(work))
            self.sim.settle()
            expected = {0: 2, 60: 1, HOUR: 2, HOUR + 60: 1, 3 * HOUR: 1, 3 * HOUR + 60: 1}
            self.assertEqual(self.counts(MINUTES), expected, calls)
            self.assertEqual(self.counts(HOURS), {0: 3, HOUR: 3, 3 * HOUR: 2}, calls)
            return held

        for calls in range(30):
            self.begin(0, 1, 3)
            if not overtake(Link(self.sim.client), calls):
                break


async def _all(sealing: Sealing) -> None:
    while await sealing.work():
        pass


async def _waited(deferred: Deferred[Any]) -> Any:
    return await deferred


class TogetherTests(StoreCase):
    """Services on connections as they are in a collector."""

    async def begin(self, store: Store) -> None:
        """Some hosts with samples of one window, and no more."""
        from twisted.internet import reactor

        self.clock = Clock()
        self.store = store
        # some hours back, for the server's own clock decides when a key expires
        self.start = RAW.window_of(int(reactor.seconds()) * 1000) - 8 * HOUR
        self.now = self.start + 100.0
        self.rounds: list[Round] = [
            (host, (self.start + 7 * place) * 1000, {f"m{number}": place + number / 4 for number in range(20)})
            for host in HOSTS
            for place in range(60)
        ]
        await Writer(self.store).rows(self.rounds, self.now)

    def service(self, store: Store) -> Sealing:
        sealing = Sealing(store.windows, self.clock, lambda: self.now)
        sealing.startService()
        self.addCleanup(lambda: sealing.stopService() if sealing.running else None)
        return sealing

    async def check(self) -> None:
        found = await stored(self.store.windows, HOSTS, self.start, self.start + HOUR, self.now)
        self.assertEqual(found, as_samples(self.rounds))

    def fewer(self, than: int, tier: Tier = RAW) -> bool:
        """Whether fewer windows than that wait, a second later."""
        self.clock.advance(POLL)
        count: int = self.server("ZCARD", keys.open_windows(tier.name))
        return count < than

    async def test_shared(self) -> None:
        """Two services share the work: each window is done once, by one of them."""
        await self.begin(await self.connected())
        services = [self.service(store) for store in (self.store, await self.connected())]
        self.now = self.start + HOUR + GRACE
        await until(partial(self.fewer, 1), "all windows to be sealed")
        await until(lambda: sum(one.sealed for one in services) >= len(HOSTS), "the last answer")
        self.assertEqual(sum(one.sealed for one in services), len(HOSTS))
        self.assertGreater(min(one.sealed for one in services), 0)
        await self.check()
        self.assertEqual(self.server("ZCARD", keys.open_windows(MINUTES.name)), len(HOSTS))
        self.now = self.start + MINUTES.feed + ROLL_GRACE
        await until(partial(self.fewer, 1, MINUTES), "minutes")
        await until(lambda: sum(one.rolled_up for one in services) >= len(HOSTS), "the last answer")
        self.assertEqual(sum(one.rolled_up for one in services), len(HOSTS))

    async def test_stopped(self) -> None:
        """A service that is stopped while the store works for it ends at once; it may be started again."""
        await self.begin(await self.connected())
        self.now = self.start + HOUR + GRACE
        with logged() as log:
            for left in range(len(HOSTS), 0, -1):
                sealing = self.service(self.store)
                await until(partial(self.fewer, left), "something to be done")
                sealing.stopService()
                self.assertEqual(self.clock.getDelayedCalls(), [])
                self.now += LEASE + 1
            self.service(self.store)
            await until(partial(self.fewer, 1), "all windows to be sealed")
        self.assertEqual((log.warnings, self.flushLoggedErrors()), ([], []))
        await self.check()

    async def test_store_killed(self) -> None:
        """A store that is killed in between and started again loses nothing, and the work goes on."""
        self.server = server = self.own_server()
        store = self.new_store()
        await until(lambda: store.problem is None, "the store")
        await self.begin(store)
        self.now = self.start + HOUR + GRACE
        sealing = self.service(store)
        await until(lambda: sealing.sealed >= 3, "some windows to be sealed")
        server.kill()
        await until(lambda: store.problem, "the loss")
        self.clock.advance(POLL)
        server.start()
        await until(lambda: store.problem is None, "the store to be back")
        self.now += LEASE + 1
        await until(partial(self.fewer, 1), "all windows to be sealed")
        self.assertEqual(server("KEYS", "*:sealing"), [])
        await self.check()


class _Busy(Clock):
    """A clock by which each look takes a fifth of a slice."""

    def seconds(self) -> float:
        self.rightNow += SLICE / 5
        return self.rightNow


class TurnsTests(SealingCase):
    """Long work is done in slices."""

    METRICS = 3_000

    def fill(self, rounds: int) -> None:
        """Rounds of a host of many metrics, in one window."""
        values = {f"m{number};of=many": number / 4 for number in range(self.METRICS)}
        self.write(*[("web1", (self.start + 30 * place) * 1000, values) for place in range(rounds)])

    def turns(self, sealing: Sealing, clock: Clock) -> int:
        """How many turns the reactor gets while all that is due is done."""
        work = ensureDeferred(_all(sealing))
        turns = 0
        while not work.called:
            self.assertEqual(len(clock.getDelayedCalls()), 1)
            clock.advance(SLICE)
            turns += 1
        done(_waited(work))
        return turns

    def test_turns(self) -> None:
        """While a window of many metrics is sealed and rolled up the reactor gets a turn every few of them."""
        clock = _Busy()
        sealing = self.sim.sealing(clock=clock)
        self.fill(3)
        self.at(HOUR + GRACE)
        self.assertGreater(self.turns(sealing, clock), self.METRICS / 6)
        for tier in (MINUTES, HOURS):
            self.at(max(self.due(tier).values()))
            self.assertGreater(self.turns(sealing, clock), self.METRICS / 6, tier.name)
        self.assertEqual((sealing.sealed, sealing.rolled_up), (1, 2))
        self.check()

    def test_steps(self) -> None:
        """No step of the work is of more than one metric."""
        metrics = [f"m{number}" for number in range(500)]
        log, first = Numbering(lambda: 1).schema("web1", metrics)
        (write,) = encode([], [Row(log, first, 0, np.arange(500, dtype="<f8").tobytes())], 0.0)
        fields, steps = driven(sealed(Sealed(0, {}, "raw"), write.data))
        self.assertGreaterEqual(steps, 500)
        fields, steps = driven(rolled_up(Sealed(0, {}, "1m"), [Sealed(0, fields, "raw")], MINUTES, RAW))
        self.assertGreaterEqual(steps, 500)
        _, steps = driven(rolled_up(Sealed(0, {}, "1h"), [Sealed(0, fields, "1m")], HOURS, MINUTES))
        self.assertGreaterEqual(steps, 500)

    def test_stopped_between_slices(self) -> None:
        """A service that is stopped between two slices leaves no timer, and its claim is due after the lease."""
        clock = _Busy()
        sealing = self.sim.sealing(clock=clock)
        self.fill(2)
        self.at(HOUR + GRACE)
        sealing.startService()
        for _ in range(5):
            clock.advance(SLICE)
        sealing.stopService()
        self.assertEqual((clock.getDelayedCalls(), sealing.sealed), ([], 0))
        self.check()
        self.at(HOUR + GRACE + LEASE + 2)
        self.sim.seal()
        self.assertEqual(self.sim.client("KEYS", "*:sealing"), [])
        self.check()


class RedisTogetherTests(TogetherTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
