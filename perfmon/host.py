"""This host, as it introduces itself."""

import platform
import re
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

import psutil

from perfmon import __version__
from perfmon.core.messages import PROTOCOL, Hello
from perfmon.core.names import MAX_HOST

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def own_name() -> str:
    """The machine's name, made to fit the rules of host names."""
    name = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:MAX_HOST]
    return name if re.match(r"[A-Za-z0-9_]", name) else f"host{name}"[:MAX_HOST]


def boot_id() -> str:
    """The same until the machine is started anew."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return str(int(psutil.boot_time()))


def this_host(name: str, interval: float, labels: Mapping[str, str] | None = None, token: str = "") -> Hello:
    """What an agent that samples every `interval` s says of this host under `name`."""
    return Hello(
        PROTOCOL,
        name,
        agent=__version__,
        boot=boot_id(),
        instance=secrets.token_hex(8),
        interval=interval,
        labels=dict(labels or {}),
        platform={
            "system": platform.system(),
            "release": platform.release(),
            "machine": platform.machine(),
            "cpus": str(psutil.cpu_count() or ""),
            "memory": str(psutil.virtual_memory().total),
        },
        token=token,
    )
