"""Many durations in little room: their mean exactly, their quantiles to 1 %."""

from math import ceil, exp, log

# Durations within 2 % of each other are counted together; the middle is at most 1 % from each of them.
_WIDTH = log(1.02)

_SHORTEST = 1e-6  # s; shorter ones count as this


class Latencies:
    """Durations in s."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._number = 0
        self._sum = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        place = round(log(max(seconds, _SHORTEST)) / _WIDTH)
        self._counts[place] = self._counts.get(place, 0) + times
        self._number += times
        self._sum += seconds * times

    def include(self, others: "Latencies") -> None:
        """Adds what was added to `others`."""
        for place, times in others._counts.items():
            self._counts[place] = self._counts.get(place, 0) + times
        self._number += others._number
        self._sum += others._sum

    @property
    def mean(self) -> float:
        """0.0 for none."""
        return self._sum / self._number if self._number else 0.0

    def quantile(self, share: float) -> float:
        """The shortest duration that `share` (0 to 1) of all do not exceed; 0.0 for none."""
        wanted = max(1, ceil(share * self._number))
        for place in sorted(self._counts):
            wanted -= self._counts[place]
            if wanted <= 0:
                return exp(place * _WIDTH)
        return 0.0
