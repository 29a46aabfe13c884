"""Tests for `perfmon.core.fleet`."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.fleet import FACTS, FIGURES, METRICS, FleetTable
from perfmon.core.globs import pattern
from perfmon.core.units import UNITS

NOW = 1_800_000_000.0


def described(host: str, latest: dict[str, float] | None = None, time: float = NOW, **others: Any) -> dict[str, Any]:
    """A host as the API describes it."""
    return {
        "host": host,
        "state": "up",
        "since": NOW - 60,
        "reason": "",
        "kind": "agent",
        "labels": {"role": "db"},
        "platform": {"system": "Linux", "cpus": "8", "memory": "1024"},
        "interval": 10.0,
        "stopped": False,
        "absence": None,
        "last_seen": time,
        "latest": {metric: {"time": time, "value": value, "unit": ""} for metric, value in (latest or {}).items()},
        **others,
    }


class FleetTableTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.table = FleetTable()

    def line(self, host: str) -> dict[str, Any]:
        """All that is told of one host."""
        told = self.table.part([host], [host])
        return {name: column[0] for part in ("facts", "figures") for name, column in told[part].items()}

    def figures(self, latest: dict[str, float], time: float = NOW) -> dict[str, Any]:
        self.table.take(described("web1", latest, time))
        return self.line("web1")

    def test_line(self) -> None:
        """A host is told of by its facts, and by figures made of its newest samples."""
        figures = self.figures(
            {
                "perfmon.cpu.utilization": 0.25,
                "perfmon.memory.utilization": 0.5,
                "system.cpu.load_average.1m": 1.5,
                "system.filesystem.utilization;mountpoint=/": 0.3,
                "system.filesystem.utilization;mountpoint=/var": 0.9,
                "system.filesystem.utilization;mountpoint=/boot": 0.1,
                "queue.length": 7.0,
            }
        )
        self.assertEqual(
            figures,
            {
                "host": "web1",
                "state": "up",
                "since": NOW - 60,
                "reason": "",
                "kind": "agent",
                "labels": {"role": "db"},
                "system": "Linux",
                "cpus": 8,
                "memory_size": 1024,
                "interval": 10.0,
                "stopped": False,
                "absence": None,
                "seen": NOW,
                "time": NOW,
                "cpu": 0.25,
                "memory": 0.5,
                "load": 1.5,
                "disk": 0.9,
                "mountpoint": "/var",
                "io": None,
                "receive": None,
                "transmit": None,
            },
        )

    def test_nothing_known(self) -> None:
        """What a host does not send is absent, and never 0; what it says of its platform need not be a number."""
        self.table.take(described("web1", {"queue.length": 1.0}, platform={"cpus": "many", "memory": "-1"}))
        line = self.line("web1")
        for name in ("cpu", "memory", "load", "disk", "io", "receive", "transmit", "time", "cpus", "memory_size"):
            self.assertIsNone(line[name], name)

    def test_rates(self) -> None:
        """Counters become rates: of all devices together, without those that another one carries too."""

        def counters(grown: float) -> dict[str, float]:
            return {
                "system.network.io;device=eth0;direction=receive": 1e6 + 1000 * grown,
                "system.network.io;device=eth1;direction=receive": 5.0 + 500 * grown,
                "system.network.io;device=eth0;direction=transmit": 100 * grown,
                "system.network.io;device=lo;direction=transmit": 9e9 * grown,
                "system.network.io;device=docker0;direction=receive": 9e9 * grown,
                "system.disk.io;device=sda;direction=read": 10 * grown,
                "system.disk.io;device=sda;direction=write": 20 * grown,
                "system.disk.io;device=dm-0;direction=write": 9e9 * grown,
            }

        self.figures(counters(1.0))
        line = self.figures(counters(11.0), NOW + 10)
        self.assertEqual((line["receive"], line["transmit"], line["io"]), (1500, 100, 30))
        again = self.figures(counters(11.0), NOW + 10)
        self.assertEqual((again["receive"], again["transmit"], again["io"]), (1500, 100, 30))

    def test_counter_begins_anew(self) -> None:
        """A counter that fell has begun at 0; one that was not there before says nothing yet."""
        device = "system.network.io;device=eth0;direction=receive"
        self.figures({device: 5000.0})
        line = self.figures({device: 200.0, "system.disk.io;device=sda;direction=read": 1e9}, NOW + 10)
        self.assertEqual((line["receive"], line["io"]), (20, None))

    def test_changes(self) -> None:
        """It says which part of a line is another one now."""
        latest = {"perfmon.cpu.utilization": 0.25}
        self.assertEqual(self.table.take(described("web1", latest)), (True, True, True))
        self.assertEqual(self.table.take(described("web1", latest)), (False, False, False))
        self.assertEqual(self.table.take(described("web1", latest, NOW + 10)), (False, True, True))
        self.assertEqual(self.table.take(described("web1", latest, NOW + 10, last_seen=NOW + 15)), (False, True, False))
        self.assertEqual(self.table.take(described("web1", latest, NOW + 10, state="late")), (True, True, False))
        self.assertEqual(
            self.table.take(described("web1", latest, NOW + 10, state="late", labels={})), (True, False, False)
        )

    def test_columns(self) -> None:
        """The parts that are asked for, by column; a host that was dropped is in none."""
        for host in ("web1", "web2", "web3"):
            self.table.take(described(host))
        self.assertTrue(self.table.drop("web2"))
        self.assertFalse(self.table.drop("web2"))
        told = self.table.whole()
        self.assertEqual(list(told), [*FACTS, *FIGURES[1:]])
        self.assertEqual((list(told["host"]), list(told["seen"])), (["web1", "web3"], [NOW, NOW]))
        part = self.table.part([], ["web3"])
        self.assertEqual((list(part["facts"]), list(part["figures"])), ([*FACTS], [*FIGURES]))
        self.assertEqual((list(part["facts"]["state"]), list(part["figures"]["host"])), ([], ["web3"]))

    def test_metrics(self) -> None:
        """What it is made of are metrics that agents send."""
        self.assertLessEqual(set(pattern(METRICS).names), set(UNITS))
