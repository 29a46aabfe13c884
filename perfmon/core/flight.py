"""What one connection of an agent carries: rounds that were sent and are not confirmed yet.

New rounds are sent as they come. What waited for a connection, or for the collector, is sent in between, the oldest
first and a few at a time: each confirmation lets the next one go. So the newest is never held up by the old, and a
fleet that comes back with days of samples sends them no faster than they are stored.
"""

from collections import deque
from dataclasses import dataclass

from perfmon.core.messages import metrics_line, samples_line

# Newer rounds that may be under way at once. Further ones wait like old ones: a collector that confirms none of so many
# has its reasons.
MAX_LIVE = 32

# Old rounds that may be under way at once, when the collector is quick. With 100 metrics they have 20 kB.
MAX_BACKLOG = 16

# A collector takes a thousand of one connection.
MAX_SCHEMAS = 500

# The window of the old ones opens by one with each that is confirmed so soon, and halves with one that took so long.
_SOON, _LONG = 0.25, 1.0  # s


@dataclass(frozen=True, slots=True)
class Round:
    """One sampling round, ready to be sent."""

    key: int  # rises with the order of sampling
    schema: int  # those with the same metrics have the same
    names: bytes  # of the metrics, in JSON
    body: bytes  # of its line, what follows seq and id


@dataclass(frozen=True, slots=True)
class _Carried:
    seq: int
    round: Round
    old: bool
    at: float  # s, by the caller's clock


class Flight:
    """Rounds under way on one connection, in the order in which they were sent; seqs rise by one from 1."""

    def __init__(self) -> None:
        self._carried: deque[_Carried] = deque()
        self._seq = 0
        self._old = 0  # of those that are carried
        self._window = 1
        self._declared: dict[int, int] = {}  # schema to its id on this connection, in the order of declaration

    @property
    def keys(self) -> set[int]:
        """Of the rounds that are under way."""
        return {one.round.key for one in self._carried}

    @property
    def room(self) -> int:
        """How many new rounds may be sent."""
        return MAX_LIVE - (len(self._carried) - self._old)

    @property
    def takes_old(self) -> bool:
        """Whether a round may be sent that has waited."""
        return self._old < self._window

    def take(self, round: Round, old: bool, now: float) -> bytes:
        """Takes `round` along at `now` (s); returns the lines to send."""
        self._seq += 1
        carried = _Carried(self._seq, round, old, now)
        self._carried.append(carried)
        self._old += old
        return self._lines(carried)

    def _lines(self, carried: _Carried) -> bytes:
        round = carried.round
        known = self._declared.get(round.schema)
        if known is not None:
            return samples_line(carried.seq, known, round.body)
        # ids are given once each, and when they are used up that of the oldest is given anew
        new = len(self._declared) + 1
        if new > MAX_SCHEMAS:
            new = self._declared.pop(next(iter(self._declared)))
        self._declared[round.schema] = new
        return metrics_line(new, round.names) + samples_line(carried.seq, new, round.body)

    def confirm(self, seq: int, now: float) -> list[int]:
        """All up to `seq` are stored at `now` (s); returns their keys."""
        keys = []
        while self._carried and self._carried[0].seq <= seq:
            carried = self._carried.popleft()
            keys.append(carried.round.key)
            self._old -= carried.old
            took = now - carried.at
            if took > _LONG:
                self._window = max(1, self._window // 2)
            elif carried.old and took < _SOON:
                self._window = min(self._window + 1, MAX_BACKLOG)
        return keys

    def refuse(self, seq: int) -> int | None:
        """`seq` will never be stored; returns its key, None if it is not under way."""
        for carried in self._carried:
            if carried.seq == seq:
                self._carried.remove(carried)
                self._old -= carried.old
                return carried.round.key
        return None

    def again(self, seq: int) -> bytes:
        """The lines of all from `seq` on once more: there was no room for them."""
        self._window = 1
        return b"".join([self._lines(carried) for carried in self._carried if carried.seq >= seq])
