"""The command line's ``rightsizing``: which machines to reclaim, shrink or grow."""

import argparse
import csv
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perfmon.commands.client import Client, ClientError
from perfmon.commands.wording import Shown, moment, written

# The verdicts on a thousand hosts take a collector some ten seconds: ten thousand are to have an answer, too.
PATIENCE = 300.0  # s

STYLES = {
    "grow": "bold red",
    "reclaim": "bold green",
    "shrink": "green",
    "keep": "",
    "insufficient-data": "dim",
}

_CSV = (
    "host",
    "verdict",
    "cores",
    "suggested_cores",
    "memory",
    "suggested_memory",
    "saving",
    "confidence",
    "coverage",
    "rules",
    "note",
    "dismissed",
)


def add_rightsizing(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds ``rightsizing`` to a command line."""
    command = commands.add_parser(
        "rightsizing", parents=[common], help="which machines to reclaim, shrink or grow, with evidence"
    )
    command.add_argument("host", nargs="?", default="*", help="name or pattern, such as 'web*' (default all)")
    command.add_argument("--window", default="14d", help="how far back (default 14d)")
    command.add_argument("--min-history", help="known time that a verdict takes (default 7d, at most the window)")
    command.add_argument("--profile", default="normal", choices=("safe", "normal", "bold"), help="(default normal)")
    command.add_argument(
        "--threshold", default="10", help="percentage of the CPU below which a host is idle (default 10)"
    )
    command.add_argument("--why", action="store_true", help="every rule that held, and the back-test")
    command.add_argument("--all", action="store_true", help="also what is to be kept, lacks data, or was dismissed")
    command.add_argument("--csv", action="store_true", help="a line for each host")
    note = command.add_mutually_exclusive_group()
    note.add_argument("--note", metavar="TEXT", help="note this of the one host that is named, such as its owner")
    note.add_argument("--dismiss", metavar="TIME", help="hear no more of this host for so long, such as 30d")
    note.add_argument("--recall", action="store_true", help="take that back")
    command.set_defaults(run=_rightsizing)


async def _rightsizing(client: Client, options: argparse.Namespace) -> Shown:
    if options.note is not None or options.dismiss is not None or options.recall:
        return await _note(client, options)
    parameters = {name: getattr(options, name) for name in ("host", "window", "profile", "threshold")}
    if options.min_history is not None:
        parameters["min_history"] = options.min_history
    report = await client.get("/api/v1/rightsizing", parameters, PATIENCE)

    def show(console: Console) -> None:
        if options.csv:
            _print_csv(console, report)
        else:
            _print_report(console, report, options.all, options.why)

    return report, show


async def _note(client: Client, options: argparse.Namespace) -> Shown:
    if any(special in options.host for special in "*?["):
        raise ClientError("name the one host that this is about")
    body = {"note": options.note} if options.note is not None else {"dismiss": options.dismiss}
    answer = await client.post(f"/api/v1/hosts/{quote(options.host, safe='')}/rightsizing", body)
    until = "" if answer["dismissed"] is None else f"; dismissed until {moment(answer['dismissed'])}"
    return answer, lambda console: console.print(Text(f"{answer['host']}: {answer['note'] or 'no note'}{until}"))


def _print_report(console: Console, report: Mapping[str, Any], everything: bool, why: bool) -> None:
    shown = [told for told in report["hosts"] if everything or _is_told(told)]
    currency = report["currency"]
    table = Table(box=None)
    for heading in ("host", "verdict"):
        table.add_column(heading)
    for heading in ("cores", "memory", *(["a month"] if currency is not None else [])):
        table.add_column(heading, justify="right")
    for heading in ("sure", "because"):
        table.add_column(heading)
    for told in shown:
        verdict = Text(told["verdict"], style=STYLES[told["verdict"]])
        if told["dismissed"] is not None:
            verdict.append(", dismissed", style="dim")
        sizes = _change(told, "cores", "number"), _change(told, "memory", "By")
        saving = [_saving(told["saving"], currency)] if currency is not None else []
        because = ", ".join(rule["name"] for rule in told["rules"])
        if told["note"]:
            because += f" ({told['note']})"
        table.add_row(Text(told["host"]), verdict, *sizes, *saving, told["confidence"], Text(because))
    if shown:
        console.print(table)
    if why:
        for told in shown:
            _print_why(console, told)
    counts = ", ".join(f"{count} {verdict}" for verdict, count in report["counts"].items() if count)
    total = "" if report["saving"] is None else f"; {_saving(report['saving'], currency)} a month"
    console.print(Text(f"{moment(report['from'])} to {moment(report['until'])}: {counts or 'no hosts'}{total}"))


def _is_told(told: Mapping[str, Any]) -> bool:
    return told["dismissed"] is None and told["verdict"] in ("grow", "reclaim", "shrink")


def _print_why(console: Console, told: Mapping[str, Any]) -> None:
    console.print(Text(f"\n{told['host']}: {told['verdict']}", style="bold"))
    for rule in told["rules"]:
        figure, limit = (_figure(rule[name], rule["unit"]) for name in ("figure", "limit"))
        console.print(Text(f"  {rule['name']}: {figure}, limit {limit}; {rule['text']}"))
    known = _figure(told["known"], "s")
    console.print(Text(f"  known for {known}, {told['coverage']:.0%} of the time that it was there"))
    if told["eligible"] is not None:
        console.print(Text(f"  there will be enough data by {moment(told['eligible'])}"))
    test = told["back_test"]
    if test is not None:
        tight = f"{test['cpu_tight']:.0f} of {test['minutes']:.0f} minutes over 80 % of the CPU"
        memory = "" if test["memory_full"] is None else f", {test['memory_full']:.0f} over its memory"
        console.print(Text(f"  with the suggested size: {tight}, {test['cpu_full']:.0f} over 100 %{memory}"))


def _figure(value: float, unit: str) -> str:
    if unit == "s":
        return written(value, "s") if value < 2 * 86_400 else f"{value / 86_400:.1f} d"
    if unit == "By/s":
        return f"{written(value, 'By')}/s"
    return written(value, unit)


def _change(told: Mapping[str, Any], what: str, unit: str) -> str:
    now, suggested = told["now"][what], told["suggested"][what]
    if now is None:
        return ""
    if suggested is None or suggested == now:
        return written(now, unit)
    return f"{written(now, unit)} → {written(suggested, unit)}"


def _saving(saving: float | None, currency: str) -> str:
    return "" if saving is None else f"{saving:+,.2f} {currency}".strip()


def _print_csv(console: Console, report: Mapping[str, Any]) -> None:
    """RFC 4180; memory in bytes."""
    lines = csv.writer(console.file)
    lines.writerow(_CSV)
    for told in report["hosts"]:
        more = {
            "cores": told["now"]["cores"],
            "suggested_cores": told["suggested"]["cores"],
            "memory": told["now"]["memory"],
            "suggested_memory": told["suggested"]["memory"],
            "rules": " ".join(rule["name"] for rule in told["rules"]),
        }
        lines.writerow([more.get(name, told.get(name)) for name in _CSV])
