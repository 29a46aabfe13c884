"""Resolutions and their windows: every storage key belongs to one aligned window of one tier."""

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import NamedTuple

MS = 1000  # the store's unit of time is the millisecond
DAY = 86_400

# A window that the next tier does not have yet lives so much longer than it would otherwise: a collector
# that was away over a weekend, or for a week, still finds what it has to roll up.
SPARE = 7 * DAY  # s

# An open head is moved into the window's hash so often: a reader of one metric then reads no hour of all of them.
# Each time costs as much as a third of sealing.
STAGE = 1_200  # s

# A window is sealed so long after its end: the last round of its agents has then arrived.
GRACE = 60  # s

# Samples for a window that was sealed already wait so long for others of their kind.
LATE = 30  # s

# Windows are rolled up so long after the end of the last of them: it has then been sealed.
ROLL_GRACE = 900  # s

# Longer than any machine lives; keys of a mistyped retention would stay for ever.
MAX_RETENTION = 3_650 * DAY  # s


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution with its retention."""

    name: str  # as it stands in keys
    window: int  # s, length of its windows; a multiple of that of the finer tier
    retention: int  # s, how long a window is kept after its end
    step: int = 0  # s, one aggregate for each; 0: samples as they were sent
    feed: int = 0  # s, the spans whose finer windows are taken in together, when they are over

    def window_of(self, time_ms: int) -> int:
        """Start (s since the epoch) of the window that holds `time_ms`."""
        seconds = time_ms // MS
        return seconds - seconds % self.window

    def windows(self, first_ms: int, last_ms: int) -> range:
        """Starts (s) of all windows that hold a part of first_ms..last_ms, both included."""
        return range(self.window_of(first_ms), last_ms // MS + 1, self.window)

    def expires_at(self, window: int) -> int:
        """When (s since the epoch) the store drops the window that starts at `window`."""
        return window + self.window + self.retention

    def spared_until(self, window: int) -> int:
        """The same for a window that the next tier does not have yet."""
        return self.expires_at(window) + SPARE

    def seal_at(self, window: int, now: float) -> float:
        """When (s since the epoch) the head of `window`, begun at `now`, is to be sealed, at least for a part."""
        over = window + self.window + GRACE
        if over <= now:
            return now + LATE
        # not shortly before it is sealed whole
        return now + STAGE if now + 1.5 * STAGE < over else over

    def roll_at(self, finer_window: int, now: float) -> float:
        """When (s since the epoch) a window of the finer tier, sealed at `now`, is to be taken into this one."""
        end = finer_window - finer_window % self.feed + self.feed
        return max(end + ROLL_GRACE, now + LATE)

    def fed_until(self, now: float) -> int:
        """Up to where (s) windows of the finer tier may have been taken into this one at `now`."""
        end = int(now - ROLL_GRACE)
        return end - end % self.feed

    def oldest(self, now: float) -> int:
        """Start (s) of the oldest window that the store may still have at `now`, not rolled up ones included."""
        return self.window_of(int(now - self.retention - SPARE) * MS) - self.window


# Each window of a metric costs a reader some 20 us, and 150 bytes beside its steps; each time that windows are taken
# in, a coarser one is packed anew, whole. So a day is four windows of minutes, each packed once, and hours are added
# once a day to windows of ten days.
RAW = Tier("raw", window=3600, retention=2 * DAY)
MINUTES = Tier("1m", window=DAY // 4, retention=30 * DAY, step=60, feed=DAY // 4)
HOURS = Tier("1h", window=10 * DAY, retention=400 * DAY, step=3600, feed=DAY)

# Finest first. A window of one is rolled up from windows of the one before it.
TIERS = (RAW, MINUTES, HOURS)


class WindowName(NamedTuple):
    """Names one window of one host: the store derives its keys from it."""

    host: str
    tier: str
    window: int  # s since the epoch, its start


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)?")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": DAY, "w": 7 * DAY, "y": 365 * DAY}


def parse_duration(text: str) -> float:
    """Seconds in ``"90"``, ``"1.5h"``, ``"2d"`` (ms s m h d w y; a bare number is seconds).

    Raises ValueError with a sentence for the person who wrote it.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no duration: write a number with ms, s, m, h, d, w or y, for example 90s or 2d")
    return float(match[1]) * _UNITS[match[2] or "s"]


def parse_retention(text: str) -> tuple[Tier, ...]:
    """`TIERS` with the retentions of ``"raw:2d,1m:30d,1h:400d"``; a tier that is not named keeps its own.

    Raises ValueError with a sentence for the person who wrote it, also for retentions that make no sense.
    """
    names = [tier.name for tier in TIERS]
    given: dict[str, int] = {}
    for part in text.split(","):
        name, colon, duration = part.strip().partition(":")
        if name not in names or not colon:
            raise ValueError(f"{part.strip()!r}: write TIER:DURATION, with a tier of {', '.join(names)}")
        if name in given:
            raise ValueError(f"{name} is given twice")
        given[name] = int(parse_duration(duration))
    tiers = tuple(replace(tier, retention=given.get(tier.name, tier.retention)) for tier in TIERS)
    if tiers[0].retention < RAW.window:
        raise ValueError("raw is kept for an hour at least: samples that come late must find their window")
    if tiers[-1].retention > MAX_RETENTION:
        raise ValueError(f"{tiers[-1].name} is kept for {MAX_RETENTION // DAY} d at the most")
    for finer, coarser in pairwise(tiers):
        if coarser.retention < finer.retention:
            raise ValueError(
                f"{coarser.name} ({coarser.retention / DAY:g} d) is made from {finer.name} "
                f"({finer.retention / DAY:g} d) and must be kept at least as long"
            )
    return tiers
