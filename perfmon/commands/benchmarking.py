"""The command line's ``bench``: begin a benchmark on many hosts, follow it, and show what came of it."""

import argparse
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from perfmon.commands.bench_tables import print_compared, print_csv, print_list, print_run, rate_of
from perfmon.commands.client import Client, ClientError
from perfmon.commands.plans import BadPlan, Planned, parse_plan
from perfmon.commands.wording import Shown, print_answer, zoned

_PATH = "/api/v1/benchmarks"
_FOLLOW = 0.5  # s between two looks at a run
_OVER = frozenset({"done", "partial", "failed", "cancelled"})


def _size(text: str) -> int:
    from perfmon.options import size  # brings Twisted along

    try:
        return int(size(text))
    except ValueError as problem:
        raise argparse.ArgumentTypeError(str(problem)) from None


# Of each kind what it does, and its parameters beside the seconds: name, what argparse is told of it. A default is
# that of the API where none is given.
_Parameter = tuple[str, dict[str, Any]]
_AMONG: _Parameter = ("to", {"default": "", "metavar": "HOST", "help": "all meet this host, whatever --pairs says"})
_KINDS: dict[str, tuple[str, float, tuple[_Parameter, ...]]] = {
    "disk-write": (
        "write chunks into files that roll",
        60.0,
        (
            ("chunk", {"type": _size, "default": 1 << 20, "help": "written at once (default 1MiB)"}),
            ("roll", {"type": _size, "default": 100 << 20, "help": "size of a file (default 100MiB)"}),
            (
                "fsync",
                {"choices": ("never", "roll", "chunk"), "default": "roll", "help": "after what (default roll)"},
            ),
        ),
    ),
    "cpu": (
        "compute SHA-256 on all CPUs",
        60.0,
        (("threads", {"type": int, "default": 0, "help": "how many (default: as many as there are CPUs)"}),),
    ),
    "echo": (
        "send messages, and check the SHA-1 that each is answered with",
        60.0,
        (
            ("size", {"type": _size, "default": 8_192, "help": "of a message (default 8KiB)"}),
            ("rate", {"type": float, "default": 10.0, "help": "messages a second to each of the others (default 10)"}),
            (
                "pairs",
                {
                    "choices": ("collector", "ring", "all"),
                    "default": "collector",
                    "help": "to whom: the collector, the next host, or every other one (default collector)",
                },
            ),
            _AMONG,
        ),
    ),
    "fio": (
        "one job of fio, on hosts that have it",
        60.0,
        (
            ("rw", {"default": "randread", "help": "read, write, randread, randwrite, readwrite or randrw"}),
            ("bs", {"type": _size, "default": 4_096, "help": "size of an operation (default 4KiB)"}),
            ("size", {"type": _size, "default": 256 << 20, "help": "of a job's file (default 256MiB)"}),
            ("numjobs", {"type": int, "default": 1, "help": "at once (default 1)"}),
            ("iodepth", {"type": int, "default": 1, "help": "operations of a job at once (default 1)"}),
            ("ioengine", {"default": "psync", "help": "psync, libaio or io_uring (default psync)"}),
            ("direct", {"action": "store_true", "help": "past the page cache"}),
            ("fsync", {"type": int, "default": 0, "help": "after so many writes (default 0: never)"}),
            ("fallocate", {"default": "native", "help": "native, or none: files grow (default native)"}),
        ),
    ),
    "iperf3": (
        "tests of iperf3 between hosts that have it, no server having two at once",
        10.0,
        (
            (
                "pairs",
                {
                    "choices": ("ring", "all"),
                    "default": "ring",
                    "help": "with whom: the next host, or every other one (default ring)",
                },
            ),
            _AMONG,
            ("protocol", {"choices": ("tcp", "udp"), "default": "tcp", "help": "tcp or udp (default tcp)"}),
            ("parallel", {"type": int, "default": 1, "help": "streams at once (default 1)"}),
            ("bitrate", {"type": int, "default": 0, "help": "bits a second of a stream (default: iperf3's own)"}),
            ("reverse", {"action": "store_true", "help": "the other end sends"}),
        ),
    ),
}


def add_bench(commands: Any, common: argparse.ArgumentParser) -> None:
    """Adds ``bench`` and what follows it to a command line."""
    bench = commands.add_parser("bench", help="put a load on many hosts at once, and see what they can do")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    where = argparse.ArgumentParser(add_help=False)
    where.add_argument("--on", metavar="HOSTS", help="name or pattern, such as 'web*'")
    where.add_argument("--label", help="only hosts with this label, NAME=VALUE")
    where.add_argument("--start", metavar="TIME", help="when, such as 2026-01-31T12:00 (default in 3 s)")
    where.add_argument("--queue", action="store_true", help="wait for hosts that run another benchmark")
    where.add_argument("--detach", action="store_true", help="only begin it: perfmon bench show ID tells the rest")
    for kind, (what, seconds, parameters) in _KINDS.items():
        command = kinds.add_parser(kind, parents=[common, where], help=what)
        command.add_argument("--seconds", type=float, default=seconds, help=f"how long (default {seconds:g})")
        for name, told in parameters:
            command.add_argument(f"--{name}", **told)
        command.set_defaults(run=_begin, kind=kind, parameters=("seconds", *(name for name, _ in parameters)))

    run = kinds.add_parser("run", parents=[common], help="the runs that a file describes, one after the other")
    run.add_argument("plan", help="a TOML file")
    run.set_defaults(run=_run_plan)
    listed = kinds.add_parser("list", parents=[common], help="the newest benchmarks")
    listed.add_argument("--limit", type=int, default=20, help="most of them (default 20)")
    listed.set_defaults(run=_list)
    show = kinds.add_parser("show", parents=[common], help="one benchmark, host by host")
    show.add_argument("id")
    show.set_defaults(run=_show)
    how = show.add_mutually_exclusive_group()
    how.add_argument("--csv", action="store_true", help="a line for each host and figure")
    how.add_argument("--output", metavar="HOST", help="what fio or iperf3 wrote on this host, as JSON")
    compare = kinds.add_parser("compare", parents=[common], help="two benchmarks of a kind, host by host")
    compare.add_argument("ids", nargs=2, metavar="id")
    compare.set_defaults(run=_compare)
    cancel = kinds.add_parser("cancel", parents=[common], help="end one early")
    cancel.add_argument("id")
    cancel.set_defaults(run=_cancel)


async def _begin(client: Client, options: argparse.Namespace) -> Shown:
    parameters = {name: getattr(options, name) for name in options.parameters}
    planned = Planned(options.kind, options.on or "", options.label or "", parameters)
    begun = await client.post(_PATH, _body(planned, options.queue, options.start))
    if options.detach:
        return begun, lambda console: console.print(Text(f"{begun['id']}: on {len(begun['hosts'])} hosts"))
    run = await _follow(client, begun["id"], quiet=options.json)
    return run, lambda console: print_run(console, run)


def _body(planned: Planned, queue: bool, start: str | None = None) -> dict[str, Any]:
    body: dict[str, Any] = {"kind": planned.kind, "parameters": planned.parameters}
    if planned.on:
        body["hosts"] = planned.on
    if planned.label:
        body["label"] = planned.label
    if queue:
        body["busy"] = "queue"
    if start is not None:
        body["start"] = zoned(start)
    return body


async def _get(client: Client, id: str) -> Any:
    return await client.get(f"{_PATH}/{quote(id, safe='')}", {})


async def _follow(client: Client, id: str, quiet: bool) -> Any:
    """The run when it is over; meanwhile there is a bar for each host, where somebody looks."""
    from twisted.internet import reactor
    from twisted.internet.task import deferLater

    texts = [TextColumn(text) for text in ("{task.description}", "{task.percentage:3.0f} %", "{task.fields[told]}")]
    columns = (texts[0], BarColumn(), *texts[1:])
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        while True:
            run = await _get(client, id)
            for host, at in run["hosts"].items():
                if host not in bars:
                    bars[host] = progress.add_task(host, total=1.0, told="")
                state = "queued" if run["state"] == "queued" else at["state"]
                rate = rate_of(at)
                progress.update(bars[host], completed=at["share"], told=f"{state}, {rate}" if rate else state)
            if run["state"] in _OVER:
                return run
            await deferLater(reactor, _FOLLOW)


async def _run_plan(client: Client, options: argparse.Namespace) -> Shown:
    """All runs of a plan, also after one that has failed; those that are not done make the command fail."""
    try:
        plan = parse_plan(Path(options.plan).expanduser().read_text(), _size)
    except (BadPlan, argparse.ArgumentTypeError, UnicodeDecodeError) as problem:
        raise ClientError(f"{options.plan}: {problem}") from None
    runs, problems = [], []
    for number, planned in enumerate(plan, 1):
        try:
            begun = await client.post(_PATH, _body(planned, queue=True))
            run = await _follow(client, begun["id"], quiet=options.json)
        except ClientError as problem:
            problems.append(f"run {number}, {planned.kind}: {problem}")
            continue
        runs.append(run)
        if run["state"] != "done":
            problems.append(f"run {number}, {planned.kind} ({run['id']}), is {run['state']}")

    def show(console: Console) -> None:
        for run in runs:
            print_run(console, run)

    if problems:
        print_answer(runs, show, options.json)
        raise ClientError("\nperfmon: ".join(problems))
    return runs, show


async def _list(client: Client, options: argparse.Namespace) -> Shown:
    answer = await client.get(_PATH, {"limit": str(options.limit)})
    return answer, lambda console: print_list(console, answer["benchmarks"])


async def _show(client: Client, options: argparse.Namespace) -> Shown:
    if options.output is not None:
        output = await client.get(f"{_PATH}/{quote(options.id, safe='')}/output", {"host": options.output})
        return output, lambda console: console.print_json(data=output)
    run = await _get(client, options.id)
    return run, lambda console: (print_csv if options.csv else print_run)(console, run)


async def _compare(client: Client, options: argparse.Namespace) -> Shown:
    one, other = [await _get(client, id) for id in options.ids]
    if one["kind"] != other["kind"]:
        raise ClientError(
            f"{one['id']} is {one['kind']}, {other['id']} is {other['kind']}: they have nothing in common"
        )
    return [one, other], lambda console: print_compared(console, one, other)


async def _cancel(client: Client, options: argparse.Namespace) -> Shown:
    answer = await client.delete(f"{_PATH}/{quote(options.id, safe='')}")
    return answer, lambda console: console.print(Text(f"{answer['cancelled']}: it ends now"))
