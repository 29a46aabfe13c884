"""Tests for `perfmon.files`."""

import resource

from twisted.trial.unittest import SynchronousTestCase

from perfmon.files import allow_connections


class AllowConnectionsTests(SynchronousTestCase):
    def limits(self, soft: int, hard: int, kernel: int = 1 << 20) -> None:
        """As on a system with these limits; `kernel` is the most that it has."""
        self.now = (soft, hard)

        def set_limits(which: int, limits: tuple[int, int]) -> None:
            if limits[0] > kernel:
                raise ValueError("not allowed to raise maximum limit")
            self.now = limits

        self.patch(resource, "getrlimit", lambda which: self.now)
        self.patch(resource, "setrlimit", set_limits)

    def test_table(self) -> None:
        """The limit is raised as far as needed and allowed, never lowered; what fits then is told."""
        infinity = resource.RLIM_INFINITY
        for soft, hard, wanted, allowed, soft_then in (
            (1024, 524_288, 20_000, 20_000, 20_256),
            (1024, 4096, 20_000, 3840, 4096),
            (1024, 1024, 20_000, 768, 1024),
            (1024, infinity, 20_000, 20_000, 20_256),
            (infinity, infinity, 20_000, 20_000, infinity),
            (65_536, 65_536, 20_000, 20_000, 65_536),
            (1024, 524_288, 100, 100, 1024),
            (64, 64, 100, 1, 64),
        ):
            self.limits(soft, hard)
            self.assertEqual(allow_connections(wanted), allowed, (soft, hard, wanted))
            self.assertEqual(self.now, (soft_then, hard))

    def test_not_allowed(self) -> None:
        """Where the kernel has fewer than the limit says, what there is must do."""
        self.limits(256, resource.RLIM_INFINITY, kernel=10_240)
        self.assertEqual(allow_connections(20_000), 1)
        self.assertEqual(self.now[0], 256)

    def test_this_system(self) -> None:
        """On the system at hand it works, and what is asked for once is there the next time."""
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        allowed = allow_connections(2_000)
        self.assertEqual(allow_connections(2_000), allowed)
