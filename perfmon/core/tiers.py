"""Resolutions and their windows: every storage key belongs to one aligned window of one tier."""

import re
from dataclasses import dataclass
from typing import NamedTuple

MS = 1000  # the store's unit of time is the millisecond
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Tier:
    """One resolution with its retention."""

    name: str  # as it stands in keys
    window: int  # s, length of its windows
    retention: int  # s, how long a window is kept after its end

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


RAW = Tier("raw", window=3600, retention=2 * DAY)


class HeadName(NamedTuple):
    """Names the open log of one window: the store derives its key from it."""

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
