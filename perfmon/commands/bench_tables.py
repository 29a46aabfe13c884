"""How the command line shows benchmark runs."""

import csv
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perfmon.commands.wording import moment, written

STATE_STYLES = {
    "done": "green",
    "queued": "cyan",
    "running": "cyan",
    "partial": "yellow",
    "failed": "bold red",
    "refused": "bold red",
    "lost": "bold red",
    "cancelled": "dim",
}

# Columns of a run's table: heading, figure, its unit.
_COLUMNS = (
    ("a second", "rate", "By"),
    ("total", "bytes", "By"),
    ("messages", "messages", "number"),
    ("wrong", "mismatches", "number"),
    ("unanswered", "unanswered", "number"),
    ("tests", "tests", "number"),
    ("slowest", "slowest", "By"),
    ("fastest", "fastest", "By"),
    ("unreached", "unreached", "number"),
    ("answers", "answers", "number"),
    ("iops", "iops", "number"),
    ("p50", "p50", "ms"),
    ("p99", "p99", "ms"),
    ("longest", "longest", "ms"),
    ("files", "files", "number"),
    ("threads", "threads", "number"),
)

# Pairs are shown as a table of rows and columns up to so many hosts; of more only those that something is wrong with.
_MATRIX = 12
_BAD_PAIRS = 50


def print_csv(console: Console, run: dict[str, Any]) -> None:
    """RFC 4180: host, peer, state, figure, value; the peer is empty in what a host has done as a whole."""
    lines = csv.writer(console.file)
    lines.writerow(("host", "peer", "state", "figure", "value"))
    for host, at in run["hosts"].items():
        for peer, figures in {"": at["figures"], **at["pairs"]}.items():
            lines.writerows((host, peer, at["state"], name, value) for name, value in figures.items())
        if not at["figures"]:
            lines.writerow((host, "", at["state"], "", ""))


def print_run(console: Console, run: dict[str, Any]) -> None:
    given = {name: value for name, value in run["parameters"].items() if value not in ("", False)}
    parameters = ", ".join(f"{name} {value}" for name, value in given.items())
    console.print(Text(f"{run['id']}: {run['kind']}, {parameters}"))
    known = {name for at in run["hosts"].values() for name in at["figures"]}
    columns = [column for column in _COLUMNS if column[1] in known]
    table = Table(box=None)
    for heading in ("host", "state"):
        table.add_column(heading)
    for heading, _, _ in columns:
        table.add_column(heading, justify="right")
    table.add_column("remark")
    for host, at in run["hosts"].items():
        state = Text(at["state"], style=STATE_STYLES.get(at["state"], ""))
        cells = [_cell(at["figures"].get(name), unit) for _, name, unit in columns]
        table.add_row(Text(host), state, *cells, Text(_remark(at)))
    console.print(table)
    _print_pairs(console, run)
    totals = run["totals"]
    if totals is not None:
        each = f"{written(totals['mean'], 'By')} ± {written(totals['deviation'], 'By')}"
        ends = f"{written(totals['min'], 'By')} to {written(totals['max'], 'By')}"
        console.print(Text(f"all {totals['hosts']}: {written(totals['sum'], 'By')}/s; each {each}, {ends}"))
    skew = "" if run["skew"] is None else f"; they began within {run['skew'] * 1000:.1f} ms"
    console.print(Text(f"{run['state']}{skew}"))


def _print_pairs(console: Console, run: dict[str, Any]) -> None:
    """Who did how with whom: a row for each who sends, a column for each who answers."""
    pairs = {host: at["pairs"] for host, at in run["hosts"].items() if at["pairs"]}
    met_by_any = dict.fromkeys(peer for met in pairs.values() for peer in met)
    peers = [host for host in run["hosts"] if host in met_by_any] or [*met_by_any]  # or the collector
    if len(peers) < 2 and not any(_is_bad(figures) for met in pairs.values() for figures in met.values()):
        return  # the hosts' own lines say it
    if len(peers) > _MATRIX:
        _print_bad_pairs(console, pairs)
        return
    table = Table(box=None)
    table.add_column("from / to")
    for peer in peers:
        table.add_column(Text(peer), justify="right")
    for host, met in pairs.items():
        table.add_row(Text(host), *[_pair(met[peer]) if peer in met else Text("") for peer in peers])
    console.print(table)


def _print_bad_pairs(console: Console, pairs: Mapping[str, Mapping[str, Any]]) -> None:
    bad = [(host, peer, told) for host, met in pairs.items() for peer, told in met.items() if _is_bad(told)]
    number = sum(map(len, pairs.values()))
    console.print(Text(f"{number} pairs, {len(bad)} with a problem; --csv shows them all"))
    for host, peer, told in bad[:_BAD_PAIRS]:
        console.print(Text(f"{host} to {peer}: "), _pair(told), Text(str(told.get("problem", ""))))


def _is_bad(figures: Mapping[str, Any]) -> bool:
    return bool(figures.get("problem") or figures.get("mismatches") or figures.get("unanswered"))


def _pair(figures: Mapping[str, Any]) -> Text:
    """How one pair did, in a few words: what is wrong with it, the usual latency, or the bytes a second."""
    for name, what in (("mismatches", "wrong"), ("unanswered", "unanswered")):
        if figures.get(name):
            return Text(f"{figures[name]} {what}", style="bold red")
    if "problem" in figures:
        return Text("unreached", style="bold red")
    return Text(_cell(figures["p50"], "ms") if "p50" in figures else f"{written(figures['rate'], 'By')}/s")


def rate_of(at: Mapping[str, Any]) -> str:
    """Bytes a second that a host has done so far; empty while there are none."""
    rate = at["figures"].get("rate")
    return f"{written(rate, 'By')}/s" if rate else ""


def print_list(console: Console, runs: Sequence[Mapping[str, Any]]) -> None:
    table = Table(box=None)
    for heading in ("id", "kind", "start", "seconds", "state", "hosts"):
        table.add_column(heading)
    for run in runs:
        hosts = ", ".join(f"{count} {state}" for state, count in run["counts"].items())
        state = Text(run["state"], style=STATE_STYLES.get(run["state"], ""))
        start = "" if run["start"] is None else moment(run["start"])
        table.add_row(run["id"], run["kind"], start, f"{run['seconds']:g}", state, hosts)
    console.print(table)


def print_compared(console: Console, one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    table = Table(box=None)
    table.add_column("host")
    for heading in (one["id"], other["id"], "ratio"):
        table.add_column(heading, justify="right")
    for host in dict.fromkeys([*one["hosts"], *other["hosts"]]):
        rates = [run["hosts"].get(host, {"figures": {}})["figures"].get("rate") for run in (one, other)]
        cells = ["" if rate is None else f"{written(rate, 'By')}/s" for rate in rates]
        ratio = f"{rates[1] / rates[0]:.2f}" if rates[0] and rates[1] else ""
        table.add_row(Text(host), *cells, ratio)
    console.print(table)


def _cell(value: Any, unit: str) -> str:
    if value is None:
        return ""
    return f"{value * 1000:.2f} ms" if unit == "ms" else written(float(value), unit)


def _remark(at: dict[str, Any]) -> str:
    """Why a host has not done it, or what its result does not show."""
    if at["reason"]:
        return str(at["reason"])
    if at["figures"].get("two_rolls") is False:
        expected = "as expected" if not at["expected"].get("two_rolls_expected") else "more were expected"
        return f"fewer than two rolls, {expected}: a smaller roll, or more time, shows what rolling costs"
    return ""
