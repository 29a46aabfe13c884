"""CPUs."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes import cpu
from perfmon.probes.cpu import Cpu, load, utilization
from tests.probes.fakes import CpuTimes, fake_psutil

_STATES = ("user", "system", "idle", "wait", "steal")
_ROUNDING = 0.000051  # of each share, at most; and the noise of adding them up
_COUNTERS = st.fixed_dictionaries({state: st.floats(0, 1e9) for state in _STATES})


def _shares(values: dict[str, float]) -> dict[str, float]:
    return {metric: value for metric, value in values.items() if metric.startswith("system.cpu.utilization;")}


class UtilizationTests(SynchronousTestCase):
    def test_shares(self) -> None:
        """Each state has its share of the time that passed; busy is what is neither idle nor waiting."""
        before = {"user": 10.0, "system": 5.0, "idle": 100.0, "wait": 1.0}
        after = {"user": 14.0, "system": 6.0, "idle": 104.0, "wait": 2.0}
        self.assertEqual(
            utilization(before, after),
            {
                "system.cpu.utilization;state=user": 0.4,
                "system.cpu.utilization;state=system": 0.1,
                "system.cpu.utilization;state=idle": 0.4,
                "system.cpu.utilization;state=wait": 0.1,
                "perfmon.cpu.utilization": 0.5,
            },
        )

    def test_no_time(self) -> None:
        """Between two readings in the same tick there is no share, and certainly none of 0."""
        self.assertEqual(utilization({"user": 1.0, "idle": 2.0}, {"user": 1.0, "idle": 2.0}), {})
        self.assertEqual(utilization({}, {"user": 1.0, "idle": 2.0}), {})

    def test_falling_counter(self) -> None:
        """A state whose counter fell has no share; the others share the time."""
        found = utilization({"user": 0.0, "idle": 0.0, "wait": 5.0}, {"user": 1.0, "idle": 3.0, "wait": 4.0})
        self.assertEqual(found["system.cpu.utilization;state=wait"], 0.0)
        self.assertEqual(found["perfmon.cpu.utilization"], 0.25)

    def test_rounded(self) -> None:
        """Shares have 4 digits."""
        found = utilization({"user": 0.0, "idle": 0.0, "wait": 0.0}, {"user": 0.1 + 0.2, "idle": 0.3, "wait": 0.3})
        self.assertEqual(set(found.values()), {0.3333})

    @given(_COUNTERS, _COUNTERS)
    def test_sum(self, before: dict[str, float], after: dict[str, float]) -> None:
        """Whatever the counters do, the shares add up to 1, but for rounding, and the busy one is a fraction."""
        found = utilization(before, after)
        if found:
            self.assertApproximates(sum(_shares(found).values()), 1.0, len(_STATES) * _ROUNDING)
            self.assertTrue(0.0 <= found["perfmon.cpu.utilization"] <= 1.0)


class CpuTests(SynchronousTestCase):
    def test_first_call(self) -> None:
        """The first call gives counters only, without the guest time that user and nice contain."""
        self.patch(cpu, "psutil", fake_psutil())
        self.assertEqual(
            Cpu()(),
            {
                "system.cpu.time;state=user": 60.0,
                "system.cpu.time;state=nice": 1.0,
                "system.cpu.time;state=system": 20.0,
                "system.cpu.time;state=idle": 100.0,
                "system.cpu.time;state=wait": 5.0,
                "system.cpu.time;state=interrupt": 0.5,
                "system.cpu.time;state=softirq": 0.5,
                "system.cpu.time;state=steal": 2.0,
            },
        )

    def test_next_call(self) -> None:
        """The next call gives the shares since the one before, guest time counted once."""
        probe = Cpu()
        self.patch(cpu, "psutil", fake_psutil(cpu_times=CpuTimes(user=60.0, guest=30.0, idle=100.0)))
        probe()
        self.patch(cpu, "psutil", fake_psutil(cpu_times=CpuTimes(user=61.0, guest=31.0, idle=103.0)))
        found = probe()
        self.assertEqual(found["system.cpu.time;state=user"], 61.0)
        self.assertEqual(found["system.cpu.utilization;state=user"], 0.25)
        self.assertEqual(found["perfmon.cpu.utilization"], 0.25)

    def test_noise(self) -> None:
        """The counters have the digits of a tick, whatever a platform's arithmetic made of them."""
        self.patch(cpu, "psutil", fake_psutil(cpu_times=CpuTimes(user=0.1 + 0.2, idle=1 / 3)))
        found = Cpu()()
        self.assertEqual(found["system.cpu.time;state=user"], 0.3)
        self.assertEqual(found["system.cpu.time;state=idle"], 0.33)

    def test_each_its_own(self) -> None:
        """Two probes do not share a memory."""
        self.patch(cpu, "psutil", fake_psutil())
        Cpu()()
        self.patch(cpu, "psutil", fake_psutil(cpu_times=CpuTimes(user=61.0)))
        self.assertEqual(_shares(Cpu()()), {})

    def test_this_machine(self) -> None:
        """On a real machine, as soon as its clock has ticked, the shares add up to 1, but for rounding."""
        probe = Cpu()
        found = probe()
        self.assertEqual(_shares(found), {})
        for _ in range(1_000_000):  # each call uses CPU time, which is what has to pass
            found = probe()
            if _shares(found):
                break
        shares = _shares(found).values()
        self.assertApproximates(sum(shares), 1.0, len(shares) * _ROUNDING)
        self.assertLessEqual({"system.cpu.time;state=user", "system.cpu.time;state=idle"}, set(found))


class LoadTests(SynchronousTestCase):
    def test_load(self) -> None:
        """The three averages, and the number of CPUs."""
        self.patch(cpu, "psutil", fake_psutil())
        self.assertEqual(
            load(),
            {
                "system.cpu.load_average.1m": 1.0,
                "system.cpu.load_average.5m": 5.0,
                "system.cpu.load_average.15m": 15.0,
                "system.cpu.logical.count": 4.0,
            },
        )

    def test_rounded(self) -> None:
        """Averages have the 2 digits of /proc/loadavg, not all of the kernel's binary fraction."""
        fake = fake_psutil()
        fake.getloadavg = lambda: (0.42919921875, 0.29931640625, 0.177734375)
        self.patch(cpu, "psutil", fake)
        found = load()
        found.pop("system.cpu.logical.count")
        self.assertEqual(list(found.values()), [0.43, 0.3, 0.18])

    def test_unknown_count(self) -> None:
        """Where the number of CPUs is unknown, it is absent."""
        self.patch(cpu, "psutil", fake_psutil(cpu_count=None))
        self.assertNotIn("system.cpu.logical.count", load())

    def test_this_machine(self) -> None:
        """A real machine has at least one CPU."""
        self.assertGreaterEqual(load()["system.cpu.logical.count"], 1)
