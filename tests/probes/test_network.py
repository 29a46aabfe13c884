"""Network interfaces."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.probes import network
from tests.probes.fakes import NetworkCounters, fake_psutil


class NetworkTests(SynchronousTestCase):
    def test_values(self) -> None:
        """Every counter in both directions."""
        self.patch(network, "psutil", fake_psutil())
        self.assertEqual(
            network.network(),
            {
                "system.network.io;device=eth0;direction=receive": 2,
                "system.network.io;device=eth0;direction=transmit": 1,
                "system.network.packets;device=eth0;direction=receive": 4,
                "system.network.packets;device=eth0;direction=transmit": 3,
                "system.network.errors;device=eth0;direction=receive": 5,
                "system.network.errors;device=eth0;direction=transmit": 6,
                "system.network.dropped;device=eth0;direction=receive": 7,
                "system.network.dropped;device=eth0;direction=transmit": 8,
            },
        )

    def test_unused(self) -> None:
        """An interface that never carried a byte is absent; one direction is enough to be there."""
        networks = {
            "unused": NetworkCounters(0, 0, 0, 0, 0, 0, 0, 9),
            "sends": NetworkCounters(bytes_sent=1, bytes_recv=0),
            "receives": NetworkCounters(bytes_sent=0, bytes_recv=1),
        }
        self.patch(network, "psutil", fake_psutil(networks=networks))
        found = network.network()
        self.assertEqual(len(found), 16)
        self.assertEqual(found["system.network.io;device=sends;direction=receive"], 0)
        self.assertEqual(found["system.network.io;device=receives;direction=transmit"], 0)

    def test_odd_names(self) -> None:
        """Names that a tag cannot hold are respelled, and stay apart."""
        networks = {"Local Area": NetworkCounters(), "Local;Area": NetworkCounters()}
        self.patch(network, "psutil", fake_psutil(networks=networks))
        self.assertIn("system.network.io;device=Local_Area;direction=receive", network.network())
        self.assertIn("system.network.io;device=Local_Area_2;direction=receive", network.network())

    def test_this_machine(self) -> None:
        """A real machine's counters are not negative, and each interface has all eight."""
        found = network.network()
        self.assertEqual(len(found) % 8, 0)
        for metric, value in found.items():
            self.assertGreaterEqual(value, 0, metric)
