"""Whose turn it is: many senders, each once in an interval, spread evenly over it."""

from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Turn:
    """Who is due, in order, each with the time (s since the epoch) for which it is."""

    numbers: NDArray[np.int64]
    times: NDArray[np.float64]
    left_out: int  # how many before them were missed altogether: who asks so late would never catch up

    def __len__(self) -> int:
        return len(self.numbers)


class Rota:
    """Senders 0 to `senders` - 1 in turn, each every `interval` s.

    The place of a sender in the interval depends on nothing but its number, so it has the same one after a restart.
    Times are whole milliseconds, as the store keeps them, and those of one sender are all different ones.
    """

    def __init__(self, senders: int, interval: float, start: float) -> None:
        """Who is due at `start` (s since the epoch) or later will have a turn. `interval` is at least 0.002."""
        self._senders = senders
        self._gap = interval / senders
        self._next = ceil(start / self._gap)  # turns are counted since the epoch

    def due(self, now: float, most: int) -> Turn:
        """The next turns up to `now` (s since the epoch), at most `most`; what is over an interval late is left out."""
        end = int(now / self._gap) + 1
        missed = max(0, end - self._senders - self._next)
        self._next += missed
        turns = np.arange(self._next, max(self._next, min(end, self._next + most)))
        self._next += len(turns)
        return Turn(turns % self._senders, np.rint(turns * (self._gap * 1000)) / 1000, missed)
