"""Who is named as departed, how soon, and who is not: a fleet of which some are killed, and a collector that is frozen.

python benchmarks/departures.py [--agents 9500] [--killed 500] [--freeze 30]
"""

import argparse
import os
import shlex
import signal
import statistics
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
from common import CLIENT_CORE, Collector, end, machine, pause, start, versions
from throughput import collector

TIMEOUT = 15.0  # s, of heartbeats: the default

# Named so long after its timeout at the latest, 99 of 100.
ALLOWED = 1.0  # s

# Of a collector that goes on: its agents have come back, or would have departed by then.
_AFTER = TIMEOUT + 10.0  # s


def ask(one: Collector, path: str, **parameters: str) -> Any:
    url = f"http://127.0.0.1:{one.http_port}{path}?{urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=600) as answer:
        return orjson.loads(answer.read())


def departed(one: Collector) -> dict[str, tuple[float, float]]:
    """Each host that was named: when it was found (s since the epoch), and when the store had it."""
    found: dict[str, tuple[float, float]] = {}
    since = "-1h"
    while events := ask(one, "/api/v1/events", since=since, limit="1000")["events"]:
        since = events[-1]["id"]
        for event in events:
            for host in event["hosts"] if event["kind"] == "departed" else ():
                if host in found:
                    raise SystemExit(f"{host} was named twice")
                found[host] = event["at"], int(event["id"].partition("-")[0]) / 1000
    return found


def simulator(one: Collector, folder: Path, prefix: str, agents: int) -> Any:
    """A fleet that is there, in a process of its own."""
    known = one.status()["hosts"].get("up", 0)
    with (folder / f"{prefix}.log").open("wb") as log:
        command = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "perfmon-simulator"]
        command += ["--server", f"127.0.0.1:{one.port}", "--agents", str(agents), "--prefix", prefix, "--metrics", "20"]
        process = start(CLIENT_CORE, command, log)
    one.await_status(lambda status: status["hosts"].get("up", 0) == known + agents)
    return process


def killed(one: Collector, process: Any, count: int) -> None:
    """All of a fleet die in one moment."""
    pause(2 * TIMEOUT / 3)  # so that their heartbeats are spread
    process.kill()
    process.wait()
    deadline = time.monotonic() + 2 * TIMEOUT
    while len(found := departed(one)) < count and time.monotonic() < deadline:
        pause(0.25)
    seen = {host["host"]: host["last_seen"] for host in ask(one, "/api/v1/hosts", host="dead*", metric="-")["hosts"]}
    others = found.keys() - seen.keys()
    delays = sorted(written - seen[host] - TIMEOUT for host, (_, written) in found.items() if host in seen)
    p99 = statistics.quantiles(delays, n=100)[-1]
    print(
        f"{count} killed: {len(delays)} named, {len(others)} others; after the timeout, s: "
        f"median {statistics.median(delays):.2f}, p99 {p99:.2f} (allowed {ALLOWED:g}), most {delays[-1]:.2f}"
    )
    if len(delays) != count or others or p99 > ALLOWED:
        raise SystemExit("not as it should be")


def frozen(one: Collector, seconds: float, before: int) -> None:
    """The collector stands still, and goes on."""
    os.kill(one.process.pid, signal.SIGSTOP)
    try:
        pause(seconds)
    finally:
        os.kill(one.process.pid, signal.SIGCONT)
    pause(_AFTER)
    wrong = len(departed(one)) - before
    states = ", ".join(f"{number} {state}" for state, number in one.status()["hosts"].items() if number)
    print(f"collector frozen for {seconds:g} s: {wrong} departures; {_AFTER:g} s later {states}")
    if wrong:
        raise SystemExit("not as it should be")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=9_500, help="that live (default 9500)")
    parser.add_argument("--killed", type=int, default=500, help="that are killed (default 500)")
    parser.add_argument("--freeze", type=float, default=30.0, help="of the collector, in s (default 30)")
    given = parser.parse_args()
    print(f"machine   {machine()}\nversions  {versions()}\ncommand   {shlex.join(sys.argv)}")
    with collector() as one:
        living = simulator(one, one.folder, "sim", given.agents)
        try:
            dying = simulator(one, one.folder, "dead", given.killed)
            try:
                killed(one, dying, given.killed)
            finally:
                end(dying)
            frozen(one, given.freeze, given.killed)
        finally:
            end(living)


if __name__ == "__main__":
    main()
