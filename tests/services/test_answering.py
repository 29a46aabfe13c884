"""Tests for `perfmon.services.answering`, with processes of its own."""

import socket

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from perfmon.core.benchmarks import Spec
from perfmon.core.echo import DIGEST, greeting
from perfmon.services.answering import Answering
from tests.logs import logged
from tests.waiting import until

NOW = 1_800_000_000.0
SPEC = Spec("7a", "echo", {}, ["web1"], NOW, NOW + 3, 5.0)


def asked(port: int) -> bytes:
    """What a message of eight bytes is answered with, and the rest until the connection ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(greeting("7a", 8, "web1") + bytes(8))
        found = b""
        while data := connection.recv(100):
            found += data
            if len(found) >= DIGEST:
                return found
    return found


class AnsweringTests(TestCase):
    def answering(self, port: int = 0) -> Answering:
        answering = Answering("127.0.0.1", port, reactor, lambda: NOW)
        answering.startService()
        self.addCleanup(self.stopped, answering)
        return answering

    async def stopped(self, answering: Answering) -> None:
        processes = list(answering._processes.values())
        answering.stopService()
        await self.ended(*processes)

    async def ended(self, *processes: object) -> None:
        for process in processes:
            await until(lambda process=process: process.transport.pid is None, "the process to end")  # type: ignore[misc]  # mypy infers no lambda with defaults

    async def test_whole(self) -> None:
        """It answers from the moment when its port is told, and until nobody sends any more."""
        answering = self.answering()
        ports: list[int] = []
        answering.open(SPEC, ports.append)
        answering.open(SPEC, ports.append)  # the same
        await until(lambda: ports, "the port")
        self.assertEqual(len(await deferToThread(asked, ports[0])), DIGEST)
        (process,) = answering._processes.values()
        answering.close(SPEC.id)
        await self.ended(process)
        with self.assertRaises(ConnectionRefusedError):
            await deferToThread(asked, ports[0])
        self.assertEqual(len(ports), 1)

    async def test_port_taken(self) -> None:
        """A port that is taken is said in the log; hosts are told that nobody answers."""
        with socket.create_server(("127.0.0.1", 0)) as taken, logged() as log:
            answering = self.answering(taken.getsockname()[1])
            ports: list[int] = []
            answering.open(SPEC, ports.append)
            await until(lambda: not answering._processes, "it to give up")
        (warning,) = log.warnings
        self.assertIn("benchmark 7a is not answered", warning)
        self.assertIn("Address already in use", warning)
        self.assertEqual(ports, [])
