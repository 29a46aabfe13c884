"""The network passes everything on as it is, and breaks as it is told."""

import socket
import threading
import time

from twisted.trial.unittest import SynchronousTestCase

from tests.integration.faults.network import Impairment, Network
from tests.integration.harness import PATIENCE, eventually


class _Heard:
    """A witness that counts."""

    def __init__(self) -> None:
        self.up = 0
        self.ends = 0

    def said(self, link: int, up: bool, data: bytes, at: float) -> None:
        pass

    def heard(self, link: int, up: bool, size: int, at: float) -> None:
        self.up += size if up else 0

    def ended(self, link: int, at: float) -> None:
        self.ends += 1


class NetworkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(self.server.close)
        network = Network()
        self.addCleanup(network.close)
        self.network = network
        self.witness = _Heard()
        self.route = network.route(self.server.getsockname(), self.witness)

    def link(self) -> tuple[socket.socket, socket.socket]:
        """Both ends of a new one."""
        links = len(self.route.links)
        near = socket.create_connection(("127.0.0.1", self.route.port), timeout=PATIENCE)
        far, _ = self.server.accept()
        eventually(lambda: len(self.route.links) > links, "the link")
        far.settimeout(PATIENCE)
        for end in (near, far):
            self.addCleanup(end.close)
        return near, far

    def test_transparent(self) -> None:
        """Everything arrives in both directions, and the end of each."""
        near, far = self.link()
        data = bytes(range(256)) * 4_000

        def send() -> None:
            near.sendall(data)
            near.shutdown(socket.SHUT_WR)

        sending = threading.Thread(target=send)
        sending.start()
        self.assertEqual(self.all_of(far), data)
        far.sendall(b"yes")
        far.close()
        self.assertEqual(self.all_of(near), b"yes")
        sending.join()
        self.assertEqual(self.witness.up, len(data))
        eventually(lambda: self.witness.ends == 1, "the end")

    def all_of(self, end: socket.socket) -> bytes:
        return b"".join(iter(lambda: end.recv(65_536), b""))

    def test_cut(self) -> None:
        """What is said meanwhile arrives afterwards; two causes are over when both are."""
        near, far = self.link()
        self.route.impair("one", Impairment(cut=True))
        self.route.impair("other", Impairment(cut=True))
        near.sendall(b"late")
        self.route.heal("one")
        far.settimeout(0.2)
        with self.assertRaises(TimeoutError):
            far.recv(100)
        self.route.heal("other")
        far.settimeout(PATIENCE)
        self.assertEqual(far.recv(100), b"late")

    def test_refusing(self) -> None:
        """Links that are there end, new ones too."""
        near, far = self.link()
        self.route.impair("one", Impairment(refusing=True))
        for end in (near, far):
            with self.assertRaises(ConnectionResetError):
                end.recv(100)
        address = "127.0.0.1", self.route.port
        with (
            self.assertRaises(ConnectionResetError),  # when it connects, or when it reads
            socket.create_connection(address, timeout=PATIENCE) as refused,
        ):
            refused.recv(100)
        self.route.heal("one")
        near, far = self.link()
        near.sendall(b"x")
        self.assertEqual(far.recv(1), b"x")

    def test_reset(self) -> None:
        """A part of the line arrives, and then the reset, at both ends."""
        near, far = self.link()
        ordered = threading.Thread(target=self.network.reset, args=([self.route], True))
        ordered.start()
        eventually(lambda: any(link.breaking is not None for link in self.route.links), "the order")
        near.sendall(b"first line\nsecond line\n")
        arrived = b""
        with self.assertRaises(ConnectionResetError):
            while True:
                arrived += far.recv(100)
        self.assertTrue(arrived.startswith(b"first line\ns"), arrived)
        self.assertNotIn(b"second line", arrived)
        with self.assertRaises(ConnectionResetError):
            near.recv(100)
        ordered.join()

    def test_slow(self) -> None:
        near, far = self.link()
        self.route.impair("one", Impairment(rate=10_000.0, latency=0.1))
        begun = time.monotonic()
        near.sendall(b"x" * 4_000)
        near.shutdown(socket.SHUT_WR)
        self.assertEqual(len(self.all_of(far)), 4_000)
        self.assertGreater(time.monotonic() - begun, 0.45)
