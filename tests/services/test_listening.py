"""Tests for `perfmon.services.listening`, with real ports."""

import shutil
import socket
import tempfile
from itertools import pairwise

from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import TestCase

from perfmon.services.descriptors import Descriptors
from perfmon.services.listening import MOST_AT_ONCE, Listening
from tests.logs import logged
from tests.waiting import until


class Serving(Factory):
    noisy = False
    built = 0

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        self.built += 1
        return Protocol()


class ListeningTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.reactor = reactor
        self.room = True
        self.clock = Clock()
        self.serving = Serving()
        self.guard = Descriptors(self.clock, lambda count: self.room)
        self.guard.startService()

    def listening(self, description: str, **others: str) -> Listening:
        """A service that is not started yet; stopped with the test."""
        endpoint = serverFromString(self.reactor, description)
        service = Listening("agents", endpoint, description, self.serving, self.guard, **others)
        self.addCleanup(service.stopService)
        return service

    def opened(self, service: Listening) -> str:
        """Opens the port; returns what is logged."""
        with logged() as log:
            service.privilegedStartService()
            service.startService()
        (line,) = [text for text in log.infos if text.startswith("agents")]
        return line

    async def turns(self, count: int) -> None:
        """So many turns of the reactor, in each of which a port would take whoever waits."""
        for _ in range(count):
            await deferLater(self.reactor, 0)

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

    async def test_held_up(self) -> None:
        """While it is paused nobody is taken; who has connected meanwhile is taken when it goes on."""
        service = self.listening("tcp:0:interface=127.0.0.1")
        service.pause()  # before it is open there is nothing to do
        service.resume()
        number = self.opened(service).rpartition(":")[2]
        service.pause()
        client = await connectProtocol(clientFromString(self.reactor, f"tcp:127.0.0.1:{number}"), Protocol())
        await self.turns(5)
        self.assertEqual(self.serving.built, 0)
        service.resume()
        await until(lambda: self.serving.built, "the port to take it")
        client.transport.loseConnection()

    async def test_guard(self) -> None:
        """The guard holds the port up as it sees fit, and hears of each connection."""
        number = self.opened(self.listening("tcp:0:interface=127.0.0.1")).rpartition(":")[2]
        heard: list[None] = []
        self.patch(self.guard, "accepted", lambda: heard.append(None))
        for _ in range(2):
            await self.reached(f"tcp:127.0.0.1:{number}")
            await until(lambda: len(heard), "the guard to hear")
            heard.clear()
        self.room = False
        with logged():
            self.clock.advance(1)
        await self.reached(f"tcp:127.0.0.1:{number}")
        await self.turns(5)
        self.assertEqual(self.serving.built, 2)
        self.room = True
        self.clock.advance(1)
        await until(lambda: self.serving.built == 3, "the port to go on")

    async def test_crowd(self) -> None:
        """Of a crowd that waits, only so many are taken in one turn of the reactor."""
        number = self.opened(self.listening("tcp:0:interface=127.0.0.1")).rpartition(":")[2]
        crowd = [socket.create_connection(("127.0.0.1", int(number))) for _ in range(MOST_AT_ONCE + 10)]
        taken = [0]
        while self.serving.built < len(crowd):
            await self.turns(1)
            self.clock.advance(0)
            taken.append(self.serving.built)
        steps = [after - before for before, after in pairwise(taken)]
        self.assertLessEqual(max(steps), MOST_AT_ONCE)
        for one in crowd:
            one.close()
        await self.turns(5)

    async def test_stop(self) -> None:
        """After the stop the port is free."""
        first = self.listening("tcp:0:interface=127.0.0.1")
        number = self.opened(first).rpartition(":")[2]
        await first.stopService()
        self.opened(self.listening(f"tcp:{number}:interface=127.0.0.1"))
        await first.stopService()
