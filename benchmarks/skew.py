"""How far apart hosts begin a benchmark that is to begin at once: many simulated agents, which keep the times only.

python benchmarks/skew.py [--agents 200] [--runs 20]
"""

import argparse
import shlex
import statistics
import sys
import urllib.request
from typing import Any

import orjson
from common import Collector, end, machine, pause, versions
from pages import fleet
from throughput import collector

ALLOWED = 0.05  # s

PATH = "/api/v1/benchmarks"


def asked(one: Collector, path: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(
        f"http://127.0.0.1:{one.http_port}{path}", data, {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return orjson.loads(answer.read())


def run(one: Collector, agents: int) -> list[float]:
    """By how many s each host began off the agreed time, in one run."""
    id = asked(one, PATH, {"kind": "cpu", "hosts": "sim*", "parameters": {"seconds": 1.0}, "lead": 2.0})["id"]
    while (told := asked(one, f"{PATH}/{id}"))["state"] not in ("done", "partial", "failed"):
        pause(0.2)
    assert told["counts"] == {"done": agents}, told["counts"]
    return [abs(host["began"] - told["start"]) for host in told["hosts"].values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=200, help="that take part (default 200)")
    parser.add_argument("--runs", type=int, default=20, help="one after the other (default 20)")
    given = parser.parse_args()
    print(f"machine   {machine()}\nversions  {versions()}\ncommand   {shlex.join(sys.argv)}")
    with collector() as one:
        simulator = fleet(one, one.folder, given.agents)
        try:
            pause(3.0)
            delays = [delay for _ in range(given.runs) for delay in run(one, given.agents)]
        finally:
            end(simulator)
    p50, p99 = (1000 * statistics.quantiles(delays, n=100)[share] for share in (49, 98))
    print(
        f"off the agreed start, ms: median {p50:.2f}, p99 {p99:.2f}, at most {1000 * max(delays):.2f} "
        f"(allowed {1000 * ALLOWED:g}), of {len(delays):,}"
    )


if __name__ == "__main__":
    main()
