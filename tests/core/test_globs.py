"""Tests for `perfmon.core.globs`."""

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.globs import MAX_GLOB, is_literal, matcher

names = st.text("ab.1-", max_size=6)


class MatcherTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Wildcards, sets and alternatives match as in a shell; case counts."""
        for pattern, yes, no in (
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
            matches = matcher(pattern)
            self.assertEqual([name for name in yes + no if matches(name)], yes, pattern)

    def test_tags(self) -> None:
        """A pattern is met by the whole metric, or by its name without its tags."""
        series = ["system.cpu.time", "system.cpu.time;state=user", "system.cpu.time;cpu=0;state=user", "system.cpu"]
        for pattern, found in (
            ("system.cpu.time", series[:3]),
            ("system.cpu.time;state=user", series[1:2]),
            ("system.cpu.time;*", series[1:3]),
            ("*;state=user", series[1:3]),
            ("system.cpu.*", series[:3]),
            ("*state*", series[1:3]),
            ("system.cpu,*;cpu=0;*", series[2:]),
        ):
            self.assertEqual(list(filter(matcher(pattern), series)), found, pattern)

    def test_limit(self) -> None:
        """A pattern up to the limit is taken, a longer one refused."""
        self.assertTrue(matcher("a" * MAX_GLOB)("a" * MAX_GLOB))
        with self.assertRaises(ValueError):
            matcher("a" * (MAX_GLOB + 1))

    @given(st.lists(st.text("ab.1*?[]!-", max_size=6), min_size=1, max_size=3), names)
    def test_as_fnmatch(self, parts: list[str], name: str) -> None:
        """A pattern matches where one of its alternatives does for the standard library."""
        self.assertEqual(matcher(",".join(parts))(name), any(fnmatchcase(name, part) for part in parts))

    @given(st.text(max_size=30) | st.text("ab*?[]!-^,\\&|~(){}+$;= \n", max_size=30), st.text(max_size=8))
    def test_any(self, pattern: str, name: str) -> None:
        """No text is a pattern that fails."""
        self.assertIsInstance(matcher(pattern)(name), bool)


class LiteralTests(SynchronousTestCase):
    def test_table(self) -> None:
        """Wildcards, sets, alternatives and white space around make a pattern more than a name."""
        for pattern in ("", "a", "web1.example.org", "a]", "a;k=v", "a!b"):
            self.assertTrue(is_literal(pattern), pattern)
        for pattern in ("*", "a?", "a[b]", "[", "a,b", ",", " a", "a "):
            self.assertFalse(is_literal(pattern), pattern)

    @given(st.text("ab.*?[], ]", max_size=4), st.text("ab.*?[], ]", max_size=4))
    def test_matches_itself_alone(self, pattern: str, name: str) -> None:
        """A literal pattern matches the name it is, and no other."""
        if is_literal(pattern):
            self.assertTrue(matcher(pattern)(pattern))
            self.assertEqual(matcher(pattern)(name), name == pattern)
