"""Sampling this host, on the clock: rounds fall on multiples of the interval, and do not drift."""

from collections.abc import Callable, Mapping
from math import floor

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from perfmon.probes.sampler import ProbeFailure

_EARLY = 0.01  # of an interval

Reading = tuple[dict[str, float], list[ProbeFailure]]


class Sampling(Service):
    """A service that samples while it runs.

    The probes run outside the reactor, because one may hang (a dead disk hangs every statvfs on it), and
    signs of life must go on. While one round hangs, no other begins.
    """

    _log = Logger()

    def __init__(
        self,
        interval: float,
        sample: Callable[[], Deferred[Reading]],
        take: Callable[[float, Mapping[str, float]], None],
        clock: IReactorTime,
        wall: Callable[[], float],
    ) -> None:
        """Every `interval` s, `sample` reads the host and `take` gets the time (s since the epoch) and the values."""
        self.interval = interval  # s
        self.stopped = False  # it goes on to run, but no rounds begin
        self._sample = sample
        self._take = take
        self._clock = clock
        self._wall = wall
        self._next: IDelayedCall | None = None
        self._since: float | None = None  # when the round under way began
        self._hanging = False
        self._due = 0.0  # when the next round begins
        self.left_out = 0  # rounds that were due and did not begin

    def startService(self) -> None:
        super().startService()
        if not self.stopped:
            self._round(self._wall())

    def stopService(self) -> None:
        super().stopService()
        self._cancel()

    def order_stopped(self, stopped: bool) -> None:
        """No rounds begin any more, or they do again."""
        self.stopped = stopped
        self._begin_anew()

    def order_interval(self, interval: float) -> None:
        """From now on rounds fall on multiples of `interval` s."""
        self.interval = interval
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._cancel()
        if self.running and not self.stopped:
            self._schedule()

    def _cancel(self) -> None:
        if self._next is not None and self._next.active():
            self._next.cancel()

    def _schedule(self) -> None:
        now = self._wall()
        # a timer that fires a little before its time must not begin the same round twice
        self._due = (floor(now / self.interval + _EARLY) + 1) * self.interval
        self._next = self._clock.callLater(self._due - now, self._round, self._due)

    def _round(self, due: float) -> None:
        self._schedule()
        self.left_out += max(0, round((self._due - due) / self.interval) - 1)  # the process was late by more than one
        if self._since is not None:
            self.left_out += 1
            if not self._hanging:
                self._hanging = True
                self._log.warn(
                    "a probe has not returned for {seconds:.0f} s; rounds are left out", seconds=due - self._since
                )
            return
        self._since = due
        self._sample().addCallbacks(self._read, self._failed, callbackArgs=(due,)).addErrback(self._failed)

    def _read(self, reading: Reading, due: float) -> None:
        self._since, self._hanging = None, False
        values, failures = reading
        for failure in failures:
            self._log.warn("probe {probe} failed: {problem}", probe=failure.probe, problem=failure.problem)
        if self.running and not self.stopped and values:
            self._take(due, values)

    def _failed(self, failure: Failure) -> None:
        self._since, self._hanging = None, False
        self._log.failure("sampling failed", failure)
