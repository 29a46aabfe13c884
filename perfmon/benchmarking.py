"""The command line's ``bench``: begin a benchmark on many hosts, follow it, and show what came of it."""

import argparse
import csv
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from perfmon.client import Client, ClientError
from perfmon.wording import moment, written

Shown = tuple[Any, Callable[[Console], None]]
"""What a command was answered, and how to print it."""

_PATH = "/api/v1/benchmarks"
_FOLLOW = 0.5  # s between two looks at a run
_OVER = frozenset({"done", "partial", "failed", "cancelled"})

STATE_STYLES = {
    "done": "green",
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
    ("iops", "iops", "number"),
    ("p50", "p50", "ms"),
    ("p99", "p99", "ms"),
    ("longest", "longest", "ms"),
    ("files", "files", "number"),
    ("threads", "threads", "number"),
)


def add_bench(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds ``bench`` and what follows it to a command line."""
    bench = commands.add_parser("bench", help="put a load on many hosts at once, and see what they can do")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--on", metavar="HOSTS", help="name or pattern, such as 'web*'")
    where.add_argument("--label", help="only hosts with this label, NAME=VALUE")
    where.add_argument("--seconds", type=float, default=60.0, help="how long (default 60)")
    where.add_argument("--detach", action="store_true", help="only begin it: perfmon bench show ID tells the rest")

    disk = kinds.add_parser("disk-write", parents=[common, where], help="write chunks into files that roll")
    disk.add_argument("--chunk", type=_size, default=1 << 20, help="written at once (default 1MiB)")
    disk.add_argument("--roll", type=_size, default=100 << 20, help="size of a file (default 100MiB)")
    disk.add_argument("--fsync", choices=("never", "roll", "chunk"), default="roll", help="after what (default roll)")
    disk.set_defaults(run=_begin, kind="disk-write", parameters=("seconds", "chunk", "roll", "fsync"))

    cpu = kinds.add_parser("cpu", parents=[common, where], help="compute SHA-256 on all CPUs")
    cpu.add_argument("--threads", type=int, default=0, help="how many (default: as many as there are CPUs)")
    cpu.set_defaults(run=_begin, kind="cpu", parameters=("seconds", "threads"))

    fio = kinds.add_parser("fio", parents=[common, where], help="one job of fio, on hosts that have it")
    fio.add_argument("--rw", default="randread", help="read, write, randread, randwrite, readwrite or randrw")
    fio.add_argument("--bs", type=_size, default=4_096, help="size of an operation (default 4KiB)")
    fio.add_argument("--size", type=_size, default=256 << 20, help="of a job's file (default 256MiB)")
    fio.add_argument("--numjobs", type=int, default=1, help="at once (default 1)")
    fio.add_argument("--iodepth", type=int, default=1, help="operations of a job at once (default 1)")
    fio.add_argument("--ioengine", default="psync", help="psync, libaio or io_uring (default psync)")
    fio.add_argument("--direct", action="store_true", help="past the page cache")
    fio.add_argument("--fsync", type=int, default=0, help="after so many writes (default 0: never)")
    fio.add_argument("--fallocate", default="native", help="native, or none: files grow (default native)")
    words = ("seconds", "rw", "bs", "size", "numjobs", "iodepth", "ioengine", "direct", "fsync", "fallocate")
    fio.set_defaults(run=_begin, kind="fio", parameters=words)

    listed = kinds.add_parser("list", parents=[common], help="the newest benchmarks")
    listed.add_argument("--limit", type=int, default=20, help="most of them (default 20)")
    listed.set_defaults(run=_list)
    show = kinds.add_parser("show", parents=[common], help="one benchmark, host by host")
    show.add_argument("id")
    show.set_defaults(run=_show)
    show.add_argument("--csv", action="store_true", help="a line for each host and figure")
    compare = kinds.add_parser("compare", parents=[common], help="two benchmarks of a kind, host by host")
    compare.add_argument("ids", nargs=2, metavar="id")
    compare.set_defaults(run=_compare)
    cancel = kinds.add_parser("cancel", parents=[common], help="end one early")
    cancel.add_argument("id")
    cancel.set_defaults(run=_cancel)


def _size(text: str) -> int:
    from perfmon.options import size  # brings Twisted along

    try:
        return int(size(text))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


async def _begin(client: Client, options: argparse.Namespace) -> Shown:
    body: dict[str, Any] = {
        "kind": options.kind,
        "parameters": {name: getattr(options, name) for name in options.parameters},
    }
    if options.on:
        body["hosts"] = options.on
    if options.label:
        body["label"] = options.label
    begun = await client.post(_PATH, body)
    if options.detach:
        return begun, lambda console: console.print(Text(f"{begun['id']}: on {len(begun['hosts'])} hosts"))
    run = await _follow(client, begun["id"], quiet=options.json)
    return run, lambda console: _print_run(console, run)


async def _follow(client: Client, id: str, quiet: bool) -> Any:
    """The run when it is over; meanwhile there is a bar for each host, where somebody looks."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    texts = [TextColumn(text) for text in ("{task.description}", "{task.percentage:3.0f} %", "{task.fields[told]}")]
    columns = (texts[0], BarColumn(), *texts[1:])
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        while True:
            run = await client.get(f"{_PATH}/{quote(id, safe='')}", {})
            for host, at in run["hosts"].items():
                if host not in bars:
                    bars[host] = progress.add_task(host, total=1.0, told="")
                rate = at["figures"].get("rate")
                told = f"{at['state']}, {written(rate, 'By')}/s" if rate else at["state"]
                progress.update(bars[host], completed=at["share"], told=told)
            if run["state"] in _OVER:
                return run
            await deferLater(reactor, _FOLLOW)


async def _list(client: Client, options: argparse.Namespace) -> Shown:
    answer = await client.get(_PATH, {"limit": str(options.limit)})

    def show(console: Console) -> None:
        table = Table(box=None)
        for heading in ("id", "kind", "start", "seconds", "state", "hosts"):
            table.add_column(heading)
        for run in answer["benchmarks"]:
            hosts = ", ".join(f"{count} {state}" for state, count in run["counts"].items())
            state = Text(run["state"], style=STATE_STYLES.get(run["state"], ""))
            table.add_row(run["id"], run["kind"], moment(run["start"]), f"{run['seconds']:g}", state, hosts)
        console.print(table)

    return answer, show


async def _show(client: Client, options: argparse.Namespace) -> Shown:
    run = await client.get(f"{_PATH}/{quote(options.id, safe='')}", {})
    return run, lambda console: (_print_csv if options.csv else _print_run)(console, run)


def _print_csv(console: Console, run: dict[str, Any]) -> None:
    """RFC 4180: host, state, figure, value."""
    lines = csv.writer(console.file)
    lines.writerow(("host", "state", "figure", "value"))
    for host, at in run["hosts"].items():
        lines.writerows((host, at["state"], name, value) for name, value in at["figures"].items())
        if not at["figures"]:
            lines.writerow((host, at["state"], "", ""))


async def _compare(client: Client, options: argparse.Namespace) -> Shown:
    one, other = [await client.get(f"{_PATH}/{quote(id, safe='')}", {}) for id in options.ids]
    if one["kind"] != other["kind"]:
        raise ClientError(
            f"{one['id']} is {one['kind']}, {other['id']} is {other['kind']}: they have nothing in common"
        )

    def show(console: Console) -> None:
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

    return [one, other], show


async def _cancel(client: Client, options: argparse.Namespace) -> Shown:
    answer = await client.delete(f"{_PATH}/{quote(options.id, safe='')}")
    return answer, lambda console: console.print(Text(f"{answer['cancelled']}: it ends now"))


def _print_run(console: Console, run: dict[str, Any]) -> None:
    parameters = ", ".join(f"{name} {value}" for name, value in run["parameters"].items())
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
    totals = run["totals"]
    if totals is not None:
        each = f"{written(totals['mean'], 'By')} ± {written(totals['deviation'], 'By')}"
        ends = f"{written(totals['min'], 'By')} to {written(totals['max'], 'By')}"
        console.print(Text(f"all {totals['hosts']}: {written(totals['sum'], 'By')}/s; each {each}, {ends}"))
    skew = "" if run["skew"] is None else f"; they began within {run['skew'] * 1000:.1f} ms"
    console.print(Text(f"{run['state']}{skew}"))


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
