"""The same Graphite lines for carbon-cache with its whisper files, on the same core, everything proven stored.

Imported by ingest.py, not run by itself. carbon's example limits (50 new files a minute, 500 updates a second) are
lifted, and whatever it can do without is off: its own metrics, tags, logs of each file, and the cache's bounds.
"""

import importlib
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from common import SERVER_CORE, end, pause, start, versions
from figures import Figure, Watch
from senders import Lines
from traffic import STEP, Traffic

from perfmon.core.tiers import MS

INSTALL = "carbon: not here; pip install '.[benchmark]' to measure it beside perfmon (Python 3.11)"

_CONFIGURATION = """[cache]
STORAGE_DIR = {folder}
CONF_DIR = {folder}
LOCAL_DATA_DIR = {folder}/whisper
LOG_DIR = {folder}
PID_DIR = {folder}
LINE_RECEIVER_INTERFACE = 127.0.0.1
LINE_RECEIVER_PORT = {port}
LINE_RECEIVER_BACKLOG = 1024
PICKLE_RECEIVER_PORT = 0
CACHE_QUERY_INTERFACE = 127.0.0.1
CACHE_QUERY_PORT = 0
MAX_CACHE_SIZE = inf
USE_FLOW_CONTROL = False
MAX_UPDATES_PER_SECOND = inf
MAX_CREATES_PER_MINUTE = inf
CACHE_WRITE_STRATEGY = naive
WHISPER_AUTOFLUSH = False
WHISPER_FALLOCATE_CREATE = True
ENABLE_TAGS = False
CARBON_METRIC_INTERVAL = 0
LOG_CREATES = False
LOG_UPDATES = False
LOG_LISTENER_CONN_SUCCESS = False
"""

_SCHEMAS = f"[all]\npattern = .*\nretentions = {STEP // MS}s:1h\n"

# Between two looks at a file that is not complete yet, and how long it may take: longer, and carbon has lost something.
_POLL, _PATIENCE = 0.2, 300.0  # s


def installed() -> bool:
    return find_spec("carbon") is not None and find_spec("whisper") is not None


def beside_carbon(traffic: Traffic, connections: int, ours: Figure) -> Iterator[Figure]:
    """Lines per second that carbon stores, and how many times as many perfmon does."""
    assert traffic.moments[1] - traffic.moments[0] == STEP, "more rounds than whisper's steps of ten seconds hold"
    streams = traffic.graphite(range(len(traffic.moments)), connections)
    with tempfile.TemporaryDirectory(prefix="pm-") as name:
        folder = Path(name)
        with _carbon(folder) as (pid, port):
            lines = Lines(port, connections)
            watch, started = Watch([pid]), time.time()
            lines.send(streams)
            received = time.time() - started
            seconds = _prove(folder / "whisper", traffic) - started
            load = watch.load(seconds)
            lines.close()
    theirs = Figure(
        f"6 the same {traffic.samples:,} lines, carbon",
        f"{traffic.samples / seconds / 1e6:.3f} M/s",
        load=load,
        more=f"{seconds:.0f} s, taken from the sockets in {received:.0f} s; {versions('carbon', 'whisper')}",
        rate=traffic.samples / seconds,
    )
    yield theirs
    by_cpu = ours.efficiency / theirs.efficiency
    yield Figure("6 perfmon's rate by carbon's", f"{ours.rate / theirs.rate:.1f} x", more=f"{by_cpu:.1f} x by CPU time")


@contextmanager
def _carbon(folder: Path) -> Iterator[tuple[int, int]]:
    """(pid, port for lines) of a carbon-cache."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "carbon.conf").write_text(_CONFIGURATION.format(folder=folder, port=port))
    (folder / "storage-schemas.conf").write_text(_SCHEMAS)
    program = Path(sys.executable).parent / "carbon-cache.py"
    command = [sys.executable, str(program), f"--config={folder / 'carbon.conf'}", f"--pidfile={folder / 'pid'}"]
    log = folder / "log"
    with log.open("wb") as output:
        process = start(SERVER_CORE, [*command, "--nodaemon", "start"], output)
    try:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except ConnectionRefusedError:
                if process.poll() is not None:
                    raise SystemExit(f"carbon has ended: {log.read_text()}") from None
                pause(_POLL)
        yield process.pid, port
    finally:
        end(process)


def _prove(folder: Path, traffic: Traffic) -> float:
    """Waits until every sample is in its file, as it was sent; returns when (s since the epoch) the last was written.

    A file that is complete stays so, hence each is read until it is, one after the other, while carbon writes on.
    """
    whisper: Any = importlib.import_module("whisper")
    first, last = traffic.moments[0] // MS, traffic.moments[-1] // MS
    ended = 0.0
    for host in range(traffic.hosts):
        expected = traffic.expected(host)
        for metric, name in enumerate(traffic.names):
            path = folder / "servers" / traffic.host(host) / f"{name.replace('.', '/')}.wsp"
            wanted = expected[metric].tolist()
            looked = time.time()
            while not path.exists() or _values(whisper, path, first, last) != wanted:
                assert time.time() - looked < _PATIENCE, f"carbon has not stored all of {path.relative_to(folder)}"
                pause(_POLL)
            ended = max(ended, path.stat().st_mtime)
    return ended


def _values(whisper: Any, path: Path, first: int, last: int) -> list[float | None]:
    """What a file has of first..last (s), by its steps; nothing while it is being made."""
    try:
        # of the points after `fromTime` up to `untilTime`
        found = whisper.fetch(str(path), first - STEP // MS, last, now=last + 1)
    except (whisper.WhisperException, OSError):
        return []
    values: list[float | None] = found[1] if found else []
    return values
