"""Tests for `perfmon.core.templates`."""

from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.names import MAX_HOST, MAX_METRIC, BadName
from perfmon.core.numbering import Numbering
from perfmon.core.templates import PathReader, Template, split_path


def new_numbering() -> Numbering:
    return Numbering(count(1).__next__)


class TemplateTests(SynchronousTestCase):
    def test_parse(self) -> None:
        """A rule is nodes with dots between, one of them HOST."""
        for text in ("HOST", "servers.HOST", "dc.*.HOST", "HOST.agent", "*.HOST.*"):
            self.assertEqual(".".join(Template.parse(text).nodes), text)
        for text in ("", "servers", "host", "HOST.HOST", "servers..HOST", ".HOST", "HOST.", "servers.HOST1"):
            with self.assertRaises(ValueError, msg=text) as caught:
                Template.parse(text)
            self.assertIn(repr(text), str(caught.exception))

    def test_match(self) -> None:
        """A rule matches node by node; what is left is the metric, and there must be some."""
        for rule, path, found in (
            ("HOST", "web1.cpu", ("web1", "cpu")),
            ("HOST", "web1.cpu.user", ("web1", "cpu.user")),
            ("HOST", "web1", None),
            ("servers.HOST", "servers.web1.cpu", ("web1", "cpu")),
            ("servers.HOST", "servers.web1", None),
            ("servers.HOST", "server.web1.cpu", None),
            ("dc.*.HOST", "dc.eu.web1.cpu", ("web1", "cpu")),
            ("dc.*.HOST", "dc.web1.cpu", None),
            ("HOST.agent", "web1.agent.cpu", ("web1", "cpu")),
            ("HOST.agent", "web1.cpu.agent", None),
            ("*.HOST.*", "a.web1.b.cpu", ("web1", "cpu")),
        ):
            self.assertEqual(Template.parse(rule).match(path.split(".")), found, (rule, path))


class SplitPathTests(SynchronousTestCase):
    def test_default(self) -> None:
        """The usual prefixes are known; else the first node is the host; a tag goes before all of them."""
        for path, host, metric in (
            ("web1.cpu", "web1", "cpu"),
            ("web1.cpu.user", "web1", "cpu.user"),
            ("servers.web1.cpu", "web1", "cpu"),
            ("hosts.web1.cpu", "web1", "cpu"),
            ("collectd.web1.cpu-0.cpu-user", "web1", "cpu-0.cpu-user"),
            ("netdata.web1.system.cpu.user", "web1", "system.cpu.user"),
            ("servers.web1", "servers", "web1"),
            ("cpu;host=web1", "web1", "cpu"),
            ("servers.web2.cpu;host=web1", "web1", "servers.web2.cpu"),
            ("cpu;z=1;host=web1.example.org;a=2", "web1.example.org", "cpu;a=2;z=1"),
            ("web1.cpu;z=1;a=2", "web1", "cpu;a=2;z=1"),
            ("web1.cpu;hosts=x", "web1", "cpu;hosts=x"),
            ("web1..cpu", "web1", ".cpu"),
            ("web1.ü", "web1", "ü"),
        ):
            self.assertEqual(split_path(path), (host, metric), path)

    def test_bad(self) -> None:
        """A path without a host, without a metric, or with a name that cannot be stored is refused."""
        for path in (
            "cpu",
            "",
            ".",
            "web1.",
            ".cpu",
            "servers..cpu",
            "-web1.cpu",
            "web{1}.cpu",
            "wéb1.cpu",
            "web1.c\u00a0pu",
            "web1.c\0pu",
            "cpu;host=",
            "cpu;host=a b",
            "cpu;host=~web1",
            "cpu;host=web/1",
            ";host=web1",
            "web1.cpu;",
            "web1.cpu;k",
            "web1.cpu;k=",
            "h" * (MAX_HOST + 1) + ".cpu",
            "web1." + "m" * (MAX_METRIC + 1),
        ):
            with self.assertRaises(BadName, msg=path):
                split_path(path)

    def test_own_templates(self) -> None:
        """The first rule that matches decides; where none does, there is no host."""
        rules = [Template.parse(rule) for rule in ("dc.*.HOST", "dc.HOST", "x.HOST")]
        self.assertEqual(split_path("dc.eu.web1.cpu", rules), ("web1", "cpu"))
        self.assertEqual(split_path("dc.web1.cpu", rules), ("web1", "cpu"))
        self.assertEqual(split_path("x.web1.cpu", rules), ("web1", "cpu"))
        self.assertEqual(split_path("cpu;host=web1", rules), ("web1", "cpu"))
        for path in ("web1.cpu", "x.web1", "y.web1.cpu"):
            with self.assertRaises(BadName) as caught:
                split_path(path, rules)
            self.assertIn("no host in path", str(caught.exception))


nodes = st.sampled_from(["web1", "web2", "servers", "dc", "eu", "cpu", "user", "", "-bad", "ü", "a;k=v", "a;host=db1"])
node_lists = st.lists(st.lists(nodes, min_size=1, max_size=5).map(".".join), max_size=12)
templates = st.sampled_from(["HOST", "servers.HOST", "dc.*.HOST", "*.HOST.cpu", "web1.HOST"])


class PathReaderTests(SynchronousTestCase):
    @settings(max_examples=400)
    @given(node_lists, st.lists(templates, min_size=1, max_size=3), st.booleans(), st.integers(0, 24))
    def test_as_split(self, paths: list[str], rules: list[str], change: bool, cut: int) -> None:
        """A path is read as it is by itself, whatever was read before it, and whatever the templates."""
        chosen = [Template.parse(rule) for rule in rules]
        reader, numbering = PathReader(chosen), new_numbering()
        every = [*paths, *reversed(paths)]
        for piece in (every[:cut], every[cut:]):
            if change:
                numbering = new_numbering()
            refused: dict[bytes, BadName] = {}
            found = reader.series([path.encode() for path in piece], numbering, refused)
            for path, series in zip(piece, found, strict=True):
                try:
                    expected = numbering.series(*split_path(path, chosen))
                except BadName as problem:
                    self.assertEqual((series, str(refused[path.encode()])), (-1, str(problem)))
                else:
                    self.assertEqual(series, expected)
                    self.assertNotIn(path.encode(), refused)

    def test_bad_bytes(self) -> None:
        """Bytes that are no UTF-8 are refused, also behind a beginning that is known."""
        refused: dict[bytes, BadName] = {}
        paths = [b"servers.web1.\xff", b"servers.\xff.cpu", b"servers.web1.cpu", b"servers.web1.\xff"]
        self.assertEqual(PathReader().series(paths, new_numbering(), refused), [-1, -1, 0, -1])
        self.assertEqual(set(refused), {paths[0], paths[1]})
