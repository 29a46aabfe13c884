"""What was refused: counted by reason, logged with a rate limit."""

from collections import Counter
from collections.abc import Callable, Iterable

from twisted.logger import Logger

from perfmon.core.reject import Rejected

# One line for each reason in this time: a broken sender must not fill the disk with logs.
LOG_INTERVAL = 10.0  # s


class Refusals:
    """Counts of refused input since the start; the first of a kind is logged in full, then one every ten seconds."""

    _log = Logger()

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives monotonic seconds."""
        self._clock = clock
        self.counts: Counter[str] = Counter()
        self._logged: dict[str, tuple[float, int]] = {}  # reason -> (when, count then)

    def note(self, rejected: Iterable[Rejected], peer: object) -> None:
        """Takes in what `peer` sent and was refused."""
        for one in rejected:
            self.counts[one.reason] += 1
            now = self._clock()
            when, count = self._logged.get(one.reason, (-LOG_INTERVAL, 0))
            if now - when >= LOG_INTERVAL:
                more = self.counts[one.reason] - count - 1
                self._logged[one.reason] = now, self.counts[one.reason]
                self._log.warn(
                    "refused from {peer}: {detail} ({reason}; {more} more since the last such line)",
                    peer=peer,
                    detail=one.detail,
                    reason=one.reason,
                    more=more,
                )
