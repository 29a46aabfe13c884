"""How far this machine's clock is from another's, by messages that were sent back.

It is the clock filter of NTP (RFC 5905, section 10, and section 8 for the formula): of the last eight measurements the
one with the shortest round trip counts, because what a network adds to a way there and not to the way back is at most
its round trip.
"""

from collections import deque
from dataclasses import dataclass

# As in RFC 5905, NSTAGE.
_STAGES = 8


@dataclass(frozen=True, slots=True)
class Difference:
    """Of two clocks; it is known to half of the round trip."""

    round_trip: float  # s
    offset: float  # s that this clock is ahead of the other


class ClockFilter:
    """The difference to one other clock."""

    def __init__(self) -> None:
        self._measured: deque[Difference] = deque(maxlen=_STAGES)

    def measure(self, sent: float, at: float, round_trip: float) -> None:
        """A message left at `sent` by this clock, `at` was the time where it was answered, by the other clock.

        `round_trip` (s) is to be taken by a clock that is not set. The answer is expected to be given at once.
        """
        if round_trip >= 0:
            self._measured.append(Difference(round_trip, sent + round_trip / 2 - at))

    @property
    def best(self) -> Difference | None:
        """The most exact of the last measurements, None before the first."""
        return min(self._measured, key=lambda one: one.round_trip, default=None)
