"""What open pages cost the collector, and how soon they know: many readers of /api/v1/live, and a fleet that samples.

Readers take the stream packed, as browsers do.

python benchmarks/pages.py [--agents 1000] [--pages 20] [--seconds 30]
"""

import argparse
import shlex
import socket
import statistics
import sys
import threading
import time
import zlib
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import orjson
from common import CLIENT_CORE, Collector, cpu_of, end, machine, pause, start, versions
from throughput import collector

# The collector's share of a core that all pages together may take, and the time until they show a sample.
ALLOWED_SHARE, ALLOWED_TIME = 0.05, 1.0  # s


class Reader(threading.Thread):
    """One page: reads what comes, and notes when."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.bytes = 0
        self.first: tuple[float, int] | None = None  # s until all hosts were there, and bytes
        self.delays: list[float] = []  # s from the sampling of a value to its arrival here
        self._newest: dict[str, float] = {}
        self._begun = time.monotonic()
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(b"GET /api/v1/live HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept-Encoding: gzip\r\n\r\n")

    def run(self) -> None:
        answer = HTTPResponse(self._socket)
        answer.begin()
        unpacker, rest = zlib.decompressobj(zlib.MAX_WBITS + 16), b""
        while packed := answer.read1():
            self.bytes += len(packed)
            *messages, rest = (rest + unpacker.decompress(packed)).split(b"\n\n")
            for message in messages:
                self._take(*message.split(b"\n", 1))

    def _take(self, first: bytes, second: bytes) -> None:
        data, now = orjson.loads(second.removeprefix(b"data: ")), time.time()
        if first == b"event: fleet":
            self.first = time.monotonic() - self._begun, self.bytes
            self._note(data, now)
            self.delays.clear()  # these are as old as they are
        elif first == b"event: hosts":
            self._note(data["figures"], now)

    def _note(self, columns: dict[str, Any], now: float) -> None:
        for host, sampled in zip(columns["host"], columns["time"], strict=True):
            if sampled is not None and sampled > self._newest.get(host, 0.0):
                self._newest[host] = sampled
                self.delays.append(now - sampled)


def share(one: Collector, seconds: float) -> float:
    """Of a core, that the collector's process takes."""
    pid, _ = one.pids
    before, begun = cpu_of(pid), time.monotonic()
    pause(seconds)
    return (cpu_of(pid) - before) / (time.monotonic() - begun)


def fleet(one: Collector, folder: Path, agents: int) -> Any:
    with (folder / "fleet.log").open("wb") as log:
        command = [str(Path(sys.executable).parent / "twistd"), "-n", "--pidfile=", "perfmon-simulator"]
        command += ["--server", f"127.0.0.1:{one.port}", "--agents", str(agents), "--metrics", "100"]
        process = start(CLIENT_CORE, command, log)
    one.await_status(lambda status: status["hosts"].get("up", 0) == agents)
    return process


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--agents", type=int, default=1_000, help="each with 100 metrics every 10 s (default 1000)")
    parser.add_argument("--pages", type=int, default=20, help="that are open (default 20)")
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement (default 30)")
    given = parser.parse_args()
    print(f"machine   {machine()}\nversions  {versions()}\ncommand   {shlex.join(sys.argv)}")
    with collector() as one:
        simulator = fleet(one, one.folder, given.agents)
        try:
            pause(12.0)  # a round of each, and the burst of the beginning
            without = share(one, given.seconds)
            readers = [Reader(one.http_port) for _ in range(given.pages)]
            for reader in readers:
                reader.start()
            pause(3.0)
            for reader in readers:
                reader.delays.clear()
            before = sum(reader.bytes for reader in readers)
            with_pages = share(one, given.seconds)
            rate = (sum(reader.bytes for reader in readers) - before) / given.seconds / given.pages
        finally:
            end(simulator)
    firsts = [reader.first for reader in readers if reader.first is not None]
    delays = [delay for reader in readers for delay in reader.delays]
    p50, p99 = statistics.median(delays), statistics.quantiles(delays, n=100)[-1]
    print(
        f"{given.agents} hosts: all there after {max(first for first, _ in firsts):.2f} s at most, "
        f"{firsts[0][1] / 1000:,.0f} kB; then {rate / 1000:,.0f} kB/s for each page"
    )
    print(
        f"from sampling to the page, s: median {p50:.2f}, p99 {p99:.2f} (allowed {ALLOWED_TIME:g}), of {len(delays):,}"
    )
    print(
        f"collector {100 * without:.1f} % of a core without pages, {100 * with_pages:.1f} % with {given.pages}: "
        f"{100 * (with_pages - without):.1f} % (allowed {100 * ALLOWED_SHARE:g} %)"
    )


if __name__ == "__main__":
    main()
