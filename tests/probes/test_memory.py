"""Memory and swap."""

from pathlib import Path
from typing import NamedTuple

import psutil
from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes import memory
from tests.probes.fakes import Memory, Swap, fake_psutil


class _MemoryOfMacOS(NamedTuple):
    total: int = 1000
    available: int = 600
    used: int = 300
    free: int = 150
    inactive: int = 450


class _MemoryOfSolaris(NamedTuple):
    total: int = 1000
    available: int = 600
    used: int = 400
    free: int = 600


class MemoryTests(SynchronousTestCase):
    def test_linux(self) -> None:
        """On Linux the states add up to the limit, unlike psutil's `used`."""
        self.patch(memory, "psutil", fake_psutil())
        self.patch(memory, "_VMSTAT", __file__)  # which tells of no kills
        self.assertEqual(
            memory.memory(),
            {
                "system.memory.limit": 1000,
                "system.memory.usage;state=used": 200,
                "system.memory.usage;state=free": 400,
                "system.memory.usage;state=buffered": 50,
                "system.memory.usage;state=cached": 350,
                "system.memory.utilization;state=used": 0.2,
                "system.memory.utilization;state=free": 0.4,
                "system.memory.utilization;state=buffered": 0.05,
                "system.memory.utilization;state=cached": 0.35,
                "system.linux.memory.available": 700,
                "perfmon.memory.utilization": 0.3,
            },
        )

    def test_kills(self) -> None:
        """What the kernel has killed is counted where it tells: since Linux 4.13."""
        self.patch(memory, "psutil", fake_psutil())
        path = Path(self.mktemp())
        for text, found in (("pgfault 5\noom_kill 3\noom_kill_other 9\n", 3.0), ("pgfault 5\n", None)):
            path.write_text(text)
            self.patch(memory, "_VMSTAT", str(path))
            self.assertEqual(memory.memory().get("perfmon.memory.oom_kills"), found)
        path.unlink()
        self.assertNotIn("perfmon.memory.oom_kills", memory.memory())

    def test_caches_of_the_host(self) -> None:
        """A container that sees more cache than it has memory still uses no negative amount."""
        self.patch(memory, "psutil", fake_psutil(memory=Memory(cached=5000)))
        self.assertEqual(memory.memory()["system.memory.usage;state=used"], 600)

    def test_elsewhere(self) -> None:
        """Elsewhere there are the states that the platform tells of, and no metric of Linux."""
        self.patch(memory, "psutil", fake_psutil(linux=False, memory=_MemoryOfMacOS()))
        self.assertEqual(
            memory.memory(),
            {
                "system.memory.limit": 1000,
                "system.memory.usage;state=used": 300,
                "system.memory.usage;state=free": 150,
                "system.memory.usage;state=inactive": 450,
                "system.memory.utilization;state=used": 0.3,
                "system.memory.utilization;state=free": 0.15,
                "system.memory.utilization;state=inactive": 0.45,
                "perfmon.memory.utilization": 0.4,
            },
        )
        self.patch(memory, "psutil", fake_psutil(linux=False, memory=_MemoryOfSolaris()))
        self.assertNotIn("system.memory.usage;state=inactive", memory.memory())

    def test_no_total(self) -> None:
        """Of a total of 0 there are no fractions."""
        self.patch(memory, "psutil", fake_psutil(memory=Memory(0, 0, 0, 0, 0, 0, 0)))
        self.assertEqual([metric for metric in memory.memory() if "utilization" in metric], [])

    def test_rounded(self) -> None:
        """Fractions have 4 digits, bytes all they have."""
        self.patch(memory, "psutil", fake_psutil(memory=Memory(total=30_001, available=10_000, cached=20_000)))
        found = memory.memory()
        self.assertEqual(found["system.memory.usage;state=cached"], 20_000)
        self.assertEqual(found["system.memory.utilization;state=cached"], 0.6666)
        self.assertEqual(found["perfmon.memory.utilization"], 0.6667)

    def test_this_machine(self) -> None:
        """A real machine uses some of its memory, within its limit."""
        found = memory.memory()
        self.assertTrue(0 < found["system.memory.usage;state=used"] < found["system.memory.limit"])
        self.assertTrue(0 < found["perfmon.memory.utilization"] < 1)
        self.assertEqual("system.linux.memory.available" in found, psutil.LINUX)


class PagingTests(SynchronousTestCase):
    def test_swap(self) -> None:
        """Swap space by state, as bytes and as fractions, and the counters of paging."""
        self.patch(memory, "psutil", fake_psutil())
        self.patch(memory, "_VMSTAT", __file__)  # any file that can be read
        self.assertEqual(
            memory.paging(),
            {
                "system.paging.usage;state=used": 50,
                "system.paging.usage;state=free": 150,
                "system.paging.utilization;state=used": 0.25,
                "system.paging.utilization;state=free": 0.75,
                "perfmon.paging.io;direction=in": 4096,
                "perfmon.paging.io;direction=out": 8192,
            },
        )

    def test_rounded(self) -> None:
        """Fractions of the swap have 4 digits."""
        self.patch(memory, "psutil", fake_psutil(swap=Swap(total=3, used=1, free=2)))
        found = memory.paging()
        self.assertEqual(found["system.paging.utilization;state=used"], 0.3333)
        self.assertEqual(found["system.paging.utilization;state=free"], 0.6667)

    def test_no_swap(self) -> None:
        """Without swap there is no usage of it, and the counters stand."""
        self.patch(memory, "psutil", fake_psutil(swap=Swap(0, 0, 0, 0.0, 0, 0)))
        self.patch(memory, "_VMSTAT", __file__)
        self.assertEqual(memory.paging(), {"perfmon.paging.io;direction=in": 0, "perfmon.paging.io;direction=out": 0})

    def test_uncounted(self) -> None:
        """Where the kernel's counters cannot be read, psutil's zeros are not passed on."""
        self.patch(memory, "psutil", fake_psutil(swap=Swap(sin=0, sout=0)))
        self.patch(memory, "_VMSTAT", f"{__file__}/none")
        self.assertEqual([metric for metric in memory.paging() if metric.startswith("perfmon.paging.io")], [])

    def test_elsewhere(self) -> None:
        """Other systems than Linux need no such file for their counters."""
        self.patch(memory, "psutil", fake_psutil(linux=False))
        self.patch(memory, "_VMSTAT", f"{__file__}/none")
        self.assertEqual(memory.paging()["perfmon.paging.io;direction=in"], 4096)
