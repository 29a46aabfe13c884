"""Moments as people write them in a query."""

from datetime import UTC, datetime

from perfmon.core.tiers import parse_duration

# The end of the year 9999, as far as ISO 8601 goes. Milliseconds given for seconds are beyond it.
_MAX_TIME = 253_402_300_800  # s


def parse_time(text: str, now: float) -> float:
    """Seconds since the epoch of ``now``, ``-90m`` (before `now`), ``1792310400.5`` or ISO 8601 (UTC by default).

    Raises ValueError with a sentence for the person who wrote it.
    """
    text = text.strip()
    if text == "now":
        return now
    try:
        time = _time(text, now)
        if abs(time) < _MAX_TIME:
            return time
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no time: write now, -1h, seconds since the epoch, or 2026-01-31T12:00:00Z")


def _time(text: str, now: float) -> float:
    if text.startswith("-"):
        return now - parse_duration(text[1:])
    if text.replace(".", "", 1).isdecimal():
        return float(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
