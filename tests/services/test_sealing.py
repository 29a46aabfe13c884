"""Tests for `perfmon.services.sealing`: what is sealed and rolled up, and when, at a time of the test's own."""

from twisted.internet.task import Clock

from perfmon.core.rollups import decode_rollup
from perfmon.core.sealed import FED_FIELD
from perfmon.core.tiers import GRACE, HOURS, LATE, MINUTES, RAW, ROLL_GRACE, STAGE, Tier, WindowName
from perfmon.services import sealing as sealing_module
from perfmon.services.sealing import LEASE, POLL, UNREADABLE, Sealing
from perfmon.storage import keys
from tests.logs import logged
from tests.programs import STORE_SERVERS
from tests.services.simulated import Link, SimulatedCase, done
from tests.storage.samples import Round, Samples, Writer, as_samples, stored

HOUR = RAW.window


class SealingCase(SimulatedCase):
    def setUp(self) -> None:
        super().setUp()
        self.sim = self.simulation()
        self.start = int(self.sim.now)  # of a day, and so of a window of each tier but hours
        self.writer = Writer(self.sim.store)
        self.written: Samples = {}
        self.clock = Clock()

    def service(self, link: Link | None = None) -> Sealing:
        """A service that was started; stopped with the test."""
        sealing = self.sim.sealing(link, self.clock)
        sealing.startService()
        self.addCleanup(self.ended, sealing)
        return sealing

    def ended(self, sealing: Sealing) -> None:
        if sealing.running:
            sealing.stopService()
        self.assertEqual(self.clock.getDelayedCalls(), [], "no timer is left")

    def at(self, seconds: float) -> None:
        """It is so many seconds after `start`, and every service has looked for what is due."""
        self.sim.advance(self.start + seconds - self.sim.now)
        self.clock.advance(POLL)
        self.sim.expire()

    def write(self, *rounds: Round) -> None:
        done(self.writer.rows(rounds, self.sim.now))
        for series, samples in as_samples(rounds).items():
            self.written.setdefault(series, {}).update(samples)

    def row(self, seconds: float, cpu: float, host: str = "web1") -> Round:
        return host, round((self.start + seconds) * 1000), {"cpu": cpu, "mem;state=used": -cpu}

    def check(self) -> None:
        """What was written is read."""
        hosts = sorted({host for host, _ in self.written})
        found = done(stored(self.sim.store.windows, hosts, self.start, self.sim.now + HOUR, self.sim.now))
        self.assertEqual(found, self.written)

    def there(self) -> set[str]:
        """What is kept of windows, by names that begin at ``TIER:``, windows as s after `start`."""
        found = set()
        for key in self.sim.client("KEYS", "pm:{web1}:*"):
            tier, window, *kind = key.decode().removeprefix("pm:{web1}:").split(":")
            found.add(":".join([tier, str(int(window) - self.start), *kind]))
        return found

    def due(self, tier: Tier) -> dict[str, float]:
        """What `tier` lacks, by host and s after `start`, and when it is due (s after `start`)."""
        flat = self.sim.client("ZRANGE", keys.open_windows(tier.name), 0, -1, "WITHSCORES")
        found = {}
        for member, time in zip(flat[0::2], flat[1::2], strict=True):
            host, window = member.decode().split()
            found[f"{host} {int(window) - self.start}"] = float(time) - self.start
        return found

    def name(self, tier: Tier, seconds: float = 0, host: str = "web1") -> WindowName:
        return WindowName(host, tier.name, tier.window_of(round((self.start + seconds) * 1000)))

    def ends(self, name: WindowName) -> int:
        found: int = self.sim.client("EXPIRETIME", keys.window(name))
        return found

    def counts(self, tier: Tier, seconds: float = 0) -> dict[float, float]:
        """How many samples of ``cpu`` each step has, by s after `start`."""
        name = self.name(tier, seconds)
        fields = done(self.sim.store.windows.fields(name))
        if "cpu" not in fields:
            return {}
        rollup = decode_rollup(fields["cpu"], name.window)
        times = (rollup.times / 1000 - self.start).tolist()
        return dict(zip(times, rollup.columns["count"].tolist(), strict=True))


class TimesTests(SealingCase):
    """When what is done."""

    def test_stages(self) -> None:
        """An open head is moved into its window now and then, and what comes meanwhile is a new head."""
        sealing = self.service()
        self.at(5)
        self.write(self.row(5, 1.0))
        self.assertEqual(self.due(RAW), {"web1 0": 5 + STAGE})
        self.at(4 + STAGE)
        self.assertEqual((self.there(), sealing.sealed), ({"raw:0:head"}, 0))
        self.at(5 + STAGE)
        self.assertEqual((self.there(), sealing.sealed), ({"raw:0"}, 1))
        self.assertEqual(self.due(RAW), {"web1 0": 5 + 2 * STAGE})
        self.check()
        self.write(self.row(6 + STAGE, 2.0), self.row(5, 3.0))
        self.assertEqual(self.there(), {"raw:0", "raw:0:head"})
        self.at(5 + 2 * STAGE)
        self.assertEqual((self.there(), sealing.sealed), ({"raw:0"}, 2))
        self.check()
        self.assertEqual(self.ends(self.name(RAW)), RAW.spared_until(self.start))

    def test_over(self) -> None:
        """A window is sealed, and compressed, a little after its end; then nothing more is done to it."""
        sealing = self.service()
        for seconds in range(0, HOUR, 10):
            self.sim.advance(self.start + seconds - self.sim.now)
            self.write(self.row(seconds, 0.5 + seconds % 7))
        self.at(HOUR + GRACE - 1)
        self.check()
        before = self.sim.client("HSTRLEN", keys.window(self.name(RAW)), "cpu")
        stages = sealing.sealed
        self.at(HOUR + GRACE)
        self.assertEqual((self.there(), sealing.sealed), ({"raw:0"}, stages + 1))
        self.assertEqual(self.due(RAW), {})
        self.check()
        after = self.sim.client("HSTRLEN", keys.window(self.name(RAW)), "cpu")
        self.assertLess(after * 4, before)
        self.assertEqual(self.ends(self.name(RAW)), RAW.spared_until(self.start))

    def test_rolled_up(self) -> None:
        """Minutes are made when they are over, of all of their hours; hours when a day is over, and so on."""
        sealing = self.service()
        end = MINUTES.feed
        for hour in (0, 2):
            self.at(hour * HOUR + 60)
            self.write(self.row(hour * HOUR + 5, 1.0), self.row(hour * HOUR + 59, 2.0), self.row(hour * HOUR + 60, 3.0))
        while self.sim.now + 300 < self.start + end + ROLL_GRACE:
            self.at(self.sim.now - self.start + 300)
            self.assertEqual(sealing.rolled_up, 0)
        self.assertEqual(self.there(), {"raw:0", f"raw:{2 * HOUR}"})
        self.at(end + ROLL_GRACE)
        self.assertEqual((self.there(), sealing.rolled_up), ({"raw:0", f"raw:{2 * HOUR}", "1m:0"}, 1))
        self.assertEqual(self.counts(MINUTES), {0: 2.0, 60: 1.0, 2 * HOUR: 2.0, 2 * HOUR + 60: 1.0})
        fed = self.sim.client("HGET", keys.window(self.name(MINUTES)), FED_FIELD)
        self.assertEqual(fed, b"101".ljust(MINUTES.window // HOUR, b"0"))
        self.assertEqual(self.ends(self.name(RAW)), RAW.expires_at(self.start))
        self.assertEqual(self.ends(self.name(MINUTES)), MINUTES.spared_until(self.start))
        self.assertEqual((self.due(RAW), self.due(MINUTES)), ({}, {}))
        at = self.due(HOURS)["web1 0"]
        self.assertEqual(at, HOURS.roll_at(self.start, self.sim.now) - self.start)
        self.at(at - 1)
        self.assertEqual((self.counts(HOURS), sealing.rolled_up), ({}, 1))
        self.at(at)
        self.assertEqual(self.counts(HOURS), {0: 3.0, 2 * HOUR: 3.0})
        self.assertEqual(self.ends(self.name(MINUTES)), MINUTES.expires_at(self.start))
        self.assertEqual(self.ends(self.name(HOURS)), HOURS.expires_at(self.name(HOURS).window))
        self.assertEqual((self.due(RAW), self.due(MINUTES), self.due(HOURS)), ({}, {}, {}))
        self.check()

    def test_late(self) -> None:
        """Samples for what was sealed and rolled up long ago are merged, and all tiers are corrected."""
        self.service()
        self.write(self.row(5, 1.0), self.row(7, 1.0))
        day = HOURS.feed + ROLL_GRACE + 2 * HOUR
        for seconds in range(0, day, HOUR):
            self.at(seconds)
        self.assertEqual((self.counts(MINUTES), self.counts(HOURS)), ({0: 2.0}, {0: 2.0}))
        self.at(day)
        self.write(self.row(6, 2.0), self.row(7, 2.0), self.row(HOUR, 2.0))
        self.check()
        for wait, minutes, hours in (
            (LATE - 1, {0: 2.0}, {0: 2.0}),
            (LATE, {0: 2.0}, {0: 2.0}),
            (2 * LATE, {0: 3.0, HOUR: 1.0}, {0: 2.0}),
            (3 * LATE, {0: 3.0, HOUR: 1.0}, {0: 3.0, HOUR: 1.0}),
        ):
            self.at(day + wait)
            self.check()
            self.assertEqual((self.counts(MINUTES), self.counts(HOURS)), (minutes, hours), wait)
        self.assertEqual(self.ends(self.name(RAW)), RAW.expires_at(self.start))
        self.assertEqual(self.ends(self.name(MINUTES)), MINUTES.expires_at(self.start))

    def test_late_at_the_last_moment(self) -> None:
        """A sample that is only just taken in does not cost the others of its hour, whose samples end right then."""
        self.service()
        self.write(*[self.row(minute * 60, 1.0) for minute in range(60)])
        expected = {minute * 60.0: 1.0 for minute in range(60)}
        last = HOUR + RAW.retention - 1
        for seconds in range(0, last, HOUR):
            self.at(seconds)
        self.assertEqual(self.counts(MINUTES), expected)
        self.at(last)
        self.write(self.row(HOUR - 0.5, 2.0))
        for wait in range(1, 4):
            self.at(last + wait * (LATE + POLL))
        self.assertEqual(self.counts(MINUTES), expected | {59 * 60.0: 2.0})
        self.assertEqual(self.counts(HOURS), {0.0: 61.0})

    def test_too_late(self) -> None:
        """What is stored when the samples of its hour have ended does not take their place in the aggregates."""
        self.service()
        self.write(*[self.row(minute * 60, 1.0) for minute in range(60)])
        ended = HOUR + RAW.retention
        for seconds in range(0, ended, HOUR):
            self.at(seconds)
        expected = self.counts(MINUTES)
        self.at(ended + 10)
        with logged() as log:
            # taken in a moment ago, before the store was away for a while
            self.write(self.row(HOUR - 0.5, 2.0), self.row(2 * HOUR - 0.5, 2.0))
            for wait in range(1, 4):
                self.at(ended + 10 + wait * (LATE + POLL))
        self.assertEqual(self.counts(MINUTES), expected | {2 * HOUR - 60: 1.0})
        self.assertEqual(self.counts(HOURS), {0.0: 60.0, HOUR: 1.0})
        (line,) = log.warnings
        self.assertIn(keys.window(self.name(RAW)), line)
        self.at(ended + 3 * LATE + 70)
        self.assertNotIn("raw:0", self.there())

    def test_departed(self) -> None:
        """Nothing is left of a host that sends nothing any more, when all of it was kept long enough."""
        self.service()
        self.write(self.row(5, 1.0))
        tiers = {RAW: HOUR + RAW.retention, MINUTES: MINUTES.window + MINUTES.retention}
        for tier, end in (*tiers.items(), (HOURS, HOURS.expires_at(self.name(HOURS).window) - self.start)):
            while self.sim.now + HOURS.feed < self.start + end:
                self.at(self.sim.now - self.start + HOURS.feed / 4)
            self.at(end - 1)
            self.assertIn(tier.name, {key.partition(":")[0] for key in self.there()})
            self.at(end)
            self.assertNotIn(tier.name, {key.partition(":")[0] for key in self.there()})
        self.assertEqual(self.sim.client("KEYS", "*"), [])


class TroubleTests(SealingCase):
    """What cannot be done, and what that keeps from being done."""

    def test_unreadable_head(self) -> None:
        """A head that cannot be read is logged with its key, and tried again later; the others are sealed."""
        sealing = self.service()
        hosts = [f"web{number}" for number in range(1, 6)]
        self.write(*[self.row(5, 1.0, host) for host in hosts])
        head = keys.head(self.name(RAW, host="web3"))
        good = self.sim.client("GET", head)
        self.sim.client("SET", head, b"\xffnothing that was ever written", "KEEPTTL")
        with logged() as log:
            self.at(STAGE)
        self.at(STAGE + 5)
        (line,) = [text for text in log.warnings if "cannot be sealed" in text]
        self.assertIn(keys.sealing(self.name(RAW, host="web3")), line)
        self.assertEqual(sealing.sealed, 4)
        self.assertEqual(self.due(RAW)["web3 0"], STAGE + UNREADABLE)
        self.at(HOUR + GRACE)
        self.assertEqual(sealing.sealed, 8)
        self.sim.client("SET", keys.sealing(self.name(RAW, host="web3")), good, "KEEPTTL")
        self.at(STAGE + UNREADABLE)
        self.assertEqual(sealing.sealed, 9)
        self.check()

    def test_unreadable_chunk(self) -> None:
        """A chunk that cannot be read is logged with its key and metric; other hosts are rolled up."""
        sealing = self.service()
        self.write(self.row(5, 1.0, "web1"), self.row(5, 1.0, "web2"))
        self.at(HOUR + GRACE)
        self.sim.client("HSET", keys.window(self.name(RAW)), "cpu", b"nothing that was ever written")
        with logged() as log:
            self.at(MINUTES.feed + ROLL_GRACE)
        (line,) = [text for text in log.warnings if "cannot be sealed" in text]
        self.assertIn(f"{keys.window(self.name(RAW))} cpu", line)
        self.assertEqual((self.counts(MINUTES), sealing.rolled_up), ({}, 1))
        self.assertEqual(self.due(MINUTES), {"web1 0": MINUTES.feed + ROLL_GRACE + UNREADABLE})

    def test_unforeseen(self) -> None:
        """A failure that nobody thought of is logged, and the service goes on; the window is due after the lease."""
        link = Link(self.sim.client)
        sealing = self.service(link)
        self.write(self.row(5, 1.0, "web1"), self.row(5, 1.0, "web2"))

        def fails(*args: object) -> None:
            raise ZeroDivisionError

        patch = self.patch(sealing_module, "moved", fails)
        with logged() as log:
            self.at(STAGE)
            self.at(STAGE + 1)
        patch.restore()
        self.assertEqual(log.warnings, ["a window could not be sealed"] * 2)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)
        self.at(STAGE + LEASE + 2)
        self.assertEqual(sealing.sealed, 2)
        self.check()

    def test_store_away(self) -> None:
        """While the store is away nothing is done, nothing is logged here, and nothing is lost."""
        link = Link(self.sim.client)
        sealing = self.service(link)
        self.write(*[self.row(5, 1.0, f"web{number}") for number in range(1, 4)])
        with logged() as log:
            link.fail_after(4, done=False)  # in the middle of the second of them
            self.at(STAGE)
            for second in range(1, 5):
                self.at(STAGE + second)
            self.check()
            self.assertEqual(sealing.sealed, 1)
            link.release()
            self.at(STAGE + LEASE + 2)
        self.assertEqual(log.warnings, [])
        self.assertEqual(self.sim.client("KEYS", "*:sealing") + self.sim.client("KEYS", "*:head"), [])
        self.check()

    def test_clock_set_back(self) -> None:
        """A machine whose clock is set back goes on to seal what is due by it."""
        sealing = self.service()
        self.at(3 * HOUR)
        self.sim.now -= 2 * HOUR
        self.write(self.row(HOUR - 5, 1.0))
        self.at(HOUR + STAGE)
        self.assertGreater(sealing.sealed, 0)
        self.check()

    def test_idle(self) -> None:
        """With nothing to do the store is asked once for each tier and second."""
        link = Link(self.sim.client)
        self.service(link)
        for second in range(1, 11):
            self.at(second)
        self.assertEqual(link.calls, 11 * len(self.sim.tiers))

    def test_due(self) -> None:
        """How much is due is told, and for how long it has been."""
        sealing = self.sim.sealing()
        self.assertEqual(done(sealing.due()), (0, 0.0))
        self.write(self.row(5, 1.0, "web1"), self.row(5, 1.0, "web2"))
        self.at(STAGE - 1)
        self.assertEqual(done(sealing.due()), (0, 0.0))
        self.at(STAGE + 7)
        self.assertEqual(done(sealing.due()), (2, 7.0))
        self.sim.seal()
        self.assertEqual(done(sealing.due()), (0, 0.0))
        self.at(MINUTES.feed + ROLL_GRACE + 3)
        count, behind = done(sealing.due())
        self.assertEqual((count, behind), (4, MINUTES.feed + ROLL_GRACE + 3 - 2 * STAGE - 7))


class RedisTimesTests(TimesTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"


class RedisTroubleTests(TroubleTests):
    __test__ = "redis" in STORE_SERVERS
    kind = "redis"
