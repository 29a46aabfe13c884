"""Why a sample was refused, and which times can be stored.

Bad input from the network is data: it is counted by reason, logged with a rate limit, and answered where the
protocol has answers. It is never an exception that climbs.
"""

from dataclasses import dataclass

from perfmon.core.tiers import RAW

BAD_LINE = "bad-line"  # not in the form of its protocol
LONG_LINE = "long-line"
BAD_NAME = "bad-name"  # a host or a metric that cannot be stored
BAD_VALUE = "bad-value"  # a value or a time that is no finite number
FUTURE = "future"
TOO_OLD = "too-old"
NOT_ALLOWED = "not-allowed"  # a peer that may not send here
SCHEMA = "schema"  # samples that do not fit the metrics declared

REASONS = (BAD_LINE, LONG_LINE, BAD_NAME, BAD_VALUE, FUTURE, TOO_OLD, NOT_ALLOWED, SCHEMA)

# A sender whose clock is further ahead than this would hide its own later samples; NTP-kept clocks
# are within a second, a hand-set one within minutes.
MAX_AHEAD = 600.0  # s


@dataclass(frozen=True, slots=True)
class Rejected:
    """One piece of input that was not stored."""

    reason: str  # one of REASONS
    detail: str  # a sentence for the log or the peer


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """Times that can be stored: oldest < time <= newest (s since the epoch)."""

    oldest: float
    newest: float

    future_rule = f"time more than {MAX_AHEAD:.0f} s ahead of the collector's clock"
    old_rule = "time older than the raw tier is kept"

    @classmethod
    def at(cls, now: float, kept: float = RAW.retention) -> "TimeBounds":
        """The bounds at `now`: up to ten minutes ahead, and back as far as samples are `kept` (s) as they are."""
        return cls(now - kept, now + MAX_AHEAD)

    def problem(self, time: float) -> Rejected | None:
        """Why `time` cannot be stored, if it cannot."""
        if not time <= self.newest:
            return Rejected(FUTURE, f"{self.future_rule}: {time:.0f}")
        if not time > self.oldest:
            return Rejected(TOO_OLD, f"{self.old_rule}: {time:.0f}")
        return None
