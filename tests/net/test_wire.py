"""Tests of the collector's port and the agent's link over real sockets: what only a real transport shows."""

import datetime
import shutil
import tempfile
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import (
    UNIXClientEndpoint,
    clientFromString,
    connectProtocol,
    serverFromString,
    wrapClientTLS,
)
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import CertificateOptions
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from perfmon.core.messages import Hello
from perfmon.core.tiers import RAW
from perfmon.net import collector
from perfmon.net.agent_link import AgentLink
from perfmon.net.collector import CollectorFactory, PortSettings
from perfmon.net.seams import Surroundings
from perfmon.net.servers import Servers
from tests.logs import logged
from tests.net.case import NOW
from tests.net.recording import (
    RecordingBenchmarks,
    RecordingControl,
    RecordingControls,
    RecordingGaps,
    RecordingIntake,
    RecordingPresence,
    RecordingRefusals,
    RecordingRuns,
)
from tests.services.spools import make_outbox
from tests.waiting import until

HELLO = b'{"type":"hello","protocol":1,"host":"web1"}\n'


class Talker(Protocol):
    """Keeps what it gets."""

    def __init__(self) -> None:
        self.heard = b""
        self.lost = False

    def dataReceived(self, data: bytes) -> None:
        self.heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = True


def certificate(folder: Path) -> str:
    """Path of a file with a key and its self-signed certificate."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .sign(key, hashes.SHA256())
    )
    path = folder / "both.pem"
    path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return str(path)


class WireTests(TestCase):
    def setUp(self) -> None:
        from twisted.internet import reactor

        self.folder = Path(tempfile.mkdtemp(prefix="pm-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.intake = RecordingIntake()
        self.presence = RecordingPresence()
        self.refusals = RecordingRefusals()
        self.factory = CollectorFactory(
            PortSettings(),
            Surroundings(
                *(self.intake, self.presence, self.refusals, RecordingGaps(), RecordingControl(), RecordingRuns()),
                *(reactor, lambda: NOW, RAW.retention),
            ),
        )
        self.reactor = reactor

    async def listen(self, description: str) -> Any:
        """Opens the port; returns its address."""
        port: IListeningPort = await serverFromString(self.reactor, description).listen(self.factory)
        self.addCleanup(self.closed, port)
        return port.getHost()

    async def closed(self, port: IListeningPort) -> None:
        """The port is closed, and so are all connections."""
        await maybeDeferred(port.stopListening)
        await until(lambda: not self.factory.connections, "the connections to end")

    async def over_tls(self) -> Any:
        """A peer that is connected over TLS."""
        path = certificate(self.folder)
        address = await self.listen(f"ssl:0:interface=127.0.0.1:privateKey={path}")
        endpoint = wrapClientTLS(CertificateOptions(), clientFromString(self.reactor, f"tcp:127.0.0.1:{address.port}"))
        return await connectProtocol(endpoint, Talker())

    async def test_tls_error(self) -> None:
        """Over TLS, too, who breaks the protocol is told why and then closed, whatever it sends behind that."""
        talker = await self.over_tls()
        talker.transport.write(HELLO)
        await until(lambda: b"welcome" in talker.heard, "the welcome")
        talker.transport.write(b"nonsense\n")
        await until(lambda: talker.lost, "the end of the connection")
        self.assertIn(b'"type":"error"', talker.heard)

    async def test_tls_goodbye(self) -> None:
        """Over TLS, too, a goodbye is the last thing heard of an agent, and its connection is closed."""
        talker = await self.over_tls()
        talker.transport.write(HELLO + b'{"type":"goodbye"}\n')
        talker.transport.write(b'{"type":"heartbeat","time":1}\n')
        await until(lambda: talker.lost, "the end of the connection")
        self.assertEqual(self.presence.left, [("web1", "stopped")])
        self.assertEqual(len(self.presence.signs), 1)
        await until(lambda: not self.factory.connections, "the port to see it")

    async def test_tls_stop(self) -> None:
        """Over TLS, too, the connections end with the port."""
        talker = await self.over_tls()
        talker.transport.write(HELLO)
        await until(lambda: b"welcome" in talker.heard, "the welcome")
        self.factory.stopFactory()
        await until(lambda: talker.lost, "the end of the connection")

    async def test_tls_turned_away(self) -> None:
        """Over TLS, too, a connection too many is told why, and then closed."""
        self.patch(collector, "FAREWELL", 0.05)
        self.patch(self.factory, "settings", PortSettings(max_connections=0))
        talker = await self.over_tls()
        talker.transport.write(HELLO)
        await until(lambda: talker.lost, "the end of the connection")
        self.assertIn(b'"type":"error","reason":"all 0 connections are taken', talker.heard)
        await until(lambda: not self.factory.leaving, "the port to see it")

    async def test_agent_turned_away(self) -> None:
        """An agent that is one too many says why, once, tries again, and is served when there is room."""
        self.patch(self.factory, "settings", PortSettings(max_connections=0))
        address = await self.listen("tcp:0:interface=127.0.0.1")
        endpoint = clientFromString(self.reactor, f"tcp:127.0.0.1:{address.port}")
        hello, outbox = Hello(1, "web1", instance="one"), make_outbox(self, self.reactor)
        link = AgentLink(
            *(Servers([("there", endpoint)]), hello, outbox, RecordingControls(), RecordingBenchmarks()),
            *(self.reactor, lambda: NOW),
        )
        with logged() as log:
            link.startService()
            await until(lambda: len(self.refusals.noted) >= 3, "three attempts")
            self.assertEqual(log.warnings, ["no connection to there: all 0 connections are taken (--max-connections)"])
            self.patch(self.factory, "settings", PortSettings())
            await until(lambda: self.factory.agents, "the agent")
            await link.stopService()

    async def test_unread_answers(self) -> None:
        """An agent that goes on asking and reads no answer is cut off, so that answers do not fill the memory."""
        await self.listen(f"unix:{self.folder / 's'}")
        talker: Any = await connectProtocol(UNIXClientEndpoint(self.reactor, str(self.folder / "s")), Talker())
        talker.transport.write(HELLO)
        await until(lambda: b"welcome" in talker.heard, "the welcome")
        talker.transport.pauseProducing()
        talker.transport.write(b'{"type":"heartbeat","time":1}\n' * 100_000)
        await until(lambda: not self.factory.connections, "the port to cut it off")
        talker.transport.resumeProducing()
        await until(lambda: talker.lost, "the end of the connection")

    async def test_agent(self) -> None:
        """The two ends understand each other: samples are taken in, acknowledged and forgotten, goodbye is said."""
        for description in ("tcp:0:interface=127.0.0.1", f"unix:{self.folder / 's'}"):
            address = await self.listen(description)
            with logged() as log:
                await self.converse(f"tcp:127.0.0.1:{address.port}" if hasattr(address, "port") else description)
            self.assertEqual(log.warnings, [])
            self.intake.rows.clear()
            self.presence.left.clear()

    async def converse(self, description: str) -> None:
        outbox = make_outbox(self, self.reactor)
        outbox.add(NOW, {"cpu": 0.5, "load": 3.0})
        endpoint = clientFromString(self.reactor, description)
        hello = Hello(1, "web1", instance="one")
        link = AgentLink(
            *(Servers([("there", endpoint)]), hello, outbox, RecordingControls(), RecordingBenchmarks()),
            *(self.reactor, lambda: NOW),
        )
        outbox.listen(link.send)
        link.startService()
        await until(lambda: self.intake.rows, "the samples")
        outbox.add(NOW + 1, {"cpu": 0.25})
        await until(lambda: len(self.intake.rows) == 2, "more samples")
        self.assertEqual(
            self.intake.samples(),
            [("web1", "cpu", NOW, 0.5), ("web1", "load", NOW, 3.0), ("web1", "cpu", NOW + 1, 0.25)],
        )
        self.intake.store()
        await until(lambda: not outbox.waiting, "the acknowledgement")
        await link.stopService()
        await until(lambda: self.presence.left == [("web1", "stopped")], "the goodbye")
