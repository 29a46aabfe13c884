"""The hosts as a plain table, for browsers without scripts and for readers of text."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

# Heading, metric, and how its value is written.
_FIGURES = (
    ("CPU", "perfmon.cpu.utilization", "{:.1%}"),
    ("Memory", "perfmon.memory.utilization", "{:.1%}"),
    ("Load", "system.cpu.load_average.1m", "{:.2f}"),
)
METRICS = ",".join(metric for _, metric, _ in _FIGURES)

# As on the page: first those that somebody should look at.
_RANK = {"departed": 0, "late": 1, "silent": 2, "up": 3, "absent": 4, "left": 5}

_BEGIN = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<link rel="icon" href="icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="page.css">
</head>
<body>
<header><h1>perfmon</h1></header>
<main>
"""
_END = "</main>\n</body>\n</html>\n"


def plain_page(hosts: Sequence[Mapping[str, Any]], problem: str | None, now: float) -> bytes:
    """HTML of `hosts`, as the API describes them; `problem` says why samples cannot be stored, `now` is in s."""
    counts = {state: sum(host["state"] == state for host in hosts) for state in _RANK}
    summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count) or "No host yet"
    title = f"({counts['departed']} departed) perfmon" if counts["departed"] else "perfmon"
    headings = ["State", "Name", "Labels", *(heading for heading, _, _ in _FIGURES), "Last seen", "Since", "Reason"]
    rows = sorted(hosts, key=lambda host: (_RANK.get(host["state"], len(_RANK)), host["host"]))
    parts = [
        _BEGIN.format(title=escape(title)),
        f'<p class="banner">{escape(problem)}</p>\n' if problem else "",
        f'<p>{escape(summary)}, at {_moment(now)}. <a href="plain">Look again</a></p>\n',
        '<table class="plain">\n<thead><tr>',
        *(f'<th scope="col">{heading}</th>' for heading in headings),
        "</tr></thead>\n<tbody>\n",
        *(_row(host) for host in rows),
        "</tbody>\n</table>\n",
        _END,
    ]
    return "".join(parts).encode()


def _row(host: Mapping[str, Any]) -> str:
    state, latest = host["state"], host["latest"]
    figures = [how.format(latest[metric]["value"]) if metric in latest else "" for _, metric, how in _FIGURES]
    labels = ", ".join(f"{name}={value}" for name, value in host["labels"].items())
    cells = [host["host"], labels, *figures, _moment(host["last_seen"]), _moment(host["since"]), host["reason"]]
    mark = f'<td><span class="mark {escape(state)}">{escape(state)}</span></td>'
    return f"<tr>{mark}{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>\n"


def _moment(time: float) -> str:
    """In UTC: nobody here knows where the reader is."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
