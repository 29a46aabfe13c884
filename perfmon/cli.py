"""``perfmon``: a thin command line over the collector's HTTP API."""

import argparse
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table
from rich.text import Text

from perfmon import __version__
from perfmon.commands.benchmarking import add_bench
from perfmon.commands.client import Client, ClientError
from perfmon.commands.rightsizing import add_rightsizing
from perfmon.commands.wording import Shown, absent, moment, offset, ordered, print_answer, written, zoned

DEFAULT_URL = "http://127.0.0.1:9001"

STATE_STYLES = {
    "up": "green",
    "late": "yellow",
    "departed": "bold red",
    "left": "dim",
    "silent": "magenta",
    "absent": "cyan",
}

# Shown for each host by `perfmon hosts`: heading, metric, how to write its value.
HOST_COLUMNS = (
    ("cpu", "perfmon.cpu.utilization", "percent"),
    ("memory", "perfmon.memory.utilization", "percent"),
    ("load", "system.cpu.load_average.1m", "number"),
)


async def _status(client: Client, options: argparse.Namespace) -> Shown:
    status = await client.get("/api/v1/status", {})

    def show(console: Console) -> None:
        samples, store, agents = status["samples"], status["store"], status["agents"]
        rate = agents["samples_per_second"]
        rejected = ", ".join(f"{count} {reason}" for reason, count in samples["rejected_by_reason"].items())
        rows = {
            "version": status["version"],
            "uptime": written(status["uptime"], "s"),
            "hosts": ", ".join(f"{count} {state}" for state, count in status["hosts"].items() if count) or "none yet",
            "samples": f"{samples['received']:,} received, {samples['stored']:,} stored, "
            f"{samples['rejected']:,} rejected" + (f" ({rejected})" if rejected else ""),
            "rates": f"{samples['received_per_second']:,.1f} received, "
            f"{samples['stored_per_second']:,.1f} stored a second",
            "agents": f"{agents['connected']} connected, "
            f"{rate['mean']:.1f} ± {rate['deviation']:.1f} samples a second each",
            "store": store["problem"]
            or f"{store['address']}, {store['server']} {store['version']}, {written(store['memory_bytes'], 'By')}"
            + ("" if store["append_only"] else ", without append-only file: what is stored may not outlive its server"),
            "waiting": f"{written(status['ingest']['buffered_bytes'], 'By')}"
            + (", senders are paused" if status["ingest"]["paused"] else ""),
            "loop lag": f"{status['loop_lag'] * 1000:.1f} ms",
        }
        table = Table(show_header=False, box=None)
        for name, value in rows.items():
            table.add_row(Text(name, style="bold"), Text(value))
        console.print(table)

    return status, show


async def _hosts(client: Client, options: argparse.Namespace) -> Shown:
    metrics = ",".join(metric for _, metric, _ in HOST_COLUMNS)
    parameters = {"host": options.host} if options.json else {"host": options.host, "metric": metrics}
    answer = await client.get("/api/v1/hosts", parameters)

    def show(console: Console) -> None:
        table = Table(box=None)
        for heading in ("host", "state", "since", "last seen"):
            table.add_column(heading)
        for heading, _, _ in HOST_COLUMNS:
            table.add_column(heading, justify="right")
        table.add_column("clock", justify="right")
        for host in answer["hosts"]:
            cells = [
                written(host["latest"][metric]["value"], how) if metric in host["latest"] else ""
                for _, metric, how in HOST_COLUMNS
            ]
            state = Text(host["state"], style=STATE_STYLES.get(host["state"], ""))
            if host["stopped"]:
                state.append(", stopped", style="dim")
            times = moment(host["since"]), moment(host["last_seen"])
            table.add_row(Text(host["host"]), state, *times, *cells, offset(host))
        console.print(table)

    return answer, show


async def _query(client: Client, options: argparse.Namespace) -> Shown:
    parameters = {"metric": options.metric, "host": options.host, "agg": options.agg}
    parameters |= {"from": zoned(options.start), "until": zoned(options.until)}
    if options.step:
        parameters["step"] = options.step
    answer = await client.get("/api/v1/query", parameters)

    def show(console: Console) -> None:
        table = Table(box=None)
        for heading in ("host", "metric", "time"):
            table.add_column(heading)
        table.add_column("value", justify="right")
        unit_suffix = "/s" if options.agg == "rate" else ""
        for series in answer["series"]:
            for time, value in zip(series["times"], series["values"], strict=True):
                shown = "" if value is None else written(value, series["unit"]) + unit_suffix
                table.add_row(Text(series["host"]), Text(series["metric"]), moment(time), shown)
        console.print(table)

    return answer, show


async def _events(client: Client, options: argparse.Namespace) -> Shown:
    parameters = {"since": zoned(options.since), "limit": str(options.limit), "host": options.host}
    if options.kind is not None:
        parameters["kind"] = options.kind
    answer = await client.get("/api/v1/events", parameters)

    def show(console: Console) -> None:
        table = Table(box=None)
        for heading in ("time", "event", "hosts", "reason"):
            table.add_column(heading)
        for event in answer["events"]:
            kind = Text(event["kind"], style=STATE_STYLES.get(event["kind"], ""))
            table.add_row(moment(event["at"]), kind, Text(", ".join(event["hosts"])), Text(event["reason"]))
        console.print(table)

    return answer, show


async def _export(client: Client, options: argparse.Namespace) -> None:
    parameters = {"format": options.format, "metric": options.metric, "agg": options.agg}
    parameters |= {"from": zoned(options.start), "until": zoned(options.until)}
    if options.step:
        parameters["step"] = options.step
    path = f"/api/v1/hosts/{quote(options.host, safe='')}/export"
    if options.output is None:
        await client.save(path, parameters, sys.stdout.buffer.write)
        return
    # a file that is there already is replaced by a whole one, or not at all
    part = f"{options.output}.part"
    try:
        with open(part, "wb") as file:
            await client.save(path, parameters, file.write)
        os.replace(part, options.output)
    finally:
        Path(part).unlink(missing_ok=True)


async def _delete(client: Client, options: argparse.Namespace) -> Shown:
    answer = await client.delete(f"/api/v1/hosts/{quote(options.host, safe='')}")
    return answer, lambda console: console.print(
        Text(f"{answer['removed']} is removed, with {answer['keys']:,} keys of the store")
    )


async def _control(client: Client, options: argparse.Namespace) -> Shown:
    body = {"interval": options.interval} if options.order == "interval" else {}

    async def order(host: str) -> Any:
        return await client.post(f"/api/v1/hosts/{quote(host, safe='')}/{options.order}", body)

    return await _for_each(client, options, order, ordered, "with an agent ")


async def _absence(client: Client, options: argparse.Namespace) -> Shown:
    body = {"for": options.length, "until": options.until and zoned(options.until), "reason": options.reason}

    async def plan(host: str) -> Any:
        path = f"/api/v1/hosts/{quote(host, safe='')}/absence"
        if options.end:
            return await client.delete(path)
        return await client.post(path, {name: value for name, value in body.items() if value})

    return await _for_each(client, options, plan, absent)


async def _for_each(
    client: Client,
    options: argparse.Namespace,
    ask: Callable[[str], Awaitable[Any]],
    sentence: Callable[[Any], str],
    which: str = "",
) -> Shown:
    """Asks the same of several hosts; one that cannot be told keeps none of the others from it."""
    hosts: list[str] = []
    answers, problems = [], []
    for word in options.hosts:
        try:
            hosts += await _hosts_of(client, word, which)
        except ClientError as problem:
            problems.append(str(problem))
    for host in dict.fromkeys(hosts):
        try:
            answers.append(await ask(host))
        except ClientError as problem:
            problems.append(str(problem))

    def show(console: Console) -> None:
        for answer in answers:
            console.print(Text(sentence(answer)))

    if problems:
        print_answer(answers, show, options.json)
        raise ClientError("\nperfmon: ".join(dict.fromkeys(problems)))
    return answers, show


async def _hosts_of(client: Client, word: str, which: str) -> list[str]:
    """The hosts that `word` means: the one of this name, or those (`which` have an agent) that match the pattern."""
    if not any(special in word for special in "*?["):
        return [word]
    known = await client.get("/api/v1/hosts", {"host": word, "metric": "-"})
    found = [host["host"] for host in known["hosts"] if host["kind"] == "agent" or not which]
    if not found:
        raise ClientError(f"no host {which}matches {word!r}")
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url", default=os.environ.get("PERFMON_URL", DEFAULT_URL), help=f"of the collector (default {DEFAULT_URL})"
    )
    common.add_argument(
        "--token-file", default=os.environ.get("PERFMON_TOKEN_FILE"), help="file with the collector's token"
    )
    common.add_argument("--json", action="store_true", help="the API's answer as it is")

    top = argparse.ArgumentParser(prog="perfmon", description="Asks a perfmon collector.")
    top.add_argument("--version", action="version", version=f"perfmon {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")

    status = commands.add_parser("status", parents=[common], help="how the collector is")
    status.set_defaults(run=_status)

    hosts = commands.add_parser("hosts", parents=[common], help="the hosts and their state")
    hosts.add_argument("host", nargs="?", default="*", help="name or pattern, such as 'web*' (default all)")
    hosts.set_defaults(run=_hosts)

    query = commands.add_parser("query", parents=[common], help="the samples of series")
    query.add_argument("metric", help="name or pattern, such as 'system.cpu.*'")
    query.add_argument("--host", default="*", help="name or pattern (default all)")
    _add_range(query, "-10m")
    query.set_defaults(run=_query)

    export = commands.add_parser("export", parents=[common], help="the samples of one host as a file")
    export.add_argument("host", help="its name")
    export.add_argument("--format", default="csv", choices=("csv", "ndjson"), help="of the file (default csv)")
    export.add_argument("--metric", default="*", help="name or pattern (default all)")
    export.add_argument("--output", help="file to write (default: standard output)")
    _add_range(export, "-1d")
    export.set_defaults(run=_export)

    delete = commands.add_parser("delete", parents=[common], help="remove a host that is gone, with all its samples")
    delete.add_argument("host", help="its name")
    delete.set_defaults(run=_delete)

    for order, what in (("stop", "end the sampling of"), ("start", "begin again with the sampling of")):
        command = commands.add_parser(order, parents=[common], help=f"{what} hosts; their signs of life go on")
        command.add_argument("hosts", nargs="+", metavar="host", help="name or pattern, such as 'web*' (several)")
        command.set_defaults(run=_control, order=order)

    interval = commands.add_parser("interval", parents=[common], help="set how often hosts sample")
    interval.add_argument("interval", help="such as 5s")
    interval.add_argument("hosts", nargs="+", metavar="host", help="name or pattern, such as 'web*' (several)")
    interval.set_defaults(run=_control, order="interval")

    absence = commands.add_parser("absence", parents=[common], help="plan that hosts may be gone, or end the plan")
    absence.add_argument("hosts", nargs="+", metavar="host", help="name or pattern, such as 'web*' (several)")
    when = absence.add_mutually_exclusive_group(required=True)
    when.add_argument("--for", dest="length", metavar="TIME", help="how long from now, such as 2h")
    when.add_argument("--until", help="when they are to be back, such as 2026-01-31T12:00")
    when.add_argument("--end", action="store_true", help="from now on they are looked after again")
    absence.add_argument("--reason", help="why; shown with the hosts, and in the events")
    absence.set_defaults(run=_absence)

    events = commands.add_parser("events", parents=[common], help="who came and who went")
    events.add_argument("--since", default="-1d", help="-1h, a time, or an event's id (default -1d)")
    events.add_argument("--limit", type=int, default=100, help="most events (default 100)")
    events.add_argument("--host", default="*", help="only events of these hosts, a pattern such as web* (default all)")
    events.add_argument("--kind", help="only events of these kinds, such as departed,gap (default all)")
    events.set_defaults(run=_events)
    add_bench(commands, common)
    add_rightsizing(commands, common)
    return top


def _add_range(command: argparse.ArgumentParser, since: str) -> None:
    """Options that say which samples, and what becomes of them."""
    command.add_argument(
        "--from", dest="start", default=since, help=f"-1h, 2026-01-31T12:00, seconds (default {since})"
    )
    command.add_argument("--until", default="now", help="the same (default now)")
    command.add_argument("--step", help="one value for each 60s, 5m, ... (default: the samples as they are)")
    command.add_argument(
        "--agg", default="avg", help="avg, min, max, sum, count, last, rate, p50, p95 or p99 (default avg)"
    )


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; ends the process with 0, or with 1 and a sentence on stderr."""
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.task import react

    words = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(_joined(words))

    async def run() -> None:
        try:
            token = Path(options.token_file).expanduser().read_text().strip() if options.token_file else ""
            shown = await options.run(Client(options.url.rstrip("/"), token), options)
        except BrokenPipeError:
            # whoever read has enough; Python must not flush into the pipe when it ends
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(1) from None
        except (ClientError, OSError) as problem:
            print(f"perfmon: {problem}", file=sys.stderr)
            raise SystemExit(1) from None
        if shown is None:
            return
        answer, show = shown
        print_answer(answer, show, options.json)

    react(lambda reactor: ensureDeferred(run()))


def _joined(words: list[str]) -> list[str]:
    """``--from -1h`` as ``--from=-1h``: argparse would take the time for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--from", "--until", "--since", "--start") and word.startswith("-"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
