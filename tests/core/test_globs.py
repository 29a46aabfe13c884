"""Tests for `perfmon.core.globs`."""

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.globs import MAX_GLOB, pattern

names = st.text("ab.1-", max_size=6)


class MatchesTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Wildcards, sets and alternatives match as in a shell; case counts."""
        for text, yes, no in (
            ("web1", ["web1"], ["web", "web12", "xweb1", "WEB1", "web1\n", ""]),
            ("web*", ["web", "web1", "web.a.b"], ["we", "xweb", "Web1"]),
            ("*", ["", "a", "a.b", "a\nb"], []),
            ("web?", ["web1", "web."], ["web", "web12"]),
            ("web[12]", ["web1", "web2"], ["web3", "web", "web12"]),
            ("web[!12]", ["web3"], ["web1", "web2", "web"]),
            ("web[0-9]", ["web0", "web9"], ["weba"]),
            ("a,b", ["a", "b"], ["a,b", "ab", ""]),
            ("a , b*", ["a", "b", "bc"], ["a ", " b"]),
            ("a,", ["a", ""], ["b"]),
            ("", [""], ["a"]),
            ("a.b", ["a.b"], ["axb"]),
            ("a+(b)|c", ["a+(b)|c"], ["aab", "c"]),
            ("[", ["["], ["a"]),
            ("[*]", ["*"], ["a"]),
        ):
            matches = pattern(text).matches
            self.assertEqual([name for name in yes + no if matches(name)], yes, text)

    def test_tags(self) -> None:
        """A pattern is met by the whole metric, or by its name without its tags."""
        series = ["system.cpu.time", "system.cpu.time;state=user", "system.cpu.time;cpu=0;state=user", "system.cpu"]
        for text, found in (
            ("system.cpu.time", series[:3]),
            ("system.cpu.time;state=user", series[1:2]),
            ("system.cpu.time;*", series[1:3]),
            ("system.cpu.tim?", series[:3]),
            ("system.[c]pu.time,nothing", series[:3]),
            ("system.cpu,nothing", series[3:]),
            ("*;state=user", series[1:3]),
            ("system.cpu.*", series[:3]),
            ("*state*", series[1:3]),
            ("system.cpu,*;cpu=0;*", series[2:]),
        ):
            self.assertEqual(list(filter(pattern(text).matches, series)), found, text)

    def test_limit(self) -> None:
        """A pattern up to the limit is taken, a longer one refused."""
        self.assertTrue(pattern("a" * MAX_GLOB).matches("a" * MAX_GLOB))
        with self.assertRaises(ValueError) as caught:
            pattern("a" * (MAX_GLOB + 1))
        self.assertIn(f"{MAX_GLOB} characters", str(caught.exception))

    @given(st.lists(st.text("ab.1*?[]!-", max_size=6), min_size=1, max_size=3), names)
    def test_as_fnmatch(self, parts: list[str], name: str) -> None:
        """A pattern matches where one of its alternatives does for the standard library."""
        self.assertEqual(pattern(",".join(parts)).matches(name), any(fnmatchcase(name, part) for part in parts))

    @given(st.text(max_size=30) | st.text("ab*?[]!-^,\\&|~(){}+$;= \n", max_size=30), st.text(max_size=8))
    def test_any(self, text: str, name: str) -> None:
        """No text is a pattern that fails."""
        self.assertIsInstance(pattern(text).matches(name), bool)


class NamesTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Without wildcards and sets the names that are asked for are known, each once; with one anywhere none are."""
        for text, names in (
            ("", ("",)),
            ("a", ("a",)),
            ("web1.example.org", ("web1.example.org",)),
            ("a]", ("a]",)),
            ("a;k=v", ("a;k=v",)),
            ("a!b", ("a!b",)),
            (" a ", ("a",)),
            ("b,a", ("b", "a")),
            ("b , a,b", ("b", "a")),
            ("a,", ("a", "")),
            ("*", ()),
            ("a?", ()),
            ("a[b]", ()),
            ("[", ()),
            ("a,b*", ()),
            ("?,a", ()),
        ):
            self.assertEqual(pattern(text).names, names, text)

    @given(st.text("ab.*?[], ];=", max_size=6), st.text("ab.*?[], ];=", max_size=6))
    def test_no_others(self, text: str, name: str) -> None:
        """Where the names are known, they match, and nothing else does, but for the tags of a metric."""
        wanted = pattern(text)
        for each in wanted.names:
            self.assertTrue(wanted.matches(each))
        if wanted.names and wanted.matches(name):
            self.assertTrue(name in wanted.names or name.partition(";")[0] in wanted.names)
