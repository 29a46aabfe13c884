"""What an agent's spool costs: a round kept, one confirmed, one read after an outage, and the room on disk.

python benchmarks/spool.py [--metrics 100] [--rounds 10000]
"""

import argparse
import shlex
import sys
import tempfile
import time
from pathlib import Path

from common import machine, versions

from perfmon.services.spool import Spool

# As many as the outbox reads and forgets together.
_PAGE, _FORGOTTEN = 32, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--metrics", type=int, default=100, help="of a round (default 100)")
    parser.add_argument("--rounds", type=int, default=10_000, help="of an outage (default 10000)")
    given = parser.parse_args()
    print(f"machine   {machine()}\nversions  {versions('perfmon')}\ncommand   {shlex.join(sys.argv)}")
    values = {f"metric{number}": number / 7 for number in range(given.metrics)}
    begin = time.time()
    with tempfile.TemporaryDirectory(prefix="pm-") as folder:
        spool = Spool(Path(folder) / "spool", 1 << 34, 1e9, print, time.time)
        spool.open()
        clock = time.perf_counter()
        for number in range(given.rounds):
            spool.put(begin + number, values, (), ())
        kept, clock = time.perf_counter() - clock, time.perf_counter()
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        rounds, after = [], 0
        while page := spool.page(after, _PAGE, ()):
            rounds += page
            after = page[-1].key
        read, clock = time.perf_counter() - clock, time.perf_counter()
        if len(rounds) != given.rounds:
            raise SystemExit(f"{len(rounds)} rounds of {given.rounds} came back")
        for first in range(0, len(rounds), _FORGOTTEN):
            spool.forget([each.key for each in rounds[first : first + _FORGOTTEN]])
        forgotten = time.perf_counter() - clock
        if spool.rounds:
            raise SystemExit(f"{spool.rounds} rounds were not forgotten")
        spool.close()
        left = sum(path.stat().st_size for path in Path(folder).iterdir())
    for what, seconds in (("kept", kept), ("read", read), ("forgotten", forgotten)):
        print(f"{what:10}{seconds / given.rounds * 1e6:6.0f} us a round")
    print(f"on disk   {size / given.rounds:6.0f} bytes a round; {left / 1024:.0f} KiB when all are confirmed")


if __name__ == "__main__":
    main()
