"""What simulated hosts would measure: a pure function of their seed, their number and the time.

Nothing is remembered from round to round. What a host has done so far is the integral of how busy it was, which is
known in closed form; counters are multiples of it, and shares are its rise over the last round. So the two agree with
each other, as they do on a real host, a counter never falls, and a simulator that is started anew goes on where it was.

Goal: 10,000 hosts of 100 metrics every 10 s for a few percent of a core. All hosts of a turn are worked out together:
that takes a millisecond for ten of them and 11 for a thousand (measured, with 100 metrics each).
"""

from collections.abc import Mapping
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from perfmon.core.simulated_metrics import PAGE, STATES, WAIT, filesystems, simulated_metrics

DAY = 86_400.0  # s

# A host was started some time in the last two months, but no later than yesterday.
_LIFE = 60 * DAY  # s

# In how long (s) noise gets from one random value to the next.
_WOBBLE_CELL = 30.0
_NOISE_CELL = 60.0
_MEMORY_CELL = 900.0

_FILESYSTEM = 1e11 // PAGE * PAGE  # bytes that users can have
_INODES = 6_553_600.0

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: the step of splitmix64

Floats = NDArray[np.float64]
Hashes = NDArray[np.uint64]


class Profile(StrEnum):
    """How a host behaves."""

    IDLE = "idle"  # does nearly nothing, day and night
    STEADY = "steady"  # follows the day; at night, too, it does more than an idle one
    BUSY = "busy"  # has little left
    BURSTY = "bursty"  # does little, and then works hard for some minutes


_KINDS = list(Profile)

# Each a range to draw from: how busy on average, how much of that the day takes and gives, what a burst adds, how much
# of it is noise, and how much of the memory is used.
_RANGES: Mapping[Profile, tuple[tuple[float, float], ...]] = {
    Profile.IDLE: ((0.002, 0.005), (0.0, 0.1), (0.0, 0.0), (0.2, 0.4), (0.04, 0.12)),
    Profile.STEADY: ((0.25, 0.45), (0.2, 0.4), (0.0, 0.1), (0.05, 0.1), (0.3, 0.55)),
    Profile.BUSY: ((0.65, 0.78), (0.02, 0.1), (0.0, 0.0), (0.05, 0.1), (0.6, 0.85)),
    Profile.BURSTY: ((0.15, 0.22), (0.0, 0.1), (0.4, 0.6), (0.05, 0.1), (0.2, 0.5)),
}

_CORES = np.array([2.0, 4.0, 8.0, 16.0])
_MEMORY = np.array([4.0, 16.0, 64.0])  # GiB


class SimulatedFleet:
    """Hosts 0 to `hosts` - 1 with `metrics` metrics each."""

    def __init__(self, hosts: int, metrics: int, step: float, idle_share: float, seed: int, start: float) -> None:
        """Rounds are `step` s from each other; `start` (s since the epoch) says which of its lives a host is in.

        Of the first n hosts `idle_share` are nearly idle, for every n, but for rounding.
        """
        self._step = step
        self._of_host = _mixed(np.arange(hosts, dtype=np.uint64) * _GOLDEN ^ _mixed(np.array([seed], np.uint64)))
        self._draws = 0
        numbers = np.arange(hosts + 1)
        idle = np.diff(np.rint(numbers * idle_share)) > 0
        self._kinds = np.where(idle, 0, np.searchsorted((0.55, 0.75), self._draw()) + 1)
        level, day, burst, wobble, memory = (
            self._drawn_by_kind([_RANGES[kind][part] for kind in _KINDS]) for part in range(5)
        )
        self._level, self._day, self._burst, self._wobble = level, day * level, burst, wobble * level
        self._floor = self._level - self._day - self._wobble
        self._period = 1200 + 2400 * self._draw()  # s, of the bursts
        self._duty = 0.1 + 0.15 * self._draw()
        self._offset = self._period * self._draw()
        self._peak = (11 + 6 * self._draw()) * 3600  # s after midnight, UTC: the fleet is not all in one place
        self.cores = _CORES[(self._draw() * len(_CORES)).astype(int)]
        self.memory = (_MEMORY[(self._draw() * len(_MEMORY)).astype(int)] * 2**30 - 1e9) // PAGE * PAGE  # bytes
        self._memory = memory
        life = _LIFE * self._draw()
        self._boot = np.floor((start - DAY - life) / _LIFE) * _LIFE + life
        self._system = STATES["system"] * (0.6 + 0.8 * self._draw())
        self._until_boot = self._worked(np.arange(hosts), self._boot)
        self._metrics = simulated_metrics(metrics)
        self.names = [metric.name for metric in self._metrics]
        self._lay_out()

    def profile(self, host: int) -> Profile:
        return _KINDS[int(self._kinds[host])]

    def values(self, hosts: NDArray[np.int64], times: Floats) -> Floats:
        """What each of `hosts` measures at its time (s since the epoch): a row for each, a column for each metric."""
        signals = self._signals(hosts, times)
        found: Floats = signals[:, self._signal_of]
        uneven = self._uneven
        keys = _mixed(self._of_host[hosts][:, None] ^ self._key_of[None, :])
        stray = self._noise_of * (_smooth(keys, times[:, None] / _NOISE_CELL) - 0.5)
        # A counter's rate strays by a share of the least it can be, so that it goes on rising.
        found[:, uneven] += stray * np.where(self._counts, _NOISE_CELL * self._floor[hosts][:, None], found[:, uneven])
        found[:, uneven] *= 1 + self._spread_of * (_unit(keys) - 0.5)
        found *= self._gain_of
        # divided by a power of ten, a whole number is the float that is written with so many digits
        found = np.rint(found * self._fine) / self._scale * self._quantum
        np.minimum(found, self._most, out=found)
        return found

    def _draw(self) -> Floats:
        """A number from 0 to 1 for each host; each call gives others."""
        self._draws += 1
        return _unit(_mixed(self._of_host + np.array([self._draws], np.uint64) * _GOLDEN))

    def _drawn_by_kind(self, ranges: list[tuple[float, float]]) -> Floats:
        lowest, highest = np.array(ranges)[self._kinds].T
        found: Floats = lowest + (highest - lowest) * self._draw()
        return found

    def _lay_out(self) -> None:
        """What of each metric is needed as columns."""
        metrics = self._metrics
        self._filesystems = np.arange(filesystems(metrics))
        places = {name: place for place, name in enumerate(self._signal_names())}
        self._signal_of = np.array([places[metric.signal] for metric in metrics])
        self._gain_of = np.array([metric.gain for metric in metrics])
        self._scale = 10.0 ** np.array([metric.digits for metric in metrics])
        quantum = np.array([metric.quantum for metric in metrics])
        self._fine = np.where(quantum == 1, self._scale, 1 / quantum)
        self._scale = np.where(quantum == 1, self._scale, 1.0)
        self._quantum = quantum
        self._most = np.array([metric.most for metric in metrics])
        self._uneven = np.array([i for i, metric in enumerate(metrics) if metric.noise or metric.spread], np.int64)
        self._noise_of = np.array([metrics[i].noise for i in self._uneven])
        self._spread_of = np.array([metrics[i].spread for i in self._uneven])
        self._counts = np.array([metrics[i].signal == "work" for i in self._uneven], bool)
        self._key_of = _mixed((self._uneven.astype(np.uint64) + np.uint64(1000)) * _GOLDEN)

    def _signal_names(self) -> list[str]:
        """The columns of `_signals`."""
        states = ("user", *STATES, "wait", "idle")
        return [
            *("one", "busy", "age", "work", "cores", "limit", "available", "heat"),
            *(f"load:{span}" for span in ("1m", "5m", "15m")),
            *(f"cpu:{state}" for state in states),
            *(f"cpu_time:{state}" for state in states),
            *(f"memory:{state}" for state in ("used", "free", "buffered", "cached")),
            *(f"memory_share:{state}" for state in ("used", "free", "buffered", "cached")),
            *(
                f"filesystem:{number}:{what}"
                for what in ("used", "free", "share", "inodes_used", "inodes_free")
                for number in self._filesystems
            ),
        ]

    def _signals(self, hosts: NDArray[np.int64], times: Floats) -> Floats:
        """What drives the metrics, a row for each host."""
        spans = np.array([0, self._step, 60, 300, 900])[:, None]
        worked = self._worked(hosts, times - spans) - self._until_boot[hosts]
        busy, *loads = (worked[0] - worked[1:]) / spans[1:]
        busy = busy.clip(0, 1)
        age, cores, limit = times - self._boot[hosts], self.cores[hosts], self.memory[hosts]
        weights = self._weights(hosts)
        shares, spent = weights * busy, weights * worked[0]
        memory = self._memory_states(hosts, times, limit)
        columns = [
            *(np.ones(len(hosts)), busy, age, worked[0], cores, limit, limit - memory[0], 45 + 20 * busy),
            *(load * cores for load in loads),
            *(shares, 1 - shares.sum(0)[None, :]),
            *(spent * cores, (age - spent.sum(0))[None, :] * cores),
            *(memory, memory / limit),
            *self._space(hosts, times),
        ]
        return np.vstack([np.atleast_2d(column) for column in columns]).T

    def _weights(self, hosts: NDArray[np.int64]) -> Floats:
        """What of a busy CPU goes to each state but idle: a row for each, in the order of the signals."""
        system = self._system[hosts]
        fixed = [system if state == "system" else np.full(len(hosts), share) for state, share in STATES.items()]
        return np.vstack([1 - sum(fixed), *fixed, np.full(len(hosts), WAIT)])

    def _worked(self, hosts: NDArray[np.int64], times: Floats) -> Floats:
        """The integral of how busy each host was, from some moment in its past to each of its `times`."""
        # counted from the start of the host: numbers that are small enough to be subtracted from each other
        found: Floats = self._level[hosts] * (times - self._boot[hosts])
        turn = 2 * np.pi / DAY
        found += self._day[hosts] / turn * np.sin(turn * ((times - self._peak[hosts]) % DAY))
        period, duty = self._period[hosts], self._duty[hosts]
        cycles, into = np.divmod(times + self._offset[hosts], period)
        cycles -= np.floor((self._boot[hosts] + self._offset[hosts]) / period)
        found += self._burst[hosts] * (cycles * duty * period + np.minimum(into, duty * period))
        found += self._wobble[hosts] * _WOBBLE_CELL * _smooth(self._of_host[hosts], times / _WOBBLE_CELL)
        return found

    def _memory_states(self, hosts: NDArray[np.int64], times: Floats, limit: Floats) -> Floats:
        """Bytes used, free, buffered and cached: a row for each; they add up to the limit."""
        slow = _smooth(_mixed(self._of_host[hosts] ^ _GOLDEN), times / _MEMORY_CELL) - 0.5
        day = np.cos(2 * np.pi * (times - self._peak[hosts]) / DAY)
        share = self._memory[hosts] * (1 + 0.06 * day + 0.05 * slow)
        used = limit * share // PAGE * PAGE
        buffered = limit * 0.01 // PAGE * PAGE
        cached = (limit - used) * (0.5 + 0.05 * slow) // PAGE * PAGE
        return np.vstack([used, limit - used - cached - buffered, buffered, cached])

    def _space(self, hosts: NDArray[np.int64], times: Floats) -> list[Floats]:
        """Of all filesystems bytes used and free, the share, inodes used and free: rows of each.

        They fill up, and are cleaned every few weeks.
        """
        keys = _mixed(self._of_host[hosts][None, :] ^ (self._filesystems.astype(np.uint64)[:, None] * _GOLDEN))
        chance = _unit(keys)
        weeks = (times / (7 * DAY * (1 + 3 * chance)) + chance) % 1
        share = 0.1 + 0.5 * _unit(_mixed(keys)) + 0.25 * weeks
        used: Floats = _FILESYSTEM * share // PAGE * PAGE
        inodes: Floats = np.floor(_INODES * 0.3 * share)
        return [used, _FILESYSTEM - used, used / _FILESYSTEM, inodes, _INODES - inodes]


def _mixed(keys: Hashes) -> Hashes:
    """Keys that differ in anything become numbers that have nothing in common: splitmix64's last step."""
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return keys ^ (keys >> np.uint64(31))


def _unit(keys: Hashes) -> Floats:
    """Hashes as numbers from 0 up to 1."""
    found: Floats = (keys >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return found


def _smooth(keys: Hashes, places: Floats) -> Floats:
    """Noise from 0 to 1: random at whole places, a straight line between; other noise for each key."""
    cells = np.floor(places)
    numbers = cells.astype(np.uint64)
    before = _unit(_mixed(keys + numbers * _GOLDEN))
    after = _unit(_mixed(keys + (numbers + np.uint64(1)) * _GOLDEN))
    found: Floats = before + (after - before) * (places - cells)
    return found
