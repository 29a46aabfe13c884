"""How the command line writes what the API answers, and reads what people write."""

import sys
from collections.abc import Callable
from datetime import datetime
from typing import Any

import orjson
from rich.console import Console

Shown = tuple[Any, Callable[[Console], None]]
"""What a command was answered, and how to print it."""


def print_answer(answer: Any, show: Callable[[Console], None], as_json: bool) -> None:
    """Writes to standard output."""
    if as_json:
        sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        # a pipe has no width to fit into
        show(Console(width=None if sys.stdout.isatty() else 1000))


def ordered(answer: dict[str, Any]) -> str:
    """What was ordered of a host, as a sentence."""
    interval = answer["interval"]
    how = f"samples{f' every {interval:g} s' if interval else ''}" if not answer["stopped"] else "no samples"
    when = "" if answer["state"] in ("up", "late") else f" once it is back: it is {answer['state']}"
    return f"{answer['host']}: {how}{when}"


def absent(answer: dict[str, Any]) -> str:
    """What was planned of a host, as a sentence."""
    absence = answer["absence"]
    if absence is None:
        return f"{answer['host']}: no absence is planned"
    reason = f" ({absence['reason']})" if absence["reason"] else ""
    return f"{answer['host']}: may be absent until {moment(absence['until'])}{reason}"


def zoned(time: str) -> str:
    """`time` as the API reads it: one without a zone is meant here as times are shown here, in the local zone."""
    if "-" not in time[1:]:
        return time  # now, -1h or seconds
    try:
        return datetime.fromisoformat(time).astimezone().isoformat()
    except ValueError:
        return time


def moment(time: float) -> str:
    """`time` (s since the epoch) in the local zone."""
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def offset(host: dict[str, Any]) -> str:
    """How much the host's clock is ahead of the collector's, as exactly as that is known."""
    clock = host["clock"]
    if clock is None:
        return ""
    if abs(clock["offset"]) <= clock["round_trip"] / 2:
        return "0 s"
    return f"{clock['offset']:+.3g} s"


def written(value: float, unit: str) -> str:
    """A value as people read it."""
    if unit in ("1", "percent"):
        return f"{value * 100:.1f} %"
    if unit == "By":
        for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
            if abs(value) < 1024 or prefix == "Ti":
                break
            value /= 1024
        return f"{value:.0f} B" if not prefix else f"{value:.1f} {prefix}B"
    if unit == "s" and value >= 120:
        minutes = int(value) // 60
        days, hours = minutes // 1440, minutes // 60 % 24
        return (f"{days} d " if days else "") + f"{hours} h {minutes % 60} min"
    text = f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{text} {unit}" if unit and unit != "number" and not unit.startswith("{") else text
