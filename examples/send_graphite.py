"""Sends a few Graphite lines to a perfmon collector. Needs nothing but Python.

    python send_graphite.py [HOST:PORT]        default: 127.0.0.1:9000

A line is ``path value time``. The first part of the path is the host, or a tag ``host=`` names it.
Graphite has no answers: what was refused is counted in `perfmon status`.
"""

import os
import shutil
import socket
import sys
import time


def lines(now: int) -> list[str]:
    """One round of samples of the host `demo`."""
    one, five, fifteen = os.getloadavg()
    return [
        f"demo.load.1m {one} {now}",
        f"demo.load.5m {five} {now}",
        f"demo.load.15m {fifteen} {now}",
        # Tags make one metric of many series, and any of them can be asked for by a pattern.
        f"disk.free;host=demo;mountpoint=/ {shutil.disk_usage('/').free} {now}",
        # A counter: only ever rises. Ask for it with --agg rate.
        f"demo.requests.total {int(time.monotonic() * 3)} {now}",
        # A time of -1 means: when the collector reads the line.
        "demo.queue.length 7 -1",
    ]


def main() -> None:
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9000").rpartition(":")
    data = "".join(f"{line}\n" for line in lines(int(time.time())))
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(data.encode())
    sys.stdout.write(f"{data}sent; now try: perfmon query '*' --host demo\n")


if __name__ == "__main__":
    main()
