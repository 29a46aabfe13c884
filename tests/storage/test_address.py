"""Tests for `perfmon.storage.address`."""

from pathlib import Path

from twisted.internet.endpoints import clientFromString
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from perfmon.storage.address import STORE_HELP, StoreAddress, parse_store


def connecting(address: StoreAddress) -> MemoryReactorClock:
    """What Twisted does to connect to the address."""
    reactor = MemoryReactorClock()
    clientFromString(reactor, address.endpoint).connect(Factory())
    return reactor


class ParseStoreTests(SynchronousTestCase):
    def test_embedded(self) -> None:
        """A folder is taken absolute, with the home folder filled in, and there is nothing to connect to yet."""
        for text, directory in (
            ("embedded:/var/lib/perfmon", Path("/var/lib/perfmon")),
            ("embedded:data", Path.cwd() / "data"),
            ("embedded:~/data", Path.home() / "data"),
            ("embedded:/a:b", Path("/a:b")),
        ):
            self.assertEqual(parse_store(text), StoreAddress("", f"embedded:{directory}", directory))

    def test_unix(self) -> None:
        """A socket's path is taken absolute, and Twisted finds the same path, whatever characters are in it."""
        for path in ("/run/valkey.sock", "/run/a:b=c\\d.sock", "/run/with space.sock"):
            address = parse_store(f"unix:{path}")
            self.assertEqual((address.shown, address.directory), (f"unix:{path}", None))
            self.assertEqual(connecting(address).unixClients[0][0], path)
        self.assertEqual(parse_store("unix:s").shown, f"unix:{Path.cwd() / 's'}")
        self.assertEqual(parse_store("unix:~/s").shown, f"unix:{Path.home() / 's'}")

    def test_url(self) -> None:
        """Host, port, user, password and database are taken from an address, and have the usual defaults."""
        for text, endpoint, shown, user, password, database in (
            ("redis://db1", "tcp:db1:6379", "redis://db1:6379/0", "", "", 0),
            ("redis://db1:7000", "tcp:db1:7000", "redis://db1:7000/0", "", "", 0),
            ("redis://db1/", "tcp:db1:6379", "redis://db1:6379/0", "", "", 0),
            ("redis://db1/3", "tcp:db1:6379", "redis://db1:6379/3", "", "", 3),
            ("redis://:secret@db1:7000/3", "tcp:db1:7000", "redis://db1:7000/3", "", "secret", 3),
            ("redis://me:secret@db1", "tcp:db1:6379", "redis://db1:6379/0", "me", "secret", 0),
            ("redis://m%40e:s%2Fe%3Ac@db1", "tcp:db1:6379", "redis://db1:6379/0", "m@e", "s/e:c", 0),
            ("rediss://db1", "tls:db1:6379", "rediss://db1:6379/0", "", "", 0),
            ("redis://[::1]:7000/1", r"tcp:\:\:1:7000", "redis://[::1]:7000/1", "", "", 1),
        ):
            self.assertEqual(
                parse_store(text), StoreAddress(endpoint, shown, None, user, password, database), f"of {text}"
            )

    def test_endpoint_of_url(self) -> None:
        """Twisted takes every address, an IPv6 one included, to mean the same host and port."""
        for text, host, port in (
            ("redis://db1.example:7000/2", "db1.example", 7000),
            ("redis://10.0.0.7", "10.0.0.7", 6379),
            ("redis://[2001:db8::7]:6380", "2001:db8::7", 6380),
        ):
            self.assertEqual(connecting(parse_store(text)).tcpClients[0][:2], (host, port))
        for text in ("rediss://db1.example:6380", "rediss://10.0.0.7"):
            clientFromString(MemoryReactorClock(), parse_store(text).endpoint)

    def test_tls_to_ipv6_address(self) -> None:
        """An IPv6 address with TLS, which Twisted's endpoints cannot do, is refused in a sentence."""
        problem = self.assertRaises(ValueError, parse_store, "rediss://me:secret@[2001:db8::7]:6380")
        self.assertEqual(str(problem), "--store: rediss:// needs the host's name or IPv4 address")

    def test_malformed(self) -> None:
        """What is no address is refused with the forms that there are."""
        for text in (
            "",
            "embedded",
            "embedded:",
            "unix",
            "unix:",
            "/var/lib/perfmon",
            "redis",
            "redis:",
            "redis:db1:6379",
            "redis://",
            "redis:///0",
            "redis://:6379",
            "redis://db1:port",
            "redis://db1:99999",
            "redis://db1/first",
            "redis://db1/0/1",
            "redis://db1/-1",
            "redis://[::1",
            "redis://me@db1",
            "http://db1:6379/0",
        ):
            self.assertIn(STORE_HELP, str(self.assertRaises(ValueError, parse_store, text)), f"of {text!r}")

    def test_password_is_not_shown(self) -> None:
        """Neither what is shown of an address nor a complaint about one has the password."""
        self.assertNotIn("secret", parse_store("redis://me:secret@db1:7000/3").shown)
        for text in ("redsi://me:secret@db1", "redis://me:secret@db1:port", "redis://:secret@", "me:secret@db1"):
            self.assertNotIn("secret", str(self.assertRaises(ValueError, parse_store, text)), f"of {text}")
