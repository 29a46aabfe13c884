"""Tests for `perfmon.services.listening`, with real ports."""

import shutil
import tempfile

from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from perfmon.services.listening import Listening
from tests.logs import logged


class Serving(Factory):
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return Protocol()


class ListeningTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor

    def listening(self, description: str, **others: str) -> Listening:
        """A service that is not started yet; stopped with the test."""
        endpoint = serverFromString(self.reactor, description)
        service = Listening("agents", endpoint, description, Serving(), **others)
        self.addCleanup(service.stopService)
        return service

    def opened(self, service: Listening) -> str:
        """Opens the port; returns what is logged."""
        with logged() as log:
            service.privilegedStartService()
            service.startService()
        (line,) = [text for text in log.infos if text.startswith("agents")]
        return line

    async def reached(self, description: str) -> None:
        """Connects there."""
        protocol = await connectProtocol(clientFromString(self.reactor, description), Protocol())
        protocol.transport.loseConnection()

    async def test_free_port(self) -> None:
        """Of port 0 the log has the port that the system has chosen; it is open before the service starts."""
        service = self.listening("tcp:0:interface=127.0.0.1")
        line = self.opened(service)
        self.assertRegex(line, r"^agents on 127\.0\.0\.1:[1-9]\d*$")
        await self.reached(f"tcp:127.0.0.1:{line.rpartition(':')[2]}")

    async def test_ipv6(self) -> None:
        """The address of an IPv6 port stands in brackets."""
        line = self.opened(self.listening(r"tcp6:0:interface=\:\:1"))
        self.assertRegex(line, r"^agents on \[::1\]:[1-9]\d*$")

    async def test_url(self) -> None:
        """Where the port is an address to open, the log has it as one."""
        line = self.opened(self.listening("tcp:0:interface=127.0.0.1", url="http://{}/"))
        self.assertRegex(line, r"^agents on http://127\.0\.0\.1:\d+/$")

    async def test_unix(self) -> None:
        """Of what has no port number the log has the endpoint as it was written."""
        folder = tempfile.mkdtemp(prefix="pm-")
        self.addCleanup(shutil.rmtree, folder)
        line = self.opened(self.listening(f"unix:{folder}/s"))
        self.assertEqual(line, f"agents on unix:{folder}/s")
        await self.reached(f"unix:{folder}/s")

    async def test_in_use(self) -> None:
        """A port that is in use ends the process with a sentence, before anything has started."""
        number = self.opened(self.listening("tcp:0:interface=127.0.0.1")).rpartition(":")[2]
        second = self.listening(f"tcp:{number}:interface=127.0.0.1")
        with self.assertRaises(SystemExit) as caught:
            second.privilegedStartService()
        self.assertIn("perfmon: cannot listen for agents: ", str(caught.exception))
        self.assertIn(number, str(caught.exception))
        self.assertIn("in use", str(caught.exception))

    async def test_stop(self) -> None:
        """After the stop the port is free."""
        first = self.listening("tcp:0:interface=127.0.0.1")
        number = self.opened(first).rpartition(":")[2]
        await first.stopService()
        self.opened(self.listening(f"tcp:{number}:interface=127.0.0.1"))
        await first.stopService()
