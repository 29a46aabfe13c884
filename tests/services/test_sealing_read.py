"""Tests of reading what is sealed and rolled up at the same time: before each call that a reader makes."""

from collections.abc import Callable

from perfmon.core.query import Query
from perfmon.core.tiers import DAY, GRACE, LATE, MINUTES, RAW, ROLL_GRACE, STAGE
from perfmon.services.sealing import LEASE
from perfmon.storage.windows import Windows
from tests.services.simulated import Link, done
from tests.services.test_history_model import expected, read
from tests.services.test_sealing import HOUR, SealingCase
from tests.storage.samples import Round, Writer, as_samples, stored

# With tags and without, by name, by a pattern, and all.
METRICS = ("cpu", "mem", "mem;state=used", "cpu,mem", "m*", "*")


class ReadersTests(SealingCase):
    def begin(self) -> None:
        """A host with samples of some hours, irregular in time, of which nothing is sealed yet."""
        self.sim = self.simulation()
        self.start = int(self.sim.now)
        self.writer = Writer(self.sim.store)
        self.written.clear()
        for hour in (0, 1):
            self.fill(hour, range(0, 3_000, 37))

    def fill(self, hour: int, seconds: range) -> None:
        """Samples of an hour, of several metrics at the same irregular times."""
        self.sim.advance(self.start + hour * HOUR + seconds[-1] + 1 - self.sim.now)
        rounds: list[Round] = []
        for place in seconds:
            time = (self.start + hour * HOUR + place) * 1000 + place * place % 977
            values = dict.fromkeys(("cpu", "mem;state=used", "mem;state=free", "load"), place / 4 + hour)
            rounds.append(("web1", time, values))
        done(self.writer.rows(rounds, self.sim.now))
        for series, samples in as_samples(rounds).items():
            self.written.setdefault(series, {}).update(samples)

    def wanted(self, metric: str) -> Callable[[str], bool]:
        names = metric.split(",")
        return lambda name: metric == "*" or name in names or name.partition(";")[0] in names or metric == name[0] + "*"

    def check_raw(self, windows: Windows, metric: str) -> None:
        found = done(stored(windows, ["web1"], self.start, self.sim.now + HOUR, self.sim.now, metric))
        right = {series: samples for series, samples in self.written.items() if self.wanted(metric)(series[1])}
        self.assertEqual(found, right, metric)

    def check_steps(self, windows: Windows, metric: str) -> None:
        query = Query("web1", metric, self.start, self.start + DAY, 60, "count")
        found = done(read(self.sim, query, windows))
        right = {
            series: expected(samples, 60, "count")
            for series, samples in self.written.items()
            if self.wanted(metric)(series[1])
        }
        self.assertEqual(found, right, metric)

    def in_between(self, before: Callable[[], None], check: Callable[[Windows, str], None]) -> None:
        """Has `check` read each time, with something done `before` the first call, the second, and so on."""
        for metric in METRICS:
            for number in range(20):
                self.begin()
                link = Link(self.sim.client)
                windows = self.sim.collector(link).windows
                self.prepare()

                def now(call: int, number: int = number) -> None:
                    if call == number:
                        before()

                link.before = now
                check(windows, metric)
                if link.calls <= number:
                    break

    def prepare(self) -> None:
        """What is done before the reader begins."""

    def seal(self) -> None:
        sealing = self.sim.sealing()
        while done(sealing.work()):
            pass
        self.sim.expire()

    def test_staged(self) -> None:
        """A reader gets all samples once, while they are moved from the head into the window."""

        def before() -> None:
            self.sim.advance(STAGE)
            self.seal()

        self.in_between(before, self.check_raw)

    def test_sealed(self) -> None:
        """A reader gets all samples once, while a window that was moved in stages is sealed."""

        def prepare() -> None:
            self.sim.advance(STAGE)
            self.seal()

        def before() -> None:
            self.sim.advance(HOUR + GRACE)
            self.seal()

        self.patch(self, "prepare", prepare)
        self.in_between(before, self.check_raw)

    def test_late(self) -> None:
        """A reader gets all samples once, while late ones are merged into a sealed window."""

        def prepare() -> None:
            self.sim.advance(2 * HOUR)
            self.seal()
            self.fill_late()

        def before() -> None:
            self.sim.advance(LATE + 1)
            self.seal()

        self.patch(self, "prepare", prepare)
        self.in_between(before, self.check_raw)

    def fill_late(self) -> None:
        rounds: list[Round] = [
            ("web1", (self.start + second) * 1000 + 13, {"cpu": 1.0, "mem;state=used": 2.0})
            for second in (5, 77, 1_000)
        ]
        done(self.writer.rows(rounds, self.sim.now))
        for series, samples in as_samples(rounds).items():
            self.written[series].update(samples)

    def test_rolled_up(self) -> None:
        """A reader by the minute gets each sample once, while hours are rolled up."""

        def prepare() -> None:
            self.sim.advance(2 * HOUR)
            self.seal()

        def before() -> None:
            self.sim.advance(MINUTES.feed + ROLL_GRACE)
            self.seal()

        self.patch(self, "prepare", prepare)
        self.in_between(before, self.check_steps)

    def test_rolled_up_and_ended(self) -> None:
        """The same, where the samples have been kept long enough and end with that: a collector was away for days."""

        def prepare() -> None:
            self.sim.advance(2 * HOUR)
            self.seal()
            self.sim.advance(RAW.retention + DAY + LEASE)

        self.patch(self, "prepare", prepare)
        self.in_between(self.seal, self.check_steps)
