"""Tests for `perfmon.core.loads`."""

from twisted.trial.unittest import SynchronousTestCase

from perfmon.core.loads import BadLoad, Cpu, DiskWrite, Fio, checked_load, most_bytes


class CheckedLoadTests(SynchronousTestCase):
    def test_defaults(self) -> None:
        """What is not given has a default."""
        self.assertEqual(checked_load("disk-write", {}), DiskWrite(seconds=60.0, chunk=1 << 20, roll=100 << 20))
        self.assertEqual(checked_load("cpu", {"seconds": 5, "threads": 3}), Cpu(seconds=5.0, threads=3))

    def test_refused(self) -> None:
        """What cannot be run is refused with a sentence that says what can."""
        for kind, parameters, words in (
            ("rm", {}, "use one of disk-write, cpu, fio"),
            ("x" * 1_000, {}, "is unknown"),
            ("cpu", {"seconds": 0.5}, "$.seconds"),
            ("cpu", {"seconds": 1e9}, "$.seconds"),
            ("cpu", {"seconds": "60"}, "$.seconds"),
            ("cpu", {"threads": -1}, "$.threads"),
            ("cpu", {"folder": "/etc"}, "it takes seconds, threads"),
            ("cpu", [], "parameters of cpu"),
            ("cpu", None, "parameters of cpu"),
            ("disk-write", {"chunk": 1}, "$.chunk"),
            ("disk-write", {"fsync": "always"}, "$.fsync"),
            ("fio", {"rw": "trim"}, "$.rw"),
            ("fio", {"filename": "/dev/sda"}, "it takes seconds, rw"),
            ("disk-write", {"chunk": 1 << 20, "roll": 1 << 19}, "a chunk has to fit into it"),
        ):
            with self.assertRaises(BadLoad) as refused:
                checked_load(kind, parameters)
            self.assertIn(words, str(refused.exception))
            self.assertLess(len(str(refused.exception)), 400)

    def test_most_bytes(self) -> None:
        """Only disk loads take room: two files that are full, and a chunk more, or the files of all jobs."""
        self.assertEqual(most_bytes(Fio(size=10_000, numjobs=3)), 30_000)
        self.assertEqual(most_bytes(Cpu()), 0)
        self.assertEqual(most_bytes(DiskWrite(chunk=1_000, roll=10_000)), 22_000)
