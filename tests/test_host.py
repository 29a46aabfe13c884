"""Tests for `perfmon.host`."""

import socket
import tempfile
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from perfmon import __version__, host
from perfmon.core.messages import PROTOCOL, encode, from_agent, label_problem
from perfmon.core.names import MAX_HOST, checked_host
from perfmon.host import boot_id, own_name, this_host


class OwnNameTests(SynchronousTestCase):
    def test_table(self) -> None:
        """The machine's name is made to fit the rules of host names."""
        for name, expected in (
            ("web1", "web1"),
            ("web1.example.org", "web1.example.org"),
            ("Web_1", "Web_1"),
            ("my laptop", "my-laptop"),
            ("büro", "b-ro"),
            ("a{b}c", "a-b-c"),
            ("-web", "host-web"),
            (".web", "host.web"),
            ("", "host"),
            ("x" * 300, "x" * MAX_HOST),
            ("-" * 300, "host" + "-" * (MAX_HOST - 4)),
        ):
            self.patch(socket, "gethostname", lambda name=name: name)
            self.assertEqual(own_name(), expected)
            self.assertEqual(checked_host(own_name()), expected)


class ThisHostTests(SynchronousTestCase):
    def test_hello(self) -> None:
        """The host introduces itself with what is known of it, in a form that a collector takes."""
        hello = this_host("web1", 10.0, {"rack": "7"}, "secret")
        self.assertEqual((hello.protocol, hello.host, hello.agent), (PROTOCOL, "web1", __version__))
        self.assertEqual((hello.interval, hello.labels, hello.token), (10.0, {"rack": "7"}, "secret"))
        self.assertEqual(hello.platform.keys(), {"system", "release", "machine", "cpus", "memory"})
        self.assertGreater(int(hello.platform["memory"]), 0)
        self.assertIsNone(label_problem(hello.platform))
        self.assertEqual(from_agent(encode(hello).strip()), hello)

    def test_instance(self) -> None:
        """Each run of an agent is another instance, of the same boot."""
        first, second = this_host("web1", 10.0), this_host("web1", 10.0)
        self.assertNotEqual(first.instance, second.instance)
        self.assertGreaterEqual(len(first.instance), 16)
        self.assertEqual(first.boot, second.boot)

    def test_boot_id(self) -> None:
        """The boot has an id on every system: its own, or else the time of the boot."""
        self.assertTrue(boot_id())
        file = Path(tempfile.mkstemp()[1])
        self.addCleanup(file.unlink)
        file.write_text("abc-def\n")
        self.patch(host, "_BOOT_ID", file)
        self.assertEqual(boot_id(), "abc-def")
        self.patch(host, "_BOOT_ID", Path("/no/such/file"))
        self.assertRegex(boot_id(), r"^\d+$")
