"""Lines and samples stored per second, collector and store together on one core, everything proven stored.

    python benchmarks/ingest.py [--hosts 1000] [--metrics 100] [--rounds 20]

The sender runs on another core, its bytes are made beforehand. The clock runs from the first byte sent until the
collector has counted the last sample as stored; then every sample is read back from the store and compared.
"""

import argparse
import os
import platform
import socket
import tempfile
import threading
import time
from pathlib import Path

import hiredis
import numpy as np
from common import CLIENT_CORE, SERVER_CORE, Collector, pin

from perfmon.core.head_reader import read_head
from perfmon.core.messages import PROTOCOL, Hello, Metrics, Samples, encode
from perfmon.core.tiers import RAW


def value(host: int, metric: int, moment: int) -> float:
    """What host sends for metric in a round: differs everywhere, so that a sample in the wrong place is found."""
    return (host * 7 + metric * 13 + moment * 3) % 1000 + 0.25


def graphite_bytes(hosts: int, metrics: int, moments: list[int], connections: int) -> list[bytes]:
    """What each connection sends: for each round all metrics of its hosts."""
    streams = []
    for connection in range(connections):
        mine = range(connection, hosts, connections)
        lines = [
            f"servers.host{host}.group{metric % 10}.metric{metric} {value(host, metric, number)} {moment}\n"
            for number, moment in enumerate(moments)
            for host in mine
            for metric in range(metrics)
        ]
        streams.append("".join(lines).encode())
    return streams


def agent_bytes(hosts: int, metrics: int, moments: list[int]) -> list[bytes]:
    """What each agent sends."""
    names = [f"group{metric % 10}.metric{metric}" for metric in range(metrics)]
    streams = []
    for host in range(hosts):
        lines = [encode(Hello(PROTOCOL, f"host{host}")), encode(Metrics(1, names))]
        lines += [
            encode(Samples(number + 1, 1, moment, [value(host, metric, number) for metric in range(metrics)]))
            for number, moment in enumerate(moments)
        ]
        streams.append(b"".join(lines))
    return streams


def send(port: int, streams: list[bytes]) -> list[socket.socket]:
    """Sends all streams side by side, from one thread; answers are read and dropped by another."""
    pin(CLIENT_CORE)
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in streams]

    def drop() -> None:
        while True:
            for connection in connections:
                try:
                    while connection.recv(65_536, socket.MSG_DONTWAIT):
                        pass
                except BlockingIOError:
                    continue
                except OSError:
                    return
            time.sleep(0.01)  # answers are few; this thread must not take the sender's time

    threading.Thread(target=drop, daemon=True).start()
    piece = 256 << 10
    longest = max(map(len, streams))
    for start in range(0, longest, piece):
        for connection, stream in zip(connections, streams, strict=True):
            if start < len(stream):
                connection.sendall(stream[start : start + piece])
    return connections


def prove(collector: Collector, hosts: int, metrics: int, moments: list[int]) -> None:
    """Reads every sample back from the store itself, and compares it with what was sent."""
    store = socket.socket(socket.AF_UNIX)
    store.connect(str(collector.folder / "store" / "valkey.sock"))
    reader = hiredis.Reader()
    for host in range(hosts):
        found: dict[str, list[tuple[int, float]]] = {}
        for window in RAW.windows(moments[0] * 1000, moments[-1] * 1000):
            key = f"pm:{{host{host}}}:raw:{window}:head"
            store.sendall(b"GET %s\r\n" % key.encode())
            while (head := reader.gets()) is False:
                reader.feed(store.recv(1 << 20))
            if head is not None:
                for name, column in read_head(head, window, key).items():
                    found.setdefault(name, []).extend(zip(column.times.tolist(), column.values.tolist(), strict=True))
        assert len(found) == metrics, (host, len(found))
        for metric in range(metrics):
            expected = [(moment * 1000, value(host, metric, number)) for number, moment in enumerate(moments)]
            assert found[f"group{metric % 10}.metric{metric}"] == expected, (host, metric)


def measure(
    what: str, collector: Collector, streams: list[bytes], hosts: int, metrics: int, moments: list[int]
) -> None:
    """One run: sends, waits for the last sample, proves, prints."""
    count = hosts * metrics * len(moments)
    before, started = collector.cpu(), time.perf_counter()
    connections = send(collector.port, streams)
    collector.await_status(lambda status: status["samples"]["stored"] >= count)
    seconds, cpu = time.perf_counter() - started, collector.cpu() - before
    prove(collector, hosts, metrics, moments)
    for connection in connections:
        connection.close()
    size = sum(map(len, streams))
    print(
        f"{what:<28} {count:>10,} samples  {seconds:6.2f} s  {count / seconds / 1e6:6.3f} M/s"
        f"  {cpu / seconds:5.0%} of the core  {size / count:5.1f} bytes each, all proven stored"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--hosts", type=int, default=1000)
    options.add_argument("--metrics", type=int, default=100)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--connections", type=int, default=8, help="of the Graphite senders")
    chosen = options.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {platform.python_implementation()} "
        f"{platform.python_version()}, numpy {np.__version__}; collector and store on core {SERVER_CORE}"
    )
    now = int(time.time())
    moments = [now - 10 * (chosen.rounds - number) for number in range(chosen.rounds)]
    for what, streams in (
        ("Graphite lines", graphite_bytes(chosen.hosts, chosen.metrics, moments, chosen.connections)),
        ("perfmon protocol", agent_bytes(chosen.hosts, chosen.metrics, moments)),
    ):
        with tempfile.TemporaryDirectory(prefix="pm-") as folder:
            collector = Collector(Path(folder))
            try:
                measure(what, collector, streams, chosen.hosts, chosen.metrics, moments)
            finally:
                collector.stop()


if __name__ == "__main__":
    main()
