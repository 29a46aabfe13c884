"""Tests for `perfmon.storage.faults`. tests/integration/test_store_faults.py has the words from real servers."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.storage.faults import explained


class ExplainedTests(SynchronousTestCase):
    def test_meanings(self) -> None:
        """What servers say comes with what to do, and stays readable itself."""
        for problem, meaning in (
            ("READONLY You can't write against a read only replica.", "a read-only replica"),
            ("OOM command not allowed when used memory > 'maxmemory'.", "no memory left"),
            ("MISCONF Errors writing to the AOF file: No space left on device", "make room"),
            ("NOAUTH Authentication required.", "asks for a password"),
            ("WRONGPASS invalid username-password pair or user is disabled.", "compare them"),
            ("ERR AUTH <password> called without any password configured for the default user.", "compare them"),
            ("NOPERM User perfmon has no permissions to run the 'eval' command", "ACL SETUSER"),
            ("LOADING Redis is loading the dataset in memory", "wait"),
            ("BUSY Redis is busy running a script.", "SCRIPT KILL"),
            ("MOVED 3999 127.0.0.1:6381", "part of a cluster"),
            ("ERR max number of clients reached", "maxclients"),
            ("ERR DB index is out of range", "databases"),
            ("Connection was refused by other side: 111: Connection refused.", "nothing listens there"),
            ("no answer for more than 2 s", "hangs, or is overloaded"),
        ):
            found = explained(problem)
            self.assertIn(meaning, found)
            self.assertTrue(found.endswith(f"({problem})"), found)

    def test_unknown(self) -> None:
        """What nobody has thought of is said as it is."""
        self.assertEqual(explained("ERR something new"), "ERR something new")

    def test_embedded(self) -> None:
        """That the embedded server is away is no matter for people, but for perfmon."""
        for problem in ("Connection was refused by other side.", "connection lost", "2: No such file or directory."):
            self.assertEqual(explained(problem, embedded=True), f"its server is being started ({problem})")
        self.assertIn("make room", explained("MISCONF Errors writing", embedded=True))
