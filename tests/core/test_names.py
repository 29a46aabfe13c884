"""Tests for `perfmon.core.names`."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.names import (
    MAX_HOST,
    MAX_METRIC,
    BadName,
    checked_host,
    checked_metric,
    join_tags,
    split_tags,
)

tag_names = st.text(st.characters(exclude_characters=";!^= ", exclude_categories=["C", "Z"]), min_size=1, max_size=6)
tag_values = st.text(
    st.characters(exclude_characters="; ", exclude_categories=["C", "Z"]), min_size=1, max_size=6
).filter(lambda value: not value.startswith("~"))
plain_names = st.text(st.characters(exclude_characters="; ", exclude_categories=["C", "Z"]), min_size=1, max_size=12)


class HostTests(SynchronousTestCase):
    def test_good(self) -> None:
        """A host's name within the rule is returned as it is."""
        for name in ("a", "7", "_x", "web1.example.org", "10.0.0.1", "fe80::1", "A-b_c:d@e+f", "h" * MAX_HOST):
            self.assertEqual(checked_host(name), name)

    def test_bad(self) -> None:
        """A host's name that is not safe in a key, a URL or a glob is refused."""
        for name in (
            "",
            ".hidden",
            "-option",
            ":1",
            "@a",
            "+a",
            "a b",
            " a",
            "a ",
            "a\n",
            "a\0",
            "a/b",
            "a{b}",
            "a*",
            "a?",
            "a[b]",
            "a;b",
            "a=b",
            "a%20",
            "a,b",
            "ä",
            "٣",
            "h" * (MAX_HOST + 1),
        ):
            with self.assertRaises(BadName, msg=repr(name)):
                checked_host(name)

    @given(st.text(max_size=12) | st.text("ab.:-_{}*?[], \n", max_size=12))
    def test_any(self, name: str) -> None:
        """Whatever the text: the same name made of safe characters, or `BadName`."""
        try:
            self.assertEqual(checked_host(name), name)
        except BadName:
            return
        self.assertRegex(name, r"\A[A-Za-z0-9_][A-Za-z0-9._:@+-]*\Z")

    def test_reason_is_short(self) -> None:
        """A hostile name does not flood the log: its reason shows the beginning only, and no control characters."""
        with self.assertRaises(BadName) as caught:
            checked_host("\x1b[2J" + "x" * 100_000)
        self.assertLess(len(str(caught.exception)), 400)
        self.assertTrue(str(caught.exception).isprintable())


class TagTests(SynchronousTestCase):
    def test_split(self) -> None:
        """A metric is cut at its semicolons; a value may hold further equals signs."""
        for metric, name, tags in (
            ("a", "a", {}),
            ("a.b;k=v", "a.b", {"k": "v"}),
            ("a;z=1;b=2", "a", {"z": "1", "b": "2"}),
            ("a;k=v=w", "a", {"k": "v=w"}),
            ("a;k=/var/lib", "a", {"k": "/var/lib"}),
            ("a;k=v~", "a", {"k": "v~"}),
            ("a;k=1;k=2", "a", {"k": "2"}),
            ("a=b", "a=b", {}),
            (";k=v", "", {"k": "v"}),
        ):
            self.assertEqual(split_tags(metric), (name, tags))

    def test_malformed(self) -> None:
        """A tag without a name, an equals sign or a proper value is refused."""
        for metric in ("a;", "a;k", "a;=v", "a;k=", "a;k=~v", "a;!k=v", "a;k^=v", "a;k!=v", "a;;k=v", "a;k=v;"):
            with self.assertRaises(BadName, msg=metric):
                split_tags(metric)

    def test_join(self) -> None:
        """Tags are written sorted by name."""
        self.assertEqual(join_tags("a", []), "a")
        self.assertEqual(join_tags("a", {"z": "1", "b": "2"}.items()), "a;b=2;z=1")

    @given(plain_names, st.dictionaries(tag_names, tag_values, max_size=4))
    def test_round_trip(self, name: str, tags: dict[str, str]) -> None:
        """Splitting gives back what was joined."""
        self.assertEqual(split_tags(join_tags(name, tags.items())), (name, tags))


class MetricTests(SynchronousTestCase):
    @given(plain_names, st.dictionaries(tag_names, tag_values, max_size=4), st.randoms(use_true_random=False))
    def test_one_spelling(self, name: str, tags: dict[str, str], random: Random) -> None:
        """A metric has one spelling, in whatever order its tags come."""
        items = list(tags.items())
        random.shuffle(items)
        written = "".join([name, *(f";{key}={value}" for key, value in items)])
        self.assertEqual(checked_metric(written), join_tags(name, tags.items()))

    def test_bad(self) -> None:
        """A metric that is empty or holds white space, control characters or malformed tags is refused."""
        for metric in (
            "",
            ";k=v",
            "a b",
            " a",
            "a ",
            "a\tb",
            "a\nb",
            "a\0",
            "a\x7f",
            "a\x85b",
            "a\xa0b",
            "a\u2028b",
            "a\ud800b",
            "a;k=v w",
            "a;k=v\n",
            "a;k",
            "a;k=",
        ):
            with self.assertRaises(BadName, msg=repr(metric)):
                checked_metric(metric)

    def test_kept_once(self) -> None:
        """Equal metrics are one object, however often they are read: a fleet keeps each name once."""
        first, second = (b"system.disk.io;device=sda;direction=read".decode() for _ in range(2))
        self.assertIsNot(first, second)
        self.assertIs(checked_metric(first), checked_metric(second))
        self.assertIs(checked_metric("x;b=1;a=2"), checked_metric("x;b=1;" + "a=2"))

    def test_limit(self) -> None:
        """The limit of a metric's name is counted in bytes of UTF-8."""
        for metric in ("a" * MAX_METRIC, "é" * (MAX_METRIC // 2)):
            self.assertEqual(checked_metric(metric), metric)
        for metric in ("a" * (MAX_METRIC + 1), "é" * (MAX_METRIC // 2 + 1)):
            with self.assertRaises(BadName):
                checked_metric(metric)

    @given(st.text(max_size=20) | st.text("ab;=~!^. \n", max_size=20))
    def test_any(self, metric: str) -> None:
        """Whatever the text: one line that is its own spelling, or `BadName`."""
        try:
            found = checked_metric(metric)
        except BadName as problem:
            self.assertTrue(str(problem).isprintable())
            return
        self.assertEqual(checked_metric(found), found)
        self.assertEqual(found.split(), [found])
        self.assertEqual(found.encode().decode(), found)
