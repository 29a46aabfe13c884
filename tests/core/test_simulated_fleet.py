"""Tests for `perfmon.core.simulated_fleet`."""

from collections import Counter
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.simulated_fleet import DAY, Floats, Profile, SimulatedFleet
from perfmon.core.units import UNITS

NOW = 1_800_000_000.0

COUNTERS = {
    *("system.cpu.time", "system.disk.io", "system.disk.io_time", "system.disk.operations"),
    *("system.disk.operation_time", "system.network.io", "system.network.packets", "system.network.errors"),
    *("system.network.dropped", "perfmon.pressure.time", "perfmon.paging.io", "system.uptime"),
}


def fleet(
    hosts: int = 40,
    metrics: int = 100,
    step: float = 10.0,
    idle_share: float = 0.2,
    seed: int = 1,
    start: float = NOW,
) -> SimulatedFleet:
    return SimulatedFleet(hosts, metrics, step, idle_share, seed, start)


def at(found: SimulatedFleet, host: int, *times: float) -> Floats:
    """Rounds of one host, a row for each."""
    return found.values(np.full(len(times), host), np.array(times))


def column(found: SimulatedFleet, metric: str) -> int:
    return found.names.index(metric)


class SimulatedFleetTests(SynchronousTestCase):
    @settings(max_examples=40, deadline=None)
    @given(
        st.integers(0, 2**32 - 1),
        st.integers(0, 39),
        st.floats(NOW, NOW + 30 * DAY),
        st.sampled_from([0.01, 0.5, 1.0, 10.0, 60.0]),
        st.lists(st.floats(1.0, 500.0), min_size=2, max_size=20),
    )
    def test_counters_rise(self, seed: int, host: int, start: float, step: float, gaps: list[float]) -> None:
        """No counter ever falls, whatever the seed, the host, the time and the rhythm."""
        hosts = fleet(seed=seed, step=step, metrics=250)
        times = start + np.cumsum(np.array(gaps) * step)
        values = at(hosts, host, *times.tolist())
        counters = [i for i, name in enumerate(hosts.names) if name.partition(";")[0] in COUNTERS]
        self.assertGreater(len(counters), 50)
        self.assertTrue((np.diff(values[:, counters], axis=0) >= 0).all())

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.floats(NOW, NOW + 30 * DAY), st.sampled_from([0.01, 1.0, 10.0, 3600.0]))
    def test_bounds(self, seed: int, time: float, step: float) -> None:
        """Shares are from 0 to 1 with four digits, nothing is negative or without a number."""
        hosts = fleet(seed=seed, step=step, metrics=250)
        values = hosts.values(np.arange(40), np.full(40, time))
        self.assertTrue(np.isfinite(values).all())
        self.assertTrue((values >= 0).all())
        shares = values[:, [UNITS[name.partition(";")[0]] == "1" for name in hosts.names]]
        self.assertTrue((shares <= 1).all())
        self.assertEqual(shares.ravel().tolist(), [round(share, 4) for share in shares.ravel().tolist()])

    def test_digits(self) -> None:
        """Every value has as many digits as the probes give: bytes none, times and loads some."""
        hosts = fleet(metrics=250)
        values = hosts.values(np.arange(40), np.full(40, NOW + 5))
        for place, metric in enumerate(hosts.names):
            name = metric.partition(";")[0]
            digits = {"1": 4, "s": 6, "{thread}": 2, "Cel": 3}.get(UNITS[name], 0)
            digits = 2 if name in ("system.cpu.time", "system.uptime") else digits
            found = values[:, place].tolist()
            self.assertEqual(found, [round(value, digits) for value in found], metric)

    def test_same_again(self) -> None:
        """A host's values follow from the seed, its number and the time: not from its company, or what was asked."""
        one, other = fleet(hosts=40), fleet(hosts=400)
        expected = one.values(np.arange(40), NOW + np.arange(40, dtype=np.float64))
        other.values(np.array([3, 4]), np.array([NOW, NOW]))
        for host in (0, 7, 39):
            self.assertEqual(at(other, host, NOW + host).tolist(), [expected[host].tolist()])
        narrow = fleet(metrics=12)
        self.assertEqual(at(narrow, 7, NOW + 7)[0].tolist(), expected[7, :12].tolist())

    def test_started_anew(self) -> None:
        """A simulator that is started a minute later goes on where the other one was: no host has restarted."""
        values = [at(fleet(start=start), 5, NOW + 100).tolist() for start in (NOW, NOW + 60)]
        self.assertEqual(*values)

    def test_seeds_differ(self) -> None:
        """Another seed makes other hosts, and hosts differ from each other."""
        one, other = (at(fleet(seed=seed), 5, NOW)[0] for seed in (1, 2))
        self.assertGreater(int((one != other).sum()), 50)
        one, other = fleet().values(np.array([5, 6]), np.full(2, NOW))
        self.assertGreater(int((one != other).sum()), 50)

    def test_idle_share(self) -> None:
        """Of any number of hosts the share is idle that was asked for, at every place in the fleet."""
        for share, idle in ((0.0, 0), (0.2, 20), (0.29, 29), (0.5, 50), (1.0, 100)):
            hosts = fleet(hosts=100, idle_share=share)
            kinds = Counter(hosts.profile(number) for number in range(100))
            self.assertEqual(kinds[Profile.IDLE], idle, share)
        few = [fleet(hosts=number).profile(number - 1) for number in range(1, 41)]
        self.assertEqual(few, [fleet(hosts=40).profile(number) for number in range(40)])

    def test_profiles(self) -> None:
        """All kinds are there, and each is what it is called: idle ones do nothing all day, bursty ones burst."""
        hosts = fleet(hosts=200)
        day = NOW + np.arange(0, DAY, 300)
        cpu, memory = column(hosts, "perfmon.cpu.utilization"), column(hosts, "perfmon.memory.utilization")
        seen: Counter[Profile] = Counter()
        for number in range(200):
            values = at(hosts, number, *day.tolist())
            busy, used = values[:, cpu], values[:, memory]
            profile = hosts.profile(number)
            seen[profile] += 1
            if profile is Profile.IDLE:
                self.assertLess(busy.max(), 0.05)
                self.assertLess(used.max(), 0.15)
            elif profile is Profile.BUSY:
                self.assertGreater(busy.mean(), 0.55)
            elif profile is Profile.BURSTY:
                self.assertGreater(busy.max(), 0.4)
                self.assertLess(np.median(busy), 0.25)
            else:
                self.assertGreater(busy.mean(), 0.1)
        self.assertEqual(seen.keys(), set(Profile))
        self.assertEqual(seen[Profile.IDLE], 40)

    def test_day(self) -> None:
        """A steady host is busiest at one time of the day, the same one on every day, and half a day later least."""
        hosts = fleet(hosts=40)
        cpu = column(hosts, "perfmon.cpu.utilization")
        steady = next(number for number in range(40) if hosts.profile(number) is Profile.STEADY)
        hours = [
            np.array([at(hosts, steady, *(start + np.arange(0, 3600, 60)))[:, cpu].mean() for start in day])
            for day in (NOW + number * DAY + np.arange(24) * 3600 for number in range(2))
        ]
        for hour in hours:
            self.assertGreater(hour.max(), 1.4 * hour.min())
        peaks = [int(hour.argmax()) for hour in hours]
        self.assertLessEqual(min((peaks[0] - peaks[1]) % 24, (peaks[1] - peaks[0]) % 24), 3)
        self.assertIn((peaks[0] - int(hours[0].argmin())) % 24, range(9, 16))

    def test_shares_and_counters_agree(self) -> None:
        """What the CPU counters rose by over a round is what the shares say, and the shares add up to 1."""
        hosts = fleet()
        for number in range(40):
            before, after = at(hosts, number, NOW, NOW + 10)
            total = 0.0
            for place, name in enumerate(hosts.names):
                if name.startswith("system.cpu.utilization"):
                    time = column(hosts, name.replace("utilization", "time"))
                    rose = (after[time] - before[time]) / 10 / hosts.cores[number]
                    self.assertApproximates(rose, after[place], 0.0011 + 0.0005)
                    total += after[place]
            self.assertApproximates(total, 1, 0.001)

    def test_memory_adds_up(self) -> None:
        """The states of the memory are its size, and filesystems have room for what is in them."""
        hosts = fleet()
        values = hosts.values(np.arange(40), np.full(40, NOW))
        states = [i for i, name in enumerate(hosts.names) if name.startswith("system.memory.usage;")]
        self.assertEqual(values[:, states].sum(1).tolist(), hosts.memory.tolist())
        self.assertEqual(values[:, column(hosts, "system.memory.limit")].tolist(), hosts.memory.tolist())
        root = "system.filesystem.usage;mountpoint=/;state="
        used, free = values[:, column(hosts, f"{root}used")], values[:, column(hosts, f"{root}free")]
        shares = values[:, column(hosts, "system.filesystem.utilization;mountpoint=/")]
        self.assertEqual(shares.tolist(), np.round(used / (used + free), 4).tolist())

    def test_noise(self) -> None:
        """Nothing but what is fixed stays the same for an hour, and rates stray from round to round."""
        hosts = fleet(hosts=3)
        values: NDArray[np.float64] = at(hosts, 0, *(NOW + np.arange(0, 3600, 10)))
        received = np.diff(values[:, column(hosts, "system.network.io;device=eth0;direction=receive")])
        self.assertGreater(received.std(), 0.05 * received.mean())
        self.assertGreater(len({*values[:, column(hosts, "perfmon.cpu.utilization")].tolist()}), 100)
        self.assertTrue(all(one != two for one, two in pairwise(received.tolist())))
