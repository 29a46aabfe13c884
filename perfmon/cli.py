"""``perfmon``: a thin command line over the collector's HTTP API."""

import argparse
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table
from rich.text import Text

from perfmon import __version__

DEFAULT_URL = "http://127.0.0.1:9001"

# A collector that does not answer in this time is away or stuck.
TIMEOUT = 30.0  # s

STATE_STYLES = {"up": "green", "late": "yellow", "departed": "bold red", "left": "dim", "silent": "magenta"}

# Shown for each host by `perfmon hosts`: heading, metric, how to write its value.
HOST_COLUMNS = (
    ("cpu", "perfmon.cpu.utilization", "percent"),
    ("memory", "perfmon.memory.utilization", "percent"),
    ("load", "system.cpu.load_average.1m", "number"),
)


class CommandError(Exception):
    """Ends the command; `str()` says why and what to do."""


Get = Callable[[str, dict[str, str]], Coroutine[Any, Any, Any]]


def client(url: str, token: str) -> Get:
    """A function that asks the API of the collector at `url`: path and parameters in, JSON out."""
    import treq
    from twisted.internet.error import ConnectError, TimeoutError
    from twisted.web.client import ResponseFailed, ResponseNeverReceived

    headers: dict[bytes | str, bytes | str] = {"Authorization": f"Bearer {token}"} if token else {}

    async def get(path: str, parameters: dict[str, str]) -> Any:
        try:
            response = await treq.get(f"{url}{path}", params=parameters, headers=headers, timeout=TIMEOUT)
            body = await treq.content(response)
        except (ConnectError, TimeoutError, ResponseFailed, ResponseNeverReceived) as problem:
            raise CommandError(f"no collector at {url}: {reason_of(problem)}; name another with --url") from None
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError:
            raise CommandError(f"what answers at {url} is no perfmon collector; name another with --url") from None
        if response.code == 401:
            raise CommandError("the collector asks for its token: give --token-file")
        if response.code != 200:
            raise CommandError(answer.get("error", f"the collector answered {response.code}"))
        return answer

    return get


async def _status(get: Get, options: argparse.Namespace) -> tuple[Any, Callable[[Console], None]]:
    status = await get("/api/v1/status", {})

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
            or f"{store['address']}, {store['server']} {store['version']}, {written(store['memory_bytes'], 'By')}",
            "waiting": f"{written(status['ingest']['buffered_bytes'], 'By')}"
            + (", senders are paused" if status["ingest"]["paused"] else ""),
            "loop lag": f"{status['loop_lag'] * 1000:.1f} ms",
        }
        table = Table(show_header=False, box=None)
        for name, value in rows.items():
            table.add_row(Text(name, style="bold"), Text(value))
        console.print(table)

    return status, show


async def _hosts(get: Get, options: argparse.Namespace) -> tuple[Any, Callable[[Console], None]]:
    metrics = ",".join(metric for _, metric, _ in HOST_COLUMNS)
    parameters = {"host": options.host} if options.json else {"host": options.host, "metric": metrics}
    answer = await get("/api/v1/hosts", parameters)

    def show(console: Console) -> None:
        table = Table(box=None)
        for heading in ("host", "state", "since", "last seen"):
            table.add_column(heading)
        for heading, _, _ in HOST_COLUMNS:
            table.add_column(heading, justify="right")
        for host in answer["hosts"]:
            cells = [
                written(host["latest"][metric]["value"], how) if metric in host["latest"] else ""
                for _, metric, how in HOST_COLUMNS
            ]
            state = Text(host["state"], style=STATE_STYLES.get(host["state"], ""))
            table.add_row(Text(host["host"]), state, moment(host["since"]), moment(host["last_seen"]), *cells)
        console.print(table)

    return answer, show


async def _query(get: Get, options: argparse.Namespace) -> tuple[Any, Callable[[Console], None]]:
    parameters = {"metric": options.metric, "host": options.host, "agg": options.agg}
    parameters |= {"from": zoned(options.start), "until": zoned(options.until)}
    if options.step:
        parameters["step"] = options.step
    answer = await get("/api/v1/query", parameters)

    def show(console: Console) -> None:
        table = Table(box=None)
        for heading in ("host", "metric", "time"):
            table.add_column(heading)
        table.add_column("value", justify="right")
        unit_suffix = "/s" if options.agg == "rate" else ""
        for series in answer["series"]:
            for time, value in series["points"]:
                shown = "" if value is None else written(value, series["unit"]) + unit_suffix
                table.add_row(Text(series["host"]), Text(series["metric"]), moment(time), shown)
        console.print(table)

    return answer, show


async def _events(get: Get, options: argparse.Namespace) -> tuple[Any, Callable[[Console], None]]:
    answer = await get("/api/v1/events", {"since": zoned(options.since), "limit": str(options.limit)})

    def show(console: Console) -> None:
        table = Table(box=None)
        for heading in ("time", "event", "hosts", "reason"):
            table.add_column(heading)
        for event in answer["events"]:
            kind = Text(event["kind"], style=STATE_STYLES.get(event["kind"], ""))
            table.add_row(moment(event["at"]), kind, Text(", ".join(event["hosts"])), Text(event["reason"]))
        console.print(table)

    return answer, show


def reason_of(problem: Exception) -> str:
    """What went wrong, also where Twisted wraps it."""
    reasons = getattr(problem, "reasons", None)
    return f"{reasons[0].getErrorMessage()}" if reasons else str(problem)


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
    query.add_argument("--from", dest="start", default="-10m", help="-1h, 2026-01-31T12:00, seconds (default -10m)")
    query.add_argument("--until", default="now", help="the same (default now)")
    query.add_argument("--step", help="one value for each 60s, 5m, ... (default: the samples as they are)")
    query.add_argument("--agg", default="avg", help="avg, min, max, sum, count, last or rate (default avg)")
    query.set_defaults(run=_query)

    events = commands.add_parser("events", parents=[common], help="who came and who went")
    events.add_argument("--since", default="-1d", help="-1h, a time, or an event's id (default -1d)")
    events.add_argument("--limit", type=int, default=100, help="most events (default 100)")
    events.set_defaults(run=_events)
    return top


def main(arguments: list[str] | None = None) -> None:
    """Runs one command; ends the process with 0, or with 1 and a sentence on stderr."""
    from twisted.internet.defer import ensureDeferred
    from twisted.internet.task import react

    words = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(_joined(words))

    async def run() -> None:
        try:
            token = Path(options.token_file).expanduser().read_text().strip() if options.token_file else ""
            get = client(options.url.rstrip("/"), token)
            answer, show = await options.run(get, options)
        except (CommandError, OSError) as problem:
            print(f"perfmon: {problem}", file=sys.stderr)
            raise SystemExit(1) from None
        if options.json:
            sys.stdout.write(orjson.dumps(answer, option=orjson.OPT_INDENT_2).decode() + "\n")
        else:
            # a pipe has no width to fit into
            show(Console(width=None if sys.stdout.isatty() else 1000))

    react(lambda reactor: ensureDeferred(run()))


def _joined(words: list[str]) -> list[str]:
    """``--from -1h`` as ``--from=-1h``: argparse would take the time for an option."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in ("--from", "--until", "--since") and word.startswith("-"):
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined
