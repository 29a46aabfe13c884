"""A year of a fleet that changes, at a time of the test's own: nothing grows, nothing stays, nothing is missing."""

from collections import Counter
from collections.abc import Iterator

from perfmon.core.query import Query
from perfmon.core.tiers import DAY, HOURS, MINUTES, RAW, Tier
from tests.services.simulated import SimulatedCase, Simulation, done
from tests.services.test_history_model import expected, read
from tests.storage.samples import Round, Samples, Writer, as_samples

YEAR = 365
ROUND = 12 * 3600  # s
PER_ROUND = 3  # samples of each metric of each host, ten minutes apart
NEW_HOST = 20  # days between two new hosts
LIFE = 80  # days of each, but for the one that stays
STAYS = "always"

# Until raw samples and minutes are as many as there will ever be.
SETTLED = 35  # days

# How much more of the memory may be needed at one time than at another, with the same number of hosts.
WANDER = 1.15

# ARGV: prefix of the keys. Returns the bytes that they take, as the server counts them.
_MEMORY = """
local bytes = 0
for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
  bytes = bytes + redis.call('MEMORY', 'USAGE', key, 'SAMPLES', 0)
end
return bytes
"""


class Fleet:
    """Hosts that come and go, and what has to be there of them."""

    def __init__(self, simulation: Simulation) -> None:
        self.simulation = simulation
        self.start = int(simulation.now)
        self.written: Samples = {}  # of the one that stays
        self.windows: dict[str, set[int]] = {}  # of raw samples, by host
        self._writer = Writer(simulation.store)

    def alive(self, day: float) -> list[str]:
        """The hosts of a day."""
        newest = int(day // NEW_HOST)
        numbers = range(max(0, newest - LIFE // NEW_HOST + 1), newest + 1)
        return [STAYS, *(f"host{number}" for number in numbers)]

    def round(self, place: int) -> None:
        """A round of samples, and then all that is due."""
        now = self.start + place * ROUND + 1_800
        self.simulation.now = now
        rounds: list[Round] = []
        for host in self.alive((now - self.start) / DAY):
            for sample in range(PER_ROUND):
                seconds = now - 600 * sample
                rounds.append((host, seconds * 1000, _values(seconds)))
                self.windows.setdefault(host, set()).add(RAW.window_of(seconds * 1000))
        done(self._writer.rows(rounds, self.simulation.now))
        kept = as_samples([one for one in rounds if one[0] == STAYS])
        for series, samples in kept.items():
            self.written.setdefault(series, {}).update(samples)
        for wait in (0.0, 40.0, 40.0):  # what is sealed late is rolled up a little later
            self.simulation.now += wait
            self.simulation.seal()

    def expected(self) -> Iterator[str]:
        """The keys that must be there now, of windows that are over."""
        now = self.simulation.now
        for host, windows in self.windows.items():
            minutes = {MINUTES.window_of(window * 1000) for window in windows if MINUTES.roll_at(window, 0.0) <= now}
            hours = {HOURS.window_of(window * 1000) for window in minutes if HOURS.roll_at(window, 0.0) <= now}
            kinds: tuple[tuple[Tier, set[int]], ...] = (RAW, windows), (MINUTES, minutes), (HOURS, hours)
            for tier, some in kinds:
                for window in some:
                    if now < tier.expires_at(window):
                        yield f"pm:{{{host}}}:{tier.name}:{window}"

    def memory(self, tier: Tier) -> int:
        """Bytes that the windows of a tier take."""
        found: int = self.simulation.client("EVAL", _MEMORY, 0, f"pm:*:{tier.name}:*")
        return found


def _values(seconds: int) -> dict[str, float]:
    """What a host samples; exact in binary."""
    return {
        "load": seconds // 600 * 7919 % 1024 / 64,
        "memory;state=used": float(seconds // 600 % 4096 * 4096),
        "io;direction=read": seconds % (10 * DAY) * 0.5,
    }


class SoakTests(SimulatedCase):
    def test_year(self) -> None:
        """In a year every key has an end, the store stays as small as it was, and no day is missing."""
        simulation = self.simulation()
        fleet = Fleet(simulation)
        keys: list[int] = []  # of raw samples and minutes, each day
        memory: list[int] = []  # of the same, each fifth day
        of_hours: list[float] = []  # bytes of each window of hours, each fifth day
        for day in range(YEAR):
            for place in range(DAY // ROUND):
                fleet.round(day * DAY // ROUND + place)
            keys.append(self._look(fleet, day))
            if day % 5 == 0:
                memory.append(fleet.memory(RAW) + fleet.memory(MINUTES))
                windows = len([key for key in list(fleet.expected()) if f":{HOURS.name}:" in key])
                of_hours.append(fleet.memory(HOURS) / max(windows, 1))

        hosts = 1 + LIFE // NEW_HOST
        per_host = (RAW.retention + DAY) // ROUND + (MINUTES.retention + DAY) // MINUTES.window
        departed = MINUTES.retention // (NEW_HOST * DAY) + 1
        self.assertLess(max(keys), per_host * (hosts + departed))
        # the first host to go makes the fleet as large as it stays
        same = LIFE + SETTLED
        self.assertLess(max(keys[same:]), min(keys[same:]) * WANDER)
        self.assertLess(max(memory[same // 5 :]), min(memory[same // 5 :]) * WANDER)
        self.assertLess(max(of_hours[same // 5 :]), of_hours[same // 5] * WANDER)
        self._check_year(fleet)
        self._check_end(fleet)

    def _look(self, fleet: Fleet, day: int) -> int:
        """Looks at all keys at the end of a day; returns how many there are of raw samples and minutes."""
        client = fleet.simulation.client
        _, forever = fleet.simulation.expire()
        self.assertEqual(forever, [], "each has an end")
        there = {key.decode() for key in client("KEYS", "pm:{*")}
        heads = {key for key in there if key.endswith(":head")}
        self.assertEqual(len(heads), len(fleet.alive(day + 0.9)), "the last round waits")
        self.assertEqual(there, set(fleet.expected()) - {head.removesuffix(":head") for head in heads} | heads)
        return sum(Counter(key.split(":")[-2] for key in there - heads)[tier.name] for tier in (RAW, MINUTES))

    def _check_year(self, fleet: Fleet) -> None:
        """Each day of the year is right, of a host that was there all the time."""
        simulation = fleet.simulation
        simulation.advance(2 * DAY)
        simulation.settle()
        stop = fleet.start + YEAR * DAY
        for agg in ("count", "avg", "min", "max", "sum", "last", "rate"):
            metric = "io" if agg == "rate" else "*"
            found = done(read(simulation, Query(STAYS, metric, fleet.start, stop, DAY, agg)))
            right = {
                series: expected(samples, DAY, agg)
                for series, samples in fleet.written.items()
                if metric in ("*", series[1].partition(";")[0])
            }
            self.assertEqual(found, right, agg)
        counts = done(read(simulation, Query(STAYS, "load", fleet.start, stop, DAY, "count")))
        self.assertEqual(set(counts[STAYS, "load"].values()), {float(PER_ROUND * DAY // ROUND)})
        self.assertEqual(len(counts[STAYS, "load"]), YEAR)

    def _check_end(self, fleet: Fleet) -> None:
        """When nobody sends anything any more, nothing is left in the end, of any host at its time."""
        simulation = fleet.simulation
        last = HOURS.expires_at(HOURS.window_of(int(simulation.now) * 1000))
        while simulation.now < last:
            _, forever = simulation.advance(5 * DAY)
            simulation.seal()
            self.assertEqual(forever, [])
            there = {key.decode() for key in simulation.client("KEYS", "pm:*")}
            self.assertEqual(there, set(fleet.expected()))
        self.assertEqual(simulation.client("DBSIZE"), 0)
