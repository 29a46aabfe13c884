"""A peer that sends Graphite lines. It gets no answers: what it sends wrong is counted and logged."""

from twisted.internet.interfaces import IDelayedCall

from perfmon.core.graphite import GraphiteParser
from perfmon.core.numbering import HostLog
from perfmon.core.reject import TimeBounds
from perfmon.core.templates import PathReader
from perfmon.net.seams import Surroundings

# How often a sender's hosts are told of as present: a stream of lines names them thousands of times a second.
SIGN_INTERVAL = 1.0  # s


class GraphiteSession:
    """Bytes in, samples to the intake, a sign of life for every host that was named."""

    def __init__(self, peer: str, paths: PathReader, around: Surroundings) -> None:
        """`paths` is that of all sessions."""
        self._peer = peer
        self._intake = around.intake
        self._presence = around.presence
        self._refusals = around.refusals
        self._clock = around.clock
        self._wall = around.wall
        self._kept = around.kept
        self._parser = GraphiteParser(lambda: around.intake.numbering, paths)
        self._heard: set[HostLog] = set()  # hosts named since they were told of
        self._told = -SIGN_INTERVAL
        self._tell: IDelayedCall | None = None

    def feed(self, data: bytes) -> None:
        now = self._wall()
        columns, rejected = self._parser.feed(data, now, TimeBounds.at(now, self._kept))
        if rejected:
            self._refusals.note(rejected, self._peer)
        if len(columns):
            self._intake.add_columns(columns)
            self._heard |= columns.logs()
            if self._tell is None:
                wait = self._told + SIGN_INTERVAL - self._clock.seconds()
                self._tell = self._clock.callLater(max(0.0, wait), self._sign)

    def _sign(self) -> None:
        self._tell = None
        self._told = self._clock.seconds()
        heard, self._heard = self._heard, set()
        for log in heard:
            self._presence.sign(log.host, beating=False)

    def hand_over(self) -> None:
        """Tells at once of the hosts that were named."""
        if self._tell is not None:
            self._tell.cancel()
            self._sign()

    def lost(self, why: str) -> None:
        """A last line without its end is not a sample: it may have been cut off."""
        self.hand_over()
